"""Dates as people and systems write them, made the ledger's; must not guess at what is not written.

The ledger's form is ISO 8601, as precise as the source was: ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``. A partial date
compares as the first or the last day it may mean, whichever the caller asks for.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Final

_ISO: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?", re.ASCII)
_COMPACT: Final = re.compile(
    # DICOM DA (PS3.5, 6.2) and HL7 TS (v2.5, 2.A.77), whose time of day does not matter here
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:[0-9]{2,6}(?:\.[0-9]{1,4})?)?)?)?(?:[+-][0-9]{4})?",
    re.ASCII,
)
_FRENCH: Final = re.compile(r"([0-9]{1,2})[/.]([0-9]{1,2})[/.]([0-9]{4})", re.ASCII)
_ISO_MOMENT: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ][0-9]{2}:[0-9]{2}[0-9:.+Z-]*", re.ASCII)


@lru_cache(maxsize=1 << 15)
def iso_date(text: str) -> str | None:
    """Return a date in the ledger's form; None when ``text`` is none or its day does not exist.

    Read are ISO 8601, partial or with a time of day, DICOM's and HL7's ``YYYYMMDD…``, and ``31/12/2020``.
    """
    text = text.strip()
    if french := _FRENCH.fullmatch(text):
        return _checked(french[3], french[2], french[1])
    if moment := _ISO_MOMENT.fullmatch(text):
        text = moment[1]
    match = _ISO.fullmatch(text) or _COMPACT.fullmatch(text)
    return None if match is None else _checked(match[1], match[2], match[3])


def _checked(year: str, month: str | None, day: str | None) -> str | None:
    try:
        found = date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None
    return f"{found:%Y-%m-%d}".rjust(10, "0")[: 10 if day else 7 if month else 4]


def first_day(iso: str) -> str:
    """Return the first day that a date in the ledger's form may mean, as ``YYYY-MM-DD``."""
    return iso + "-01-01"[len(iso) - 4 :] if len(iso) < 10 else iso


def last_day(iso: str) -> str:
    """Return the last day that a date in the ledger's form may mean, as ``YYYY-MM-DD``."""
    if len(iso) == 10:
        return iso
    year, month = int(iso[:4]), int(iso[5:7] or 12)
    return f"{iso[:4]}-{month:02}-{monthrange(year, month)[1]:02}"


def may_be_one_day(one: str, other: str) -> bool:
    """Tell whether two dates in the ledger's form, partial ones too, may mean the same day."""
    return first_day(one) <= last_day(other) and first_day(other) <= last_day(one)
