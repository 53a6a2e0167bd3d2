"""Which instances a data set names; must not judge whether they are there."""

from __future__ import annotations

from typing import BinaryIO, Final

from tiering.transcode.level import Kind
from tiering.transcode.source import InflatingSource, Source
from tiering.transcode.syntaxes import SOURCES
from tiering.transcode.tokens import Tokens

REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_PIXELS: Final = "1.2.840.10008.5.1.4.1.1."
_REFERRING: Final = (*(f"{_PIXELS}{number}" for number in ("11", "66", "88", "67", "68", "104", "481", "9.", "200")),)
"""How the SOP classes start whose objects name images: presentation states, registrations, reports, radiotherapy…"""


def may_name_images(sop_class_uid: str) -> bool:
    """Tell whether the objects of a SOP class are such as name images."""
    return sop_class_uid.startswith(_REFERRING)


def referenced_uids(dataset: BinaryIO, transfer_syntax_uid: str) -> set[str]:
    """Return every Referenced SOP Instance UID (0008,1155) of a data set, at any depth.

    Raises MalformedDataset for what is none, KeyError for a transfer syntax that is not known.
    """
    encoding = SOURCES[transfer_syntax_uid].encoding
    source = InflatingSource(dataset) if encoding.deflated else Source(dataset)
    found = set()
    for token in Tokens(source, encoding):
        if token.kind is Kind.VALUE and token.tag == REFERENCED_SOP_INSTANCE_UID and token.value:
            found.add(token.value.decode("ascii", "replace").strip(" \0"))
    return found - {""}
