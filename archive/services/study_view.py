"""Studies as people look at them: found by a number, and where their bytes are; must not show an image.

In addresses a study is its row and a check of its UID: nothing of a patient, and after the index was made again an old
address leads nowhere rather than to somebody else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import NoSuchResource
from archive.index import gathering, packs, patient_facts, study_details, tombstones
from archive.index.packs import PackRow
from archive.index.session import Connection
from archive.index.study_details import CopyCount, SeriesRecord, StudyRecord
from archive.services.accesses import Access
from archive.services.committer import Committer
from archive.services.people import Permission, Person

MOST_FOUND: Final = 200
SHOWN: Final = "viewed"
SERVICE: Final = "console"
"""What the journal calls the way in which the page of a study was seen."""
_CHECK_CHARACTERS: Final = 12
_REFERENCE: Final = re.compile(r"([0-9]{1,18})-([0-9a-f]{12})")
_LONGEST: Final = 512


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study among those that were found."""

    reference: str
    record: StudyRecord
    modalities: Sequence[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What a number leads to; ``destroyed``: (Study Instance UID, list) of studies that were eliminated."""

    studies: Sequence[FoundStudy]
    destroyed: Sequence[tuple[str, str]]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class SeriesView:
    """A series and how its copies lie."""

    record: SeriesRecord
    copies: Sequence[CopyCount]


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study and where its bytes are; it names the patient. ``packs`` are its objects, hot and cold."""

    reference: str
    record: StudyRecord
    modalities: Sequence[str]
    series: Sequence[SeriesView]
    packs: Sequence[PackRow]
    linked: Sequence[str]

    @property
    def instances(self) -> int:
        """Return how many instances it has."""
        return sum(each.record.instances for each in self.series)

    @property
    def made_lossy(self) -> int:
        """Return how many of them are lossy copies that the archive made."""
        return sum(each.record.made_lossy for each in self.series)

    @property
    def arrived_lossy(self) -> int:
        """Return how many were lossy when they came."""
        return sum(each.record.arrived_lossy for each in self.series)

    def size_bytes(self, tier: str) -> int:
        """Return the bytes of its copies in a tier."""
        return sum(copy.size_bytes for each in self.series for copy in each.copies if copy.tier == tier)


@dataclass(frozen=True, slots=True)
class StudyDesk:
    """Finds and shows studies; whoever looks at one is journalled."""

    committer: Committer
    clock: Clock

    def find(self, text: str, person: Person) -> Found:
        """Return the person's studies whose PatientID, Study Instance UID or AccessionNumber a text is."""
        person.require(Permission.VIEW_CONSOLE)
        text = text.strip()
        if not text or len(text) > _LONGEST or "\0" in text:
            return Found((), (), False)
        with self.committer.read() as connection:
            records = [each for each in _matching(connection, text) if person.is_for(each.site)]
            shown = records[:MOST_FOUND]
            kinds = study_details.modalities_of(connection, [each.study_id for each in shown])
            lists = {(stone.study_instance_uid, stone.list_id) for stone in _stones(connection, text)}
        studies = [FoundStudy(reference_of(each), each, kinds.get(each.study_id, [])) for each in shown]
        return Found(studies, sorted(lists) if not records else (), len(records) > MOST_FOUND)

    def resolve(self, reference: str, person: Person) -> StudyRecord:
        """Return the study of a reference. Raises NoSuchResource, also for one that the person may not know of."""
        with self.committer.read() as connection:
            return _resolved(connection, reference, person)

    def records(self, study_instance_uids: Collection[str], person: Person) -> dict[str, FoundStudy]:
        """Return those of these studies that the archive has and the person may know of, by UID."""
        with self.committer.read() as connection:
            found = study_details.by_uid(connection, study_instance_uids)
            kinds = study_details.modalities_of(connection, [record.study_id for record in found.values()])
        return {
            uid: FoundStudy(reference_of(record), record, kinds.get(record.study_id, []))
            for uid, record in found.items()
            if person.is_for(record.site)
        }

    def of_patients(
        self, patients: Collection[tuple[str, str]], person: Person
    ) -> dict[tuple[str, str], Sequence[FoundStudy]]:
        """Return the studies of patients, (site, PatientID), that the person may know of, the newest exam first.

        Those of records that are linked to a patient's are among them.
        """
        with self.committer.read() as connection:
            uids = {patient: _of_patient(connection, *patient) for patient in patients}
        found = self.records([uid for each in uids.values() for uid in each], person)
        return {
            patient: sorted(
                (found[uid] for uid in each if uid in found), key=lambda study: study.record.study_date, reverse=True
            )
            for patient, each in uids.items()
        }

    def references(self, study_instance_uids: Collection[str]) -> dict[str, str]:
        """Return where those of these studies that the archive has are shown."""
        with self.committer.read() as connection:
            found = study_details.by_uid(connection, study_instance_uids)
        return {uid: reference_of(record) for uid, record in found.items()}

    def show(self, reference: str, access: Access) -> StudyView:
        """Return a study, and journal who looked. Raises NoSuchResource."""
        access.person.require(Permission.VIEW_CONSOLE)
        with self.committer.read() as connection:
            record = _resolved(connection, reference, access.person)
            series = study_details.series_of(connection, record.study_id)
            copies = study_details.copies_of(connection, record.study_id)
            found = sorted(packs.of_studies(connection, [record.study_instance_uid]), key=lambda row: row.key)
            names = patient_facts.one_patient(connection, record.site, [record.patient_id] if record.patient_id else [])
        body: Body = {**access.body(), "service": SERVICE, "study_instance_uid": record.study_instance_uid}
        self.committer.post(Entry(self.clock(), SHOWN, access.person.name, body))
        return StudyView(
            reference,
            record,
            sorted({each.modality for each in series if each.modality}),
            [SeriesView(each, [copy for copy in copies if copy.series_id == each.series_id]) for each in series],
            found,
            sorted(names - {record.patient_id}),
        )


def reference_of(record: StudyRecord) -> str:
    """Return what a study is in an address."""
    return f"{record.study_id}-{_check(record.study_instance_uid)}"


def _check(study_instance_uid: str) -> str:
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()[:_CHECK_CHARACTERS]


def _resolved(connection: Connection, reference: str, person: Person) -> StudyRecord:
    match = _REFERENCE.fullmatch(reference)
    record = None if match is None else study_details.by_id(connection, int(match[1]))
    if match is None or record is None or _check(record.study_instance_uid) != match[2]:
        raise NoSuchResource(reason="the archive has no study under this address")
    if not person.is_for(record.site):
        raise NoSuchResource(reason="the archive has no study under this address")
    return record


def _of_patient(connection: Connection, site: str, patient_id: str) -> Sequence[str]:
    names = patient_facts.one_patient(connection, site, [patient_id])
    return [row.study_instance_uid for row in gathering.of_patients(connection, site, names)]


def _matching(connection: Connection, text: str) -> Iterator[StudyRecord]:
    """Yield what a text leads to, each study once."""
    seen: set[int] = set()
    found = (
        *study_details.by_uid(connection, [text]).values(),
        *study_details.of_accession(connection, text, MOST_FOUND + 1),
        *study_details.of_patient(connection, text, MOST_FOUND + 1),
    )
    for record in found:
        if record.study_id not in seen:
            seen.add(record.study_id)
            yield record


def _stones(connection: Connection, text: str) -> Iterator[tombstones.Tombstone]:
    return tombstones.iter_of(connection, text)
