"""Sealing while the archive serves: everything quiet is found, once, and nothing is looked at twice for ever."""

from __future__ import annotations

from datetime import timedelta

from archive.services.seal import Sealer
from archive.services.seal_keeper import SealKeeper
from archive.services.trim import Trimmer
from tests.integration.disposal.conftest import Office
from tests.integration.index.making import value


def keeper(office: Office) -> SealKeeper:
    """Return what seals by itself, an hour after the last object, and trims a day later."""
    rig = office.rig
    sealer = Sealer(rig.committer, office.stores, office.clock, timedelta(hours=1))
    return SealKeeper(sealer, Trimmer(rig.committer, office.stores, office.clock, timedelta(hours=24)))


def packed(office: Office) -> int:
    """Return how many packs the index has."""
    return int(value(office.ledger.database, "SELECT COUNT(*) FROM pack"))


def test_whatever_becomes_quiet_is_sealed(office: Office) -> None:
    """Studies that come, grow and rest in any order are each sealed when they have been quiet, none is forgotten."""
    keeping = keeper(office)
    for study in range(1, 8):
        office.store(study)
        if study % 3 == 0:
            office.store(study - 2, instances=3)
        keeping._turn()
        office.clock.advance(minutes=25)
    for _ in range(8):
        office.clock.advance(minutes=25)
        keeping._turn()
    assert value(office.ledger.database, "SELECT COUNT(*) FROM location WHERE pack_fk IS NULL") == 0
    assert packed(office) >= 7


def test_what_is_sealed_is_not_looked_for_again(office: Office) -> None:
    """Once everything is sealed, only what came since is looked for."""
    keeping = keeper(office)
    office.store(1)
    keeping._turn()
    office.clock.advance(hours=2)
    keeping._turn()
    assert packed(office) == 1
    assert keeping._turn()
    assert keeping._since_instance == 2
    office.store(2)
    office.clock.advance(hours=2)
    keeping._turn()
    assert packed(office) == 2


def test_received_files_are_trimmed_by_itself(office: Office) -> None:
    """A day after, without a command."""
    keeping = keeper(office)
    office.store(1)
    office.clock.advance(hours=2)
    keeping._turn()
    assert len([path for path in office.files() if path.startswith("hot/2")]) == 2
    office.clock.advance(hours=25)
    keeping._turn()
    assert [path for path in office.files() if path.startswith("hot/2")] == []


def test_it_ends_when_it_is_asked_to(office: Office) -> None:
    """Stopped before it did anything, or after, it returns, and stopping what never started is harmless."""
    keeping = keeper(office)
    keeping.stop()
    keeping = keeper(office)
    keeping.start()
    keeping.stop()
