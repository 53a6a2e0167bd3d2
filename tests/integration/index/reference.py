"""Matching as PS3.4 C.2.2.2 and our documentation tell it, slow and plain; must not share code with the index.

Only ``fold`` is shared: what folding does is tested where it lives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from itertools import product

from archive.index.keys import KEYS, Matching
from archive.part10.text import fold

_NOT_WRITTEN = "\x01"
"""Stands for a delimiter at the end of a name, before an empty component."""


def matches(keyword: str, wanted: str, stored: str | None) -> bool:
    """Tell whether an entity whose attribute is ``stored`` (None: it has none) matches the key value ``wanted``."""
    parts = [part.strip(" ") for part in wanted.split("\\")]
    parts = [part for part in parts if part]
    if not parts or any(set(part) == {"*"} for part in parts):
        return True
    kind = KEYS[keyword].matching
    if kind is Matching.NAME and any(set(fold(part)) <= {"=", "^", " "} for part in parts):
        return True
    if stored is None:
        return False
    values = stored.split("\\") if KEYS[keyword].is_multiple else [stored]
    return any(_COMPARE[kind](part, value) for part, value in product(parts, values))


def _uid(part: str, value: str) -> bool:
    return part == value


def _text(part: str, value: str) -> bool:
    return _like(part, value)


def _number(part: str, value: str) -> bool:
    if re.fullmatch(r"\+?[0-9]+", part):
        return value.lstrip("+0") == part.lstrip("+0")
    return _like(part, value)


def _like(pattern: str, value: str) -> bool:
    """Compare character by character: ``*`` is any run, ``?`` is one; a delimiter not written is one all the same."""
    positions = {0}
    for character in pattern:
        if character == "*":
            positions = {later for at in positions for later in range(at, len(value) + 1)}
        else:
            positions = {at + 1 for at in positions if at < len(value) and _same(character, value[at])}
    return len(value) in positions


def _same(character: str, of_value: str) -> bool:
    if of_value == _NOT_WRITTEN:
        return character == "^"
    return character in ("?", of_value)


def _name(part: str, value: str) -> bool:
    groups = [group for group in fold(part).split("=") if group]
    return all(any(_group(group, of_name) for of_name in _candidates(group, groups, value)) for group in groups)


def _candidates(group: str, groups: list[str], value: str) -> list[str]:
    """Return the groups of a name a query's group is compared with: the alphabetic one only, when ASCII and alone."""
    of_name = fold(value).split("=")
    return of_name[:1] if group.isascii() and len(groups) == 1 else of_name


def _multiple_name(part: str, value: str) -> bool:
    groups = [group for group in fold(part).split("=") if group]
    return all(any(_group(group, of_name) for of_name in fold(value).split("=")) for group in groups)


def _group(wanted: str, name: str) -> bool:
    if "*" not in wanted and "?" not in wanted:
        components = name.split("^")
        return any(wanted == "^".join(components[:count]) for count in range(1, len(components) + 1))
    return any(_like(wanted, padded) for padded in _padded(name))


def _padded(name: str) -> Iterator[str]:
    """Yield a name with the empty components it may be written with."""
    for count in range(9):
        yield name + _NOT_WRITTEN * count


def _date(part: str, value: str) -> bool:
    if not re.fullmatch(r"[0-9]{8}", value):
        return False
    first, last = _ends(part)
    return (not first or first.ljust(8, "0") <= value) and (not last or value <= last.ljust(8, "9"))


def _time(part: str, value: str) -> bool:
    first, last = _ends(part)
    at = _picos(value)
    return (not first or _picos(first) <= at) and (not last or at < _picos(last) + _precision(last))


def _ends(part: str) -> tuple[str, str]:
    first, dash, last = (
        part.replace(" ", "").replace(".", "" if ":" not in part and _is_legacy(part) else ".").partition("-")
    )
    first, last = (end.rstrip("*").replace(":", "") for end in (first, last))
    return (first, last) if dash else (first, first)


def _is_legacy(part: str) -> bool:
    return re.search(r"[0-9]{4}\.[0-9]{2}\.[0-9]{2}", part) is not None


def _picos(text: str) -> int:
    whole, _, fraction = text.partition(".")
    padded = whole.ljust(6, "0")
    at = time(int(padded[:2]), int(padded[2:4]), int(padded[4:6]))
    return ((at.hour * 60 + at.minute) * 60 + at.second) * 10**12 + int(fraction.ljust(12, "0") or 0)


def _precision(text: str) -> int:
    """Return how long the moment is that a time names: an hour, a minute, a second or a part of one."""
    whole, dot, fraction = text.partition(".")
    return {2: 3600 * 10**12, 4: 60 * 10**12, 6: 10 ** (12 - len(fraction)) if dot else 10**12}[len(whole)]


_COMPARE = {
    Matching.UID: _uid,
    Matching.TEXT: _text,
    Matching.NUMBER: _number,
    Matching.NAME: _name,
    Matching.DATE: _date,
    Matching.TIME: _time,
}
