"""Scrubbing the cold tier: every byte is read, what is wrong is marked copy by copy, and nothing else is touched."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

import pytest

from archive.index import marks, scrub
from archive.services.cold_fixity import ColdFixity
from archive.services.turns import Budget
from tests.integration.disposal.conftest import Office, nothing, study_uid
from tests.integration.index.making import change, value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy
from tests.integration.tiering.proving import count, events, flip, verify_cold, verify_hot
from tiering.errors import EncryptionKeyMissing, StoreError, StoreUnavailable
from tiering.stores.memory import MemoryStore


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with two cold studies of three images, whose hot packs are gone."""
    side = ColdSide(office)
    side.sealed(1, 2)
    for study in (1, 2):
        side.migrate(study)
    side.trim()
    return side


def key_of(side: ColdSide, study: int) -> str:
    """Return the key of a study's cold pack."""
    (key,) = (key for key in side.cold_keys() if f"/{study_uid(study)}/" in key)
    return key


def test_whole_packs_are_read_to_their_end_and_marked(side: ColdSide) -> None:
    """Every pack and every byte; each copy knows when; the journal has the run."""
    report = verify_cold(side)
    size = sum(len(b"".join(side.cold.read(key))) for key in side.cold_keys())
    assert (report.checked, report.read_bytes) == (2, size)
    assert (report.damaged, report.missing, report.not_read, report.orphans, report.unused) == ([], [], [], [], [])
    assert count(side, "location", "verified_at IS NOT NULL AND tier = 'cold'") == 6
    assert events(side)[-1] == "verified"
    with side.office.rig.committer.read() as connection:
        assert marks.VERIFIED_COLD in marks.all_marks(connection)


def test_lossy_packs_are_proven_by_their_own_digests(office: Office) -> None:
    """The copies of a lossy pack are those of the index, not those that were received."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores))
    side.sealed(1)
    side.migrate()
    assert (verify_cold(side).checked, verify_cold(side).damaged) == (1, [])
    flip(side, side.cold_keys()[0], 2500)
    assert len(verify_cold(side).damaged) == 1


def test_one_wrong_byte_marks_the_copy_it_is_in(side: ColdSide) -> None:
    """The others of the pack stay as they are: they can be given; the pack is told, with an entry of the journal."""
    key = key_of(side, 1)
    with side.office.rig.committer.read() as connection:
        turns = scrub.cold_turns(connection, side.office.clock(), scrub.FIRST, 10)
        packs = [scrub.find_cold_pack(connection, turn.row_id) for turn in turns]
    (pack,) = (pack for pack in packs if pack is not None and pack.row.key == key)
    second = pack.copies[1]
    flip(side, key, second.offset_bytes + second.size_bytes - 1)
    report = verify_cold(side)
    assert (report.damaged, report.missing) == ([key], [])
    assert value(side.office.ledger.database, "SELECT key FROM location WHERE state = 'damaged'") == second.key
    assert count(side, "location", "state = 'damaged'") == 1
    assert "damaged" in events(side)


@pytest.mark.parametrize("where", ["header", "data set"])
def test_header_and_data_set_are_both_proven(side: ColdSide, where: str) -> None:
    """The first byte of a copy's header, the first of its data set."""
    key = key_of(side, 1)
    offset = value(side.office.ledger.database, "SELECT MAX(offset_bytes) FROM location JOIN pack ON pack.id = pack_fk")
    header = value(side.office.ledger.database, "SELECT MAX(header_size) FROM location")
    assert isinstance(offset, int)
    assert isinstance(header, int)
    flip(side, key, offset if where == "header" else offset + header)
    assert verify_cold(side).damaged == [key]
    assert count(side, "location", "state = 'damaged'") == 1


def test_a_wrong_byte_between_the_copies_is_told_too(side: ColdSide) -> None:
    """The directory at a pack's end belongs to no copy: all of them can be given, and the pack is not whole."""
    key = key_of(side, 2)
    flip(side, key, len(b"".join(side.cold.read(key))) - 1)
    assert verify_cold(side).damaged == [key]
    assert count(side, "location", "state = 'damaged'") == 0


def test_a_pack_cut_short_loses_what_does_not_come(side: ColdSide) -> None:
    """The copies before the cut are proven, those behind it are damaged."""
    key = key_of(side, 1)
    assert isinstance(side.cold, MemoryStore)
    offset = value(
        side.office.ledger.database,
        f"SELECT MAX(offset_bytes) FROM location JOIN pack ON pack.id = pack_fk WHERE pack.key = '{key}'",
    )
    assert isinstance(offset, int)
    side.cold.damage(key, b"".join(side.cold.read(key))[: offset + 10])
    assert verify_cold(side).damaged == [key]
    assert count(side, "location", "state = 'damaged'") == 1


def test_a_missing_pack_is_marked_and_recovers(side: ColdSide) -> None:
    """Gone: its copies are missing. Back: they are present again, and the journal has both."""
    key = key_of(side, 1)
    assert isinstance(side.cold, MemoryStore)
    kept = side.cold._objects.pop(key)
    report = verify_cold(side)
    assert (report.missing, report.damaged) == ([key], [])
    assert count(side, "location", "state = 'missing'") == 3
    side.cold._objects[key] = kept
    assert verify_cold(side).missing == []
    assert count(side, "location", "state = 'present'") == 6
    assert [event for event in events(side) if event in ("missing", "recovered")] == ["missing", "recovered"]


def test_what_broke_on_the_way_is_read_again(side: ColdSide) -> None:
    """Wrong bytes once, right ones the second time: the way was to blame, nothing is marked."""
    store = Once(side.cold)
    side.cold = store
    assert verify_cold(side).damaged == []
    assert store.reads == 3


class Once(MemoryStore):
    """A store whose first read gives a wrong byte."""

    def __init__(self, inner: object) -> None:
        super().__init__()
        assert isinstance(inner, MemoryStore)
        self._objects = inner._objects
        self.reads = 0

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Change the first byte of all that is read first."""
        self.reads += 1
        is_first = self.reads == 1
        for chunk in super().read(key, offset=offset, length=length):
            yield bytes([chunk[0] ^ 1]) + chunk[1:] if is_first else chunk
            is_first = False


@pytest.mark.parametrize("before", [0, 1])
def test_a_store_that_does_not_answer_marks_nothing(side: ColdSide, before: int) -> None:
    """What was read before is settled, what was not keeps its state, and the report says why it ended."""
    assert isinstance(side.cold, MemoryStore)
    store = Failing(side.cold, before, StoreUnavailable(reason="no route"))
    side.cold = store
    report = verify_cold(side)
    assert (report.checked, report.damaged, report.missing) == (before, [], [])
    assert "no route" in report.not_read[0][1] and "again" in report.not_read[0][1]
    assert count(side, "location", "state <> 'present'") == 0


def test_a_key_that_is_missing_is_no_damage(side: ColdSide) -> None:
    """A pack whose encryption key is not in the ring is told with what to do, and the others are read."""
    assert isinstance(side.cold, MemoryStore)
    side.cold = Failing(side.cold, 0, EncryptionKeyMissing(key="k", key_id="2019"), is_once=True)
    report = verify_cold(side)
    assert (report.checked, report.damaged) == (1, [])
    assert "2019" in report.not_read[0][1] and "key_ring" in report.not_read[0][1]


def test_a_bad_sector_under_a_file_store_is_damage(side: ColdSide) -> None:
    """One object that the disk cannot read is damaged; the store answers all the same."""
    error = StoreUnavailable(reason="Input/output error")
    error.__cause__ = OSError(errno.EIO, "Input/output error")
    assert isinstance(side.cold, MemoryStore)
    side.cold = Failing(side.cold, 1, error)
    report = verify_cold(side)
    assert (report.checked, len(report.damaged), report.not_read) == (2, 1, [])
    assert count(side, "location", "state = 'damaged'") == 3


class Failing(MemoryStore):
    """A store that fails the reads after so many, or one of them."""

    def __init__(self, inner: MemoryStore, after: int, error: StoreError, *, is_once: bool = False) -> None:
        super().__init__()
        self._objects = inner._objects
        self._readable: set[str] = set(sorted(inner._objects)[:after])
        self._error, self._is_once, self._failed = error, is_once, set[str]()
        self._unreadable = set(sorted(inner._objects)[after:])
        if is_once:
            self._unreadable = set(sorted(inner._objects)[:1])

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Fail or read."""
        if key in self._unreadable:
            raise self._error
        return super().read(key, offset=offset, length=length)


def test_a_frozen_pack_is_told_with_what_to_do(office: Office) -> None:
    """It cannot be read without a thaw: that is no damage."""
    side = ColdSide(office)
    side.sealed(1)
    side.migrate()
    assert isinstance(side.cold, MemoryStore)
    for found in side.cold._objects.values():
        from tiering.stores.base import Availability

        found.availability = Availability.COLD
    report = verify_cold(side)
    assert (report.checked, report.damaged) == (0, [])
    assert "recall" in report.not_read[0][1]
    assert count(side, "location", "state <> 'present'") == 0


# ---- budgets ---------------------------------------------------------------------------------------------------------


def test_a_part_takes_turns(side: ColdSide) -> None:
    """Half of two packs is one; the next half is the other one: everything is read in two runs."""
    read = set[str]()
    for _ in range(2):
        side.office.clock.advance(days=1)
        store = Noting(side.cold)
        assert verify_cold(replace(side, cold=store), percent=50).checked == 1
        read |= store.noted
    assert read == set(side.cold_keys())
    side.office.clock.advance(days=1)
    store = Noting(side.cold)
    verify_cold(replace(side, cold=store), percent=1)
    assert len(store.noted) == 1


class Noting(MemoryStore):
    """A store that notes what is read to its end."""

    def __init__(self, inner: object) -> None:
        super().__init__()
        assert isinstance(inner, MemoryStore)
        self._objects = inner._objects
        self.noted: set[str] = set()

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Note it."""
        self.noted.add(key)
        return super().read(key, offset=offset, length=length)


def test_what_was_never_verified_comes_first(side: ColdSide) -> None:
    """A pack without a date is older than any."""
    side.office.clock.advance(days=1)
    verify_cold(side)
    key = key_of(side, 2)
    change(
        side.office.ledger.database,
        f"UPDATE location SET verified_at = NULL WHERE pack_fk = (SELECT id FROM pack WHERE key = '{key}')",
    )
    side.office.clock.advance(days=1)
    store = Noting(side.cold)
    assert verify_cold(replace(side, cold=store), percent=50).checked == 1
    assert store.noted == {key}


def test_a_clock_that_was_ahead_does_not_end_the_turns(side: ColdSide) -> None:
    """A pack that was verified in 2099, by its date, is one that was never verified."""
    key = key_of(side, 1)
    verify_cold(side)
    change(
        side.office.ledger.database,
        "UPDATE location SET verified_at = '2099-01-01T00:00:00.000000Z' "
        f"WHERE pack_fk = (SELECT id FROM pack WHERE key = '{key}')",
    )
    side.office.clock.advance(days=1)
    store = Noting(side.cold)
    verify_cold(replace(side, cold=store), percent=50)
    assert store.noted == {key}


def test_more_than_one_slice_comes_once_each(side: ColdSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are asked for a slice at a time, and what was verified meanwhile does not come again."""
    monkeypatch.setattr("archive.services.turns._SLICE", 1)
    side.office.clock.advance(days=1)
    assert verify_cold(side).checked == 2
    assert verify_hot(side, percent=99.9).checked == 0


def test_hot_copies_take_turns_too(office: Office) -> None:
    """A third of six copies is two, and in three runs each was read once; one that is damaged is found."""
    side = ColdSide(office)
    side.sealed(1, 2)
    for expected in (2, 4, 6):
        office.clock.advance(days=1)
        assert verify_hot(side, percent=33.0).checked == 2
        assert count(side, "location", "verified_at IS NOT NULL") == expected
    office.clock.advance(days=1)
    (pack, _) = side.hot_packs()
    (office.rig.root / pack).unlink()
    assert len(verify_hot(side).missing) == 3


def test_the_pace_is_asked_for_every_byte(side: ColdSide) -> None:
    """Whoever limits the speed is told of each piece."""
    told: list[int] = []
    office = side.office
    report = ColdFixity(office.rig.committer, side.cold, office.clock, Budget(100, told.append)).verify(nothing)
    assert sum(told) == report.read_bytes


# ---- strays ----------------------------------------------------------------------------------------------------------


def test_orphans_and_what_is_unused_are_told_and_stay(side: ColdSide) -> None:
    """An object no row knows, and one that was put a week ago and stands in for nothing; neither is deleted."""
    import io
    from hashlib import sha256

    side.cold.put("a/orphan.zip", io.BytesIO(b"x"), size_bytes=1, sha256=sha256(b"x").digest())
    side.sealed(3)
    migrator = side.migrator
    (series,) = migrator.series_of(study_uid(3))
    migrator.prepare(study_uid(3), series)
    report = verify_cold(side)
    assert (report.orphans, report.unused) == (["a/orphan.zip"], [])
    side.office.days(8)
    report = verify_cold(side)
    assert report.unused == [key_of(side, 3)]
    assert len(side.cold_keys()) == 4


def test_a_pack_that_went_meanwhile_is_not_missing(side: ColdSide) -> None:
    """Destroyed, or moved by a repair, while its turn came: nothing is marked, nothing told."""
    key = key_of(side, 1)
    office = side.office

    class Vanishing(Noting):
        def read(self, key_read: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            if key_read == key:
                self._objects = {name: each for name, each in self._objects.items() if name != key}
                for table in (
                    "location WHERE pack_fk = (SELECT id FROM pack WHERE key = '%s')",
                    "pack WHERE key = '%s'",
                ):
                    change(office.ledger.database, f"DELETE FROM {table % key}")
            return super().read(key_read, offset=offset, length=length)

    report = verify_cold(replace(side, cold=Vanishing(side.cold)))
    assert (report.checked, report.missing, report.damaged) == (1, [], [])
