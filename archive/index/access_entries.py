"""The journal's entries of who looked at a study, found without reading all of it; must not judge them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from archive.index import gathering
from archive.index.records import JournalRow, from_text
from archive.index.session import Connection
from archive.index.statements import Statement, rows_in

LOOKING: Final = ("viewed", "retrieved", "queried")
"""The events of somebody looking: images given to a browser or an application, to a DICOM peer, a study asked for."""

_WHERE: Final = f"event IN ({', '.join(repr(event) for event in LOOKING)})"
_NAMING: Final = Statement(
    "SELECT sequence, at, event, actor, body, previous_hash, hash FROM audit "
    f"WHERE {_WHERE} AND body LIKE ? ORDER BY sequence"
)
_STUDIES: Final = (
    "SELECT study_instance_uid FROM study JOIN patient ON patient.id = study.patient_fk "
    "WHERE study.site = ? AND patient.patient_id IN (%s) ORDER BY study_instance_uid"
)


def studies_of(connection: Connection, site: str, patient_id: str) -> list[str]:
    """Return the studies a site has of a patient, under every PatientID linked to this one."""
    every = gathering.linked(connection, site, [patient_id])
    return sorted({uid for (uid,) in rows_in(connection, _STUDIES, every, site)})


def iter_looks(connection: Connection, study_instance_uids: Collection[str]) -> Iterator[tuple[str, JournalRow]]:
    """Yield study and entry for each time somebody looked at one of the studies, study by study, the oldest first."""
    for uid in study_instance_uids:
        for row in _NAMING.rows(connection, (f'%"{uid}"%',)):
            sequence, at, event, actor, body, previous_hash, digest = row
            yield uid, JournalRow(sequence, from_text(at), event, actor, body, bytes(previous_hash), bytes(digest))
