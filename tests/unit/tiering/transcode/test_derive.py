"""What the data set of a lossily compressed image says, and that it keeps all the rest of its predecessor's."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames, parse_basic_offsets
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info

from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    EXPLICIT,
    HTJ2K_LOSSY,
    IMPLICIT,
    JPEG_LS,
    Module,
    Samples,
    converted,
    element,
    fragments,
    item,
    read,
    sequence,
    shipped,
    us,
)
from tiering.errors import MalformedDataset, PixelMismatch, TranscodeError, UnsupportedConversion
from tiering.quality import PaddingRange
from tiering.transcode.derive import CompressedFrames, Derivation, Predecessor, derive
from tiering.transcode.irreversible import SampleFormat, decode, encode

CLASS, OLD, NEW = "1.2.840.10008.5.1.4.1.1.2", "1.2.826.0.1.3680043.8.498.1", "2.25.77"
LAYOUT = SampleFormat(16, 12, is_signed=True)
TEXT = "HTJ2K, step 4"


def ui(tag: int, value: str) -> bytes:
    """Return an element of VR UI."""
    return element(tag, "UI", value.encode() + b"\0" * (len(value) % 2))


IMAGE_TYPE = element(0x00080008, "CS", b"ORIGINAL\\PRIMARY\\AXIAL")
UIDS = ui(0x00080016, CLASS) + ui(0x00080018, OLD)
NAME = element(0x00100010, "PN", b"DUPONT^Zo\xe9 ")
SAMPLES = (np.arange(40 * 50).reshape(40, 50) % 900 - 400).astype("<i2")
MODULE = Module(SAMPLES, bits_stored=12, signed=True)
PIXELS = element(0x7FE00010, "OW", SAMPLES.tobytes())
WHOLE = IMAGE_TYPE + UIDS + NAME + MODULE.encode() + PIXELS
DERIVATION = Derivation(Predecessor(CLASS, OLD), NEW, LAYOUT, 6.54321, TEXT)


def derived_bytes(
    dataset: bytes, uid: str = EXPLICIT, *, derivation: Derivation = DERIVATION, frames: Sequence[bytes] = ()
) -> bytes:
    """Return the data set made of another one and compressed frames."""
    frames = frames or [encode(SAMPLES, 4.0, LAYOUT)]
    target = io.BytesIO()
    given = CompressedFrames([len(frame) for frame in frames], lambda index: frames[index])
    derive(io.BytesIO(dataset), source_uid=uid, target=target, derivation=derivation, frames=given)
    return target.getvalue()


def derived(dataset: bytes, uid: str = EXPLICIT, **options: Any) -> Dataset:
    """Return what pydicom reads of it."""
    return read(derived_bytes(dataset, uid, **options), HTJ2K_LOSSY)


def test_it_says_what_the_standard_asks() -> None:
    """A new UID, DERIVED, lossy, how, how much, a description and codes, and which image it comes from."""
    found = derived(WHOLE)
    assert found.SOPInstanceUID == NEW
    assert found.SOPClassUID == CLASS
    assert list(found.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert found.LossyImageCompression == "01"
    assert found.LossyImageCompressionRatio == 6.54321
    assert found.LossyImageCompressionMethod == "ISO_15444_15"
    assert found.DerivationDescription == TEXT
    (code,) = found.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("113040", "DCM", "Lossy Compression")
    (source,) = found.SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (CLASS, OLD)
    (purpose,) = source.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodeMeaning) == ("121320", "Uncompressed predecessor")


def test_under_the_old_uid_it_names_no_source() -> None:
    """A site may keep UIDs: the copy says what it is, and does not claim to be made of itself."""
    known = sequence(0x00082112, ui(0x00081150, CLASS) + ui(0x00081155, "1.2.3"))
    for sources, content in ((0, WHOLE), (1, IMAGE_TYPE + UIDS + known + NAME + MODULE.encode() + PIXELS)):
        found = derived(content, derivation=replace(DERIVATION, sop_instance_uid=OLD))
        assert found.SOPInstanceUID == OLD
        assert (found.ImageType[0], found.LossyImageCompression) == ("DERIVED", "01")
        assert found.DerivationCodeSequence[0].CodeValue == "113040"
        named = [each.ReferencedSOPInstanceUID for each in found.get("SourceImageSequence", ())]
        assert named == ["1.2.3"][:sources]


def test_elements_ascend() -> None:
    """What is new stands at its place in the order of tags, which readers rely on."""
    tags = [int(each.tag) for each in derived(WHOLE)]
    assert tags == sorted(tags)
    assert len(tags) == len(set(tags))


def test_the_pixels_are_the_compressed_ones() -> None:
    """The very bytes that were measured are in the data set; decoded, they are near the original."""
    frame = encode(SAMPLES, 4.0, LAYOUT)
    found = derived(WHOLE, frames=[frame])
    (stored,) = generate_frames(found.PixelData, number_of_frames=1)
    assert stored.rstrip(b"\0") == frame.rstrip(b"\0")
    assert found["PixelData"].VR == "OB"
    assert found["PixelData"].is_undefined_length
    assert np.abs(found.pixel_array.astype("i4") - SAMPLES).max() < 12


def test_everything_else_is_kept() -> None:
    """Names in any character set, private elements, sequences and numbers come over as they were."""
    private = element(0x00290010, "LO", b"MAKER ") + element(0x00291001, "UN", b"\1\2\3\4")
    nested = sequence(0x00081140, ui(0x00081150, "1.2") + ui(0x00081155, OLD))
    known = b"".join((IMAGE_TYPE, UIDS, nested, NAME, MODULE.encode(), private, PIXELS))
    before, after = read(known), derived(known)
    changed = {
        0x00080008,
        0x00080018,
        0x00282110,
        0x00282112,
        0x00282114,
        0x00082111,
        0x00082112,
        0x00089215,
        0x7FE00010,
    }
    assert {int(each.tag) for each in after} - {int(each.tag) for each in before} <= changed
    for each in before:
        if int(each.tag) not in changed:
            assert after[each.tag] == each
    assert b"DUPONT^Zo\xe9 " in derived_bytes(known)
    assert after.ReferencedImageSequence[0].ReferencedSOPInstanceUID == OLD


@pytest.mark.parametrize("uid", [IMPLICIT, BIG, DEFLATED])
def test_any_encoding_may_be_the_source(uid: str) -> None:
    """Implicit, big endian and deflated predecessors come to the same bytes as explicit little endian."""
    extra = {0x00280106: us(0x00280106, 7), 0x00281050: element(0x00281050, "DS", b"40")}
    nested = sequence(0x00081140, element(0x00280106, "SS", b"\xf0\xff"))
    whole = IMAGE_TYPE + UIDS + nested + NAME + replace(MODULE, extra=extra).encode() + PIXELS
    assert derived_bytes(converted(whole, EXPLICIT, uid), uid) == derived_bytes(whole)


def test_a_compressed_predecessor_is_replaced() -> None:
    """Fragments and offset table of the old pixel data leave nothing behind."""
    old = IMAGE_TYPE + UIDS + NAME + MODULE.encode() + fragments([b"old frame "], offsets=[0])
    assert derived_bytes(old, JPEG_LS) == derived_bytes(WHOLE)


def test_what_is_there_is_added_to() -> None:
    """Earlier derivations, source images, ratios and methods stay, ours come last."""
    code = (
        element(0x00080100, "SH", b"113072") + element(0x00080102, "SH", b"DCM ") + element(0x00080104, "LO", b"MPR ")
    )
    lossy = {
        0x00282110: element(0x00282110, "CS", b"01"),
        0x00282112: element(0x00282112, "DS", b"3 "),
        0x00282114: element(0x00282114, "CS", b"ISO_10918_1 "),
    }
    earlier = (
        element(0x00082111, "ST", b"reformatted ")
        + sequence(0x00082112, ui(0x00081155, "1.5"), ui(0x00081155, "1.6"), defined=True)
        + sequence(0x00089215, code)
    )
    known = IMAGE_TYPE + UIDS + earlier + NAME + replace(MODULE, extra=lossy).encode() + PIXELS
    found = derived(known)
    assert [each.ReferencedSOPInstanceUID for each in found.SourceImageSequence] == ["1.5", "1.6", OLD]
    assert [each.CodeValue for each in found.DerivationCodeSequence] == ["113072", "113040"]
    assert found.DerivationDescription == f"reformatted; {TEXT}"
    assert [float(ratio) for ratio in found.LossyImageCompressionRatio] == [3, 6.54321]
    assert list(found.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_15"]
    assert found.LossyImageCompression == "01"


def test_a_sequence_nobody_can_read_is_replaced() -> None:
    """Source images kept as bytes of unknown representation, which nothing can be added to, make room for ours."""
    unknown = element(0x00082112, "UN", item(ui(0x00081155, "1.5"), defined=True))
    found = derived(IMAGE_TYPE + UIDS + unknown + NAME + MODULE.encode() + PIXELS)
    assert [each.ReferencedSOPInstanceUID for each in found.SourceImageSequence] == [OLD]


def test_what_is_said_of_other_images_is_kept() -> None:
    """The same elements inside a sequence belong to something else."""
    other = IMAGE_TYPE + ui(0x00080018, "1.7") + element(0x00280004, "CS", b"RGB ")
    found = derived(IMAGE_TYPE + UIDS + sequence(0x00081140, other) + NAME + MODULE.encode() + PIXELS)
    (kept,) = found.ReferencedImageSequence
    assert (kept.ImageType[0], kept.SOPInstanceUID, kept.PhotometricInterpretation) == ("ORIGINAL", "1.7", "RGB")


def test_group_lengths_are_left_out() -> None:
    """Lengths of groups are optional and would be wrong."""
    lengths = [element(tag, "UL", struct.pack("<I", 10)) for tag in (0x00080000, 0x00280000)]
    found = derived_bytes(lengths[0] + IMAGE_TYPE + UIDS + NAME + lengths[1] + MODULE.encode() + PIXELS)
    assert found == derived_bytes(WHOLE)


def test_empty_sequences_are_filled() -> None:
    """Sequences that are there and hold nothing get the item."""
    earlier = element(0x00082112, "SQ", b"") + element(0x00089215, "SQ", b"")
    found = derived(IMAGE_TYPE + UIDS + earlier + NAME + MODULE.encode() + PIXELS)
    assert len(found.SourceImageSequence) == len(found.DerivationCodeSequence) == 1


@pytest.mark.parametrize(("length", "is_added"), [(1000, True), (1012, False), (1024, False)])
def test_a_full_description_is_not_cut(length: int, is_added: bool) -> None:
    """Where both do not fit the element, the old text stays whole: what was done is in the codes."""
    known = IMAGE_TYPE + UIDS + element(0x00082111, "ST", b"x" * length) + MODULE.encode() + PIXELS
    found = derived(known).DerivationDescription
    assert found == "x" * length + (f"; {TEXT}" if is_added else "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", ["DERIVED", "PRIMARY"]),
        (b"ORIGINAL", ["DERIVED", "PRIMARY"]),
        (b"DERIVED\\SECONDARY\\MPR", ["DERIVED", "SECONDARY", "MPR"]),
    ],
)
def test_image_type_becomes_derived(old: bytes, new: list[str]) -> None:
    """The first value changes and nothing else; a second one is there."""
    image_type = element(0x00080008, "CS", old + b" " * (len(old) % 2))
    assert list(derived(image_type + WHOLE[len(IMAGE_TYPE) :]).ImageType) == new
    assert list(derived(WHOLE[len(IMAGE_TYPE) :]).ImageType) == ["DERIVED", "PRIMARY"]


def test_frame_types_become_derived() -> None:
    """Enhanced images say it for each frame too."""
    frame_type = sequence(0x00189329, element(0x00089007, "CS", b"ORIGINAL\\PRIMARY\\VOLUME\\NONE "))
    groups = sequence(0x52009230, frame_type, frame_type)
    found = derived(IMAGE_TYPE + UIDS + NAME + MODULE.encode() + groups + PIXELS)
    for group in found.PerFrameFunctionalGroupsSequence:
        assert list(group.CTImageFrameTypeSequence[0].FrameType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]


def test_values_that_are_no_longer_true_are_left_out() -> None:
    """Smallest and largest values are optional and were the original's."""
    extra = {tag: element(tag, "SS", struct.pack("<h", 5)) for tag in (0x00280106, 0x00280107, 0x00280108, 0x00280109)}
    found = derived(IMAGE_TYPE + UIDS + NAME + replace(MODULE, extra=extra).encode() + PIXELS)
    assert "SmallestImagePixelValue" not in found
    assert "LargestPixelValueInSeries" not in found


@pytest.mark.parametrize(("is_signed", "low", "high"), [(True, -2040, -1960), (False, 0, 90)])
def test_a_padding_range_is_declared(is_signed: bool, low: int, high: int) -> None:
    """Where padding moved a little, the new object says which values mean it, signed as its samples are."""
    samples = SAMPLES if is_signed else (SAMPLES + 500).astype("<u2")
    layout = replace(LAYOUT, is_signed=is_signed)
    extra = {
        0x00280120: element(0x00280120, "SS" if is_signed else "US", struct.pack("<H", 0xF830 if is_signed else 9))
    }
    known = (
        IMAGE_TYPE
        + UIDS
        + Module(samples, bits_stored=12, signed=is_signed, extra=extra).encode()
        + element(0x7FE00010, "OW", samples.tobytes())
    )
    derivation = replace(DERIVATION, layout=layout, padding=PaddingRange(low, high))
    found = derived(known, derivation=derivation, frames=[encode(samples, 4.0, layout)])
    assert (found.PixelPaddingValue, found.PixelPaddingRangeLimit) == (low, high)
    assert "PixelPaddingRangeLimit" not in derived(known, derivation=replace(DERIVATION, layout=layout))


@pytest.mark.parametrize("planar", [0, 1, None])
def test_colours_say_how_they_lie(planar: int | None) -> None:
    """RGB in planes or not becomes YBR_ICT, colour by pixel, and decodes to what it was."""
    samples = np.random.default_rng(1).integers(90, 120, (24, 30, 3)).astype("u1")
    layout = SampleFormat(8, 8, samples=3, photometric="RGB")
    native = samples.transpose(2, 0, 1) if planar else samples
    module = Module(samples, planar=planar).encode()
    known = IMAGE_TYPE + UIDS + module + element(0x7FE00010, "OB", native.tobytes())
    frame = encode(samples, 2.0, layout)
    found = derived(known, derivation=replace(DERIVATION, layout=layout), frames=[frame])
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("YBR_ICT", 0)
    assert np.array_equal(decode(frame, layout), found.pixel_array)


def several(count: int) -> tuple[bytes, list[bytes], Samples]:
    """Return a multi-frame data set, its frames compressed, and its samples."""
    samples = np.stack([np.roll(SAMPLES, 3 * number, 0) for number in range(count)])
    known = IMAGE_TYPE + UIDS + Module(samples, frames=count, bits_stored=12, signed=True).encode()
    known += element(0x7FE00010, "OW", samples.tobytes())
    return known, [encode(frame, 2.0 + number, LAYOUT) for number, frame in enumerate(samples)], samples


def test_frames_come_one_a_fragment() -> None:
    """Each frame is one fragment of even length, and the offset table points at each."""
    known, frames, samples = several(5)
    found = derived(known, frames=frames)
    assert np.abs(found.pixel_array.astype("i4") - samples).max() < 25
    offsets = parse_basic_offsets(found.PixelData)
    starts = [8 + len(frame) + len(frame) % 2 for frame in frames]
    assert offsets == [sum(starts[:number]) for number in range(5)]


def test_frames_are_read_when_their_turn_comes() -> None:
    """No more than one frame is in memory."""
    known, frames, _ = several(3)
    target = io.BytesIO()
    seen: list[int] = []

    def take(index: int) -> bytes:
        seen.append(target.tell())
        return frames[index]

    given = CompressedFrames([len(frame) for frame in frames], take)
    derive(io.BytesIO(known), source_uid=EXPLICIT, target=target, derivation=DERIVATION, frames=given)
    assert seen == sorted(set(seen))


def test_a_table_that_cannot_hold_its_offsets_is_empty() -> None:
    """Beyond 4 GiB the offset table is left empty, as the standard allows."""
    from tiering.transcode.derive import _offsets

    assert _offsets([1 << 31, 1 << 31, 5]) == b""
    assert _offsets([3, 5]) == struct.pack("<2L", 0, 12)
    assert _offsets([3]) == b""


WRONG: dict[str, tuple[bytes, type[TranscodeError]]] = {
    "another image": (WHOLE.replace(OLD.encode(), OLD[:-1].encode() + b"2"), MalformedDataset),
    "another class": (WHOLE.replace(CLASS.encode(), CLASS[:-1].encode() + b"4"), MalformedDataset),
    "no identity": (IMAGE_TYPE + NAME + MODULE.encode() + PIXELS, PixelMismatch),
    "no pixels": (IMAGE_TYPE + UIDS + NAME + MODULE.encode(), PixelMismatch),
    "two frames": (
        WHOLE.replace(us(0x00280010, 40), element(0x00280008, "IS", b"2 ") + us(0x00280010, 40)),
        PixelMismatch,
    ),
    "signed": (WHOLE + sequence(0xFFFAFFFA, ui(0x04000100, "1.2")), TranscodeError),
    "compressed icon": (
        IMAGE_TYPE + UIDS + sequence(0x00880200, fragments([b"icon"])) + MODULE.encode() + PIXELS,
        TranscodeError,
    ),
    "cut": (WHOLE[:-1], MalformedDataset),
}


@pytest.mark.parametrize(("dataset", "error"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_derived_from_is_refused(dataset: bytes, error: type[TranscodeError]) -> None:
    """A data set that is another image, signed, cut or of other frames gives no derived one."""
    with pytest.raises(error):
        derived_bytes(dataset)


def test_a_frame_of_another_length_is_refused() -> None:
    """Bytes that are not those that were announced are not written."""
    frames = CompressedFrames([7], lambda _: b"12345678")
    with pytest.raises(PixelMismatch, match="8 bytes, not 7"):
        derive(io.BytesIO(WHOLE), source_uid=EXPLICIT, target=io.BytesIO(), derivation=DERIVATION, frames=frames)


def test_an_unknown_encoding_is_refused() -> None:
    """A transfer syntax nobody knows cannot be read."""
    with pytest.raises(UnsupportedConversion):
        derived_bytes(WHOLE, "1.2.3")


def test_a_native_icon_is_kept() -> None:
    """A small picture inside a sequence stays what it is."""
    icon = Module(np.arange(16, dtype="u1").reshape(4, 4)).encode() + element(0x7FE00010, "OB", bytes(range(16)))
    found = derived(IMAGE_TYPE + UIDS + sequence(0x00880200, icon) + MODULE.encode() + PIXELS)
    assert found.IconImageSequence[0].PixelData == bytes(range(16))
    assert found.PixelData


def part10(dataset: bytes) -> bytes:
    """Return a data set as a file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(HTJ2K_LOSSY)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(CLASS), pydicom.uid.UID(NEW)
    file = io.BytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(DicomIO(file), meta)
    return file.getvalue() + dataset


SHIPPED = ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "examples_jpeg2k.dcm"]


@pytest.mark.parametrize("name", SHIPPED)
def test_real_images_are_derived_from(name: str, tmp_path: Path) -> None:
    """Files of pydicom's own go through; DCMTK, where it is installed, reads what comes out without complaint."""
    dataset, uid = shipped(name)
    before = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / name)
    colours = before.SamplesPerPixel
    layout = SampleFormat(
        before.BitsAllocated,
        before.BitsStored,
        bool(before.PixelRepresentation),
        colours,
        "RGB" if colours == 3 else before.PhotometricInterpretation,
    )
    samples = np.ascontiguousarray(before.pixel_array.astype(layout.dtype))
    derivation = Derivation(Predecessor(before.SOPClassUID, before.SOPInstanceUID), NEW, layout, 3.0, TEXT)
    content = derived_bytes(dataset, uid, derivation=derivation, frames=[encode(samples, 2.0, layout)])
    after = read(content, HTJ2K_LOSSY)
    assert np.abs(after.pixel_array.astype("i4") - samples).max() < 16
    assert after.PatientName == before.PatientName
    assert after.SeriesInstanceUID == before.SeriesInstanceUID
    if dcmdump := shutil.which("dcmdump"):
        file = tmp_path / "derived.dcm"
        file.write_bytes(part10(content))
        done = subprocess.run([dcmdump, file], capture_output=True, check=False)
        assert done.returncode == 0
        assert b"W:" not in done.stderr and b"E:" not in done.stderr
        assert b"[ISO_15444_15]" in done.stdout
