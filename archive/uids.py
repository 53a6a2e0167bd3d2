"""Names and parsers for DICOM identifiers; must not import anything of the product but errors."""

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
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


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
