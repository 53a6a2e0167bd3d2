"""The worker that migrates re-makes too when it is told to, and the command does it by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.bootstrap_tiering import migration_of
from archive.cli.options import opened, read_settings
from archive.clock import monotonic, utc_now
from archive.index import set_aside
from archive.index.session import Database
from archive.services.migration import Migration
from archive.services.migration_queue import MigrationQueue
from archive.services.trim_hot import HotTrimmer
from archive.worker import Worker
from tests.integration.disposal.conftest import Office, open_office, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.proving import count, events
from tests.integration.tiering.remaking import ON_SQLITE, contents, go_cold, instances, remaker, send_ct
from tests.integration.tiering.test_by_itself import QUICK, Refusing, migration, wait_until
from tests.integration.tiering.test_tier_commands import Run, drimbox, migrate, office, run
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk
from tiering.stores.filesystem import FileStore

__all__ = ["drimbox", "office", "run"]


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Iterator[Office]:
    """Lend an empty archive; ``office`` is the home of the commands here."""
    yield from open_office(database, Clock(), tmp_path, OsDisk())


def both(side: ColdSide) -> Migration:
    """Return all that moves studies, re-making too."""
    work, clock = remaker(side), side.office.clock
    queue = MigrationQueue(work, monotonic)
    return replace(migration(side), remaker=work, next_remade=lambda limit: queue.due(clock().date(), limit))


@contextmanager
def working(side: ColdSide, folder: Path) -> Iterator[None]:
    """Have a worker at it meanwhile."""
    url = f"sqlite:///{folder / 'workflows.db'}"
    worker = Worker(
        both(side),
        QUICK,
        system_database_url=url,
        executor_id="test",
        is_open=lambda: True,
        clock=side.office.clock,
    )
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def test_what_is_cold_is_made_lossy_beside_what_goes_cold(archive: Office, tmp_path: Path) -> None:
    """Each study once, new ones go cold, and when the grace period is over the lossless packs go."""
    side = ColdSide(archive)
    send_ct(side, 1)
    send_ct(side, 2)
    go_cold(side, 1, 2)
    archive.store(3)
    side.sealed()
    with working(side, tmp_path):
        wait_until(lambda: count(side, "pack_trim") == 3)
        archive.days(2)
        archive.sweep()
        wait_until(lambda: count(side, "pack_trim") == 0)
    assert count(side, "successor") == 4
    assert events(side).count("remade") == 2
    assert len(side.cold_keys()) == 3
    assert [len(contents(side, side.cold, study)) for study in (1, 2, 3)] == [2, 2, 2]


@ON_SQLITE
def test_a_study_that_cannot_be_re_made_is_set_aside_and_stays_lossless(archive: Office, tmp_path: Path) -> None:
    """Tried twice, told why, left alone until somebody asks; others are re-made."""
    store = Refusing()
    side = ColdSide(archive, store)
    send_ct(side, 1)
    send_ct(side, 2)
    go_cold(side, 1, 2)
    before, store.study = instances(side, 2), study_uid(2)
    database = archive.ledger.database

    def failed() -> list[tuple[str, int]]:
        with database.read() as connection:
            return [(each.study_instance_uid, each.attempts) for each in set_aside.all_of(connection)]

    policy = replace(remaker(side).impact.policy, attempts=2)
    with working(side, tmp_path):
        wait_until(lambda: count(side, "successor") == 2 and failed() != [])
    assert failed()[0][0] == study_uid(2)
    assert instances(side, 2) == before
    with database.write(synced=True) as connection:
        set_aside.leave_alone(connection, study_uid(2), "as asked", archive.clock())
    assert list(remaker(side, policy=policy).due()) == []


@ON_SQLITE
def test_the_steps_know_what_is_to_be_done_with_a_study(archive: Office) -> None:
    """What is hot migrates; what is cold as a whole is re-made, once nothing is due to migrate."""
    side = ColdSide(archive)
    send_ct(side, 1)
    go_cold(side, 1)
    archive.store(3)
    side.sealed()
    steps = both(side)
    assert list(steps.due(5)) == [study_uid(3), study_uid(1)]
    assert list(steps.due(1)) == [study_uid(3)]
    for study, is_remade in ((3, None), (1, True)):
        uid = study_uid(study)
        prepared = [steps.prepare(uid, series) for series in steps.series_of(uid)]
        assert [each.get("remade") for each in prepared] == [is_remade]
        assert steps.switch(uid, json.loads(json.dumps(prepared)))["packs"] == 1
    assert list(steps.due(5)) == []
    assert count(side, "successor") == 2


# ---- by hand ---------------------------------------------------------------------------------------------------------


def switch_lossy(office: Office, *, is_on: bool) -> None:
    """Switch lossy copies on or off in the settings."""
    path = office.rig.root / "drimbox.toml"
    was, now = f"enabled = {str(not is_on).lower()}", f"enabled = {str(is_on).lower()}"
    path.write_text(path.read_text().replace(was, now))


def trim(office: Office) -> None:
    """Let the hot packs go, without waiting for a grace period."""
    store = FileStore(OsDisk(), office.rig.root / "cold")
    stores = replace(office.stores, cold=store)
    assert HotTrimmer(office.rig.committer, stores, store, utc_now, timedelta()).run().trimmed == 1


def test_the_command_says_what_it_would_do_and_does_it(run: Run, office: Office) -> None:
    """A study that went cold while lossy copies were off: the report, a dry run, the act, and the way back."""
    switch_lossy(office, is_on=False)
    assert migrate(run)["lossy"] == 0
    assert run("tier", "remake").exit_code == 11
    switch_lossy(office, is_on=True)
    kept = run("tier", "remake", study_uid(1), "--apply", as_olga=True)
    assert kept.exit_code == 3
    assert "grace period" in kept.output
    trim(office)
    assert "drimbox tier remake" in run("tier", "impact").stdout
    shown = run("tier", "remake")
    assert "Dry run" in shown.stdout and "forecast" in shown.stdout, shown.output
    dry = json.loads(run("tier", "remake", "--site", "default", "--json").stdout)["report"]
    assert (dry["studies"], dry["packs"]) == (1, 1)
    assert 0 < dry["gain_bytes"] < dry["size_bytes"]
    assert run("tier", "remake", "--apply").exit_code == 2
    assert run("tier", "remake", study_uid(1), "--site", "default").exit_code == 2
    done = run("tier", "remake", "--max", "3", "--apply", "--json", as_olga=True)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["report"] == {"studies": 1, "packs": 1, "lossy": 1, "left": []}
    assert "largest error" in run("tier", "evidence", study_uid(1)).stdout
    assert run("verify").exit_code == 0
    assert run("tier", "rollback", study_uid(1), as_olga=True).exit_code == 0
    assert json.loads(run("tier", "remake", "--json").stdout)["report"]["studies"] == 0
    assert run("tier", "retry", study_uid(1), as_olga=True).exit_code == 0
    assert json.loads(run("tier", "remake", "--json").stdout)["report"]["studies"] == 1


@ON_SQLITE
def test_by_itself_is_off_unless_the_settings_say_so(office: Office) -> None:
    """With migration.remake the worker's steps have what re-makes."""
    path = office.rig.root / "drimbox.toml"
    for is_on in (False, True):
        if is_on:
            path.write_text(path.read_text().replace("[migration]", "[migration]\nremake = true"))
        with opened(read_settings(None, {"home": office.rig.root})) as core:
            assert (migration_of(core).remaker is not None) is is_on
