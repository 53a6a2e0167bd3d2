"""Queries of the web: pages, sites and words of names, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archive.errors import InvalidIdentifier
from archive.index.find import Query, run_query
from archive.index.session import Database
from tests.integration.index.making import add, new_instance

NAMES = {
    1: "MOREAU^Hélène",
    2: "MOREL^Jean Paul",
    3: "LE GALL^Anne-Marie=モロー^エレーヌ",
    4: "O'BRIEN^Kim",
    5: "50%_MOREAU^[x]",
}
SITES = {1: "CHU", 2: "CHU", 3: "CABINET", 4: "CABINET", 5: "CHU"}
ALL = Query("study", "STUDY", {}, newest_first=True, relational=True)


@pytest.fixture
def stocked(database: Database) -> Database:
    """Lend an index with a study of each name, in their order, two instances each."""
    for study, name in NAMES.items():
        for number in (1, 2):
            add(database, new_instance(number, study=study, PatientName=name, site=SITES[study]))
    return database


def found(database: Database, query: Query) -> list[int]:
    """Return the numbers of the studies, in the order they come."""
    with database.read() as connection:
        return [int(row["StudyInstanceUID"].split(".")[2]) for row in run_query(connection, query)]


def test_newest_first(stocked: Database) -> None:
    """The latest arrivals come first, at every level."""
    assert found(stocked, ALL) == [5, 4, 3, 2, 1]
    assert found(stocked, replace(ALL, level="SERIES")) == [5, 4, 3, 2, 1]
    assert found(stocked, replace(ALL, level="IMAGE", limit=3)) == [5, 5, 4]


def test_pages_follow_each_other(stocked: Database) -> None:
    """Offset and limit cut the same list into pages; behind its end there is none."""
    pages = [found(stocked, replace(ALL, limit=2, offset=offset)) for offset in (0, 2, 4, 6)]
    assert pages == [[5, 4], [3, 2], [1], []]
    assert found(stocked, replace(ALL, offset=3)) == [2, 1]


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_only_the_studies_of_some_sites(stocked: Database, level: str) -> None:
    """Sites narrow what there is at all: before pages are cut, whatever the keys say, at every level."""
    cabinet = replace(ALL, level=level, sites=frozenset({"CABINET"}))
    assert set(found(stocked, cabinet)) == {3, 4}
    assert found(stocked, replace(cabinet, limit=1)) == [4]
    assert found(stocked, replace(cabinet, keys={"StudyInstanceUID": "2.25.1\\2.25.3"}))[0] == 3
    assert found(stocked, replace(cabinet, keys={"StudyInstanceUID": "2.25.1"})) == []
    assert set(found(stocked, replace(cabinet, sites=frozenset({"CABINET", "CHU"})))) == {1, 2, 3, 4, 5}
    assert found(stocked, replace(cabinet, sites=frozenset({"nowhere"}))) == []


@pytest.mark.parametrize(
    ("value", "studies"),
    [
        ("moreau", [1]),
        ("MORE hel", [1]),
        ("hel MORE", [1]),
        ("paul", [2]),
        ("anne gall", [3]),
        ("mari", [3]),
        ("モロー", [3]),
        ("エレ", [3]),
        ("brien", [4]),
        ("elene", []),
        ("mor kim", []),
        ("50%_", [5]),
        ("[x]", [5]),
        ("_ore", []),
        ("%", []),
        ("*", [5, 4, 3, 2, 1]),
        ("^", [5, 4, 3, 2, 1]),
    ],
)
def test_fuzzy_names(stocked: Database, value: str, studies: list[int]) -> None:
    """Each word begins a word of the name, in any order and any group; what is special to a database is not to us."""
    assert found(stocked, replace(ALL, keys={"PatientName": value}, is_fuzzy=True)) == studies


def test_fuzziness_is_for_names_alone(stocked: Database) -> None:
    """Other keys are matched as they are, and names too unless it is asked for."""
    assert found(stocked, replace(ALL, keys={"PatientID": "PID"}, is_fuzzy=True)) == []
    assert found(stocked, replace(ALL, keys={"PatientID": "PID1", "PatientName": ""}, is_fuzzy=True)) == [1]
    assert found(stocked, replace(ALL, keys={"PatientName": "paul"})) == []


def test_a_name_of_very_many_words(stocked: Database) -> None:
    """More words than a name can have are not looked for."""
    with pytest.raises(InvalidIdentifier, match="words"):
        found(stocked, replace(ALL, keys={"PatientName": " ".join("abcdefghi")}, is_fuzzy=True))
