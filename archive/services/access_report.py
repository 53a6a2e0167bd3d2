"""Who looked at a patient's images, when, from where and why, as the journal has it; must not change anything.

It answers what a patient may ask (article L.1111-7 CSP, article 15 of Regulation (EU) 2016/679). A study that was
destroyed is no longer known to be this patient's; asked for by its UID, its entries are found all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archive.errors import NoSuchStudy
from archive.index import access_entries
from archive.index.records import JournalRow
from archive.index.session import Database


@dataclass(frozen=True, slots=True)
class Look:
    """One time somebody looked at a study.

    ``person`` is an account, a national identifier, a machine or an AE title; ``place`` an address or where images
    were sent; ``event`` is ``viewed``, ``retrieved`` or ``queried``, ``service`` how (WADO-RS, C-MOVE).
    """

    sequence: int
    at: datetime
    study_instance_uid: str
    event: str
    service: str
    person: str
    full_name: str
    roles: tuple[str, ...]
    via: str
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class AccessReports:
    """Reads the journal of one archive."""

    database: Database

    def of_patient(self, site: str, patient_id: str, *, study: str | None = None) -> list[Look]:
        """Return every look at a patient's studies of a site, or at one of them, the oldest first.

        Raises NoSuchStudy when the study is not one of this patient's there.
        """
        with self.database.read() as connection:
            studies = access_entries.studies_of(connection, site, patient_id)
            if study is not None and study not in studies:
                raise NoSuchStudy(study_instance_uid=study)
            found = access_entries.iter_looks(connection, studies if study is None else [study])
            return _in_order(found)

    def of_study(self, study: str) -> list[Look]:
        """Return every look at a study, also one that is here no more."""
        with self.database.read() as connection:
            return _in_order(access_entries.iter_looks(connection, [study]))


def _in_order(found: Iterable[tuple[str, JournalRow]]) -> list[Look]:
    return sorted((_look(uid, row) for uid, row in found), key=lambda look: look.sequence)


def _look(uid: str, row: JournalRow) -> Look:
    body: Mapping[str, Any] = json.loads(row.body)
    return Look(
        sequence=row.sequence,
        at=row.at,
        study_instance_uid=uid,
        event=row.event,
        service=str(body.get("service", "")),
        person=row.actor,
        full_name=str(body.get("full_name", "")),
        roles=tuple(body.get("roles", ())),
        via=str(body.get("via", "dicom")),
        place=str(body.get("address") or body.get("destination") or ""),
        reason=str(body.get("reason", "")),
    )
