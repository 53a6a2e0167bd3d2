"""Long work: started once, looked at by who started it, ended whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from archive.errors import IndexUnavailable, NoSuchResource, TooManyRequests
from archive.services.background import Background, Work
from archive.services.people import Person
from archive.services.reports import Progress
from tests.unit.services.shelf import Clock

ANNE = Person("anne", "Anne", frozenset({"archivist"}))
OLGA = Person("olga", "Olga", frozenset({"operator"}))


@pytest.fixture
def background() -> Iterator[Background]:
    """Lend what runs work."""
    background = Background(Clock())
    yield background
    background.stop()


def ended(work: Work) -> Work:
    """Return work once it is over."""
    for _ in range(500):
        if work.is_over:
            return work
        threading.Event().wait(0.01)
    raise AssertionError("the work does not end")


def test_work_tells_how_far_it_is_and_what_came_of_it(background: Background) -> None:
    """Progress while it runs, its result afterwards; found again under its number."""
    go, half = threading.Event(), threading.Event()

    def run(progress: Progress) -> str:
        progress(1, 2)
        half.set()
        assert go.wait(5)
        return "done"

    work = background.start("check", "", ANNE, run)
    assert half.wait(5)
    assert (work.done, work.total, work.is_over) == (1, 2, False)
    assert background.get(work.work_id, ANNE) is work
    go.set()
    assert ended(work).result == "done"
    assert work.ended_at is not None


def test_the_same_work_is_not_started_twice_at_once(background: Background) -> None:
    """A second click is led to the first one's work; another subject, or a later start, is work of its own."""
    go = threading.Event()
    first = background.start("destruction", "D-1", ANNE, lambda _: go.wait(5))
    assert background.start("destruction", "D-1", ANNE, lambda _: None) is first
    other = background.start("destruction", "D-2", ANNE, lambda _: None)
    assert other is not first
    go.set()
    ended(first)
    assert background.start("destruction", "D-1", ANNE, lambda _: None) is not first


def test_work_is_shown_to_whoever_started_it_alone(background: Background) -> None:
    """Another person, and a number that nobody has: nothing here."""
    work = background.start("check", "", ANNE, lambda _: None)
    for number, person in ((work.work_id, OLGA), ("nothing", ANNE)):
        with pytest.raises(NoSuchResource):
            background.get(number, person)


def raising(error: Exception) -> Callable[[Progress], object]:
    """Return work that fails."""

    def run(_: Progress) -> object:
        raise error

    return run


def test_work_that_fails_is_over_and_says_why(background: Background) -> None:
    """An error of ours is kept for the page; of any other only that there was one."""
    refused = ended(background.start("check", "1", ANNE, raising(IndexUnavailable(reason="away"))))
    broken = ended(background.start("check", "2", ANNE, raising(ZeroDivisionError())))
    assert isinstance(refused.error, IndexUnavailable) and not refused.is_broken
    assert broken.error is None and broken.is_broken


def test_there_is_a_limit_to_what_waits(background: Background) -> None:
    """The ninth piece at once is refused, and taken when others are over."""
    go = threading.Event()
    works = [background.start("check", str(number), ANNE, lambda _: go.wait(5)) for number in range(8)]
    with pytest.raises(TooManyRequests):
        background.start("check", "9", ANNE, lambda _: None)
    go.set()
    for work in works:
        ended(work)
    assert background.start("check", "9", ANNE, lambda _: None).subject == "9"


def test_the_end_waits_for_no_work_and_begins_none(background: Background) -> None:
    """What runs is left to itself in a thread that dies with the process; what waits is not begun."""
    go = threading.Event()
    works = [background.start("check", str(number), ANNE, lambda _: go.wait(5)) for number in range(4)]
    background.stop()
    threads = [thread for thread in threading.enumerate() if thread.name == "background"]
    assert threads and all(thread.daemon for thread in threads)
    go.set()
    for thread in threads:
        thread.join(5)
    assert sum(work.is_over for work in works) <= 2


def test_only_the_last_works_are_remembered(background: Background) -> None:
    """Memory does not grow: what is long over is forgotten."""
    first = ended(background.start("check", "first", ANNE, lambda _: None))
    for number in range(205):
        ended(background.start("check", str(number), ANNE, lambda _: None))
    with pytest.raises(NoSuchResource):
        background.get(first.work_id, ANNE)
