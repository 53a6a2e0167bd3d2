"""The fake that is shipped: it keeps the hard rules, and what it fails at is what it was asked to fail at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.stores.making import KEY, LARGE, SMALL, get, keys, put, warrant
from tiering.deletion import Deletion
from tiering.errors import (
    NotThawed,
    ObjectDiffers,
    ObjectHeld,
    ObjectNotFound,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from tiering.stores.base import Availability, ObjectHolds, ObjectStore
from tiering.stores.memory import MemoryStore

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


def test_it_is_both_a_store_and_what_holds() -> None:
    """The fake can stand wherever a store or its holds are asked for."""
    memory = MemoryStore()
    store: ObjectStore = memory
    holds: ObjectHolds = memory
    assert put(store) == store.find(KEY)
    assert not holds.is_held(KEY)


def test_a_cold_object_goes_through_its_states() -> None:
    """Cold, warming, warm and cold again; it can be read only while it is warm."""
    store = MemoryStore(is_cold=True)
    put(store)
    seen = [store.availability(KEY)]
    store.request_thaw([KEY], 3)
    store.request_thaw([KEY], 3)
    seen.append(store.availability(KEY))
    with pytest.raises(NotThawed, match=KEY):
        get(store)
    store.finish_thaws()
    seen.append(store.availability(KEY))
    assert get(store) == SMALL
    store.request_thaw([KEY], 3)
    store.expire_thaws()
    seen.append(store.availability(KEY))
    with pytest.raises(NotThawed, match=KEY):
        store.read_range(KEY, 0, 1)
    assert seen == [Availability.COLD, Availability.WARMING, Availability.WARM, Availability.COLD]


def test_only_what_was_asked_for_thaws() -> None:
    """A thaw that is done does not warm its neighbours."""
    store = MemoryStore(is_cold=True)
    put(store)
    put(store, key="other")
    store.request_thaw([KEY], 3)
    store.finish_thaws()
    assert store.availability("other") is Availability.COLD


def test_a_hold_is_stronger_than_a_warrant() -> None:
    """A held object stays, damaged or not, until it is released."""
    store = MemoryStore()
    order = warrant(put(store))
    store.set_hold(KEY)
    for accept_damaged in (False, True):
        with pytest.raises(ObjectHeld, match=KEY):
            store.delete(order, accept_damaged=accept_damaged)
    store.release_hold(KEY)
    assert store.delete(order) is Deletion.DELETED
    with pytest.raises(ObjectNotFound):
        store.set_hold(KEY)


def test_a_retention_only_grows_and_ends() -> None:
    """Until the later of two moments the object stays; from that moment on it may go."""
    store = MemoryStore()
    order = warrant(put(store))
    store.retain_until(KEY, NOW)
    store.retain_until(KEY, NOW - timedelta(days=1))
    for now in (None, NOW - timedelta(seconds=1)):
        store.now = now
        with pytest.raises(ObjectHeld, match="2026"):
            store.delete(order)
    store.now = NOW
    assert store.delete(order) is Deletion.DELETED


def test_a_key_used_again_is_another_object() -> None:
    """The same bytes under a key that was deleted have another generation: an old warrant does not reach them."""
    store = MemoryStore()
    order = warrant(put(store))
    store.delete(order)
    put(store)
    with pytest.raises(ObjectDiffers):
        store.delete(order)


def test_damage_is_noticed_by_a_deletion() -> None:
    """Bytes that were altered behind the store's back are read as they are, and do not fit the warrant."""
    store = MemoryStore()
    order = warrant(put(store))
    store.damage(KEY, SMALL[:-1] + b"!")
    assert get(store) == SMALL[:-1] + b"!"
    with pytest.raises(ObjectDiffers):
        store.delete(order)
    assert store.delete(order, accept_damaged=True) is Deletion.DELETED_DAMAGED


def test_calls_fail_as_often_as_asked() -> None:
    """The next calls fail before they do anything, with the error that was asked for, and then no more."""
    store = MemoryStore()
    store.faults.fail_next(2)
    store.faults.fail_next(error=StoreRefused(reason="as asked"))
    for expected in (StoreUnavailable, StoreUnavailable, StoreRefused):
        with pytest.raises(expected):
            put(store)
    assert keys(store) == []
    put(store)


def test_an_acknowledgement_is_lost_after_the_work() -> None:
    """A put or a deletion that fails so has done its work, and can be repeated."""
    store = MemoryStore()
    store.faults.lose_acknowledgements()
    with pytest.raises(StoreUnavailable):
        put(store)
    assert get(store) == SMALL
    order = warrant(put(store))
    store.faults.lose_acknowledgements()
    with pytest.raises(StoreUnavailable):
        store.delete(order)
    assert store.delete(order) is Deletion.GONE


@pytest.mark.parametrize("after_bytes", [0, 1, len(SMALL) - 1])
def test_a_put_that_breaks_off_leaves_nothing(after_bytes: int) -> None:
    """However many bytes had passed, the key stays free."""
    store = MemoryStore()
    store.faults.break_off(after_bytes)
    with pytest.raises(StoreUnavailable):
        put(store)
    assert store.find(KEY) is None
    put(store)


def test_a_read_breaks_off_after_right_bytes() -> None:
    """What came before the failure are the object's own bytes."""
    store = MemoryStore()
    put(store, LARGE)
    store.faults.break_off(1_500_000)
    came = bytearray()
    with pytest.raises(StoreUnavailable):
        for piece in store.read(KEY):
            came += piece
    assert bytes(came) == LARGE[:1_500_000]
    assert get(store) == LARGE


def test_it_is_full_when_it_is() -> None:
    """An object that does not fit is refused whole; one that does is taken."""
    store = MemoryStore(capacity_bytes=2 * len(SMALL))
    put(store, key="first")
    with pytest.raises(StoreFull):
        put(store, SMALL + b"!")
    put(store)
    assert keys(store) == [*sorted(["first", KEY])]
