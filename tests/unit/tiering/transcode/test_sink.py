"""How elements are written in each encoding."""

from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given, strategies as st

from tests.unit.tiering.transcode.building import element, implicit, tag_bytes
from tiering.errors import ConversionTooLarge
from tiering.transcode.sink import LENGTH_LIMIT, Sink, swapped
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding

BIG_ENDIAN = Encoding(big=True)


def written(encoding: Encoding, tag: int, vr: str, value: bytes, *, big: bool = False) -> bytes:
    """Return one element as a sink writes it."""
    file = io.BytesIO()
    Sink(file, encoding).value(tag, vr, len(value), [value] if value else [], big=big)
    return file.getvalue()


@pytest.mark.parametrize(("vr", "value"), [("PN", b"AB"), ("UT", b"long"), ("OB", b"\1\2"), ("US", b"\1\0")])
def test_little_endian_headers(vr: str, value: bytes) -> None:
    """Explicit elements state their VR before a length of its layout; implicit ones do not."""
    assert written(EXPLICIT_LITTLE, 0x00090001, vr, value) == element(0x00090001, vr, value)
    assert written(IMPLICIT_LITTLE, 0x00090001, vr, value) == implicit(0x00090001, value)


def test_big_endian_swaps_header_and_numbers() -> None:
    """Tag, length and numbers are turned; text and bytes are not."""
    assert written(BIG_ENDIAN, 0x00280010, "US", b"\1\2\3\4") == element(0x00280010, "US", b"\2\1\4\3", order=">")
    assert written(BIG_ENDIAN, 0x00100010, "PN", b"ABCD") == element(0x00100010, "PN", b"ABCD", order=">")


@pytest.mark.parametrize(
    ("vr", "expected"),
    [
        ("OW", b"\2\1\4\3\6\5\x08\7"),
        ("SS", b"\2\1\4\3\6\5\x08\7"),
        ("AT", b"\2\1\4\3\6\5\x08\7"),
        ("UL", b"\4\3\2\1\x08\7\6\5"),
        ("OF", b"\4\3\2\1\x08\7\6\5"),
        ("FD", b"\x08\7\6\5\4\3\2\1"),
        ("OV", b"\x08\7\6\5\4\3\2\1"),
        ("OB", b"\1\2\3\4\5\6\7\x08"),
        ("UN", b"\1\2\3\4\5\6\7\x08"),
        ("DS", b"\1\2\3\4\5\6\7\x08"),
    ],
)
def test_each_vr_is_swapped_by_its_unit(vr: str, expected: bytes) -> None:
    """Words of 2, 4 or 8 bytes are turned each by itself, UN never (PS3.5 6.2.2, 7.3), in both directions."""
    value = bytes(range(1, 9))
    assert written(BIG_ENDIAN, 0x00090001, vr, value).endswith(expected)
    assert written(EXPLICIT_LITTLE, 0x00090001, vr, value, big=True).endswith(expected)
    assert written(BIG_ENDIAN, 0x00090001, vr, value, big=True).endswith(value)


@pytest.mark.parametrize(
    ("vr", "padding"), [("LO", b" "), ("UT", b" "), ("UI", b"\0"), ("OB", b"\0"), ("UN", b"\0"), ("UC", b" ")]
)
def test_odd_values_are_padded(vr: str, padding: bytes) -> None:
    """A value of odd length gets one byte: a space for text, NUL for UIDs and bytes (PS3.5 6.2)."""
    assert written(EXPLICIT_LITTLE, 0x00090001, vr, b"odd") == element(0x00090001, vr, b"odd" + padding)
    assert written(IMPLICIT_LITTLE, 0x00090001, vr, b"odd") == implicit(0x00090001, b"odd" + padding)


def test_empty_values_are_kept() -> None:
    """An element without value is written as one."""
    assert written(EXPLICIT_LITTLE, 0x00100010, "PN", b"") == element(0x00100010, "PN", b"")
    assert written(BIG_ENDIAN, 0x00280010, "US", b"") == element(0x00280010, "US", b"", order=">")


@pytest.mark.parametrize(("length", "vr"), [(0xFFFE, "DS"), (0xFFFF, "UN"), (0x10000, "UN")])
def test_what_a_short_length_cannot_hold_becomes_unknown(length: int, vr: str) -> None:
    """An implicit value too long for its VR's 16-bit length is written as UN, and then not swapped."""
    value = b"1" * length
    explicit = written(EXPLICIT_LITTLE, 0x00090001, "DS", value)
    assert explicit == element(0x00090001, vr, value + b"\0" * (length % 2))
    assert written(IMPLICIT_LITTLE, 0x00090001, "DS", value)[:8] == implicit(
        0x00090001, b"", length=length + length % 2
    )


def test_a_number_list_that_becomes_unknown_stays_little_endian() -> None:
    """Unknown values are little endian in every syntax, so that no reader misreads them."""
    value = b"\1\2" * 0x8000
    assert written(BIG_ENDIAN, 0x00090001, "US", value) == element(0x00090001, "UN", value, order=">")


def test_a_value_may_come_in_chunks() -> None:
    """Chunks are joined and swapped as if the value were one."""
    file = io.BytesIO()
    Sink(file, BIG_ENDIAN).value(0x7FE00010, "OW", 6, iter([b"\1\2", b"\3\4\5\6"]), big=False)
    assert file.getvalue() == element(0x7FE00010, "OW", b"\2\1\4\3\6\5", order=">")


def test_a_value_beyond_32_bits_is_refused() -> None:
    """The longest length is 0xFFFFFFFE; the next one means undefined."""
    sink = Sink(io.BytesIO(), EXPLICIT_LITTLE)
    sink.value(0x7FE00010, "OB", LENGTH_LIMIT, [], big=False)
    with pytest.raises(ConversionTooLarge):
        sink.value(0x7FE00010, "OB", LENGTH_LIMIT + 1, [], big=False)


@pytest.mark.parametrize(("encoding", "order"), [(EXPLICIT_LITTLE, "<"), (BIG_ENDIAN, ">"), (IMPLICIT_LITTLE, "<")])
def test_sequences_have_undefined_length(encoding: Encoding, order: str) -> None:
    """Sequences and items end with delimiters, in the byte order of the target."""
    file = io.BytesIO()
    sink = Sink(file, encoding)
    sink.open_sequence(0x00081140)
    sink.open_item()
    sink.close_item()
    sink.close_sequence()
    header = element(0x00081140, "SQ", b"", length=0xFFFFFFFF, order=order)
    if encoding.implicit:
        header = implicit(0x00081140, b"", length=0xFFFFFFFF)
    delimiters = tag_bytes(0xFFFEE00D, order) + bytes(4) + tag_bytes(0xFFFEE0DD, order) + bytes(4)
    assert file.getvalue() == header + tag_bytes(0xFFFEE000, order) + b"\xff" * 4 + delimiters


@pytest.mark.parametrize("size", range(2, 40, 2))
def test_a_deflated_data_set_has_even_length(size: int) -> None:
    """All elements are in one raw deflate stream, padded with at most one NUL (PS3.5 A.5)."""
    file = io.BytesIO()
    sink = Sink(file, Encoding(deflated=True))
    value = bytes(range(size))
    sink.value(0x00420011, "OB", size, [value], big=False)
    sink.finish()
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(file.getvalue()) == element(0x00420011, "OB", value)
    assert inflater.eof
    assert len(file.getvalue()) % 2 == 0
    assert inflater.unused_data in (b"", b"\0")


def test_finishing_a_plain_data_set_adds_nothing() -> None:
    """Only deflated data sets have something left to write."""
    file = io.BytesIO()
    Sink(file, EXPLICIT_LITTLE).finish()
    assert file.getvalue() == b""


@given(st.binary(max_size=64), st.sampled_from([2, 4, 8]))
def test_swapping_twice_changes_nothing(data: bytes, unit: int) -> None:
    """Swapping keeps the length, is its own inverse, and leaves what is shorter than a unit."""
    turned = swapped(data, unit)
    assert len(turned) == len(data)
    assert swapped(turned, unit) == data
    rest = len(data) % unit
    assert turned[len(data) - rest :] == data[len(data) - rest :]
