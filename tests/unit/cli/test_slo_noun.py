"""``drimbox slo``: what probes came to."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from click.testing import CliRunner, Result

from archive.cli import root
from archive.clock import utc_now
from archive.index import probes
from archive.index.probes import Probed
from archive.index.session import Database


def run(home: Path, *options: str) -> Result:
    """Run the command on a home."""
    return CliRunner().invoke(root, ["slo", "--home", str(home), *options])


def test_percentiles_are_printed_by_tier_and_site(tmp_path: Path) -> None:
    """In seconds; what failed has no times; only the days asked for."""
    database, now = Database(f"sqlite:///{tmp_path / 'index.db'}"), utc_now()
    database.migrate()
    with database.write(synced=True) as connection:
        for days, first in ((0, 120), (1, 250), (20, 9000)):
            probes.add(connection, Probed(now - timedelta(days=days), "hot", "CHU", 600, 1, first, 3400, ""))
        probes.add(connection, Probed(now, "cold", "CHU", 0, 0, 1, 1, "0 of 3 came"))
    database.close()
    header, cold, hot = run(tmp_path).stdout.splitlines()
    assert header.split()[:5] == ["tier", "site", "probes", "failed", "in"]
    assert cold.split()[:5] + cold.split()[5:6] == ["cold", "CHU", "1", "1", "0", "-"]
    assert hot.split()[:7] == ["hot", "CHU", "2", "0", "2", "0.12", "s"]
    found = json.loads(run(tmp_path, "--days", "30", "--json").stdout)
    assert [(each["tier"], each["probes"], each["kept"]) for each in found] == [("cold", 1, 0), ("hot", 3, 2)]


def test_without_probes_it_says_how_to_have_some(tmp_path: Path) -> None:
    """An empty table would look like an error."""
    database = Database(f"sqlite:///{tmp_path / 'index.db'}")
    database.migrate()
    database.close()
    assert "probe.every_minutes" in run(tmp_path).stdout
