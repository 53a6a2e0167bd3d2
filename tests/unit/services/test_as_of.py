"""What is due by a day, found by halving, is what adding it up gives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, strategies as st

from archive.index.due_totals import DueSum
from archive.services.as_of import Amount, Key, _Course, _course, _due

SITES = ("CHU", "Nord")
RULES = ("hospital.base", "hospital.death", "private.base")
FIRST = date(2020, 1, 1)
AT = datetime(2026, 11, 27, tzinfo=UTC)

sums = st.lists(
    st.builds(
        DueSum,
        st.sampled_from(SITES),
        st.sampled_from(RULES),
        st.integers(0, 400).map(lambda days: (FIRST + timedelta(days=days)).isoformat()),
        st.integers(0, 1),
        st.integers(1, 5),
        st.integers(0, 900),
        st.integers(0, 10**13),
    ),
    max_size=40,
)


def courses(given_sums: Sequence[DueSum]) -> dict[Key, _Course]:
    """Return what the service keeps of some sums."""
    days: dict[Key, dict[str, Amount]] = {}
    for each in given_sums:
        kept = days.setdefault(Key(each.site, each.rule, bool(each.is_blocked)), {})
        amount = Amount(each.studies, each.instances, each.size_bytes)
        kept[each.eligible_on] = kept.get(each.eligible_on, Amount()).plus(amount)
    return {key: _course(kept) for key, kept in days.items()}


def added(given_sums: Sequence[DueSum], on: date, sites: Sequence[str], *, blocked: bool) -> Amount:
    """Add up, one by one, what is due on a day."""
    total = Amount()
    for each in given_sums:
        if each.site in sites and bool(each.is_blocked) is blocked and each.eligible_on <= on.isoformat():
            total = total.plus(Amount(each.studies, each.instances, each.size_bytes))
    return total


@given(sums, st.integers(-10, 420), st.sampled_from([SITES, ("CHU",), ("Nord",), ()]))
def test_halving_comes_to_the_same_as_adding_up(given_sums: list[DueSum], days: int, sites: tuple[str, ...]) -> None:
    """For every day and choice of sites: free and blocked, in all and by rule."""
    on = FIRST + timedelta(days=days)
    due = _due(on, sites, courses(given_sums), AT)
    assert due.free == added(given_sums, on, sites, blocked=False)
    assert due.blocked == added(given_sums, on, sites, blocked=True)
    for rule in due.rules:
        own = [each for each in given_sums if each.rule == rule.rule]
        assert rule.free == added(own, on, sites, blocked=False)
        assert rule.blocked == added(own, on, sites, blocked=True)


@given(sums, st.integers(0, 400), st.integers(0, 400))
def test_a_later_day_is_never_less(given_sums: list[DueSum], one: int, other: int) -> None:
    """What was due stays due: the slider only ever adds."""
    kept = courses(given_sums)
    early, late = (_due(FIRST + timedelta(days=each), SITES, kept, AT) for each in sorted((one, other)))
    assert all(less <= more for less, more in zip(early.free, late.free, strict=True))
    assert all(less <= more for less, more in zip(early.blocked, late.blocked, strict=True))


@given(sums)
def test_rules_come_with_the_largest_first_and_none_that_is_empty(given_sums: list[DueSum]) -> None:
    """A rule by which nothing is due has no line."""
    due = _due(FIRST + timedelta(days=400), SITES, courses(given_sums), AT)
    sizes = [rule.free.size_bytes for rule in due.rules]
    assert sizes == sorted(sizes, reverse=True)
    assert all(rule.free.studies + rule.blocked.studies > 0 for rule in due.rules)
    assert len({rule.rule for rule in due.rules}) == len(due.rules)
