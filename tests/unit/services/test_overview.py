"""Percentiles of a histogram and the pace of growth, as the overview shows them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from archive.services.drops import DayCompared
from archive.services.measuring import FIRST, HOT, WHOLE, Meter
from archive.services.overview import GrowthDay, Stream, _promises, bytes_a_day

MONDAY = date(2026, 11, 23)


def measured(*seconds: float) -> Meter:
    """Return a meter that measured first images."""
    meter = Meter()
    for each in seconds:
        meter.add((FIRST, HOT), each, is_good=each <= 5)
    return meter


@pytest.mark.parametrize(
    ("seconds", "percentiles"),
    [
        ((0.02,), [0.025, 0.025, 0.025]),
        ((0.02,) * 95 + (4.0,) * 5, [0.025, 0.025, 5.0]),
        ((0.02,) * 50 + (1000.0,) * 50, [0.025, None, None]),
    ],
)
def test_percentiles_are_the_bound_that_they_fall_below(
    seconds: tuple[float, ...], percentiles: list[float | None]
) -> None:
    """Half, nineteen in twenty, all but one in a hundred were at most so slow; beyond the last bound there is none."""
    (promise,) = _promises(measured(*seconds))
    assert promise.percentiles == percentiles
    assert (promise.total, promise.limit_seconds) == (len(seconds), 5.0)


def test_what_never_came_counts_as_not_kept_and_has_no_time() -> None:
    """A retrieve that failed altogether has no percentile."""
    meter = Meter()
    meter.add((WHOLE, HOT), None, is_good=False)
    (promise,) = _promises(meter)
    assert (promise.percentiles, promise.kept, promise.total) == ([None, None, None], 0, 1)


def test_growth_is_the_average_of_whole_days() -> None:
    """Today has not ended and does not count; without a day before there is no pace."""
    days = [GrowthDay(MONDAY + timedelta(days=number), 1, size) for number, size in enumerate((100, 300, 9999))]
    assert bytes_a_day(days) == 200
    assert bytes_a_day(days[:1]) == 0


def test_a_drop_is_todays_or_yesterdays() -> None:
    """One that is over a while ago is history."""
    days = [DayCompared("CHU", "MR", MONDAY - timedelta(days=back), 24, 1, 9.0, None, back == 1) for back in range(4)]
    assert Stream("CHU", "MR", days).is_drop
    assert not Stream("CHU", "MR", [*days[2:], days[1]]).is_drop
