"""What the console says in French and English, one file a language; must not know a page.

A key with a number has two messages, ``key.one`` and ``key.many``; in French nought is singular, in English it is not
(Unicode CLDR, plural rules).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from archive.console.formats import number

Language = Literal["fr", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
_ONE: Final[Mapping[Language, tuple[int, ...]]] = {"fr": (0, 1), "en": (1,)}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The messages of one language; every look-up raises KeyError for a key there is no message for."""

    language: Language
    messages: Mapping[str, str] = field(repr=False)

    def text(self, key: str, **values: object) -> str:
        """Return a message, its fields filled in."""
        return self.messages[key].format(**values) if values else self.messages[key]

    def counted(self, key: str, count: int, **values: object) -> str:
        """Return a message about a number of things, which its field ``n`` is."""
        is_one = count in _ONE[self.language]
        return self.messages[f"{key}.{'one' if is_one else 'many'}"].format(n=number(count, self.language), **values)

    def found(self, key: str, default: str) -> str:
        """Return a message if there is one: for words that devices or later versions may make up."""
        return self.messages.get(key, default)


@cache
def catalogue(language: Language) -> Catalogue:
    """Return the messages of a language."""
    text = (files("archive.console") / "messages" / f"{language}.toml").read_text(encoding="utf-8")
    return Catalogue(language, dict(_flat(tomllib.loads(text), "")))


def choose(chosen: str, accept_language: str) -> Language:
    """Return the language to speak: what was chosen, else the first accepted that there is (RFC 9110), else French."""
    if chosen in LANGUAGES:
        return "fr" if chosen == "fr" else "en"
    for tag in _accepted(accept_language):
        if tag in LANGUAGES:
            return "fr" if tag == "fr" else "en"
    return "fr"


def _accepted(header: str) -> list[str]:
    wanted = []
    for part in header.split(",")[:20]:
        tag, _, weight = part.partition(";")
        wanted.append((-_weight(weight), tag.strip().lower().partition("-")[0]))
    return [tag for weight, tag in sorted(wanted, key=lambda each: each[0]) if weight < 0]


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=")) if text.strip() else 1.0
    except ValueError:
        return 0.0


def _flat(table: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, str):
            yield before + name, value
        else:
            yield from _flat(value, f"{before}{name}.")
