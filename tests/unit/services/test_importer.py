"""Files and folders come in as if they had been sent, again and again, whatever lies among them."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from archive.errors import StorageFull
from archive.services.importer import Importer
from archive.services.reports import ImportReport
from tests.objects import ROOT, ct_dataset, dataset_bytes, part10_bytes, write_series
from tests.unit.services.rig import Rig, open_rig

UID = f"{ROOT}.1.1.1"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend an empty archive."""
    with open_rig(tmp_path / "home") as lent:
        yield lent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lend a folder to import."""
    path = tmp_path / "files"
    path.mkdir()
    return path


def take(rig: Rig, *paths: Path) -> ImportReport:
    """Import files and folders."""
    return Importer(rig.ingest, rig.committer, rig.clock, "clinic", "DRIMBOX").run(paths, lambda done, total: None)


def test_folders_are_taken_in_with_all_below(rig: Rig, folder: Path) -> None:
    """Every object is stored with the bytes of its file, for the site that is told, from the peer IMPORT."""
    write_series(folder / "a" / "b", 3)
    write_series(folder / "c", 2, study=2)
    assert take(rig, folder) == ImportReport(stored=5, duplicates=0, conflicts=0, refused=(), skipped=0)
    for number in (1, 2, 3):
        assert rig.dataset(f"{ROOT}.1.1.{number}") == dataset_bytes(ct_dataset(number))
    row = rig.entries()[0]
    assert (row.event, row.actor, json.loads(row.body)["site"]) == ("stored", "IMPORT", "clinic")
    last = rig.entries()[-1]
    assert (last.event, json.loads(last.body)["stored"]) == ("imported", 5)


def test_a_second_run_stores_nothing_twice(rig: Rig, folder: Path) -> None:
    """That is how an import that was interrupted goes on."""
    paths = write_series(folder, 4)
    assert take(rig, *paths[:2]).stored == 2
    assert take(rig, folder) == ImportReport(stored=2, duplicates=2, conflicts=0, refused=(), skipped=0)
    assert len(list(rig.hot.rglob("*.dcm"))) == 4


def test_what_is_not_a_dicom_object_is_skipped(rig: Rig, folder: Path) -> None:
    """A DICOMDIR, texts, pictures, empty files and pipes are counted and passed over; nothing of them is kept."""
    write_series(folder, 1)
    directory = ct_dataset(9, SOPClassUID="1.2.840.10008.1.3.10")
    (folder / "DICOMDIR").write_bytes(part10_bytes(directory))
    (folder / "readme.txt").write_text("Images of a patient")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    (folder / "empty.dcm").touch()
    os.mkfifo(folder / "pipe")
    assert take(rig, folder) == ImportReport(stored=1, duplicates=0, conflicts=0, refused=(), skipped=5)
    assert rig.quarantine() == []


def test_a_dicom_file_that_cannot_be_identified_is_named(rig: Rig, folder: Path) -> None:
    """No SOP Instance UID anywhere, or no transfer syntax and no data set: refused by name, not passed over."""
    anonymous = part10_bytes(ct_dataset(1)).replace(UID.encode(), b"".ljust(len(UID), b"\0"))
    (folder / "anonymous.dcm").write_bytes(anonymous)
    (folder / "hollow.dcm").write_bytes(bytes(128) + b"DICM")
    report = take(rig, folder)
    assert (report.stored, report.skipped) == (0, 0)
    assert [
        (Path(path).name, "SOP Instance UID" in reason, "transfer syntax" in reason) for path, reason in report.refused
    ] == [
        ("anonymous.dcm", True, False),
        ("hollow.dcm", False, True),
    ]


def test_files_without_a_part_10_header_are_taken_in(rig: Rig, folder: Path) -> None:
    """A raw data set is stored as it lies there, in the transfer syntax its bytes are in."""
    (folder / "raw").write_bytes(dataset_bytes(ct_dataset(1), ImplicitVRLittleEndian))
    (folder / "big").write_bytes(dataset_bytes(ct_dataset(2), ExplicitVRBigEndian))
    assert take(rig, folder).stored == 2
    assert rig.dataset(UID) == dataset_bytes(ct_dataset(1), ImplicitVRLittleEndian)
    found = [rig.find(f"{ROOT}.1.1.{number}") for number in (1, 2)]
    assert [one.transfer_syntax_uid for one in found if one] == [ImplicitVRLittleEndian, ExplicitVRBigEndian]


def test_a_file_that_is_refused_does_not_stop_the_others(rig: Rig, folder: Path) -> None:
    """Each is told with its reason, its bytes are in quarantine, and the run goes on."""
    (folder / "1").write_bytes(part10_bytes(ct_dataset(1)))
    (folder / "2").write_bytes(part10_bytes(ct_dataset(1, PatientName="AUTRE^NOM")))
    (folder / "3").write_bytes(part10_bytes(ct_dataset(3, StudyInstanceUID="")))
    (folder / "4").write_bytes(part10_bytes(ct_dataset(4)))
    report = take(rig, folder)
    assert (report.stored, report.conflicts) == (2, 1)
    [(path, reason)] = report.refused
    assert path == str(folder / "3")
    assert reason == "StudyInstanceUID is missing or empty in the data set."
    assert len(rig.quarantine()) == 2


def test_paths_that_cannot_be_read_are_told(rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file and one without the right to read it are reasons to tell, not to stop."""
    [secret, other] = write_series(folder, 2)
    really_open = Path.open

    def closed(self: Path, *args: object, **kwargs: object) -> object:
        if self == secret:
            raise PermissionError(13, "Permission denied")
        return really_open(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", closed)
    report = take(rig, folder / "nowhere", secret, other)
    assert report.stored == 1
    assert report.refused == ((str(folder / "nowhere"), "no such file or folder"), (str(secret), "Permission denied"))


def test_a_folder_that_cannot_be_listed_is_told(rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beside it is taken in all the same."""
    write_series(folder / "open", 1)
    (folder / "shut").mkdir()
    scandir = os.scandir

    def closed(path: str | Path) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    report = take(rig, folder)
    assert (report.stored, report.refused) == (1, ((str(folder / "shut"), "Permission denied"),))


def test_a_full_disk_ends_the_run(tmp_path: Path, folder: Path) -> None:
    """Nothing more could be taken in: the operator is told to make room and to run it again."""
    write_series(folder, 2)
    with open_rig(tmp_path / "home", min_free_bytes=1 << 60) as rig, pytest.raises(StorageFull):
        take(rig, folder)


def test_progress_is_told(rig: Rig, folder: Path) -> None:
    """File by file, of all that there are."""
    write_series(folder, 3)
    told: list[tuple[int, int]] = []
    importer = Importer(rig.ingest, rig.committer, rig.clock, "clinic", "DRIMBOX")
    importer.run([folder], lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_memory_does_not_grow_with_the_file(rig: Rig, folder: Path) -> None:
    """A file of 200 MB is streamed."""
    head = dataset_bytes(ct_dataset(1, PixelData=None))
    element = b"\xe0\x7f\x10\x00OW\0\0" + (200_000_000).to_bytes(4, "little")
    with (folder / "large").open("wb") as file:
        file.write(head + element)
        file.truncate(len(head) + len(element) + 200_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert take(rig, folder).stored == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    found = rig.find(UID)
    assert found is not None
    assert found.dataset_size == len(head) + len(element) + 200_000_000
