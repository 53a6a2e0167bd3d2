"""``drimbox tier recall`` on a real archive whose cold store freezes what it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from archive import bootstrap_tiering
from archive.cli import recalling
from archive.clock import utc_now
from archive.index.session import Database
from archive.services.accounts import Accounts, NewAccount
from tests.integration.disposal.conftest import open_office, study_uid
from tests.integration.tiering.reading import Reading, open_reading
from tests.unit.cli.conftest import Drimbox, drimbox
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk
from tiering.errors import StoreUnavailable

__all__ = ["drimbox"]

PASSWORD = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def reading(database: Database, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    """Lend the archive of a home with two frozen studies and two accounts."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "drimbox.toml").write_text(f'[index]\nurl = "{url}"\n')
    for office in open_office(database, Clock(utc_now()), home, OsDisk()):
        accounts = Accounts(office.ledger)
        accounts.set(NewAccount("olga", "Olga Ruiz", frozenset({"operator"})), PASSWORD, by=None)
        olga = accounts.authenticate("olga", PASSWORD)
        accounts.set(NewAccount("diane", "Diane Noël", frozenset({"director"})), PASSWORD, by=olga)
        with open_reading(office, tmp_path / "cache") as found:
            found.go_cold(1, 2, instances=2)
            found.store.freeze()
            monkeypatch.setattr(bootstrap_tiering, "cold_of", lambda _core: found.store)
            yield found


@pytest.fixture
def run(drimbox: Drimbox, reading: Reading) -> Run:
    """Give a function that runs ``drimbox tier recall`` on that home, as somebody when one is named."""

    def call(*arguments: str, who: str | None = None) -> Result:
        env = {"DRIMBOX_HOME": str(reading.office.rig.root), "DRIMBOX_PASSWORD": PASSWORD}
        return drimbox("tier", "recall", *arguments, *(() if who is None else ("--as", who)), env=env)

    return call


def test_looking_asks_for_nothing(run: Run, reading: Reading) -> None:
    """Without a name it only tells: packs, how many can be read, how much is still to come; exit code 3."""
    shown = run(study_uid(1))
    assert shown.exit_code == 3, shown.output
    lines = dict(line.split(":", 1) for line in shown.stdout.splitlines() if ":" in line)
    assert [lines[name].strip() for name in ("packs", "readable", "thawing", "frozen")] == ["1", "0", "0", "1"]
    assert "Nothing was asked for. Give --as NAME to do it." in shown.stdout
    assert reading.store.thaws == []


def test_several_studies_are_asked_for_and_looked_after(run: Run, reading: Reading) -> None:
    """With a name all are asked for; once they have thawed the same command finds them readable."""
    asked = json.loads(run(study_uid(1), study_uid(2), study_uid(1), "--json", who="olga").stdout)
    assert [(each["study_instance_uid"], each["waiting"]) for each in asked["studies"]] == [
        (study_uid(1), 1),
        (study_uid(2), 1),
    ]
    assert len(reading.store.thaws) == 2
    assert [row.actor for row in reading.office.journal() if row.event == "recalled"] == ["olga", "olga"]
    reading.store.finish_thaws()
    done = run(study_uid(1), study_uid(2))
    assert (done.exit_code, "frozen:    0" in done.stdout) == (0, True), done.output


def test_waiting_ends_when_all_can_be_read(run: Run, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """--wait looks again and again and returns once nothing thaws any more."""
    looked: list[float] = []

    def sleep(seconds: float) -> None:
        looked.append(seconds)
        if len(looked) == 2:
            reading.store.finish_thaws()

    monkeypatch.setattr(recalling, "sleep", sleep)
    done = run(study_uid(1), "--wait", "--json", who="olga")
    assert (done.exit_code, len(looked)) == (0, 2), done.output
    assert json.loads(done.stdout)["studies"][0]["readable"] == 1


def test_waiting_for_what_nobody_asked_for_ends_at_once(run: Run, reading: Reading) -> None:
    """Nothing thaws: there is nothing to wait for."""
    assert run(study_uid(1), "--wait").exit_code == 3
    assert reading.store.thaws == []


def test_the_estimate_is_called_one(run: Run, reading: Reading) -> None:
    """With a storage class that is known the moment is told, and that it is the provider's estimate."""
    config = reading.office.rig.root / "drimbox.toml"
    config.write_text(config.read_text() + '[cold]\nstorage_class = "DEEP_ARCHIVE"\n')
    shown = run(study_uid(1), who="olga")
    assert "by the provider's estimate" in shown.stdout, shown.output
    told = json.loads(run(study_uid(1), "--json").stdout)["studies"][0]
    assert told["expected_at"] > told["requested_at"]


def test_a_pack_that_is_gone_is_told(run: Run, reading: Reading) -> None:
    """A study with a pack that is not in the store is not said to be readable."""
    reading.store.lose(reading.wanted(1)[0].location.pack_key or "")
    shown = run(study_uid(1), who="olga")
    assert (shown.exit_code, "1: drimbox verify" in shown.stdout) == (3, True), shown.output


def test_who_may_and_what_there_is(run: Run, reading: Reading) -> None:
    """A director may not spend the money of a thaw; an unknown study and a store that is down are told."""
    refused = run(study_uid(1), who="diane")
    assert (refused.exit_code, reading.store.thaws) == (22, [])
    assert run("1.2.3", who="olga").exit_code == 26
    assert run().exit_code == 2
    reading.store.down = StoreUnavailable(reason="no route")
    down = run(study_uid(1), who="olga")
    assert (down.exit_code, "no route" in down.stderr) == (16, True), down.output


def test_without_a_cold_store_it_is_told(run: Run, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings name no cold store: which one to set."""
    monkeypatch.undo()
    shown = run(study_uid(1))
    assert (shown.exit_code, "cold.store" in shown.stderr) == (11, True), shown.output
