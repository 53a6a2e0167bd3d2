"""Retrieves are measured where objects leave: first image, whole, and whether the promise was kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from archive.errors import FixityError
from archive.services.measuring import BOUNDS, FIRST, HOT, PROBE, WHOLE, Histogram, Meter, whole_limit
from archive.services.retrieve import Retrieve, Selection
from tests.objects import ROOT, ct_dataset
from tests.unit.services.shelf import Shelf, open_shelf

STUDY = Selection("STUDY", studies=(f"{ROOT}.1",))


@dataclass
class Watch:
    """A clock of seconds that is moved by hand."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    """Lend a clock."""
    return Watch()


@pytest.fixture
def meter(watch: Watch) -> Meter:
    """Lend a meter on that clock."""
    return Meter(watch)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Lend a shelf with a study of three instances."""
    with open_shelf(tmp_path) as lent:
        for number in (1, 2, 3):
            lent.put(ct_dataset(number))
        yield lent


def give(retrieve: Retrieve, watch: Watch, *, seconds: float, by: str = "WS", most: int = 3) -> None:
    """Give a study as a courier does, each object taking so long."""
    instances = retrieve.find(STUDY)
    with retrieve.ahead(instances, by=by) as lent:
        for instance in instances[:most]:
            stored = lent.open(instance)
            content = lent.read(stored)
            content.read_into(memoryview(bytearray(content.size_bytes)), 0)
            watch.seconds += seconds
            content.close()


def test_first_and_whole_are_timed(shelf: Shelf, watch: Watch, meter: Meter) -> None:
    """From the beginning of the retrieve to the end of its first object, and of its last."""
    give(replace(shelf.retrieve, meter=meter), watch, seconds=2.0)
    times = {name: (total, sum(counts)) for name, (counts, total) in meter.times().items()}
    assert times == {(FIRST, HOT): (2.0, 1), (WHOLE, HOT): (6.0, 1)}
    assert meter.kept() == {(FIRST, HOT): (1, 1), (WHOLE, HOT): (1, 1)}


@pytest.mark.parametrize(("seconds", "first", "whole"), [(5.0, 1, 1), (5.1, 0, 1), (20.0, 0, 1), (21.0, 0, 0)])
def test_the_promise_is_five_seconds_and_a_minute(
    shelf: Shelf, watch: Watch, meter: Meter, seconds: float, first: int, whole: int
) -> None:
    """Both limits are still good."""
    give(replace(shelf.retrieve, meter=meter), watch, seconds=seconds)
    assert meter.kept() == {(FIRST, HOT): (first, 1), (WHOLE, HOT): (whole, 1)}


def test_an_object_that_cannot_be_given_breaks_the_promise(shelf: Shelf, watch: Watch, meter: Meter) -> None:
    """However quick the others were; without any, there is no time to tell, and it counts all the same."""
    for path in sorted(shelf.root.rglob("*.dcm"))[1:]:
        path.unlink()
    retrieve = replace(shelf.retrieve, meter=meter)
    with pytest.raises(FixityError):
        give(retrieve, watch, seconds=0.1)
    assert meter.kept() == {(FIRST, HOT): (1, 1)}
    instances = retrieve.find(STUDY)
    with retrieve.ahead(instances, by="WS") as lent:
        for instance in instances[1:]:
            with pytest.raises(FixityError):
                lent.open(instance)
    assert meter.kept() == {(FIRST, HOT): (1, 2), (WHOLE, HOT): (0, 1)}
    assert meter.times().keys() == {(FIRST, HOT)}


def test_a_file_that_ends_early_was_not_given(shelf: Shelf, meter: Meter) -> None:
    """It opened, and could not be read."""
    retrieve = replace(shelf.retrieve, meter=meter)
    instances = retrieve.find(STUDY)
    with retrieve.ahead(instances, by="WS") as lent:
        stored = lent.open(instances[0])
        content = lent.read(stored)
        stored.path.write_bytes(b"")
        with pytest.raises(FixityError):
            content.read_into(memoryview(bytearray(content.size_bytes)), 0)
        content.close()
    assert meter.times() == {}


def test_who_leaves_half_way_counts_for_the_first_image_alone(shelf: Shelf, watch: Watch, meter: Meter) -> None:
    """How long the whole would have taken nobody knows."""
    retrieve = replace(shelf.retrieve, meter=meter)
    with pytest.raises(KeyError), retrieve.ahead([], by="WS") as lent:
        content = lent.read(lent.open(retrieve.find(STUDY)[0]))
        content.close()
        content.close()
        raise KeyError
    assert meter.kept() == {(FIRST, HOT): (1, 1)}


def test_what_gives_nothing_is_not_counted(shelf: Shelf, meter: Meter) -> None:
    """An empty answer is quick, and no merit."""
    with replace(shelf.retrieve, meter=meter).ahead([], by="WS"):
        pass
    assert meter.kept() == {}


def test_the_probe_is_nobodys_wait(shelf: Shelf, watch: Watch, meter: Meter) -> None:
    """Its retrieves are measured by itself."""
    give(replace(shelf.retrieve, meter=meter), watch, seconds=2.0, by=PROBE)
    assert meter.kept() == {}


def test_more_images_may_take_longer() -> None:
    """In proportion, never less than a minute."""
    assert [whole_limit(images) for images in (1, 600, 601, 1200)] == [60, 60, pytest.approx(60.1), 120]


@given(st.lists(st.floats(0, 1000)))
def test_a_histogram_counts_everything_once(times: list[float]) -> None:
    """Each in the first bucket whose bound is not below it."""
    histogram = Histogram()
    for seconds in times:
        histogram.add(seconds)
    for number, bound in enumerate(BOUNDS):
        assert sum(histogram.counts[: number + 1]) == sum(seconds <= bound for seconds in times)
    assert sum(histogram.counts) == len(times)
