"""Where the value of one element lies in a stored data set; must not read the value nor decode it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from tiering.errors import UnsupportedConversion
from tiering.transcode.level import Kind, Token
from tiering.transcode.source import Source
from tiering.transcode.syntaxes import SOURCES
from tiering.transcode.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Place:
    """A value: ``length`` bytes from ``offset`` on, counted from the start of the data set; its VR."""

    offset: int
    length: int
    vr: str


def find_value(file: BinaryIO, *, source_uid: str, path: Sequence[int]) -> Place | None:
    """Return where a value is, None when there is none; ``file`` is the data set at its start.

    ``path``: tags and numbers of items in turn, from 1 on: (0x00081140, 2, 0x00081155). Encapsulated pixel data and
    sequences have no value in one piece. Raises UnsupportedConversion for a transfer syntax that is not known, deflated
    or big endian, MalformedDataset.
    """
    syntax = SOURCES.get(source_uid)
    if syntax is None or syntax.encoding.deflated or syntax.encoding.big:
        raise UnsupportedConversion(source_uid=source_uid, target_uid="bulk data")
    source = Source(file)
    walk = _Walk(tuple(path))
    for token in Tokens(source, syntax.encoding):
        if walk.arrives(token):
            if token.kind is not Kind.VALUE:
                return None
            end = source.position + (token.length if token.value is None else 0)
            return Place(end - token.length, token.length, token.vr)
    return None


class _Walk:
    """Knows where in the nesting of sequences the tokens are."""

    def __init__(self, path: tuple[int, ...]) -> None:
        self._path = path
        self._here: list[int] = []

    def arrives(self, token: Token) -> bool:
        """Take a token; tell whether it is the one that the path names."""
        if token.kind is Kind.SEQUENCE:
            self._here += [token.tag, 0]
        elif token.kind is Kind.ITEM:
            self._here[-1] += 1
        elif token.kind is Kind.SEQUENCE_END:
            del self._here[-2:]
        elif token.kind in (Kind.VALUE, Kind.FRAGMENTS):
            return (*self._here, token.tag) == self._path
        return False
