"""The window opens and closes by the wall clock of its zone; a share of the time is kept to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from tiering.budget import DutyCycle, GiveWay, TimeWindow

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def window(text: str, zone: str = "UTC") -> TimeWindow:
    """Return a window that is one."""
    found = TimeWindow.parse(text, zone)
    assert found is not None
    return found


def at(hour: int, minute: int = 0, *, month: int = 6, day: int = 15) -> datetime:
    """Return a moment of 2026 in UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hour", "minute", "is_open"), [(7, 59, False), (8, 0, True), (11, 59, True), (12, 0, False), (0, 0, False)]
)
def test_a_window_within_the_day(hour: int, minute: int, is_open: bool) -> None:
    """It opens with its first minute and is closed with its last."""
    assert window("08:00-12:00").is_open(at(hour, minute)) is is_open


@pytest.mark.parametrize(
    ("hour", "minute", "is_open"), [(19, 59, False), (20, 0, True), (23, 59, True), (0, 0, True), (6, 0, False)]
)
def test_a_window_across_midnight(hour: int, minute: int, is_open: bool) -> None:
    """It goes on into the next day."""
    assert window("20:00-06:00").is_open(at(hour, minute)) is is_open


def test_it_is_the_time_of_the_zone() -> None:
    """Paris is two hours ahead of UTC in summer and one in winter."""
    paris = window("20:00-06:00", "Europe/Paris")
    assert paris.is_open(at(18, 30))
    assert not paris.is_open(at(18, 30, month=1))
    assert paris.is_open(at(19, 30, month=1))


def test_the_nights_when_clocks_change() -> None:
    """The wall clock counts: on 25 October 2026 the window lasts eleven hours, on 29 March nine."""

    def hours(start: datetime) -> int:
        steps = [start + timedelta(minutes=10 * step) for step in range(6 * 24)]
        return sum(window("20:00-06:00", "Europe/Paris").is_open(moment) for moment in steps)

    assert hours(at(12, month=10, day=24)) == 66
    assert hours(at(12, month=3, day=28)) == 54
    assert hours(at(12)) == 60


def days(text: str, *opening: int) -> TimeWindow:
    """Return a window that opens on some days of the week, 0 is Monday, in Paris."""
    found = TimeWindow.parse(text, "Europe/Paris", frozenset(opening))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("day", "hour", "is_open"),
    [(19, 21, True), (20, 3, True), (20, 5, False), (20, 21, False), (18, 21, False), (19, 3, False), (21, 3, False)],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(day: int, hour: int, is_open: bool) -> None:
    """Friday's night (19 June 2026) goes on into Saturday morning, and Thursday's does not begin."""
    assert days("22:00-06:00", 4).is_open(at(hour, day=day)) is is_open


@pytest.mark.parametrize(("day", "is_open"), [(19, False), (20, True), (21, True), (22, False)])
def test_whole_days(day: int, is_open: bool) -> None:
    """Without times of day the window is open all of Saturday and Sunday, to midnight of the zone."""
    weekend = days("", 5, 6)
    assert weekend.is_open(at(12, day=day)) is is_open
    assert weekend.is_open(at(21, 59, day=day)) is is_open
    assert weekend.is_open(at(22, 0, day=day)) is (day in (19, 20))


def test_a_day_window_opens_on_its_days_alone() -> None:
    """A window within the day asks for that day."""
    assert days("08:00-12:00", 0).is_open(at(8, day=15)) and not days("08:00-12:00", 0).is_open(at(8, day=16))


def test_no_day_is_never() -> None:
    """A window that opens on no day is closed at any time."""
    assert not any(days("20:00-06:00").is_open(at(hour)) for hour in range(24))


@given(MOMENTS, st.integers(0, 23), st.integers(0, 23))
def test_the_days_share_out_the_week(moment: datetime, start: int, end: int) -> None:
    """A window on all days is open exactly when it is on one of them, and never on two."""
    text = f"{start:02}:00-{end:02}:00"
    every = window(text, "Europe/Paris").is_open(moment)
    assert sum(days(text, day).is_open(moment) for day in range(7)) == every


def test_without_a_window_there_is_none() -> None:
    """An empty setting is no window; one that opens when it closes is always open."""
    assert TimeWindow.parse("", "UTC") is None
    assert window("05:00-05:00").is_open(at(4))


@pytest.mark.parametrize("text", ["24:00-06:00", "8:00-12:00", "20:60-06:00", "20:00", "20:00–06:00", "20:00-06:00 "])
def test_what_is_no_window_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="window"):
        TimeWindow.parse(text, "UTC")


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../etc/passwd", ""])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    """The name of the zone is told."""
    with pytest.raises(ValueError, match="time zone"):
        TimeWindow.parse("20:00-06:00", zone)


@given(MOMENTS, st.integers(0, 23), st.integers(0, 23))
def test_a_window_and_its_opposite_share_out_the_day(moment: datetime, start: int, end: int) -> None:
    """At any moment exactly one of the two is open."""
    if start != end:
        one, other = window(f"{start:02}:00-{end:02}:00"), window(f"{end:02}:00-{start:02}:00")
        assert one.is_open(moment) != other.is_open(moment)


@pytest.mark.parametrize(("share", "pause"), [(50, 10.0), (25, 30.0), (100, 0.0), (80, 2.5)])
def test_a_share_of_the_time(share: float, pause: float) -> None:
    """Ten seconds of work are made up for by a pause; all of the time needs none."""
    pauses: list[float] = []
    DutyCycle(share, pauses.append).rest(10)
    assert pauses == ([pytest.approx(pause)] if pause else [])


def test_no_pause_is_longer_than_the_longest() -> None:
    """A study that took a day does not stop the next one for a week."""
    pauses: list[float] = []
    DutyCycle(1, pauses.append).rest(100_000)
    assert pauses == [600.0]


def test_what_cannot_wait_goes_first() -> None:
    """Work waits while something more urgent goes on, and not a moment when nothing does."""
    slept: list[float] = []
    GiveWay(lambda: len(slept) < 3, slept.append).wait()
    assert slept == [0.05] * 3
    GiveWay(lambda: False, slept.append).wait()
    assert len(slept) == 3


def test_where_it_is_never_quiet_work_goes_on() -> None:
    """A piece of work waits a second, no longer."""
    slept: list[float] = []
    GiveWay(lambda: True, slept.append).wait()
    assert sum(slept) == pytest.approx(1.0, abs=0.051)
