"""How long a thaw takes by storage class, as the provider says; estimates, which must not be taken for promises."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple


class ThawTime(NamedTuple):
    """How long a thaw takes, as a rule."""

    shortest: timedelta
    longest: timedelta

    @property
    def words(self) -> str:
        """Say it for people: ``3-5 h``."""
        unit, name = (_HOUR, "h") if self.longest >= _HOUR else (_MINUTE, "min")
        first, last = round(self.shortest / unit), round(self.longest / unit)
        return f"{first}-{last} {name}" if first and first != last else f"up to {last} {name}"


_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
_TIMES: Final = {
    ("GLACIER", "Expedited"): ThawTime(_MINUTE, 5 * _MINUTE),
    ("GLACIER", "Standard"): ThawTime(3 * _HOUR, 5 * _HOUR),
    ("GLACIER", "Bulk"): ThawTime(5 * _HOUR, 12 * _HOUR),
    ("DEEP_ARCHIVE", "Standard"): ThawTime(12 * _HOUR, 12 * _HOUR),
    ("DEEP_ARCHIVE", "Bulk"): ThawTime(48 * _HOUR, 48 * _HOUR),
}
"""Amazon S3 User Guide, "Archive retrieval options": storage class and retrieval tier; no one else says anything."""


def thaw_time(storage_class: str | None, tier: str = "Standard") -> ThawTime | None:
    """Return how long objects of a storage class take to thaw; None for one that nothing is known about."""
    return _TIMES.get((storage_class or "", tier))
