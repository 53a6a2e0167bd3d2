"""Objects encrypted before they leave: what the store inside sees, and what it can do without being noticed."""

from __future__ import annotations

import io
import random
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.stores.making import KEY, LARGE, SMALL, get, put, ranges, sha256, warrant
from tiering.deletion import Deletion
from tiering.disk import OsDisk
from tiering.errors import (
    ChecksumMismatch,
    EncryptionKeyMissing,
    KeyTaken,
    NotThawed,
    ObjectDiffers,
    ObjectHeld,
    StoreRefused,
)
from tiering.stores.encrypting import EncryptingStore
from tiering.stores.envelope import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES
from tiering.stores.filesystem import FileStore
from tiering.stores.keyring import KeyRing, KeyRingFile
from tiering.stores.memory import MemoryStore
from tiering.stores.metered import Call, MeteredStore

OLD = KeyRing.generate("2025")
RING = OLD.with_key("2026")


@pytest.fixture
def memory() -> MemoryStore:
    """Lend the store inside."""
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> EncryptingStore:
    """Lend a store that encrypts with the newer of two keys."""
    return EncryptingStore(memory, RING)


def test_nothing_of_an_object_is_seen_inside(memory: MemoryStore, store: EncryptingStore) -> None:
    """What is stored has neither a piece of the object nor its digest nor a key in it, and looks like noise."""
    data = SMALL * 10_000
    put(store, data)
    inside = get(memory)
    assert all(secret not in inside for secret in (SMALL, sha256(data), *RING.keys.values()))
    chunks = [inside[start : start + 64] for start in range(HEADER_BYTES, len(inside), 64)]
    assert len(set(chunks)) == len(chunks)


def test_the_form_is_what_the_module_says(memory: MemoryStore, store: EncryptingStore) -> None:
    """Header, chunks and tags have the sizes that are promised to whoever reads without this software."""
    put(store, LARGE)
    inside = get(memory)
    assert len(inside) == HEADER_BYTES + len(LARGE) + TAG_BYTES * -(-len(LARGE) // CHUNK_BYTES)
    assert inside[:8] == b"DRIMBOX\x01"
    assert inside[8:40].rstrip(b"\0") == b"2026"


def test_equal_objects_do_not_look_equal(memory: MemoryStore, store: EncryptingStore) -> None:
    """The same bytes under two keys are stored as different bytes, each with a data key of its own."""
    put(store, LARGE, "one")
    put(store, LARGE, "two")
    one, two = get(memory, "one"), get(memory, "two")
    assert len(one) == len(two)
    assert all(one[at : at + 16] != two[at : at + 16] for at in range(HEADER_BYTES, len(one), 4096))


def test_a_range_reads_only_its_chunks(memory: MemoryStore) -> None:
    """A range costs the header and the chunks that it touches, wherever it lies."""
    calls: list[Call] = []
    store = EncryptingStore(MeteredStore(memory, calls.append, lambda: 0.0), RING)
    put(store, LARGE)
    for offset, length in ranges(len(LARGE)):
        calls.clear()
        assert store.read_range(KEY, offset, length) == LARGE[offset : offset + length]
        chunks = -(-(offset + length) // CHUNK_BYTES) - offset // CHUNK_BYTES if length else 0
        assert sum(call.size_bytes for call in calls) <= HEADER_BYTES + chunks * (CHUNK_BYTES + TAG_BYTES)


def tampered(memory: MemoryStore, alter: Callable[[bytes], bytes]) -> None:
    """Alter what lies inside."""
    memory.damage(KEY, alter(get(memory)))


CHUNK = CHUNK_BYTES + TAG_BYTES


@pytest.mark.parametrize(
    "alter",
    [
        lambda data: data[:HEADER_BYTES] + data[HEADER_BYTES + CHUNK :],
        lambda data: data[:-1],
        lambda data: data[:-CHUNK],
        lambda data: data[: HEADER_BYTES + CHUNK],
        lambda data: data[: HEADER_BYTES + CHUNK] + data[HEADER_BYTES : HEADER_BYTES + CHUNK] + data[129 + 2 * CHUNK :],
        lambda data: (
            data[:HEADER_BYTES]
            + data[HEADER_BYTES + CHUNK : HEADER_BYTES + 2 * CHUNK]
            + data[HEADER_BYTES : HEADER_BYTES + CHUNK]
            + data[HEADER_BYTES + 2 * CHUNK :]
        ),
        lambda data: b"",
        lambda data: data[:100],
        lambda data: LARGE,
    ],
    ids=["first gone", "last byte", "last gone", "one left", "repeated", "swapped", "empty", "short", "plain"],
)
def test_moved_and_missing_chunks_are_noticed(
    memory: MemoryStore, store: EncryptingStore, alter: Callable[[bytes], bytes]
) -> None:
    """Chunks left out, swapped, repeated or cut are never given as the object."""
    put(store, LARGE)
    tampered(memory, alter)
    with pytest.raises(ChecksumMismatch, match=KEY):
        get(store)


def test_any_altered_byte_is_noticed(memory: MemoryStore, store: EncryptingStore) -> None:
    """Whichever byte is altered, header or chunk, the object is not given."""
    put(store, LARGE)
    right, dice = get(memory), random.Random(3)
    places = [*range(HEADER_BYTES), len(right) - 1, *(dice.randrange(len(right)) for _ in range(20))]
    for at in places:
        altered = bytearray(right)
        altered[at] ^= 1 << dice.randrange(8)
        memory.damage(KEY, bytes(altered))
        with pytest.raises((ChecksumMismatch, EncryptionKeyMissing)):
            get(store)
    memory.damage(KEY, right)
    assert get(store) == LARGE


def test_an_object_under_another_key_is_noticed(memory: MemoryStore, store: EncryptingStore) -> None:
    """Whoever puts one object's bytes under another's key cannot pass it off."""
    put(store)
    put(store, SMALL, "other")
    memory.damage("other", get(memory))
    with pytest.raises(ChecksumMismatch, match="other"):
        get(store, "other")


def test_what_was_added_is_not_read(memory: MemoryStore) -> None:
    """Chunks that somebody adds are never given, and an object with another size than was sealed is not found whole."""
    store = EncryptingStore(memory, RING)
    put(store, LARGE)
    longer = get(memory) + get(memory)[-CHUNK:]
    memory.damage(KEY, longer)
    assert get(store) == LARGE
    grown = MemoryStore()
    put(grown, longer)
    with pytest.raises(ChecksumMismatch):
        EncryptingStore(grown, RING).find(KEY)


# ---- keys ----------------------------------------------------------------------------------------------------------


def test_old_objects_are_read_after_a_rotation(memory: MemoryStore) -> None:
    """What was stored under the old key is read with it, what comes is stored under the new one."""
    put(EncryptingStore(memory, OLD), key="old")
    both = EncryptingStore(memory, RING)
    put(both, key="new")
    assert get(both, "old") == get(both, "new") == SMALL
    with pytest.raises(EncryptionKeyMissing, match="2026"):
        get(EncryptingStore(memory, OLD), "new")


def test_another_key_of_the_same_name_opens_nothing(memory: MemoryStore, store: EncryptingStore) -> None:
    """A ring whose key has the right name and other bytes is noticed."""
    put(store)
    with pytest.raises(ChecksumMismatch, match="sealed"):
        get(EncryptingStore(memory, KeyRing.generate("2026")))


def test_a_put_is_repeatable_across_a_rotation(memory: MemoryStore) -> None:
    """A put whose answer was lost before the ring turned to a new key is the same object afterwards."""
    first = put(EncryptingStore(memory, OLD), LARGE)
    store = EncryptingStore(memory, RING)
    assert put(store, LARGE) == first
    with pytest.raises(KeyTaken):
        put(store, SMALL)
    assert get(store) == LARGE


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=len)
def test_a_key_with_somebody_elses_bytes_is_taken(memory: MemoryStore, store: EncryptingStore, data: bytes) -> None:
    """An object that was not encrypted by us keeps its key."""
    put(memory, data)
    with pytest.raises(KeyTaken):
        put(store)


def test_a_cold_object_can_be_put_again(store: EncryptingStore) -> None:
    """A put that is repeated sends the same bytes: a store that cannot read them any more knows them all the same."""
    cold = EncryptingStore(MemoryStore(is_cold=True), RING)
    assert put(cold, LARGE) == put(cold, LARGE)


# ---- finding and deleting ------------------------------------------------------------------------------------------


def test_a_cold_object_is_found_without_digest(memory: MemoryStore) -> None:
    """Size and generation of a cold object are known, its digest is sealed in it."""
    memory = MemoryStore(is_cold=True)
    store = EncryptingStore(memory, RING)
    stored = put(store, LARGE)
    assert store.find(KEY) == replace(stored, sha256=None)
    with pytest.raises(NotThawed):
        get(store)
    memory.request_thaw([KEY], 1)
    memory.finish_thaws()
    assert store.find(KEY) == stored


def test_a_cold_object_is_deleted_by_its_generation() -> None:
    """Destroying does not need a thaw: the generation names the object; another one keeps it."""
    store = EncryptingStore(MemoryStore(is_cold=True), RING)
    order = warrant(put(store, LARGE), LARGE)
    with pytest.raises(ObjectDiffers):
        store.delete(replace(order, generation="g99"))
    assert store.delete(order) is Deletion.DELETED


def test_a_held_object_stays(memory: MemoryStore, store: EncryptingStore) -> None:
    """A hold of the store inside holds."""
    order = warrant(put(store))
    memory.set_hold(KEY)
    with pytest.raises(ObjectHeld):
        store.delete(order)


@pytest.mark.parametrize("at", [HEADER_BYTES - 1, HEADER_BYTES + 5, -1])
def test_damage_keeps_an_object(at: int, tmp_path: Path) -> None:
    """A folder knows no digest: all is read and decrypted before it goes; damage keeps it, unless accepted."""
    files = FileStore.create(OsDisk(), tmp_path)
    store = EncryptingStore(files, RING)
    order = warrant(put(store, LARGE), LARGE)
    (path,) = [path for path in tmp_path.glob("*/*") if path.is_file()]
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ObjectDiffers):
        store.delete(order)
    assert store.delete(order, accept_damaged=True) is Deletion.DELETED_DAMAGED
    assert files.find(KEY) is None


def test_a_damaged_header_keeps_an_object(memory: MemoryStore, store: EncryptingStore) -> None:
    """In a store that knows digests, a header that does not open keeps the object, unless damage is accepted."""
    order = warrant(put(store))
    tampered(memory, lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:])
    with pytest.raises(ObjectDiffers):
        store.delete(order)
    assert store.delete(order, accept_damaged=True) is Deletion.DELETED_DAMAGED


def test_a_source_that_changes_is_noticed(store: EncryptingStore, memory: MemoryStore) -> None:
    """The source is read twice; one that is another the second time is refused, and the key stays free."""

    class Changing(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.getbuffer()[-1] ^= 1
            return super().seek(offset, whence)

    with pytest.raises(ChecksumMismatch):
        store.put(KEY, Changing(LARGE), size_bytes=len(LARGE), sha256=sha256(LARGE))
    assert memory.find(KEY) is None


# ---- the key ring --------------------------------------------------------------------------------------------------


def test_a_ring_is_saved_and_loaded(tmp_path: Path) -> None:
    """A ring comes back as it was; only its owner may read the file; no draft is left."""
    path = tmp_path / "keys.json"
    OLD.save(OsDisk(), path)
    RING.save(OsDisk(), path)
    assert KeyRing.load(path) == RING
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_a_ring_never_loses_a_key(tmp_path: Path) -> None:
    """A ring that lacks a key of the saved one, or has another under its name, is not saved over it."""
    path = tmp_path / "keys.json"
    RING.save(OsDisk(), path)
    for other in (OLD, KeyRing.generate("2027"), KeyRing("2026", {**RING.keys, "2025": bytes(32)})):
        with pytest.raises(StoreRefused, match="would lose"):
            other.save(OsDisk(), path)
    assert KeyRing.load(path) == RING
    with pytest.raises(StoreRefused, match="already"):
        RING.with_key("2025")


def test_a_ring_shows_no_key() -> None:
    """What a log would have of a ring names its active key and holds no key."""
    assert "2026" in repr(RING)
    assert all(repr(key) not in repr(RING) for key in RING.keys.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"active": "a", "keys": {}}',
        '{"active": "a", "keys": {"a": "c2hvcnQ="}}',
        '{"active": "a", "keys": {"a": "not base64"}}',
        '{"active": "a", "keys": {"a": 5}}',
        '{"active": "a", "keys": ["a"]}',
        '{"active": "a b", "keys": {"a b": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}',
        '{"active": "é", "keys": {}}',
    ],
)
def test_what_is_no_ring_is_refused(text: str, tmp_path: Path) -> None:
    """A file that is no key ring is refused, and the refusal shows nothing of it."""
    path = tmp_path / "keys.json"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(StoreRefused) as caught:
        KeyRing.load(path)
    assert "c2hvcnQ" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_ring_that_others_may_touch_is_refused(mode: int, tmp_path: Path) -> None:
    """Keys that others may read or change protect nothing."""
    path = tmp_path / "keys.json"
    RING.save(OsDisk(), path)
    path.chmod(mode)
    with pytest.raises(StoreRefused, match="chmod 600"):
        KeyRing.load(path)
    with pytest.raises(StoreRefused, match=r"keys\.json"):
        KeyRing.load(tmp_path / "absent" / "keys.json")


def test_a_ring_in_a_file_is_the_one_that_is_there_now(tmp_path: Path) -> None:
    """A ring that turned to a new key is read again; one that went or is open to others takes nothing away."""
    path = tmp_path / "ring.json"
    rings = KeyRingFile(path)
    with pytest.raises(StoreRefused, match="No such file"):
        rings.current()
    OLD.save(OsDisk(), path)
    assert rings.current() == OLD.current() == OLD
    assert rings.current() is rings.current()
    RING.save(OsDisk(), path)
    assert rings.current() == RING
    path.chmod(0o644)
    assert rings.current() == RING
    path.unlink()
    assert rings.current() == RING


def test_a_store_turns_to_the_key_that_is_active_now(memory: MemoryStore, tmp_path: Path) -> None:
    """What is put after a rotation has the new key, without a new store; what was put before is read with the old."""
    path = tmp_path / "ring.json"
    OLD.save(OsDisk(), path)
    store = EncryptingStore(memory, KeyRingFile(path))
    put(store, key="before")
    RING.save(OsDisk(), path)
    put(store, key="after")
    assert [get(memory, key)[8:12] for key in ("before", "after")] == [b"2025", b"2026"]
    assert get(store, "before") == get(store, "after") == SMALL
