"""A series becomes lossy packs that others read, each frame as near as is said; or it stays lossless, and why."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage
from skimage.metrics import structural_similarity

from tests.phantoms import slice_of
from tests.unit.tiering.hot_packs import copies, difference, hot_pack, image, lossy, opened
from tiering import lossy_series
from tiering.errors import PackMismatch
from tiering.lossy import CodecPair
from tiering.lossy_rules import SiteRules
from tiering.lossy_series import MadeSeries, copy_uid
from tiering.lossy_tables import load_rules
from tiering.pack import verify_pack

CR, MR, US = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.6.1"


def evidence(made: MadeSeries, key: str = "hot") -> dict[str, Any]:
    """Return the evidence of a pack."""
    body: dict[str, Any] = json.loads(made.evidence[key])
    return body


def why(folder: Path, *images: Dataset, **values: Any) -> str:
    """Return why a series stays lossless; it must."""
    made = lossy(folder, hot_pack(images, **values))
    assert made.packs == ()
    body = evidence(made)
    assert not body["lossy"]
    return f"{body['why']} {' '.join(body['reasons'])}"


def check(originals: list[Dataset], made: MadeSeries, *, rounding: int = 0) -> list[Dataset]:
    """Assert that every frame is as near to its original as the evidence says; return the copies.

    ``rounding``: so much may samples differ that pydicom's decoder and the one in evidence make of a frame.
    """
    (pack,) = made.packs
    found = copies(pack.path)
    body = evidence(made)
    assert len(found) == len(originals) == len(body["instances"])
    for original, copy, said in zip(originals, found, body["instances"], strict=True):
        _check_frames(original, copy, said["frames"], rounding)
        assert copy.SOPInstanceUID == said["sop_instance_uid"]
        assert original.SOPInstanceUID == said["derived_from"]
    assert body["worst"]["ratio"] <= body["cap"]
    return found


def _check_frames(original: Dataset, copy: Dataset, frames: list[dict[str, Any]], rounding: int) -> None:
    count = int(original.get("NumberOfFrames", 1))
    shape = (count, *original.pixel_array.shape[-2:]) if original.SamplesPerPixel == 1 else (count, -1)
    before, after = original.pixel_array.reshape(shape), copy.pixel_array.reshape(shape)
    assert len(frames) == count
    for was, now, said in zip(before, after, frames, strict=True):
        error = np.abs(now.astype("i8") - was.astype("i8"))
        assert abs(error.max() - said["max_abs_error"]) <= rounding
        peak = said["range"]
        assert "PixelPaddingValue" in original or peak == int(was.max()) - int(was.min())
        mean = (error.astype(float) ** 2).mean()
        if mean:
            assert said["psnr_db"] == pytest.approx(10 * math.log10(peak**2 / mean), abs=0.1 if rounding else 1e-3)
        else:
            assert said["psnr_db"] is None


SAID = {
    "htj2k": (
        "1.2.840.10008.1.2.4.203",
        "ISO_15444_15",
        r"^HTJ2K irreversible, quantization step .*openjph.*openjpeg",
    ),
    "jpeg2000": ("1.2.840.10008.1.2.4.91", "ISO_15444_1", r"^JPEG 2000 irreversible, aimed at .*openjpeg.*ffmpeg"),
}


@pytest.mark.parametrize("codec", SAID)
def test_a_ct_becomes_a_pack_that_others_read(codec: str, tmp_path: Path) -> None:
    """Unzipped, read by pydicom, decoded by OpenJPEG: as near as the evidence says, and all PS3.3 asks for."""
    syntax, method, description = SAID[codec]
    originals = [image(number) for number in range(1, 7)]
    made = lossy(tmp_path, hot_pack(originals), codec=codec)
    assert evidence(made)["transfer_syntax_uid"] == syntax
    rounding = int(codec == "jpeg2000")  # the evidence is of FFmpeg's decoder
    for copy, original in zip(check(originals, made, rounding=rounding), originals, strict=True):
        assert copy.file_meta.TransferSyntaxUID == syntax
        assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID != original.SOPInstanceUID
        assert copy.ImageType[0] == "DERIVED"
        assert (copy.LossyImageCompression, copy.LossyImageCompressionMethod) == ("01", method)
        assert 1 < float(copy.LossyImageCompressionRatio) <= 8
        assert re.search(description, copy.DerivationDescription)
        (source,) = copy.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == original.SOPInstanceUID
        assert source.ReferencedSOPClassUID == CTImageStorage
        assert copy.SeriesInstanceUID == original.SeriesInstanceUID
        assert copy.PatientID == original.PatientID
        assert 0 < np.abs(difference(original, copy)).max() <= 40


def test_the_structural_similarity_is_that_of_the_library(tmp_path: Path) -> None:
    """What is in the evidence is what scikit-image says of the whole frame."""
    originals = [image(number) for number in range(1, 4)]
    made = lossy(tmp_path, hot_pack(originals))
    for original, copy, said in zip(originals, copies(made.packs[0].path), evidence(made)["instances"], strict=True):
        was, now = original.pixel_array, copy.pixel_array
        peak = int(was.max()) - int(was.min())
        whole = structural_similarity(was.astype(float), now.astype(float), data_range=peak, win_size=7)
        assert said["frames"][0]["ssim"] == pytest.approx(whole, abs=2e-3)


def test_the_pack_carries_evidence_and_picture(tmp_path: Path) -> None:
    """Both are in the manifest, so that the pack alone tells; every byte of it is proven."""
    (pack,) = (made := lossy(tmp_path, hot_pack([image(1), image(2)]))).packs
    with pack.path.open("rb") as file:
        manifest = verify_pack(file, sha256=pack.facts.sha256)
    assert manifest.series.metadata["lossy"] == evidence(made)
    assert manifest.series.metadata["picture_png"].startswith("iVBOR")
    assert all(member.derived_from for member in manifest.members)
    sizes = manifest.series.metadata["received_sizes"]
    assert set(sizes) == {member.sop_instance_uid for member in manifest.members}
    assert all(sizes.values())
    with zipfile.ZipFile(pack.path) as opened_pack:
        assert opened_pack.namelist()[-1] == "manifest.json"


def _grey(kind: str, bits: int, *, noise: float = 6.0) -> Callable[[int], np.ndarray[Any, Any]]:
    def make(number: int) -> np.ndarray[Any, Any]:
        samples = (slice_of(number, noise=noise).astype("i4") + 1100) * (2**bits - 1) // 4200
        found: np.ndarray[Any, Any] = samples.clip(0, 2**bits - 1).astype(kind)
        return found

    return make


def _colours(number: int) -> np.ndarray[Any, Any]:
    grey = _grey("u1", 8)(number)
    return np.stack([grey, np.roll(grey, 3, 0), 255 - grey], axis=-1)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (_grey("u2", 12), {"Modality": "MR", "SOPClassUID": MR}),
        (_grey("u2", 12), {"Modality": "CR", "SOPClassUID": CR, "PhotometricInterpretation": "MONOCHROME1"}),
        (
            _colours,
            {"Modality": "US", "SOPClassUID": US, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
        ),
    ],
    ids=["unsigned MR", "inverted CR", "RGB ultrasound"],
)
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "as received"])
@pytest.mark.parametrize("codec", SAID)
def test_other_pixels_are_as_near_as_they_say(
    tmp_path: Path, make: Callable[[int], np.ndarray[Any, Any]], values: dict[str, Any], sealed: bool, codec: str
) -> None:
    """Unsigned, inverted, coloured, compressed before or not: what is said of them is true, or they stay."""
    originals = [image(number, make(number), **values) for number in range(1, 4)]
    made = lossy(tmp_path, hot_pack(originals, sealed=sealed), codec=codec)
    if made.packs:
        found = check(originals, made, rounding=int(codec == "jpeg2000"))
        assert {ds.PhotometricInterpretation for ds in found} <= {"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_ICT"}
    else:
        assert evidence(made)["why"]


def test_a_picture_of_many_frames(tmp_path: Path) -> None:
    """Each frame of a multi-frame instance has its own evidence, and its place."""
    frames = np.stack([slice_of(number) for number in range(1, 5)])
    ds = image(1, frames[0], NumberOfFrames=4, PixelData=frames.astype("<i2").tobytes())
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    (copy,) = check([ds], lossy(tmp_path, hot_pack([ds])))
    assert int(copy.NumberOfFrames) == 4


def test_odd_sizes(tmp_path: Path) -> None:
    """Neither side even, neither alike."""
    originals = [image(number, slice_of(number)[:97, :113].copy()) for number in (1, 2, 3)]
    check(originals, lossy(tmp_path, hot_pack(originals)))


def test_padding_stays_padding(tmp_path: Path) -> None:
    """What is outside of the picture is outside of it afterwards, as the copy itself declares; nothing else is."""
    originals = []
    for number in (1, 2, 3):
        samples = slice_of(number)
        samples[:20] = -2000
        originals.append(image(number, samples, PixelPaddingValue=-2000))
    for original, copy in zip(originals, check(originals, lossy(tmp_path, hot_pack(originals))), strict=True):
        low, high = sorted((copy.PixelPaddingValue, copy.PixelPaddingRangeLimit))
        is_padding = (copy.pixel_array >= low) & (copy.pixel_array <= high)
        assert ((original.pixel_array == -2000) == is_padding).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"Modality": "MG"}, "mammography"),
        ({"Modality": "PT"}, "measured"),
        ({"SOPClassUID": "1.2.3"}, "SOP class 1.2.3"),
        ({"LossyImageCompression": "01"}, "already lossy"),
        ({"ImageType": ["DERIVED", "PRIMARY", "ADC"]}, "computed"),
        ({"RescaleType": "mGy"}, "measured"),
        ({"RedPaletteColorLookupTableData": b"\0\0"}, "PALETTE"),
        ({"Modality": "XX"}, "no ratio"),
    ],
)
def test_what_the_rules_forbid_stays(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    """One instance that says so is enough, and the evidence says it too."""
    assert words in why(tmp_path, image(1), image(2, **values)) or words in why(tmp_path, image(1, **values))


def test_real_world_values_stay(tmp_path: Path) -> None:
    """Somebody measures them."""
    ds = image(1)
    ds.RealWorldValueMappingSequence = Sequence([Dataset()])
    assert "measured" in why(tmp_path, ds)


def test_what_arrived_lossy_stays(tmp_path: Path) -> None:
    """By the transfer syntax it was received in, whatever the data set says."""
    assert "already lossy" in why(tmp_path, image(1), received_transfer_syntax_uid="1.2.840.10008.1.2.4.81")


def test_a_site_can_forbid_more(tmp_path: Path) -> None:
    """A modality, a part of the body, a lower cap."""
    for rules in (SiteRules(never_modalities=frozenset({"CT"})), SiteRules(never_body_parts=frozenset({"CHEST"}))):
        assert lossy(tmp_path, hot_pack([image(1)]), rules=load_rules("drg", rules)).packs == ()
    made = lossy(tmp_path, hot_pack([image(1), image(2)]), rules=load_rules("drg", SiteRules(caps={"CT": 4.0})))
    assert evidence(made)["worst"]["ratio"] <= 4


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"BitsStored": 16, "HighBit": 15}, "bits"),
        ({"PixelPaddingValue": -2000}, "padding"),
        ({"Modality": "MR"}, "modality"),
        ({"PixelData": None}, "no pixels"),
    ],
)
def test_instances_that_differ_stay(tmp_path: Path, second: dict[str, Any], words: str) -> None:
    """One decision for all of them cannot be made."""
    assert words in why(tmp_path, image(1), image(2, **second), sealed=False)


def test_a_broken_data_set_stays(tmp_path: Path) -> None:
    """It is named; nothing is guessed of it."""
    ds = image(1)
    ds.PixelData = ds.PixelData[:100]
    assert "000002.dcm" in why(tmp_path, image(2), ds, sealed=False)


def test_two_packs_of_a_series_are_one_series(tmp_path: Path) -> None:
    """Both go lossy with one setting; a frame that fails in one leaves both lossless."""
    first, second = hot_pack([image(1), image(2)], key="a"), hot_pack([image(3), image(4)], key="b")
    made = lossy(tmp_path, first, second)
    assert [pack.hot_key for pack in made.packs] == ["a", "b"]
    assert evidence(made, "a")["step"] == evidence(made, "b")["step"]
    assert len(evidence(made, "b")["instances"]) == 2
    forbidden = hot_pack([image(3, LossyImageCompression="01")], key="b")
    made = lossy(tmp_path, first, forbidden)
    assert made.packs == ()
    assert set(made.evidence) == {"a", "b"}


def test_the_same_series_makes_the_same_packs(tmp_path: Path) -> None:
    """Byte for byte, so that a search made again after a crash is the same object."""
    pack = hot_pack([image(1), image(2)])
    one, two = (lossy(folder, pack) for folder in (tmp_path, tmp_path))
    assert one.packs[0].facts.sha256 == two.packs[0].facts.sha256


def test_uids_may_stay(tmp_path: Path) -> None:
    """A site that wants it has copies under the old UIDs."""
    (copy,) = check([image(1)], lossy(tmp_path, hot_pack([image(1)]), new_uid=lambda uid, _: uid))
    assert copy.SOPInstanceUID == image(1).SOPInstanceUID


def test_the_uid_of_a_copy_is_made_of_its_original() -> None:
    """A UID of PS3.5, a UUID of version 8; the same of the same, another of anything else."""
    one = copy_uid("1.2.3", "ab" * 32)
    assert one == copy_uid("1.2.3", "ab" * 32)
    assert len({one, copy_uid("1.2.4", "ab" * 32), copy_uid("1.2.3", "ac" * 32)}) == 3
    number = int(one.removeprefix("2.25."))
    assert len(one) <= 64
    assert (number >> 76 & 0xF, number >> 62 & 0b11) == (8, 0b10)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def with_codec(monkeypatch: pytest.MonkeyPatch, change: Callable[[CodecPair], CodecPair]) -> None:
    """Have the codecs go wrong."""
    right = lossy_series.htj2k_pair
    monkeypatch.setattr(lossy_series, "htj2k_pair", lambda layout: change(right(layout)))


def test_a_codec_that_returns_garbage_leaves_it_lossless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that cannot be decoded is packed."""
    from dataclasses import replace

    with_codec(monkeypatch, lambda pair: replace(pair, encode=lambda _samples, _step: b"garbage" * 999))
    assert lossy(tmp_path, hot_pack([image(1)])).packs == ()


def test_one_pixel_decoded_wrong_leaves_it_lossless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second decoder sees another value in one place: the series stays."""
    from dataclasses import replace

    def change(pair: CodecPair) -> CodecPair:
        def decode(frame: bytes) -> Any:
            samples = pair.decode(frame).copy()
            samples[5, 5] += 500
            return samples

        return replace(pair, decode=decode)

    with_codec(monkeypatch, change)
    made = lossy(tmp_path, hot_pack([image(1)]))
    assert made.packs == ()
    assert "largest error" in evidence(made)["why"]


@pytest.mark.parametrize("back", [30, 300, 3000])
def test_a_flipped_bit_in_the_hot_pack_never_becomes_a_copy(tmp_path: Path, back: int) -> None:
    """A hot pack that rots is seen by its digest, whatever the codec makes of it: nothing is written."""
    pack = hot_pack([image(1), image(2)])
    pack.file.seek(0)
    data = bytearray(pack.file.read())
    member = pack.manifest.members[0]
    data[member.offset + member.length - back] ^= 0x40
    with pytest.raises(PackMismatch):
        lossy(tmp_path, opened(bytes(data)))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """The error of the disk comes out, and nothing stands."""
    with pytest.raises(OSError, match="No such file"):
        lossy(tmp_path / "gone", hot_pack([image(1)]))
