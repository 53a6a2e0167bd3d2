"""What proves and repairs an archive with a cold store, for the tests of that; must not decide what is right."""

from __future__ import annotations

from archive.services.cold_fixity import ColdFixity
from archive.services.cold_repair import Repair, RepairReport
from archive.services.fixity import Fixity
from archive.services.reports import ColdVerifyReport, VerifyReport
from archive.services.turns import Budget
from tests.integration.disposal.conftest import nothing
from tests.integration.index.making import value
from tests.integration.tiering.cold_side import ColdSide
from tiering.stores.memory import MemoryStore


def verify_cold(side: ColdSide, percent: float = 100.0) -> ColdVerifyReport:
    """Read the cold packs whose turn it is."""
    rig = side.office.rig
    return ColdFixity(rig.committer, side.cold, side.office.clock, Budget(percent)).verify(nothing)


def verify_hot(side: ColdSide, percent: float = 100.0) -> VerifyReport:
    """Read the hot copies whose turn it is."""
    rig = side.office.rig
    return Fixity(rig.committer, rig.disk, rig.hot, side.office.clock, Budget(percent)).verify(nothing)


def repair(side: ColdSide, *damaged: str) -> RepairReport:
    """Repair what is damaged by the index, and the packs that are named."""
    return Repair(side.office.rig.committer, side.stores, side.office.clock, "olga").run(damaged)


def count(side: ColdSide, table: str, where: str = "1 = 1") -> int:
    """Return how many rows of a table there are."""
    found = value(side.office.ledger.database, f"SELECT COUNT(*) FROM {table} WHERE {where}")
    assert isinstance(found, int)
    return found


def flip(side: ColdSide, key: str, position: int) -> None:
    """Change a byte of a cold object, which its store does not notice."""
    assert isinstance(side.cold, MemoryStore)
    data = bytearray(b"".join(side.cold.read(key)))
    data[position] ^= 1
    side.cold.damage(key, bytes(data))


def flip_file(side: ColdSide, name: str, position: int) -> None:
    """Change a byte of a hot pack."""
    path = side.office.rig.root / name
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def events(side: ColdSide) -> list[str]:
    """Return the kinds of the journal's entries."""
    return [row.event for row in side.office.journal()]
