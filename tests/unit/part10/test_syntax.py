"""Layouts of transfer syntaxes and guesses from bytes; must not read values."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from archive.part10.syntax import DEFLATED, VR_IS_LONG, Layout, guess_layout, layout_of
from tests.unit.part10.wire import element, implicit


def test_every_vr_has_its_length_field() -> None:
    """The VRs and the width of their length field are those of PS3.5 section 7.1.2."""
    assert {vr.decode() for vr in VR_IS_LONG} == {str(vr) for vr in STANDARD_VR}
    assert {vr.decode() for vr, is_long in VR_IS_LONG.items() if is_long} == {str(vr) for vr in EXPLICIT_VR_LENGTH_32}


@pytest.mark.parametrize(
    ("transfer_syntax_uid", "layout"),
    [
        ("1.2.840.10008.1.2", Layout.IMPLICIT_LITTLE),
        ("1.2.840.113619.5.2", Layout.IMPLICIT_LITTLE),
        ("1.2.840.10008.1.2.1", Layout.EXPLICIT_LITTLE),
        ("1.2.840.10008.1.2.2", Layout.EXPLICIT_BIG),
        ("1.2.840.10008.1.2.4.90", Layout.EXPLICIT_LITTLE),
        ("1.2.840.10008.1.2.5", Layout.EXPLICIT_LITTLE),
        ("1.3.9999", Layout.EXPLICIT_LITTLE),
    ],
)
def test_layout_of(transfer_syntax_uid: str, layout: Layout) -> None:
    """Encapsulated, unknown and private transfer syntaxes are explicit little endian, the native ones what they say."""
    assert layout_of(transfer_syntax_uid) is layout


def test_deflated_syntaxes() -> None:
    """The deflated image frame syntax deflates frames, not the data set: it is not among the deflated ones."""
    assert "1.2.840.10008.1.2.1.99" in DEFLATED
    assert "1.2.840.10008.1.2.8.1" not in DEFLATED


@pytest.mark.parametrize(
    ("head", "layout"),
    [
        (element(0x00080005, "CS", "ISO_IR 100"), Layout.EXPLICIT_LITTLE),
        (element(0x00080005, "CS", "ISO_IR 100", order=">"), Layout.EXPLICIT_BIG),
        (implicit(0x00080005, "ISO_IR 100"), Layout.IMPLICIT_LITTLE),
        (element(0x00080000, "UL", bytes(4)), Layout.EXPLICIT_LITTLE),
        (implicit(0x00080005, b"") + implicit(0x00080008, "A"), Layout.IMPLICIT_LITTLE),
        (implicit(0x00080005, b"") + element(0x00080008, "CS", "A"), Layout.EXPLICIT_LITTLE),
        (implicit(0x00080005, b"", length=0x10000), None),
        (element(0x00200010, "SH", "A"), None),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", None),
        (b"PK\x03\x04" + bytes(16), None),
        (b"<html><body>", None),
        (b"\x08\x00\x05\x00", None),
        (b"", None),
    ],
    ids=lambda value: value.hex()[:24] if isinstance(value, bytes) else str(value),
)
def test_guess_layout(head: bytes, layout: Layout | None) -> None:
    """The first element tells the layout; what does not start like a data set has none."""
    assert guess_layout(head) is layout


@given(st.binary(max_size=64))
def test_guess_never_raises(head: bytes) -> None:
    """Any bytes have a layout or none."""
    assert guess_layout(head) in {*Layout, None}
