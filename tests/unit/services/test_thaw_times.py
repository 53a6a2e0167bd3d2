"""Estimates of thaws by storage class."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archive.services.thaw_times import ThawTime, thaw_time


@pytest.mark.parametrize(
    ("storage_class", "tier", "words", "longest_hours"),
    [
        ("GLACIER", "Standard", "3-5 h", 5),
        ("GLACIER", "Expedited", "1-5 min", 5 / 60),
        ("GLACIER", "Bulk", "5-12 h", 12),
        ("DEEP_ARCHIVE", "Standard", "up to 12 h", 12),
        ("DEEP_ARCHIVE", "Bulk", "up to 48 h", 48),
    ],
)
def test_what_the_provider_says(storage_class: str, tier: str, words: str, longest_hours: float) -> None:
    """Each class and retrieval tier of Amazon's table has its time."""
    time = thaw_time(storage_class, tier)
    assert time is not None
    assert (time.words, time.longest) == (words, timedelta(hours=longest_hours))
    assert time.shortest <= time.longest


@pytest.mark.parametrize(
    ("storage_class", "tier"), [(None, "Standard"), ("STANDARD_IA", "Standard"), ("DEEP_ARCHIVE", "Expedited")]
)
def test_nothing_is_made_up(storage_class: str | None, tier: str) -> None:
    """A class nobody says anything about, or a tier it does not have, has no estimate."""
    assert thaw_time(storage_class, tier) is None


def test_words_for_any_time() -> None:
    """Less than a whole unit is only said to be up to it."""
    assert ThawTime(timedelta(seconds=5), timedelta(minutes=2)).words == "up to 2 min"
