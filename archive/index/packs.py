"""Packs, the copies that lie in them, and received files that wait to be trimmed; must not touch an object."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.records import NewInstance, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into, rows_in, run_in


@dataclass(frozen=True, slots=True)
class PackRow:
    """One pack; ``sha256`` (32 bytes) is the digest of all of it.

    ``store_generation`` is what the cold store calls this version of the object; None of a hot one.
    """

    key: str
    tier: str
    study_instance_uid: str
    series_instance_uid: str
    generation: int
    size_bytes: int
    sha256: bytes
    created_at: datetime
    store_generation: str | None = None


class PackedCopy(NamedTuple):
    """A copy of an instance in a pack, and the received file it stands in for.

    ``sha256`` is the digest of its Part 10 header, ``dataset_sha256`` of its data set; sizes in bytes.
    ``received_key`` is the key of the file as it was received, ``generation`` tells which version of it.
    """

    sop_instance_uid: str
    name: str
    offset_bytes: int
    header_size: int
    size_bytes: int
    sha256: bytes
    dataset_sha256: bytes
    transfer_syntax_uid: str
    received_key: str


class TrimRow(NamedTuple):
    """A received file that a copy in a pack stands in for since ``since``: it may go."""

    key: str
    sop_instance_uid: str
    dataset_sha256: bytes
    generation: str
    size_bytes: int
    since: str


class Loose(NamedTuple):
    """A received file that no pack stands in for yet; digest and sizes as of the index."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: str
    transfer_syntax_uid: str
    dataset_sha256: bytes
    key: str
    header_size: int
    size_bytes: int
    sha256: bytes


_PACK: Final = (
    *("key", "tier", "study_instance_uid", "series_instance_uid", "generation", "size_bytes", "sha256", "created_at"),
    "store_generation",
)
_ADD: Final = insert_into("pack", _PACK, " RETURNING id")
_PACKS_OF: Final = f"SELECT {', '.join(_PACK)} FROM pack WHERE study_instance_uid IN (%s) ORDER BY key"
_LAST: Final = Statement(
    "SELECT COALESCE(MAX(generation), 0) FROM pack WHERE series_instance_uid = ? AND study_instance_uid = ?"
)
_IS_LOOSE: Final = (
    "location.pack_fk IS NULL AND location.tier = 'hot' AND location.state = 'present' AND NOT EXISTS "
    "(SELECT 1 FROM location AS packed WHERE packed.instance_fk = instance.id AND packed.pack_fk IS NOT NULL)"
)
_QUIET: Final = Statement(
    "SELECT study.id, study_instance_uid, study.site FROM study WHERE study.id > ? "
    "AND (? = 0 OR study.id IN (SELECT study_fk FROM instance JOIN series ON series.id = series_fk "
    "WHERE instance.id > ?)) "
    "AND EXISTS (SELECT 1 FROM series JOIN instance ON series_fk = series.id "
    "JOIN location ON instance_fk = instance.id "
    f"WHERE study_fk = study.id AND {_IS_LOOSE}) "
    "AND NOT EXISTS (SELECT 1 FROM series JOIN instance ON series_fk = series.id "
    "WHERE study_fk = study.id AND received_at >= ?) ORDER BY study.id LIMIT ?"
)
_NEWEST: Final = Statement("SELECT COALESCE(MAX(id), 0) FROM instance")
_LOOSE: Final = Statement(
    "SELECT series_instance_uid, sop_instance_uid, sop_class_uid, COALESCE(instance_number, ''), "
    "instance.transfer_syntax_uid, instance.dataset_sha256, location.key, location.header_size, location.size_bytes, "
    "location.sha256 FROM study JOIN series ON study_fk = study.id JOIN instance ON series_fk = series.id "
    "JOIN location ON instance_fk = instance.id "
    f"WHERE study_instance_uid = ? AND {_IS_LOOSE} "
    "ORDER BY series.id, instance.id"
)
_INSTANCE_OF: Final = Statement(
    "SELECT instance.id FROM location JOIN instance ON instance.id = instance_fk "
    "WHERE location.key = ? AND sop_instance_uid = ? AND pack_fk IS NULL AND state = 'present'"
)
_ADD_COPY: Final = insert_into(
    "location",
    (
        *("instance_fk", "tier", "key", "sha256", "header_size", "size_bytes", "state"),
        *("pack_fk", "offset_bytes", "transfer_syntax_uid", "dataset_sha256"),
    ),
)
_PACK_COPY: Final = Statement(
    "UPDATE location SET pack_fk = ?, offset_bytes = ?, transfer_syntax_uid = ?, dataset_sha256 = ? WHERE key = ?"
)
_INSTANCE: Final = Statement("SELECT id FROM instance WHERE sop_instance_uid = ?")
_RECEIVED_TOO: Final = Statement(
    "SELECT loose.key, loose.size_bytes, loose.header_size, loose.sha256 FROM location AS packed "
    "JOIN location AS loose ON loose.instance_fk = packed.instance_fk AND loose.pack_fk IS NULL "
    "WHERE packed.pack_fk = ? AND loose.tier = 'hot' AND loose.state = 'present'"
)
_SUPERSEDE: Final = Statement(
    "INSERT INTO trim (key, sop_instance_uid, dataset_sha256, generation, size_bytes, since) "
    "SELECT ?, sop_instance_uid, ?, ?, ?, ? FROM instance WHERE sop_instance_uid = ? AND dataset_sha256 = ? "
    "AND EXISTS (SELECT 1 FROM location WHERE instance_fk = instance.id AND pack_fk IS NOT NULL AND tier = 'hot') "
    "ON CONFLICT (key) DO NOTHING"
)
_DROP_COPY: Final = Statement("DELETE FROM location WHERE key = ?")
_TRIM: Final = ("key", "sop_instance_uid", "dataset_sha256", "generation", "size_bytes", "since")
_ADD_TRIM: Final = Statement(
    "INSERT INTO trim (key, sop_instance_uid, dataset_sha256, generation, size_bytes, since) "
    "SELECT location.key, sop_instance_uid, instance.dataset_sha256, ?, location.size_bytes, ? "
    "FROM location JOIN instance ON instance.id = instance_fk WHERE location.key = ?"
)
_TRIMS: Final = Statement(f"SELECT {', '.join(_TRIM)} FROM trim WHERE since < ? AND key > ? ORDER BY key LIMIT ?")
_TRIMS_OF: Final = f"SELECT {', '.join(_TRIM)} FROM trim WHERE sop_instance_uid IN (%s)"
_DROP_TRIMS: Final = "DELETE FROM trim WHERE key IN (%s)"
_DROP_PACKS: Final = "DELETE FROM pack WHERE key IN (%s)"
_KNOWN: Final = "SELECT key FROM pack WHERE key IN (%s)"


class NotLoose(Exception):
    """A received file is not there any more as it was when its pack was written."""


def switch(connection: Connection, pack: PackRow, copies: Sequence[tuple[PackedCopy, str]], at: datetime) -> None:
    """Let a pack's copies stand in for the received files they were made of, each with its generation.

    In the caller's writing transaction. Raises NotLoose, and has changed nothing that outlives it, when one of them is
    not as it was.
    """
    pack_id = _ADD.one(connection, _values(pack))
    assert pack_id is not None
    for copy, generation in copies:
        row = _INSTANCE_OF.one(connection, (copy.received_key, copy.sop_instance_uid))
        if row is None:
            raise NotLoose(copy.received_key)
        _ADD_TRIM.run(connection, (generation, to_text(at), copy.received_key))
        _DROP_COPY.run(connection, (copy.received_key,))
        _ADD_COPY.run(connection, _copy_values(row[0], pack_id[0], pack, copy))


def attach(
    connection: Connection, pack: PackRow, copies: Sequence[PackedCopy], new: Collection[str], at: datetime
) -> None:
    """Index a pack that was found in storage, in the caller's writing transaction.

    ``new``: the SOP Instance UIDs that were just indexed with this copy as their only one. Of others it is one more;
    a hot pack has their received files wait to be trimmed.
    """
    pack_id = _ADD.one(connection, _values(pack))
    assert pack_id is not None
    for copy in copies:
        if copy.sop_instance_uid in new:
            where = (pack_id[0], copy.offset_bytes, copy.transfer_syntax_uid, copy.dataset_sha256)
            _PACK_COPY.run(connection, (*where, copy_key(pack.key, copy.name)))
        elif (row := _INSTANCE.one(connection, (copy.sop_instance_uid,))) is not None:
            _ADD_COPY.run(connection, _copy_values(row[0], pack_id[0], pack, copy))
    received = list(_RECEIVED_TOO.rows(connection, (pack_id[0],))) if pack.tier == "hot" else ()
    for key, size_bytes, header_size, sha256 in received:
        _ADD_TRIM.run(connection, (f"{size_bytes}.{header_size}.{bytes(sha256).hex()}", to_text(at), key))
        _DROP_COPY.run(connection, (key,))


def supersede(connection: Connection, file: NewInstance, at: datetime) -> bool:
    """Let a received file wait to be trimmed when a pack has a copy of it; tell whether one has."""
    location, uid = file.location, file.header.values["SOPInstanceUID"]
    generation = f"{location.size_bytes}.{location.header_size}.{location.sha256.hex()}"
    values = (location.key, file.dataset_sha256, generation, location.size_bytes, to_text(at))
    changed: int = _SUPERSEDE.run(connection, (*values, uid, file.dataset_sha256)).rowcount
    return changed == 1


def copy_key(pack_key: str, name: str) -> str:
    """Return the key under which a copy in a pack is indexed."""
    return f"{pack_key}/{name}"


def _values(pack: PackRow) -> tuple[object, ...]:
    return (
        *(pack.key, pack.tier, pack.study_instance_uid, pack.series_instance_uid, pack.generation),
        *(pack.size_bytes, pack.sha256, to_text(pack.created_at), pack.store_generation),
    )


def _copy_values(instance_id: int, pack_id: int, pack: PackRow, copy: PackedCopy) -> tuple[object, ...]:
    return (
        *(
            instance_id,
            pack.tier,
            copy_key(pack.key, copy.name),
            copy.sha256,
            copy.header_size,
            copy.size_bytes,
            "present",
        ),
        *(pack_id, copy.offset_bytes, copy.transfer_syntax_uid, copy.dataset_sha256),
    )


# ---- looking up ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quiet:
    """Which studies are meant: nothing came for them since ``before``, and something did after an instance's row."""

    before: datetime
    since_instance: int = 0


def quiet(connection: Connection, which: Quiet, after_id: int, limit: int) -> list[tuple[int, str, str]]:
    """Return (row id, UID, site) of the next studies with received files that no pack stands in for."""
    since = which.since_instance
    values = (after_id, since, since, to_text(which.before), limit)
    return [(row[0], row[1], row[2]) for row in _QUIET.rows(connection, values)]


def newest_instance(connection: Connection) -> int:
    """Return the row id of the instance that was indexed last; 0 when there is none."""
    row = _NEWEST.one(connection)
    return 0 if row is None else int(row[0])


def loose(connection: Connection, study_instance_uid: str) -> list[Loose]:
    """Return the received files of a study, series by series, in the order in which they came."""
    return [_loose(row) for row in _LOOSE.rows(connection, (study_instance_uid,))]


def last_generation(connection: Connection, study_instance_uid: str, series_instance_uid: str) -> int:
    """Return the number of the last pack of a series; 0 when there is none."""
    row = _LAST.one(connection, (series_instance_uid, study_instance_uid))
    assert row is not None
    return int(row[0])


def of_studies(connection: Connection, study_instance_uids: Collection[str]) -> Iterator[PackRow]:
    """Yield the packs of these studies."""
    for row in rows_in(connection, _PACKS_OF, study_instance_uids):
        key, tier, study, series, generation, size_bytes, sha256, created_at, version = row
        made_at = from_text(created_at)
        yield PackRow(key, tier, study, series, generation, size_bytes, bytes(sha256), made_at, version)


def known(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return those of these pack keys that the index has."""
    return {key for (key,) in rows_in(connection, _KNOWN, keys)}


def trims(connection: Connection, before: datetime, after_key: str, limit: int) -> list[TrimRow]:
    """Return the next received files that wait to be trimmed since before a moment, by key."""
    return [_trim(row) for row in _TRIMS.rows(connection, (to_text(before), after_key, limit))]


def trims_of(connection: Connection, sop_instance_uids: Collection[str]) -> Iterator[TrimRow]:
    """Yield the received files of these instances that wait to be trimmed."""
    return map(_trim, rows_in(connection, _TRIMS_OF, sop_instance_uids))


# ---- forgetting ----------------------------------------------------------------------------------------------------


def forget_trims(connection: Connection, keys: Collection[str]) -> None:
    """Say that received files are gone."""
    run_in(connection, _DROP_TRIMS, keys)


def forget_packs(connection: Connection, keys: Collection[str]) -> None:
    """Take packs out of the index; their copies have to be out of it already."""
    run_in(connection, _DROP_PACKS, keys)


def _loose(row: Row) -> Loose:
    found = Loose._make(row)
    return found._replace(dataset_sha256=bytes(found.dataset_sha256), sha256=bytes(found.sha256))


def _trim(row: Row) -> TrimRow:
    found = TrimRow._make(row)
    return found._replace(dataset_sha256=bytes(found.dataset_sha256))
