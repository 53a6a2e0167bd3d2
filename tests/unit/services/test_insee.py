"""INSEE's records: fixed width in characters, whatever the encoding, the junk and the damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from archive.services.insee import BadLine, Death, family_key, first_name_key, iter_deaths, partial_date
from tests.insee import insee_line


def read(folder: Path, data: bytes) -> list[Death | BadLine]:
    """Read a file of these bytes."""
    path = folder / "deces-2025-m06.txt"
    path.write_bytes(data)
    return [each for _, each in iter_deaths(path)]


def read_one(folder: Path, line: str | bytes) -> Death | BadLine:
    """Read a file of one line."""
    (found,) = read(folder, (line.encode() if isinstance(line, str) else line) + b"\r\n")
    return found


def test_every_field_is_where_the_layout_says(tmp_path: Path) -> None:
    """Names, sex, dates, places and the number of the deed, each trimmed."""
    line = insee_line("LE GOFF", "ANNE-MARIE JEANNE", deed="00012")
    assert len(line) == 176
    assert read_one(tmp_path, line) == Death(
        name="LE GOFF",
        first_names="ANNE-MARIE JEANNE",
        sex="F",
        born_on="1950-07-14",
        birth_place="75056",
        birth_town="PARIS",
        died_on="2025-06-30",
        reference="20250630 69123 00012",
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_columns_are_characters(tmp_path: Path, encoding: str) -> None:
    """Accents move nothing, in UTF-8 and in the Latin-1 of old files."""
    found = read_one(tmp_path, insee_line("GÉRÔME", "ÉLÉONORE").encode(encoding))
    assert isinstance(found, Death)
    assert (found.name, found.first_names, found.born_on) == ("GÉRÔME", "ÉLÉONORE", "1950-07-14")


def test_junk_behind_the_record_is_left(tmp_path: Path) -> None:
    """Lines of up to 198 characters, and those cut after the date of death, are records."""
    long = read_one(tmp_path, insee_line(deed="1234") + "X" * 22)
    assert isinstance(long, Death)
    assert long.reference == "20250630 69123 1234"
    short = read_one(tmp_path, insee_line()[:162])
    assert isinstance(short, Death)
    assert (short.died_on, short.reference) == ("2025-06-30", "20250630  MOREAU HELENE MARIE")


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("19500714", "1950-07-14"),
        ("19500700", "1950-07"),
        ("19500000", "1950"),
        ("19500014", "1950"),
        ("00000000", None),
        ("19501301", None),
        ("19500231", None),
    ],
)
def test_unknown_parts_of_dates(text: str, iso: str | None) -> None:
    """A day or month 00 is unknown, a year 0000 makes the date unknown, an impossible day too."""
    assert partial_date(text) == iso


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("MOREAU*HELENE/", "has 14 characters"),
        (insee_line().replace("*", " "), "does not begin with NAME"),
        (insee_line().replace("/", " "), "does not begin with NAME"),
        (insee_line(""), "does not begin with NAME"),
        (insee_line(sex="3"), "has no sex or no dates"),
        (insee_line(born="1950071X"), "has no sex or no dates"),
        (insee_line(died="2025 630"), "has no sex or no dates"),
        ("X" * 9000, "is longer than any record"),
    ],
)
def test_a_bad_line_is_told_and_the_next_is_read(tmp_path: Path, line: str, reason: str) -> None:
    """The line's number and why; records before and behind it are read."""
    before, bad, behind = read(tmp_path, f"{insee_line()}\n{line}\n{insee_line()}".encode())
    assert isinstance(before, Death) and before == behind
    assert isinstance(bad, BadLine)
    assert bad.line == 2
    assert reason in bad.reason


def test_empty_lines_and_marks_are_nothing(tmp_path: Path) -> None:
    """A byte order mark, blank lines and the end mark of old systems are no records."""
    assert len(read(tmp_path, b"\xef\xbb\xbf" + insee_line().encode() + b"\r\n\r\n\n\x1a")) == 1


@given(st.lists(st.binary(max_size=250)))
def test_any_bytes_are_deaths_or_bad_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """Whatever the file holds, nothing is raised."""
    found = read(tmp_path_factory.getbasetemp(), b"\n".join(lines))
    assert all(isinstance(each, Death | BadLine) for each in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [("LE GOFF", "Le-Goff"), ("D'ARC", "darc"), ("GÉRÔME", "gerome"), ("N'GUYEN", "NGUYEN"), ("DUPONT ", "dupont")],
)
def test_family_names_are_their_letters(one: str, other: str) -> None:
    """Case, accents, spaces, dashes and apostrophes do not tell two names apart."""
    assert family_key(one) == family_key(other) != ""


def test_the_first_first_name_counts() -> None:
    """Of several first names the first is compared, as the INS does."""
    assert first_name_key("JEAN-PIERRE MARIE") == first_name_key("Jean Pierre") == first_name_key("JEAN") == "jean"
    assert first_name_key("") == first_name_key("-") == ""
