"""An index and a hot folder with objects put straight in, for tests of what reads them; must not use the ingest."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from archive.index.instances import AddOutcome
from archive.part10.meta import Provenance, build_header
from archive.part10.scan import scan_header
from archive.services.arrival import new_instance, stored_entry
from archive.services.committer import Committer
from archive.services.retrieve import Retrieve
from tests.objects import ct_dataset, dataset_bytes
from tiering.landing import path_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        """Move on by days=, hours=, seconds=…"""
        self.now += timedelta(**parts)


@dataclass
class Shelf:
    """What is stored, and the services that read it."""

    root: Path
    committer: Committer
    clock: Clock = field(default_factory=Clock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def retrieve(self) -> Retrieve:
        """Return the way out of this shelf."""
        return Retrieve(self.committer, self.clock, self.root, self.root)

    def put(self, ds: Dataset) -> Path:
        """Store and index one object; return its file."""
        raw = dataset_bytes(ds)
        provenance = Provenance(
            sop_class_uid=ds.SOPClassUID,
            sop_instance_uid=ds.SOPInstanceUID,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            calling_ae_title="MODALITY",
            called_ae_title="DRIMBOX",
            peer_address="127.0.0.1",
            site="default",
            received_at=self.clock(),
        )
        digest, key = hashlib.sha256(raw).digest(), f"20261123/shelf/{next(self.numbers):06d}"
        head = build_header(provenance, dataset_sha256=digest, dataset_size=len(raw))
        path = path_of(self.root, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + raw)
        header = scan_header(raw, ExplicitVRLittleEndian, complete=True)
        instance = new_instance(provenance, header, key, head, (digest, len(raw)))
        assert self.committer.add(instance, stored_entry("stored", provenance, instance)) is AddOutcome.ADDED
        return path


@contextmanager
def open_shelf(folder: Path) -> Iterator[Shelf]:
    """Lend an empty shelf on SQLite."""
    from tests.unit.services.rig import sqlite_index  # it takes its clock from here

    database = sqlite_index(folder)
    committer = Committer(database)
    committer.start()
    try:
        yield Shelf(folder / "hot", committer)
    finally:
        committer.close()
        database.close()


@contextmanager
def series_shelf(folder: Path) -> Iterator[Shelf]:
    """Lend a shelf with a series of five images."""
    with open_shelf(folder) as shelf:
        for number in range(1, 6):
            shelf.put(ct_dataset(number))
        yield shelf
