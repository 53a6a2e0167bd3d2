"""The proof of the ledger as an operator asks for it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.retention.test_facts_commands import Run, drimbox, home, run

__all__ = ["drimbox", "home", "run"]


def test_a_ledger_that_was_changed_is_told(run: Run, home: Path) -> None:
    """``audit verify`` reads the ledger to its end: whole it has a head, tampered with it has exit code 20."""
    whole = json.loads(run("audit", "verify", "--json", who=None).stdout)
    assert whole["ledger_events"] == 3
    assert len(whole["ledger_head"]) == 64
    (path,) = (home / "ledger").iterdir()
    path.write_bytes(path.read_bytes().replace(b"Anne Le Goff", b"Anne Le Gogg"))
    broken = run("audit", "verify", who=None)
    assert (broken.exit_code, "ledger is broken" in broken.stderr) == (20, True)


def test_a_broken_ledger_stops_decisions_and_nothing_else(run: Run, home: Path) -> None:
    """Looking at the archive goes on, with an error in the log; a fact is refused with exit code 20."""
    (path,) = (home / "ledger").iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    looked = run("status", who=None)
    assert (looked.exit_code, "ledger_broken" in looked.stderr) == (0, True), looked.output
    told = run("facts", "add", "visit", "P1", "--from", "2020-01-01", "--reason", "told by phone")
    assert (told.exit_code, "Restore its files" in told.stderr) == (20, True), told.output
