"""Searches kept under names that tell nothing, for who made them, and not for ever."""

from __future__ import annotations

import re

from archive.console.searches import MOST, Searches


def test_a_search_is_recalled_by_who_made_it() -> None:
    """Under a name that holds nothing of it; nobody else gets it, and no made-up name leads anywhere."""
    searches = Searches()
    name = searches.keep("anne", {"number": "PID1"})
    assert re.fullmatch(r"[\w-]{16}", name) and name != searches.keep("anne", {"number": "PID1"})
    assert searches.recall("anne", name) == {"number": "PID1"}
    assert searches.recall("olga", name) is None
    for made_up in ("", "x", name[:-1], name + "x"):
        assert searches.recall("anne", made_up) is None
        assert searches.recall("", made_up) is None


def test_the_oldest_are_forgotten() -> None:
    """However many there are, memory does not grow; neither does it by long texts."""
    searches = Searches()
    first, second = (searches.keep("anne", {"number": str(number)}) for number in (1, 2))
    for number in range(MOST - 1):
        last = searches.keep("olga", {"number": str(number)})
    assert searches.recall("anne", first) is None
    assert searches.recall("anne", second) == {"number": "2"}
    assert searches.recall("olga", last) == {"number": str(MOST - 2)}
    long = searches.recall("anne", searches.keep("anne", {"text": "x" * 1_000_000}))
    assert long is not None and len(long["text"]) == 1000


def test_what_is_kept_is_not_printed() -> None:
    """A search is about a patient: no log or traceback shows it."""
    searches = Searches()
    searches.keep("anne", {"number": "PID1"})
    assert "PID1" not in repr(searches)
