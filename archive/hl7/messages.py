"""Reads one HL7 v2 message: its header, its character set, its fields; must not judge what they say.

The grammar is that of HL7 v2.5 chapter 2; python-hl7 takes it apart (docs/decisions/0006). ``read_header`` never
fails, so that whatever came can be answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import hl7

from archive.errors import MessageRefused

NULL: Final = '""'
"""A field that says: delete what you have (chapter 2.5.3). An empty field says nothing."""

CHARSETS: Final = {
    "": "utf-8",
    "ASCII": "ascii",
    "8859/1": "latin-1",
    "8859/15": "iso8859-15",
    "UNICODE UTF-8": "utf-8",
    "UNICODE": "utf-8",
}
"""HL7 table 0211, as far as PAM France knows it. Without MSH-18: UTF-8 when it is that, else 8859/15."""

# Table 0357: why a message is not taken.
SEGMENT_SEQUENCE: Final = 100
FIELD_MISSING: Final = 101
DATA_TYPE: Final = 102
TABLE_VALUE: Final = 103
UNSUPPORTED_TYPE: Final = 200
UNSUPPORTED_EVENT: Final = 201
UNKNOWN_KEY: Final = 204
INTERNAL: Final = 207

_ENCODING_SIZES: Final = (4, 5)
_NEW_LINE: Final = re.compile(r"\r\n?|\n")


def refused(reason: str, *, code: int, location: str = "", rejects: bool = False) -> MessageRefused:
    """Return the error of a message that is not taken: ``rejects`` answers AR, else AE; ``reason`` names nobody."""
    return MessageRefused(reason=reason, code=code, location=location, rejects=rejects)


@dataclass(frozen=True, slots=True)
class Header:
    """What an answer needs of MSH. Fields are as they came, bytes as Latin-1 characters, escapes and all."""

    separator: str = "|"
    encoding: str = "^~\\&"
    fields: tuple[str, ...] = ()

    def raw(self, number: int) -> str:
        """Return MSH-``number``, from 3 on."""
        return self.fields[number - 3] if number - 3 < len(self.fields) else ""

    def first(self, number: int) -> str:
        """Return the first component of the first repetition of MSH-``number``."""
        component, repetition = self.encoding[0], self.encoding[1]
        return self.raw(number).split(repetition)[0].split(component)[0]


def read_header(raw: bytes) -> Header:
    """Return the header of anything, with what can be read of it."""
    line = _NEW_LINE.split(raw.decode("latin-1").lstrip("\r\n \t"), maxsplit=1)[0]
    if not line.startswith("MSH") or len(line) < 8:
        return Header()
    separator = line[3]
    encoding, *fields = line[4:].split(separator)
    # Four characters, or five with the truncation character of v2.7; python-hl7 needs them to differ.
    if len(encoding) not in _ENCODING_SIZES or len({*encoding, separator}) != len(encoding) + 1:
        return Header()
    return Header(separator, encoding, tuple(fields))


class Message:
    """One message taken apart; fields are counted from 1 as the standard does, a value that is not there is empty."""

    def __init__(self, raw: bytes, header: Header, parsed: Any) -> None:
        self.raw = raw
        self.header = header
        self._parsed = parsed

    @property
    def segment_names(self) -> list[str]:
        """Return the names of the segments, in order."""
        return [str(segment[0]) for segment in self._parsed]

    def segments(self, name: str) -> Iterator[Segment]:
        """Yield the segments of one name, in order."""
        return (segment for segment in self.all_segments() if segment.name == name)

    def all_segments(self) -> Iterator[Segment]:
        """Yield every segment, in order."""
        return (Segment(str(part[0]), part, self._parsed) for part in self._parsed)

    def first(self, name: str) -> Segment:
        """Return the first segment of a name; one without fields when there is none."""
        return next(self.segments(name), Segment(name, [], self._parsed))


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment's values."""

    name: str
    _fields: Any
    _message: Any

    def value(self, field: int, component: int = 1, subcomponent: int = 1, *, repetition: int = 1) -> str:
        """Return one value, unescaped and without spaces around it; ``NULL`` stays as it is."""
        part: Any = _part(self._fields, field)
        for number in (repetition, component, subcomponent):
            part = _part(part, number - 1)
        text = str(part).strip()
        return str(self._message.unescape(text)).strip() if "\\" in text else text

    def repetitions(self, field: int) -> int:
        """Return how many times a field is given."""
        part = _part(self._fields, field)
        return 1 if isinstance(part, str) else len(part)


def parse(raw: bytes) -> Message:
    """Take a message apart; raise MessageRefused for what is none or is not in the character set it names."""
    header = read_header(raw)
    if not header.fields:
        raise refused("it does not begin with a message header", code=SEGMENT_SEQUENCE, location="MSH^1", rejects=True)
    text = _NEW_LINE.sub("\r", decode(raw, header).strip("\r\n \t"))
    try:
        parsed = hl7.parse(text)
    except (hl7.HL7Exception, ValueError, LookupError, TypeError, AttributeError, AssertionError) as exc:
        raise refused("it cannot be taken apart", code=SEGMENT_SEQUENCE, rejects=True) from exc
    return Message(raw, header, parsed)


def decode(raw: bytes, header: Header) -> str:
    """Return a message's text by MSH-18; raise MessageRefused when it has none, or holds other bytes."""
    name = header.raw(18).split(header.encoding[1])[0].strip().upper()
    charset = CHARSETS.get(name)
    if charset is None:
        raise refused("its character set is not known here", code=TABLE_VALUE, location="MSH^1^18")
    try:
        text = raw.decode(charset)
    except UnicodeDecodeError as exc:
        if name:
            raise refused("its bytes are not of its character set", code=DATA_TYPE, location="MSH^1^18") from exc
        text = raw.decode("iso8859-15")
    if "\0" in text:
        raise refused("it holds a NUL character", code=DATA_TYPE)
    return text


def text_of(raw: bytes) -> str:
    """Return a message for the eye: in its own character set, or as Latin-1 when it has none."""
    try:
        return decode(raw, read_header(raw))
    except MessageRefused:
        return raw.decode("latin-1")


def _part(value: Any, index: int) -> Any:
    if isinstance(value, str):
        return value if index == 0 else ""
    return value[index] if 0 <= index < len(value) else ""
