"""Turns one key and its value into a SQL condition (PS3.4 section C.2.2.2); must not know which tables are joined.

- Nothing, or only ``*``, matches everything (universal).
- UIDs and other texts: exact, case-sensitive, spaces around do not count; several values mean one of them.
- ``*`` and ``?`` in texts and names are wildcards; in UIDs, dates and times they are not (``2026*`` is understood).
- Names: case, accents and what is empty at the end do not count; a value without wildcards matches the whole name or
  its first whole components; a group written in ASCII is compared with the alphabetic group, any other with all groups.
- Dates and times: single value or range, ends included, to the precision given (``10`` is all of ten o'clock).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_

from archive.errors import InvalidIdentifier
from archive.index.expressions import any_of, first_group, glob, some_value, split_values, starts_with
from archive.index.keys import Key, Matching
from archive.index.names import name_key

Condition = ColumnElement[bool]
Text = ColumnElement[str]

_MOST_VALUES: Final = 256
_WILDCARD: Final = re.compile(r"[*?]")
_STARS: Final = re.compile(r"\*+")
_DATE: Final = re.compile(r"\d{4}(?:\d{2}(?:\d{2})?)?", re.ASCII)
_LEGACY_DATE: Final = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})", re.ASCII)
_TIME: Final = re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d+)?)?)?", re.ASCII)
_WHOLE_NUMBER: Final = re.compile(r"\+?\d+", re.ASCII)
_WORDS: Final = re.compile(r"[^\s^=\\*?,'-]+")
_BEFORE_A_WORD: Final = " ^=\\-'"
_MOST_WORDS: Final = 8
_BEYOND: Final = ":"
"""The character after 9: whatever digits follow, ``10:`` sorts after every time that begins with 10."""


def condition(key: Key, value: str, dialect: str) -> Condition | None:
    """Return the condition under which an entity matches, or None when every entity does.

    Raises InvalidIdentifier for a value that cannot be understood; the reason names the key, never the value.
    """
    parts = split_values(value)
    if not parts or any(not part.strip("*") for part in parts):
        return None
    if key.matching is Matching.UID:
        return any_of(key.matched, parts)
    if len(parts) > _MOST_VALUES:
        raise InvalidIdentifier(reason=f"{key.keyword} has more than {_MOST_VALUES} values")
    if key.matching is Matching.NAME:
        return _any_name(key, parts, dialect)
    return or_(*(_one(key, part, dialect) for part in parts))


def fuzzy_name(key: Key, value: str, dialect: str) -> Condition | None:
    """Return the condition that each word of ``value`` begins a word of a name, in any order (PS3.18 8.3.4.2)."""
    words = _WORDS.findall(name_key(value))
    if len(words) > _MOST_WORDS:
        raise InvalidIdentifier(reason=f"{key.keyword} has more than {_MOST_WORDS} words")
    wanted = [_begins_a_word(key.matched, word, dialect) for word in words]
    return and_(*wanted) if wanted else None


def _begins_a_word(text: Text, word: str, dialect: str) -> Condition:
    return or_(starts_with(text, word), *(glob(text, f"*{before}{word}*", dialect) for before in _BEFORE_A_WORD))


def _one(key: Key, part: str, dialect: str) -> Condition:
    if key.matching in (Matching.DATE, Matching.TIME):
        return _moment(key, part)
    if key.matching is Matching.NUMBER and _WHOLE_NUMBER.fullmatch(part):
        return func.ltrim(key.matched, "+0") == part.lstrip("+0")
    pattern = _STARS.sub("*", part)
    if key.is_multiple:
        return some_value(key.matched, lambda text: glob(text, pattern, dialect))
    return _pattern(key.matched, pattern, dialect)


def _pattern(text: Text, pattern: str, dialect: str, compared: Text | None = None) -> Condition:
    """Return the condition that ``text``, or the part of it that is ``compared``, matches; as a range where it can."""
    wildcard = _WILDCARD.search(pattern)
    if wildcard is None:
        return text == pattern
    prefix = pattern[: wildcard.start()]
    if pattern == prefix + "*":
        return starts_with(text, prefix) if prefix else text.is_not(None)
    matches = glob(text if compared is None else compared, pattern, dialect)
    return and_(starts_with(text, prefix), matches) if prefix else matches


def _any_name(key: Key, parts: Sequence[str], dialect: str) -> Condition | None:
    """Return the condition for names; a value with nothing in it but delimiters is universal."""
    wanted = [[group for group in name_key(part).split("=") if group] for part in parts]
    if not all(wanted):
        return None
    return or_(*(and_(*(_name(key, group, len(groups), dialect) for group in groups)) for groups in wanted))


def _name(key: Key, group: str, groups: int, dialect: str) -> Condition:
    patterns = _name_patterns(group)
    narrow = [_alphabetic(key.matched, pattern, dialect) for pattern in patterns]
    if group.isascii() and groups == 1 and not key.is_multiple:
        return or_(*narrow)
    every_group = func.replace(key.matched, "=", "\\")
    broad = some_value(every_group, lambda text: or_(*(glob(text, pattern, dialect) for pattern in patterns)))
    return broad if key.is_multiple else or_(*narrow, and_(glob(key.matched, "*=*", dialect), broad))


def _name_patterns(group: str) -> list[str]:
    """Return the patterns one of which a name's group must match.

    Empty components at the end of a name are not written, so ``moreau^*`` has to match ``moreau`` too.
    """
    if not _WILDCARD.search(group):
        return [group, f"{group}^*"]
    patterns = [_STARS.sub("*", group)]
    while patterns[-1].endswith("^*"):
        patterns.append(patterns[-1][:-2].rstrip("^"))
    return patterns


def _alphabetic(text: Text, pattern: str, dialect: str) -> Condition:
    """Return the condition that the first group of a folded name matches, as ranges of the whole where it can."""
    if not _WILDCARD.search(pattern):
        return or_(text == pattern, starts_with(text, f"{pattern}="))
    return _pattern(text, pattern, dialect, compared=first_group(text))


def _moment(key: Key, part: str) -> Condition:
    """Return the condition for a date or time, single or a range: a range of the text, which an index answers."""
    first, dash, last = part.replace(" ", "").partition("-")
    if not dash:
        first = last = first.rstrip("*")
    if not (first or last):
        raise _unreadable(key)
    lowest = _lowest(key, first) if first else "0"
    highest = _bound(key, last) if last else ""
    if key.matching is Matching.DATE and lowest == highest and len(highest) == 8:
        return key.matched == highest
    return and_(key.matched >= lowest, key.matched < highest + _BEYOND)


def _bound(key: Key, text: str) -> str:
    """Return a date or time as stored: digits only, but for a fraction of a second."""
    if key.matching is Matching.DATE:
        plain, form = _LEGACY_DATE.sub(r"\1\2\3", text), _DATE
    else:
        plain, form = text.replace(":", ""), _TIME
    if not form.fullmatch(plain):
        raise _unreadable(key)
    return plain


def _lowest(key: Key, text: str) -> str:
    """Return the first text that means the moment or a later one: ten o'clock may be stored as 10, 1000 or 100000.0."""
    bound = _bound(key, text)
    if key.matching is Matching.TIME:
        bound = bound.rstrip("0").rstrip(".") if "." in bound else bound
        while len(bound) in (4, 6) and bound.endswith("00"):
            bound = bound[:-2]
    return bound


def _unreadable(key: Key) -> InvalidIdentifier:
    kind = "date" if key.matching is Matching.DATE else "time"
    return InvalidIdentifier(reason=f"{key.keyword} is neither a {kind} nor a range")
