"""Files of facts: what is read, and what is said of files and lines that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from archive.errors import UnreadableFacts
from archive.services.fact_files import Defaults, FactFile, Problem
from archive.services.facts import NewFact

DEFAULTS = Defaults(source="file:GAM", site="CHU", sites=frozenset({"CHU", "Clinique"}))
HEADER = "patient_id,kind,from_on,to_on,reference,site,trusted"


def write(folder: Path, text: str | bytes, name: str = "facts.csv") -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(folder: Path, text: str | bytes, kind: str | None = None) -> list[tuple[int, NewFact | Problem]]:
    """Read a file of this text."""
    defaults = Defaults(DEFAULTS.source, DEFAULTS.site, DEFAULTS.sites, kind)
    return list(FactFile(write(folder, text), defaults).read())


def facts(folder: Path, text: str | bytes, kind: str | None = None) -> list[NewFact]:
    """Read a file that has only good lines."""
    found = [each for _, each in read(folder, text, kind)]
    assert all(isinstance(each, NewFact) for each in found), found
    return [each for each in found if isinstance(each, NewFact)]


def problem(folder: Path, line: str, header: str = HEADER) -> tuple[int, str | None, str]:
    """Return what is wrong with the only line of a file."""
    ((_, found),) = read(folder, f"{header}\n{line}\n")
    assert isinstance(found, Problem), found
    return found.line, found.column, found.reason


def test_every_column_is_read(tmp_path: Path) -> None:
    """A line that says everything is the fact it says."""
    (fact,) = facts(tmp_path, f"{HEADER}\nP1,visit,2020-01-01,05/01/2020,V12,Clinique,no\n")
    assert fact == NewFact("Clinique", "P1", "visit", "file:GAM", "V12", "2020-01-01", "2020-01-05", is_trusted=False)


def test_a_french_excel_file(tmp_path: Path) -> None:
    """Semicolons, French names with accents, Windows-1252, dates of the day first, a blank line and quotes."""
    text = 'IPP;Nature;Début;Fin;Numéro\r\n"P;1";Séjour;31/12/2020;2/1/2021;n° 1\r\n\r\nP2;DÉCÈS;1/2/2020;;\r\n'
    file = FactFile(write(tmp_path, text.encode("cp1252")), DEFAULTS)
    assert (file.layout.encoding, file.layout.delimiter) == ("Windows-1252 (Latin-1)", "semicolon")
    assert [(line, each) for line, each in file.read()] == [
        (2, NewFact("CHU", "P;1", "visit", "file:GAM", "n° 1", "2020-12-31", "2021-01-02")),
        (4, NewFact("CHU", "P2", "death", "file:GAM", "P2", "2020-02-01")),
    ]


@pytest.mark.parametrize(
    ("codec", "name"),
    [("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8 with BOM"), ("cp1252", "Windows-1252 (Latin-1)")],
)
def test_encodings_are_named(tmp_path: Path, codec: str, name: str) -> None:
    """The encoding is found out and told; the text is the same in each."""
    file = FactFile(write(tmp_path, "ipp\tkind\tdate\nHÉ1\tvisit\t2020\n".encode(codec)), DEFAULTS)
    assert (file.layout.encoding, file.layout.delimiter) == (name, "tab")
    assert [each.patient_id for _, each in file.read() if isinstance(each, NewFact)] == ["HÉ1"]


def test_a_late_byte_that_is_no_utf8_is_found(tmp_path: Path) -> None:
    """The whole file is looked at: a letter of Windows-1252 in its last line decides."""
    lines = "patient_id,kind,date\n" + "P1,visit,2020\n" * 100_000
    file = FactFile(write(tmp_path, lines.encode() + "é,visit,2020".encode("cp1252")), DEFAULTS)
    assert file.layout.encoding == "Windows-1252 (Latin-1)"
    assert [each.patient_id for _, each in file.read() if isinstance(each, NewFact)] == ["P1", "é"]


def test_json_lines(tmp_path: Path) -> None:
    """One object a line, with the same names; null is nothing, true and false are yes and no."""
    lines = [
        {"patient_id": "P1", "kind": "appeal", "from_on": "20200101", "to_on": None},
        {"IPP": "P2", "kind": "deceased", "trusted": False},
    ]
    found = facts(tmp_path, "".join(json.dumps(line) + "\n" for line in lines))
    assert found == [
        NewFact("CHU", "P1", "appeal", "file:GAM", "P1 2020-01-01", "2020-01-01"),
        NewFact("CHU", "P2", "deceased", "file:GAM", "P2", is_trusted=False),
    ]


def test_the_kind_may_be_given_for_the_whole_file(tmp_path: Path) -> None:
    """A file of visits only needs no column that says so; a cell that says otherwise goes before."""
    assert [each.kind for each in facts(tmp_path, "ipp,date\nP1,2020\n", "visit")] == ["visit"]
    assert [each.kind for each in facts(tmp_path, "ipp,date,kind\nP1,2020,birth\nP1,2020,\n", "visit")] == [
        "birth",
        "visit",
    ]


def test_references_of_their_own(tmp_path: Path) -> None:
    """Without a reference a visit is known by its days, an appeal by its first, birth and death by the patient."""
    lines = ["P1,visit,2020,2021", "P1,visit,2020,", "P1,appeal,2020,2021", "P1,birth,1950,", "P1,death,2022,"]
    found = facts(tmp_path, "ipp,kind,date,fin\n" + "\n".join(lines))
    assert [each.reference for each in found] == ["P1 2020 2021", "P1 2020", "P1 2020", "P1", "P1"]


def test_a_line_told_twice_counts_once(tmp_path: Path) -> None:
    """The same fact again, even written otherwise, is left out; another under its reference is a bad line."""
    text = "ipp,kind,date\nP1,death,2020-01-01\nP1,death,01/01/2020\nP1,death,2020-01-02\n"
    (_, first), (line, second) = read(tmp_path, text)
    assert isinstance(first, NewFact)
    assert isinstance(second, Problem)
    assert (line, second.line, second.column) == (4, 4, "reference")
    assert second.reason.startswith("says otherwise than line 2")


@pytest.mark.parametrize(
    ("line", "column", "told"),
    [
        (",visit,2020,,,,", "patient_id", "is missing"),
        ("P1,holiday,2020,,,,", "kind", "is not one of visit"),
        ("P1,,2020,,,,", "kind", "is not one of visit"),
        ("P1,visit,,,,,", "from_on", "is missing: a visit has a date"),
        ("P1,death,,,,,", "from_on", "is missing: a death has a date"),
        ("P1,visit,12/31/2020,,,,", "from_on", "is not a date"),
        ("P1,visit,2020-02-30,,,,", "from_on", "is not a date"),
        ("P1,visit,2020,2019,,,", "to_on", "lies before from_on"),
        ("P1,visit,2020,,,Elsewhere,", "site", "is not a site"),
        ("P1,visit,2020,,,,perhaps", "trusted", "is neither yes nor no"),
        ("P1,visit,2020", None, "has 3 cells, line 1 names 7 columns"),
        ("P1,visit,2020,,,,,", None, "has 8 cells"),
        ('P1,visit,"2020,,,,', None, "its quotes do not match"),
        ('P1,vi"sit",2020,,,"a"b,', None, "its quotes do not match"),
        ("P\0,visit,2020,,,,", None, "holds zero bytes"),
        ("P\x811,visit,2020,,,,", "patient_id", "is longer than 128 characters or has characters that do not print"),
    ],
)
def test_a_bad_line_says_where(tmp_path: Path, line: str, column: str | None, told: str) -> None:
    """Line number, column and what to mend; never a value."""
    number, found, reason = problem(tmp_path, line)
    assert (number, found) == (2, column)
    assert told in reason
    assert "P1" not in reason


@pytest.mark.parametrize(
    ("line", "column", "told"),
    [
        ('{"patient_id": "P1"', None, "is not JSON"),
        ("[1]", None, "is not a JSON object"),
        ("[" * 30_000, None, "is not JSON"),
        ('{"patient_id": 12, "kind": "visit"}', "patient_id", "is not a text"),
        ('{"patient_id": "P1", "when": "2020"}', "when", "is not one of patient_id"),
        ('{"date": "2020", "from": "2021"}', "from", "is there twice"),
        ('{"kind": "visit", "date": "2020"}', "patient_id", "is missing"),
    ],
)
def test_a_bad_json_line_says_where(tmp_path: Path, line: str, column: str | None, told: str) -> None:
    """JSON Lines with a line that is none: the line, the key, what to mend; the others are read."""
    good = '{"patient_id": "P1", "kind": "visit", "date": "2020"}'
    (_, first), (number, found), (_, last) = read(tmp_path, f'{good}\n{line}\n{good[:-1]}, "to": "2021"}}\n')
    assert isinstance(found, Problem)
    assert (number, found.column) == (2, column)
    assert told in found.reason
    assert isinstance(first, NewFact) and isinstance(last, NewFact)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("P1,visit,2020\n", "line 1 does not name the columns: patient_id, kind"),
        ("patient_id,kind,from_no\n", "line 1, column 3: 'from_no' is not one of patient_id"),
        ("ipp;nature;prénom\nP1;visite;Zoé\n".encode("cp1252"), "line 1, column 3: 'prénom' is not one of patient_id"),
        ("patient_id,kind,date,from\n", "line 1, column 4: from_on is there twice"),
        ("kind,from_on\n", "the column patient_id is missing"),
        ("from_on,to_on\n", "the column patient_id and kind is missing"),
        ('patient_id,"kind\n', "line 1: "),
        ("patient_id,kind\n" + "x" * 70_000, "line 2 is longer than 65536 characters"),
        ("patient_id;kind".encode("utf-16"), "it is UTF-16: save it as CSV UTF-8"),
        (b"PK\x03\x04rest", "it is a workbook or an archive"),
        (b"\x00\x01\x02\x03\xff", "line 1 does not name the columns"),
    ],
)
def test_what_is_no_file_of_facts(tmp_path: Path, text: str | bytes, told: str) -> None:
    """Wrong, missing or no columns, other encodings, workbooks: one error that says what to do."""
    with pytest.raises(UnreadableFacts) as caught:
        read(tmp_path, text)
    assert told in caught.value.message


@given(st.binary(max_size=200))
def test_any_bytes_are_facts_problems_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever a file holds behind its header, each line is a fact or a problem and nothing else is raised."""
    folder = tmp_path_factory.getbasetemp()
    try:
        found = read(folder, b"patient_id,kind,from_on\n" + data)
    except UnreadableFacts:
        return
    assert all(isinstance(each, NewFact | Problem) for _, each in found)
