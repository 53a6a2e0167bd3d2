"""Reads a pack back into what the index holds of it; must not write, nor decide what becomes of a broken one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from archive.errors import FixityError
from archive.index import packs
from archive.index.instances import AddOutcome
from archive.index.packs import PackedCopy, PackRow, copy_key
from archive.index.records import NewInstance
from archive.index.session import Connection
from archive.index.successors import Successor
from archive.part10.meta import parse_header
from archive.services.arrival import CHUNK_BYTES
from archive.services.landed import Landed
from archive.services.pack_file import ReadBack
from tiering.disk import Disk, read_range
from tiering.pack import Manifest, PackedMember, read_manifest, verify_pack
from tiering.pack_reader import ReadRange
from tiering.stores.base import ObjectStore, StoredObject

_COLD_HEADS: Final = (64 * 1024, CHUNK_BYTES)
"""All that is indexed is nearly always in the first: 16 of them cost what one image does."""
_REQUESTS: Final = 8

_Map = Callable[[Callable[[PackedMember], tuple[NewInstance, PackedCopy]], Iterable[PackedMember]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class FoundPack:
    """A pack as storage has it: its row, the instances in it as they were received, and where each copy lies.

    Of a lossy pack: the copies as they are, what they took the place of, and the evidence that the pack carries.
    """

    row: PackRow
    instances: Sequence[NewInstance]
    copies: Sequence[PackedCopy]
    successors: Sequence[Successor] = ()
    evidence: object = None

    @property
    def is_lossy(self) -> bool:
        """Tell whether its instances took the place of others."""
        return bool(self.successors)


def read_pack(disk: Disk, path: Path, key: str, *, whole: bool) -> FoundPack:
    """Read a hot pack, with ``whole`` to its end and proven by its digests, else by its manifest and headers alone.

    Raises PackError for a pack that is none or was changed; UnreadableDataset, MissingIdentifier, InvalidUid and
    FixityError for an instance that is not what the manifest says; OSError as the disk does.
    """
    size = disk.size_bytes(path)
    manifest, digest = _manifest(disk, path, size, whole=whole)
    row = _row(manifest, (key, "hot"), (size, digest))
    return _found(manifest, _Members(partial(read_range, disk, path), row, (CHUNK_BYTES,)), map)


def read_cold_pack(store: ObjectStore, stored: StoredObject, sha256: bytes) -> FoundPack:
    """Read what the index holds of a cold pack: its manifest and, side by side, the header of each instance in it.

    ``sha256`` (32 bytes): of all of it. Raises what ``read_pack`` does, and StoreError in place of OSError.
    """
    read = partial(store.read_range, stored.key)
    manifest = read_manifest(read, stored.size_bytes)
    row = _row(manifest, (stored.key, "cold"), (stored.size_bytes, sha256))
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return _found(manifest, _Members(read, replace(row, store_generation=stored.generation), _COLD_HEADS), pool.map)


def _row(manifest: Manifest, where: tuple[str, str], size: tuple[int, bytes]) -> PackRow:
    series = manifest.series
    return PackRow(
        *(*where, series.study_instance_uid, series.series_instance_uid, series.generation, *size, series.created_at)
    )


def _found(manifest: Manifest, read: _Members, mapped: _Map) -> FoundPack:
    sizes = manifest.series.metadata.get("received_sizes", {})
    found = list(mapped(partial(read, sizes), manifest.members))
    instances, copies = [instance for instance, _ in found], [copy for _, copy in found]
    return FoundPack(read.row, instances, copies, _successors(manifest, sizes), manifest.series.metadata.get("lossy"))


def _successors(manifest: Manifest, sizes: Mapping[str, int]) -> list[Successor]:
    return [
        Successor(
            sop_instance_uid=member.derived_from,
            successor_uid=member.sop_instance_uid,
            study_instance_uid=manifest.series.study_instance_uid,
            transfer_syntax_uid=member.received_transfer_syntax_uid,
            dataset_sha256=bytes.fromhex(member.received_sha256),
            dataset_size=sizes.get(member.sop_instance_uid, 0),
        )
        for member in manifest.members
        if member.derived_from is not None
    ]


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


@dataclass(frozen=True, slots=True)
class _Members:
    """Reads what the index holds of a member; ``heads``: bytes of its data set that are read first, and at most."""

    read: ReadRange
    row: PackRow
    heads: Sequence[int]

    def __call__(self, sizes: Mapping[str, int], member: PackedMember) -> tuple[NewInstance, PackedCopy]:
        for size in self.heads:
            head = self.read(member.offset, min(member.length, member.header_size + size))
            instance = _instance(member, head, self.row, sizes)
            if "truncated_scan" not in instance.flags or len(head) == member.length:
                break
        return instance, packed_copy(member, head[: member.header_size])


def _instance(member: PackedMember, head: bytes, row: PackRow, sizes: Mapping[str, int]) -> NewInstance:
    """Return what the index holds of a member: digest, size and transfer syntax as received, or of a lossy copy."""
    stored = parse_header(head)
    key = copy_key(row.key, member.name)
    if stored.dataset_sha256.hex() != member.dataset_sha256 or stored.header_size != member.header_size:
        raise FixityError(key=key, reason="its header is not the one of the manifest")
    landed = Landed(stored, head[: stored.header_size], head[stored.header_size :])
    instance = landed.instance(key)
    instance = replace(instance, location=replace(instance.location, tier=row.tier))
    if member.derived_from is not None:
        return instance
    return replace(
        instance,
        dataset_sha256=bytes.fromhex(member.received_sha256),
        dataset_size=sizes.get(member.sop_instance_uid, instance.dataset_size),
        transfer_syntax_uid=member.received_transfer_syntax_uid,
    )


def packed_copy(member: PackedMember, header: bytes, received_key: str = "") -> PackedCopy:
    """Return what the index keeps of a member whose Part 10 header this is."""
    return PackedCopy(
        member.sop_instance_uid,
        member.name,
        member.offset,
        member.header_size,
        member.length,
        hashlib.sha256(header).digest(),
        bytes.fromhex(member.dataset_sha256),
        member.transfer_syntax_uid,
        received_key,
    )
