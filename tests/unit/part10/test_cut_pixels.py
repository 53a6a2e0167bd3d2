"""Pixel data that end before their length says are told from values that merely have a wild length."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from archive.errors import UnreadableDataset
from archive.part10.scan import scan_header
from tests.objects import ct_dataset, dataset_bytes

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.70"


def _is_cut(data: bytes, syntax: str = EXPLICIT, *, size: int | None = None) -> bool:
    whole = len(data) if size is None else size
    return "cut" in scan_header(data, syntax, complete=size is None, size_bytes=whole).flags


def _encapsulated(*fragments: bytes, end: bytes = b"\xfe\xff\xdd\xe0\0\0\0\0") -> bytes:
    head = dataset_bytes(ct_dataset(1, PixelData=b"")).rpartition(b"\xe0\x7f\x10\x00")[0]
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(part)) + part for part in fragments)
    return head + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + items + end


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("missing", [1, 2, 511])
def test_native_pixels_that_end_early_are_cut(syntax: str, missing: int) -> None:
    """A data set without its last bytes is cut in every uncompressed layout; whole, it is not."""
    data = dataset_bytes(ct_dataset(1), syntax)
    assert not _is_cut(data, syntax)
    assert _is_cut(data[:-missing], syntax)


def test_a_large_object_is_judged_from_its_first_bytes() -> None:
    """With only the head in memory, the announced length is compared with the size received."""
    data = dataset_bytes(ct_dataset(1))
    head = data[:-400]
    assert not _is_cut(head, size=len(data))
    assert _is_cut(head, size=len(data) - 2)


def test_compressed_pixels_need_their_delimiter() -> None:
    """Fragments without the sequence delimiter, or with half a fragment, are cut."""
    assert not _is_cut(_encapsulated(b"", b"abcd"), JPEG)
    assert _is_cut(_encapsulated(b"", b"abcd", end=b""), JPEG)
    assert _is_cut(_encapsulated(b"", b"abcd", end=b"")[:-2], JPEG)


def test_what_follows_the_pixels_is_no_matter() -> None:
    """Trailing padding behind the pixels is allowed, and so is a wild length in it."""
    data = dataset_bytes(ct_dataset(1))
    assert not _is_cut(data + b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0")
    assert not _is_cut(data + b"\xfc\xff\xfc\xffOB\0\0\xff\0\0\0\0\0\0\0")


def test_a_wild_length_elsewhere_is_not_a_cut() -> None:
    """A private value that claims more than there is gets no "cut": such objects are kept as they are."""
    data = dataset_bytes(ct_dataset(1)).rpartition(b"\xe0\x7f\x10\x00")[0]
    assert not _is_cut(data + b"\x61\x00\x10\x10LO\xf0\xff" + b"short text")


@given(st.binary(max_size=400), st.integers(0, 600))
def test_no_bytes_make_it_raise(tail: bytes, size: int) -> None:
    """Whatever stands where the pixels should be, the scan answers or refuses."""
    data = dataset_bytes(ct_dataset(1)).rpartition(b"\xe0\x7f\x10\x00")[0] + b"\xe0\x7f" + tail
    try:
        header = scan_header(data, EXPLICIT, complete=size % 2 == 0, size_bytes=len(data) + size - 300)
    except UnreadableDataset:
        return
    assert header.values["SOPInstanceUID"]
