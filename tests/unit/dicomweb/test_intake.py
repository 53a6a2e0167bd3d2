"""The parts of a STOW-RS body on a real ingest: what is stored, what is let go of, how much is kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archive.dicomweb.intake import Intake, OnePart, reader_of
from archive.dicomweb.multipart import MultipartReader
from archive.dicomweb.store_response import StoreReport, failure_reason
from archive.errors import (
    ArchiveError,
    BadRequest,
    ConflictingInstance,
    DestroyedInstance,
    IngestError,
    StorageFull,
    StudyMismatch,
    UnsupportedMedia,
)
from archive.services.accesses import Access
from archive.services.people import Person
from archive.services.storage_classes import is_stored
from archive.services.web_store import WebStore
from tests.objects import ROOT, ct_dataset
from tests.unit.services.rig import Rig, open_rig
from tests.web import BOUNDARY, multipart

SENDER = Access(Person("Renée de la Très-Longue-Maison", "Renée", frozenset({"manipulator"})), "192.0.2.7", "why")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend a home."""
    with open_rig(tmp_path) as rig:
        yield rig


def intake(rig: Rig, pool: ThreadPoolExecutor, *, study: str = "") -> Intake:
    """Return what takes a body."""
    store = WebStore(rig.ingest, rig.clock, "DRIMBOX", accept_private=False, site_of=lambda person: "default")
    reader = MultipartReader(BOUNDARY, most_parts=100)
    return Intake(store, SENDER, reader, StoreReport("http://here"), pool, study)


def send(taker: Intake, body: bytes, step: int) -> StoreReport:
    """Let a body come in steps."""
    try:
        for start in range(0, len(body), step):
            taker.feed(body[start : start + step])
        return taker.finish()
    finally:
        taker.abandon()
        taker.record()


@pytest.mark.parametrize("step", [61, 4096, 10_000_000])
def test_whatever_pieces_a_body_comes_in(rig: Rig, pool: ThreadPoolExecutor, step: int) -> None:
    """The same instances are stored whatever the pieces, large and small ones, with the provenance of their sender."""
    large = ct_dataset(2, Rows=900, Columns=900)
    large.PixelData = bytes(2 * 900 * 900)
    report = send(intake(rig, pool), multipart([ct_dataset(1), large, b"nonsense"]), max(step, 997))
    assert (report.status, len(report.stored), len(report.failed)) == (202, 2, 1)
    assert report.studies == [f"{ROOT}.1"]
    assert rig.query(f"{ROOT}.1.1.2") == ["PID1"]
    found = rig.find(f"{ROOT}.1.1.2")
    assert found is not None
    entries = {row.event: row for row in rig.entries()}
    assert entries["sent"].actor == SENDER.person.name
    assert entries["stored"].actor == "Ren?e de la Tr?s"
    assert '"reason":"why"' in entries["sent"].body.replace(" ", "")


def test_what_breaks_off_leaves_nothing(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """A part that is not whole has no file, and its chunk is lent to the next."""
    taker = intake(rig, pool)
    body = multipart([ct_dataset(1), ct_dataset(2)])
    taker.feed(body[:-300])
    taker.abandon()
    assert [named.sop_instance_uid for named in taker.report.stored] == [f"{ROOT}.1.1.1"]
    assert len(rig.stored_keys()) == 1
    assert rig.quarantine() == []


def test_many_failures_end_a_request(rig: Rig, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of nothing but nonsense is not gone through to its end."""
    monkeypatch.setattr("archive.dicomweb.intake._MOST_FAILURES", 5)
    taker = intake(rig, pool)
    with pytest.raises(BadRequest, match="5 parts"):
        send(taker, multipart([b"x"] * 90), 1 << 16)
    assert 5 <= len(taker.report.failed) < 10


def test_another_study_is_kept_aside(rig: Rig, pool: ThreadPoolExecutor) -> None:
    """An instance of another study than the one it was sent to waits in quarantine, with the reason."""
    report = send(intake(rig, pool, study=f"{ROOT}.2"), multipart([ct_dataset(1)]), 1000)
    assert [reason for _, reason in report.failed] == [0xA900]
    assert [item.sop_instance_uid for item in rig.quarantine()] == [f"{ROOT}.1.1.1"]


def test_a_full_disk_is_told(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """Without room nothing is taken in, and each instance is told as out of resources (0xA700)."""
    with open_rig(tmp_path, min_free_bytes=1 << 60) as rig:
        report = send(intake(rig, pool), multipart([ct_dataset(1), ct_dataset(2)]), 1000)
    assert (report.status, [reason for _, reason in report.failed]) == (409, [0xA700, 0xA700])


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        ("", BadRequest),
        ("text/html", UnsupportedMedia),
        ("multipart/related; boundary=", BadRequest),
        ("multipart/related", BadRequest),
        ('multipart/related; type="application/dicom+xml"; boundary=B', UnsupportedMedia),
    ],
)
def test_bodies_of_another_kind(content_type: str, error: type[ArchiveError]) -> None:
    """What is not Part 10 files is refused before it is read."""
    with pytest.raises(error):
        reader_of(content_type)


def test_readers_by_content_type() -> None:
    """A multipart body is taken apart, one instance alone is one part; a missing type is taken for DICOM."""
    assert isinstance(reader_of("application/dicom"), OnePart)
    assert isinstance(reader_of("multipart/related; boundary=B"), MultipartReader)
    assert isinstance(reader_of('Multipart/Related; Type="application/DICOM"; Boundary="a b"'), MultipartReader)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (IngestError(reason="-"), 0xC000),
        (StudyMismatch(reason="-"), 0xA900),
        (ConflictingInstance(reason="-"), 0x0111),
        (DestroyedInstance(list_id="D", reason="-"), 0x0124),
        (StorageFull(floor_mib=1), 0xA700),
        (ArchiveError(), 0x0110),
        (ValueError(), 0x0110),
    ],
)
def test_failure_reasons(error: Exception, reason: int) -> None:
    """The reason of a failure is the status that C-STORE would have."""
    assert failure_reason(error) == reason


def test_the_same_classes_as_c_store() -> None:
    """Whatever SOP class C-STORE takes is taken here, and no other."""
    from pydicom._uid_dict import UID_dictionary

    from archive.dimse.contexts import is_storage

    uids = [*UID_dictionary, "1.2.840.10008.5.1.4.1.1.999.1", "1.2.3.4"]
    for accept_private in (True, False):
        ours = [uid for uid in uids if is_stored(uid, accept_private=accept_private)]
        assert ours == [uid for uid in uids if is_storage(uid, accept_private=accept_private)]
