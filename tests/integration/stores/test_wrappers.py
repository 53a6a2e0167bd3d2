"""Stores around a store: each does its one thing, and nothing is slept through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.integration.stores.making import KEY, LARGE, SMALL, get, keys, put, warrant
from tiering.deletion import Deletion
from tiering.errors import KeyTaken, ObjectNotFound, StoreUnavailable
from tiering.stores.base import CHUNK_BYTES, Availability, ObjectStore
from tiering.stores.limiting import Bandwidth, LimitingStore
from tiering.stores.memory import MemoryStore
from tiering.stores.metered import Call, MeteredStore
from tiering.stores.retrying import Backoff, RetryingStore


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.pauses.append(seconds)
            self.now += seconds

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def memory() -> MemoryStore:
    """Lend a store in memory."""
    return MemoryStore()


@pytest.fixture
def clock() -> Clock:
    """Lend a clock."""
    return Clock()


# ---- retrying ------------------------------------------------------------------------------------------------------


@pytest.fixture
def retrying(memory: MemoryStore, clock: Clock) -> RetryingStore:
    """Lend a store that tries four times, and pauses as long as it may."""
    return RetryingStore(memory, Backoff(clock.sleep, lambda: 1.0, attempts=4, first_seconds=1, longest_seconds=3))


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "put": put,
    "read": get,
    "read_range": lambda store: store.read_range(KEY, 0, 1),
    "find": lambda store: store.find(KEY),
    "iter_keys": keys,
    "delete": lambda store: store.delete(warrant(put(MemoryStore()))),
    "availability": lambda store: store.availability(KEY),
    "request_thaw": lambda store: store.request_thaw([KEY], 1),
}
BY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@BY_CALL
def test_every_call_is_tried_again(
    memory: MemoryStore, retrying: RetryingStore, clock: Clock, call: Callable[[ObjectStore], object]
) -> None:
    """Three failures are survived, with pauses that double up to the longest."""
    put(memory)
    memory.faults.fail_next(3)
    call(retrying)
    assert clock.pauses == [1, 2, 3]


@BY_CALL
def test_no_call_is_tried_for_ever(
    memory: MemoryStore, retrying: RetryingStore, clock: Clock, call: Callable[[ObjectStore], object]
) -> None:
    """The fourth failure is the caller's, and no pause comes before it tells."""
    put(memory)
    memory.faults.fail_next(5)
    with pytest.raises(StoreUnavailable):
        call(retrying)
    assert len(memory.faults.before) == 1
    assert clock.pauses == [1, 2, 3]


@BY_CALL
def test_what_is_final_is_not_repeated(
    memory: MemoryStore, retrying: RetryingStore, clock: Clock, call: Callable[[ObjectStore], object]
) -> None:
    """An error that another attempt cannot change is told at once."""
    put(memory)
    memory.faults.fail_next(error=KeyTaken(key=KEY))
    with pytest.raises(KeyTaken):
        call(retrying)
    assert clock.pauses == []


def test_pauses_are_scattered(clock: Clock) -> None:
    """The jitter makes every pause a part of what it could be."""
    memory = MemoryStore()
    parts = iter([0.5, 0.25])
    put(memory)
    memory.faults.fail_next(2)
    RetryingStore(memory, Backoff(clock.sleep, lambda: next(parts), first_seconds=8)).find(KEY)
    assert clock.pauses == [4.0, 4.0]


def test_a_put_starts_again_from_where_its_source_stood(memory: MemoryStore, retrying: RetryingStore) -> None:
    """However far a source was read when the put broke off, the object is whole; a lost answer changes nothing."""
    memory.faults.break_off(1_500_000)
    memory.faults.lose_acknowledgements()
    put(retrying, LARGE)
    assert get(memory) == LARGE
    assert keys(memory) == [KEY]


def test_a_read_that_advances_never_ends_early(memory: MemoryStore, retrying: RetryingStore, clock: Clock) -> None:
    """More failures than attempts are survived as long as each attempt brings bytes, and none comes twice."""
    put(memory, LARGE)
    for _ in range(10):
        memory.faults.break_off(100_000)
    assert get(retrying) == LARGE
    assert clock.pauses == [1] * 10
    for _ in range(3):
        memory.faults.break_off(100_000)
    assert b"".join(retrying.read(KEY, offset=5, length=1_000_000)) == LARGE[5:1_000_005]


def test_a_listing_tells_no_key_twice(retrying: RetryingStore, memory: MemoryStore) -> None:
    """A listing that breaks off goes on behind the last key, also when that one is gone by then."""
    for number in range(5):
        put(memory, key=f"k/{number}")
    listing = memory.iter_keys
    broken, asked = iter([2]), list[str]()

    def breaking(prefix: str = "", *, after: str = "") -> object:
        last = next(broken, None)
        asked.append(after)
        for number, key in enumerate(listing(prefix, after=after)):
            if number == last:
                del memory._objects["k/1"]
                raise StoreUnavailable(reason="as asked")
            yield key

    memory.iter_keys = breaking  # type: ignore[method-assign, assignment]
    assert sorted(retrying.iter_keys("k/")) == [f"k/{number}" for number in range(5)]
    assert asked == ["", "k/1"]


# ---- limiting ------------------------------------------------------------------------------------------------------


def limited(memory: MemoryStore, clock: Clock, transfers: int = 2) -> LimitingStore:
    """Return a store of half a MiB a second."""
    bandwidth = Bandwidth(CHUNK_BYTES / 2, clock.monotonic, clock.sleep)
    return LimitingStore(memory, transfers=transfers, bandwidth=bandwidth)


@pytest.mark.parametrize("way", ["put", "read", "read_range"])
def test_bytes_take_their_time(memory: MemoryStore, clock: Clock, way: str) -> None:
    """However they pass, 2 MiB at half a MiB a second take 3 s: the first second's worth is there already."""
    data, store = LARGE[: 2 * CHUNK_BYTES], limited(memory, clock)
    if way == "put":
        put(store, data)
    else:
        put(memory, data)
        assert data == (get(store) if way == "read" else store.read_range(KEY, 0, len(data)))
    assert clock.now == pytest.approx(3.0)


def test_saved_time_is_worth_a_second(memory: MemoryStore, clock: Clock) -> None:
    """A long rest does not let more through at once than a second's worth."""
    store = limited(memory, clock)
    put(store, key="first")
    clock.now = 1000.0
    put(store, LARGE[: 2 * CHUNK_BYTES])
    assert clock.now == pytest.approx(1003.0)


def test_all_share_the_bandwidth(memory: MemoryStore, clock: Clock) -> None:
    """Several threads together are no faster than one."""
    store = limited(memory, clock, transfers=4)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: put(store, LARGE[:CHUNK_BYTES], f"k/{number}"), range(4)))
    assert clock.now >= (4 * CHUNK_BYTES) / (CHUNK_BYTES / 2) - 1


def test_transfers_wait_for_a_place(memory: MemoryStore) -> None:
    """Two reads that are open leave no place for a third one until one of them ends or is given up."""
    store = LimitingStore(memory, transfers=2)
    put(memory, LARGE)
    first, second = store.read(KEY), store.read(KEY)
    next(first), next(second)
    with ThreadPoolExecutor(1) as threads:
        third = threads.submit(get, store)
        assert store.find(KEY) is not None  # what moves no object needs no place
        with pytest.raises(TimeoutError):  # it waits, and would wait for ever
            third.result(timeout=0.2)
        first.close()  # type: ignore[attr-defined]
        assert third.result(timeout=10) == LARGE
    assert b"".join(second) == LARGE[CHUNK_BYTES:]
    put(store, key="after")


def test_a_failure_gives_its_place_back(memory: MemoryStore) -> None:
    """After any number of failures there is still a place."""
    store = LimitingStore(memory, transfers=1)
    for _ in range(3):
        memory.faults.fail_next()
        with pytest.raises(StoreUnavailable):
            put(store)
        with pytest.raises(ObjectNotFound):
            get(store)
    put(store)


# ---- metered -------------------------------------------------------------------------------------------------------


def test_every_call_is_told(memory: MemoryStore) -> None:
    """Each call is told once, by name, with its bytes, its seconds and its error."""
    calls: list[Call] = []
    ticks = count()
    store = MeteredStore(memory, calls.append, lambda: float(next(ticks)))
    stored = put(store)
    get(store)
    store.read_range(KEY, 1, 3)
    store.find(KEY)
    keys(store)
    assert store.availability(KEY) is Availability.ONLINE
    store.request_thaw([KEY], 1)
    assert store.delete(warrant(stored)) is Deletion.DELETED
    with pytest.raises(ObjectNotFound):
        get(store)
    size = len(SMALL)
    told = [("put", size), ("read", size), ("read_range", 3), ("find", 0), ("iter_keys", 0), ("availability", 0)]
    told += [("request_thaw", 0), ("delete", 0), ("read", 0)]
    assert [(call.operation, call.size_bytes) for call in calls] == told
    assert [call.error for call in calls] == [None] * 8 + ["ObjectNotFound"]
    assert {call.seconds for call in calls} == {1.0}


def test_what_was_given_up_is_told(memory: MemoryStore) -> None:
    """A read that nobody finished counts what came, and is no error; a broken one is."""
    calls: list[Call] = []
    store = MeteredStore(memory, calls.append, lambda: 0.0)
    put(memory, LARGE)
    pieces = store.read(KEY)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    memory.faults.break_off(CHUNK_BYTES + 5)
    with pytest.raises(StoreUnavailable):
        get(store)
    told = [(call.operation, call.size_bytes, call.error) for call in calls]
    assert told == [("read", CHUNK_BYTES, None), ("read", CHUNK_BYTES + 5, "StoreUnavailable")]
