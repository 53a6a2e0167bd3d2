"""What came in by day, site and modality, and where it dropped; must not know how it is shown or told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from archive.index import arrivals
from archive.index.session import Database
from archive.services.drops import DayCompared, DropRules, compare_days
from archive.services.notice_words import drop_text, in_each
from archive.services.notices import Notice


@dataclass(frozen=True, slots=True)
class ArrivalWatch:
    """Compares days with the same weekdays before, by the rules and in the time zone of the settings."""

    database: Database
    rules: DropRules
    zone: tzinfo

    def days(self, now: datetime, *, days: int = 2) -> Sequence[DayCompared]:
        """Return the last ``days`` days of every site and modality, today first. Raises IndexUnavailable.

        With more days it is the story of a drop and of its recovery.
        """
        start = now - timedelta(weeks=self.rules.weeks, days=days)
        with self.database.read() as connection:
            counts = arrivals.between(connection, start, now + timedelta(hours=1))
        return compare_days(counts, now, self.zone, rules=self.rules, days=days)

    def drops(self, now: datetime) -> Sequence[DayCompared]:
        """Return the drops of today so far and of yesterday. Raises IndexUnavailable."""
        return [each for each in self.days(now) if each.is_drop]


def drop_notice(drop: DayCompared) -> Notice:
    """Return the warning for a drop: one a day for each site and modality."""
    return Notice(
        subject=f"arrivals {drop.site} {drop.modality} {drop.on}",
        grade="drop",
        kind="arrivals",
        texts=in_each(lambda language: drop_text(drop, language)),
        fields={
            "site": drop.site,
            "modality": drop.modality,
            "on": drop.on.isoformat(),
            "got": drop.got,
            "expected": round(drop.expected),
        },
    )
