"""Cold packs whose thaw was asked for, and which packs and priors there are to ask for; must not reach a store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.records import from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into, rows_in, run_in


class ColdPack(NamedTuple):
    """A pack in the cold store; size in bytes."""

    key: str
    study_instance_uid: str
    size_bytes: int


class Thaw(NamedTuple):
    """A thaw that was asked for and is not known to be done."""

    pack_key: str
    study_instance_uid: str
    requested_at: datetime
    requested_by: str


class Arrival(NamedTuple):
    """A study as it came: its row id, its UID, and its patient's row id."""

    study_id: int
    study_instance_uid: str
    patient_id: int


_COLUMNS: Final = ("pack_key", "study_instance_uid", "requested_at", "requested_by")
_ADD: Final = insert_into("thaw", _COLUMNS, " ON CONFLICT (pack_key) DO NOTHING")
_THAW: Final = f"SELECT {', '.join(_COLUMNS)} FROM thaw"
_PAGE: Final = Statement(f"{_THAW} WHERE pack_key > ? ORDER BY pack_key LIMIT ?")
_OF_STUDY: Final = Statement(f"{_THAW} WHERE study_instance_uid = ? ORDER BY pack_key")
_OF_KEYS: Final = f"{_THAW} WHERE pack_key IN (%s)"
_DROP: Final = "DELETE FROM thaw WHERE pack_key IN (%s)"
_IS_USED: Final = "EXISTS (SELECT 1 FROM location WHERE location.pack_fk = pack.id AND location.state = 'present')"
_PACK: Final = "SELECT key, study_instance_uid, size_bytes FROM pack WHERE tier = 'cold'"
_PACKS: Final = Statement(f"{_PACK} AND study_instance_uid = ? AND {_IS_USED} ORDER BY key")
_WAITING: Final = Statement(
    f"{_PACK} AND study_instance_uid = ? AND EXISTS (SELECT 1 FROM pack_trim WHERE pack_trim.key = pack.key) "
    "ORDER BY key"
)
_PACKS_OF: Final = f"{_PACK} AND key IN (%s)"
_PACK_KEYS: Final = Statement("SELECT key FROM pack WHERE tier = 'cold'")
_STUDY: Final = Statement("SELECT id FROM study WHERE study_instance_uid = ?")
_NEWEST: Final = Statement("SELECT COALESCE(MAX(id), 0) FROM study")
_ARRIVALS: Final = Statement(
    "SELECT study.id, study_instance_uid, patient_fk FROM study JOIN patient ON patient.id = patient_fk "
    "WHERE study.id > ? AND COALESCE(patient.patient_id, '') <> '' ORDER BY study.id LIMIT ?"
)
_HAS: Final = (
    "EXISTS (SELECT 1 FROM location WHERE instance_fk = instance.id AND state = 'present' AND location.tier = '{tier}')"
)
_SAME_MODALITY: Final = (
    "AND EXISTS (SELECT 1 FROM series AS mine JOIN series AS theirs ON theirs.modality = mine.modality "
    "WHERE theirs.study_fk = study.id AND mine.study_fk = ?)"
)
_PRIORS: Final = (
    "SELECT study_instance_uid FROM study WHERE patient_fk = ? AND study.id <> ? {more}"
    "AND EXISTS (SELECT 1 FROM series JOIN instance ON series_fk = series.id WHERE study_fk = study.id AND "
    f"{_HAS.format(tier='cold')} AND NOT {_HAS.format(tier='hot')}) "
    "ORDER BY COALESCE(study_date, '') DESC, study.id DESC LIMIT ?"
)
_ALL_PRIORS: Final = Statement(_PRIORS.format(more=""))
_PRIORS_OF_MODALITY: Final = Statement(_PRIORS.format(more=f"{_SAME_MODALITY} "))


# ---- thaws ---------------------------------------------------------------------------------------------------------


def add(connection: Connection, packs: Sequence[ColdPack], by: str, at: datetime) -> None:
    """Note that thaws are asked for; those that were stay as they were noted first."""
    rows = [(pack.key, pack.study_instance_uid, to_text(at), by) for pack in packs]
    if rows:
        _ADD.run_many(connection, rows)


def page(connection: Connection, after_key: str, limit: int) -> list[Thaw]:
    """Return the next thaws that are waited for, by pack key."""
    return [_thaw(row) for row in _PAGE.rows(connection, (after_key, limit))]


def of_study(connection: Connection, study_instance_uid: str) -> list[Thaw]:
    """Return the thaws of a study that are waited for."""
    return [_thaw(row) for row in _OF_STUDY.rows(connection, (study_instance_uid,))]


def of_packs(connection: Connection, pack_keys: Collection[str]) -> Iterator[Thaw]:
    """Yield those thaws of these packs that are waited for."""
    return map(_thaw, rows_in(connection, _OF_KEYS, pack_keys))


def drop(connection: Connection, pack_keys: Collection[str]) -> None:
    """Say that nobody waits for these packs to thaw any more."""
    run_in(connection, _DROP, pack_keys)


def _thaw(row: Row) -> Thaw:
    key, study, at, by = row
    return Thaw(key, study, from_text(at), by)


# ---- what there is to ask for --------------------------------------------------------------------------------------


def has_study(connection: Connection, study_instance_uid: str) -> bool:
    """Tell whether there is such a study."""
    return _STUDY.one(connection, (study_instance_uid,)) is not None


def cold_packs(connection: Connection, study_instance_uid: str) -> list[ColdPack]:
    """Return the cold packs that copies of a study lie in."""
    return [ColdPack(*row) for row in _PACKS.rows(connection, (study_instance_uid,))]


def waiting(connection: Connection, study_instance_uid: str) -> list[ColdPack]:
    """Return the cold packs of a study that lossy ones took the place of and that can be gone back to."""
    return [ColdPack(*row) for row in _WAITING.rows(connection, (study_instance_uid,))]


def packs_of(connection: Connection, pack_keys: Collection[str]) -> list[ColdPack]:
    """Return those of these packs that are cold ones of the index."""
    return [ColdPack(*row) for row in rows_in(connection, _PACKS_OF, pack_keys)]


def iter_pack_keys(connection: Connection) -> Iterator[str]:
    """Yield the keys of all cold packs."""
    for row in _PACK_KEYS.rows(connection):
        yield row[0]


def newest_study(connection: Connection) -> int:
    """Return the row id of the study that was indexed last; 0 when there is none."""
    row = _NEWEST.one(connection)
    return 0 if row is None else int(row[0])


def arrivals(connection: Connection, after_id: int, limit: int) -> list[Arrival]:
    """Return the studies that were indexed after one, the oldest first; those without a PatientID are left out."""
    return [Arrival(*row) for row in _ARRIVALS.rows(connection, (after_id, limit))]


def priors(connection: Connection, arrival: Arrival, limit: int, *, same_modality: bool) -> list[str]:
    """Return the UIDs of a patient's other studies that are cold in part or as a whole, the most recent first."""
    patient, study = arrival.patient_id, arrival.study_id
    if same_modality:
        rows = _PRIORS_OF_MODALITY.rows(connection, (patient, study, study, limit))
    else:
        rows = _ALL_PRIORS.rows(connection, (patient, study, limit))
    return [row[0] for row in rows]
