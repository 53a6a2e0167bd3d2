"""What one level of a data set remembers of its elements."""

from __future__ import annotations

from tiering.transcode.level import Level
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, Encoding


def a_level(parent: Level | None = None, *, big: bool = False) -> Level:
    """Return an empty data set."""
    return Level(0, None, Encoding(big=True) if big else EXPLICIT_LITTLE, parent)


def test_numbers_have_the_byte_order_of_their_data_set() -> None:
    """The same two bytes are two numbers, little endian and big endian."""
    little, big = a_level(), a_level(big=True)
    for level in (little, big):
        level.remember(0x00280010, b"\x02\x01")
    assert little.number(0x00280010) == 0x0102
    assert big.number(0x00280010) == 0x0201


def test_the_first_number_of_several_counts() -> None:
    """A LUT descriptor's first number can be asked for."""
    level = a_level()
    level.remember(0x00283002, b"\x00\x01\x05\x00\x10\x00")
    assert level.number(0x00283002) == 256


def test_an_absent_or_empty_value_is_no_number() -> None:
    """Absent, empty and one-byte values are None, not zero."""
    level = a_level()
    level.remember(0x00280010, b"")
    level.remember(0x00280011, b"\x01")
    assert level.number(0x00280010) is None
    assert level.number(0x00280011) is None
    assert level.number(0x00280012) is None


def test_the_closest_data_set_that_has_it_answers() -> None:
    """`nearest` climbs until a level has the tag, and gives None when none has."""
    root = a_level()
    item = a_level(a_level(root))
    root.remember(0x00280103, b"\x01\x00")
    assert item.nearest(0x00280103) == 1
    item.remember(0x00280103, b"\x00\x00")
    assert item.nearest(0x00280103) == 0
    assert item.nearest(0x00280100) is None


def test_text_comes_without_padding() -> None:
    """Spaces and NULs around a value are not part of it."""
    level = a_level()
    level.remember(0x00280004, b" RGB \0")
    assert level.text(0x00280004) == "RGB"
    assert level.text(0x00280008) == ""


def test_only_what_tells_how_to_read_is_kept() -> None:
    """Patient data, long values and private values are forgotten at once."""
    level = a_level()
    level.remember(0x00100010, b"DUPONT^Zoe")
    level.remember(0x00280010, bytes(65))
    level.remember(0x00291010, b"private ")
    assert not level.values
    assert not level.creators


def test_a_private_block_knows_its_creator() -> None:
    """Elements gggg,bb00 to gggg,bbFF belong to who wrote gggg,00bb; other groups and blocks do not."""
    level = a_level()
    level.remember(0x00290010, b"ACME 1.1 ")
    assert level.creator(0x00291000) == "ACME 1.1"
    assert level.creator(0x002910FF) == "ACME 1.1"
    assert level.creator(0x00291100) is None
    assert level.creator(0x00311000) is None
