"""Losslessly compressed objects read by DCMTK: their elements, their frames, and the pixels where it has the codec."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info

from tests.dcmtk import run
from tests.unit.tiering.transcode.building import Module, Samples
from tests.unit.tiering.transcode.compressing import JPEG_LS, RPCL, SEALED, Result, compressed, native, smooth

PICTURES = {
    "unsigned": Module(smooth(3, 65, 77), frames=3, bits_stored=12),
    "signed": Module(smooth(65, 77, dtype="i2"), bits_stored=12, signed=True),
    "eight bits": Module(smooth(65, 77, dtype="u1", bits=8)),
    "sixteen bits": Module(smooth(65, 77, bits=16)),
    "inverted": Module(smooth(65, 77), bits_stored=12, photometric="MONOCHROME1"),
    "colour": Module(smooth(65, 77, 3, dtype="u1", bits=8)),
}
EVERY = pytest.mark.parametrize("name", PICTURES)


def write(result: Result, path: Path) -> Path:
    """Write a Part 10 file and return its path."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(result.uid)
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.826.0.1")
    head = io.BytesIO()
    write_file_meta_info(DicomIO(head), meta)
    path.write_bytes(bytes(128) + b"DICM" + head.getvalue() + result.data)
    return path


def stored_samples(path: Path, module: Module) -> Samples:
    """Return the samples of a native file, as they lie in it."""
    found = pydicom.dcmread(path).PixelData
    return np.frombuffer(found, module.samples.dtype)[: module.samples.size].reshape(module.samples.shape)


@EVERY
@pytest.mark.parametrize("uid", SEALED)
def test_dcmdump_reads_every_element_and_frame(name: str, uid: str, tmp_path: Path) -> None:
    """The data set is well formed: an offset table and a fragment for each frame, and nothing to complain about."""
    module = PICTURES[name]
    done = run("dcmdump", "-E", write(compressed(native(module), uid=uid), tmp_path / "sealed.dcm"))
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if line[:2] in ("E:", "F:")]
    assert done.stdout.count("(fffe,e000) pi") == module.frames + 1


@EVERY
def test_dcmdjpls_gives_back_the_samples(name: str, tmp_path: Path) -> None:
    """DCMTK's JPEG-LS decoder, a branch of CharLS of its own, decodes to the samples that were compressed.

    It leaves zeros above Bits Stored, where signed samples had their sign: those bits say nothing (PS3.5 8.1.1).
    """
    module = PICTURES[name]
    sealed = write(compressed(native(module), uid=JPEG_LS), tmp_path / "sealed.dcm")
    done = run("dcmdjpls", sealed, tmp_path / "native.dcm")
    assert done.returncode == 0, done.stderr
    unused = 16 - (module.bits_stored or 16)
    assert np.array_equal(stored_samples(tmp_path / "native.dcm", module) << unused, module.samples << unused)


def test_dcmdjpls_knows_what_it_does_not_decode(tmp_path: Path) -> None:
    """Another codec's codestream named JPEG-LS is refused: the comparison above compares something."""
    result = compressed(native(PICTURES["unsigned"]), uid=RPCL)
    wrong = write(Result(result.data, JPEG_LS, result.facts), tmp_path / "sealed.dcm")
    assert run("dcmdjpls", wrong, tmp_path / "native.dcm").returncode != 0
