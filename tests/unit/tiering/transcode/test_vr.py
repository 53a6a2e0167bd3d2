"""Which VR an element has whose data set does not state it."""

from __future__ import annotations

import pytest

from tiering.transcode.level import Level
from tiering.transcode.syntaxes import IMPLICIT_LITTLE
from tiering.transcode.vr import KNOWN_VRS, LONG_VRS, SWAPPED, TEXT_VRS, implicit_vr


def a_level(values: dict[int, int] | None = None, parent: Level | None = None) -> Level:
    """Return a data set that holds some 16-bit numbers."""
    encoded = {tag: number.to_bytes(2, "little") for tag, number in (values or {}).items()}
    return Level(0, None, IMPLICIT_LITTLE, parent, values=encoded)


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00100010, "PN"),
        (0x00080016, "UI"),
        (0x00280010, "US"),
        (0x00081140, "SQ"),
        (0x60020010, "US"),
        (0x601E3000, "OW"),
        (0x00281201, "OW"),
        (0x7FE00008, "OF"),
        (0x7FE00001, "OV"),
        (0x00100000, "UL"),
        (0x00110000, "UL"),
        (0x00104444, "UN"),
    ],
)
def test_the_dictionary_tells(tag: int, vr: str) -> None:
    """Standard tags, repeating groups and group lengths have the dictionary's VR; unknown ones have UN."""
    assert implicit_vr(tag, a_level()) == vr


@pytest.mark.parametrize(
    ("values", "tag", "vr"),
    [
        ({}, 0x00280106, "US"),
        ({0x00280103: 0}, 0x00280106, "US"),
        ({0x00280103: 1}, 0x00280106, "SS"),
        ({0x00280103: 1}, 0x00283002, "SS"),
        ({0x00280100: 8}, 0x7FE00010, "OB"),
        ({0x00280100: 1}, 0x7FE00010, "OB"),
        ({0x00280100: 16}, 0x7FE00010, "OW"),
        ({}, 0x7FE00010, "OW"),
        ({0x54001004: 8}, 0x54001010, "OB"),
        ({0x54001004: 16}, 0x54001010, "OW"),
        ({}, 0x54001010, "OW"),
        ({0x00283002: 1}, 0x00283006, "US"),
        ({0x00283002: 256}, 0x00283006, "OW"),
        ({}, 0x00283006, "OW"),
        ({0x00280103: 1}, 0x00281200, "OW"),
    ],
)
def test_the_data_set_settles_what_the_dictionary_leaves_open(values: dict[int, int], tag: int, vr: str) -> None:
    """Sign, sample width and table length choose among the VRs an element may have."""
    assert implicit_vr(tag, a_level(values)) == vr


def test_an_item_asks_the_data_sets_around_it() -> None:
    """Inside sequences the closest Pixel Representation counts, the item's own first."""
    root = a_level({0x00280103: 1})
    item = a_level(parent=a_level(parent=root))
    icon = a_level({0x00280103: 0}, parent=root)
    assert implicit_vr(0x00409211, item) == "SS"
    assert implicit_vr(0x00280106, icon) == "US"


def test_private_elements_follow_their_creator() -> None:
    """A private tag has the VR its creator's dictionary gives, whichever block was reserved; else UN."""
    level = a_level()
    level.remember(0x00190010, b"SIEMENS MR HEADER ")
    level.remember(0x00190012, b"SIEMENS MR HEADER")
    level.remember(0x00210010, b"NOBODY KNOWN")
    assert implicit_vr(0x00190010, level) == "LO"
    assert implicit_vr(0x00191008, level) == "CS"
    assert implicit_vr(0x0019120A, level) == "US"
    assert implicit_vr(0x00191308, level) == "UN"
    assert implicit_vr(0x001910F0, level) == "UN"
    assert implicit_vr(0x00211008, level) == "UN"


def test_an_open_vr_of_a_private_dictionary_is_settled() -> None:
    """Private dictionaries write alternatives in their own way; what comes out is always one VR."""
    level = a_level({0x00280103: 1})
    level.remember(0x00550010, b"PAPYRUS 3.0")
    level.remember(0x20050010, b"Philips MR Imaging DD 001")
    for element in range(0x1000, 0x1100):
        assert implicit_vr(0x00550000 | element, level) in KNOWN_VRS
        assert implicit_vr(0x20050000 | element, level) in KNOWN_VRS


def test_every_vr_is_of_one_layout() -> None:
    """The 34 VRs of PS3.5 are known, and none is both text and swapped."""
    assert len(KNOWN_VRS) == 34
    assert KNOWN_VRS > LONG_VRS
    assert not TEXT_VRS & set(SWAPPED)
