"""What services say in English, said to who reads French; must not know a page, nor change what is logged.

Errors carry English for the command line and the logs, and lists and jobs keep English reasons. One table tells each
sentence in French; what cannot be known beforehand (a database's own words) stays English and is marked as technical.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import takewhile
from string import Formatter
from typing import Final, Protocol

from archive.console import formats

_HOLE: Final = re.compile(r"\{(\w+)[^{}]*\}")
_JOINS: Final = (("; ", " ; "), (" or ", " ou "), (", ", ", "))
"""How services join what they say, and how French does."""

_LONGEST: Final = 2000
"""Characters that are looked up: a sentence of ours is never longer."""

_DEEPEST: Final = 5
"""So often a sentence of ours stands in another at most; what others wrote may look as if it went on for ever."""


class Told(Protocol):
    """An error of ours, whose class says it in a sentence with holes for its fields."""

    @property
    def message(self) -> str:
        """Return the sentence in English."""

    @property
    def fields(self) -> dict[str, object]:
        """Return what fills the holes."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of what is said; a technical one is English that the table cannot know, for who mends machines."""

    text: str
    is_technical: bool = False


def told(error: Told, language: str) -> Sequence[Part]:
    """Return what an error says, in a language."""
    french = None if language == "en" else _table().get(type(error).__doc__ or "")
    parts = None if french is None else _filled(french, {name: str(value) for name, value in error.fields.items()}, 0)
    return said(error.message, language) if parts is None else parts


def said(text: str, language: str) -> Sequence[Part]:
    """Return what a service said or kept in English, in a language."""
    if language == "en" or not text:
        return (Part(text),)
    return _found(text[:_LONGEST], 0) or (Part(text, is_technical=True),)


def _found(text: str, depth: int) -> Sequence[Part] | None:
    """Return the French of a text that stands in so many others; None for one that the table does not hold."""
    exact = _table().get(text)
    if exact is not None:
        return (Part(exact),)
    if depth == _DEEPEST:
        return None
    for pattern, french in _patterns():
        match = pattern.fullmatch(text)
        parts = None if match is None else _filled(french, match.groupdict(), depth + 1)
        if parts is not None:
            return parts
    return _joined(text, depth + 1)


def _filled(french: str, values: Mapping[str, str], depth: int) -> Sequence[Part] | None:
    """Return a French sentence with its holes filled; None when one that has to be known (``:known``) is not.

    ``{reason:fr}`` is said in French too, ``{until:day}`` is a day as people write it, ``{name:maybe}`` a word of
    ours or a name, ``{list_id}`` stays as it is.
    """
    parts: list[Part] = []
    for literal, name, form, _ in Formatter().parse(french):
        parts.append(Part(literal))
        if name is None:
            continue
        value = values.get(name, "")
        if form == "day":
            parts.append(Part(formats.day(value, "fr")))
            continue
        inner = _found(value, depth) if form else (Part(value),)
        if inner is None and form == "known":
            return None
        parts += inner or (Part(value, is_technical=form != "maybe"),)
    return tuple(_merged(part for part in parts if part.text))


def _merged(parts: Iterable[Part]) -> Sequence[Part]:
    """Return the parts with neighbours of one kind put together."""
    merged: list[Part] = []
    for part in parts:
        if merged and merged[-1].is_technical == part.is_technical:
            merged[-1] = Part(merged[-1].text + part.text, part.is_technical)
        else:
            merged.append(part)
    return merged


def _joined(text: str, depth: int) -> Sequence[Part] | None:
    """Return the French of several things in one text, when every one of them is known."""
    for english, french in _JOINS:
        each_found = (_found(each, depth) for each in text.split(english)) if english in text else ()
        known = [*takewhile(bool, each_found)]
        if known and len(known) == text.count(english) + 1:
            says = ["".join(part.text for part in parts or ()) for parts in known]
            return (Part(french.join(says)),)
    return None


@cache
def _table() -> Mapping[str, str]:
    text = (files("archive.console") / "messages" / "refusals.toml").read_text(encoding="utf-8")
    return {english: french for part in tomllib.loads(text).values() for english, french in part.items()}


@cache
def _patterns() -> Sequence[tuple[re.Pattern[str], str]]:
    """Return the sentences with holes as patterns, those that say most themselves first."""
    holed = [(english, french) for english, french in _table().items() if _HOLE.search(english)]
    holed.sort(key=lambda pair: len(_HOLE.sub("", pair[0])), reverse=True)
    return [(_pattern(english), french) for english, french in holed]


def _pattern(english: str) -> re.Pattern[str]:
    texts = _HOLE.split(english)  # text, hole, text, hole … text
    made = [re.escape(texts[0])]
    for name, text in zip(texts[1::2], texts[2::2], strict=True):
        kind = "[0-9]+" if name == "count" else ".+"
        made.append(f"(?P<{name}>{kind}){re.escape(text)}")
    return re.compile("".join(made), re.DOTALL)
