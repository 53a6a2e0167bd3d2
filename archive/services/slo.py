"""What probes come to: percentiles by tier and site; must not measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from archive.index import probes
from archive.index.probes import Probed
from archive.index.session import Database
from archive.services.measuring import FIRST_SECONDS, whole_limit

PERCENTS: Final = (50, 95, 99)
DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class ProbeSummary:
    """The probes of one tier and site: p50, p95, p99 in milliseconds of those that went well, and how many kept to it.

    ``kept`` counts those with the first image within 5 s and the series within 60 s for 600 images.
    """

    tier: str
    site: str
    probes: int
    failed: int
    kept: int
    first_ms: tuple[int, int, int] | None
    whole_ms: tuple[int, int, int] | None
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ProbeHistory:
    """Reads what probes have kept."""

    database: Database

    def summaries(self, now: datetime, days: int = DAYS) -> list[ProbeSummary]:
        """Return the last days by tier and site. Raises IndexUnavailable."""
        with self.database.read() as connection:
            return summarise(probes.since(connection, now - timedelta(days=days)))

    def last(self, now: datetime, days: int = DAYS) -> list[Probed]:
        """Return the last probe of each tier and site. Raises IndexUnavailable."""
        with self.database.read() as connection:
            found = probes.since(connection, now - timedelta(days=days))
        return list({(each.tier, each.site): each for each in found}.values())


def summarise(found: Iterable[Probed]) -> list[ProbeSummary]:
    """Return the percentiles of some probes, by tier and site."""
    groups: dict[tuple[str, str], list[Probed]] = {}
    for each in found:
        groups.setdefault((each.tier, each.site), []).append(each)
    return [_summary(tier, site, group) for (tier, site), group in sorted(groups.items())]


def _summary(tier: str, site: str, group: Sequence[Probed]) -> ProbeSummary:
    good = [each for each in group if not each.problem]
    return ProbeSummary(
        tier=tier,
        site=site,
        probes=len(group),
        failed=len(group) - len(good),
        kept=sum(map(is_kept, group)),
        first_ms=_percentiles([each.first_ms for each in good]),
        whole_ms=_percentiles([each.whole_ms for each in good]),
        last_at=max(each.at for each in group),
    )


def is_kept(probed: Probed) -> bool:
    """Tell whether a probe kept the promise."""
    is_quick = probed.first_ms <= FIRST_SECONDS * 1000
    return not probed.problem and is_quick and probed.whole_ms <= whole_limit(probed.instances) * 1000


def _percentiles(values: Sequence[int]) -> tuple[int, int, int] | None:
    """Return p50, p95 and p99 by nearest rank, or None without values."""
    if not values:
        return None
    ordered = sorted(values)
    p50, p95, p99 = (ordered[ceil(percent * len(ordered) / 100) - 1] for percent in PERCENTS)
    return p50, p95, p99
