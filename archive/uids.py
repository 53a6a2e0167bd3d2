"""Names and parsers for identifiers, DICOM's and FINESS; must not import anything of the product but errors."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import NewType

from archive.errors import InvalidAETitle, InvalidUid

StudyInstanceUID = NewType("StudyInstanceUID", str)
SeriesInstanceUID = NewType("SeriesInstanceUID", str)
SOPInstanceUID = NewType("SOPInstanceUID", str)
AETitle = NewType("AETitle", str)

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_FINESS = re.compile(r"(?:[0-9]{2}|2[AB])[0-9]{7}")
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")

_SHOWN = 64


def parse_uid(text: str, *, keyword: str = "UID") -> str:
    """Return ``text`` without its padding, or raise InvalidUid (PS3.5 section 9.1).

    Leading zeros in a component are let through: real devices send them and they do no harm.
    """
    value = text.rstrip("\0 ")
    if len(value) > 64 or not _UID.fullmatch(value):
        raise InvalidUid(keyword=keyword)
    return value


def uid_or_nothing(text: str) -> str:
    """Return ``text`` when it is a UID, else nothing: what is none may be anything, a patient's name too."""
    with suppress(InvalidUid):
        return parse_uid(text, keyword="")
    return ""


def parse_ae_title(text: str) -> AETitle:
    """Return the significant characters of an AE title, or raise InvalidAETitle (PS3.5 section 6.2)."""
    value = text.strip(" ")
    if not _AE_TITLE.fullmatch(value):
        raise InvalidAETitle(value=text[:32])
    return AETitle(value)


def doubt_about_finess(number: str) -> str | None:
    """Say what is odd about the FINESS number of an establishment, or None; odd numbers exist."""
    if not _FINESS.fullmatch(number):
        return "is not 9 characters of a FINESS number"
    if number.isdecimal() and not _luhn_holds(number):
        return "has a wrong check digit"
    return None


def _luhn_holds(digits: str) -> bool:
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def shown(text: str) -> str:
    """Return what somebody typed as it may be shown to them: nothing in it steers a terminal, and it is not long."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}…"
