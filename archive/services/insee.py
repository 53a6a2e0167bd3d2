"""INSEE's file of deaths, one record a line of fixed width; must not know the archive's patients.

Columns are characters, not bytes ("dessin d'enregistrement" of the fichier des personnes décédées, data.gouv.fr); what
follows the 176th is junk. The file has no NIR: its traits are those of the INS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from archive.part10.text import fold
from archive.services.fact_dates import iso_date

_LONGEST_LINE: Final = 4096
_SHORTEST: Final = 162
_SEXES: Final = {"1": "M", "2": "F"}
_BETWEEN_NAMES: Final = re.compile(r"[^a-z]+")


@dataclass(frozen=True, slots=True)
class Death:
    """One death; dates in the ledger's form, as precise as the record, or None; places are codes of the COG."""

    name: str
    first_names: str
    sex: str
    born_on: str | None
    birth_place: str
    birth_town: str
    died_on: str | None
    reference: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no record; its number and why, nothing of its text."""

    line: int
    reason: str


def iter_deaths(path: Path) -> Iterator[tuple[int, Death | BadLine]]:
    """Yield the number and the record of every line, blank ones left out; memory does not grow with the file."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                yield number, BadLine(number, "is longer than any record")
                while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
            elif text := _text(line):
                yield number, _death(number, text)


def _text(line: bytes) -> str:
    """Decode a line: UTF-8, or Latin-1 as in the files of old."""
    try:
        return line.decode().strip("\r\n\ufeff\x1a")
    except UnicodeDecodeError:
        return line.decode("latin-1").strip("\r\n")


def _death(number: int, text: str) -> Death | BadLine:
    if len(text) < _SHORTEST:
        return BadLine(number, f"has {len(text)} characters, a record has {_SHORTEST} or more")
    name, star, first_names = text[:80].partition("*")
    first_names, slash, _ = first_names.partition("/")
    sex = _SEXES.get(text[80])
    if not star or not slash or not name.strip():
        return BadLine(number, "does not begin with NAME*FIRST NAMES/")
    born, died = text[81:89], text[154:162]
    if sex is None or not born.isdecimal() or not died.isdecimal():
        return BadLine(number, "has no sex or no dates where a record has them")
    died_on = partial_date(died)
    # No two deeds of one town and day have a number in common; a record without number has its names instead.
    deed = text[167:176].strip() or f"{name.strip()} {first_names.strip()}"
    return Death(
        name=name.strip(),
        first_names=first_names.strip(),
        sex=sex,
        born_on=partial_date(born),
        birth_place=text[89:94].strip(),
        birth_town=text[94:124].strip(),
        died_on=died_on,
        reference=f"{died} {text[162:167].strip()} {deed}",
    )


@lru_cache(maxsize=1 << 16)
def partial_date(text: str) -> str | None:
    """Return ``AAAAMMJJ`` in the ledger's form: a day or month 00 is unknown, a year 0000 or no date is None."""
    if text.startswith("0000"):
        return None
    year, month, day = text[:4], text[4:6], text[6:]
    if month == "00":
        return iso_date(year)
    return iso_date(f"{year}-{month}") if day == "00" else iso_date(text)


def family_key(name: str) -> str:
    """Return the letters of a family name, folded: ``LE GOFF``, ``Le-Goff`` and ``LEGOFF`` are one."""
    return "".join(_words(name))


def first_name_key(first_names: str) -> str:
    """Return the first of several first names, folded: that of ``JEAN-PIERRE`` is ``jean``, as of ``JEAN PIERRE``."""
    words = _words(first_names)
    return words[0] if words else ""


def _words(text: str) -> list[str]:
    folded = text.lower() if text.isascii() else fold(text)
    return [word for word in _BETWEEN_NAMES.split(folded) if word]
