"""A cold study and what reads it, for the tests of reading cold; must not decide what is right."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archive.index.instances import iter_instances
from archive.index.records import StoredInstance
from archive.services.cold_fetch import Wanted
from archive.services.cold_reader import ColdReader
from archive.services.read_cache import ReadCache
from archive.services.recall import Recall
from archive.services.retrieve import Retrieve, Selection
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tiering.errors import StoreError
from tiering.stores.base import Availability
from tiering.stores.memory import MemoryStore

GIB = 1 << 30


class Watched(MemoryStore):
    """A store that remembers what was asked of it, and whose reads can be made to wait, to fail or to be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int | None]] = []
        self.thaws: list[list[str]] = []
        self.looks = 0
        self.down: StoreError | None = None
        self.gate: threading.Event | None = None
        self.spoilt = 0
        """So many of the next reads give a wrong last byte."""

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read, and remember it."""
        self.reads.append((offset, length))
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.down is not None:
            raise self.down
        chunks = list(super().read(key, offset=offset, length=length))
        if self.spoilt:
            self.spoilt -= 1
            chunks[-1] = chunks[-1][:-1] + bytes([chunks[-1][-1] ^ 1])
        yield from chunks

    def availability(self, key: str) -> Availability:
        """Tell, and count."""
        self.looks += 1
        if self.down is not None:
            raise self.down
        return super().availability(key)

    def request_thaw(self, keys: Collection[str], days: int) -> None:
        """Ask, and remember it."""
        self.thaws.append(sorted(keys))
        if self.down is not None:
            raise self.down
        super().request_thaw(keys, days)

    def freeze(self) -> None:
        """Make every object one that has to thaw."""
        for found in self._objects.values():
            found.availability = Availability.COLD

    def lose(self, key: str) -> None:
        """Have an object gone."""
        del self._objects[key]


@dataclass
class Reading:
    """An archive with a study that is cold, a store that is watched, and a way out."""

    side: ColdSide
    store: Watched
    reader: ColdReader
    recall: Recall | None = None

    @property
    def office(self) -> Office:
        """Return the archive."""
        return self.side.office

    @property
    def retrieve(self) -> Retrieve:
        """Return the way out."""
        office = self.office
        return Retrieve(office.rig.committer, office.clock, office.rig.hot, office.rig.hot, self.reader, self.recall)

    def go_cold(self, *studies: int, instances: int = 3) -> dict[str, bytes]:
        """Make studies cold ones whose hot packs are gone; return the data sets of the first as they were received."""
        self.side.sealed(*studies, instances=instances)
        before = self.read_all(studies[0])
        for study in studies:
            self.side.migrate(study)
        self.side.trim()
        self.store.reads.clear()
        return before

    def instances(self, study: int = 1) -> list[StoredInstance]:
        """Return the instances of a study."""
        return self.retrieve.find(Selection("STUDY", studies=(study_uid(study),)))

    def wanted(self, study: int = 1) -> list[Wanted]:
        """Return the cold copies of a study, in its order."""
        with self.office.rig.committer.read() as connection:
            found = list(iter_instances(connection, study=study_uid(study)))
        return [
            Wanted(copy, copy.dataset_sha256 or each.dataset_sha256)
            for each in found
            for copy in each.copies
            if copy.tier == "cold"
        ]

    def read_all(self, study: int = 1, *, by: str = "STATION") -> dict[str, bytes]:
        """Return the data sets of a study as they are given, in the order of a retrieve."""
        return given_by(self.retrieve, study, by=by)

    def bodies(self, event: str) -> list[str]:
        """Return the bodies of the journal's entries of one kind."""
        return [row.body for row in self.office.journal() if row.event == event]


def given_by(retrieve: Retrieve, study: int, *, by: str = "STATION") -> dict[str, bytes]:
    """Return the data sets of a study as a way out gives them, in the order of a retrieve."""
    instances = retrieve.find(Selection("STUDY", studies=(study_uid(study),)))
    with retrieve.ahead(instances, by=by) as ahead:
        return {each.sop_instance_uid: dataset_of(ahead, each) for each in instances}


def read_all(office: Office, reader: ColdReader) -> dict[str, bytes]:
    """Return the data sets of the first study of an archive as they are given back."""
    return given_by(Retrieve(office.rig.committer, office.clock, office.rig.hot, office.rig.hot, reader), 1)


def dataset_of(retrieve: Retrieve, instance: StoredInstance) -> bytes:
    """Return the data set of an instance as it is given."""
    content = retrieve.read(retrieve.open(instance))
    view = memoryview(bytearray(content.size_bytes))
    try:
        content.read_into(view, 0)
    finally:
        content.close()
    return bytes(view)


def new_reader(store: MemoryStore, folder: Path, *, limit_bytes: int = GIB, threads: int = 2) -> ColdReader:
    """Return a reader with a cache."""
    return ColdReader(store, ReadCache(folder, limit_bytes), threads)


@contextmanager
def open_reading(office: Office, folder: Path) -> Iterator[Reading]:
    """Lend an archive with a cold store and nothing in it."""
    store = Watched()
    reader = new_reader(store, folder)
    try:
        yield Reading(ColdSide(office, store), store, reader)
    finally:
        if store.gate is not None:
            store.gate.set()
        reader.close()
