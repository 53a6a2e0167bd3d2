"""Which lossy copy took the place of which instance, and what the instance was; must not decide whether one may.

A copy may keep its predecessor's UID, where a site wants that: two digests are then known for one UID.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from archive.index.session import Connection
from archive.index.statements import Statement, insert_into, rows_in


class Successor(NamedTuple):
    """An instance as it was received, and the UID of what took its place.

    Transfer syntax, SHA-256 (32 bytes) and size in bytes are of the data set that was received.
    """

    sop_instance_uid: str
    successor_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    dataset_sha256: bytes
    dataset_size: int


_COLUMNS: Final = Successor._fields
_ADD: Final = insert_into("successor", _COLUMNS, " ON CONFLICT (sop_instance_uid) DO NOTHING")
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM successor"
_RESOLVE: Final = "SELECT sop_instance_uid, successor_uid FROM successor WHERE sop_instance_uid IN (%s)"
_OF_STUDIES: Final = f"{_SELECT} WHERE study_instance_uid IN (%s)"
_BEFORE: Final = Statement("SELECT sop_instance_uid FROM successor WHERE successor_uid = ?")
_ANY: Final = Statement("SELECT 1 FROM successor LIMIT 1")


def add(connection: Connection, rows: Iterable[Successor]) -> None:
    """Keep what instances were; of a UID that is known the first stays."""
    values = list(rows)
    if values:
        _ADD.run_many(connection, values)


def resolve(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, str]:
    """Return for those of these UIDs that are no more the one that took their place, in the end."""
    if not sop_instance_uids or _ANY.one(connection) is None:
        return {}
    steps: dict[str, str] = {}
    asked = set(sop_instance_uids)
    while asked:
        found = {old: new for old, new in rows_in(connection, _RESOLVE, asked) if old != new}
        steps.update(found)
        asked = set(found.values()) - steps.keys()
    return {uid: _end(steps, uid) for uid in sop_instance_uids if uid in steps}


def resolved(connection: Connection, sop_instance_uids: Iterable[str]) -> list[str]:
    """Return these UIDs, each that is no more replaced by the one that took its place; none twice, in their order."""
    wanted = list(sop_instance_uids)
    found = resolve(connection, wanted)
    return list(dict.fromkeys(found.get(uid, uid) for uid in wanted))


def received_as(connection: Connection, sop_instance_uid: str) -> str:
    """Return the UID under which an instance was received: its own, or that of what it took the place of."""
    uid, passed = sop_instance_uid, {sop_instance_uid}
    while (row := _BEFORE.one(connection, (uid,))) is not None and row[0] not in passed:
        uid = row[0]
        passed.add(uid)
    return uid


def of_studies(connection: Connection, study_instance_uids: Collection[str]) -> Iterator[Successor]:
    """Yield what was replaced in these studies."""
    yield from map(_row, rows_in(connection, _OF_STUDIES, study_instance_uids))


def histories(connection: Connection, study_instance_uids: Collection[str]) -> dict[str, list[Successor]]:
    """Return what the copies in these studies took the place of, by UID of the copy: the latest first.

    So the last of each is what was received.
    """
    before = {row.successor_uid: row for row in of_studies(connection, study_instance_uids)}
    return {uid: _history(before, uid) for uid in before}


def _end(steps: Mapping[str, str], uid: str) -> str:
    """Follow a chain to its last UID; one that is a circle ends where it began."""
    passed = {uid}
    while (uid := steps.get(uid, uid)) not in passed:
        passed.add(uid)
    return uid


def _history(before: Mapping[str, Successor], uid: str) -> list[Successor]:
    found: list[Successor] = []
    while (row := before.get(uid)) is not None and row not in found:
        found.append(row)
        uid = row.sop_instance_uid
    return found


def _row(row: tuple[object, ...]) -> Successor:
    found = Successor._make(row)
    return found._replace(dataset_sha256=bytes(found.dataset_sha256))
