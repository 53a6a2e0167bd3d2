"""Where copies lie, how one is deleted, which were destroyed and are there all the same; must not decide what goes.

A folder restored from an old backup brings objects back that were eliminated. They are not indexed, since their
tombstones stand, but their bytes are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from archive.errors import ArchiveError
from archive.index import tombstones
from archive.index.session import Connection
from archive.index.tombstones import Tombstone
from archive.part10.meta import StoredHeader, parse_header
from archive.services import aside
from archive.services.landed import read_landed
from archive.services.read_cache import forget_pack
from tiering.deletion import Deletion, delete
from tiering.disk import Disk, read_range
from tiering.errors import (
    ObjectDiffers,
    ObjectHeld,
    ObjectNotFound,
    PackError,
    StoreError,
    StoreUnavailable,
    TieringError,
)
from tiering.landing import iter_folders, iter_keys, iter_packs, path_of
from tiering.pack import Manifest, read_manifest
from tiering.stores.base import ObjectHolds, ObjectStore, digest_of
from tiering.warrant import DeleteWarrant, generation_of

COLD: Final = "cold"
WHATEVER: Final = "whatever lies there"
"""The generation of a cold object of which only the digest is known: the store says which version that is."""
HOT: Final = "hot"
QUARANTINE: Final = "quarantine"
PACK: Final = "pack"
METADATA: Final = "metadata"
"""The folder, inside that of the read cache, with what ``series_metadata`` keeps."""
_HEAD_BYTES: Final = 64 * 1024
_PAGE: Final = 1000
_KEY_PARTS: Final = 4  # site, study, series, pack


@dataclass(frozen=True, slots=True)
class Stores:
    """Where copies lie, by the name that the ledger has for it.

    ``roots``: the folders of HOT, PACK and QUARANTINE. ``cold``: the store behind COLD, None in an archive without
    one; ``cold_holds``: how that store is told to keep an object, None where it cannot. ``cache``: the folder where
    parts of cold packs lie that were read lately, which go with their pack, and the metadata of series.
    """

    disk: Disk
    roots: Mapping[str, Path]
    cold: ObjectStore | None = None
    cold_holds: ObjectHolds | None = None
    cache: Path | None = None

    def path(self, store: str, key: str) -> Path:
        """Return the file of a copy that is not in the cold store."""
        return path_of(self.roots[store], key)

    def delete(self, store: str, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Have a copy deleted by the gateway of its store; say what became of it. See ``tiering.deletion``.

        Raises ObjectDiffers for one that is not the warrant's, unless ``accept_damaged``: it stays. On a disk, that of
        the read cache too, OSError; in the cold store ObjectHeld, and any other StoreError: it may stay, and the same
        may be asked again.
        """
        if store != COLD:
            return delete(self.disk, self.roots[store], warrant, accept_damaged=accept_damaged)
        cold = self.get_cold()
        if self.cache is not None:
            forget_pack(self.cache, warrant.key)
        if warrant.generation == WHATEVER:
            found = cold.find(warrant.key)
            if found is None:
                return Deletion.GONE
            warrant = replace(warrant, generation=found.generation)
        return cold.delete(warrant, accept_damaged=accept_damaged)

    def forget_studies(self, study_instance_uids: Iterable[str]) -> list[tuple[str, str]]:
        """Take away what is kept of studies to be told faster; return what may still be there, and why."""
        if self.cache is None:
            return []
        left = []
        for study in study_instance_uids:
            try:
                forget_pack(self.cache / METADATA, study)
            except OSError as exc:
                left.append((f"{METADATA}/{study}", exc.strerror or type(exc).__name__))
        return left

    def get_cold(self) -> ObjectStore:
        """Return the cold store. Raises StoreUnavailable in an archive without one."""
        if self.cold is None:
            raise StoreUnavailable(reason="the settings name no cold store")
        return self.cold

    def iter_keys(self) -> Iterator[tuple[str, str]]:
        """Yield (store, key) of every object there is."""
        for folder in iter_folders(self.disk, self.roots[HOT]):
            yield from ((HOT, key) for key in iter_keys(self.disk, self.roots[HOT], folder))
        yield from ((QUARANTINE, key) for key, _ in aside.iter_kept(self.disk, self.roots[QUARANTINE]))


def why_it_stays(error: StoreError) -> str:
    """Say why a copy is still there, and what to do."""
    if isinstance(error, ObjectHeld):
        reason = error.fields["reason"]
        return f"the cold store keeps it: {reason}; have whoever holds it there release it, then destroy again"
    if isinstance(error, StoreUnavailable):
        return f"{error.message}; destroy again when it answers"
    return str(error.fields["reason"]) if isinstance(error, ObjectDiffers) else error.message


@dataclass(frozen=True, slots=True)
class Remain:
    """An object that was destroyed and is there; ``aside`` is the key that the quarantine's table may have for it."""

    store: str
    key: str
    generation: str
    dataset_sha256: bytes
    size_bytes: int
    tombstone: Tombstone

    @property
    def aside(self) -> str:
        """Return the key under which it would be in quarantine."""
        return self.key if self.store == QUARANTINE else aside.HOT_PREFIX + self.key


def iter_remains(stores: Stores, connection: Connection) -> Iterator[Remain]:
    """Yield every object under a destroyed UID that is of the destroyed study; reads the header of each file.

    A pack is one when all of its instances were destroyed. What cannot be read is passed over: it may be anything.
    """
    if tombstones.exist(connection):
        keys = stores.iter_keys()
        while page := list(islice(keys, _PAGE)):
            yield from _among(stores, connection, page)
        for key in iter_packs(stores.disk, stores.roots[HOT]):
            with suppress(TieringError, OSError):
                yield from _pack_among(stores, connection, key)
        if stores.cold is not None:
            yield from _cold_among(stores.cold, connection)


def _cold_among(store: ObjectStore, connection: Connection) -> Iterator[Remain]:
    """Yield the cold packs of which every instance was destroyed. Raises StoreError when the store does not answer.

    A key names its study: only packs of studies of which something was destroyed are opened.
    """
    for key in store.iter_keys():
        parts = key.split("/")
        if len(parts) == _KEY_PARTS and any(tombstones.iter_of(connection, parts[1])):
            with suppress(PackError, ObjectNotFound):
                yield from _cold_pack_among(store, connection, key)


def _cold_pack_among(store: ObjectStore, connection: Connection, key: str) -> Iterator[Remain]:
    found = store.find(key)
    if found is None:
        return
    manifest = read_manifest(partial(store.read_range, key), found.size_bytes)
    stones = _all_destroyed(connection, manifest)
    if stones:
        size, digest = digest_of(store.read(key))
        yield Remain(COLD, key, found.generation, digest, size, stones[0])


def _all_destroyed(connection: Connection, manifest: Manifest) -> list[Tombstone]:
    """Return the tombstones of the instances of a pack when each has one, for this study; else none.

    That of its original will do for a lossy copy: it may have been made and never have stood in.
    """
    study, among = manifest.series.study_instance_uid, {}
    for member in manifest.members:
        among[member.sop_instance_uid] = among[member.derived_from or member.sop_instance_uid] = member.name
    stones = [each for each in tombstones.iter_among(connection, set(among)) if each.study_instance_uid == study]
    return stones if {among[each.sop_instance_uid] for each in stones} == set(among.values()) else []


def _pack_among(stores: Stores, connection: Connection, key: str) -> Iterator[Remain]:
    path = stores.path(PACK, key)
    size = stores.disk.size_bytes(path)
    manifest = read_manifest(partial(read_range, stores.disk, path), size)
    stones = _all_destroyed(connection, manifest)
    if stones:
        digest = hashlib.sha256()
        for chunk in stores.disk.read(path, chunk_bytes=1 << 20):
            digest.update(chunk)
        yield Remain(PACK, key, generation_of(b"", size), digest.digest(), size, stones[0])


def _among(stores: Stores, connection: Connection, page: Sequence[tuple[str, str]]) -> Iterator[Remain]:
    found: dict[tuple[str, str], tuple[StoredHeader, bytes]] = {}
    for store, key in page:
        with suppress(ArchiveError, OSError):
            found[store, key] = _header(stores, store, key)
    uids = {stored.provenance.sop_instance_uid for stored, _ in found.values()}
    stones = {each.sop_instance_uid: each for each in tombstones.iter_among(connection, uids)}
    for (store, key), (stored, header) in found.items():
        stone = stones.get(stored.provenance.sop_instance_uid)
        if stone is not None and _is_of_study(stores, (store, key), stored, stone):
            size = len(header) + stored.dataset_size
            yield Remain(store, key, generation_of(header, size), stored.dataset_sha256, size, stone)


def _header(stores: Stores, store: str, key: str) -> tuple[StoredHeader, bytes]:
    head = next(stores.disk.read(stores.path(store, key), chunk_bytes=_HEAD_BYTES), b"")
    stored = parse_header(head)
    return stored, head[: stored.header_size]


def _is_of_study(stores: Stores, at: tuple[str, str], stored: StoredHeader, stone: Tombstone) -> bool:
    """Tell whether an object is what was destroyed, or other bytes under its UID that name the same study."""
    if stored.dataset_sha256 == stone.dataset_sha256:
        return True
    store, key = at
    with suppress(ArchiveError, OSError):
        landed = read_landed(stores.disk, stores.path(store, key), key=key, whole=False)
        return landed.instance(key).header.values["StudyInstanceUID"] == stone.study_instance_uid
    return False
