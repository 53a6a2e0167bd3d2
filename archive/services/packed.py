"""Reads a pack back into what the index holds of it; must not write, nor decide what becomes of a broken one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from archive.errors import FixityError
from archive.index import packs
from archive.index.instances import AddOutcome
from archive.index.packs import PackedCopy, PackRow, copy_key
from archive.index.records import NewInstance
from archive.index.session import Connection
from archive.part10.meta import parse_header
from archive.services.arrival import CHUNK_BYTES
from archive.services.landed import Landed
from archive.services.pack_file import ReadBack
from tiering.disk import Disk, read_range
from tiering.pack import Manifest, PackedMember, read_manifest, verify_pack


@dataclass(frozen=True, slots=True)
class FoundPack:
    """A pack as storage has it: its row, the instances in it as they were received, and where each copy lies."""

    row: PackRow
    instances: Sequence[NewInstance]
    copies: Sequence[PackedCopy]


def read_pack(disk: Disk, path: Path, key: str, *, whole: bool) -> FoundPack:
    """Read a pack, with ``whole`` to its end and proven by its digests, else by its manifest and headers alone.

    Raises PackError for a pack that is none or was changed; UnreadableDataset, MissingIdentifier, InvalidUid and
    FixityError for an instance that is not what the manifest says; OSError as the disk does.
    """
    size = disk.size_bytes(path)
    manifest, digest = _manifest(disk, path, size, whole=whole)
    sizes = manifest.series.metadata.get("received_sizes", {})
    instances, copies = [], []
    for member in manifest.members:
        head = read_range(disk, path, member.offset, min(member.length, member.header_size + CHUNK_BYTES))
        instances.append(_instance(member, head, key, sizes))
        copies.append(_copy(member, head))
    series = manifest.series
    row = PackRow(
        *(key, "hot", series.study_instance_uid, series.series_instance_uid, series.generation, size, digest),
        series.created_at,
    )
    return FoundPack(row, instances, copies)


def attach_pack(connection: Connection, found: FoundPack, outcomes: Mapping[str, AddOutcome], at: datetime) -> None:
    """Index a pack whose instances were just added, with these outcomes by SOP Instance UID, in one transaction.

    An instance that was destroyed, or is stored with other bytes, gets no copy of it.
    """
    kept = (AddOutcome.ADDED, AddOutcome.SAME)
    copies = [copy for copy in found.copies if outcomes.get(copy.sop_instance_uid) in kept]
    new = {uid for uid, outcome in outcomes.items() if outcome is AddOutcome.ADDED}
    packs.attach(connection, found.row, copies, new, at)


def _manifest(disk: Disk, path: Path, size: int, *, whole: bool) -> tuple[Manifest, bytes]:
    """Return the manifest and the digest of the pack."""
    digest = hashlib.sha256()
    for chunk in disk.read(path, chunk_bytes=CHUNK_BYTES):
        digest.update(chunk)
    if not whole:
        return read_manifest(partial(read_range, disk, path), size), digest.digest()
    with io.BufferedReader(ReadBack(disk, path, size), CHUNK_BYTES) as file:
        return verify_pack(cast(BinaryIO, file), sha256=digest.hexdigest()), digest.digest()


def _instance(member: PackedMember, head: bytes, key: str, sizes: dict[str, int]) -> NewInstance:
    """Return what the index holds of a member: digest, size and transfer syntax as it was received."""
    stored = parse_header(head)
    if stored.dataset_sha256.hex() != member.dataset_sha256 or stored.header_size != member.header_size:
        raise FixityError(key=copy_key(key, member.name), reason="its header is not the one of the manifest")
    landed = Landed(stored, head[: stored.header_size], head[stored.header_size :])
    instance = landed.instance(copy_key(key, member.name))
    return replace(
        instance,
        dataset_sha256=bytes.fromhex(member.received_sha256),
        dataset_size=sizes.get(member.sop_instance_uid, instance.dataset_size),
        transfer_syntax_uid=member.received_transfer_syntax_uid,
    )


def _copy(member: PackedMember, head: bytes) -> PackedCopy:
    return PackedCopy(
        member.sop_instance_uid,
        member.name,
        member.offset,
        member.header_size,
        member.length,
        hashlib.sha256(head[: member.header_size]).digest(),
        bytes.fromhex(member.dataset_sha256),
        member.transfer_syntax_uid,
        "",
    )
