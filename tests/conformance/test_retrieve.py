"""C-GET and C-MOVE with DCMTK's getscu, movescu and storescp against the running archive."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from tests.archive_process import ArchiveProcess, running_archive
from tests.dcmtk import free_port, run, storescp, storescu
from tests.objects import ROOT, ct_dataset, part10_bytes, write_series

COMPRESSED = {
    "JPEG lossless": ("SC_rgb_jpeg_gdcm.dcm", "-xs"),
    "JPEG-LS": ("MR_small_jpeg_ls_lossless.dcm", "-xt"),
    "JPEG 2000 lossless": ("MR_small_jp2klossless.dcm", "-xv"),
    "RLE": ("MR_small_RLE.dcm", "-xr"),
    "big endian": ("MR_small_bigendian.dcm", "-xb"),
    "deflated": ("image_dfl.dcm", "-xd"),
}
STATIONS = {"STATION": (), "ANYTHING": ("+xa",), "IMPLICIT": ("+xi",), "SLOW": ("--sleep-after", "1")}


@dataclass(frozen=True)
class Hospital:
    """An archive and the folders its destinations write into."""

    archive: ArchiveProcess
    folders: dict[str, Path]

    def arrived(self, station: str) -> list[Path]:
        """Return what arrived at a destination since it was last asked."""
        folder = self.folders[station]
        taken = folder.with_name(f"{station}-{next(_numbers)}")
        shutil.copytree(folder, taken)
        for path in folder.iterdir():
            path.unlink()
        return sorted(taken.iterdir())


_numbers = count(1)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """One archive for the module, with two studies of one patient and others, and destinations around it."""
    root = tmp_path_factory.mktemp("retrieve")
    folders = {name: root / name for name in STATIONS}
    with ExitStack() as stack:
        peers = {name: stack.enter_context(storescp(folders[name], *options)) for name, options in STATIONS.items()}
        config = "".join(_peer(name, port) for name, port in {**peers, "OFFLINE": free_port()}.items())
        config += '[[dicom.peers]]\nae_title = "NOWHERE"\n'
        archive = stack.enter_context(running_archive(root / "home", config=config))
        for study, series, images in ((1, 1, 6), (1, 2, 3), (2, 1, 2), (3, 1, 1)):
            write_series(root / "sent", images, study=study, series=series)
        (root / "sent" / "4.dcm").write_bytes(part10_bytes(ct_dataset(1, study=4, PatientID="PID1")))
        assert storescu(archive, "+sd", root / "sent").returncode == 0
        yield Hospital(archive, folders)


@pytest.fixture
def archive(hospital: Hospital) -> ArchiveProcess:
    """The archive alone."""
    return hospital.archive


def _peer(ae_title: str, port: int) -> str:
    return f'[[dicom.peers]]\nae_title = "{ae_title}"\nhost = "127.0.0.1"\nport = {port}\n'


def getscu(archive: ArchiveProcess, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Fetch into a folder."""
    folder.mkdir(exist_ok=True)
    where = (archive.host, str(archive.port))
    return run("getscu", "-v", "-aec", archive.ae_title, "-od", folder, *arguments, *where)


def movescu(archive: ArchiveProcess, to: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Have the archive send to a destination."""
    return run("movescu", "-d", "-aec", archive.ae_title, "-aem", to, *arguments, archive.host, str(archive.port))


def keys(level: str, **more: str) -> list[str]:
    """Return the options that make an identifier."""
    options = ["-k", f"QueryRetrieveLevel={level}"]
    for keyword, value in more.items():
        options += ["-k", f"{keyword}={value}"]
    return options


def places(paths: Iterable[Path]) -> list[str]:
    """Return what files hold, as study.series.number."""
    uids = [str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths]
    return sorted(uid.removeprefix(f"{ROOT}.") for uid in uids)


def counts(result: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return the numbers of sub-operations in the last response a tool printed."""
    found = re.findall(r"(Remaining|Completed|Failed|Warning) Suboperations\s*: (\d+)", result.stdout + result.stderr)
    return {name: int(value) for name, value in found}


STUDY_1 = ["1.1.1", "1.1.2", "1.1.3", "1.1.4", "1.1.5", "1.1.6", "1.2.1", "1.2.2", "1.2.3"]


@pytest.mark.parametrize(
    ("root", "options", "expected"),
    [
        ("-S", keys("STUDY", StudyInstanceUID=f"{ROOT}.1"), STUDY_1),
        ("-S", keys("STUDY", StudyInstanceUID=f"{ROOT}.2\\{ROOT}.3"), ["2.1.1", "2.1.2", "3.1.1"]),
        ("-S", keys("SERIES", StudyInstanceUID=f"{ROOT}.1", SeriesInstanceUID=f"{ROOT}.1.2"), STUDY_1[6:]),
        ("-S", keys("SERIES", SeriesInstanceUID=f"{ROOT}.1.2\\{ROOT}.3.1"), [*STUDY_1[6:], "3.1.1"]),
        ("-S", keys("IMAGE", SOPInstanceUID=f"{ROOT}.1.2.3\\{ROOT}.1.1.1"), ["1.1.1", "1.2.3"]),
        ("-P", keys("PATIENT", PatientID="PID1"), [*STUDY_1, "4.1.1"]),
        ("-P", keys("STUDY", PatientID="PID2", StudyInstanceUID=f"{ROOT}.2"), ["2.1.1", "2.1.2"]),
        ("-P", keys("STUDY", PatientID="PID3", StudyInstanceUID=f"{ROOT}.2"), []),
    ],
)
def test_getscu_gets_every_level(
    archive: ArchiveProcess, tmp_path: Path, root: str, options: list[str], expected: list[str]
) -> None:
    """Patient, study, series, image; single keys and lists; with the upper keys and without."""
    result = getscu(archive, tmp_path / "got", root, *options)
    assert result.returncode == 0, result.stderr
    assert places((tmp_path / "got").iterdir()) == expected


def test_getscu_gets_the_objects_that_were_sent(archive: ArchiveProcess, tmp_path: Path) -> None:
    """What comes back has every value that was stored."""
    assert getscu(archive, tmp_path / "got", "-S", *keys("STUDY", StudyInstanceUID=f"{ROOT}.3")).returncode == 0
    (path,) = (tmp_path / "got").iterdir()
    assert _same_values(dcmread(path), ct_dataset(1, study=3))


def _same_values(one: Dataset, other: Dataset) -> bool:
    return all(one[element.tag].value == element.value for element in other) and len(one) == len(other)


@pytest.mark.parametrize("options", [["-pdu", "4096"], ["-pdu", "131072"], ["--bit-preserving"], ["-xi"], ["-xb"]])
def test_getscu_gets_them_in_its_own_way(archive: ArchiveProcess, tmp_path: Path, options: list[str]) -> None:
    """Small and large PDUs, straight to the disk, another syntax asked for first: all images, all values."""
    folder = tmp_path / "got"
    assert getscu(archive, folder, *options, "-S", *keys("STUDY", StudyInstanceUID=f"{ROOT}.1")).returncode == 0
    assert places(folder.iterdir()) == STUDY_1
    assert {str(dcmread(path).PatientName) for path in folder.iterdir()} == {"MOREAU^Hélène"}


def push(hospital: Hospital, name: str) -> Dataset:
    """Store one of pydicom's files under a UID of its own, for some share theirs; return it as it was sent."""
    filename, option = COMPRESSED[name]
    ds = dcmread(str(get_testdata_file(filename)))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.50.{list(COMPRESSED).index(name)}")
    path = hospital.folders["STATION"].parent / f"{name}.dcm"
    ds.save_as(path)
    assert storescu(hospital.archive, option, path).returncode == 0
    return ds


@pytest.mark.parametrize("name", COMPRESSED)
def test_movescu_moves_stored_bytes_untouched(hospital: Hospital, name: str) -> None:
    """A destination that takes the stored transfer syntax gets the data set as it lies in the archive."""
    sent = push(hospital, name)
    result = movescu(hospital.archive, "ANYTHING", "-S", *keys("IMAGE", SOPInstanceUID=str(sent.SOPInstanceUID)))
    assert "Success" in result.stdout + result.stderr
    (path,) = hospital.arrived("ANYTHING")
    kept = hospital.archive.file_of(str(sent.SOPInstanceUID))
    assert dcmread(path).file_meta.TransferSyntaxUID == dcmread(kept).file_meta.TransferSyntaxUID
    assert _dataset_bytes(path) == _dataset_bytes(kept)


def _dataset_bytes(path: Path) -> bytes:
    """Return the bytes behind the file meta, whose length its first element says; odd ones end with a zero."""
    raw = path.read_bytes()
    data = raw[144 + int.from_bytes(raw[140:144], "little") :]
    return data + b"\0" * (len(data) % 2)


@pytest.mark.parametrize("name", ["JPEG lossless", "JPEG-LS", "JPEG 2000 lossless", "RLE", "big endian"])
def test_movescu_converts_for_a_destination_that_takes_less(hospital: Hospital, name: str) -> None:
    """A destination that takes implicit little endian alone gets the same pixels in it."""
    sent = push(hospital, name)
    result = movescu(hospital.archive, "IMPLICIT", "-S", *keys("IMAGE", SOPInstanceUID=str(sent.SOPInstanceUID)))
    assert "Success" in result.stdout + result.stderr
    (path,) = hospital.arrived("IMPLICIT")
    got = dcmread(path)
    assert got.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    assert (got.pixel_array == sent.pixel_array).all()


def test_movescu_sends_to_a_known_destination(hospital: Hospital) -> None:
    """A study arrives at the destination and the counts are right."""
    result = movescu(hospital.archive, "STATION", "-S", *keys("STUDY", StudyInstanceUID=f"{ROOT}.1"))
    assert result.returncode == 0
    assert places(hospital.arrived("STATION")) == STUDY_1
    assert {"Completed": 9, "Failed": 0, "Warning": 0}.items() <= counts(result).items()


@pytest.mark.parametrize(
    ("to", "options", "status"),
    [
        ("STRANGER", keys("STUDY", StudyInstanceUID=f"{ROOT}.1"), "MoveDestinationUnknown"),
        ("NOWHERE", keys("STUDY", StudyInstanceUID=f"{ROOT}.1"), "MoveDestinationUnknown"),
        ("OFFLINE", keys("STUDY", StudyInstanceUID=f"{ROOT}.1"), "OutOfResourcesSubOperations"),
        ("STATION", keys("PATIENT", PatientID="PID1"), "DataSetDoesNotMatchSOPClass"),
        ("STATION", keys("STUDY"), "DataSetDoesNotMatchSOPClass"),
        ("STATION", keys("STUDY", StudyInstanceUID="1.2.3"), "Success"),
    ],
)
def test_movescu_hears_why_not(archive: ArchiveProcess, to: str, options: list[str], status: str) -> None:
    """Unknown and unreachable destinations, identifiers that make no sense, nothing found: each has its status."""
    result = movescu(archive, to, "-S", *options)
    assert status in result.stdout + result.stderr


def test_movescu_lists_what_failed(hospital: Hospital, tmp_path: Path) -> None:
    """When one object's file is gone the rest arrives, the end is a warning, and the failed one is counted."""
    write_series(tmp_path, 3, study=70)
    assert storescu(hospital.archive, "+sd", tmp_path).returncode == 0
    hospital.archive.file_of(f"{ROOT}.70.1.2").unlink()
    result = movescu(hospital.archive, "STATION", "-S", *keys("STUDY", StudyInstanceUID=f"{ROOT}.70"))
    assert places(hospital.arrived("STATION")) == ["70.1.1", "70.1.3"]
    assert counts(result).items() >= {"Completed": 2, "Failed": 1}.items()
    assert f"{ROOT}.70.1.2" in result.stdout + result.stderr


def test_movescu_may_cancel(hospital: Hospital) -> None:
    """A C-CANCEL after the first response ends the move before the study is through."""
    options = keys("STUDY", StudyInstanceUID=f"{ROOT}.1")
    result = movescu(hospital.archive, "SLOW", "--cancel", "1", "-S", *options)
    assert "0xfe00: Cancel: Sub-operations terminated" in result.stdout + result.stderr
    arrived = len(hospital.arrived("SLOW"))
    assert 1 <= arrived < len(STUDY_1)
    assert counts(result).items() >= {"Remaining": len(STUDY_1) - arrived, "Completed": arrived}.items()


def test_every_retrieve_is_in_the_journal(archive: ArchiveProcess, tmp_path: Path) -> None:
    """The journal has who fetched what and how much of it, and the log no identity."""
    assert (
        getscu(
            archive, tmp_path / "got", "-aet", "AUDITED", "-S", *keys("STUDY", StudyInstanceUID=f"{ROOT}.1")
        ).returncode
        == 0
    )
    (body,) = archive.index_row("SELECT body FROM audit WHERE event = 'retrieved' AND actor = 'AUDITED'")
    assert json.loads(body).items() >= {"service": "C-GET", "instances": 9, "completed": 9, "failed": 0}.items()
    assert json.loads(body)["study_instance_uids"] == [f"{ROOT}.1"]
    for secret in ("MOREAU", "PID1", "19600301"):
        assert secret not in body
        assert secret not in archive.log()
