"""Stored data sets as DICOM JSON: the same as an independent writer, pydicom, makes of them, and never an exception."""

from __future__ import annotations

import base64
import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from archive.dicomweb.json_dataset import to_json
from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SHIPPED,
    converted,
    element,
    raw_deflate,
    read,
    sequence,
    shipped,
)

LATIN = element(0x00080005, "CS", b"ISO_IR 100")


def told(dataset: bytes, uid: str = EXPLICIT) -> dict[str, Any]:
    """Return a data set's JSON, read back."""
    found: dict[str, Any] = json.loads(to_json(io.BytesIO(dataset), source_uid=uid, bulk_base="/bulk/"))
    return found


def value(vr: str, raw: bytes, *, tag: int = 0x00091001, before: bytes = LATIN) -> Any:
    """Return what is told of one value; None when there is none."""
    return told(before + element(tag, vr, raw))[f"{tag:08X}"].get("Value")


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("PN", b"M\xdcLLER^Zo\xeb^^=x=", [{"Alphabetic": "MÜLLER^Zoë", "Ideographic": "x"}]),
        ("PN", b"^^^ ", None),
        ("LO", b"a \\\\ b", ["a", None, "b"]),
        ("LO", b" \\ ", None),
        ("LT", b" two\\lines ", [" two\\lines"]),
        ("UI", b"1.2.3\0", ["1.2.3"]),
        ("DS", b"0.50\\-1e3\\x ", [0.5, -1000.0, "x"]),
        ("DS", b"NaN ", None),
        ("IS", b"007\\+3\\1.5\\", [7, 3, 1.5, None]),
        ("US", struct.pack("<3H", 1, 2, 65535), [1, 2, 65535]),
        ("SS", struct.pack("<h", -2), [-2]),
        ("UL", struct.pack("<I", 1 << 31), [1 << 31]),
        ("SV", struct.pack("<2q", -5, 1 << 60), [-5, str(1 << 60)]),
        ("FL", struct.pack("<2f", 0.5, float("inf")), [0.5, None]),
        ("FD", struct.pack("<d", 1e-300), [1e-300]),
        ("AT", struct.pack("<4H", 0x0010, 0x0020, 0x7FE0, 0x0010), ["00100020", "7FE00010"]),
        ("UR", b"http://x\\y ", ["http://x\\y"]),
        ("US", b"\1", None),
    ],
)
def test_values_are_told_by_their_vr(vr: str, raw: bytes, values: list[Any] | None) -> None:
    """Texts without padding, numbers as numbers, what is empty or no number as null (table F.2.3-1)."""
    assert value(vr, raw) == values


def test_text_is_told_in_utf8() -> None:
    """The character set told is that of the JSON; the one of the data set decides how its text is read."""
    dataset = LATIN + element(0x00080080, "LO", b"H\xf4pital") + element(0x00081030, "LO", b"")
    assert told(dataset) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080080": {"vr": "LO", "Value": ["Hôpital"]},
        "00081030": {"vr": "LO"},
    }


def test_items_may_have_a_character_set_of_their_own() -> None:
    """An item is read in its own character set, and what follows it in that of the data set."""
    utf8 = element(0x00080005, "CS", b"ISO_IR 192") + element(0x00080104, "LO", "é".encode())
    latin = element(0x00080104, "LO", b"\xe9 ")
    found = told(LATIN + sequence(0x00081140, utf8, latin))["00081140"]["Value"]
    assert [item["00080104"]["Value"] for item in found] == [["é"], ["é"]]


def test_sequences_are_told_item_by_item() -> None:
    """An empty sequence has no value, an empty item is an empty object, defined lengths make no difference."""
    inner = sequence(0x00081199, element(0x00080100, "SH", b"A "), defined=True)
    found = told(sequence(0x00081140, inner, b"") + sequence(0x00081250))
    assert found == {
        "00081140": {
            "vr": "SQ",
            "Value": [{"00081199": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["A"]}}]}}, {}],
        },
        "00081250": {"vr": "SQ"},
    }


def test_long_values_are_only_referred_to() -> None:
    """A binary value beyond 1 KiB, any beyond 64 KiB and pixel data are BulkDataURIs with the place in their path."""
    short, long = bytes(range(256)) * 4, bytes(1026)
    item = element(0x00420011, "OB", long)
    dataset = sequence(0x00081140, b"", item) + element(0x00091002, "UT", b"x" * 70_000)
    dataset += element(0x00091003, "OB", short) + element(0x7FE00010, "OB", b"\0\0")
    found = told(dataset)
    assert found["00081140"]["Value"][1] == {"00420011": {"vr": "OB", "BulkDataURI": "/bulk/00081140/2/00420011"}}
    assert found["00091002"] == {"vr": "UT", "BulkDataURI": "/bulk/00091002"}
    assert base64.b64decode(found["00091003"]["InlineBinary"]) == short
    assert found["7FE00010"] == {"vr": "OB", "BulkDataURI": "/bulk/7FE00010"}


def test_group_lengths_are_left_out() -> None:
    """Group lengths say nothing of the object."""
    assert told(element(0x00080000, "UL", bytes(4)) + LATIN).keys() == {"00080005"}


def test_what_is_called_unknown_may_be_known() -> None:
    """Some writers call every VR UN: the dictionary knows better, but for sequences."""
    found = told(element(0x00100010, "UN", b"DUPONT") + element(0x00091001, "UN", b"\1\2"))
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "DUPONT"}]}
    assert found["00091001"] == {"vr": "UN", "InlineBinary": "AQI="}


@pytest.mark.parametrize("uid", [IMPLICIT, BIG, DEFLATED])
def test_every_encoding_tells_the_same(uid: str) -> None:
    """Implicit VR, big endian and deflated data sets are told as explicit little endian ones are."""
    dataset = (
        LATIN + element(0x00281203, "OW", bytes(range(8))) + sequence(0x00081140, element(0x00280010, "US", b"\5\0"))
    )
    assert told(converted(dataset, EXPLICIT, uid), uid) == told(dataset)


def test_a_damaged_data_set_is_told_as_far_as_it_goes() -> None:
    """What was read before the damage is told, and what is known anyway."""
    dataset = LATIN + sequence(0x00081140, element(0x00280010, "US", b"\5\0")) + b"\x10\0\x10\0PN\xff\0abc"
    known = {"00080018": {"vr": "UI", "Value": ["1.2"]}}
    found = json.loads(to_json(io.BytesIO(dataset), source_uid=EXPLICIT, bulk_base="", known=known))
    assert list(found) == ["00080005", "00080018", "00081140"]
    assert json.loads(to_json(io.BytesIO(b""), source_uid="1.2.3", bulk_base="", known=known)) == known


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
def test_no_bytes_raise(noise: bytes, uid: str) -> None:
    """Whatever the bytes, what comes out is a JSON object."""
    dataset = raw_deflate(LATIN + noise) if uid == DEFLATED else LATIN + noise
    assert isinstance(told(dataset, uid), dict)


NAMES = sorted(path.name for path in SHIPPED.glob("*.dcm"))


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files_are_told_as_pydicom_tells_them(name: str) -> None:
    """Of each file that pydicom ships and tells, the values are told alike, element by element."""
    try:
        dataset, uid = shipped(name)
        theirs = read(dataset, uid).to_json_dict(1024, lambda _: "elsewhere", suppress_invalid_tags=True)
    except Exception:  # pydicom refuses many of its own: then there is nothing to compare with
        return
    ours = told(dataset, uid)
    both = (theirs.keys() & ours.keys()) - {"00080005"}
    compared = {tag for tag in both if _comparable(theirs[tag], ours[tag])}
    assert {tag: _plain(ours[tag]) for tag in compared} == {tag: _plain(theirs[tag]) for tag in compared}


def _comparable(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    is_binary = "InlineBinary" in theirs or "BulkDataURI" in theirs or "BulkDataURI" in ours or "InlineBinary" in ours
    return not is_binary and theirs["vr"] not in ("SQ", "PN") and "Value" in theirs


def _plain(element: dict[str, Any]) -> list[Any]:
    values = [each.strip() if isinstance(each, str) else each for each in element.get("Value", [])]
    return [None if each == "" else each for each in values]
