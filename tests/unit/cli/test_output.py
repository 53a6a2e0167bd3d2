"""How answers look: JSON, columns, sizes, moments, progress."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, strategies as st

from archive.cli.output import moment_text, print_json, print_pairs, print_table, progress_bar, size_text
from archive.services.reports import ImportReport, VerifyReport

Captured = pytest.CaptureFixture[str]
PARIS = timezone(timedelta(hours=1))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


_UNASKED = {"cold": None, "repaired": None, "not_repaired": None, "originals": 0}


class TestJson:
    """print_json."""

    def test_report_is_an_object(self, capsys: Captured) -> None:
        """A report is an object of its fields, its sequences lists."""
        print_json(ImportReport(1, 2, 3, [("a.dcm", "no UID")], 4))
        assert json.loads(capsys.readouterr().out) == {
            "stored": 1,
            "duplicates": 2,
            "conflicts": 3,
            "refused": [["a.dcm", "no UID"]],
            "skipped": 4,
        }

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (datetime(2026, 11, 23, 7, 35, 29, 5, tzinfo=PARIS), "2026-11-23T06:35:29.000005Z"),
            (Path("/srv/home"), "/srv/home"),
            (MappingProxyType({"CHU": 2}), {"CHU": 2}),
            ((VerifyReport(1, (), ("k",)),), [{"checked": 1, "damaged": [], "missing": ["k"], **_UNASKED}]),
            ((number for number in (1, 2)), [1, 2]),
            ("Hôpital \x9b", "Hôpital \x9b"),
            (None, None),
        ],
    )
    def test_values_have_one_json_form(self, capsys: Captured, value: object, expected: object) -> None:
        """Moments are UTC, paths text, mappings objects, and whatever can be iterated a list."""
        print_json({"value": value})
        out = capsys.readouterr().out
        assert json.loads(out) == {"value": expected}
        assert out.isascii()

    def test_what_has_no_form_is_a_mistake(self) -> None:
        """An object JSON does not know is our mistake, not text in the answer."""
        with pytest.raises(TypeError, match="object has no JSON form"):
            print_json(object())


class TestColumns:
    """print_table and print_pairs."""

    def test_columns_are_as_wide_as_their_widest_cell(self, capsys: Captured) -> None:
        """Cells are aligned under their header, two spaces apart, without spaces at the end."""
        print_table([("a", 1), ("long one", 22)], header=("name", "n"))
        assert capsys.readouterr().out == "name      n\na         1\nlong one  22\n"

    def test_pairs_are_aligned(self, capsys: Captured) -> None:
        """Values stand under each other, after the longest name."""
        print_pairs({"a": 1, "longer": "x"})
        assert capsys.readouterr().out == "a:       1\nlonger:  x\n"

    def test_nothing_prints_nothing(self, capsys: Captured) -> None:
        """No rows and no header are no lines; a header alone is printed."""
        print_table([])
        assert capsys.readouterr().out == ""
        print_table([], header=("name",))
        assert capsys.readouterr().out == "name\n"

    @given(text=st.text(max_size=40))
    def test_peers_cannot_steer_the_terminal(self, text: str) -> None:
        """Whatever a peer sent, a cell is one line of printable characters."""
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            print_table([(text, "end")])
        line = out.getvalue()
        assert line.endswith("  end\n") and line[:-1].isprintable()

    def test_escape_sequences_are_made_visible(self, capsys: Captured) -> None:
        """An escape sequence in an AE title is printed as question marks."""
        print_table([("CT\x1b[31m\n",)])
        assert capsys.readouterr().out == "CT?[31m?\n"


class TestWords:
    """Sizes and moments for people."""

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 * 1024**3, "5.0 GiB"),
            (3 * 1024**5, "3.0 PiB"),
            (4096 * 1024**5, "4096.0 PiB"),
        ],
    )
    def test_size(self, size: int, text: str) -> None:
        """Sizes use the largest binary unit that keeps them above one."""
        assert size_text(size) == text

    def test_moment_is_utc(self) -> None:
        """Moments are told in UTC whatever their own zone; no moment is a dash."""
        assert moment_text(datetime(2026, 11, 23, 0, 30, tzinfo=PARIS)) == "2026-11-22 23:30:00Z"
        assert moment_text(datetime(2026, 11, 23, tzinfo=UTC)) == "2026-11-23 00:00:00Z"
        assert moment_text(None) == "-"


class TestProgress:
    """progress_bar."""

    def test_no_terminal_no_bar(self, capsys: Captured) -> None:
        """In a pipe or a log file no bar is drawn."""
        with progress_bar("verifying") as progress:
            progress(1, 2)
        captured = capsys.readouterr()
        assert captured.out == captured.err == ""

    def test_terminal_gets_a_bar(self, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
        """On a terminal the bar has its label and counts, on standard error only."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with progress_bar("verifying") as progress:
            progress(0, 0)
            progress(7, 12)
        assert "verifying" in terminal.getvalue() and "7/12" in terminal.getvalue()
        assert capsys.readouterr().out == ""
