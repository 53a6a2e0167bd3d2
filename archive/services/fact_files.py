"""Files of facts as hospitals export them, CSV and JSON Lines, read line by line; must not know the archive.

What is wrong with a file as a whole (no text, columns missing or unknown) is an error; what is wrong with a line is a
problem of that line, and the next is read. Memory: one line, and some 150 bytes for each reference, by which two lines
that tell it otherwise are found.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from archive.errors import InvalidFact, UnreadableFacts
from archive.part10.text import fold
from archive.services.facts import NewFact, checked

COLUMNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("patient_id", "ipp"), "patient_id"),
    **dict.fromkeys(("kind", "type", "nature"), "kind"),
    **dict.fromkeys(("from_on", "from", "date", "debut"), "from_on"),
    **dict.fromkeys(("to_on", "to", "fin"), "to_on"),
    **dict.fromkeys(("reference", "numero"), "reference"),
    **dict.fromkeys(("site", "etablissement"), "site"),
    **dict.fromkeys(("trusted", "valide"), "trusted"),
}
"""Names a column may have, folded (case and accents do not matter), and what it holds."""

KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("visit", "visite", "sejour", "consultation"), "visit"),
    **dict.fromkeys(("birth", "naissance"), "birth"),
    **dict.fromkeys(("death", "deces"), "death"),
    **dict.fromkeys(("deceased", "decede"), "deceased"),
    **dict.fromkeys(("appeal", "recours"), "appeal"),
}
_YES_NO: Final = {
    **dict.fromkeys(("", "yes", "true", "1", "oui", "vrai"), True),
    **dict.fromkeys(("no", "false", "0", "non", "faux"), False),
}
_WANTED: Final = "patient_id, kind, from_on, to_on, reference, site, trusted"
_LONGEST_LINE: Final = 65536
_CHUNK_BYTES: Final = 1 << 20
_HASH: Final = (1 << 64) - 1
_DELIMITERS: Final = {";": "semicolon", ",": "comma", "\t": "tab"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line; it quotes nothing from the file."""

    line: int
    column: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a file need not say: its ``source``, the ``site`` and ``kind`` of its facts; ``sites`` are those allowed."""

    source: str
    site: str
    sites: frozenset[str]
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written: ``format`` csv or jsonl, the encoding's name for people, the delimiter's for CSV."""

    format: str
    encoding: str
    delimiter: str | None
    codec: str
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class FactFile:
    """One file; raises UnreadableFacts when it is none of facts."""

    path: Path
    defaults: Defaults
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        codec, encoding = _encoding(self.path)
        first = next((line for _, line in _lines(self.path, codec) if line.strip()), "")
        if not first:
            raise UnreadableFacts(reason="it is empty")
        if first.lstrip().startswith("{"):
            self.layout = Layout("jsonl", encoding, None, codec)
        else:
            delimiter = max(_DELIMITERS, key=first.count)
            columns = _columns(first, delimiter, self.defaults)
            self.layout = Layout("csv", encoding, _DELIMITERS[delimiter], codec, columns)

    def read(self) -> Iterator[tuple[int, NewFact | Problem]]:
        """Yield every line's number and fact, or what is wrong with it; a fact told again word for word is left out."""
        seen: dict[int, int] = {}  # one number a line: this is all the memory that grows
        for number, cells in self._cells():
            fact = cells if isinstance(cells, Problem) else _fact(number, cells, self.defaults)
            if isinstance(fact, NewFact):
                content = hash(fact) & _HASH
                line, said = divmod(seen.setdefault(hash(fact.key), number << 64 | content), 1 << 64)
                if said != content:
                    reason = f"says otherwise than line {line} under the same reference: give each one of its own"
                    fact = Problem(number, "reference", reason)
                elif line != number:
                    continue
            yield number, fact

    def _cells(self) -> Iterator[tuple[int, Mapping[str, str] | Problem]]:
        read: Callable[[int, str], Mapping[str, str] | Problem]
        lines = ((number, line) for number, line in _lines(self.path, self.layout.codec) if line.strip())
        if self.layout.format == "csv":
            next(lines)
            delimiter = next(sign for sign, name in _DELIMITERS.items() if name == self.layout.delimiter)
            columns = self.layout.columns
            read = lambda number, line: _csv_cells(number, line, columns, delimiter)  # noqa: E731
        else:
            read = _json_cells
        for number, line in lines:
            if "\0" in line:
                yield number, Problem(number, None, "holds zero bytes")
            else:
                yield number, read(number, line)


def reference_of(fact: NewFact) -> str:
    """Return the reference of a fact whose file gives none, so that telling it again is no news.

    A visit is known by its days, an appeal by its first; birth and death happen once.
    """
    parts = {"visit": (fact.from_on, fact.to_on), "appeal": (fact.from_on,)}.get(fact.kind, ())
    return " ".join([fact.patient_id, *filter(None, parts)])


# ---- bytes and lines -----------------------------------------------------------------------------------------------


def _encoding(path: Path) -> tuple[str, str]:
    """Return the codec a file is read with and what people call it."""
    with path.open("rb") as file:
        head = file.read(4)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnreadableFacts(reason="it is UTF-16: save it as CSV UTF-8")
        if head.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
            raise UnreadableFacts(reason="it is a workbook or an archive: save the sheet as CSV UTF-8")
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk := file.read(_CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252", "Windows-1252 (Latin-1)"
    return ("utf-8-sig", "UTF-8 with BOM") if head.startswith(codecs.BOM_UTF8) else ("utf-8", "UTF-8")


def _lines(path: Path, codec: str) -> Iterator[tuple[int, str]]:
    # The five bytes that Windows-1252 leaves undefined become a sign that no name or date may have.
    with path.open(encoding=codec, errors="replace") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE:
                raise UnreadableFacts(reason=f"line {number} is longer than {_LONGEST_LINE} characters")
            yield number, line.rstrip("\n")


# ---- lines to cells ------------------------------------------------------------------------------------------------


def _columns(header: str, delimiter: str, defaults: Defaults) -> tuple[str, ...]:
    try:
        (names,) = csv.reader([header], delimiter=delimiter, strict=True)
    except csv.Error as exc:
        raise UnreadableFacts(reason=f"line 1: {exc}") from exc
    known = [COLUMNS.get(_folded(name)) for name in names]
    if not any(known):
        raise UnreadableFacts(reason=f"line 1 does not name the columns: {_WANTED}")
    for place, (name, column) in enumerate(zip(names, known, strict=True), start=1):
        if column is None:
            raise UnreadableFacts(reason=f"line 1, column {place}: {name[:40]!r} is not one of {_WANTED}")
        if known.index(column) < place - 1:
            raise UnreadableFacts(reason=f"line 1, column {place}: {column} is there twice")
    needed = ("patient_id", *(() if defaults.kind else ("kind",)))
    missing = [column for column in needed if column not in known]
    if missing:
        raise UnreadableFacts(reason=f"line 1: the column {' and '.join(missing)} is missing")
    return tuple(column for column in known if column is not None)


def _csv_cells(number: int, line: str, columns: Sequence[str], delimiter: str) -> Mapping[str, str] | Problem:
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return Problem(number, None, "its quotes do not match: a cell ends on its line, a quote in it is doubled")
    if len(cells) != len(columns):
        return Problem(number, None, f"has {len(cells)} cells, line 1 names {len(columns)} columns")
    return dict(zip(columns, cells, strict=True))


def _json_cells(number: int, line: str) -> Mapping[str, str] | Problem:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Problem(number, None, "is not JSON")
    if not isinstance(value, dict):
        return Problem(number, None, "is not a JSON object")
    cells: dict[str, str] = {}
    for name, cell in value.items():
        column = COLUMNS.get(_folded(name))
        if column is None or column in cells:
            reason = f"is not one of {_WANTED}" if column is None else "is there twice"
            return Problem(number, name[:40], reason)
        text = _json_text(cell)
        if text is None:
            return Problem(number, column, "is not a text")
        cells[column] = text
    return cells


def _json_text(cell: Any) -> str | None:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "" if cell is None else cell if isinstance(cell, str) else None


# ---- cells to facts ------------------------------------------------------------------------------------------------


def _fact(number: int, cells: Mapping[str, str], defaults: Defaults) -> NewFact | Problem:
    kind = KINDS.get(_folded(cells.get("kind", ""))) if cells.get("kind") else defaults.kind
    is_trusted = _YES_NO.get(_folded(cells.get("trusted", "")))
    site = cells.get("site", "").strip() or defaults.site
    if kind is None:
        return Problem(number, "kind", "is not one of visit, birth, death, deceased, appeal")
    if is_trusted is None:
        return Problem(number, "trusted", "is neither yes nor no")
    if site not in defaults.sites:
        return Problem(number, "site", "is not a site of the settings, or not one of the account's")
    given = cells.get("reference", "").strip()
    names = {"site": site, "patient_id": cells.get("patient_id", ""), "kind": kind, "source": defaults.source}
    from_on, to_on = cells.get("from_on"), cells.get("to_on")
    try:
        fact = checked(NewFact(**names, from_on=from_on, to_on=to_on, reference=given or "?", is_trusted=is_trusted))
    except InvalidFact as exc:
        return Problem(number, exc.fields["name"], exc.fields["reason"])
    return fact if given else replace(fact, reference=reference_of(fact))


@lru_cache(maxsize=1024)
def _folded(text: str) -> str:
    return fold(text).strip().lower().replace(" ", "_")
