"""The parts a data set is read into, tokens and the level each stands on; must not read bytes itself."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from tiering.transcode.syntaxes import Encoding

REMEMBERED_BYTES: Final = 64
REMEMBERED_GROUPS: Final = frozenset({0x0028, 0x5400})


class Kind(Enum):
    """What a token stands for."""

    VALUE = "value"
    FRAGMENTS = "fragments"
    SEQUENCE = "sequence"
    SEQUENCE_END = "sequence end"
    ITEM = "item"
    ITEM_END = "item end"


@dataclass(slots=True)
class Level:
    """One data set, the whole or a sequence item: where it starts and what its elements said so far.

    `end` is None when a delimiter, or the end of the bytes, ends it. `previous` is the tag before the present
    token's. `values` keeps short values of the groups that say how to read others.
    """

    start: int
    end: int | None
    encoding: Encoding
    parent: Level | None = None
    previous: int = 0
    values: dict[int, bytes] = field(default_factory=dict)
    creators: dict[int, str] = field(default_factory=dict)

    def number(self, tag: int) -> int | None:
        """Return the first unsigned 16-bit number of `tag` here, None when absent."""
        value = self.values.get(tag, b"")
        return None if len(value) < 2 else int.from_bytes(value[:2], "big" if self.encoding.big else "little")

    def nearest(self, tag: int) -> int | None:
        """Return `number(tag)` of this data set or of the closest one around it that has it."""
        level: Level | None = self
        while level is not None:
            if (number := level.number(tag)) is not None:
                return number
            level = level.parent
        return None

    def text(self, tag: int) -> str:
        """Return the value of `tag` here as text without padding, "" when absent."""
        return _text(self.values.get(tag, b""))

    def creator(self, tag: int) -> str | None:
        """Return who reserved the private block `tag` belongs to (PS3.5 7.8.1), None when nobody did."""
        return self.creators.get(tag >> 8)

    def remember(self, tag: int, value: bytes) -> None:
        """Keep what later elements of this data set are read with."""
        if tag >> 16 in REMEMBERED_GROUPS:
            if len(value) <= REMEMBERED_BYTES:
                self.values[tag] = value
        elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            self.creators[tag >> 16 << 8 | tag & 0xFF] = _text(value)


class Token(NamedTuple):
    """One step through a data set.

    `value` is None when the value is long: `length` bytes then wait in the source. `fragments` holds position and
    length, one after the other, of each fragment of encapsulated pixel data, the offset table first.
    """

    kind: Kind
    level: Level
    tag: int = 0
    vr: str = ""
    length: int = 0
    value: bytes | None = None
    fragments: array[int] | None = None


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")
