"""Instances and their copies: indexing them, finding them again, the state of each copy; must not touch files."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Column, Select, bindparam, select

from archive.errors import InvalidIdentifier
from archive.index import models, successors
from archive.index.expressions import any_of, number_of, split_values, stream
from archive.index.hierarchy import Hierarchy
from archive.index.records import LocatedCopy, NewInstance, StoredInstance, StoredLocation, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into, rows_in, rows_of
from archive.part10.attributes import INSTANCE

_KEYWORDS: Final = tuple(attribute.keyword for attribute in INSTANCE)
_INSERT_INSTANCE: Final = insert_into(
    "instance",
    [
        "id",
        "series_fk",
        "transfer_syntax_uid",
        "dataset_sha256",
        "dataset_size",
        "flags",
        "received_at",
        "calling_ae_title",
        *(attribute.column for attribute in INSTANCE),
    ],
)
_INSERT_LOCATION: Final = insert_into(
    "location", ["instance_fk", "tier", "key", "sha256", "header_size", "size_bytes", "state"]
)
_FIND_DIGESTS: Final = Statement(
    "SELECT dataset_sha256, NULL FROM instance WHERE sop_instance_uid = ? "
    "UNION ALL SELECT dataset_sha256, NULL FROM successor WHERE sop_instance_uid = ? "
    "UNION ALL SELECT NULL, list_id FROM tombstone WHERE sop_instance_uid = ?"
)
_LAST_ID: Final = Statement("SELECT COALESCE(MAX(id), 0) FROM instance")
_NEXT_IDS: Final = Statement("SELECT nextval(pg_get_serial_sequence('instance', 'id')) FROM generate_series(1, ?)")
_DIGESTS: Final = (
    "SELECT study_instance_uid, sop_instance_uid, dataset_sha256 FROM study "
    "JOIN series ON series.study_fk = study.id JOIN instance ON instance.series_fk = series.id "
    "WHERE study_instance_uid IN (%s)"
)
_LARGEST_BATCH: Final = 500
_DESTROYED: Final = b""
"""Stands for the digest of an instance that has a tombstone."""
_COPY_COLUMNS: Final = ("tier", "key", "sha256", "header_size", "size_bytes", "state")
_PACKED_COLUMNS: Final = ("offset_bytes", "transfer_syntax_uid", "dataset_sha256")
_COPY_SQL: Final = ", ".join(
    [*(f"location.{name}" for name in _COPY_COLUMNS), "pack.key", *(f"location.{name}" for name in _PACKED_COLUMNS)]
)
_SET_STATE: Final = Statement("UPDATE location SET state = ?, verified_at = COALESCE(?, verified_at) WHERE key = ?")
_COPIES: Final = Statement(
    "SELECT location.id, sop_instance_uid, instance.dataset_sha256, dataset_size, verified_at, "
    f"{_COPY_SQL} FROM location JOIN instance ON instance.id = location.instance_fk "
    "LEFT JOIN pack ON pack.id = location.pack_fk WHERE location.id > ? ORDER BY location.id LIMIT ?"
)
_RETRIEVED: Final = (
    select(
        models.instance.c.id,
        models.study.c.study_instance_uid,
        models.series.c.series_instance_uid,
        models.instance.c.sop_instance_uid,
        models.instance.c.sop_class_uid,
        models.instance.c.transfer_syntax_uid,
        models.instance.c.dataset_sha256,
        models.instance.c.dataset_size,
        *(models.location.c[name] for name in _COPY_COLUMNS),
        models.pack.c.key,
        *(models.location.c[name] for name in _PACKED_COLUMNS),
    )
    .select_from(
        models.instance.join(models.series)
        .join(models.study)
        .join(models.patient)
        .outerjoin(models.location)
        .outerjoin(models.pack, models.pack.c.id == models.location.c.pack_fk)
    )
    .order_by(
        models.study.c.id,
        number_of(models.series.c.series_number).nulls_last(),
        models.series.c.id,
        number_of(models.instance.c.instance_number).nulls_last(),
        models.instance.c.id,
        models.location.c.tier.desc(),  # "hot" comes before "cold"
        models.location.c.id,
    )
)


class AddOutcome(enum.Enum):
    """What adding an instance came to."""

    ADDED = "added"
    SAME = "same"
    """Stored already, with the same bytes."""
    CONFLICT = "conflict"
    """Stored already, with other bytes: the first stay."""
    DESTROYED = "destroyed"
    """Eliminated, as a tombstone says: it does not come back."""


class InstanceWriter:
    """Indexes instances within the caller's transaction; one for a process, used by one thread at a time.

    It remembers the ids of patients, studies and series it saw. Call ``committed`` or ``rolled_back`` after each
    transaction, and ``forget`` when such rows were deleted by anyone.
    """

    def __init__(self) -> None:
        self._hierarchy = Hierarchy()

    def add(self, connection: Connection, batch: Sequence[NewInstance]) -> list[AddOutcome]:
        """Index each instance not stored yet, with its location; return one outcome per item, in order.

        A duplicate changes nothing, whatever it says of patient, study and series. Runs in ``Database.write``.
        """
        outcomes: list[AddOutcome] = []
        for start in range(0, len(batch), _LARGEST_BATCH):
            outcomes += self._add(connection, batch[start : start + _LARGEST_BATCH])
        return outcomes

    def committed(self) -> None:
        """Say that the transaction is committed: the ids it used are true for the next ones."""
        self._hierarchy.keep()

    def rolled_back(self) -> None:
        """Say that the transaction did not happen."""
        self._hierarchy.drop()

    def forget(self) -> None:
        """Forget all ids, because patients, studies or series were deleted."""
        self._hierarchy.clear()

    def _add(self, connection: Connection, batch: Sequence[NewInstance]) -> list[AddOutcome]:
        uids = [item.header.values["SOPInstanceUID"] for item in batch]
        known = _known_digests(connection, uids)
        outcomes = []
        new: list[tuple[NewInstance, int, tuple[str, ...]]] = []
        for item in batch:
            uid = item.header.values["SOPInstanceUID"]
            digests = known.get(uid)
            if digests == {_DESTROYED}:
                outcomes.append(AddOutcome.DESTROYED)
            elif digests is None:
                known[uid] = {item.dataset_sha256}
                new.append((item, *self._hierarchy.resolve(connection, item)))
                outcomes.append(AddOutcome.ADDED)
            else:
                outcomes.append(AddOutcome.SAME if item.dataset_sha256 in digests else AddOutcome.CONFLICT)
        if new:
            _insert(connection, new)
        return outcomes


def find_digests(connection: Connection, sop_instance_uid: str) -> list[bytes] | str:
    """Return the SHA-256 of every data set that is known under a UID; of a destroyed instance the id of its list.

    Empty: never heard of. Two: a lossy copy that kept the UID of the instance whose place it took. What is stored
    counts before what was destroyed: whoever asks in order to delete must not hear that it is gone.
    """
    rows = _FIND_DIGESTS.run(connection, (sop_instance_uid,) * 3).fetchall()
    found = [bytes(digest) for digest, _ in rows if digest is not None]
    return found if found or not rows else str(rows[0][1])


def find_digest(connection: Connection, sop_instance_uid: str) -> bytes | str | None:
    """Return the SHA-256 of the stored data set of an instance; of a destroyed one the id of its list; or None."""
    found = find_digests(connection, sop_instance_uid)
    return found if isinstance(found, str) else next(iter(found), None)


@lru_cache(maxsize=_LARGEST_BATCH)
def _digests_statement(count: int) -> Statement:
    places = ", ".join("?" * count)
    return Statement(
        f"SELECT sop_instance_uid, NULL FROM tombstone WHERE sop_instance_uid IN ({places}) "
        f"UNION ALL SELECT sop_instance_uid, dataset_sha256 FROM successor WHERE sop_instance_uid IN ({places}) "
        f"UNION ALL SELECT sop_instance_uid, dataset_sha256 FROM instance WHERE sop_instance_uid IN ({places})"
    )


def _known_digests(connection: Connection, uids: Sequence[str]) -> dict[str, set[bytes]]:
    """Return the digests known under those UIDs that are known; of destroyed ones ``_DESTROYED``."""
    found: dict[str, set[bytes]] = {}
    for uid, digest in _digests_statement(len(uids)).run(connection, (*uids, *uids, *uids)):
        found.setdefault(uid, set()).add(_DESTROYED if digest is None else bytes(digest))
    return found


def _insert(connection: Connection, new: Sequence[tuple[NewInstance, int, tuple[str, ...]]]) -> None:
    """Insert instances and their locations under ids chosen here: nobody else writes meanwhile."""
    ids = _new_ids(connection, len(new))
    _INSERT_INSTANCE.run_many(
        connection,
        [
            (
                instance_id,
                series_id,
                item.transfer_syntax_uid,
                item.dataset_sha256,
                item.dataset_size,
                "\\".join((*item.flags, *flags)),
                to_text(item.received_at),
                item.calling_ae_title,
                *map(item.header.values.get, _KEYWORDS),
            )
            for instance_id, (item, series_id, flags) in zip(ids, new, strict=True)
        ],
    )
    _INSERT_LOCATION.run_many(
        connection,
        [
            (instance_id, at.tier, at.key, at.sha256, at.header_size, at.size_bytes, "present")
            for instance_id, at in zip(ids, (item.location for item, _, _ in new), strict=True)
        ],
    )


def _new_ids(connection: Connection, count: int) -> list[int]:
    if connection.dialect.name == "postgresql":
        return [row[0] for row in _NEXT_IDS.run(connection, (count,))]
    last = _LAST_ID.one(connection)
    assert last is not None
    return list(range(last[0] + 1, last[0] + 1 + count))


def iter_instances(
    connection: Connection,
    *,
    patient: str | None = None,
    study: str | None = None,
    series: str | None = None,
    sops: Iterable[str] | None = None,
) -> Iterator[StoredInstance]:
    """Stream the instances that match all the unique keys given, ordered by study, series number, instance number.

    ``patient`` (a PatientID), ``study`` and ``series`` are values as in an identifier: one, or several joined by
    backslashes. A SOP Instance UID of ``sops`` that is no more means the copy that took its place. Raises
    InvalidIdentifier when no key is given: the whole archive is never meant.
    """
    resolved = None if sops is None else successors.resolved(connection, sops)
    wanted = {
        models.patient.c.patient_id: patient,
        models.study.c.study_instance_uid: study,
        models.series.c.series_instance_uid: series,
        models.instance.c.sop_instance_uid: None if resolved is None else "\\".join(resolved),
    }
    given = [(column, split_values(value)) for column, value in wanted.items() if value is not None]
    if not given:
        raise InvalidIdentifier(reason="no unique key says which instances are meant")
    if all(values for _, values in given):
        for _, copies in groupby(_retrieved(connection, given), key=itemgetter(0)):
            yield _stored_instance(list(copies))


def _retrieved(connection: Connection, given: Sequence[tuple[Column[str], Sequence[str]]]) -> Iterator[Any]:
    """Yield the rows of instances; for one study or less without what SQLAlchemy takes to make up a query each time."""
    if any(column is models.patient.c.patient_id or len(values) > 1 for column, values in given):
        return stream(connection, _RETRIEVED.where(*(any_of(column, values) for column, values in given)))
    query = _retrieved_by(*(column for column, _ in given))
    return rows_of(connection, query, {column.name: value for column, (value,) in given})


@lru_cache(maxsize=8)
def _retrieved_by(*columns: Column[str]) -> Select[Any]:
    """Return the query by one value of each of these columns, under its name."""
    return _RETRIEVED.where(*(column == bindparam(column.name) for column in columns))


def iter_locations(connection: Connection, *, after_id: int = 0, limit: int = 1000) -> Iterator[LocatedCopy]:
    """Yield the next ``limit`` copies by ascending ``location_id`` after ``after_id``: a page of a fixity check."""
    for row in _COPIES.rows(connection, (after_id, limit)):
        location_id, uid, digest, size, verified_at = row[:5]
        moment = None if verified_at is None else from_text(verified_at)
        yield LocatedCopy(location_id, uid, digest, size, moment, StoredLocation(*row[5:]))


def iter_digests(connection: Connection, study_instance_uids: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yield (Study UID, SOP Instance UID, SHA-256 of the data set) of every instance of these studies, as received.

    A lossy copy is told as what it took the place of: a study says the same before and after it goes cold.
    """
    histories = successors.histories(connection, study_instance_uids)
    for study, uid, digest in rows_in(connection, _DIGESTS, study_instance_uids):
        first = histories[uid][-1] if uid in histories else None
        yield (study, uid, bytes(digest)) if first is None else (study, first.sop_instance_uid, first.dataset_sha256)


def set_location_state(connection: Connection, key: str, state: str, *, verified_at: datetime | None = None) -> bool:
    """Set the state of the copy under ``key`` and, when given, when it was verified; tell whether there is one."""
    moment = None if verified_at is None else to_text(verified_at)
    changed: int = _SET_STATE.run(connection, (state, moment, key)).rowcount
    return changed == 1


def _stored_instance(copies: Sequence[Any]) -> StoredInstance:
    """Return the instance of consecutive rows, one for each copy; a row without a key stands for no copy."""
    locations = tuple([StoredLocation(*copy[8:]) for copy in copies if copy[9] is not None])
    instance_id, study, series, sop, sop_class, syntax, digest, size = copies[0][:8]
    return StoredInstance(instance_id, study, series, sop, sop_class, syntax, digest, size, locations)
