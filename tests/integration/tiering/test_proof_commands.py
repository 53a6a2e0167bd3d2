"""``drimbox verify``, ``index add-cold`` and ``hold place`` on a home with a cold folder, as operators call them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from archive.clock import utc_now
from archive.index.session import Database
from archive.opening_cold import ColdStore
from archive.services.accounts import Accounts, NewAccount
from tests.integration.disposal.conftest import open_office, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.proving import count, flip_file
from tests.unit.cli.conftest import Drimbox, drimbox
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk
from tiering.errors import StoreUnavailable
from tiering.stores.filesystem import FileStore
from tiering.stores.memory import MemoryStore

__all__ = ["drimbox"]

PASSWORD = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def side(database: Database, url: str, tmp_path: Path) -> Iterator[ColdSide]:
    """Lend the archive of a home with a study in both tiers, the cold one a folder, and an operator."""
    home = tmp_path / "home"
    home.mkdir()
    config = f'[cold]\nstore = "folder"\nfolder = "{home / "cold"}"\n[index]\nurl = "{url}"\n'
    (home / "drimbox.toml").write_text(config)
    store = FileStore.create(OsDisk(), home / "cold")
    for office in open_office(database, Clock(utc_now()), home, OsDisk()):
        Accounts(office.ledger).set(NewAccount("olga", "Olga Ruiz", frozenset({"operator"})), PASSWORD, by=None)
        side = ColdSide(office, store)
        side.sealed(1)
        side.migrate()
        office.rig.committer.barrier()
        yield side


@pytest.fixture
def run(drimbox: Drimbox, side: ColdSide) -> Run:
    """Give a function that runs ``drimbox`` on that home, as somebody when one is named."""

    def call(*arguments: str, who: str | None = None) -> Result:
        env = {"DRIMBOX_HOME": str(side.office.rig.root), "DRIMBOX_PASSWORD": PASSWORD}
        return drimbox(*arguments, *(() if who is None else ("--as", who)), env=env)

    return call


def cold_file(side: ColdSide) -> str:
    """Return the file of the cold pack, below the home."""
    (path,) = (side.office.rig.root / "cold").rglob("*.zip")
    return str(path.relative_to(side.office.rig.root))


def told(result: Result) -> dict[str, Any]:
    """Return what a command printed as JSON."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_both_tiers_are_verified(run: Run, side: ColdSide) -> None:
    """All of both by default; one of them when it is named; a part when a part is asked for."""
    both = told(run("verify", "--json"))
    assert (both["checked"], both["cold"]["checked"]) == (3, 1)
    hot = told(run("verify", "--tier", "hot", "--json"))
    assert (hot["checked"], hot["cold"]) == (3, None)
    cold = told(run("verify", "--tier", "cold", "--percent", "10", "--mib-per-second", "100", "--json"))
    assert (cold["checked"], cold["cold"]["checked"]) == (0, 1)


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_damage_is_found_and_repaired(run: Run, side: ColdSide, tier: str) -> None:
    """Found with exit code 17, repaired in somebody's name with 0, and right from then on."""
    flip_file(side, side.hot_packs()[0] if tier == "hot" else cold_file(side), 2500)
    found = run("verify")
    assert (found.exit_code, "damaged" in found.stdout) == (17, True)
    assert run("verify", "--repair").exit_code == 2
    repaired = run("verify", "--repair", who="olga")
    assert (repaired.exit_code, "repaired" in repaired.stdout) == (0, True), repaired.output
    assert run("verify").exit_code == 0
    assert [row.actor for row in side.office.journal() if row.event == "pack_repaired"] == ["olga"]


def test_what_cannot_be_repaired_is_told(run: Run, side: ColdSide) -> None:
    """Both copies are damaged: 17, and what to do for each."""
    flip_file(side, side.hot_packs()[0], 2500)
    flip_file(side, cold_file(side), 2500)
    result = run("verify", "--repair", who="olga")
    assert (result.exit_code, result.stdout.count("not whole either")) == (17, 2)


def test_a_cold_store_that_is_not_mounted_is_partly_done(run: Run, side: ColdSide) -> None:
    """The hot tier is verified, nothing cold is marked, and the exit code says that not all was read."""
    (side.office.rig.root / "cold" / "drimbox-store").unlink()
    (side.office.rig.root / cold_file(side)).unlink()
    result = run("verify")
    assert (result.exit_code, "mounted" in result.stdout) == (3, True), result.output
    assert count(side, "location", "state <> 'present'") == 0
    refused = run("index", "rebuild")
    assert (refused.exit_code, "--hot-only" in refused.stderr) == (14, True), refused.output


def test_cold_packs_are_added_beside_the_archive(run: Run, side: ColdSide) -> None:
    """Rebuilt without the cold store, then added: everything is there again; a second time there is nothing to add."""
    side.trim()
    side.office.rig.committer.barrier()
    assert run("index", "rebuild", "--hot-only").exit_code == 0
    added = run("index", "add-cold")
    assert added.exit_code == 0, added.output
    assert "instances:" in added.stdout.replace(" ", "")
    assert told(run("index", "add-cold", "--json"))["packs"] == 0
    assert told(run("verify", "--json"))["cold"]["checked"] == 1


def test_without_a_cold_tier_there_is_nothing_to_ask_for(run: Run, side: ColdSide) -> None:
    """Verifying all is verifying what is hot; asking for the cold tier is a mistake in the settings."""
    config = side.office.rig.root / "drimbox.toml"
    config.write_text(config.read_text().partition("[index]")[1] + config.read_text().partition("[index]")[2])
    assert told(run("verify", "--json"))["cold"] is None
    for command in (("verify", "--tier", "cold"), ("index", "add-cold")):
        result = run(*command)
        assert (result.exit_code, "cold.store" in result.stderr) == (11, True), result.output


class Stubborn(MemoryStore):
    """Holds that cannot be set."""

    def set_hold(self, key: str) -> None:
        """Fail."""
        raise StoreUnavailable(reason="no route")


def with_holds(side: ColdSide, monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> MemoryStore:
    """Put the cold packs into a store that can hold, and have the commands open that."""
    for key in side.cold_keys():
        data = b"".join(side.cold.read(key))
        store.put(key, io.BytesIO(data), size_bytes=len(data), sha256=sha256(data).digest())
    monkeypatch.setattr("archive.opening.open_cold_store", lambda *_: ColdStore(store, store))
    return store


WHY = ("--reason", "a judge asks", "--authority", "TGI", "--reference", "n° 12")


@pytest.mark.parametrize("works", [True, False])
def test_a_hold_reaches_the_cold_store_at_once(
    run: Run, side: ColdSide, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """Placed and mirrored; when the store fails the hold is in force all the same, and the operator is told."""
    store = with_holds(side, monkeypatch, MemoryStore() if works else Stubborn())
    result = run("hold", "place", "--study", study_uid(1), *WHY, who="olga")
    assert result.exit_code == 0, result.output
    assert ("no route" in result.stderr) is not works
    assert [store.is_held(key) for key in side.cold_keys()] == [works]
    assert count(side, "pack", "held_at IS NOT NULL") == int(works)


def test_holds_are_mirrored_on_demand(run: Run, side: ColdSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is made up for; what fails again is partly done; with nothing to do nothing is done."""
    failing = with_holds(side, monkeypatch, Stubborn())
    run("hold", "place", "--study", study_uid(1), *WHY, who="olga")
    again = run("hold", "mirror")
    assert (again.exit_code, "no route" in again.stdout) == (3, True), again.output
    assert not any(failing.is_held(key) for key in side.cold_keys())
    store = with_holds(side, monkeypatch, MemoryStore())
    assert told(run("hold", "mirror", "--json"))["held"] == 1
    assert all(store.is_held(key) for key in side.cold_keys())
    assert told(run("hold", "mirror", "--json")) == {"held": 0, "released": 0, "left": []}
