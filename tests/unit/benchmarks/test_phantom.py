"""The phantom: reproducible, varied, valid DICOM, compressible as a CT is; must not measure time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest

from benchmarks import phantom
from benchmarks.phantom import cached_series, scanner_noise, slice_pixels, write_multi_frame, write_series
from benchmarks.phantom_header import Subject, ct_header, multi_frame_header


@pytest.fixture
def series(tmp_path: Path) -> list[pydicom.Dataset]:
    """Give three slices as pydicom reads them."""
    write_series(tmp_path, Subject(seed=1, side=64), 3)
    return [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """The same seed writes the same bytes, another seed other ones, so that runs can be compared."""
    digests = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        folder = tmp_path / name
        folder.mkdir()
        write_series(folder, Subject(seed=seed, side=32), 2)
        digests.append([hashlib.sha256(path.read_bytes()).digest() for path in sorted(folder.iterdir())])
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_no_two_slices_alike() -> None:
    """Neighbouring slices show nearly the same anatomy under different noise."""
    first, second = (slice_pixels(1, z, number, 128).astype(int) for z, number in ((0.5, 300), (0.502, 301)))
    difference = first - second
    assert np.count_nonzero(difference) > 0.6 * difference.size
    assert abs(difference.mean()) < 3
    assert difference.std() < 60


def test_pixels_are_twelve_bits_of_anatomy() -> None:
    """A slice holds air, lung, soft tissue and bone as 12-bit values, and nothing outside the field of view."""
    pixels = slice_pixels(1, 0.4, 240)
    assert pixels.dtype == np.uint16
    assert pixels.shape == (512, 512)
    assert int(pixels.max()) <= 4095
    assert int(pixels[0, 0]) == 0
    hounsfield = pixels.astype(int) - 1024
    for low, high, share in ((-950, -750, 0.04), (-20, 120, 0.15), (250, 900, 0.003)):
        assert np.mean((hounsfield > low) & (hounsfield < high)) > share


def test_noise_is_correlated() -> None:
    """Neighbouring pixels of the noise resemble each other as after a reconstruction, distant ones do not."""
    noise = scanner_noise(np.random.default_rng(5), 256)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert 0.15 < np.mean(noise[:, 1:] * noise[:, :-1]) < 0.6
    assert abs(np.mean(noise[:, 20:] * noise[:, :-20])) < 0.02


def test_compresses_like_a_ct() -> None:
    """JPEG-LS makes a slice two to three times smaller: not random, and not the twenty times of a clean drawing."""
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = slice_pixels(1, 0.5, 300)
    assert 2.0 < pixels.nbytes / len(imagecodecs.jpegls_encode(pixels)) < 3.3


def test_header_is_a_full_ct_header(series: list[pydicom.Dataset]) -> None:
    """A slice carries a hundred elements, private ones among them, as a scanner's does."""
    elements = list(series[0].iterall())
    assert len(elements) >= 100
    assert sum(element.tag.is_private for element in elements) >= 6
    assert {"PatientID", "PixelSpacing", "KVP", "ConvolutionKernel"} <= {element.keyword for element in elements}
    assert series[0].file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_header_speaks_french(series: list[pydicom.Dataset]) -> None:
    """Accents come through in the character set the header declares."""
    assert series[0].SpecificCharacterSet == "ISO_IR 100"
    assert str(series[0].PatientName) == "Gonçalves^Hélène"
    unicode_header = pydicom.dcmread(_file(ct_header(Subject(seed=1, side=8, charset="ISO_IR 192"), 1)))
    assert str(unicode_header.PatientName) == "Gonçalves^Hélène"


def _file(header: bytes) -> pydicom.filebase.DicomBytesIO:
    return pydicom.filebase.DicomBytesIO(header + bytes(8 * 8 * 2))


def test_slices_belong_together(series: list[pydicom.Dataset]) -> None:
    """The slices share patient, study and series, and differ in instance UID, number and place."""
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({ds[keyword].value for ds in series}) == 1
    assert len({ds.SOPInstanceUID for ds in series}) == 3
    assert [ds.InstanceNumber for ds in series] == [1, 2, 3]
    assert len({tuple(ds.ImagePositionPatient) for ds in series}) == 3
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in series)


def test_pixels_are_where_the_header_says(series: list[pydicom.Dataset]) -> None:
    """The pixel array that pydicom reads is the one that was drawn."""
    assert np.array_equal(series[1].pixel_array, slice_pixels(1, 2 / 3, 2, 64))


def test_multi_frame_has_every_frame(tmp_path: Path) -> None:
    """The large object holds the announced frames, all different, and ends with its last pixel."""
    subject = Subject(seed=3, side=32)
    write_multi_frame(tmp_path, subject, 130)
    path = tmp_path / "multi-frame.dcm"
    frames = pydicom.dcmread(path).pixel_array
    assert frames.shape == (130, 32, 32)
    assert len({frame.tobytes() for frame in frames}) == 130
    assert path.stat().st_size < 130 * 32 * 32 * 2 + 4096


def test_two_gibibytes_fit_the_length_field() -> None:
    """4096 frames of half a MiB announce 2 GiB of pixels in the 32-bit length."""
    header = multi_frame_header(Subject(seed=3), 4096)
    assert int.from_bytes(header[-4:], "little") == 2**31
    assert header[-12:-4] == b"\xe0\x7f\x10\x00OW\x00\x00"


def test_small_object_is_forty_kilobytes(tmp_path: Path) -> None:
    """A small object is 40 kB with its header."""
    write_series(tmp_path, Subject(seed=2, side=phantom.SMALL_SIDE), 1)
    assert 38_000 < next(tmp_path.iterdir()).stat().st_size < 42_000


def test_cache_writes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A series is drawn once and then read: the second call does not write, and no unfinished folder stays."""
    monkeypatch.setenv("DRIMBOX_PHANTOM_CACHE", str(tmp_path))
    folder, subject = cached_series(2, side=16)
    marker = sorted(folder.iterdir())[0]
    marker.write_bytes(b"seen before")
    again, same = cached_series(2, side=16)
    assert (again, same) == (folder, subject)
    assert marker.read_bytes() == b"seen before"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_cache_keeps_nothing_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A series whose drawing fails leaves nothing behind that a later run could take for whole."""

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setenv("DRIMBOX_PHANTOM_CACHE", str(tmp_path))
    monkeypatch.setattr(phantom, "write_series", fail)
    with pytest.raises(OSError, match="disk full"):
        cached_series(2, side=16)
    assert list(tmp_path.iterdir()) == []


def test_command_line_writes_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m benchmarks.phantom --out`` writes the slices, or one multi-frame object, asked for."""
    for extra, names in ((["--slices", "2"], ["IM00001.dcm", "IM00002.dcm"]), (["--frames", "3"], ["multi-frame.dcm"])):
        out = tmp_path / names[0]
        monkeypatch.setattr("sys.argv", ["phantom", "--out", str(out), "--side", "16", *extra])
        phantom.main()
        assert sorted(path.name for path in out.iterdir()) == names
