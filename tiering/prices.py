"""What keeping bytes costs, as data, and what moving them saves; must not know an archive."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from tiering.errors import InvalidPrices
from tiering.policy import Action, Decision, SeriesPlan

GB: Final = 1_000_000_000
"""As prices count them."""
HOT: Final = "hot"
FOLDER: Final = "folder"
STANDARD: Final = "STANDARD"
_MONTHS: Final = 12


@dataclass(frozen=True, slots=True)
class Prices:
    """Money a gigabyte and month by tier or storage class, and ``lossy_ratios`` by modality: lossless by lossy bytes.

    ``as_of`` and ``source`` say when and where the numbers were read; ``own``: which of them a site gave itself.
    """

    version: str
    currency: str
    as_of: date
    source: str
    per_gb_month: Mapping[str, float]
    lossy_ratios: Mapping[str, float]
    own: tuple[str, ...] = ()

    def of(self, name: str) -> float:
        """Return the price of a tier or class; one that is not known costs what STANDARD does."""
        return self.per_gb_month.get(name, self.per_gb_month[STANDARD])

    def is_known(self, name: str) -> bool:
        """Tell whether there is a price for a tier or class."""
        return name in self.per_gb_month

    def month(self, size_bytes: int, name: str) -> float:
        """Return what bytes cost a month in a tier or class."""
        return size_bytes / GB * self.of(name)

    def with_own(self, own: Mapping[str, float]) -> Prices:
        """Return these prices with a site's own in their place."""
        prices = MappingProxyType({**self.per_gb_month, **own})
        names = tuple(sorted(own))
        return Prices(self.version, self.currency, self.as_of, self.source, prices, self.lossy_ratios, names)

    def cold_bytes(self, series: SeriesPlan) -> int:
        """Return how many bytes a series is taken to have in the cold tier: a forecast, rounded up."""
        holding = series.holding
        is_lossy = series.action is Action.COLD_LOSSY
        return self.lossy_bytes(holding.size_bytes, holding.modality) if is_lossy else holding.size_bytes

    def lossy_bytes(self, size_bytes: int, modality: str) -> int:
        """Return how many bytes a lossless pack of a modality would have as a lossy one: a forecast, rounded up."""
        return math.ceil(size_bytes / self.lossy_ratios.get(modality, 1.0))


@dataclass(frozen=True, slots=True)
class Savings:
    """What becomes of the bytes of studies that go, what they cost a month in either tier, and what that saves.

    Money in the currency of the prices, rounded to its hundredth.
    """

    hot_bytes: int
    cold_bytes: int
    hot_per_month: float
    cold_per_month: float
    per_month: float
    per_year: float


def savings(decisions: Iterable[Decision], prices: Prices, cold_class: str) -> Savings:
    """Return what moving all that goes saves; what stays has no plan of its series, and costs what it did."""
    hot = cold = 0
    for decision in decisions:
        hot += sum(each.holding.size_bytes for each in decision.series)
        cold += sum(prices.cold_bytes(each) for each in decision.series)
    return saved(hot, cold, prices, cold_class)


def saved(hot_bytes: int, cold_bytes: int, prices: Prices, cold_class: str) -> Savings:
    """Return what it saves that ``hot_bytes`` become ``cold_bytes`` of a class; negative when that is dearer."""
    hot, cold = prices.month(hot_bytes, HOT), prices.month(cold_bytes, cold_class)
    money = (round(each, 2) for each in (hot, cold, hot - cold, (hot - cold) * _MONTHS))
    return Savings(hot_bytes, cold_bytes, *money)


@lru_cache
def load_prices() -> Prices:
    """Return the shipped prices. Raises InvalidPrices."""
    return read_prices((resources.files("tiering") / "rules" / "prices.toml").read_text(encoding="utf-8"))


def read_prices(text: str) -> Prices:
    """Return the prices written in a TOML text. Raises InvalidPrices."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise InvalidPrices(reason=f"it is not TOML ({exc})") from exc
    wanted = {"version": str, "currency": str, "as_of": date, "source": str, "per_gb_month": dict, "lossy_ratios": dict}
    if found.keys() != wanted.keys():
        raise InvalidPrices(reason=f"it has not the keys {', '.join(wanted)}")
    for key, kind in wanted.items():
        if not isinstance(found[key], kind) or not found[key]:
            raise InvalidPrices(reason=f"{key} is empty, or not a {kind.__name__}")
    prices, ratios = _numbers(found["per_gb_month"], 0), _numbers(found["lossy_ratios"], 1)
    for name in (HOT, FOLDER, STANDARD):
        if name not in prices:
            raise InvalidPrices(reason=f"per_gb_month has no {name}")
    return Prices(found["version"], found["currency"], found["as_of"], found["source"], prices, ratios)


def _numbers(table: Mapping[str, Any], least: float) -> Mapping[str, float]:
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
            raise InvalidPrices(reason=f"{name} is not a number from {least:g} on")
    return MappingProxyType({name: float(value) for name, value in table.items()})
