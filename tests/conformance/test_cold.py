"""A study of 2020 goes cold and comes back, with the real commands and DCMTK's clients beside a running archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from tests.archive_process import ArchiveProcess, running_archive
from tests.conformance.test_elimination import Desk
from tests.dcmtk import run, storescu
from tests.objects import ROOT, changed, ct_dataset, part10_bytes
from tests.phantoms import slice_of

STUDY = f"{ROOT}.1"
CONFIG = """
[sealing]
quiet_minutes = 0
grace_hours = 0
[cold]
store = "folder"
folder = "cold"
[migration]
grace_days = 1
[lossy]
enabled = {lossy}
"""


def write_study(folder: Path, slices: int = 6, *, study: int = 1, on: str = "20200302") -> dict[str, Dataset]:
    """Write a CT with noise, of 2020 unless it is of another day, as files; return the data sets by UID."""
    folder.mkdir()
    written = {}
    for number in range(1, slices + 1):
        ds = changed(ct_dataset(number, study=study), {"StudyDate": on, "PatientBirthDate": "19500714"})
        samples = slice_of(number)
        ds.Rows, ds.Columns = samples.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.BodyPartExamined = "1", "0", "CHEST"
        ds.PixelData = samples.astype("<i2").tobytes()
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ds))
        written[ds.SOPInstanceUID] = ds
    return written


@pytest.fixture(params=["true", "false"], ids=["lossy", "lossless"])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Lend a running archive with a cold folder, and its people."""
    with running_archive(tmp_path / "home", config=CONFIG.format(lossy=request.param)) as archive:
        desk = Desk(archive)
        desk.people(f"sqlite:///{archive.home / 'index.db'}")
        desk.drimbox("cold", "create")
        yield desk


def get(archive: ArchiveProcess, folder: Path, *keys: str) -> dict[str, Dataset]:
    """Retrieve with getscu; return what came."""
    folder.mkdir()
    where = ("-aec", archive.ae_title, archive.host, str(archive.port))
    done = run("getscu", "-S", "-od", folder, *(word for key in keys for word in ("-k", key)), *where)
    assert done.returncode == 0, done.stderr
    return {ds.SOPInstanceUID: ds for ds in map(dcmread, sorted(folder.iterdir()))}


def find(archive: ArchiveProcess, folder: Path, *keys: str) -> list[Dataset]:
    """Query with findscu."""
    folder.mkdir()
    where = ("-aec", archive.ae_title, archive.host, str(archive.port))
    run("findscu", "-S", "-X", "-od", folder, *(word for key in keys for word in ("-k", key)), *where)
    return [dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]


def go_cold(desk: Desk) -> None:
    """Assess, seal, let received files go, migrate, each with its command."""
    desk.drimbox("retention", "sweep", "--apply", "--as", "olga")
    for step in ("seal", "trim"):
        desk.drimbox("tier", step, "--apply", "--as", "olga")
    planned = json.loads(desk.drimbox("tier", "plan", "--json"))
    assert planned["together"]["studies"] == 1
    made = json.loads(desk.drimbox("tier", "migrate", "--apply", "--json", "--as", "olga"))
    assert made["report"]["studies"] == 1


def test_a_study_of_2020_goes_cold_and_comes_back(desk: Desk, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Pushed, sealed, migrated; getscu gives it in Explicit VR Little Endian, near enough or the same."""
    is_lossy = request.node.callspec.params["desk"] == "true"
    archive, sent = desk.archive, write_study(tmp_path / "study")
    assert storescu(archive, "+sd", tmp_path / "study").returncode == 0
    go_cold(desk)
    level, study = "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}"
    (answer,) = find(archive, tmp_path / "found", level, study, "InstanceAvailability", "NumberOfStudyRelatedInstances")
    assert answer.InstanceAvailability == ("NEARLINE" if is_lossy else "ONLINE")
    assert int(answer.NumberOfStudyRelatedInstances) == len(sent)
    got = get(archive, tmp_path / "got", level, study)
    assert len(got) == len(sent)
    for ds in got.values():
        assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        old = ds.SourceImageSequence[-1].ReferencedSOPInstanceUID if is_lossy else ds.SOPInstanceUID
        difference = np.abs(ds.pixel_array.astype(int) - sent[old].pixel_array.astype(int)).max()
        assert difference <= 40 if is_lossy else difference == 0
        assert is_lossy == (ds.get("LossyImageCompression") == "01")
    if is_lossy:
        check_lossy(desk, tmp_path, sent)


def check_lossy(desk: Desk, tmp_path: Path, sent: dict[str, Dataset]) -> None:
    """The old UIDs lead to the copies; evidence and pictures are there; a rollback gives what was sent."""
    archive, old = desk.archive, next(iter(sent))
    keys = (f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={ROOT}.1.1", f"SOPInstanceUID={old}")
    (answer,) = find(archive, tmp_path / "found2", "QueryRetrieveLevel=IMAGE", *keys)
    assert answer.SOPInstanceUID != old
    (copy,) = get(archive, tmp_path / "got2", "QueryRetrieveLevel=IMAGE", *keys).values()
    assert copy.SOPInstanceUID == answer.SOPInstanceUID
    assert copy.ImageType[0] == "DERIVED"
    shown = json.loads(desk.drimbox("tier", "evidence", STUDY, "--json", "--pictures", str(tmp_path / "pictures")))
    (evidence,) = shown["evidence"]
    assert evidence["body"]["lossy"]
    assert evidence["body"]["worst"]["max_error"] <= 40
    assert [path.read_bytes()[:4] for path in (tmp_path / "pictures").iterdir()] == [b"\x89PNG"]
    assert "openjph" in desk.drimbox("tier", "evidence", STUDY)
    desk.drimbox("tier", "rollback", STUDY, "--as", "olga")
    back = get(archive, tmp_path / "back", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}")
    assert {uid: ds.PixelData for uid, ds in back.items()} == {uid: ds.PixelData for uid, ds in sent.items()}
    again = storescu(archive, "+sd", tmp_path / "study")
    assert again.returncode == 0


def test_the_index_is_made_again_with_the_cold_tier(desk: Desk, tmp_path: Path) -> None:
    """Hot packs gone after a day, the index thrown away: rebuilt from the cold store, all is found and given."""
    archive, sent = desk.archive, write_study(tmp_path / "study", 3)
    assert storescu(archive, "+sd", tmp_path / "study").returncode == 0
    go_cold(desk)
    before = get(archive, tmp_path / "before", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}")
    archive.stop()
    for path in (archive.home / "hot" / "packs").rglob("*.zip"):
        path.unlink()
    report = json.loads(desk.drimbox("index", "rebuild", "--json"))
    assert (report["instances"], report["problems"]) == (len(sent), [])
    archive.start()
    after = get(archive, tmp_path / "after", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}")
    assert {uid: ds.PixelData for uid, ds in after.items()} == {uid: ds.PixelData for uid, ds in before.items()}
