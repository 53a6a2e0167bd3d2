"""A store that is made when it is needed: once, by whoever comes first, and again when making it failed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

from tests.integration.stores.making import KEY, get, put, warrant
from tiering.deletion import Deletion
from tiering.errors import StoreRefused
from tiering.stores.base import ObjectHolds, ObjectStore
from tiering.stores.lazy import LazyHolds, LazyStore, Once
from tiering.stores.memory import MemoryStore


class Maker:
    """Makes one store, after so many failures, and counts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0
        self.store = MemoryStore()

    def __call__(self) -> MemoryStore:
        """Fail, or make it."""
        self.calls += 1
        if self.calls <= self.failures:
            raise StoreRefused(reason="no credentials")
        return self.store


def lazy(maker: Callable[[], ObjectStore]) -> LazyStore:
    """Return a store that is made later."""
    return LazyStore(Once(maker))


def test_nothing_is_made_before_it_is_needed() -> None:
    """Neither at the start nor by a read or a listing that nobody takes a step of."""
    maker = Maker()
    store = lazy(maker)
    reading, listing = store.read(KEY), store.iter_keys()
    assert maker.calls == 0
    assert list(listing) == []
    assert maker.calls == 1
    put(store)
    assert b"".join(reading) == get(store)
    assert maker.calls == 1


def test_a_failure_is_told_and_tried_again() -> None:
    """Every call says what is wrong until it is not any more."""
    maker = Maker(failures=3)
    store = lazy(maker)
    for call in (lambda: store.find(KEY), lambda: list(store.iter_keys()), lambda: put(store)):
        with pytest.raises(StoreRefused, match="no credentials"):
            call()
    stored = put(store)
    assert store.delete(warrant(stored)) is Deletion.DELETED
    assert maker.calls == 4


def test_many_at_once_make_one() -> None:
    """Threads that come at the same moment share what the first one made."""
    maker, barrier = Maker(), Barrier(8)
    once: Once[ObjectStore] = Once(maker)

    def take(_number: int) -> ObjectStore:
        barrier.wait()
        return once.get()

    with ThreadPoolExecutor(8) as threads:
        assert set(map(id, threads.map(take, range(8)))) == {id(maker.store)}
    assert maker.calls == 1


def test_holds_are_made_when_they_are_needed() -> None:
    """Holds go to the store that was made, and not before."""
    maker = Maker()
    put(maker.store)
    made: Once[ObjectHolds] = Once(maker)
    holds = LazyHolds(made)
    assert maker.calls == 0
    holds.set_hold(KEY)
    assert maker.store.is_held(KEY)
    assert holds.is_held(KEY)
    holds.release_hold(KEY)
    assert not maker.store.is_held(KEY)
    until = datetime(2030, 1, 1, tzinfo=UTC)
    holds.retain_until(KEY, until)
    assert maker.store._get(KEY).retained_until == until
