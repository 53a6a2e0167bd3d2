"""The texts the index stores and compares: moments, name keys, lists of values, statements."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import given, strategies as st
from sqlalchemy import Text, column, make_url

from archive.index.expressions import any_of, glob, split_values, starts_with
from archive.index.names import LONGEST_KEY, name_key
from archive.index.records import from_text, to_text
from archive.index.session import _code, _reason
from archive.index.statements import Statement, insert_into

moments = st.datetimes(datetime(1900, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC))
TEXT = column("t", Text)
DIALECTS = {
    "sqlite": make_url("sqlite://").get_dialect()(),
    "postgresql": make_url("postgresql+psycopg://").get_dialect()(),
}


# ---- moments --------------------------------------------------------------------------------------------------------


def test_a_moment_is_written_in_utc_with_microseconds() -> None:
    """Always 27 characters, whatever the zone it was told in."""
    paris = timezone(timedelta(hours=1))
    assert to_text(datetime(2026, 11, 23, 7, 35, 29, tzinfo=paris)) == "2026-11-23T06:35:29.000000Z"


@given(moments)
def test_a_moment_comes_back(at: datetime) -> None:
    """To the microsecond, aware, in UTC."""
    back = from_text(to_text(at))
    assert back == at
    assert back.utcoffset() == timedelta(0)


@given(moments, moments)
def test_texts_sort_as_moments_do(one: datetime, other: datetime) -> None:
    """The database compares texts and means times."""
    assert (to_text(one) < to_text(other)) == (one < other)


def test_a_moment_without_a_zone_is_our_mistake() -> None:
    """Nothing in the archive knows local time."""
    with pytest.raises(AssertionError):
        to_text(datetime(2026, 11, 23))


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MOREAU^Hélène", "moreau^helene"),
        ("MOREAU^HELENE^^^", "moreau^helene"),
        ("  Le  Gall ^ Yann ", "le gall^yann"),
        ("Œuvrard", "oeuvrard"),
        ("A^\\B^^", "a\\b"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou=山田^太郎=やまた^たろう"),
        ("=山田^太郎", "=山田^太郎"),
        ("^^", ""),
    ],
)
def test_names_are_folded_person_by_person(name: str, key: str) -> None:
    """Case, accents, spaces and empty ends do not count; several persons stay several."""
    assert name_key(name) == key


@given(st.text(max_size=40))
def test_folding_twice_is_folding_once(name: str) -> None:
    """A key compared with a key means the same as a name compared with a name."""
    assert name_key(name_key(name)) == name_key(name)


def test_a_key_has_a_bound() -> None:
    """Folding can lengthen a text eighteen times; an index entry has a limit."""
    assert len(name_key("\ufdfa" * 512)) == LONGEST_KEY


# ---- lists of values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("A", ["A"]),
        (" A \\ B ", ["A", "B"]),
        ("A\\\\B\\", ["A", "B"]),
        ("\0", []),
        ("1.2\0", ["1.2"]),
        ("A B", ["A B"]),
        ("\\ \\", []),
    ],
)
def test_values_are_split_at_backslashes(text: str, values: list[str]) -> None:
    """Padding and empty values do not count."""
    assert split_values(text) == values


@given(st.text())
def test_split_values_can_be_bound_on_both_databases(text: str) -> None:
    """No NUL, no lone surrogate, and nothing that was not a wildcard becomes one."""
    values = split_values(text)
    assert all("\0" not in value and value.encode() for value in values)
    assert sum(value.count("?") + value.count("*") for value in values) == text.count("?") + text.count("*")


# ---- patterns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "sqlite_pattern", "like"),
    [
        ("MOR*", "MOR*", "MOR%"),
        ("M?R", "M?R", "M_R"),
        ("100%", "100%", r"100\%"),
        ("a_b", "a_b", r"a\_b"),
        ("a[b]", "a[[]b]", "a[b]"),
        ("a\\b", "a\\b", "a\\\\b"),
    ],
)
def test_patterns_are_spelt_for_each_database(pattern: str, sqlite_pattern: str, like: str) -> None:
    """What means something to GLOB or LIKE and nothing to DICOM is escaped."""
    for name, expected in (("sqlite", sqlite_pattern), ("postgresql", like)):
        compiled = glob(TEXT, pattern, name).compile(dialect=DIALECTS[name])
        assert list(compiled.params.values()) == [expected]
        assert str(compiled).split()[1] == ("GLOB" if name == "sqlite" else "LIKE")


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4), st.text(max_size=4), st.text(max_size=4)
)
def test_a_prefix_is_a_range(prefix: str, rest: str, other: str) -> None:
    """By code point: everything that begins with the prefix is inside, everything else outside."""
    bounds = list(starts_with(TEXT, prefix).compile().params.values())
    low, high = bounds[0], bounds[1] if len(bounds) == 2 else None
    for text in (prefix + rest, other):
        assert (low <= text and (high is None or text < high)) == text.startswith(prefix)


@pytest.mark.parametrize("count", [1, 2, 32, 33, 500])
def test_a_list_is_compared_with_few_parameters(count: int) -> None:
    """Long lists travel as one parameter, and each value counts once."""
    values = [f"1.{number % 100:03d}" for number in range(count)] * 2
    compiled = any_of(TEXT, values).compile(dialect=DIALECTS["sqlite"], compile_kwargs={"render_postcompile": True})
    assert len(compiled.params) == (min(count, 100) if min(count, 100) <= 32 else 1)


# ---- statements and errors ------------------------------------------------------------------------------------------


def test_a_statement_is_spelt_for_both_drivers() -> None:
    """Question marks become what psycopg wants; a literal per cent would be misread and is our mistake."""
    statement = insert_into("folder", ("name", "at"), " ON CONFLICT (name) DO NOTHING")
    assert statement.sql == "INSERT INTO folder (name, at) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
    assert statement.postgresql == statement.sql.replace("?", "%s")
    with pytest.raises(AssertionError):
        Statement("SELECT name FROM folder WHERE name LIKE 'a%'")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (sqlite3.OperationalError("disk I/O error"), "OperationalError", "OperationalError: disk I/O error"),
        (psycopg.errors.UniqueViolation("Key (x)=(MOREAU)"), "UniqueViolation 23505", "UniqueViolation 23505"),
        (psycopg.OperationalError("refused\nmore"), "OperationalError", "OperationalError: refused"),
        (psycopg.OperationalError(""), "OperationalError", "OperationalError"),
    ],
)
def test_errors_are_told_by_code(error: Exception, code: str, reason: str) -> None:
    """What the database says of a value stays inside; what it says of itself helps the operator."""
    assert _code(error) == code
    assert _reason(error) == reason
