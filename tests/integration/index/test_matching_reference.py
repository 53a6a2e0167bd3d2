"""The index's matching against a slow reference, on whatever hypothesis invents, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from hypothesis.strategies import SearchStrategy

from archive.errors import InvalidIdentifier
from archive.index.find import Query, run_query
from archive.index.instances import InstanceWriter
from archive.index.session import Database
from archive.index.statements import Statement
from tests.integration.index.making import new_instance, numbers
from tests.integration.index.reference import matches

thorough = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def joined(values: SearchStrategy[str], most: int) -> SearchStrategy[str]:
    """Return several values, backslashes between."""
    return st.lists(values, min_size=1, max_size=most).map("\\".join)


def absent_or(texts: SearchStrategy[str]) -> SearchStrategy[str | None]:
    """Return what may be stored: nothing, or a text that is not empty and has no padding, as the scan leaves it."""
    return st.none() | texts.map(lambda text: text.strip(" ")).filter(lambda text: text.strip("\\ ") != "")


letters = st.sampled_from("abAB é É[]^%_-+.'\"{}$\\10\U0001f600\u5c71")
plain = letters.filter(lambda character: character != "\\")
stored_texts = absent_or(st.text(plain, max_size=6))
stored_lists = absent_or(joined(st.text(plain, min_size=1, max_size=4).map(lambda t: t.strip(" ") or "x"), 3))
wanted_texts = joined(st.text(st.one_of(plain, st.sampled_from("**??")), max_size=6), 2)

name_letters = st.sampled_from("abAB éÉœ^^=\u5c71\u7530\u00df")
stored_names = absent_or(st.text(name_letters, max_size=8))
wanted_names = joined(st.text(st.one_of(name_letters, st.sampled_from("**??")), max_size=8), 2)

days = st.integers(0, 400).map(lambda n: f"20{20 + n // 144}{1 + n // 12 % 12:02d}{1 + n % 12:02d}")
day_bounds = (
    days | days.map(lambda d: f"{d[:4]}.{d[4:6]}.{d[6:]}") | days.map(lambda d: d[:6]) | days.map(lambda d: d[:4])
)
wanted_days = st.one_of(
    day_bounds,
    days.map(lambda d: d[:4] + "*"),
    day_bounds.map(lambda d: f"{d}-"),
    day_bounds.map(lambda d: f"-{d}"),
    st.tuples(day_bounds, day_bounds).map(" - ".join),
)

two = st.sampled_from(["00", "01", "10", "30", "59"])
hours = st.sampled_from(["00", "01", "10", "23"])
fractions = st.sampled_from(["0", "5", "50", "05", "123456", "500000"])
times = st.one_of(
    hours,
    st.tuples(hours, two).map("".join),
    st.tuples(hours, two, two).map("".join),
    st.tuples(hours, two, two, fractions).map(lambda t: f"{t[0]}{t[1]}{t[2]}.{t[3]}"),
)
coloned = st.tuples(hours, two, two).map(":".join)
time_bounds = times | coloned
wanted_times = st.one_of(
    time_bounds,
    time_bounds.map(lambda t: f"{t}-"),
    time_bounds.map(lambda t: f"-{t}"),
    st.tuples(time_bounds, time_bounds).map("-".join),
)

uids = st.sampled_from(["1.2", "1.2.3", "1.20", "1.2.3.4", "2.25"])


def check(database: Database, keyword: str, stored: Sequence[str | None], wanted: str) -> None:
    """Store one series per value in a study of its own and compare what is found with the reference."""
    writer = InstanceWriter()
    items = [
        new_instance(1, 1, number, {"PatientID": f"P{number}", "PatientName": None, "StudyDate": None, keyword: text})
        for number, text in enumerate(stored)
    ]
    expected = [number for number, text in enumerate(stored) if matches(keyword, wanted, text)]
    with database.write(synced=False) as connection:
        for table in ("location", "instance", "series", "study", "patient"):
            Statement(f"DELETE FROM {table}").run(connection)
        writer.add(connection, items)
        found = list(run_query(connection, Query("study", "IMAGE", {keyword: wanted}, 0, True)))
    assert numbers(row["StudyInstanceUID"] for row in found) == expected, (keyword, stored, wanted)


@thorough
@given(
    st.sampled_from(("StudyDescription", "AccessionNumber", "Modality", "PatientAge")),
    st.lists(stored_texts, max_size=5),
    wanted_texts,
)
@example("StudyDescription", ["a[b]", "ab", "a"], "a[b]")
@example("StudyDescription", ["a[b]c", "abc", "a[b]"], "a[b]*c")
@example("StudyDescription", ["[", "a[", "]"], "*[")
@example("StudyDescription", ["100%", "1000", "100"], "100%")
@example("StudyDescription", ["a_b", "axb"], "a_?")
@example("StudyDescription", ["ab", "aXb", "AB", None], "a*b")
@example("Modality", ["CT", "MR", "CTX", None], "MR\\CT")
@example("Modality", ["CT", None], "\\ \\")
@example("AccessionNumber", ["\U0010ffff", "\U0010ffffa", "b"], "\U0010ffff*")
@example("AccessionNumber", ["\ud7ff", "\ue000", "\ud7ffa"], "\ud7ff*")
def test_texts(database: Database, keyword: str, stored: list[str | None], wanted: str) -> None:
    """Exact, wildcards, lists, in characters that mean something to SQL, to GLOB or to LIKE."""
    check(database, keyword, stored, wanted)


@thorough
@given(st.lists(stored_lists, max_size=5), wanted_texts)
@example(["ORIGINAL\\PRIMARY\\AXIAL", "DERIVED\\PRIMARY", None], "PRIMARY")
@example(["a\\b", "ab", "a"], "a*b")
@example(['a"\\b', 'a\\"b'], 'a"')
@example(["x\\%\\y", "x"], "%")
def test_texts_of_several_values(database: Database, stored: list[str | None], wanted: str) -> None:
    """One value that matches is enough, and no pattern reaches from one value into the next."""
    check(database, "ImageType", stored, wanted)


@thorough
@given(st.sampled_from(("PatientName", "ReferringPhysicianName")), st.lists(stored_names, max_size=5), wanted_names)
@example("PatientName", ["MOREAU^Hélène", "MOREAU^HELENE^^DR", "MOREAUX^HELENE", "Moreau"], "moreau^helene")
@example("PatientName", ["MOREAU^Hélène", "MOREAU", "MOREAUX", None], "Moreau")
@example("PatientName", ["MOREAU^HELENE", "MOREAU", "MOREAUX"], "moreau^*")
@example("PatientName", ["YAMADA^TAROU=\u5c71\u7530^\u592a\u90ce", "=\u5c71\u7530", "YAMADA"], "\u5c71\u7530*")
@example("PatientName", ["A=B", "B=A", "AB"], "a*b")
@example("PatientName", ["MOREAU^HELENE=\u5c71", "MOREAU=\u5c71", "MOREAU^HELENE^X=\u5c71"], "moreau^helene")
@example("PatientName", ["A^B=\u5c71", "A=\u5c71^B", "A"], "a=\u5c71")
@example("PatientName", ["ŒUVRARD", "OEUVRARD^A"], "œuvrard")
@example("PatientName", ["a", "b", None], "^")
@example("PatientName", ["a^b", "^b"], "*^*^*")
def test_names(database: Database, keyword: str, stored: list[str | None], wanted: str) -> None:
    """Folded, by whole components, group by group, with wildcards across components but not across groups."""
    check(database, keyword, stored, wanted)


@thorough
@given(
    st.lists(absent_or(joined(st.text(st.sampled_from("abé^"), min_size=1, max_size=4), 3)), max_size=5), wanted_names
)
@example(["DUPONT^A\\MOREAU^B", "MOREAU", None], "moreau")
@example(["A\\B", "AB"], "a*b")
@example(["^", "^\\abe", None], "=*")
def test_names_of_several_persons(database: Database, stored: list[str | None], wanted: str) -> None:
    """One person who matches is enough."""
    check(database, "OperatorsName", stored, wanted)


@thorough
@given(
    st.sampled_from(("StudyDate", "PatientBirthDate", "ContentDate")),
    st.lists(st.none() | days, max_size=6),
    wanted_days,
)
@example("StudyDate", ["20240115", "20240116", "20240117", None], "20240115-20240116")
@example("StudyDate", ["20240115", "20240116"], "20240116-20240115")
@example("StudyDate", ["20231231", "20240101", "20250101"], "2024")
def test_dates(database: Database, keyword: str, stored: list[str | None], wanted: str) -> None:
    """Single days, months, years, ranges open at either end; ends included; without a date, no match."""
    check(database, keyword, stored, wanted)


@thorough
@given(st.sampled_from(("StudyTime", "ContentTime")), st.lists(st.none() | times, max_size=6), wanted_times)
@example("StudyTime", ["10", "1000", "100000", "100000.0", "100001", "095959.999999", None], "10-100000")
@example("StudyTime", ["101559.5", "1016", "1015"], "1000-1015")
@example("StudyTime", ["100000.5", "100000.500000", "100000.49"], "100000.50-")
@example("StudyTime", ["094836.214743984", "094836.214743", "094836"], "094836.214743984")
def test_times(database: Database, keyword: str, stored: list[str | None], wanted: str) -> None:
    """To the precision given on either side: an hour, a minute, a second, a part of one."""
    check(database, keyword, stored, wanted)


@thorough
@given(
    st.sampled_from(("SeriesNumber", "InstanceNumber", "Rows")),
    st.lists(st.none() | st.sampled_from(["0", "00", "1", "01", "+1", "-1", "10", "x", "1x"]), max_size=5),
    st.sampled_from(["0", "1", "01", "+1", "-1", "10", "1*", "?", "x", "1\\10", "001"]),
)
def test_whole_numbers(database: Database, keyword: str, stored: list[str | None], wanted: str) -> None:
    """Leading zeros and a plus do not count."""
    check(database, keyword, stored, wanted)


@thorough
@given(st.lists(st.none() | uids, max_size=5), joined(uids | st.sampled_from(["", "1.*", "?.2", "*", "1.2 "]), 3))
def test_uids(database: Database, stored: list[str | None], wanted: str) -> None:
    """Exact, as a list, without wildcards; a lone star is every UID."""
    check(database, "FrameOfReferenceUID", stored, wanted)


@pytest.mark.parametrize("count", [33, 3000])
def test_long_lists_of_uids(database: Database, count: int) -> None:
    """A list too long for parameters is matched all the same."""
    stored: list[str | None] = ["2.25.1", "2.25.2999", "2.25.5000", None]
    check(database, "FrameOfReferenceUID", stored, "\\".join(f"2.25.{number}" for number in range(count)))


def test_what_is_stored_as_no_date_is_in_no_range(database: Database) -> None:
    """A broken attribute is found by its study, not by whatever range is open on its side."""
    stored: list[str | None] = ["unknown", "-20240101", "+", "(none)", ":", "~", "20240101"]
    for wanted in ("20000101-", "-20991231", "20000101-20991231", "2024"):
        check(database, "StudyDate", stored, wanted)


UNREADABLE: list[tuple[str, Any]] = [
    (
        "StudyDate",
        ["yesterday", "2024011", "-", "20240101-20240102-20240103", "2024-01-15T", "20240115\\x", "?", "２０２４"],
    ),
    ("StudyTime", ["noon", "1", "101", "-", "10-11-12", "10.5", "1015.5", "101500."]),
]


@pytest.mark.parametrize(("keyword", "wanted"), [(keyword, text) for keyword, texts in UNREADABLE for text in texts])
def test_a_date_or_time_nobody_can_read_is_refused(database: Database, keyword: str, wanted: str) -> None:
    """The peer hears which key is wrong (0xA900), without its value; nothing is guessed."""
    with pytest.raises(InvalidIdentifier) as caught, database.read() as connection:
        list(run_query(connection, Query("study", "STUDY", {keyword: wanted}, 0, True)))
    assert keyword in str(caught.value)
    assert wanted not in str(caught.value).replace("StudyDate", "").replace("StudyTime", "") or wanted in "-1"


def test_more_values_than_make_sense_are_refused(database: Database) -> None:
    """A key with thousands of patterns is not a question."""
    with pytest.raises(InvalidIdentifier, match="PatientName has more than 256 values"), database.read() as connection:
        list(run_query(connection, Query("study", "STUDY", {"PatientName": "\\".join(["a*"] * 257)}, 0, True)))
