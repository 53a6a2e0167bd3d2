"""Metadata of a series: described once, again when the series changes, and gone with its study."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archive.errors import ColdStoreDown, InstanceNotFound
from archive.index.instances import set_location_state
from archive.index.records import StoredInstance
from archive.index.statements import Statement
from archive.services import read_cache
from archive.services.remains import METADATA, Stores
from archive.services.retrieve import Selection, StoredObject
from archive.services.series_metadata import SeriesMetadata, metadata_cache, sweep
from tests.objects import ROOT, ct_dataset
from tests.unit.services.shelf import Shelf, open_shelf
from tiering.disk import OsDisk

STUDY = f"{ROOT}.1"


class Describing:
    """Describes instances and remembers which; ``before`` is called with each."""

    def __init__(self) -> None:
        self.described: list[str] = []
        self.before: Callable[[], object] = lambda: None

    def __call__(self, instance: StoredInstance, stored: StoredObject | None) -> bytes:
        self.before()
        self.described.append(instance.sop_instance_uid)
        return (instance.sop_instance_uid + ("" if stored else "?")).encode()


@pytest.fixture
def describing() -> Describing:
    """Return who describes."""
    return Describing()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A shelf with two series."""
    with open_shelf(tmp_path) as shelf:
        for series, number in ((1, 2), (1, 1), (2, 1)):
            shelf.put(ct_dataset(number, series=series))
        yield shelf


@pytest.fixture
def kept(shelf: Shelf, describing: Describing, tmp_path: Path) -> SeriesMetadata:
    """Return what keeps metadata."""
    cache = metadata_cache(tmp_path / "cache", 0)
    return SeriesMetadata(shelf.retrieve, cache, describing, b",".join)


def told(kept: SeriesMetadata, series: int = 0) -> list[bytes]:
    """Return what is told of a study, or of one of its series."""
    return list(kept.of_study(STUDY, f"{STUDY}.{series}" if series else "", by="rose"))


def entries(kept: SeriesMetadata) -> list[Path]:
    """Return the entries on disk."""
    return list(kept.cache.folder.iterdir())


def test_a_series_is_described_once(kept: SeriesMetadata, describing: Describing) -> None:
    """The first to ask has it described, in the order of its instances; after that the bytes are read."""
    first = told(kept, 1)
    assert first == [f"{STUDY}.1.1,{STUDY}.1.2".encode()]
    assert told(kept, 1) == first
    assert told(kept) == [*first, f"{STUDY}.2.1".encode()]
    assert len(describing.described) == 3
    again = SeriesMetadata(kept.retrieve, metadata_cache(kept.cache.folder.parent, 0), describing, b",".join)
    assert told(again) == told(kept)
    assert len(describing.described) == 3


def test_a_new_instance_makes_it_another(kept: SeriesMetadata, shelf: Shelf) -> None:
    """What comes later is told as soon as it is stored."""
    told(kept)
    shelf.put(ct_dataset(7, series=2))
    assert told(kept, 2) == [f"{STUDY}.2.1,{STUDY}.2.7".encode()]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE instance SET sop_instance_uid = sop_instance_uid || '.99' WHERE id = 1",
        "UPDATE location SET dataset_sha256 = sha256 WHERE instance_fk = 1",
    ],
)
def test_what_becomes_another_is_described_again(
    kept: SeriesMetadata, shelf: Shelf, describing: Describing, change: str
) -> None:
    """A lossy copy that takes a place, or other bytes of the same instance: the series is described."""
    told(kept, 1)
    with shelf.committer.database.write(synced=False) as connection:
        Statement(change).run(connection)
    told(kept, 1)
    assert len(describing.described) == 4


@pytest.mark.parametrize("change", ["UPDATE location SET tier = 'cold'", "UPDATE location SET state = 'missing'"])
def test_a_copy_elsewhere_changes_nothing(
    kept: SeriesMetadata, shelf: Shelf, describing: Describing, change: str
) -> None:
    """Where the bytes lie does not matter, nor that they are lost: what they say was told already."""
    told(kept, 1)
    with shelf.committer.database.write(synced=False) as connection:
        Statement(f"{change} WHERE instance_fk = 1").run(connection)
    told(kept, 1)
    assert len(describing.described) == 2


def test_a_damaged_entry_is_made_again(kept: SeriesMetadata, describing: Describing) -> None:
    """No byte of an entry is believed unless all of them are as they were written."""
    first = told(kept, 1)
    (path,) = entries(kept)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert told(kept, 1) == first
    assert len(describing.described) == 4


def test_what_cannot_be_read_is_told_from_the_index_and_not_kept(kept: SeriesMetadata, shelf: Shelf) -> None:
    """An instance whose copy is lost is told as far as the index knows it, until it is there again."""
    first = shelf.retrieve.find(Selection("STUDY", studies=(STUDY,)))[0]
    (key,) = {each.key for each in first.locations}
    shelf.committer.record(work=lambda connection: set_location_state(connection, key, "missing"))
    assert told(kept, 1) == [f"{STUDY}.1.1?,{STUDY}.1.2".encode()]
    assert entries(kept) == []


def test_a_store_that_is_down_is_no_reason_to_tell_half(kept: SeriesMetadata, describing: Describing) -> None:
    """What may go away fails the request: whoever asks comes back."""

    def fail() -> None:
        raise ColdStoreDown(reason="down")

    describing.before = fail
    with pytest.raises(ColdStoreDown):
        told(kept, 1)
    assert entries(kept) == []
    with pytest.raises(InstanceNotFound):
        list(kept.of_study("1.2.3", by="rose"))


def test_many_who_ask_at_once_have_it_described_once(kept: SeriesMetadata, describing: Describing) -> None:
    """The others wait for the first."""
    gate = threading.Event()
    describing.before = lambda: gate.wait(10)
    found: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: found.append(told(kept, 1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(describing.described) == 2
    assert found == [found[0]] * 8


def test_a_study_that_is_destroyed_leaves_nothing(kept: SeriesMetadata, shelf: Shelf, tmp_path: Path) -> None:
    """Its entries go, durably, from beside the process that made them; those of others stay."""
    shelf.put(ct_dataset(1, study=2))
    told(kept)
    list(kept.of_study(f"{ROOT}.2", by="rose"))
    stores = Stores(OsDisk(), {}, cache=tmp_path / "cache")
    assert stores.forget_studies([STUDY, "1.2.3"]) == []
    (left,) = entries(kept)
    assert STUDY.encode() + b"\n" not in left.read_bytes()
    assert Stores(OsDisk(), {}).forget_studies([STUDY]) == []


def test_what_cannot_be_taken_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails keeps a certificate from being signed."""

    def fail(_folder: Path, _key: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("archive.services.remains.forget_pack", fail)
    left = Stores(OsDisk(), {}, cache=tmp_path).forget_studies([STUDY])
    assert left == [(f"{METADATA}/{STUDY}", "Input/output error")]


def test_a_study_destroyed_while_it_is_described_leaves_nothing(
    kept: SeriesMetadata, shelf: Shelf, describing: Describing
) -> None:
    """The rows go while its series is described: the entry that was made all the same goes too."""

    def destroy() -> None:
        with shelf.committer.database.write(synced=False) as connection:
            Statement("DELETE FROM location").run(connection)
            Statement("DELETE FROM instance").run(connection)

    describing.before = destroy
    assert told(kept, 1)
    assert entries(kept) == []


def test_a_sweep_takes_what_a_crash_left(kept: SeriesMetadata, shelf: Shelf) -> None:
    """Entries of studies that are not here go, the others stay, files that are no entries go as well."""
    told(kept)
    assert kept.sweep() == 0
    (kept.cache.folder / "ab-cd").write_bytes(bytes(32) + b"1.2.3\n[]")
    (kept.cache.folder / "empty").write_bytes(b"")
    assert sweep(kept.cache.folder, shelf.committer) == 2
    assert len(entries(kept)) == 2
    assert sweep(kept.cache.folder / "none", shelf.committer) == 0


def test_a_disk_that_is_full_costs_speed_alone(
    kept: SeriesMetadata, describing: Describing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room nothing is kept, and everything is told."""
    monkeypatch.setattr(read_cache.ReadCache, "_free_bytes", lambda _: 0)
    kept.cache.min_free_bytes = 1
    assert told(kept, 1) == told(kept, 1)
    assert len(describing.described) == 4
