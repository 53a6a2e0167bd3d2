"""Native data sets in other native transfer syntaxes: the same elements, byte for byte, in bounded memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    NATIVE,
    SEQUENCE_END,
    UNDEFINED,
    Module,
    converted,
    element,
    image,
    implicit,
    item,
    pixels,
    raw_deflate,
    read,
    sequence,
    shipped,
    us,
)
from tiering.transcode import can_convert, convert

UTF8_IN_LATIN1 = "DUPONT^Zoé ".encode()
LATIN1 = "Hôpital de l'Île".encode("latin-1")
PIXELS = image(6, 7, dtype="u2", top=4095)

RICH = b"".join(
    (
        element(0x00080005, "CS", b"ISO_IR 100"),
        element(0x00080018, "UI", b"1.2.826.0.1\0"),
        element(0x00080080, "LO", LATIN1),
        sequence(
            0x00081140,
            element(0x00081150, "UI", b"1.2\0") + element(0x00081155, "UI", b"1.3\0"),
            b"",
            element(0x0040A30A, "DS", b"1.50") + sequence(0x00400275, us(0x00280010, 3)),
        ),
        element(0x00100010, "PN", UTF8_IN_LATIN1),
        element(0x00180050, "DS", b" 1.500"),
        element(0x00181063, "DS", b""),
        element(0x00189073, "FD", struct.pack("<2d", 1.5, -2.25)),
        element(0x00191008, "UN", b"\1\2\3\4"),
        element(0x00280009, "AT", struct.pack("<2H", 0x0018, 0x1063)),
        Module(PIXELS, bits_stored=12).encode(),
        element(0x00281201, "OW", bytes(range(8))),
        element(0x00420011, "OB", b"%PDF-1.4"),
        element(0x00660016, "OF", struct.pack("<2f", 0.5, 4.0)),
        element(0x7FE00010, "OW", PIXELS.tobytes()),
    )
)


@pytest.mark.parametrize("target", NATIVE)
def test_what_pydicom_reads_is_the_same(target: str) -> None:
    """Every element, in sequences too, reads the same in each native syntax."""
    before, after = read(RICH), read(converted(RICH, EXPLICIT, target), target)
    assert [elem.tag for elem in after] == [elem.tag for elem in before]
    for elem in before:
        if elem.VR not in ("OW", "OF", "UN"):
            assert after[elem.tag].value == elem.value, elem.keyword
    assert np.array_equal(pixels(converted(RICH, EXPLICIT, target), target), PIXELS)


@pytest.mark.parametrize("first", NATIVE)
@pytest.mark.parametrize("second", NATIVE)
def test_every_way_round_ends_where_it_began(first: str, second: str) -> None:
    """Through any two native syntaxes and back nothing is lost but the VR nobody stated."""
    start = converted(converted(RICH, EXPLICIT, DEFLATED), DEFLATED, EXPLICIT)
    there = converted(converted(RICH, EXPLICIT, first), first, second)
    back = converted(there, second, EXPLICIT)
    assert back == start


def test_explicit_to_explicit_only_moves_lengths() -> None:
    """The data set of undefined lengths used here is already what conversion writes."""
    assert converted(converted(RICH, EXPLICIT, DEFLATED), DEFLATED, EXPLICIT) == RICH


@pytest.mark.parametrize("target", NATIVE)
def test_text_is_copied_whatever_its_character_set(target: str) -> None:
    """Text that does not fit the declared character set keeps its bytes."""
    found = converted(RICH, EXPLICIT, target)
    if target == DEFLATED:
        found = zlib.decompress(found, -15)
    assert UTF8_IN_LATIN1 in found
    assert LATIN1 in found


@pytest.mark.parametrize("uid", NATIVE)
def test_the_same_syntax_is_copied(uid: str) -> None:
    """Nothing is touched when nothing is to be converted, not even what is not a data set."""
    assert converted(b"anything at all", uid, uid) == b"anything at all"


def test_group_lengths_are_left_out() -> None:
    """Group lengths would be wrong in another encoding; they are retired and not written (PS3.5 7.2)."""
    data = element(0x00080000, "UL", b"\4\0\0\0") + us(0x00280010, 3) + element(0x7FE00000, "UL", b"\0\0\0\0")
    assert converted(data, EXPLICIT, IMPLICIT) == implicit(0x00280010, b"\3\0")


def test_unknown_private_elements_become_un() -> None:
    """Implicit elements of unknown meaning keep their bytes as UN; known creators give their VR."""
    data = (
        implicit(0x00190010, b"SIEMENS MR HEADER ")
        + implicit(0x00190011, b"ACME")
        + implicit(0x0019100A, b"\5\0")
        + implicit(0x00191101, b"\1\2")
    )
    expected = (
        element(0x00190010, "LO", b"SIEMENS MR HEADER ")
        + element(0x00190011, "LO", b"ACME")
        + us(0x0019100A, 5)
        + element(0x00191101, "UN", b"\1\2")
    )
    assert converted(data, IMPLICIT, EXPLICIT) == expected


def test_un_is_never_swapped() -> None:
    """Unknown values are little endian in every syntax, both ways (PS3.5 6.2.2)."""
    data = element(0x00190010, "LO", b"ACME") + element(0x00191001, "UN", b"\1\2\3\4")
    there = converted(data, EXPLICIT, BIG)
    assert there.endswith(b"\1\2\3\4")
    assert converted(there, BIG, EXPLICIT) == data


def test_un_sequences_are_spelled_out() -> None:
    """An element of VR UN that holds implicit items becomes the sequence it is."""
    content = item(implicit(0x00081155, b"1.2\0") + implicit(0x00280010, b"\3\0")) + SEQUENCE_END
    data = element(0x00081140, "UN", content, length=UNDEFINED)
    expected = sequence(0x00081140, element(0x00081155, "UI", b"1.2\0") + us(0x00280010, 3))
    assert converted(data, EXPLICIT, DEFLATED) == converted(expected, EXPLICIT, DEFLATED)
    big = sequence(0x00081140, element(0x00081155, "UI", b"1.2\0", order=">") + us(0x00280010, 3, ">"), order=">")
    assert converted(data, EXPLICIT, BIG) == big


def test_defined_lengths_become_undefined() -> None:
    """Sequences whose lengths would change are written with delimiters."""
    inner = element(0x00081155, "UI", b"1.2\0")
    defined = sequence(0x00081140, inner, sequence(0x0040A168, inner, defined=True), defined=True)
    expected = sequence(0x00081140, inner, sequence(0x0040A168, inner))
    assert zlib.decompress(converted(defined, EXPLICIT, DEFLATED), -15) == expected


def test_sign_of_pixels_is_known_before_it_is_read() -> None:
    """An element that stands before Pixel Representation gets its VR from it all the same."""
    data = (
        implicit(0x00189810, b"\xff\xff")
        + implicit(0x00280103, b"\1\0")
        + implicit(0x00409096, item(implicit(0x00409216, b"\xfe\xff")) + SEQUENCE_END, length=UNDEFINED)
    )
    found = read(converted(data, IMPLICIT, EXPLICIT))
    assert (found["ZeroVelocityPixelValue"].VR, found.ZeroVelocityPixelValue) == ("SS", -1)
    mapping = found.RealWorldValueMappingSequence[0]
    assert mapping.RealWorldValueFirstValueMapped == -2


@pytest.mark.parametrize(("bits", "vr"), [(8, "OB"), (16, "OW")])
def test_implicit_pixel_data_get_the_vr_of_their_width(bits: int, vr: str) -> None:
    """Implicit pixel data become OB or OW by Bits Allocated (PS3.5 A.2)."""
    data = implicit(0x00280100, bits.to_bytes(2, "little")) + implicit(0x7FE00010, b"\1\2")
    assert converted(data, IMPLICIT, EXPLICIT).endswith(element(0x7FE00010, vr, b"\1\2"))


def test_wide_pixels_called_bytes_are_swapped() -> None:
    """16-bit pixel data some writers give VR OB are written as the words they are (PS3.5 A.2)."""
    data = us(0x00280100, 16) + element(0x7FE00010, "OB", b"\1\2\3\4")
    assert converted(data, EXPLICIT, BIG).endswith(element(0x7FE00010, "OW", b"\2\1\4\3", order=">"))
    narrow = us(0x00280100, 8) + element(0x7FE00010, "OB", b"\1\2\3\4")
    assert converted(narrow, EXPLICIT, BIG).endswith(element(0x7FE00010, "OB", b"\1\2\3\4", order=">"))


def test_odd_lengths_become_even() -> None:
    """A value whose writer forgot the padding gets it."""
    data = implicit(0x00100010, b"ODD") + implicit(0x00080018, b"1.2") + implicit(0x7FE00010, b"\1\2\3")
    found = converted(data, IMPLICIT, EXPLICIT)
    assert element(0x00100010, "PN", b"ODD ") in found
    assert element(0x00080018, "UI", b"1.2\0") in found
    assert found.endswith(element(0x7FE00010, "OW", b"\1\2\3\0"))


def test_a_source_is_read_from_where_it_stands() -> None:
    """What is before the data set in the file, a Part 10 header for one, is not looked at."""
    file, target = io.BytesIO(b"DICM header" + RICH), io.BytesIO()
    file.seek(11)
    convert(file, source_uid=EXPLICIT, target_uid=IMPLICIT, target=target)
    assert target.getvalue() == converted(RICH, EXPLICIT, IMPLICIT)


TWINS = [
    ("MR_small.dcm", "MR_small_implicit.dcm"),
    ("MR_small.dcm", "MR_small_bigendian.dcm"),
    ("liver_1frame.dcm", "liver_expb_1frame.dcm"),
    ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
@pytest.mark.parametrize("target", NATIVE)
def test_shipped_twins_have_the_same_pixels(name: str, twin: str, target: str) -> None:
    """Files pydicom ships in two syntaxes come out with the same samples in any."""
    (one, uid), (other, twin_uid) = shipped(name), shipped(twin)
    expected = pixels(one, uid)
    assert np.array_equal(pixels(converted(one, uid, target), target), expected)
    assert np.array_equal(pixels(converted(other, twin_uid, target), target), expected)


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "ExplVR_BigEnd.dcm",
        "UN_sequence.dcm",
        "examples_overlay.dcm",
        "examples_palette.dcm",
        "image_dfl.dcm",
        "nested_priv_SQ.dcm",
        "priv_SQ.dcm",
        "reportsi.dcm",
        "rtplan.dcm",
        "rtdose_1frame.dcm",
        "test-SR.dcm",
        "waveform_ecg.dcm",
    ],
)
@pytest.mark.parametrize("target", NATIVE)
def test_shipped_files_keep_their_elements(name: str, target: str) -> None:
    """Real data sets of many kinds have the same tags at every level after conversion, and back after another."""
    data, uid = shipped(name)
    there = converted(data, uid, target)
    tags = [str(elem.tag) for elem in read(data, uid).iterall() if elem.tag.element or uid == target]
    assert [str(elem.tag) for elem in read(there, target).iterall()] == tags
    again = converted(converted(there, target, EXPLICIT), EXPLICIT, target)
    assert again == converted(converted(again, target, EXPLICIT), EXPLICIT, target)


MEBIBYTES = 48


@pytest.mark.parametrize(("source", "target"), [(EXPLICIT, BIG), (IMPLICIT, EXPLICIT), (EXPLICIT, DEFLATED)])
def test_a_long_value_never_sits_in_memory(source: str, target: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pixel data of any length pass through in chunks."""
    folder = tmp_path_factory.mktemp("long")
    make = implicit if source == IMPLICIT else lambda tag, value, length: element(tag, "OW", value, length=length)
    with (folder / "source").open("wb") as file:
        file.write(make(0x7FE00010, b"", length=MEBIBYTES << 20))
        file.truncate(file.tell() + (MEBIBYTES << 20))
    with (folder / "source").open("rb") as file, (folder / "target").open("wb") as out:
        tracemalloc.start()
        convert(file, source_uid=source, target_uid=target, target=out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 << 20
    if target != DEFLATED:
        assert (folder / "target").stat().st_size == 12 + (MEBIBYTES << 20)


def test_a_deflated_long_value_is_inflated_in_chunks() -> None:
    """Inflating needs no more memory than copying."""
    packed = io.BytesIO(raw_deflate(element(0x7FE00010, "OW", bytes(MEBIBYTES << 20))))

    class Nowhere(io.RawIOBase):
        def write(self, data: object) -> int:
            return len(bytes(data)) if isinstance(data, bytes) else 0

    tracemalloc.start()
    convert(packed, source_uid=DEFLATED, target_uid=IMPLICIT, target=Nowhere())  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_only_native_syntaxes_are_targets() -> None:
    """Every known syntax converts to the four native ones, and to none other."""
    for uid in ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5", *NATIVE):
        assert all(can_convert(uid, target) for target in NATIVE)
        assert not can_convert(uid, "1.2.840.10008.1.2.4.80")
    assert not can_convert("1.2.840.10008.1.2.4.102", EXPLICIT)
    assert not can_convert("1.2.840.113619.5.2", EXPLICIT)
    assert not can_convert("", EXPLICIT)
