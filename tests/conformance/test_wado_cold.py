"""Sealed studies, cold ones and lossy copies over DICOMweb, and a cold store that does not answer."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

from tests.archive_process import ArchiveProcess, running_archive
from tests.conformance.test_cold import CONFIG, STUDY, write_study
from tests.conformance.test_elimination import Desk
from tests.conformance.test_sealing import ct
from tests.dcmtk import storescu
from tests.objects import ROOT, changed, part10_bytes
from tests.web_reader import AS_STORED, HTTP, OCTETS, Reader, place

HTJ2K, HTJ2K_LOSSY, EXPLICIT = "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.1"
SLICES = 3
LOSSLESS = f"{ROOT}.5"


@dataclass
class Shelf:
    """A running archive with two studies in the cold folder, one of them lossy, and one that is sealed, as sent."""

    reader: Reader
    cold: dict[str, Dataset]
    sealed: dict[str, Dataset]

    @property
    def archive(self) -> ArchiveProcess:
        """Return the archive."""
        return self.reader.archive

    def forget(self) -> None:
        """Take away everything that was read before, which anybody may at any time."""
        for path in (self.archive.home / "cache").rglob("*"):
            if path.is_file():
                path.unlink()


def sealed_study(folder: Path) -> dict[str, Dataset]:
    """Write a study of today as files."""
    folder.mkdir()
    found = {}
    for number in (1, 2, 3):
        uids = {"StudyInstanceUID": f"{ROOT}.9", "SeriesInstanceUID": f"{ROOT}.9.1"}
        ds = changed(ct(number), {**uids, "SOPInstanceUID": f"{ROOT}.9.1.{number}", "StudyDate": "20261101"})
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ds))
        found[str(ds.SOPInstanceUID)] = ds
    return found


def mammography(folder: Path, source: dict[str, Dataset]) -> dict[str, Dataset]:
    """Write the same pictures as mammography, which is never compressed with loss."""
    folder.mkdir()
    found = {}
    for number, sent in enumerate(source.values(), 1):
        uids = {"StudyInstanceUID": LOSSLESS, "SeriesInstanceUID": f"{LOSSLESS}.1"}
        ds = changed(copy.deepcopy(sent), {**uids, "SOPInstanceUID": f"{LOSSLESS}.1.{number}"})
        changed(ds, {"Modality": "MG", "BodyPartExamined": "BREAST"})
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ds))
        found[str(ds.SOPInstanceUID)] = ds
    return found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Lend the archive; the hot packs of what is cold are gone."""
    root = tmp_path_factory.mktemp("cold")
    with running_archive(root / "home", config=CONFIG.format(lossy="true") + HTTP) as archive:
        desk = Desk(archive)
        desk.people(f"sqlite:///{archive.home / 'index.db'}")
        desk.drimbox("cold", "create")
        cold = write_study(root / "cold", SLICES)
        cold |= mammography(root / "mammography", cold)
        sealed = sealed_study(root / "sealed")
        assert storescu(archive, "+sd", *(root / name for name in ("cold", "mammography", "sealed"))).returncode == 0
        reader = Reader(archive)
        assert len(reader.metadata(f"/studies/{STUDY}")) == SLICES  # what is described before it goes cold
        desk.drimbox("retention", "sweep", "--apply", "--as", "olga")
        for step in ("seal", "trim", "migrate"):
            desk.drimbox("tier", step, "--apply", "--as", "olga")
        for path in (archive.home / "hot" / "packs").rglob("*.zip"):
            if f"{ROOT}.9" not in str(path):
                path.unlink()
        yield Shelf(reader, cold, sealed)


def is_lossy(ds: Dataset) -> bool:
    """Tell whether an object says that it is compressed with loss."""
    return bool(ds.get("LossyImageCompression") == "01")


def original(shelf: Shelf, ds: Dataset) -> Dataset:
    """Return what an object was sent as."""
    old = ds.SourceImageSequence[-1].ReferencedSOPInstanceUID if is_lossy(ds) else ds.SOPInstanceUID
    return shelf.cold[old]


def test_a_sealed_study_comes_with_every_pixel(shelf: Shelf) -> None:
    """Decoded by default, as HTJ2K with *, frames and pictures too: as they were before it was sealed."""
    path = f"/studies/{ROOT}.9"
    for accept, syntax in (('multipart/related; type="application/dicom"', EXPLICIT), (AS_STORED, HTJ2K)):
        got = shelf.reader.objects(path, accept)
        assert got.keys() == shelf.sealed.keys()
        for uid, ds in got.items():
            assert ds.file_meta.TransferSyntaxUID == syntax
            assert np.array_equal(ds.pixel_array, shelf.sealed[uid].pixel_array)
    first = shelf.sealed[f"{ROOT}.9.1.1"]
    ((kind, frame),) = shelf.reader.parts(f"{place(first)}/frames/1", OCTETS)
    assert (kind, frame) == (f"application/octet-stream; transfer-syntax={EXPLICIT}", first.PixelData)
    ((kind, _),) = shelf.reader.parts(f"{place(first)}/frames/1", f"{OCTETS}; transfer-syntax=*")
    assert kind.endswith(HTJ2K)
    assert shelf.reader.metadata(path)[0]["00083002"]["Value"] == [HTJ2K]
    assert "HTJ2K" not in shelf.reader.problem(path, f"{AS_STORED[:-1]}1.2.840.10008.1.2.4.70", 406)


COLD = pytest.mark.parametrize("study", [STUDY, LOSSLESS], ids=["lossy", "lossless"])


@COLD
def test_a_cold_study_comes_near_enough(shelf: Shelf, study: str) -> None:
    """Lossless copies with every pixel; lossy ones as they are unless they are asked for decoded."""
    shelf.forget()
    default = shelf.reader.objects(f"/studies/{study}")
    asked = shelf.reader.objects(f"/studies/{study}", f"{AS_STORED[:-1]}{EXPLICIT}")
    assert default.keys() == asked.keys()
    assert len(default) == SLICES
    assert {is_lossy(ds) for ds in default.values()} == {study == STUDY}
    for uid, ds in default.items():
        assert ds.file_meta.TransferSyntaxUID == (HTJ2K_LOSSY if is_lossy(ds) else EXPLICIT)
        assert asked[uid].file_meta.TransferSyntaxUID == EXPLICIT
        was = original(shelf, ds).pixel_array.astype(int)
        for each in (ds, asked[uid]):
            difference = np.abs(each.pixel_array.astype(int) - was).max()
            assert difference <= 40 if is_lossy(ds) else difference == 0


@COLD
def test_metadata_frames_and_pictures_of_a_cold_study(shelf: Shelf, study: str) -> None:
    """Read from the cold store; the metadata say that it is lossy, and are not those of before."""
    shelf.forget()
    told = shelf.reader.metadata(f"/studies/{study}")
    objects = shelf.reader.objects(f"/studies/{study}")
    assert [each["00080018"]["Value"][0] for each in told] == list(objects)
    for each, ds in zip(told, objects.values(), strict=True):
        assert ("00282110" in each) == is_lossy(ds)
        if is_lossy(ds):
            assert each["00282110"]["Value"] == ["01"]
            assert each["00080008"]["Value"][0] == "DERIVED"
    first = next(iter(objects.values()))
    shelf.forget()
    (_, frame), *_ = shelf.reader.parts(f"{place(first)}/frames/1", OCTETS)
    got = np.frombuffer(frame, "<i2").reshape(first.Rows, first.Columns).astype(int)
    assert np.abs(got - original(shelf, first).pixel_array).max() <= (40 if is_lossy(first) else 0)
    shown = Image.open(io.BytesIO(shelf.reader.get(f"{place(first)}/rendered", "image/png").content))
    assert shown.size == (first.Columns, first.Rows)
    assert shelf.reader.get(f"/studies/{study}/thumbnail").headers["content-type"] == "image/jpeg"
    shelf.forget()
    drawn = shelf.reader.parts(f"/studies/{study}/rendered", 'multipart/related; type="image/png"')
    assert len(drawn) == SLICES
    assert drawn[0][1] == shelf.reader.get(f"{place(first)}/rendered", "image/png").content


@COLD
def test_old_uids_lead_to_what_took_their_place(shelf: Shelf, study: str) -> None:
    """Objects, metadata, frames and pictures under the UID that the original had."""
    old = next(ds for ds in shelf.cold.values() if study == ds.StudyInstanceUID)
    (ds,) = shelf.reader.objects(place(old)).values()
    (told,) = shelf.reader.metadata(place(old))
    assert told["00080018"]["Value"] == [ds.SOPInstanceUID]
    assert (ds.SOPInstanceUID == old.SOPInstanceUID) != is_lossy(ds)
    assert shelf.reader.parts(f"{place(old)}/frames/1", OCTETS) == shelf.reader.parts(f"{place(ds)}/frames/1", OCTETS)
    assert shelf.reader.get(f"{place(old)}/rendered").content


def test_a_store_that_does_not_answer_is_told(shelf: Shelf) -> None:
    """503 and when to come back, for all that has to be read there; what is hot or described already is given."""
    told = {study: shelf.reader.metadata(f"/studies/{study}") for study in (STUDY, LOSSLESS)}
    folder = shelf.archive.home / "cold"
    away = folder.rename(folder.with_name("away"))
    try:
        for path in (shelf.archive.home / "cache").glob("*"):
            if path.is_file():
                path.unlink()
        for study, metadata in told.items():
            series, uid = metadata[0]["0020000E"]["Value"][0], metadata[0]["00080018"]["Value"][0]
            instance = f"/studies/{study}/series/{series}/instances/{uid}"
            single = [f"{instance}/frames/1", f"{instance}/rendered", f"{instance}/metadata"]
            drawn = [f"/studies/{study}/rendered", f"/studies/{study}/series/{series}/rendered"]
            for what in (f"/studies/{study}", *single, *drawn):
                answer = shelf.reader.get(what, status=503)
                assert int(answer.headers["retry-after"]) > 0
                assert answer.headers["content-type"] == "application/problem+json"
            assert shelf.reader.metadata(f"/studies/{study}") == metadata
        assert len(shelf.reader.objects(f"/studies/{ROOT}.9")) == 3
    finally:
        away.rename(folder)
