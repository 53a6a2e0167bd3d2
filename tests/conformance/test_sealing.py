"""Sealed studies as DCMTK's tools see them: found, given back with the pixels pushed, known when sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from tests.archive_process import ArchiveProcess, running_archive
from tests.conformance.test_elimination import Desk, found
from tests.dcmtk import run, storescu
from tests.objects import ROOT, ct_dataset, part10_bytes

CONFIG = "[sealing]\nquiet_minutes = 0\ngrace_hours = 0\n"
IMAGES = 5


def ct(number: int) -> Dataset:
    """Return a CT image of 256 x 256, 12 bits, with some noise."""
    rows, columns = np.mgrid[0:256, 0:256]
    noise = np.random.default_rng(number).integers(0, 8, (256, 256))
    pixels = (1000 + 400 * np.sin(rows / 9 + number) + 300 * np.cos(columns / 7) + noise).astype("<u2")
    ds = ct_dataset(number)
    ds.Rows = ds.Columns = 256
    ds.add_new("PixelData", "OW", pixels.tobytes())
    return ds


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Lend a running archive with a study and somebody who may seal it."""
    folder = tmp_path / "study"
    folder.mkdir()
    for number in range(1, IMAGES + 1):
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ct(number)))
    with running_archive(tmp_path / "home", config=CONFIG) as archive:
        desk = Desk(archive)
        desk.people(f"sqlite:///{tmp_path / 'home' / 'index.db'}")
        pushed = storescu(archive, "+sd", folder)
        assert pushed.returncode == 0, pushed.stderr
        yield desk


def got(archive: ArchiveProcess, folder: Path) -> list[Dataset]:
    """Return what getscu is given of the study, in Explicit VR Little Endian."""
    folder.mkdir()
    key = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ROOT}.1")
    where = ("-aec", archive.ae_title, archive.host, str(archive.port))
    done = run("getscu", "-S", "+B", "-od", folder, *key, *where)
    assert done.returncode == 0, done.stderr
    return sorted((dcmread(path) for path in folder.iterdir()), key=lambda ds: int(ds.InstanceNumber))


def files(archive: ArchiveProcess) -> tuple[int, int]:
    """Return how many received files and packs there are."""
    hot = archive.home / "hot"
    return len(list(hot.rglob("*.dcm"))), len(list(hot.rglob("*.zip")))


def test_sealed_and_given_back(desk: Desk, tmp_path: Path) -> None:
    """The dry run counts; sealed and trimmed, the study is one smaller pack, found as before, with the same pixels."""
    archive = desk.archive
    assert "Dry run: nothing was sealed." in desk.drimbox("tier", "seal")
    assert files(archive) == (IMAGES, 0)
    sealed = json.loads(desk.drimbox("tier", "seal", "--apply", "--json", "--as", "olga"))["report"]
    assert (sealed["packs"], sealed["instances"], sealed["compressed"]) == (1, IMAGES, IMAGES)
    assert sealed["packed_bytes"] < sealed["received_bytes"]
    assert files(archive) == (IMAGES, 1)
    trimmed = json.loads(desk.drimbox("tier", "trim", "--apply", "--json", "--as", "olga"))["report"]
    assert (trimmed["trimmed"], trimmed["left"]) == (IMAGES, [])
    assert files(archive) == (0, 1)
    assert found(archive, 1, tmp_path / "found") == 1
    for number, ds in enumerate(got(archive, tmp_path / "got"), start=1):
        assert ds.PixelData == ct(number).PixelData
        assert (ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID) == (ct(number).SOPInstanceUID, "1.2.840.10008.1.2.1")
    again = storescu(archive, "+sd", tmp_path / "study")
    assert again.returncode == 0, again.stderr
    assert files(archive) == (0, 1)
    desk.drimbox("verify")
    for event in ("sealed", "trimmed"):
        (entry,) = json.loads(desk.drimbox("audit", "list", "--event", event, "--json"))
        assert entry["actor"] == "olga"
    archive.stop()
    desk.drimbox("index", "rebuild")
    archive.start()
    assert len(got(archive, tmp_path / "again")) == IMAGES
    assert "MOREAU" not in archive.log()


def test_serving_seals_by_itself(tmp_path: Path) -> None:
    """Switched on, a quiet study becomes a pack, and its received files go, without a command."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(part10_bytes(ct(1)))
    with running_archive(tmp_path / "home", config=f"{CONFIG}enabled = true\n") as archive:
        assert storescu(archive, "+sd", folder).returncode == 0
        archive.kill()
        archive.start()
        assert archive.has_logged("studies_sealed", seconds=30)
        assert archive.has_logged('"trimmed": 1', seconds=90)
        assert files(archive) == (0, 1)
        assert got(archive, tmp_path / "got")[0].PixelData == ct(1).PixelData
