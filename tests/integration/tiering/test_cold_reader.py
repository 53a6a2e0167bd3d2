"""Reading cold: every byte is proven, neighbours come in few requests, and what fails is told without wrong bytes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archive.errors import ColdStoreDown, FixityError, NotReadableYet
from archive.services import cold_fetch, cold_reader, read_cache
from archive.services.cold_fetch import Fetcher, Fuse, Wanted
from archive.services.cold_reader import ColdReader
from archive.services.read_cache import ReadCache
from tests.integration.disposal.conftest import Office
from tests.integration.tiering.reading import GIB, Reading, Watched, new_reader, open_reading
from tiering.errors import EncryptionKeyMissing, StoreRefused, StoreUnavailable


@pytest.fixture
def reading(office: Office, tmp_path: Path) -> Iterator[Reading]:
    """Lend an archive with a cold store."""
    with open_reading(office, tmp_path / "cache") as found:
        yield found


def run_all(*work: Callable[[], object]) -> None:
    """Do things at the same time, to the end."""
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def entry_names(folder: Path) -> list[str]:
    """Return the entries of a cache."""
    return sorted(path.name for path in folder.iterdir())


# ---- ahead ---------------------------------------------------------------------------------------------------------


def test_a_cold_study_comes_back_to_the_byte(reading: Reading) -> None:
    """What is given from the cold store is what was received."""
    before = reading.go_cold(1, instances=5)
    assert reading.read_all() == before
    assert reading.store.reads


def test_neighbours_come_together(reading: Reading) -> None:
    """The first image is asked for by itself; the rest of a series in one request, none of them twice."""
    reading.go_cold(1, instances=12)
    reading.read_all()
    sizes = [length for _, length in reading.store.reads]
    assert reading.wanted()[0].location.size_bytes in sizes
    assert len(sizes) == 2


def test_a_range_that_has_just_begun_is_waited_for(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is slow to claim its range is not overtaken: no member is asked for beside it."""
    reading.go_cold(1, instances=6)
    real = Fetcher._is_missing

    def slow(self: Fetcher, wanted: Wanted) -> bool:
        time.sleep(0.05)
        return real(self, wanted)

    monkeypatch.setattr(Fetcher, "_is_missing", slow)
    reading.read_all()
    assert len(reading.store.reads) == 2


def test_another_order_than_that_of_the_pack_costs_no_requests(reading: Reading) -> None:
    """Announced in any order, a block is still fetched in the order of its pack, as few ranges."""
    before = reading.go_cold(1, instances=12)
    wanted = reading.wanted()
    random.Random(3).shuffle(wanted)
    with reading.reader.ahead(wanted):
        for each in wanted:
            with reading.reader.open(each) as file:
                assert file.read()[each.location.header_size :] in before.values()
    assert len(reading.store.reads) <= 3


def test_ranges_grow_and_stay_bounded(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member, then blocks that grow; no range longer than the longest, every member in exactly one."""
    reading.go_cold(1, instances=30)
    wanted = reading.wanted()
    size = wanted[0].location.size_bytes
    monkeypatch.setattr(cold_reader, "_FIRST_BLOCK", 3 * size)
    monkeypatch.setattr(cold_reader, "_LONGEST_BLOCK", 12 * size)
    monkeypatch.setattr(cold_reader, "_LONGEST_RANGE", 5 * size)
    plan = cold_reader._planned(wanted)
    assert [key for part in plan.ranges for key in (each.location.key for each in part.members)] == [
        each.location.key for each in wanted
    ]
    assert len(plan.ranges[0].members) == 1
    assert 2 <= len(plan.ranges[1].members) <= 3
    assert max(part.size_bytes for part in plan.ranges) <= 5 * size


def test_what_is_ahead_is_bounded(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is fetched than a little ahead of the reader, however long the study is."""
    reading.go_cold(1, instances=20)
    wanted = reading.wanted()
    size = wanted[0].location.size_bytes
    monkeypatch.setattr(cold_reader, "_FIRST_BLOCK", size)
    monkeypatch.setattr(cold_reader, "_LONGEST_BLOCK", size)
    monkeypatch.setattr(cold_reader, "_AHEAD_BYTES", 3 * size)
    with reading.reader.ahead(wanted):
        for number, each in enumerate(wanted):
            reading.reader.open(each).close()
            assert len(reading.store.reads) <= number + 4
    assert len(reading.store.reads) == 20


def test_a_reader_that_leaves_stops_what_was_ahead(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was announced and not begun is not fetched once the retrieve has ended, what was begun is broken off."""
    reading.go_cold(1, instances=12)
    wanted = reading.wanted()
    monkeypatch.setattr(cold_reader, "_LONGEST_RANGE", 3 * wanted[0].location.size_bytes)
    reading.store.gate = threading.Event()
    with reading.reader.ahead(wanted):
        for _ in range(500):
            if len(reading.store.reads) == 2:
                break
            time.sleep(0.01)
    reading.store.gate.set()
    reading.reader.close()
    assert len(reading.store.reads) == 2
    assert sum(reading.reader.cache.has(each.location.key) for each in wanted) <= 2


def test_a_closed_reader_still_gives(reading: Reading) -> None:
    """While the archive stops, a retrieve that goes on reads one member after the other."""
    before = reading.go_cold(1, instances=3)
    reading.reader.close()
    assert reading.read_all() == before


def test_busy_threads_keep_nobody_waiting(reading: Reading, tmp_path: Path) -> None:
    """All threads hang on a slow range: another retrieve reads its own in its own thread."""
    reading.go_cold(1, 2, instances=4)
    gate, slow = threading.Event(), reading.wanted(1)
    begun, waited = threading.Event(), list[str]()

    class Slow(Watched):
        def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            if key == slow[0].location.pack_key:
                begun.set()
                if not gate.wait(20):
                    waited.append(key)
            yield from reading.store.read(key, offset=offset, length=length)

    with closing(new_reader(Slow(), tmp_path / "slow", threads=1)) as reader:
        try:
            with reader.ahead(slow):
                assert begun.wait(20)
                fast = reading.wanted(2)
                with reader.ahead(fast):
                    for each in fast:
                        reader.open(each).close()
                assert waited == []
        finally:
            gate.set()


# ---- one at a time -------------------------------------------------------------------------------------------------


def test_two_readers_of_one_series_fetch_it_once(reading: Reading) -> None:
    """Both get all of it at the same time, and no byte of it is asked for twice."""
    before = reading.go_cold(1, instances=8)
    results: list[dict[str, bytes]] = []
    run_all(*[lambda: results.append(reading.read_all())] * 4)
    assert results == [before] * 4
    total = sum(length or 0 for _, length in reading.store.reads)
    assert total <= sum(each.location.size_bytes + cold_fetch.GAP_BYTES for each in reading.wanted())


def test_who_waits_for_another_that_fails_asks_by_itself(reading: Reading) -> None:
    """The first of two readers of one entry meets a store that breaks off; the second gets it all the same."""
    reading.go_cold(1, instances=1)
    (wanted,) = reading.wanted()
    reading.store.gate = threading.Event()
    reading.store.faults.break_off(10)
    outcomes: list[str] = []

    def read() -> None:
        try:
            reading.reader.open(wanted).close()
            outcomes.append("given")
        except ColdStoreDown:
            outcomes.append("down")

    opener = threading.Timer(0.2, reading.store.gate.set)
    opener.start()
    run_all(read, read)
    assert sorted(outcomes) == ["down", "given"]


def test_an_entry_that_goes_while_it_is_read(reading: Reading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is so small that a reader's entry loses its name: it reads to the end all the same."""
    monkeypatch.setattr(read_cache, "FLOOR_BYTES", 0)
    before = reading.go_cold(1, instances=6)
    wanted = reading.wanted()
    size = wanted[0].location.size_bytes
    with closing(new_reader(reading.store, tmp_path / "small", limit_bytes=5 * size // 2)) as reader:
        files = [reader.open(each) for each in wanted]
        assert len(entry_names(tmp_path / "small")) <= 2
        given = [file.read()[each.location.header_size :] for file, each in zip(files, wanted, strict=True)]
        for file in files:
            file.close()
    assert given == list(before.values())


# ---- the cache -----------------------------------------------------------------------------------------------------


def test_what_was_read_is_in_the_cache(reading: Reading, tmp_path: Path) -> None:
    """A second reading asks the store for nothing, also after a start."""
    before = reading.go_cold(1, instances=3)
    reading.read_all()
    reading.store.reads.clear()
    assert reading.read_all() == before
    with closing(new_reader(reading.store, tmp_path / "cache")) as again:
        for each in reading.wanted():
            again.open(each).close()
    assert reading.store.reads == []


@pytest.mark.parametrize("damage", ["changed", "cut", "grown", "gone", "of another"])
def test_a_broken_entry_is_fetched_again(reading: Reading, tmp_path: Path, damage: str) -> None:
    """An entry that is not what it was, a moment ago or since the last start, is never given."""
    before = reading.go_cold(1, instances=2)
    reading.read_all()
    path, other = (tmp_path / "cache" / name for name in entry_names(tmp_path / "cache"))
    data = path.read_bytes()
    changes = {
        "changed": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[:-1],
        "grown": data + b"\0",
        "of another": other.read_bytes(),
    }
    path.unlink()
    if damage in changes:
        path.write_bytes(changes[damage])
    reading.store.reads.clear()
    assert reading.read_all() == before
    assert len(reading.store.reads) == 1
    assert path.read_bytes() == data


def test_a_cache_folder_that_cannot_be_used_costs_speed_only(reading: Reading, tmp_path: Path) -> None:
    """There is a file where the folder should be: images come all the same, one request each."""
    before = reading.go_cold(1, instances=3)
    (tmp_path / "taken").write_bytes(b"")
    with closing(new_reader(reading.store, tmp_path / "taken")) as reader:
        reading.reader = reader
        assert reading.read_all() == before
    assert len(reading.store.reads) == 3


def test_a_full_disk_costs_speed_only(reading: Reading, tmp_path: Path) -> None:
    """No room for the cache at all: nothing is fetched ahead in vain, everything comes through memory."""
    before = reading.go_cold(1, instances=3)
    cache = ReadCache(tmp_path / "full", GIB, min_free_bytes=1 << 60)
    with closing(ColdReader(reading.store, cache, 2)) as reader:
        reading.reader = reader
        assert reading.read_all() == before
    assert entry_names(tmp_path / "full") == []
    assert len(reading.store.reads) == 3


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_ahead", [False, True])
def test_wrong_bytes_are_read_once_more(reading: Reading, is_ahead: bool) -> None:
    """One wrong answer: the right bytes are given, and nothing else ever lies in the cache."""
    before = reading.go_cold(1, instances=1)
    reading.store.spoilt = 1
    if is_ahead:
        assert reading.read_all() == before
    else:
        with reading.reader.open(reading.wanted()[0]) as file:
            assert file.read()[reading.wanted()[0].location.header_size :] in before.values()
    assert len(reading.store.reads) == 2


def test_wrong_bytes_are_never_given(reading: Reading, tmp_path: Path) -> None:
    """A pack that was changed where it lies gives a fixity error, and its sound members are given."""
    reading.go_cold(1, instances=3)
    first, second, third = reading.wanted()
    (key,) = reading.side.cold_keys()
    data = bytearray(b"".join(reading.store.read(key)))
    data[second.end - 1] ^= 1
    reading.store.damage(key, bytes(data))
    with reading.reader.ahead([first, second, third]):
        reading.reader.open(first).close()
        with pytest.raises(FixityError, match="other bytes"):
            reading.reader.open(second)
        reading.reader.open(third).close()
    assert len(entry_names(tmp_path / "cache")) == 2


@pytest.mark.parametrize("where", ["header", "first byte of the data set"])
def test_every_part_of_a_member_is_proven(reading: Reading, where: str) -> None:
    """Another byte in the Part 10 header, or at the border to the data set, is noticed like any other."""
    reading.go_cold(1, instances=1)
    (wanted,) = reading.wanted()
    (key,) = reading.side.cold_keys()
    data = bytearray(b"".join(reading.store.read(key)))
    data[wanted.location.start + (140 if where == "header" else wanted.location.header_size)] ^= 1
    reading.store.damage(key, bytes(data))
    with pytest.raises(FixityError):
        reading.reader.open(wanted)


def test_a_pack_that_is_cut_short_or_gone_is_told(reading: Reading) -> None:
    """A cold pack that ends too early is damaged; one that is not there is not said to be: that is for verify."""
    reading.go_cold(1, instances=2)
    (key,) = reading.side.cold_keys()
    reading.store.damage(key, b"".join(reading.store.read(key))[:100])
    with pytest.raises(FixityError, match="bytes are missing") as caught:
        reading.reader.open(reading.wanted()[1])
    assert caught.value.fields["state"] == "damaged"
    reading.store.lose(key)
    with pytest.raises(FixityError, match="not in the cold store") as caught:
        reading.reader.open(reading.wanted()[1])
    assert caught.value.fields["state"] is None


def test_an_answer_that_ends_early_is_wrong_bytes(reading: Reading, tmp_path: Path) -> None:
    """A store that breaks its promise and yields too little is not believed, and nothing is passed off as whole."""
    reading.go_cold(1, instances=3)

    class Short(Watched):
        def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            yield b"".join(reading.store.read(key, offset=offset, length=length))[:100]

    with closing(new_reader(Short(), tmp_path / "short")) as reader, reader.ahead(reading.wanted()):
        for each in reading.wanted():
            with pytest.raises(FixityError):
                reader.open(each)
    assert entry_names(tmp_path / "short") == []


def test_a_store_that_is_down_is_told_and_comes_back(reading: Reading) -> None:
    """Down: an error that may go away, ahead or not; up again: the image."""
    before = reading.go_cold(1, instances=2)
    reading.store.down = StoreUnavailable(reason="no route")
    with reading.reader.ahead(reading.wanted()), pytest.raises(ColdStoreDown, match="no route") as caught:
        reading.reader.open(reading.wanted()[0])
    assert caught.value.retryable
    reading.store.down = None
    assert reading.read_all() == before


def test_ranges_that_failed_are_begun_again(reading: Reading) -> None:
    """A store that comes back in the middle of a retrieve is read in ranges again, not image by image."""
    reading.go_cold(1, instances=12)
    wanted = reading.wanted()
    reading.store.down = StoreUnavailable(reason="a moment")
    with reading.reader.ahead(wanted):
        with pytest.raises(ColdStoreDown):
            reading.reader.open(wanted[0])
        reading.store.down = None
        reading.reader.fetcher.fuse.worked()
        reading.store.reads.clear()
        for each in wanted[1:]:
            reading.reader.open(each).close()
    assert len(reading.store.reads) <= 3


@pytest.mark.parametrize(
    "error", [StoreRefused(reason="no right"), EncryptionKeyMissing(key="k", key_id="2026", reason="no right")]
)
def test_a_store_that_refuses_is_not_damage(reading: Reading, error: StoreRefused | EncryptionKeyMissing) -> None:
    """Wrong credentials or a lost key ring are for the operator: nothing is said about the copy."""
    reading.go_cold(1, instances=1)
    reading.store.down = error
    with pytest.raises(ColdStoreDown, match="no right"):
        reading.reader.open(reading.wanted()[0])


def test_what_has_to_thaw_is_told(reading: Reading) -> None:
    """A frozen pack gives an error of its own, which may go away."""
    reading.go_cold(1, instances=2)
    reading.store.freeze()
    with reading.reader.ahead(reading.wanted()), pytest.raises(NotReadableYet) as caught:
        reading.reader.open(reading.wanted()[0])
    assert caught.value.retryable


def test_a_dead_store_is_left_alone_for_a_moment(reading: Reading, tmp_path: Path) -> None:
    """After three failures in a row the next readers are told at once; after a while it is tried again."""
    reading.go_cold(1, instances=6)
    now = [100.0]
    fetcher = Fetcher(reading.store, ReadCache(tmp_path / "other", GIB), Fuse(lambda: now[0]))
    reading.store.down = StoreUnavailable(reason="no route")

    def failed(wanted: Wanted) -> bool:
        with pytest.raises(ColdStoreDown, match="no route"):
            fetcher.open(wanted)
        return True

    assert all(failed(each) for each in reading.wanted())
    assert len(reading.store.reads) == 3
    now[0] += 6
    assert failed(reading.wanted()[0])
    assert len(reading.store.reads) == 4
    reading.store.down = None
    now[0] += 6
    for each in reading.wanted():
        fetcher.open(each).close()


def test_a_fault_now_and_then_is_no_dead_store(reading: Reading, tmp_path: Path) -> None:
    """Failures with successes between them do not add up."""
    reading.go_cold(1, instances=4)
    fetcher = Fetcher(reading.store, ReadCache(tmp_path / "other", GIB), Fuse(lambda: 0.0))
    for each in reading.wanted():
        reading.store.down = StoreUnavailable(reason="a moment")
        with pytest.raises(ColdStoreDown):
            fetcher.open(each)
        reading.store.down = None
        fetcher.open(each).close()
