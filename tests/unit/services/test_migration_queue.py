"""The walk through the studies that are due: it goes on where it was, and ends a look in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from archive.services.migration_queue import MigrationQueue

DAY = date(2026, 11, 27)


class Walk:
    """Ten studies, two a page, of which one goes; ``asked`` is after what each look began."""

    def __init__(self, going: str) -> None:
        self.going = going
        self.asked: list[str] = []

    def next_due(self, _on: date, after: tuple[str, str], /) -> Sequence[tuple[tuple[str, str], bool]]:
        """Return the next page."""
        self.asked.append(after[1])
        names = [f"1.{number}" for number in range(10)]
        rest = [name for name in names if name > after[1]]
        return [((name, name), name == self.going) for name in rest[:2]]


def test_a_look_ends_after_some_pages_and_the_next_goes_on() -> None:
    """Nothing was found yet, and nothing is looked at twice."""
    walk = Walk("1.7")
    queue = MigrationQueue(walk, lambda: 0.0, pages=2)
    assert [list(queue.due(DAY, 3)) for _ in range(2)] == [[], ["1.7"]]
    assert walk.asked == ["", "1.1", "1.3", "1.5"]


def test_a_look_without_a_bound_goes_to_the_end() -> None:
    """What goes is found in one call."""
    assert list(MigrationQueue(Walk("1.9"), lambda: 0.0).due(DAY, 3)) == ["1.9"]
