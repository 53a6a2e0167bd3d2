"""The switch of a study to its cold copies, in the caller's transaction; must not touch an object.

A lossless cold pack is one more copy of the same instances: the hot ones stay until they are trimmed. A lossy one
replaces them: the row of each instance becomes that of its lossy copy, ``successor`` has what it was, ``retired`` where
its lossless copy lies, hot or, of a pack that was made lossy later, cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from archive.index import packs
from archive.index.packs import PackRow
from archive.index.records import from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into


class LossyMember(NamedTuple):
    """A lossy copy in a cold pack, and the instance it replaces; digests have 32 bytes, sizes are in bytes.

    ``sha256`` is the digest of its Part 10 header, ``dataset_sha256`` and ``dataset_size`` are of its data set,
    ``received_sha256`` is the digest of the data set that was received.
    """

    predecessor_uid: str
    received_sha256: bytes
    sop_instance_uid: str
    name: str
    offset_bytes: int
    header_size: int
    size_bytes: int
    sha256: bytes
    dataset_sha256: bytes
    dataset_size: int
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class HotPack:
    """A hot pack that no cold one stands in for; ``copies``: how many instances the index gives from it."""

    row: PackRow
    copies: int


class NotAsPlanned(Exception):
    """What was prepared does not fit what the index has now; the text says why."""


_COLUMNS: Final = (
    *("pack.key", "pack.tier", "study_instance_uid", "series_instance_uid", "generation", "pack.size_bytes"),
    *("pack.sha256", "created_at", "store_generation"),
)
_PACK: Final = ", ".join(_COLUMNS)
_HOT_PACKS: Final = Statement(
    f"SELECT {_PACK}, (SELECT COUNT(*) FROM location WHERE pack_fk = pack.id AND state = 'present') "
    "FROM pack WHERE study_instance_uid = ? AND tier = 'hot' "
    "AND NOT EXISTS (SELECT 1 FROM pack_trim WHERE pack_trim.key = pack.key) ORDER BY series_instance_uid, pack.key"
)
_OF_STUDY: Final = "FROM series JOIN instance ON series_fk = series.id JOIN study ON study.id = study_fk"
_UNPACKED: Final = Statement(
    f"SELECT COUNT(*) {_OF_STUDY} WHERE study_instance_uid = ? AND NOT EXISTS (SELECT 1 FROM location "
    "WHERE instance_fk = instance.id AND state = 'present' AND pack_fk IS NOT NULL)"
)
_LOOSE: Final = Statement(
    f"SELECT COUNT(*) {_OF_STUDY} JOIN location ON instance_fk = instance.id "
    "WHERE study_instance_uid = ? AND pack_fk IS NULL"
)
_UNTRIMMED: Final = Statement(
    f"SELECT COUNT(*) {_OF_STUDY} JOIN trim ON trim.sop_instance_uid = instance.sop_instance_uid "
    "WHERE study_instance_uid = ?"
)
_FIND_PACK: Final = Statement(f"SELECT {_PACK} FROM pack WHERE key = ?")
_PACK_ID: Final = Statement("SELECT id FROM pack WHERE key = ?")
_ADD_PACK: Final = insert_into(
    "pack",
    (
        *("key", "tier", "study_instance_uid", "series_instance_uid", "generation", "size_bytes", "sha256"),
        *("created_at", "store_generation"),
    ),
    " RETURNING id",
)
_COPY: Final = (
    *("sha256", "header_size", "size_bytes", "pack_fk", "offset_bytes", "transfer_syntax_uid", "dataset_sha256"),
)
_ADD_SAME: Final = Statement(
    "INSERT INTO location (instance_fk, tier, key, sha256, header_size, size_bytes, state, pack_fk, offset_bytes, "
    "transfer_syntax_uid, dataset_sha256) SELECT instance_fk, 'cold', CAST(? AS TEXT) || SUBSTR(key, ?), sha256, "
    "header_size, size_bytes, 'present', CAST(? AS BIGINT), offset_bytes, transfer_syntax_uid, dataset_sha256 "
    "FROM location WHERE pack_fk = ? AND tier = 'hot' AND state = 'present'"
)
_ADD_COLD: Final = insert_into("location", ("instance_fk", "tier", "key", "state", *_COPY))
_REPLACED: Final = Statement(
    "SELECT instance.id, instance.transfer_syntax_uid, instance.dataset_size FROM instance "
    "JOIN location ON instance_fk = instance.id WHERE sop_instance_uid = ? AND instance.dataset_sha256 = ? "
    "AND pack_fk = ? AND state = 'present'"
)
_TAKE_ON: Final = Statement(
    "UPDATE instance SET sop_instance_uid = ?, transfer_syntax_uid = ?, dataset_sha256 = ?, dataset_size = ? "
    "WHERE id = ?"
)
_ADD_SUCCESSOR: Final = insert_into(
    "successor",
    (
        *("sop_instance_uid", "successor_uid", "study_instance_uid", "transfer_syntax_uid", "dataset_sha256"),
        "dataset_size",
    ),
)
_RETIRE: Final = Statement(
    "INSERT INTO retired (key, instance_fk, sha256, header_size, size_bytes, pack_fk, offset_bytes, "
    "transfer_syntax_uid, dataset_sha256) SELECT hot.key, instance_fk, hot.sha256, hot.header_size, hot.size_bytes, "
    "pack_fk, offset_bytes, COALESCE(hot.transfer_syntax_uid, instance.transfer_syntax_uid), "
    "COALESCE(hot.dataset_sha256, instance.dataset_sha256) FROM location AS hot "
    "JOIN instance ON instance.id = instance_fk WHERE pack_fk = ? AND state = 'present'"
)
_DROP_COPIES: Final = Statement("DELETE FROM location WHERE pack_fk = ?")
_ADD_TRIM: Final = insert_into("pack_trim", ("key", "study_instance_uid", "since"))
_ADD_TRIMS: Final = Statement(
    "INSERT INTO pack_trim (key, study_instance_uid, since) SELECT key, study_instance_uid, CAST(? AS TEXT) FROM pack "
    "WHERE study_instance_uid = ? AND series_instance_uid = ? AND sha256 = ? AND tier = 'hot' "
    "ON CONFLICT (key) DO NOTHING"
)
_ADD_UPLOAD: Final = insert_into(
    "upload",
    ("key", "study_instance_uid", "size_bytes", "sha256", "since"),
    " ON CONFLICT (key) DO UPDATE SET since = excluded.since WHERE upload.since <> ''",
)
_DROP_UPLOAD: Final = Statement("DELETE FROM upload WHERE key = ?")
_STANDS_IN: Final = Statement("DELETE FROM upload WHERE key = ? AND since <> ''")
_CONDEMN: Final = Statement(
    "UPDATE upload SET since = '' WHERE key = ? AND since < ? "
    "AND NOT EXISTS (SELECT 1 FROM pack WHERE pack.key = upload.key)"
)
_UPLOADS: Final = Statement(
    "SELECT key, study_instance_uid, size_bytes, sha256 FROM upload WHERE since < ? AND key > ? ORDER BY key LIMIT ?"
)
_UPLOADS_OF: Final = Statement(
    "SELECT key, study_instance_uid, size_bytes, sha256 FROM upload WHERE study_instance_uid = ? ORDER BY key"
)
_OF_A_STUDY: Final = ("successor", "evidence", "pack_trim", "set_aside", "thaw")
_FORGET_STUDY: Final = (
    Statement("DELETE FROM retired WHERE pack_fk IN (SELECT id FROM pack WHERE study_instance_uid = ?)"),
    *(Statement(f"DELETE FROM {table} WHERE study_instance_uid = ?") for table in _OF_A_STUDY),
)
_PUT_EVIDENCE: Final = insert_into(
    "evidence",
    ("pack_key", "study_instance_uid", "series_instance_uid", "made_at", "body"),
    " ON CONFLICT (pack_key) DO UPDATE SET made_at = excluded.made_at, body = excluded.body",
)
_EVIDENCE: Final = Statement(
    "SELECT pack_key, series_instance_uid, made_at, body FROM evidence WHERE study_instance_uid = ? "
    "ORDER BY series_instance_uid, pack_key"
)
_NEWEST_EVIDENCE: Final = Statement(
    "SELECT study_instance_uid, series_instance_uid, pack_key, made_at FROM evidence "
    "ORDER BY made_at DESC, pack_key DESC LIMIT ? OFFSET ?"
)
_HAS_EVIDENCE: Final = Statement("SELECT 1 FROM evidence WHERE study_instance_uid = ? LIMIT 1")


class Upload(NamedTuple):
    """A cold object that stands in for nothing yet, or not any more."""

    key: str
    study_instance_uid: str
    size_bytes: int
    sha256: bytes


class Evidence(NamedTuple):
    """What proves the pack of a series; ``body`` is canonical JSON."""

    pack_key: str
    series_instance_uid: str
    made_at: datetime
    body: str


def cold_key(hot_key: str, sha256: bytes) -> str:
    """Return the key of the cold pack that a hot one becomes: the same bytes have the same key, others another."""
    folder, _, name = hot_key.rpartition("/")
    return f"{folder}/{name.partition('-')[0]}-c{sha256.hex()[:16]}.zip"


def find_pack(connection: Connection, key: str) -> PackRow | None:
    """Return a pack by its key, of whichever tier."""
    row = _FIND_PACK.one(connection, (key,))
    return None if row is None else pack_row(row)


# ---- before --------------------------------------------------------------------------------------------------------


def hot_packs(connection: Connection, study_instance_uid: str) -> list[HotPack]:
    """Return the hot packs of a study that no cold ones stand in for, series by series."""
    return [HotPack(pack_row(row[:9]), row[9]) for row in _HOT_PACKS.rows(connection, (study_instance_uid,))]


def unsealed(connection: Connection, study_instance_uid: str) -> str:
    """Say what of a study is not in packs alone; "" when it may go cold as far as that goes."""
    for statement, words in (
        (_LOOSE, "are not sealed yet"),
        (_UNPACKED, "have no readable copy in a pack"),
        (_UNTRIMMED, "still have the file that was received"),
    ):
        row = statement.one(connection, (study_instance_uid,))
        if row is not None and row[0]:
            return f"{row[0]} of its instances {words}"
    return ""


def note_upload(connection: Connection, pack: PackRow, at: datetime) -> None:
    """Remember a cold key before anything is put there, so that what a crash leaves behind is known.

    Raises NotAsPlanned while the object under this key is being discarded.
    """
    values = (pack.key, pack.study_instance_uid, pack.size_bytes, pack.sha256, to_text(at))
    if _ADD_UPLOAD.run(connection, values).rowcount != 1:
        raise NotAsPlanned(f"the cold object {pack.key} is being discarded")


# ---- the switch ----------------------------------------------------------------------------------------------------


def switch_lossless(connection: Connection, hot_key: str, cold: PackRow, at: datetime) -> int:
    """Add the copies of a cold pack that is, byte for byte, a hot one; return how many. Raises NotAsPlanned."""
    hot_id = _lossless_id(connection, hot_key)
    values = (cold.key, len(hot_key) + 1, _add_pack(connection, cold), hot_id)
    copies: int = _ADD_SAME.run(connection, values).rowcount
    if not copies:
        raise NotAsPlanned(f"nothing is given from the hot pack {hot_key} any more")
    _stand_in(connection, hot_key, cold, at)
    return copies


def switch_lossy(
    connection: Connection, lossless_key: str, cold: PackRow, members: Sequence[LossyMember], at: datetime
) -> int:
    """Let lossy copies replace all that is given from a lossless pack, hot or cold; return how many.

    Raises NotAsPlanned.
    """
    lossless_id = _lossless_id(connection, lossless_key)
    cold_id, rows = _add_pack(connection, cold), []
    for member in members:
        found = _REPLACED.one(connection, (member.predecessor_uid, member.received_sha256, lossless_id))
        if found is None:
            raise NotAsPlanned(f"{member.predecessor_uid} is not given from the pack {lossless_key} any more")
        rows.append((member, *found))
    if _RETIRE.run(connection, (lossless_id,)).rowcount != len(rows):
        raise NotAsPlanned(f"more is given from the pack {lossless_key} than was prepared")
    _DROP_COPIES.run(connection, (lossless_id,))
    for member, instance_id, syntax, size in rows:
        _replace(connection, (instance_id, syntax, size), member, cold)
    _ADD_COLD.run_many(connection, [_cold_values(member, row_id, cold, cold_id) for member, row_id, _, _ in rows])
    _stand_in(connection, lossless_key, cold, at)
    return len(rows)


def put_evidence(connection: Connection, pack: PackRow, body: str, at: datetime) -> None:
    """Keep what proves a pack."""
    _PUT_EVIDENCE.run(connection, (pack.key, pack.study_instance_uid, pack.series_instance_uid, to_text(at), body))


def evidence_of(connection: Connection, study_instance_uid: str) -> list[Evidence]:
    """Return the evidence of a study's packs, series by series."""
    rows = _EVIDENCE.rows(connection, (study_instance_uid,))
    return [Evidence(key, series, from_text(made_at), body) for key, series, made_at, body in rows]


def has_evidence(connection: Connection, study_instance_uid: str) -> bool:
    """Tell whether there is evidence of any pack of a study."""
    return _HAS_EVIDENCE.one(connection, (study_instance_uid,)) is not None


def newest_evidence(connection: Connection, limit: int, offset: int) -> list[tuple[str, str, str, str]]:
    """Return (study, series, pack key, moment) of the evidence made last, newest first; without what it says."""
    return [(row[0], row[1], row[2], row[3]) for row in _NEWEST_EVIDENCE.rows(connection, (limit, offset))]


def _lossless_id(connection: Connection, key: str) -> int:
    row = _PACK_ID.one(connection, (key,))
    if row is None:
        raise NotAsPlanned(f"there is no pack {key} any more")
    return int(row[0])


def _add_pack(connection: Connection, cold: PackRow) -> int:
    if _PACK_ID.one(connection, (cold.key,)) is not None:
        raise NotAsPlanned(f"the cold pack {cold.key} stands in already")
    values = (
        *(cold.key, cold.tier, cold.study_instance_uid, cold.series_instance_uid, cold.generation),
        *(cold.size_bytes, cold.sha256, to_text(cold.created_at), cold.store_generation),
    )
    row = _ADD_PACK.one(connection, values)
    assert row is not None
    return int(row[0])


def _replace(connection: Connection, was: tuple[int, str, int], member: LossyMember, cold: PackRow) -> None:
    instance_id, syntax, size = was
    values = (member.sop_instance_uid, member.transfer_syntax_uid, member.dataset_sha256, member.dataset_size)
    _TAKE_ON.run(connection, (*values, instance_id))
    _ADD_SUCCESSOR.run(
        connection,
        (
            *(member.predecessor_uid, member.sop_instance_uid, cold.study_instance_uid),
            *(syntax, member.received_sha256, size),
        ),
    )


def _cold_values(member: LossyMember, instance_id: int, cold: PackRow, cold_id: int) -> tuple[object, ...]:
    return (
        *(instance_id, "cold", packs.copy_key(cold.key, member.name), "present"),
        *(member.sha256, member.header_size, member.size_bytes, cold_id, member.offset_bytes),
        *(member.transfer_syntax_uid, member.dataset_sha256),
    )


def _stand_in(connection: Connection, replaced_key: str, cold: PackRow, at: datetime) -> None:
    _ADD_TRIM.run(connection, (replaced_key, cold.study_instance_uid, to_text(at)))
    if _STANDS_IN.run(connection, (cold.key,)).rowcount != 1:
        raise NotAsPlanned(f"the cold object {cold.key} was not put, or is being discarded")


def stands_in_again(connection: Connection, cold: PackRow, at: datetime) -> None:
    """Let the hot packs with the same bytes as a cold one that was just indexed wait to be trimmed, from now on."""
    values = (to_text(at), cold.study_instance_uid, cold.series_instance_uid, cold.sha256)
    _ADD_TRIMS.run(connection, values)


# ---- what is left of tries -----------------------------------------------------------------------------------------


def uploads(connection: Connection, before: datetime, after_key: str, limit: int) -> list[Upload]:
    """Return the next cold objects that stand in for nothing since before a moment, by key."""
    rows = _UPLOADS.rows(connection, (to_text(before), after_key, limit))
    return [Upload(key, study, size, bytes(sha256)) for key, study, size, sha256 in rows]


def uploads_of(connection: Connection, study_instance_uid: str) -> list[Upload]:
    """Return the cold objects of a study that stand in for nothing."""
    rows = _UPLOADS_OF.rows(connection, (study_instance_uid,))
    return [Upload(key, study, size, bytes(sha256)) for key, study, size, sha256 in rows]


def condemn_upload(connection: Connection, key: str, before: datetime) -> bool:
    """Say that a cold object will be discarded, unless it stands in for something; tell whether it will.

    From here on nobody can let it stand in, whatever a crash does to the deletion.
    """
    changed: int = _CONDEMN.run(connection, (key, to_text(before))).rowcount
    return changed == 1


def forget_upload(connection: Connection, key: str) -> None:
    """Say that a cold object is gone, or stands in for something."""
    _DROP_UPLOAD.run(connection, (key,))


def pack_row(row: Sequence[object]) -> PackRow:
    """Return the pack of a row of its nine columns."""
    key, tier, study, series, generation, size_bytes, sha256, created_at, version = row
    moment = from_text(str(created_at))
    assert isinstance(sha256, bytes | memoryview)
    assert isinstance(generation, int)
    assert isinstance(size_bytes, int)
    digest, store_generation = bytes(sha256), None if version is None else str(version)
    return PackRow(
        str(key), str(tier), str(study), str(series), generation, size_bytes, digest, moment, store_generation
    )


def forget_study(connection: Connection, study_instance_uid: str) -> None:
    """Take all that the cold tier knows of a study out of the index, but its packs and copies.

    What was to be put stays noted: a put under way may come after the deletion, and is discarded later then.
    """
    for statement in _FORGET_STUDY:
        statement.run(connection, (study_instance_uid,))
