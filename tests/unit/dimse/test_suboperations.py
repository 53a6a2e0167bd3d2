"""How objects leave in sub-operations: in which syntax, in which pieces, with how many system calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from archive.dimse import command as dimse
from archive.dimse.association import Association
from archive.dimse.get import GetHandler
from archive.dimse.suboperations import WINDOW_BYTES
from tests.objects import ct_dataset, dataset_bytes
from tests.unit.dimse.retrieving import (
    BIG,
    CT,
    EXPLICIT,
    GET,
    IMPLICIT,
    STUDY,
    Serving,
    Store,
    connected,
    fill,
    get,
    open_store,
    uid,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty archive."""
    with open_store(tmp_path / "home") as store:
        yield store


@pytest.mark.parametrize("stored", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("accepted", [EXPLICIT, IMPLICIT, BIG])
def test_an_object_is_converted_when_it_must_be(store: Store, stored: str, accepted: str) -> None:
    """Every pair of native syntaxes: the bytes as they are when it is the same, else the same values in the other."""
    ds = ct_dataset(1, PixelData=None)
    raw = store.put(ds, syntax=stored)
    asked = get(store, (GET, CT._replace(transfer_syntax=accepted)))
    assert asked.counts == (None, 1, 0, 0)
    ((_, data),) = asked.stores
    assert (data == raw) == (stored == accepted)
    assert read(data, accepted) == ds


def read(raw: bytes, syntax: str) -> Dataset:
    """Return the data set pydicom reads."""
    return read_dataset(BytesIO(raw), syntax == IMPLICIT, syntax != BIG)


def test_the_stored_syntax_is_preferred(store: Store) -> None:
    """Of several accepted contexts the one of the stored bytes is used, wherever it stands."""
    raw = store.put(ct_dataset(1), syntax=BIG)
    contexts = [
        GET,
        CT,
        CT._replace(context_id=5, transfer_syntax=IMPLICIT),
        CT._replace(context_id=7, transfer_syntax=BIG),
    ]
    assert get(store, contexts).objects == {uid(1): raw}


def test_conversion_prefers_what_loses_least(store: Store) -> None:
    """When the stored syntax was not accepted, explicit little endian is taken before implicit."""
    store.put(ct_dataset(1, PixelData=None), syntax=BIG)
    implicit = CT._replace(context_id=5, transfer_syntax=IMPLICIT)
    ((_, data),) = get(store, [GET, implicit, CT]).stores
    assert data == dataset_bytes(ct_dataset(1, PixelData=None), EXPLICIT)


def test_what_cannot_be_converted_fails_alone(store: Store) -> None:
    """A private syntax the peer does not accept is a failed sub-operation that says so; the next object arrives."""
    raw = store.put(dataset_bytes(ct_dataset(1)), uid=uid(1), syntax="1.2.3.4.5")
    other = store.put(ct_dataset(2))
    asked = get(store)
    assert asked.objects == {uid(2): other}
    assert asked.failed_uids == [uid(1)]
    assert str(asked.final[dimse.ERROR_COMMENT]).startswith("Neither 1.2.3.4.5 nor a conversion is accepted")
    assert get(store, (GET, CT, CT._replace(context_id=5, transfer_syntax="1.2.3.4.5"))).objects[uid(1)] == raw


def test_an_object_that_does_not_convert_fails_alone(store: Store) -> None:
    """An object whose pixels are not what its syntax promises cannot be converted; the next one arrives."""
    store.put(ct_dataset(1, PixelData=bytes(100)), syntax="1.2.840.10008.1.2.4.80")
    other = store.put(ct_dataset(2))
    asked = get(store)
    assert asked.objects == {uid(2): other}
    assert (asked.counts, asked.failed_uids) == ((None, 1, 1, 0), [uid(1)])


def test_converted_objects_leave_no_file(store: Store) -> None:
    """The file an object is converted into never has a name."""
    store.put(ct_dataset(1), syntax=BIG)
    before = sorted(store.rig.root.rglob("*"))
    assert get(store).counts == (None, 1, 0, 0)
    assert sorted(path for path in store.rig.root.rglob("*") if "index.db" not in path.name) == [
        path for path in before if "index.db" not in path.name
    ]


@pytest.mark.parametrize("client_max", [4096, 16_384, 131_072, 0])
@pytest.mark.parametrize("extra", [0, -2, 2, 5_000_000])
def test_a_large_object_leaves_in_windows(store: Store, client_max: int, extra: int) -> None:
    """Objects around and above the window arrive whole, cut to the peer's PDU size, next to small ones."""
    pixels = bytes(range(256)) * ((WINDOW_BYTES + extra) // 256) + bytes((WINDOW_BYTES + extra) % 256)
    large = store.put(ct_dataset(1, PixelData=pixels))
    small = store.put(ct_dataset(2))
    asked = get(store, client_max=client_max)
    assert asked.objects == {uid(1): large, uid(2): small}


def test_an_object_of_odd_length_is_sent_even(store: Store) -> None:
    """Fragments are even (PS3.8): behind an object of odd length comes one zero, and real peers do not abort."""
    raw = dataset_bytes(ct_dataset(2)) + b"\xfc\xff\xfc\xffOB\x00\x00\x03\x00\x00\x00abc"
    assert len(raw) % 2
    full = store.put(ct_dataset(1, PixelData=b"\xff" * 1024))
    store.put(raw, uid=uid(2))
    assert get(store).objects == {uid(1): full, uid(2): raw + b"\0"}


def counted_sends(association: Association, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that will hold how many bytes each send of the archive had."""
    sizes: list[int] = []
    send = association.transport.send

    def counting(buffers: Sequence[bytes | memoryview], *, what: str) -> None:
        sizes.append(sum(map(len, buffers)))
        send(buffers, what=what)

    monkeypatch.setattr(association.transport, "send", counting)
    return sizes


def test_an_object_and_the_response_before_it_leave_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """N objects cost N + 1 sends: each goes with its command and the pending response for the one before."""
    stored = fill(store, 20)
    with connected((GET, CT), client_max=1 << 20) as (association, client):
        sizes = counted_sends(association, monkeypatch)
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        asked = client.converse()
        assert serving.join() is None
    assert asked.objects == stored
    assert len(asked.pending) == 20
    assert len(sizes) == 21
    assert all(size > len(raw) for size, raw in zip(sizes, stored.values(), strict=False))


def test_responses_are_not_held_back_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When many objects in a row cannot be sent, the requester hears of it before the end."""
    fill(store, 40)
    for number in range(1, 41):
        store.path(uid(number)).unlink()
    with connected((GET, CT)) as (association, client):
        sizes = counted_sends(association, monkeypatch)
        serving = Serving(association, GetHandler(store.retrieve).handle)
        client.ask(dimse.C_GET_RQ, STUDY)
        asked = client.converse()
        assert serving.join() is None
    assert len(asked.pending) == 40
    assert len(sizes) == 2
