"""What keeping costs and moving saves: the shipped table, a site's own, and the sums."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, strategies as st

from tests.unit.tiering.planning import CT, LOSSY, OLD, POLICIES, SR, STUDIES, TODAY, decided
from tiering.errors import InvalidPrices
from tiering.policy import plan
from tiering.prices import FOLDER, GB, HOT, STANDARD, load_prices, read_prices, saved, savings

GOOD = """
version = "v"
currency = "EUR"
as_of = 2026-01-01
source = "a contract"
[per_gb_month]
hot = 0.1
folder = 0.02
STANDARD = 0.03
[lossy_ratios]
CT = 2.0
"""


def test_the_shipped_table_is_one() -> None:
    """It says when and where its numbers are from, and cold is cheaper than hot in every class."""
    prices = load_prices()
    assert prices.source and prices.as_of <= date(2026, 12, 31) and prices.currency == "EUR"
    assert all(price < prices.of(HOT) for name, price in prices.per_gb_month.items() if name != HOT)
    assert all(ratio >= 1 for ratio in prices.lossy_ratios.values())


def test_a_site_has_its_own_prices() -> None:
    """They take the place of the shipped ones, and the table says which."""
    prices = load_prices().with_own({"hot": 1.0, "TAPE": 0.001})
    assert (prices.of("hot"), prices.of("TAPE"), prices.own) == (1.0, 0.001, ("TAPE", "hot"))
    assert prices.of(FOLDER) == load_prices().of(FOLDER)


def test_a_class_nobody_knows_costs_what_standard_does() -> None:
    """The forecast does not become better than it is for want of a price."""
    prices = load_prices()
    assert not prices.is_known("COLDEST") and prices.of("COLDEST") == prices.of(STANDARD)


def test_moving_a_terabyte() -> None:
    """1000 GB at 0.06 become 500 GB at 0.02: 50 a month, 600 a year; a gigabyte is 10^9 bytes."""
    prices = load_prices().with_own({"hot": 0.06, "folder": 0.02})
    found = saved(1000 * GB, 500 * GB, prices, FOLDER)
    assert (found.hot_per_month, found.cold_per_month) == (60.0, 10.0)
    assert (found.per_month, found.per_year) == (50.0, 600.0)


def test_a_dearer_store_loses_money() -> None:
    """The sum is told as it is, below nothing too."""
    assert saved(GB, GB, load_prices().with_own({"folder": 9.0}), FOLDER).per_month < 0


def test_lossy_series_shrink_others_do_not() -> None:
    """Only what is forecast to go with loss is counted smaller, by its modality's ratio, rounded up."""
    prices = read_prices(GOOD)
    decision = decided(LOSSY, series=(replace(CT, size_bytes=3), SR))
    assert [prices.cold_bytes(each) for each in decision.series] == [2, SR.size_bytes]


def test_what_stays_saves_nothing() -> None:
    """A study that stays is not in the sum."""
    prices = read_prices(GOOD)
    stays, goes = decided(is_stale=True), decided()
    found = savings([stays, goes], prices, STANDARD)
    assert (found.hot_bytes, found.cold_bytes) == (CT.size_bytes, CT.size_bytes)
    assert savings([stays], prices, STANDARD).per_year == 0


@given(st.lists(STUDIES, max_size=5), POLICIES)
def test_sums_are_sums(studies: list[object], policy: object) -> None:
    """Decisions counted together are decisions counted one by one; cold never has more bytes than hot."""
    decisions = list(plan(studies, policy, on=TODAY))  # type: ignore[arg-type]
    prices = load_prices()
    whole = savings(decisions, prices, FOLDER)
    parts = [savings([each], prices, FOLDER) for each in decisions]
    assert whole.hot_bytes == sum(each.hot_bytes for each in parts)
    assert whole.cold_bytes == sum(each.cold_bytes for each in parts) <= whole.hot_bytes
    assert savings([decided(LOSSY)], prices, FOLDER).hot_bytes == OLD.size_bytes


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ("hot = 0.1", "hot = -1", "hot is not a number from 0"),
        ("hot = 0.1", "hot = nan", "hot is not a number"),
        ("hot = 0.1", "hot = true", "hot is not a number"),
        ("hot = 0.1\n", "", "per_gb_month has no hot"),
        ("folder = 0.02\n", "", "has no folder"),
        ("CT = 2.0", "CT = 0.5", "CT is not a number from 1"),
        ('version = "v"\n', "", "has not the keys"),
        ('version = "v"', 'version = ""', "version is empty"),
        ("as_of = 2026-01-01", 'as_of = "soon"', "as_of is empty, or not a date"),
        ('currency = "EUR"', "currency = 3", "currency"),
        ("[lossy_ratios]", "[lossy_ratio]", "has not the keys"),
        ("hot = 0.1", "hot = ", "not TOML"),
    ],
)
def test_a_table_that_is_not_clear_is_refused(was: str, becomes: str, words: str) -> None:
    """Nothing is guessed about money: the message names what is wrong."""
    assert was in GOOD
    with pytest.raises(InvalidPrices, match=words):
        read_prices(GOOD.replace(was, becomes))
