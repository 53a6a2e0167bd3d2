"""What is answered but not stored in a column: counts, modalities, SOP classes, availability; must not join tables.

Each is a correlated sub-query, computed only for the rows answered and only when asked (PS3.4 section C.6.1.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, and_, case, exists, func, literal, select

from archive.index.expressions import joined
from archive.index.keys import KEYS, Level
from archive.index.matching import Condition, condition
from archive.index.models import instance, location, patient, series, study

_AVAILABILITY: Final = ("ONLINE", "NEARLINE", "OFFLINE", "UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Derived:
    """An answer about an entity of ``level`` (or one below it); ``present`` turns the database's value into text."""

    level: Level
    expression: ColumnElement[Any]
    present: Callable[[Any], str]


_series_with_study = series.join(study)
_instances = instance.join(series)
_instances_with_study = _instances.join(study)


def _count(level: Level, rows: FromClause, link: Condition) -> Derived:
    owner = (patient, study, series)[level]
    counted = select(func.count()).select_from(rows).where(link).correlate(owner).scalar_subquery()
    return Derived(level, counted, str)


def _distinct(column: ColumnElement[str], rows: FromClause) -> Derived:
    """Return the different values of a column over a study's series or instances."""
    link = series.c.study_fk == study.c.id
    values = select(column.label("value")).distinct().select_from(rows).where(link, column.is_not(None))
    each = values.correlate(study).subquery()
    return Derived(Level.STUDY, select(joined(each.c.value)).scalar_subquery(), _sorted_values)


def _sorted_values(text: str | None) -> str:
    return "\\".join(sorted(text.split("\\"))) if text else ""


DERIVED: Final = {
    "NumberOfPatientRelatedStudies": _count(Level.PATIENT, study, study.c.patient_fk == patient.c.id),
    "NumberOfPatientRelatedSeries": _count(Level.PATIENT, _series_with_study, study.c.patient_fk == patient.c.id),
    "NumberOfPatientRelatedInstances": _count(Level.PATIENT, _instances_with_study, study.c.patient_fk == patient.c.id),
    "NumberOfStudyRelatedSeries": _count(Level.STUDY, series, series.c.study_fk == study.c.id),
    "NumberOfStudyRelatedInstances": _count(Level.STUDY, _instances, series.c.study_fk == study.c.id),
    "NumberOfSeriesRelatedInstances": _count(Level.SERIES, instance, instance.c.series_fk == series.c.id),
    "ModalitiesInStudy": _distinct(series.c.modality, series),
    "SOPClassesInStudy": _distinct(instance.c.sop_class_uid, _instances),
}
"""The derived answers that mean the same at every level, by keyword."""


def availability(level: Level) -> Derived | None:
    """Return Instance Availability (0008,0056) of an entity of ``level``: that of its least available instance.

    ONLINE with a hot copy, NEARLINE with a cold one, OFFLINE when all copies are missing (someone may bring the
    medium back), else UNAVAILABLE. Not offered for patients.
    """
    rank = _rank()
    if level is Level.SERIES:
        rank = _worst(rank, instance, series, instance.c.series_fk == series.c.id)
    if level is Level.STUDY:
        rank = _worst(rank, _instances, study, series.c.study_fk == study.c.id)
    return None if level is Level.PATIENT else Derived(level, rank, _availability)


def _worst(rank: ColumnElement[int], rows: FromClause, owner: FromClause, link: Condition) -> ColumnElement[int]:
    return select(func.max(rank)).select_from(rows).where(link).correlate(owner).scalar_subquery()


def _availability(rank: int | None) -> str:
    return _AVAILABILITY[-1 if rank is None else rank]


def _rank() -> ColumnElement[int]:
    return case(
        (_has_copy("hot", "present"), 0), (_has_copy("cold", "present"), 1), (_has_copy(None, "missing"), 2), else_=3
    )


def _has_copy(tier: str | None, state: str) -> Condition:
    conditions = [location.c.instance_fk == instance.c.id, location.c.state == state]
    if tier is not None:
        conditions.append(location.c.tier == tier)
    return exists(select(literal(1)).select_from(location).where(*conditions).correlate(instance))


def derived_condition(keyword: str, level: Level, value: str, dialect: str) -> Condition | None:
    """Return the condition of a derived key, or None when it selects nothing or cannot be matched.

    Modality in a study query is taken as Modalities in Study: half of all workstations send it so.
    """
    source: FromClause = series
    if keyword == "ModalitiesInStudy" or (keyword == "Modality" and level is Level.STUDY):
        key = KEYS["Modality"]
    elif keyword == "SOPClassesInStudy":
        source, key = _instances, KEYS["SOPClassUID"]
    else:
        return None
    wanted = condition(key, value, dialect)
    if wanted is None:
        return None
    inner = select(literal(1)).select_from(source).where(and_(series.c.study_fk == study.c.id, wanted))
    return exists(inner.correlate(study))
