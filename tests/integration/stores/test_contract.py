"""The contract of tiering/stores/base.py, the same suite for every store."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.integration.stores.making import (
    KEY,
    LARGE,
    SMALL,
    Broken,
    Dribbling,
    get,
    keys,
    put,
    ranges,
    sha256,
    warrant,
)
from tiering.deletion import Deletion
from tiering.errors import ChecksumMismatch, InvalidKey, KeyTaken, ObjectDiffers, ObjectNotFound
from tiering.stores.base import CHUNK_BYTES, KEY_CHARACTERS, Availability, ObjectStore, StoredObject

ABSENT = "site/absent"


@pytest.mark.parametrize("data", [b"", b"x", SMALL, LARGE], ids=len)
def test_what_was_put_is_read(store: ObjectStore, data: bytes) -> None:
    """An object of any size comes back byte for byte, in pieces none of which is empty."""
    stored = put(store, data)
    assert (stored.key, stored.size_bytes, stored.sha256) == (KEY, len(data), sha256(data))
    pieces = list(store.read(KEY))
    assert b"".join(pieces) == data
    assert all(pieces)


def test_every_range_is_exact(store: ObjectStore) -> None:
    """A range gives its bytes and no other, wherever it begins and ends."""
    put(store, LARGE)
    for offset, length in ranges(len(LARGE)):
        assert store.read_range(KEY, offset, length) == LARGE[offset : offset + length], (offset, length)
    assert b"".join(store.read(KEY, offset=len(LARGE) - 70_000)) == LARGE[-70_000:]
    assert b"".join(store.read(KEY, offset=len(LARGE))) == b""


@pytest.mark.parametrize(
    ("offset", "length"), [(0, len(SMALL) + 1), (len(SMALL), 1), (len(SMALL) + 1, 0), (len(SMALL) + 1, None)]
)
def test_a_range_that_is_not_there_is_an_error(store: ObjectStore, offset: int, length: int | None) -> None:
    """Bytes behind the end are never left out in silence."""
    put(store)
    with pytest.raises(ChecksumMismatch, match=KEY):
        list(store.read(KEY, offset=offset, length=length))


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (-1, 1), (0, -1)])
def test_no_range_at_all_is_a_mistake(store: ObjectStore, offset: int, length: int | None) -> None:
    """A negative offset or length is refused as our own mistake."""
    put(store)
    with pytest.raises(ValueError, match="not a range"):
        list(store.read(KEY, offset=offset, length=length))


def test_a_reader_may_stop(store: ObjectStore) -> None:
    """A read that is given up in the middle leaves a store that works."""
    put(store, LARGE)
    for _ in range(20):
        pieces = store.read(KEY)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
    assert store.read_range(KEY, 0, 5) == LARGE[:5]


def test_the_same_put_again_is_the_same_object(store: ObjectStore) -> None:
    """A put whose answer was lost can be repeated, and changes nothing."""
    first = put(store, LARGE)
    assert put(store, LARGE) == first
    assert put(store, LARGE) == first
    assert get(store) == LARGE


@pytest.mark.parametrize("other", [b"", SMALL + b"!", SMALL[:-1] + b"?", LARGE], ids=len)
def test_a_taken_key_is_never_overwritten(store: ObjectStore, other: bytes) -> None:
    """Other bytes under a key are refused, and the first ones stay as they are."""
    first = put(store)
    with pytest.raises(KeyTaken, match=KEY):
        put(store, other)
    assert get(store) == SMALL
    assert put(store) == first


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
def test_of_many_at_once_one_wins(store: ObjectStore, data: bytes, request: pytest.FixtureRequest) -> None:
    """When several put different bytes under one key at the same moment, one succeeds and its bytes are there."""
    rivals = [bytes([number]) + data for number in range(4)]

    def attempt(rival: bytes) -> StoredObject | None:
        try:
            return put(store, rival)
        except KeyTaken:
            return None

    with ThreadPoolExecutor(len(rivals)) as threads:
        outcomes = list(threads.map(attempt, rivals))
    winners = [rival for rival, outcome in zip(rivals, outcomes, strict=True) if outcome is not None]
    assert get(store) in winners
    if data is SMALL or request.node.callspec.params["store"] != "ceph":  # tiering/stores/s3/uploads.py says why
        assert len(winners) == 1
        found = store.find(KEY)
        assert found is not None
        assert [outcome.generation for outcome in outcomes if outcome] == [found.generation]


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
@pytest.mark.parametrize("source", ["short", "other", "broken", "wrong size"])
def test_a_bad_source_leaves_nothing(store: ObjectStore, data: bytes, source: str) -> None:
    """A source that ends early, has other bytes or fails is refused, and the key stays free."""
    body = {
        "short": io.BytesIO(data[:-1]),
        "other": io.BytesIO(data[:-1] + b"\0"),
        "broken": Broken(data, len(data) // CHUNK_BYTES * CHUNK_BYTES),
        "wrong size": io.BytesIO(data),
    }[source]
    size_bytes = len(data) - (source == "wrong size")
    with pytest.raises(OSError if source == "broken" else ChecksumMismatch):
        store.put(KEY, body, size_bytes=size_bytes, sha256=sha256(data))
    assert store.find(KEY) is None
    assert keys(store) == []
    put(store, data)
    assert get(store) == data


def test_an_empty_object_has_the_digest_of_nothing(store: ObjectStore) -> None:
    """An empty object is checked like any other."""
    with pytest.raises(ChecksumMismatch):
        store.put(KEY, io.BytesIO(), size_bytes=0, sha256=sha256(SMALL))
    assert store.find(KEY) is None


def test_a_source_is_read_from_where_it_stands(store: ObjectStore) -> None:
    """The object is the next bytes of a longer file, even when they come a few at a time."""
    source = Dribbling(b"before" + LARGE + b"behind")
    source.seek(6)
    store.put(KEY, source, size_bytes=len(LARGE), sha256=sha256(LARGE))
    assert get(store) == LARGE


def test_find_tells_what_is_there(store: ObjectStore) -> None:
    """An object is found with size and generation, and with its digest or without one."""
    stored = put(store, LARGE)
    found = store.find(KEY)
    assert found is not None
    assert found in (stored, replace(stored, sha256=None))
    assert store.find(ABSENT) is None


def test_what_is_not_there_is_an_error(store: ObjectStore) -> None:
    """Reading, asking about or thawing an object that is not there says that it is not there."""
    put(store)
    calls: list[Callable[[], object]] = [
        lambda: list(store.read(ABSENT)),
        lambda: list(store.read(ABSENT, offset=0, length=0)),
        lambda: store.read_range(ABSENT, 0, 1),
        lambda: store.availability(ABSENT),
        lambda: store.request_thaw([KEY, ABSENT], 3),
    ]
    for call in calls:
        with pytest.raises(ObjectNotFound, match=ABSENT):
            call()


def test_keys_are_listed_by_prefix(store: ObjectStore) -> None:
    """Every key with a prefix is listed once, whatever segments the prefix cuts through."""
    names = ["a/b", "a/b2", "a/b/c", "a", "a.b", "b/_x-1"]
    for number, name in enumerate(names):
        put(store, bytes([number]), name)
    assert keys(store) == sorted(names)
    assert keys(store, "a/b") == ["a/b", "a/b/c", "a/b2"]
    assert keys(store, "a/") == ["a/b", "a/b/c", "a/b2"]
    assert keys(store, "c") == []
    listed = list(store.iter_keys("a/"))
    for number, name in enumerate(listed):
        assert list(store.iter_keys("a/", after=name)) == listed[number + 1 :]
    for number, name in enumerate(names):
        assert get(store, name) == bytes([number])


def test_what_is_no_key_is_refused_everywhere(store: ObjectStore) -> None:
    """A name that leads elsewhere, or that some store could not keep, is refused by every call."""
    too_long = "x" * (KEY_CHARACTERS + 1)
    names = ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".a", "-a", "a b", "é", "a+b", "a\n", "a\0", too_long]
    calls: list[Callable[[str], object]] = [
        lambda key: put(store, key=key),
        lambda key: list(store.read(key)),
        lambda key: store.read_range(key, 0, 1),
        store.find,
        store.availability,
        lambda key: store.request_thaw([key], 1),
    ]
    for name in names:
        for call in calls:
            with pytest.raises(InvalidKey):
                call(name)


def test_the_longest_key_is_taken(store: ObjectStore) -> None:
    """A key of all its characters, in many segments, works like any other."""
    key = "/".join(["0123456789" * 4] * 5) + "/" + "x" * 35
    assert len(key) == KEY_CHARACTERS
    put(store, key=key)
    assert keys(store, key[:50]) == [key]
    assert get(store, key) == SMALL


def test_a_warrant_deletes_its_object(store: ObjectStore) -> None:
    """The object is gone for every call, others stay, and the same warrant again says that it is gone."""
    order = warrant(put(store, LARGE), LARGE)
    put(store, key="site/other")
    assert store.delete(order) is Deletion.DELETED
    assert store.find(KEY) is None
    assert keys(store) == ["site/other"]
    with pytest.raises(ObjectNotFound):
        get(store)
    assert store.delete(order) is Deletion.GONE


def test_a_warrant_for_nothing_deletes_nothing(store: ObjectStore) -> None:
    """A warrant for a key that never was says that there is nothing."""
    stored = put(store)
    assert store.delete(replace(warrant(stored), key=ABSENT)) is Deletion.GONE
    assert get(store) == SMALL


@pytest.mark.parametrize("field", ["sha256", "generation"])
def test_another_warrant_deletes_nothing(store: ObjectStore, field: str) -> None:
    """An object whose digest or generation is not the warrant's stays."""
    order, other = warrant(put(store)), put(store, LARGE, "site/larger")
    wrong = {"sha256": replace(order, sha256=sha256(LARGE)), "generation": replace(order, generation=other.generation)}
    with pytest.raises(ObjectDiffers, match=KEY):
        store.delete(wrong[field])
    assert get(store) == SMALL


def test_a_damaged_object_goes_when_that_is_accepted(store: ObjectStore) -> None:
    """What lies under the key goes although it is not the warrant's, and is said to have been damaged."""
    order = replace(warrant(put(store)), sha256=sha256(b"what it should be"))
    assert store.delete(order, accept_damaged=True) is Deletion.DELETED_DAMAGED
    assert store.find(KEY) is None


def test_nothing_is_cold_unless_made_so(store: ObjectStore) -> None:
    """An object can be read at once, and a thaw that nobody needs is no error."""
    put(store)
    assert store.availability(KEY) is Availability.ONLINE
    store.request_thaw([KEY], 3)
    assert store.availability(KEY) is Availability.ONLINE


def test_many_use_it_at_once(store: ObjectStore) -> None:
    """Threads that put, find, read and delete objects of their own do not get in each other's way."""

    def use(number: int) -> bool:
        key, data = f"many/{number}", bytes([number]) * (number * 1000)
        stored = put(store, data, key)
        is_right = store.find(key) is not None and get(store, key) == data
        return is_right and store.delete(warrant(stored, data)) is Deletion.DELETED

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(use, range(1, 25)))
    assert keys(store, "many/") == []
