"""Which copies are to be verified next: those that were longest not; must not read one, nor judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.cold import pack_row
from archive.index.packs import PackRow
from archive.index.records import LocatedCopy, StoredLocation, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement


class Turn(NamedTuple):
    """Whose turn it is: row, and when it was verified last, "" for never. They come in this order."""

    verified_at: str
    row_id: int


FIRST: Final = Turn("", 0)


class PackCopy(NamedTuple):
    """A copy in a cold pack: where it begins, and the digests (32 bytes) of its header and its data set."""

    key: str
    sop_instance_uid: str
    offset_bytes: int
    header_size: int
    size_bytes: int
    sha256: bytes
    dataset_sha256: bytes
    state: str


@dataclass(frozen=True, slots=True)
class ColdPack:
    """A cold pack and every copy that the index has in it, in their order there."""

    row: PackRow
    copies: Sequence[PackCopy]


_PACK: Final = (
    "pack.key, tier, study_instance_uid, series_instance_uid, generation, size_bytes, sha256, created_at, "
    "store_generation"
)
_OF_PACK: Final = "(SELECT MIN(COALESCE(verified_at, '')) FROM location WHERE pack_fk = pack.id)"
_TURNS: Final = (
    "SELECT turn, id FROM (SELECT id, CASE WHEN at > ? THEN '' ELSE COALESCE(at, '') END AS turn "
    "FROM ({}) AS dated) AS turns WHERE turn > ? OR (turn = ? AND id > ?) ORDER BY turn, id LIMIT ?"
)
"""A date in the future says nothing: the clock was wrong then."""
_COLD_TURNS: Final = Statement(_TURNS.format(f"SELECT id, {_OF_PACK} AS at FROM pack WHERE tier = 'cold'"))
_HOT_TURNS: Final = Statement(_TURNS.format("SELECT id, verified_at AS at FROM location WHERE tier = 'hot'"))
_COUNT_COLD: Final = Statement("SELECT COUNT(*) FROM pack WHERE tier = 'cold'")
_COUNT_HOT: Final = Statement("SELECT COUNT(*) FROM location WHERE tier = 'hot'")
_COLD_PACK: Final = Statement(f"SELECT {_PACK} FROM pack WHERE id = ?")
_COPIES: Final = Statement(
    "SELECT location.key, sop_instance_uid, offset_bytes, header_size, size_bytes, sha256, "
    "COALESCE(location.dataset_sha256, instance.dataset_sha256), state "
    "FROM location JOIN instance ON instance.id = instance_fk WHERE pack_fk = ? ORDER BY offset_bytes"
)
_HOT_COPY: Final = Statement(
    "SELECT location.id, sop_instance_uid, instance.dataset_sha256, dataset_size, verified_at, location.tier, "
    "location.key, location.sha256, location.header_size, location.size_bytes, state, pack.key, offset_bytes, "
    "location.transfer_syntax_uid, location.dataset_sha256 FROM location JOIN instance ON instance.id = instance_fk "
    "LEFT JOIN pack ON pack.id = pack_fk WHERE location.id = ?"
)
_BROKEN: Final = Statement(
    f"SELECT {_PACK} FROM pack WHERE tier = ? AND pack.key > ? AND EXISTS "
    "(SELECT 1 FROM location WHERE pack_fk = pack.id AND state <> 'present') ORDER BY pack.key LIMIT ?"
)


def cold_turns(connection: Connection, now: datetime, after: Turn, limit: int) -> list[Turn]:
    """Return the next cold packs after one, those that were verified longest before ``now`` first."""
    return [Turn(at, row_id) for at, row_id in _COLD_TURNS.rows(connection, _bounds(now, after, limit))]


def hot_turns(connection: Connection, now: datetime, after: Turn, limit: int) -> list[Turn]:
    """Return the next hot copies after one, those that were verified longest before ``now`` first."""
    return [Turn(at, row_id) for at, row_id in _HOT_TURNS.rows(connection, _bounds(now, after, limit))]


def count_cold(connection: Connection) -> int:
    """Return how many cold packs there are."""
    return _count(_COUNT_COLD, connection)


def count_hot(connection: Connection) -> int:
    """Return how many hot copies there are."""
    return _count(_COUNT_HOT, connection)


def find_cold_pack(connection: Connection, row_id: int) -> ColdPack | None:
    """Return a pack with its copies, None when it went since."""
    row = _COLD_PACK.one(connection, (row_id,))
    if row is None:
        return None
    copies = [PackCopy._make(copy) for copy in _COPIES.rows(connection, (row_id,))]
    return ColdPack(
        pack_row(row),
        [copy._replace(sha256=bytes(copy.sha256), dataset_sha256=bytes(copy.dataset_sha256)) for copy in copies],
    )


def find_hot_copies(connection: Connection, turns: Sequence[Turn]) -> list[LocatedCopy]:
    """Return the copies whose turn it is, without those that went since."""
    rows = [_HOT_COPY.one(connection, (turn.row_id,)) for turn in turns]
    return [_located(row) for row in rows if row is not None]


def broken_packs(connection: Connection, tier: str, after_key: str, limit: int) -> list[PackRow]:
    """Return the next packs of a tier, by key, in which a copy is damaged or missing."""
    return [pack_row(row) for row in _BROKEN.rows(connection, (tier, after_key, limit))]


def _bounds(now: datetime, after: Turn, limit: int) -> tuple[object, ...]:
    return (to_text(now), after.verified_at, after.verified_at, after.row_id, limit)


def _count(statement: Statement, connection: Connection) -> int:
    row = statement.one(connection)
    assert row is not None
    return int(row[0])


def _located(row: Sequence[object]) -> LocatedCopy:
    location_id, uid, digest, size, verified_at, *copy = row
    moment = None if verified_at is None else from_text(str(verified_at))
    assert isinstance(location_id, int)
    assert isinstance(size, int)
    assert isinstance(digest, bytes)
    return LocatedCopy(location_id, str(uid), digest, size, moment, StoredLocation(*copy))  # type: ignore[arg-type]
