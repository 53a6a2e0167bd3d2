"""Taking messages apart: values, repetitions, escapes, character sets, and headers of anything."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from archive.errors import MessageRefused
from archive.hl7.messages import NULL, Header, parse, read_header, text_of
from archive.hl7.receiver import read
from archive.hl7.translate import Establishment
from tests.unit.hl7.making import MESSAGES, adt, sample
from tests.unit.services.shelf import NOON


def test_values_by_number() -> None:
    """Field, component, subcomponent and repetition are counted from 1; what is not there is empty."""
    person = parse(sample("a01_admission")).first("PID")
    assert person.value(3) == "000003" and person.value(3, 4, 2) == "000897406"
    assert person.value(3, repetition=2) == "279035121518989" and person.repetitions(3) == 2
    assert person.value(3, 9, repetition=2) == person.value(99) == person.value(3, 1, 5) == ""
    assert person.value(5) == "DURÉ-LEFÈVRE" and person.repetitions(99) == 1
    assert parse(sample("a01_admission")).first("ZZZ").value(3) == ""


def test_header_fields_have_the_standards_numbers() -> None:
    """MSH-1 is the separator, so that MSH-9 is the message type, in the header and in the segment."""
    message = parse(adt("A01", control="C1"))
    assert message.first("MSH").value(10) == message.header.first(10) == "C1"
    assert message.first("MSH").value(9, 2) == "A01" and message.header.raw(9) == "ADT^A01"


def test_escapes_and_null() -> None:
    """Escape sequences become what they stand for; a field of two quotes stays as it is."""
    raw = adt("A31").replace(b"PAT-TROIS", b"D\\T\\A \\F\\ B\\S\\").replace(b"|F", b'|""')
    person = parse(raw).first("PID")
    assert person.value(5) == "D&A | B^" and person.value(8) == NULL


def test_the_truncation_character_is_no_hindrance() -> None:
    """A sender of v2.7 names a fifth encoding character, and is read."""
    assert parse(adt("A31").replace(b"^~\\&|", b"^~\\&#|", 1)).first("PID").value(5, 2) == "DOMINIQUE"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_line_ends(end: str) -> None:
    """Segments end with CR; files and careless senders end them otherwise, and are read."""
    raw = adt("A31").replace(b"\r", end.encode())
    assert parse(raw).segment_names == ["MSH", "EVN", "PID"]


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("8859/1", b"\xe9\xa4", "é¤"),
        ("8859/15", b"\xe9\xa4\xbd", "é€œ"),
        ("UNICODE UTF-8", "éœ€".encode(), "éœ€"),
        ("UNICODE", "é".encode(), "é"),
        ("", "éœ".encode(), "éœ"),
        ("", b"\xe9\xbd", "éœ"),
        ("unicode utf-8~8859/1", "é".encode(), "é"),
    ],
)
def test_character_sets(name: str, data: bytes, text: str) -> None:
    """MSH-18 says how the bytes are read; without it UTF-8 is tried, then 8859/15."""
    raw = adt("A31", head="||||||" + name).replace(b"PAT-TROIS", data)
    assert parse(raw).first("PID").value(5) == text
    assert text in text_of(raw)


def test_text_for_the_eye_of_what_has_none() -> None:
    """Bytes of no character set are shown all the same."""
    assert text_of(b"\xff\xe9") == "ÿé"


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(raw: bytes) -> None:
    """Nothing that comes raises anything: it is read, or refused with a code and a reason."""
    for data in (raw, b"MSH|^~\\&|" + raw, b"MSH|^~\\&|A|B|C|D|20240101||ADT^A01|1|P|2.5\r" + raw):
        read_header(data)
        reading = read(data, lambda _names: Establishment("s"), NOON)
        assert reading.error is None or reading.detail
        assert "report this" not in reading.detail


@given(st.sampled_from(sorted(MESSAGES.glob("*.hl7"))), st.data())
def test_damaged_messages_find_no_bug(path: object, data: st.DataObject) -> None:
    """A real message with bytes changed, cut out or doubled is read or refused, never a bug of ours."""
    raw = bytearray(sample(str(getattr(path, "stem", ""))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        piece = data.draw(st.sampled_from([b"", b"|", b"^", b"~", b"&", b"\\", b"\r", b'""', b"\x00", b"\xff", b"9"]))
        raw[at : at + data.draw(st.integers(0, 3))] = piece
    reading = read(bytes(raw), lambda _names: Establishment("s"), NOON)
    assert "report this" not in reading.detail


@pytest.mark.parametrize(
    "raw",
    [b"", b"MSH", b"MSH|", b"MSH|^~", b"MSH|||||||||", b"MSH&^~\\&&A&B", b"MSH|^~|A|B", b"PID|1", b"MSH^^^^^^^^^"],
)
def test_a_header_that_is_none(raw: bytes) -> None:
    """What does not begin with a header, or with separators that differ, has an empty one and is refused."""
    assert read_header(raw) == Header()
    with pytest.raises(MessageRefused, match="message header"):
        parse(raw)
