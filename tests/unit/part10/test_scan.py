"""The header scan on whole, odd, broken and hostile data sets; must not need files that pydicom does not ship."""

from __future__ import annotations

import struct
import time
import tracemalloc
import warnings
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from archive.errors import UnreadableDataset
from archive.part10.attributes import ISSUER_UNIVERSAL_ID
from archive.part10.scan import INFLATED_LIMIT_BYTES, scan_header
from tests.unit.part10.wire import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    FOUND,
    HEAD,
    IMPLICIT,
    ITEM,
    ITEM_END,
    PIXELS,
    SEQUENCE_END,
    TAIL,
    UNDEFINED,
    element,
    implicit,
    item,
    sequence,
)

DATASET = HEAD + TAIL + PIXELS
NESTED = element(0x0020000D, "UI", "9.9") + element(0x00100020, "LO", "NOT THE PATIENT")
"""Indexed attributes that must not be taken from inside a sequence."""


def scan(dataset: bytes, transfer_syntax_uid: str = EXPLICIT) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return values and flags of a whole data set."""
    header = scan_header(dataset, transfer_syntax_uid, complete=True)
    return dict(header.values), header.flags


def in_implicit(dataset: bytes) -> bytes:
    """Return an explicit data set without sequences, written in implicit VR."""
    result, position = b"", 0
    while position < len(dataset):
        group, number, vr, length = struct.unpack_from("<HH2sH", dataset, position)
        start = position + 8
        if vr == b"OW":
            start, (length,) = position + 12, struct.unpack_from("<I", dataset, position + 8)
        position = start + length
        result += implicit(group << 16 | number, dataset[start:position])
    return result


def in_big_endian(dataset: bytes) -> bytes:
    """Return an explicit data set of short elements, written in big endian."""
    result, position = b"", 0
    while position < len(dataset):
        group, number, vr, length = struct.unpack_from("<HH2sH", dataset, position)
        raw = dataset[position + 8 : position + 8 + length]
        result += struct.pack(">HH2sH", group, number, vr, length) + (raw[::-1] if vr == b"US" else raw)
        position += 8 + length
    return result


def in_deflate(dataset: bytes, wbits: int = -15) -> bytes:
    """Return a data set deflated, bare by default."""
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress(dataset) + compressor.flush()


@pytest.mark.parametrize(
    ("dataset", "transfer_syntax_uid"),
    [
        (DATASET, EXPLICIT),
        (DATASET, "1.2.840.10008.1.2.4.90"),
        (DATASET, "1.3.9999.1"),
        (in_implicit(DATASET), IMPLICIT),
        (in_implicit(DATASET), "1.2.840.113619.5.2"),
        (in_big_endian(HEAD + TAIL), BIG_ENDIAN),
        (in_deflate(DATASET), DEFLATED),
        (in_deflate(DATASET, 15), DEFLATED),
        (in_deflate(DATASET, 31), DEFLATED),
        (DATASET, DEFLATED),
        (HEAD + TAIL, EXPLICIT),
        (in_implicit(HEAD + TAIL), IMPLICIT),
        (HEAD + TAIL + element(0x7FE00010, "OB", b"", length=UNDEFINED) + b"\xfe\xff", EXPLICIT),
        (HEAD + TAIL + element(0x52009230, "SQ", b"", length=UNDEFINED), EXPLICIT),
        (HEAD + TAIL + element(0x0040A730, "SQ", b"", length=UNDEFINED), EXPLICIT),
        (in_implicit(HEAD + TAIL) + implicit(0x0040A730, b"", length=UNDEFINED), IMPLICIT),
    ],
    ids=range(16),
)
def test_plain_data_set(dataset: bytes, transfer_syntax_uid: str) -> None:
    """The indexed attributes are read in every layout, without remark, and nothing behind the last of them."""
    assert scan(dataset, transfer_syntax_uid) == (FOUND, ())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    """The head may be bytes or a view of a reused buffer."""
    assert scan_header(kind(DATASET), EXPLICIT, complete=True).values == FOUND


SEQUENCES = {
    "defined": sequence(0x00081110, item(NESTED)),
    "empty": sequence(0x00081110, b""),
    "empty, undefined": sequence(0x00081110, b"", defined=False),
    "undefined": sequence(0x00081110, item(NESTED), defined=False),
    "undefined items": sequence(0x00081110, item(NESTED, defined=False) * 2, defined=False),
    "nested": sequence(
        0x00081110,
        item(sequence(0x00081115, item(NESTED, defined=False), defined=False) + NESTED, defined=False),
        defined=False,
    ),
    "UN is implicit inside": sequence(
        0x00091010, ITEM + implicit(0x00100020, "NO") + implicit(0x00091001, "CS") + ITEM_END, defined=False, vr="UN"
    ),
    "UN with a length like a VR": sequence(
        0x00091010,
        item(implicit(0x00091001, bytes(0x5343), length=0x5343), defined=False),
        defined=False,
        vr="UN",
    ),
    "UN in SQ with a length like a VR": sequence(
        0x00081110,
        item(
            sequence(
                0x00091010,
                item(implicit(0x00091001, bytes(0x5343), length=0x5343), defined=False),
                defined=False,
                vr="UN",
            ),
            defined=False,
        ),
        defined=False,
    ),
    "UN nested in SQ": sequence(
        0x00081110,
        item(sequence(0x00091010, item(implicit(0x00100020, "NO")), defined=False, vr="UN"), defined=False),
        defined=False,
    ),
    "implicit items in SQ": sequence(0x00081110, item(implicit(0x00100020, "NO"), defined=False), defined=False),
    "fragments": element(0x00091010, "OB", b"", length=UNDEFINED) + item(b"\xff" * 6) * 3 + SEQUENCE_END,
    "private bytes": element(0x00091010, "OB", bytes(70_000)),
    "delimiters in a value": element(0x00091010, "OB", SEQUENCE_END + ITEM_END + ITEM),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_stepped_over(name: str) -> None:
    """Sequences of any shape are skipped; what is inside them is never taken for the object's own."""
    assert scan(HEAD + SEQUENCES[name] + TAIL) == (FOUND, ())


@pytest.mark.parametrize("defined", [True, False])
def test_implicit_sequences_are_stepped_over(defined: bool) -> None:
    """In implicit VR sequences are skipped by their length or their delimiters."""
    inner = item(implicit(0x0020000D, "9.9"), defined=defined)
    length = len(inner) if defined else UNDEFINED
    nested = implicit(0x00081110, inner, length=length) + (b"" if defined else SEQUENCE_END)
    assert scan(in_implicit(HEAD) + nested + in_implicit(TAIL), IMPLICIT) == (FOUND, ())


def test_deep_nesting_is_no_recursion() -> None:
    """Ten thousand nested sequences are skipped like one."""
    depth = 10_000
    opening = element(0x00081110, "SQ", b"", length=UNDEFINED) + ITEM
    assert scan(HEAD + opening * depth + (ITEM_END + SEQUENCE_END) * depth + TAIL) == (FOUND, ())


@pytest.mark.parametrize("size", [1_000, 20_000, 300_000])
@pytest.mark.parametrize("defined", [True, False])
def test_long_values_before_the_last_attribute(size: int, defined: bool) -> None:
    """A private value or sequence longer than the first window does not hide what comes after it."""
    inside = item(element(0x00091010, "OB", bytes(size)), defined=False)
    assert scan(HEAD + sequence(0x00091011, inside, defined=defined) + TAIL + PIXELS) == (FOUND, ())


@pytest.mark.parametrize("gap", range(0x3F80, 0x4004, 4))
def test_elements_on_the_edge_of_the_window(gap: int) -> None:
    """Wherever the first window ends, no element is read twice, half or not at all."""
    filler = element(0x00091010, "OB", bytes(gap - len(HEAD)))
    assert scan(HEAD + filler + TAIL + PIXELS) == (FOUND, ())
    long_id = element(0x00100020, "UN", "0123456789ABCDEF")
    assert scan(HEAD + filler + long_id + TAIL) == (FOUND | {"PatientID": "0123456789ABCDEF"}, ("vr",))


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("outer", [True, False])
def test_universal_entity_id_of_the_issuer(defined: bool, outer: bool) -> None:
    """The Universal Entity ID of the patient identifier's issuer is taken out of its sequence (French INS)."""
    oid = "1.2.250.1.213.1.4.8"
    content = element(0x00400032, "UT", oid) + element(0x00400033, "CS", "ISO")
    qualifiers = sequence(0x00100024, item(content, defined=defined), defined=outer)
    values, flags = scan(HEAD + qualifiers + TAIL)
    assert values == FOUND | {ISSUER_UNIVERSAL_ID: oid}
    assert flags == ()


def test_first_issuer_counts() -> None:
    """Of several issuers the first one's Universal Entity ID is taken."""
    items = item(element(0x00400032, "UT", "1.2")) + item(element(0x00400032, "UT", "9.9"))
    values, flags = scan(HEAD + sequence(0x00100024, items) + TAIL)
    assert values == FOUND | {ISSUER_UNIVERSAL_ID: "1.2"}
    assert flags == ()


def test_universal_entity_id_in_implicit_vr() -> None:
    """The issuer's Universal Entity ID is found in implicit VR too, and a sequence without it gives none."""
    with_id = implicit(0x00100024, item(implicit(0x00400032, "1.2.250"), defined=False))
    assert scan(in_implicit(HEAD) + with_id + in_implicit(TAIL), IMPLICIT)[0][ISSUER_UNIVERSAL_ID] == "1.2.250"
    without = implicit(0x00100024, item(implicit(0x00400033, "ISO")))
    assert scan(in_implicit(HEAD) + without + in_implicit(TAIL), IMPLICIT) == (FOUND, ())


def test_accents_through_the_whole_scan() -> None:
    """A French name is right in the header of a whole object."""
    named = HEAD + element(0x00100010, "PN", "MOREAU^Hélène") + TAIL
    assert scan(named) == (FOUND | {"PatientName": "MOREAU^Hélène"}, ())


@pytest.mark.parametrize(
    ("dataset", "announced"),
    [
        (in_implicit(DATASET), EXPLICIT),
        (DATASET, IMPLICIT),
        (DATASET, BIG_ENDIAN),
        (in_big_endian(HEAD + TAIL), EXPLICIT),
        (in_big_endian(HEAD + TAIL), IMPLICIT),
        (in_implicit(DATASET), "1.2.840.10008.1.2.4.50"),
    ],
    ids=range(6),
)
def test_another_layout_than_announced(dataset: bytes, announced: str) -> None:
    """Bytes in another layout than the transfer syntax says are read in theirs, and flagged."""
    assert scan(dataset, announced) == (FOUND, ("fallback", "vr"))


ODD_ELEMENTS = {
    "VR of two blanks": struct.pack("<HH2sH", 0x0009, 0x1010, b"  ", 4) + b"ABCD",
    "no VR": implicit(0x00091010, "ABCD"),
    "VR of the future, short": struct.pack("<HH2sH", 0x0009, 0x1010, b"ZZ", 4) + b"ABCD",
    "VR of the future, long": struct.pack("<HH2sHI", 0x0009, 0x1010, b"ZZ", 0, 4) + b"ABCD",
    "VR of the future, empty": struct.pack("<HH2sH", 0x0009, 0x1010, b"ZZ", 0),
    "stray item delimiter": ITEM_END,
    "stray sequence delimiter": SEQUENCE_END,
}


@pytest.mark.parametrize("name", ODD_ELEMENTS)
def test_odd_elements_are_survived(name: str) -> None:
    """An element that breaks the explicit layout costs itself at most, and is flagged."""
    assert scan(HEAD + ODD_ELEMENTS[name] + TAIL + PIXELS) == (FOUND, ("fallback",))


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_beside_odd_elements(name: str) -> None:
    """Once an object turned out odd, its sound sequences are still stepped over whole."""
    assert scan(HEAD + ODD_ELEMENTS["VR of two blanks"] + SEQUENCES[name] + TAIL) == (FOUND, ("fallback",))


def test_odd_vr_of_an_indexed_attribute() -> None:
    """An indexed attribute with a broken VR is read with the VR of the dictionary."""
    broken = struct.pack("<HH2sH", 0x0010, 0x0020, b"\0\0", 4) + b"AB12"
    assert scan(HEAD + broken + TAIL + PIXELS) == (FOUND | {"PatientID": "AB12"}, ("fallback",))


def test_sequence_with_a_lying_item_length() -> None:
    """A sequence whose item claims more bytes than there are does not hide the identifiers behind it."""
    lying = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFF00) + element(0x00081150, "UI", "1.2")
    values, flags = scan(HEAD + sequence(0x00081110, lying, defined=False) + TAIL)
    assert values == FOUND
    assert "fallback" in flags


def test_elements_out_of_order() -> None:
    """Elements in the wrong order are all read, and flagged."""
    values, flags = scan(TAIL + HEAD + PIXELS)
    assert values == FOUND
    assert "tags" in flags


def test_identifiers_behind_a_late_group() -> None:
    """A late group that stands too early does not end the scan before the identifiers are found."""
    values, flags = scan(HEAD + element(0x60003000, "OW", bytes(8)) + TAIL + PIXELS)
    assert values == FOUND
    assert flags == ("fallback",)


CUTS = range(len(HEAD), len(HEAD + TAIL))


@pytest.mark.parametrize("at", CUTS)
@pytest.mark.parametrize("complete", [True, False])
def test_data_set_cut_anywhere(at: int, complete: bool) -> None:
    """Of a data set that breaks off the whole elements are read, never half a value; the cut is flagged."""
    header = scan_header((HEAD + TAIL)[:at], EXPLICIT, complete=complete)
    assert set(header.values.items()) <= set(FOUND.items())
    assert header.values.items() >= {"SOPInstanceUID": "1.2.3.4", "Modality": "CT"}.items()
    if not complete:
        assert "truncated_scan" in header.flags
    elif scan_header((HEAD + TAIL)[:at] + PIXELS[:12], EXPLICIT, complete=True).values == header.values:
        assert "truncated_scan" not in header.flags


def test_cut_inside_a_value_is_flagged() -> None:
    """A whole data set that ends inside a value is flagged as truncated, one that ends between two is not."""
    assert "truncated" in scan((HEAD + TAIL)[:-1])[1]
    assert "truncated" in scan(HEAD + TAIL + b"\x28\x00")[1]
    assert scan(HEAD + TAIL)[1] == ()


def test_head_that_ends_before_the_last_attribute() -> None:
    """When the head is spent inside a private value, what was found is returned with the flag that says so."""
    head = HEAD + TAIL + element(0x00291010, "OB", bytes(100), length=1 << 24)
    header = scan_header(head, EXPLICIT, complete=False)
    assert header.values == FOUND
    assert header.flags == ("truncated_scan",)


@pytest.mark.parametrize(
    ("dataset", "transfer_syntax_uid"),
    [
        (b"", EXPLICIT),
        (b"\x08", EXPLICIT),
        (bytes(1000), EXPLICIT),
        (bytes(1000), IMPLICIT),
        (b"\xff" * 1000, EXPLICIT),
        (b"not a data set at all", IMPLICIT),
        (PIXELS, EXPLICIT),
        (element(0x00091010, "LO", "private"), EXPLICIT),
        (b"\x00garbage", DEFLATED),
        (in_deflate(b"garbage"), DEFLATED),
    ],
    ids=range(10),
)
def test_nothing_indexed_is_unreadable(dataset: bytes, transfer_syntax_uid: str) -> None:
    """A data set without any indexed attribute is refused, and the message says no value."""
    with pytest.raises(UnreadableDataset, match="no indexed attribute"):
        scan_header(dataset, transfer_syntax_uid, complete=True)


def test_deflate_bomb_is_not_inflated() -> None:
    """A few kilobytes that inflate to hundreds of megabytes cost a few megabytes and are read as far as allowed."""
    compressor = zlib.compressobj(9, wbits=-15)
    bomb = compressor.compress(HEAD + element(0x00091010, "OB", b"", length=1 << 29))
    bomb += b"".join(compressor.compress(bytes(1 << 20)) for _ in range(64)) + compressor.flush()
    tracemalloc.start()
    try:
        header = scan_header(bomb, DEFLATED, complete=True)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert header.values["SOPInstanceUID"] == "1.2.3.4"
    assert "truncated_scan" in header.flags
    assert peak_bytes < 6 * INFLATED_LIMIT_BYTES


def test_deflate_stream_broken_in_the_middle() -> None:
    """A deflated data set whose stream breaks after the header is still read."""
    noise = bytes(index * index % 251 for index in range(200_000))
    stream = bytearray(in_deflate(HEAD + TAIL + element(0x7FE00010, "OW", noise)))
    stream[-500:] = b"\xff" * 500
    assert scan(bytes(stream), DEFLATED)[0] == FOUND


def test_deflated_attributes_far_behind() -> None:
    """Attributes behind a long private value are found in a deflated data set too."""
    stream = in_deflate(HEAD + element(0x00091010, "OB", bytes(200_000)) + TAIL + PIXELS)
    assert scan(stream, DEFLATED) == (FOUND, ())


def test_deflated_head_that_goes_on() -> None:
    """The first part of a deflated stream is enough when it reaches the pixels."""
    stream = in_deflate(HEAD + TAIL + element(0x7FE00010, "OW", bytes(200_000)))
    header = scan_header(stream[: len(stream) // 2], DEFLATED, complete=False)
    assert (header.values, header.flags) == (FOUND, ())


@pytest.mark.parametrize(
    "unit",
    [
        element(0x00081030, "LO", b"\xff\xff"),
        element(0x00081030, "LO", b""),
        element(0x00081110, "SQ", b"", length=UNDEFINED) + ITEM,
        element(0x00081110, "SQ", b"", length=UNDEFINED) + ITEM + SEQUENCE_END,
        implicit(0x00081030, b""),
        struct.pack("<HH2sH", 0x0008, 0x1030, b"ZZ", 0),
    ],
    ids=range(6),
)
@pytest.mark.parametrize("transfer_syntax_uid", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_hostile_heads_take_bounded_time(unit: bytes, transfer_syntax_uid: str) -> None:
    """A mebibyte made to be slow is dealt with in linear time: seconds would be a hundred times too long."""
    hostile = HEAD + unit * ((1 << 18) // len(unit))
    started = time.perf_counter()
    with suppress(UnreadableDataset):
        scan_header(hostile, transfer_syntax_uid, complete=True)
    assert time.perf_counter() - started < 5


UNITS = st.sampled_from(
    [HEAD, TAIL, PIXELS, ITEM, ITEM_END, SEQUENCE_END, in_implicit(TAIL), in_big_endian(HEAD), *SEQUENCES.values()]
) | st.builds(
    element,
    st.sampled_from([0x00080005, 0x00080018, 0x00080020, 0x00100010, 0x00100024, 0x00280010, 0x00700081, 0x00091001]),
    st.sampled_from(["PN", "CS", "US", "SQ", "UN", "OB", "DA", "UT", "XX"]),
    st.binary(max_size=12),
    order=st.sampled_from("<>"),
    length=st.none() | st.sampled_from([0, 1, 2, 7, 0xFFFF]),
)


@given(
    st.lists(UNITS | st.binary(max_size=12), max_size=8).map(b"".join),
    st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, ""]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_any_bytes_scan(dataset: bytes, transfer_syntax_uid: str, deflate: bool, complete: bool) -> None:
    """Whatever the bytes: storable texts and sorted flags, or UnreadableDataset, and never a warning."""
    head = in_deflate(dataset) if deflate else dataset
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            header = scan_header(head, transfer_syntax_uid, complete=complete)
        except UnreadableDataset:
            return
    assert header.values
    for text in header.values.values():
        assert text == text.strip("\0 ") != ""
        assert "\0" not in text
        text.encode("utf_8")
    assert list(header.flags) == sorted(set(header.flags))
