"""drimbox retention assess: the machine contract, line by line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archive.cli import root
from archive.cli.retention import iter_answers, iter_lines
from tests.unit.retention_rules.golden import CASES

KEYS = ["case", "eligible_on", "lossless_until", "due", "blocked_by", "rule", "reasons", "assumptions"]
GOOD = b'{"case":"c1","regime":"hospital","exam_on":"2010-03-02","birth_on":"1950-07-14"}'


def assess(text: bytes, *options: str, as_of: str = "2030-01-01") -> Result:
    """Run the command on standard input."""
    return CliRunner().invoke(root, ["retention", "assess", "--facts", "-", "--as-of", as_of, *options], input=text)


def answers(text: bytes) -> list[dict[str, Any]]:
    """Return the answers to lines, each of which is an error or not as its flag says."""
    found = list(iter_answers(io.BytesIO(text), date(2030, 1, 1), "prudent"))
    assert all(("error" in json.loads(line)) == is_wrong for line, is_wrong in found)
    return [json.loads(line) for line, _ in found]


class TestContract:
    """What goes in and what comes out."""

    @pytest.mark.parametrize("reading", ["prudent", "statute"])
    def test_golden_cases_come_out_in_order(self, reading: str) -> None:
        """Every golden case of a reading goes through the command: one line each, same order, the expected values."""
        cases = [case for case in CASES if case.reading == reading and case.as_of == date(2030, 1, 1)]
        text = "".join(json.dumps({"case": case.name, **case.facts}) + "\n" for case in cases)
        result = assess(text.encode(), "--reading", reading)
        assert result.exit_code == 0 and result.stderr == ""
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["case"] for line in lines] == [case.name for case in cases]
        for line, case in zip(lines, cases, strict=True):
            assert list(line) == KEYS
            assert (line["eligible_on"] or "never") == case.expect["eligible_on"]
            assert (line["rule"] or "none") == case.expect["rule"]
            assert line["blocked_by"] == case.expect.get("blocked_by", [])

    def test_prudent_is_the_default(self) -> None:
        """Without --reading the longer keeping wins."""
        late = GOOD.replace(b"}", b',"death_on":"2021-06-30"}')
        assert json.loads(assess(late).stdout)["eligible_on"] == "2031-07-01"
        assert json.loads(assess(late, "--reading", "statute").stdout)["eligible_on"] == "2030-03-03"

    def test_a_file_is_read(self, tmp_path: Path) -> None:
        """Facts come from a file, with or without a newline at its end."""
        file = tmp_path / "facts.jsonl"
        file.write_bytes(GOOD + b"\n" + GOOD)
        result = CliRunner().invoke(root, ["retention", "assess", "--facts", str(file), "--as-of", "2030-03-03"])
        assert [json.loads(line)["due"] for line in result.stdout.splitlines()] == [True, True]

    def test_an_empty_file_has_no_answer(self) -> None:
        """Nothing in, nothing out, done."""
        result = assess(b"")
        assert (result.exit_code, result.stdout) == (0, "")

    @pytest.mark.parametrize("case", ["c1", 7, 1.5, None, True, "é\u2028\u0000", "\ud800"])
    def test_the_case_comes_back_as_it_was(self, case: object) -> None:
        """Whatever names the case is given back, in plain ASCII."""
        line = json.dumps({**json.loads(GOOD), "case": case})
        (answer,) = iter_answers(io.BytesIO(line.encode()), date(2030, 1, 1), "prudent")
        assert json.loads(answer[0])["case"] == case and answer[0].isascii() and answer[0].count("\n") == 1


class TestWrongLines:
    """A line that cannot be read is answered on its line, and the others go on."""

    @pytest.mark.parametrize(
        ("line", "case", "error"),
        [
            (b"nope", None, "the line is not JSON."),
            (b"", None, "the line is not JSON."),
            (b'{"case":"x"', None, "the line is not JSON."),
            (b'{"case":"x"} {}', None, "the line is not JSON."),
            (b'{"case":"\xe9"}', None, "the line is not JSON."),
            (b'{"case":NaN}', None, "the line is not JSON."),
            (b"[" * 100_000, None, "the line is not JSON."),
            (b'{"case":' + b"9" * 5000 + b"}", None, "the line is not JSON."),
            (b"[]", None, "the line is not a JSON object."),
            (b"null", None, "the line is not a JSON object."),
            (b'{"case":["x"]}', None, "case is not a text or a number."),
            (b"{}", None, "exam_on is missing."),
            (b'{"case":"x","regime":"hospital"}', "x", "exam_on is missing."),
            (b'{"case":"x","exam_on":"2010-03-02"}', "x", "regime is missing."),
            (b'{"case":"x","regime":"spa","exam_on":"2010-03-02"}', "x", "regime is not hospital or private."),
            (b'{"case":"x","regime":"hospital","exam_on":"2010-02-30"}', "x", "exam_on is not a date"),
            (b'{"case":3,"regime":"hospital","exam_on":"2010","deceased":"no"}', 3, "deceased is not true or false."),
        ],
        ids=range(17),
    )
    def test_it_is_answered_in_its_place(self, line: bytes, case: object, error: str) -> None:
        """The answer has the case where it could be read, and why; the lines around it are assessed."""
        first, wrong, last = answers(b"\n".join([GOOD, line, GOOD, b""]))
        assert first == last and first["rule"] == "hospital.base"
        assert list(wrong) == ["case", "error"] and wrong["case"] == case and wrong["error"].startswith(error)

    def test_exit_code_is_3(self) -> None:
        """One wrong line among good ones ends the command with 3, all answers given."""
        result = assess(GOOD + b"\nnope\n" + GOOD * 1 + b"\n")
        assert result.exit_code == 3 and len(result.stdout.splitlines()) == 3

    def test_a_line_too_long_for_memory_is_one_error(self) -> None:
        """A line of megabytes is not held: it is one error, and the next line is assessed."""
        long = b'{"case":"' + b"x" * (5 << 20) + b'"}'
        assert [len(line) for line in iter_lines(io.BytesIO(long + b"\n" + GOOD))] == [1 << 20, len(GOOD)]
        wrong, good = answers(long + b"\n" + GOOD)
        assert wrong["error"] == "the line is not JSON." and good["case"] == "c1"


class TestUsage:
    """Options."""

    @pytest.mark.parametrize(
        "options",
        [
            ["--facts", "-"],
            ["--as-of", "2030-01-01"],
            ["--facts", "-", "--as-of", "2030-02-30"],
            ["--facts", "-", "--as-of", "tomorrow"],
            ["--facts", "gone.jsonl", "--as-of", "2030-01-01"],
            ["--facts", "-", "--as-of", "2030-01-01", "--reading", "generous"],
        ],
    )
    def test_wrong_usage_is_2(self, options: list[str]) -> None:
        """A missing or wrong option stops the command before anything is answered."""
        result = CliRunner().invoke(root, ["retention", "assess", *options], input=GOOD)
        assert result.exit_code == 2 and result.stdout == ""


class TestProcess:
    """The command as a process of its own."""

    def test_it_needs_no_archive_and_nothing_heavy(self, tmp_path: Path) -> None:
        """It runs in an empty folder, writes nothing there, and loads neither settings nor database nor libraries."""
        script = (
            "import contextlib, sys\nfrom archive.cli import root\n"
            "words = 'retention assess --facts - --as-of 2030-01-01'.split()\n"
            "with contextlib.suppress(SystemExit): root.main(words)\n"
            "heavy = {'pydantic', 'sqlalchemy', 'pydicom', 'numpy', 'rich', 'structlog', 'archive.config'}\n"
            "print(*(heavy & set(sys.modules)))"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run(
            [sys.executable, "-c", script], input=GOOD, capture_output=True, cwd=tmp_path, env=environment, check=True
        )
        answer, loaded = done.stdout.decode().split("\n")[:2]
        assert json.loads(answer)["case"] == "c1" and loaded == "" and list(tmp_path.iterdir()) == []

    def test_memory_does_not_grow(self) -> None:
        """Ten times the lines take no more memory to answer: nothing is kept of a line."""
        import tracemalloc

        def peak(lines: int) -> int:
            file = io.BytesIO((GOOD + b"\n") * lines)
            tracemalloc.start()
            for _ in iter_answers(file, date(2030, 1, 1), "prudent"):
                pass
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return used

        peak(10)
        assert peak(2000) < peak(200) + 20_000
