"""Our Part 10 header, written and read back; must not touch the data set's bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from archive.errors import UnreadableDataset
from archive.part10.foreign import ForeignFile, parse_foreign
from archive.part10.syntax import LONG_VRS

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION",
    "ForeignFile",
    "Provenance",
    "StoredHeader",
    "build_header",
    "outgoing_header",
    "parse_foreign",
    "parse_header",
]

IMPLEMENTATION_CLASS_UID = "2.25.275483154548171982288388877964664586810"
IMPLEMENTATION_VERSION = "DRIMBOX_0_1"
PRIVATE_INFORMATION_CREATOR_UID = "2.25.43697684033676587672589645199118996518"

_PREFIX = bytes(128) + b"DICM"
_PRIVATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the association said about an object: where it came from and when (``received_at`` aware, UTC)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    site: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StoredHeader:
    """A header read back: ``header_size`` bytes, then ``dataset_size`` bytes whose digest is ``dataset_sha256``."""

    provenance: Provenance
    dataset_sha256: bytes
    dataset_size: int
    header_size: int


_DIGEST_FIELD: Final = b'"dataset_sha256":"'
_SIZE_FIELD: Final = b'"dataset_size":"'


def build_header(provenance: Provenance, *, dataset_sha256: bytes = bytes(32), dataset_size: int = 0) -> bytes:
    """Return preamble, prefix and file meta group (PS3.10 section 7.1) for one stored object.

    The length depends on ``provenance`` alone: the header written before the digest is known is overwritten
    in place once it is. Encapsulating a data set changes none of its bytes.
    """
    group = b"".join(
        (
            _element(0x0001, b"OB", b"\x00\x01"),
            _element(0x0002, b"UI", _ascii(provenance.sop_class_uid)),
            _element(0x0003, b"UI", _ascii(provenance.sop_instance_uid)),
            _element(0x0010, b"UI", _ascii(provenance.transfer_syntax_uid)),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION.encode()),
            _element(0x0016, b"AE", _ascii(provenance.calling_ae_title)),
            _element(0x0017, b"AE", _ascii(provenance.calling_ae_title)),
            _element(0x0018, b"AE", _ascii(provenance.called_ae_title)),
            _element(0x0100, b"UI", PRIVATE_INFORMATION_CREATOR_UID.encode()),
            _element(0x0102, b"OB", _private_information(provenance, dataset_sha256, dataset_size)),
        )
    )
    return _PREFIX + _element(0x0000, b"UL", struct.pack("<I", len(group))) + group


def outgoing_header(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and file meta group of an object that leaves: nothing of where it came from."""
    before, after = _around(sop_class_uid, transfer_syntax_uid)
    group = b"".join((before, _element(0x0003, b"UI", _ascii(sop_instance_uid)), after))
    return b"".join((_PREFIX, _element(0x0000, b"UL", struct.pack("<I", len(group))), group))


@lru_cache(maxsize=256)
def _around(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Return what comes before and after the SOP Instance UID of an object that leaves: a series has one of it."""
    before = _element(0x0001, b"OB", b"\x00\x01") + _element(0x0002, b"UI", _ascii(sop_class_uid))
    after = (
        _element(0x0010, b"UI", _ascii(transfer_syntax_uid)),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION.encode()),
    )
    return before, b"".join(after)


def complete_header(header: bytes, *, dataset_sha256: bytes, dataset_size: int) -> bytes:
    """Return a header of ``build_header`` with the digest and size of the data set that has arrived since.

    What ``build_header`` would return for them, for a fraction of its cost.
    """
    if len(dataset_sha256) != 32 or not 0 <= dataset_size < 10**20:
        raise ValueError("a SHA-256 digest has 32 bytes, a size at most 20 digits")
    # The quotes of a name in JSON cannot stand inside a value: the last occurrence is the field itself.
    digest_at = header.rindex(_DIGEST_FIELD) + len(_DIGEST_FIELD)
    size_at = header.index(_SIZE_FIELD, digest_at) + len(_SIZE_FIELD)
    digest, size = dataset_sha256.hex().encode(), b"%020d" % dataset_size
    return header[:digest_at] + digest + header[digest_at + 64 : size_at] + size + header[size_at + 20 :]


def parse_header(head: bytes) -> StoredHeader:
    """Return what ``build_header`` put in ``head`` (at least the header's bytes); raise UnreadableDataset otherwise."""
    if bytes(head[:132]) != _PREFIX or bytes(head[132:140]) != b"\x02\x00\x00\x00UL\x04\x00" or len(head) < 144:
        raise UnreadableDataset(reason="no Part 10 header of this archive")
    header_size = 144 + int(struct.unpack_from("<I", head, 140)[0])
    if len(head) < header_size:
        raise UnreadableDataset(reason="the Part 10 header is cut short")
    try:
        elements = dict(_iter_elements(bytes(head[144:header_size])))
        if elements[0x0012] != IMPLEMENTATION_CLASS_UID or elements[0x0100] != PRIVATE_INFORMATION_CREATOR_UID:
            raise UnreadableDataset(reason="the Part 10 header was written by another program")
        return _stored_header(elements, header_size)
    except (KeyError, TypeError, ValueError, struct.error) as exc:
        raise UnreadableDataset(reason="the Part 10 header is damaged") from exc


def _stored_header(elements: dict[int, str], header_size: int) -> StoredHeader:
    private = json.loads(elements[0x0102])
    if private["v"] != _PRIVATE_VERSION:
        raise ValueError("unknown version of the private information")
    return StoredHeader(
        provenance=Provenance(
            sop_class_uid=elements[0x0002],
            sop_instance_uid=elements[0x0003],
            transfer_syntax_uid=elements[0x0010],
            calling_ae_title=_text(private["calling"]),
            called_ae_title=_text(private["called"]),
            peer_address=_text(private["address"]),
            site=_text(private["site"]),
            received_at=datetime.fromisoformat(private["received_at"]).astimezone(UTC),
        ),
        dataset_sha256=_digest(private["dataset_sha256"]),
        dataset_size=int(private["dataset_size"]),
        header_size=header_size,
    )


def _private_information(provenance: Provenance, dataset_sha256: bytes, dataset_size: int) -> bytes:
    if len(dataset_sha256) != 32 or not 0 <= dataset_size < 10**20:
        raise ValueError("a SHA-256 digest has 32 bytes, a size at most 20 digits")
    received_at = provenance.received_at.astimezone(UTC)
    private = {
        "address": provenance.peer_address,
        "called": provenance.called_ae_title,
        "calling": provenance.calling_ae_title,
        "dataset_sha256": dataset_sha256.hex(),
        "dataset_size": f"{dataset_size:020d}",
        "received_at": received_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "site": provenance.site,
        "v": _PRIVATE_VERSION,
    }
    return json.dumps(private, separators=(",", ":"), sort_keys=True).encode("ascii")


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr in (b"AE", b"SH") else b"\0"
    if vr == b"OB":
        return struct.pack("<HH2sHI", 0x0002, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def _iter_elements(group: bytes) -> Iterator[tuple[int, str]]:
    position = 0
    while position < len(group):
        group_number, element, vr, length = struct.unpack_from("<HH2sH", group, position)
        position += 8
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<I", group, position)
            position += 4
        if group_number != 0x0002 or position + length > len(group):
            raise ValueError("not a file meta element")
        yield element, group[position : position + length].decode("ascii").rstrip("\0 ")
        position += length


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _digest(value: Any) -> bytes:
    digest = bytes.fromhex(_text(value))
    if len(digest) != 32:
        raise ValueError("not a SHA-256 digest")
    return digest
