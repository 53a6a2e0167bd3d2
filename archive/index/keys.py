"""The keys a query may use: keyword, level, column, kind of matching; must not build a condition.

Source: PS3.4 sections C.2.2.2 (attribute matching) and C.6 (query models).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Table

from archive.index import models
from archive.part10.attributes import INSTANCE, PATIENT, SERIES, STUDY, Attribute


class Level(enum.IntEnum):
    """The levels of a query, top down."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


class Matching(enum.Enum):
    """How a key's value is compared."""

    UID = "uid"
    TEXT = "text"
    NAME = "name"
    DATE = "date"
    TIME = "time"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute that can be matched and returned.

    ``matched`` is the column compared: the folded key for person names, else ``column`` itself. ``is_multiple``
    attributes may hold several values, separated by backslashes; one that matches is enough.
    """

    keyword: str
    level: Level
    matching: Matching
    column: ColumnElement[str]
    matched: ColumnElement[str]
    is_multiple: bool


MULTIPLE: Final = frozenset(
    (
        "AdmittingDiagnosesDescription",
        "ImageType",
        "NameOfPhysiciansReadingStudy",
        "OperatorsName",
        "OtherPatientIDs",
        "PerformingPhysicianName",
        "SpecificCharacterSet",
    )
)
"""The indexed attributes with a value multiplicity above one (PS3.6)."""

_MATCHING: Final = {
    "DA": Matching.DATE,
    "IS": Matching.NUMBER,
    "PN": Matching.NAME,
    "TM": Matching.TIME,
    "UI": Matching.UID,
    "US": Matching.NUMBER,
}

TABLES: Final[tuple[Table, ...]] = (models.patient, models.study, models.series, models.instance)
"""The table of each level."""

UNIQUE_KEYS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""The unique key of each level."""


def _keys(level: Level, attributes: Sequence[Attribute]) -> dict[str, Key]:
    columns = TABLES[level].c
    return {
        attribute.keyword: Key(
            keyword=attribute.keyword,
            level=level,
            matching=_MATCHING.get(attribute.vr, Matching.TEXT),
            column=columns[attribute.column],
            matched=columns[models.key_column(attribute) if attribute.vr == "PN" else attribute.column],
            is_multiple=attribute.keyword in MULTIPLE,
        )
        for attribute in attributes
    }


KEYS: Final = {
    **_keys(Level.PATIENT, PATIENT),
    **_keys(Level.STUDY, STUDY),
    **_keys(Level.SERIES, SERIES),
    **_keys(Level.IMAGE, INSTANCE),
}
"""Every attribute that can be matched, by keyword; what is derived (counts, modalities…) is in ``derived``."""
