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
