"""Where copies lie, and which of them were destroyed and are there all the same; must not delete anything.

A folder restored from an old backup brings objects back that were eliminated. They are not indexed, since their
tombstones stand, but their bytes are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from tiering.disk import Disk, read_range
from tiering.errors import TieringError
from tiering.landing import iter_folders, iter_keys, iter_packs, path_of
from tiering.pack import read_manifest
from tiering.warrant import generation_of

HOT: Final = "hot"
QUARANTINE: Final = "quarantine"
PACK: Final = "pack"
_HEAD_BYTES: Final = 64 * 1024
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Stores:
    """Where copies lie, by the name that the ledger has for it."""

    disk: Disk
    roots: Mapping[str, Path]

    def path(self, store: str, key: str) -> Path:
        """Return the file of a copy."""
        return path_of(self.roots[store], key)

    def iter_keys(self) -> Iterator[tuple[str, str]]:
        """Yield (store, key) of every object there is."""
        for folder in iter_folders(self.disk, self.roots[HOT]):
            yield from ((HOT, key) for key in iter_keys(self.disk, self.roots[HOT], folder))
        yield from ((QUARANTINE, key) for key, _ in aside.iter_kept(self.disk, self.roots[QUARANTINE]))


@dataclass(frozen=True, slots=True)
class Remain:
    """An object that was destroyed and is there; ``aside`` is the key that the quarantine's table may have for it."""

    store: str
    key: str
    generation: str
    dataset_sha256: bytes
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


def _pack_among(stores: Stores, connection: Connection, key: str) -> Iterator[Remain]:
    path = stores.path(PACK, key)
    size = stores.disk.size_bytes(path)
    manifest = read_manifest(partial(read_range, stores.disk, path), size)
    uids = {member.sop_instance_uid for member in manifest.members}
    stones = list(tombstones.iter_among(connection, uids))
    if len(stones) == len(uids) and {each.study_instance_uid for each in stones} == {
        manifest.series.study_instance_uid
    }:
        digest = hashlib.sha256()
        for chunk in stores.disk.read(path, chunk_bytes=1 << 20):
            digest.update(chunk)
        yield Remain(PACK, key, generation_of(b"", size), digest.digest(), stones[0])


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
            generation = generation_of(header, len(header) + stored.dataset_size)
            yield Remain(store, key, generation, stored.dataset_sha256, stone)


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
