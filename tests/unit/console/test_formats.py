"""Days, numbers and sizes as each language writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from archive.console import formats


@pytest.mark.parametrize(
    ("value", "french", "english"),
    [
        (date(2026, 3, 1), "01/03/2026", "1\u00a0Mar\u00a02026"),
        ("20260301", "01/03/2026", "1\u00a0Mar\u00a02026"),
        ("2026-03-01", "01/03/2026", "1\u00a0Mar\u00a02026"),
        ("2026", "2026", "2026"),
        ("20261399", "20261399", "20261399"),
        ("<b>", "<b>", "<b>"),
        ("", "–", "–"),
        (None, "–", "–"),
    ],
)
def test_days(value: date | str | None, french: str, english: str) -> None:
    """Dates of DICOM, of the ledger and of Python read alike; what is no date is shown as it is."""
    assert formats.day(value, "fr") == french
    assert formats.day(value, "en") == english


def test_moments_are_in_utc() -> None:
    """Whatever the zone of a moment, it is shown in UTC to the minute."""
    at = datetime(2026, 1, 2, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert formats.moment(at, "fr") == "01/01/2026 23:30"
    assert formats.moment("2026-01-02T03:04:05.000000Z", "en") == "2\u00a0Jan\u00a02026 03:04"
    assert formats.moment(None, "fr") == formats.moment("", "en") == "–"
    assert formats.moment(at.astimezone(UTC), "en").endswith("23:30")


@pytest.mark.parametrize(
    ("size", "french", "english"),
    [
        (0, "0\u00a0o", "0\u00a0B"),
        (999, "999\u00a0o", "999\u00a0B"),
        (1_536_000, "1,5\u00a0Mo", "1.5\u00a0MB"),
        (999_960, "1,0\u00a0Mo", "1.0\u00a0MB"),
        (2 * 10**12, "2,0\u00a0To", "2.0\u00a0TB"),
        (3 * 10**18, "3000,0\u00a0Po", "3000.0\u00a0PB"),
    ],
)
def test_sizes(size: int, french: str, english: str) -> None:
    """Sizes count in thousands and never show a thousand of a unit that has a larger one."""
    assert formats.size(size, "fr") == french
    assert formats.size(size, "en") == english


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (3300, "3,3\u00a0ko"),
        (10**9, "0,001\u00a0To"),
        (10**12, "1,00\u00a0To"),
        (1234 * 10**12, "1\u202f234,00\u00a0To"),
    ],
)
def test_terabytes(size: int, text: str) -> None:
    """Totals are in terabytes, down to a thousandth of one; what is less is in its own unit."""
    assert formats.terabytes(size, "fr") == text


def test_numbers() -> None:
    """Thousands are apart, decimals are a comma in French."""
    assert (formats.number(1234567, "fr"), formats.number(1234567, "en")) == ("1\u202f234\u202f567", "1,234,567")
    assert (formats.decimal(48.1193, "fr"), formats.decimal(24.0, "en")) == ("48,12", "24")
    assert (formats.seconds(0.04, "fr"), formats.seconds(1.25, "fr")) == ("40\u00a0ms", "1,25\u00a0s")


@pytest.mark.parametrize("language", ["fr", "en"])
def test_what_is_shown_in_a_column_does_not_break_in_two(language: str) -> None:
    """Between a number and its unit, and within a day in English, stands a space that keeps them together."""
    texts = [
        formats.size(1_500_000, language),
        formats.terabytes(2 * 10**12, language),
        formats.seconds(0.5, language),
        formats.day(date(2026, 11, 27), language),
        formats.number(1_000_000, language),
    ]
    assert [text for text in texts if " " in text] == []
