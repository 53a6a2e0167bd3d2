"""Every format of pixels, in every form of a hot pack: what the evidence says, computed anew from the finished pack.

Independent of what made it: pydicom reads the copies, pylibjpeg's OpenJPEG and OpenJPH decode them, numpy and
scikit-image measure.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence as Items
from skimage.metrics import structural_similarity

from tests.phantoms import slice_of
from tests.unit.tiering.hot_packs import copies, encapsulated, hot_pack, image, lossy, opened
from tests.unit.tiering.transcode.building import ENCODERS, J2K, JPEG_LS, JPEG_SV1, RLE, UNCOMPRESSED
from tiering.lossy_rules import SiteRules
from tiering.lossy_series import MadeSeries
from tiering.lossy_tables import load_rules
from tiering.pack import read_manifest

Samples = NDArray[Any]

CR, MR, US = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.6.1"
ENHANCED_CT, XA = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.12.1"
AS_MR = {"Modality": "MR", "SOPClassUID": MR}
AS_CR = {"Modality": "CR", "SOPClassUID": CR}


def grey(number: int, kind: str = "u2", bits: int = 12, *, size: int = 128) -> Samples:
    """Return a slice that takes the range of some bits, unsigned or signed."""
    low = -(1 << bits - 1) if kind[0] == "i" else 0
    values = (slice_of(number, size=size, noise=6.0).astype("f8") + 1100) / 4200 * ((1 << bits) - 1) + low
    return values.round().clip(low, low + (1 << bits) - 1).astype(kind)


def colours(number: int) -> Samples:
    """Return a picture of three colours that have to do with each other."""
    one = grey(number, "u1", 8)
    return np.stack([one, one // 2 + 40, 255 - one], axis=-1)


def as_stored(ds: Dataset) -> Samples:
    """Return frames, rows, columns (and colours) of a native image, as its bytes have them."""
    kind = f"<{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}"
    flat = np.frombuffer(ds.PixelData, kind)
    count, colour = int(ds.get("NumberOfFrames", 1)), int(ds.SamplesPerPixel)
    used = flat[: count * ds.Rows * ds.Columns * colour]
    if colour == 3 and ds.PlanarConfiguration:
        return np.moveaxis(used.reshape(count, 3, ds.Rows, ds.Columns), 1, -1)
    return used.reshape(count, ds.Rows, ds.Columns, *([3] if colour == 3 else []))


def as_decoded(ds: Dataset) -> Samples:
    """Return the same of a copy, by pydicom, with no change of colours."""
    found: Samples = pixel_array(ds, raw=True)
    return found.reshape(int(ds.get("NumberOfFrames", 1)), *found.shape[-(3 if ds.SamplesPerPixel == 3 else 2) :])


def by_openjph(ds: Dataset) -> list[Samples]:
    """Return the frames of a copy by the encoder's own library."""
    frames = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1)))
    return [imagecodecs.htj2k_decode(frame, planar=False) for frame in frames]


def whole_ssim(was: Samples, now: Samples, peak: int) -> float:
    """Return SSIM of a whole frame by scikit-image."""
    axis = 2 if was.ndim == 3 else None
    found = structural_similarity(
        was.astype("f8"), now.astype("f8"), data_range=float(peak), win_size=7, channel_axis=axis
    )
    return float(found)


def check(originals: Sequence[Samples], made: MadeSeries, slopes: Sequence[float] = ()) -> list[Dataset]:
    """Assert that what the evidence says of each frame is what others find in the pack; return the copies."""
    body = json.loads(made.evidence["hot"])
    assert body["lossy"], body["why"]
    (pack,) = made.packs
    data = pack.path.read_bytes()
    manifest = read_manifest(lambda start, length: data[start : start + length], len(data))
    found = copies(pack.path)
    assert all(frame["raw_bytes"] / frame["coded_bytes"] <= body["cap"] for frame in _frames(body) if frame["step"])
    for was, copy, said, member in zip(originals, found, body["instances"], manifest.members, strict=True):
        now = as_decoded(copy)
        assert now.shape == was.shape
        assert len(said["frames"]) == len(was)
        assert member.pixel_sha256 == hashlib.sha256(now.tobytes()).hexdigest()
        for index, each in enumerate(zip(was, now, by_openjph(copy), said["frames"], strict=True)):
            _check_frame(*each[:3], each[3], (slopes or [1.0] * len(was))[index])
        ratio = was.nbytes / sum(frame["coded_bytes"] for frame in said["frames"])
        assert float(copy.LossyImageCompressionRatio) == pytest.approx(ratio, rel=1e-4)
    return found


def _frames(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [frame for instance in body["instances"] for frame in instance["frames"]]


def _check_frame(was: Samples, now: Samples, other: Samples, said: dict[str, Any], slope: float) -> None:
    error = np.abs(now.astype("i8") - was.astype("i8"))
    assert error.max() == said["max_abs_error"]
    assert said["max_error"] == pytest.approx(error.max() * slope, rel=1e-5)
    # imagecodecs does not clamp what OpenJPH decodes beyond white and black: those samples wrap.
    inner = (now > np.iinfo(now.dtype).min) & (now < np.iinfo(now.dtype).max)
    assert np.abs(other.astype("i8") - now.astype("i8"))[inner].max() <= 1
    mean = float((error.astype("f8") ** 2).mean())
    expected = 10 * math.log10(said["range"] ** 2 / mean) if mean else None
    assert said["psnr_db"] == (expected if expected is None else pytest.approx(expected, abs=1e-3))
    assert said["ssim"] == pytest.approx(whole_ssim(was, now, said["range"]), abs=1e-5)
    assert said["source_sha256"] == hashlib.sha256(was.tobytes()).hexdigest()
    assert said["decoded_sha256"] == hashlib.sha256(now.tobytes()).hexdigest()
    assert said["raw_bytes"] == was.nbytes


def series(make: Callable[[int], Samples], **values: Any) -> list[Dataset]:
    """Return three images."""
    return [image(number, make(number), **values) for number in (1, 2, 3)]


FORMATS: dict[str, Callable[[], list[Dataset]]] = {
    "signed 12 in 16": lambda: series(slice_of),
    "signed 16": lambda: series(lambda n: grey(n, "i2", 16), BitsStored=16, HighBit=15, **AS_MR),
    "unsigned 12 in 16": lambda: series(grey, **AS_MR),
    "unsigned 10 in 16": lambda: series(lambda n: grey(n, "u2", 10), BitsStored=10, HighBit=9, **AS_MR),
    "unsigned 16": lambda: series(lambda n: grey(n, "u2", 16), BitsStored=16, HighBit=15, **AS_MR),
    "inverted": lambda: series(grey, PhotometricInterpretation="MONOCHROME1", **AS_CR),
    "8 bits": lambda: series(lambda n: grey(n, "u1", 8), **AS_MR),
    "odd sides": lambda: series(lambda n: slice_of(n)[:97, :113].copy()),
    "large": lambda: [image(1, grey(1, size=1500), **AS_CR)],
    "narrow": lambda: series(lambda n: grey(n)[60:67].copy(), **AS_MR),
}


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "as received"])
@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_grey_frames(tmp_path: Path, make: Callable[[], list[Dataset]], sealed: bool) -> None:
    """Signed and unsigned, whatever bits, inverted, odd and large: all the same numbers, and the attributes stay."""
    originals = make()
    if originals[0].Rows > 512:
        # Every other strip stands for all of a large frame: SSIM is not that of the whole.
        assert json.loads(lossy(tmp_path, hot_pack(originals, sealed=sealed)).evidence["hot"])["lossy"]
        return
    found = check([as_stored(ds) for ds in originals], lossy(tmp_path, hot_pack(originals, sealed=sealed)))
    for was, now in zip(originals, found, strict=True):
        for keyword in ("BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "Rows", "Columns"):
            assert now[keyword].value == was[keyword].value


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "as received"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours(tmp_path: Path, photometric: str, planar: int, sealed: bool) -> None:
    """By pixel and by plane; RGB is transformed, other colours are not; all three samples are measured."""
    originals = []
    for number in (1, 2, 3):
        samples = colours(number)
        ds = image(number, samples, PhotometricInterpretation=photometric, PlanarConfiguration=planar)
        ds.Modality, ds.SOPClassUID = "US", US
        ds.PixelData = (np.moveaxis(samples, -1, 0) if planar else samples).tobytes()
        originals.append(ds)
    made = lossy(tmp_path, hot_pack(originals, sealed=sealed), rules=load_rules("car"))
    for copy in check([as_stored(ds) for ds in originals], made):
        assert copy.PhotometricInterpretation == ("YBR_ICT" if photometric == "RGB" else photometric)
        assert copy.PlanarConfiguration == 0


@pytest.mark.parametrize("uid", [RLE, JPEG_SV1, JPEG_LS, J2K, UNCOMPRESSED])
def test_frames_that_came_compressed_without_loss(tmp_path: Path, uid: str) -> None:
    """A hot pack may hold them as they were received; they are decoded by what decodes them for a viewer."""
    samples = [grey(number, "u2", 16) for number in (1, 2, 3)]
    originals = [
        encapsulated(image(number, one, BitsStored=16, HighBit=15, **AS_MR), uid, [ENCODERS[uid](one)])
        for number, one in enumerate(samples, start=1)
    ]
    check([one[None] for one in samples], lossy(tmp_path, hot_pack(originals, sealed=False)))


def many(slopes: Sequence[str] = (), **values: Any) -> tuple[Dataset, Samples]:
    """Return an enhanced CT of five frames, rescaled each in its own way, and its samples."""
    frames = np.stack([slice_of(number) for number in range(1, 6)])
    ds = image(1, frames[0], NumberOfFrames=5, SOPClassUID=ENHANCED_CT, **values)
    ds.PixelData = frames.astype("<i2").tobytes()
    if slopes:
        del ds.RescaleSlope, ds.RescaleIntercept
        groups = []
        for slope in slopes:
            transformation, group = Dataset(), Dataset()
            transformation.RescaleSlope, transformation.RescaleIntercept = slope, "-1024"
            transformation.RescaleType = "HU"
            group.PixelValueTransformationSequence = Items([transformation])
            groups.append(group)
        ds.PerFrameFunctionalGroupsSequence = Items(groups)
    return ds, frames


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "as received"])
def test_many_frames_each_rescaled_in_its_own_way(tmp_path: Path, sealed: bool) -> None:
    """The error of a frame is in its own unit, and none is above the gate's 40 HU by its own slope."""
    slopes = ("1", "0.5", "2", "1", "0.25")
    ds, frames = many(slopes)
    made = lossy(tmp_path, hot_pack([ds], sealed=sealed))
    (copy,) = check([frames], made, [float(slope) for slope in slopes])
    assert int(copy.NumberOfFrames) == 5
    body = json.loads(made.evidence["hot"])
    assert max(frame["max_error"] for frame in body["instances"][0]["frames"]) <= 40
    assert body["slope"] == 2.0


def test_the_type_of_each_frame_becomes_derived(tmp_path: Path) -> None:
    """In functional groups as in Image Type."""
    ds, frames = many(("1",) * 5)
    frame_type = Dataset()
    frame_type.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.CTImageFrameTypeSequence = Items([frame_type])
    (copy,) = check([frames], lossy(tmp_path, hot_pack([ds])))
    for group in copy.PerFrameFunctionalGroupsSequence:
        assert list(group.CTImageFrameTypeSequence[0].FrameType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


def test_an_angiogram(tmp_path: Path) -> None:
    """Many frames of 8 bits: the offset table leads to each of them."""
    frames = np.stack([grey(number, "u1", 8) for number in range(1, 8)])
    ds = image(1, frames[0], NumberOfFrames=7, Modality="XA", SOPClassUID=XA)
    ds.PixelData = frames.tobytes()
    check([frames], lossy(tmp_path, hot_pack([ds])))


def test_packs_of_one_series_have_one_decision(tmp_path: Path) -> None:
    """With a frame in the second pack that has few values, the first is compressed no further than that allows."""
    quiet = [image(number) for number in range(1, 9)]
    alone = lossy(tmp_path, hot_pack(quiet, key="a"), rules=load_rules("drg", SiteRules(caps={"CT": 7.9})))
    water = np.random.default_rng(1).normal(0, 60, (128, 128)).round().astype("i2")
    both = lossy(tmp_path, hot_pack(quiet, key="a"), hot_pack([image(9, water)], key="b"))
    steps = [json.loads(made.evidence["a"])["step"] for made in (alone, both)]
    assert json.loads(both.evidence["b"])["lossy"]
    assert steps[1] < steps[0]
    assert json.loads(both.evidence["b"])["step"] == steps[1]


# ---- padding ----------------------------------------------------------------------------------------------------


def padded(low: int = -2000, *, limit: int | None = None, sky: int = -1000, **values: Any) -> tuple[Dataset, Samples]:
    """Return an image whose upper rows are padding, up to ``limit`` in turn, beside a sky of one value."""
    samples = slice_of(1).clip(sky, 2047)
    samples[:20] = low
    if limit is not None:
        samples[1:20:2] = limit
        values["PixelPaddingRangeLimit"] = limit
    return image(1, samples, PixelPaddingValue=low, **values), samples


@pytest.mark.parametrize("limit", [None, -1990, -1900])
def test_padding_stays_padding(tmp_path: Path, limit: int | None) -> None:
    """What was padding is padding by the copy's own words, and nothing else is."""
    ds, samples = padded(limit=limit)
    (copy,) = check([samples[None]], lossy(tmp_path, hot_pack([ds])))
    low, high = sorted((copy.PixelPaddingValue, copy.PixelPaddingRangeLimit))
    (now,) = as_decoded(copy)
    was = (samples >= -2000) & (samples <= (limit or -2000))
    assert (((now >= low) & (now <= high)) == was).all()
    assert low < -2000 and high < -1000


def test_padding_close_to_pixels_is_kept_apart(tmp_path: Path) -> None:
    """With pixels 24 above, padding may move by half of that: the error there is held below it."""
    ds, samples = padded(-1024)
    (copy,) = check([samples[None]], lossy(tmp_path, hot_pack([ds])))
    low, high = sorted((copy.PixelPaddingValue, copy.PixelPaddingRangeLimit))
    assert (low, high) == (-1024 - 41, -1024 + 11)
    (now,) = as_decoded(copy)
    assert ((now <= high) == (samples == -1024)).all()


def test_padding_that_is_also_a_pixel_keeps_a_series_lossless(tmp_path: Path) -> None:
    """Where the next value is a pixel's, nothing may move: the reason says so."""
    ds, _ = padded(-1001)
    body = json.loads(lossy(tmp_path, hot_pack([ds])).evidence["hot"])
    assert not body["lossy"]
    assert "became padding or ceased to be" in body["why"]


def test_padding_nobody_used_does_no_harm(tmp_path: Path) -> None:
    """Declared far from every pixel, it is declared wider, and no pixel falls into it."""
    ds = image(1, PixelPaddingValue=-2000)
    (copy,) = check([as_stored(ds)], lossy(tmp_path, hot_pack([ds])))
    assert as_decoded(copy).min() > max(copy.PixelPaddingValue, copy.PixelPaddingRangeLimit)


# ---- the same again ----------------------------------------------------------------------------------------------


def test_threads_come_to_the_same_pack(tmp_path: Path) -> None:
    """Byte for byte, whatever their number."""
    pack = hot_pack([image(number) for number in range(1, 25)])
    digests = {lossy(tmp_path, pack, threads=threads).packs[0].facts.sha256 for threads in (1, 2, 5)}
    assert len(digests) == 1


def test_there_is_a_pause_before_each_frame(tmp_path: Path) -> None:
    """Whatever else wants the processor is let through between two frames, however long the series."""
    frames: list[int] = []
    lossy(tmp_path, hot_pack([image(number) for number in range(1, 9)]), pause=lambda: frames.append(1))
    assert len(frames) >= 8


def test_nothing_else_changes(tmp_path: Path) -> None:
    """Of a real CT of pydicom's, every other element is as it was; what is private too."""
    from tests.unit.tiering.transcode.building import SHIPPED

    ds = pydicom.dcmread(SHIPPED / "CT_small.dcm")
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    del ds.PixelPaddingValue
    made = lossy(tmp_path, hot_pack([ds]), rules=load_rules("drg", SiteRules(caps={"CT": 3.0})))
    if not made.packs:
        assert json.loads(made.evidence["hot"])["why"]
        return
    (copy,) = copies(made.packs[0].path)
    written = {0x00080008, 0x00080018, 0x00082111, 0x00082112, 0x00089215, 0x00282110, 0x00282112, 0x00282114}
    left_out = {0x00280106, 0x00280107, 0x7FE00010}
    for element in ds:
        if int(element.tag) not in written | left_out:
            assert copy[element.tag] == element


def test_a_pack_can_be_opened_again(tmp_path: Path) -> None:
    """A lossy pack, taken for a hot one, is never compressed a second time."""
    made = lossy(tmp_path, hot_pack([image(1), image(2)]))
    again = lossy(tmp_path / "..", opened(made.packs[0].path.read_bytes()))
    assert again.packs == ()
    assert "already lossy" in json.loads(again.evidence["hot"])["reasons"][0]
