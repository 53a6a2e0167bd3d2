"""What is known of an object on its way in, and what is written of it; must not touch a file or the database."""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archive import uids
from archive.audit import Entry
from archive.errors import MissingIdentifier, SopClassMismatch, SopInstanceMismatch
from archive.index.records import NewInstance, NewLocation
from archive.part10.attributes import InstanceHeader
from archive.part10.meta import Provenance
from tiering.landing import CHUNK_BYTES, SLACK_BYTES

__all__ = ["CHUNK_BYTES", "Arrival", "ChunkPool", "check_identity", "new_instance", "stored_entry"]

_IDENTIFIERS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of an object before its first byte."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    site: str

    def provenance(self, received_at: datetime) -> Provenance:
        """Return what our Part 10 header says of the object's origin."""
        return Provenance(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            calling_ae_title=self.calling_ae_title,
            called_ae_title=self.called_ae_title,
            peer_address=self.peer_address,
            site=self.site,
            received_at=received_at,
        )


class ChunkPool:
    """Lends page-aligned chunks of 1 MiB, so that idle associations hold no memory and busy ones allocate none."""

    def __init__(self, *, keep: int = 8) -> None:
        self._keep = keep
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """Return a chunk, a used one when there is one."""
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, CHUNK_BYTES + SLACK_BYTES))

    def give_back(self, chunk: memoryview) -> None:
        """Keep a few for the next object."""
        if len(self._free) < self._keep:
            self._free.append(chunk)


def check_identity(header: InstanceHeader, provenance: Provenance) -> None:
    """Raise unless the data set names itself as it was announced (PS3.4 section B.2.3)."""
    for keyword in _IDENTIFIERS:
        value = header.values.get(keyword, "")
        if not value:
            raise MissingIdentifier(keyword=keyword, reason=f"{keyword} is missing")
        uids.parse_uid(value, keyword=keyword)
    if header.values["SOPClassUID"] != provenance.sop_class_uid:
        raise SopClassMismatch(reason="SOP Class UID differs from the one announced")
    if header.values["SOPInstanceUID"] != provenance.sop_instance_uid:
        raise SopInstanceMismatch(reason="SOP Instance UID differs from the one announced")


def new_instance(
    provenance: Provenance, header: InstanceHeader, key: str, file_header: bytes, dataset: tuple[bytes, int]
) -> NewInstance:
    """Return the index's record of a landed object; ``dataset``: its SHA-256 and its size in bytes.

    The location's digest is the file header's, which carries the data set's: it vouches for the whole file.
    """
    sha256, size = dataset
    location = NewLocation(
        tier="hot",
        key=key,
        sha256=hashlib.sha256(file_header).digest(),
        header_size=len(file_header),
        size_bytes=len(file_header) + size,
    )
    return NewInstance(
        header=header,
        site=provenance.site,
        transfer_syntax_uid=provenance.transfer_syntax_uid,
        dataset_sha256=sha256,
        dataset_size=size,
        received_at=provenance.received_at,
        calling_ae_title=provenance.calling_ae_title,
        location=location,
        flags=header.flags,
    )


def stored_entry(event: str, provenance: Provenance, instance: NewInstance) -> Entry:
    """Return the journal entry of an object taken in; UIDs and digests, no patient."""
    return Entry(
        at=provenance.received_at,
        event=event,
        actor=provenance.calling_ae_title,
        body={
            "sop_instance_uid": instance.header.values["SOPInstanceUID"],
            "study_instance_uid": instance.header.values["StudyInstanceUID"],
            "sha256": instance.dataset_sha256.hex(),
            "key": instance.location.key,
            "site": provenance.site,
        },
    )
