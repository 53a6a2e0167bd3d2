"""Figures that are kept a while and renewed behind whoever looks."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from archive.errors import IndexUnavailable
from archive.services.snapshots import Snapshot
from tests.unit.services.shelf import Clock

KEPT = timedelta(minutes=5)


class Counter:
    """Counts how often it was asked; ``failing`` makes it raise."""

    def __init__(self) -> None:
        self.asked = 0
        self.failing = False
        self.called = threading.Event()

    def __call__(self) -> int:
        """Return how often it was asked."""
        self.asked += 1
        self.called.set()
        if self.failing:
            raise IndexUnavailable(reason="away")
        return self.asked


def renewed(snapshot: Snapshot[int], value: int) -> bool:
    """Tell whether a snapshot comes to a value within two seconds."""
    for _ in range(200):
        if snapshot.get().value == value:
            return True
        threading.Event().wait(0.01)
    return False


def test_a_value_is_worked_out_once_and_kept() -> None:
    """Until it is too old, everybody gets the same, with its moment."""
    clock, counter = Clock(), Counter()
    snapshot = Snapshot(counter, clock, KEPT)
    first = snapshot.get()
    clock.advance(minutes=5)
    assert snapshot.get() == first
    assert counter.asked == 1


def test_an_old_value_is_given_and_renewed_behind() -> None:
    """Nobody waits but the first; the new one is there a moment later."""
    clock, counter = Clock(), Counter()
    snapshot = Snapshot(counter, clock, KEPT)
    snapshot.get()
    clock.advance(minutes=6)
    assert snapshot.get().value == 1
    assert renewed(snapshot, 2)
    assert snapshot.get().at == clock()


def test_a_renewal_that_fails_leaves_the_old_value() -> None:
    """The next look tries again; only the first look ever raises."""
    clock, counter = Clock(), Counter()
    counter.failing = True
    snapshot = Snapshot(counter, clock, KEPT)
    with pytest.raises(IndexUnavailable):
        snapshot.get()
    counter.failing = False
    assert snapshot.get().value == 2
    clock.advance(minutes=6)
    counter.failing = True
    counter.called.clear()
    assert snapshot.get().value == 2
    assert counter.called.wait(2)
    counter.failing = False
    assert snapshot.get().value == 2
    assert renewed(snapshot, counter.asked) or counter.asked > 3


def test_a_value_that_was_begun_ahead_is_waited_for_and_not_made_twice() -> None:
    """Warming before anybody asks, twice, and asking while it goes on come to one value."""
    go, counter = threading.Event(), Counter()

    def slowly() -> int:
        assert go.wait(5)
        return counter()

    snapshot = Snapshot(slowly, Clock(), KEPT)
    snapshot.warm()
    snapshot.warm()
    asked: list[int] = []
    reader = threading.Thread(target=lambda: asked.append(snapshot.get().value))
    reader.start()
    go.set()
    reader.join(5)
    assert asked == [1]


def test_who_will_not_wait_gets_nothing_at_first_and_the_value_then() -> None:
    """The first look begins the work and goes on; later ones have the value, renewed like any other."""
    clock, counter = Clock(), Counter()
    snapshot = Snapshot(counter, clock, KEPT)
    assert snapshot.ready() is None
    assert counter.called.wait(2)
    assert renewed(snapshot, 1)
    taken = snapshot.ready()
    assert taken is not None and taken.value == 1
    clock.advance(minutes=6)
    assert snapshot.ready() == taken
    assert renewed(snapshot, 2)


def test_many_who_ask_first_wait_for_one_answer() -> None:
    """A crowd does not have it worked out many times."""
    counter, clock = Counter(), Clock()
    snapshot = Snapshot(counter, clock, KEPT)
    crowd = [threading.Thread(target=snapshot.get) for _ in range(8)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert counter.asked == 1
