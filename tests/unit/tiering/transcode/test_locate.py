"""Where the value of an element lies: at the root, in items, and where there is none."""

from __future__ import annotations

import io

import pytest

from tests.unit.tiering.transcode.building import (
    BIG,
    EXPLICIT,
    IDENTITY,
    IMPLICIT,
    RLE,
    Module,
    compressed,
    converted,
    element,
    image,
    rle,
    sequence,
)
from tiering.errors import UnsupportedConversion
from tiering.transcode.locate import find_value

LONG = bytes(range(256)) * 300
TEXT = element(0x00420010, "ST", b"title!")
DOCUMENT = element(0x00420011, "OB", LONG)
NESTED = sequence(0x00081140, TEXT, sequence(0x00081199, TEXT + DOCUMENT) + DOCUMENT)
DATASET = NESTED + element(0x00100010, "PN", b"DUPONT^Zoe") + DOCUMENT


def value_at(dataset: bytes, uid: str, *path: int) -> bytes | None:
    """Return the bytes that a place names, None where there is none."""
    place = find_value(io.BytesIO(dataset), source_uid=uid, path=path)
    return None if place is None else dataset[place.offset : place.offset + place.length]


@pytest.mark.parametrize("uid", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((0x00420011,), LONG),
        ((0x00100010,), b"DUPONT^Zoe"),
        ((0x00081140, 1, 0x00420010), b"title!"),
        ((0x00081140, 2, 0x00420011), LONG),
        ((0x00081140, 2, 0x00081199, 1, 0x00420011), LONG),
        ((0x00081140, 2, 0x00081199, 2, 0x00420011), None),
        ((0x00081140, 3, 0x00420011), None),
        ((0x00081140,), None),
        ((0x00090010,), None),
    ],
)
def test_a_value_is_found_by_tags_and_items(uid: str, path: tuple[int, ...], value: bytes | None) -> None:
    """Items count from 1; what is not there, or is no value, is not found."""
    dataset = DATASET if uid == EXPLICIT else converted(DATASET, EXPLICIT, uid)
    assert value_at(dataset, uid, *path) == value


def test_the_vr_comes_with_the_place() -> None:
    """An explicit VR is told with the place."""
    place = find_value(io.BytesIO(DATASET), source_uid=EXPLICIT, path=(0x00420011,))
    assert place is not None and place.vr == "OB"


def test_compressed_pixel_data_are_no_value_in_one_piece() -> None:
    """Fragments are not found, what stands before them is."""
    picture = image(4, 4)
    dataset = compressed(Module(picture), [rle(picture)])
    assert value_at(dataset, RLE, 0x7FE00010) is None
    assert value_at(dataset, RLE, 0x00100010) == b"DUPONT^Zo\xe9"


def test_what_is_not_in_little_endian_is_refused() -> None:
    """Bytes of a big endian data set would be told the wrong way round."""
    with pytest.raises(UnsupportedConversion):
        value_at(IDENTITY, BIG, 0x00100010)
