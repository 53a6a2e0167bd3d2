"""Days, moments, numbers and sizes as each language writes them; must not hold a sentence.

Sizes count in thousands, as those who sell storage do; moments are in UTC, as in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final

_UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "fr": ("o", "ko", "Mo", "Go", "To", "Po"),
    "en": ("B", "kB", "MB", "GB", "TB", "PB"),
}
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
NARROW_SPACE: Final = "\u202f"
NO_BREAK_SPACE: Final = "\u00a0"


def number(value: int, language: str) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,}".replace(",", NARROW_SPACE if language == "fr" else ",")


def size(size_bytes: int, language: str) -> str:
    """Return a size with one decimal: 1 536 000 is ``1,5 Mo``, or ``1.5 MB``."""
    value, unit = float(size_bytes), 0
    while value >= 999.95 and unit < len(_UNITS[language]) - 1:
        value, unit = value / 1000, unit + 1
    text = f"{value:.1f}" if unit else str(size_bytes)
    return f"{_decimal(text, language)}{NO_BREAK_SPACE}{_UNITS[language][unit]}"


def terabytes(size_bytes: int, language: str) -> str:
    """Return a size in terabytes with two decimals, thousandths below one; what is less than one of these, as it is."""
    if size_bytes < 10**9:
        return size(size_bytes, language)
    value = size_bytes / 10**12
    text = f"{value:,.2f}" if value >= 1 else f"{value:.3f}"
    return f"{_decimal(text, language)}{NO_BREAK_SPACE}{_UNITS[language][4]}"


def seconds(value: float, language: str) -> str:
    """Return a duration: ``40 ms``, ``1,25 s``."""
    if value < 1:
        return f"{value * 1000:.0f}{NO_BREAK_SPACE}ms"
    return f"{_decimal(f'{value:.2f}', language)}{NO_BREAK_SPACE}s"


def decimal(value: float, language: str) -> str:
    """Return a measured number, to four significant digits."""
    return _decimal(f"{value:.4g}", language)


def day(value: date | str | None, language: str) -> str:
    """Return a day as people write it; a DICOM date, a partial one or "" too, as far as it goes; a dash for none."""
    if isinstance(value, date):
        return _full_day(value, language)
    if not value:
        return "–"
    digits = value.replace("-", "")
    if len(digits) == 8 and digits.isdigit():
        try:
            return _full_day(date(int(digits[:4]), int(digits[4:6]), int(digits[6:])), language)
        except ValueError:
            return value
    return value


def moment(value: datetime | str | None, language: str) -> str:
    """Return a moment to the minute, in UTC; a dash for none."""
    if value is None or value == "":
        return "–"
    at = (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)
    return f"{_full_day(at.date(), language)} {at:%H:%M}"


def _full_day(value: date, language: str) -> str:
    if language == "fr":
        return f"{value.day:02d}/{value.month:02d}/{value.year:04d}"
    return f"{value.day}{NO_BREAK_SPACE}{_MONTHS[value.month - 1]}{NO_BREAK_SPACE}{value.year:04d}"


def _decimal(text: str, language: str) -> str:
    return text.replace(",", NARROW_SPACE).replace(".", ",") if language == "fr" else text
