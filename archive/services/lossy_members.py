"""What a lossy pack in the cold store holds, instance by instance; must not judge the compression, nor write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from archive.errors import ColdCopyDiffers
from archive.index.cold import LossyMember
from archive.index.packs import PackRow
from archive.part10.meta import build_header, parse_header
from archive.services.remains import PACK, Stores
from tiering.disk import Disk, read_range
from tiering.pack import PackedMember, read_manifest
from tiering.stores.base import ObjectStore


def derived_header(
    original: bytes, *, sop_instance_uid: str, transfer_syntax_uid: str, dataset_sha256: bytes, dataset_size: int
) -> bytes:
    """Return the Part 10 header of a copy derived from the instance whose header ``original`` is.

    Who sent it and when stays: that is where the image comes from. Raises UnreadableDataset.
    """
    was = parse_header(original).provenance
    provenance = replace(was, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=transfer_syntax_uid)
    return build_header(provenance, dataset_sha256=dataset_sha256, dataset_size=dataset_size)


def lossy_members(stores: Stores, hot: PackRow, store: ObjectStore, pack: PackRow) -> Sequence[LossyMember]:
    """Return what a lossy pack holds and which instance of the hot pack each of it replaces.

    Headers are made again from those of the hot pack, not fetched one by one. Raises ColdCopyDiffers for a pack that is
    not of this hot one, PackError, StoreError, OSError.
    """
    manifest = read_manifest(partial(store.read_range, pack.key), pack.size_bytes)
    path = stores.path(PACK, hot.key)
    originals = read_manifest(partial(read_range, stores.disk, path), hot.size_bytes)
    headers = {
        each.sop_instance_uid: read_range(stores.disk, path, each.offset, each.header_size)
        for each in originals.members
    }
    return [_member(each, headers, pack.key) for each in manifest.members]


def header_digests(disk: Disk, path: Path, size_bytes: int) -> list[str]:
    """Return the digests (hexadecimal) of the Part 10 headers in a pack on the local disk, in the order of its members.

    Raises PackError, OSError.
    """
    read = partial(read_range, disk, path)
    members = read_manifest(read, size_bytes).members
    return [sha256(read(each.offset, each.header_size)).hexdigest() for each in members]


def lossy_members_of(store: ObjectStore, pack: PackRow, headers: Sequence[str]) -> Sequence[LossyMember]:
    """Return what a lossy pack in the cold store holds, with the digests of the headers that it was put with.

    Raises ColdCopyDiffers for a pack of other members, PackError, StoreError.
    """
    manifest = read_manifest(partial(store.read_range, pack.key), pack.size_bytes)
    if len(manifest.members) != len(headers):
        raise ColdCopyDiffers(key=pack.key, reason="it has another number of members than what was put")
    return [_lossy_member(each, bytes.fromhex(digest)) for each, digest in zip(manifest.members, headers, strict=True)]


def _member(member: PackedMember, headers: Mapping[str, bytes], key: str) -> LossyMember:
    original = headers.get(member.derived_from or "")
    if original is None:
        raise ColdCopyDiffers(key=key, reason=f"{member.name} is no copy of an instance of the hot pack")
    header = derived_header(
        original,
        sop_instance_uid=member.sop_instance_uid,
        transfer_syntax_uid=member.transfer_syntax_uid,
        dataset_sha256=bytes.fromhex(member.dataset_sha256),
        dataset_size=member.length - member.header_size,
    )
    if len(header) != member.header_size:
        raise ColdCopyDiffers(key=key, reason=f"{member.name} has a header of another size")
    return _lossy_member(member, sha256(header).digest())


def _lossy_member(member: PackedMember, header_sha256: bytes) -> LossyMember:
    return LossyMember(
        predecessor_uid=member.derived_from or "",
        received_sha256=bytes.fromhex(member.received_sha256),
        sop_instance_uid=member.sop_instance_uid,
        name=member.name,
        offset_bytes=member.offset,
        header_size=member.header_size,
        size_bytes=member.length,
        sha256=header_sha256,
        dataset_sha256=bytes.fromhex(member.dataset_sha256),
        dataset_size=member.length - member.header_size,
        transfer_syntax_uid=member.transfer_syntax_uid,
    )
