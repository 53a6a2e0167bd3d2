"""How many objects came in each hour, by site and modality; must not decide what is few.

Counted in the transaction that adds the objects, so that a count and its objects are there together or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from archive.index.records import NewInstance, to_text
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

UNKNOWN: Final = "-"
"""What stands for a modality that is missing, or is no code of PS3.3 C.7.3.1.1.1."""
_CODE: Final = re.compile(r"[A-Z0-9_ ]{1,16}")
_HOUR: Final = len("2026-11-23T06")
_COLUMNS: Final = ("hour", "site", "modality", "instances", "size_bytes")
_ADD: Final = insert_into(
    "arrivals",
    _COLUMNS,
    " ON CONFLICT (hour, site, modality) DO UPDATE SET instances = arrivals.instances + excluded.instances, "
    "size_bytes = arrivals.size_bytes + excluded.size_bytes",
)
_BETWEEN: Final = Statement(
    f"SELECT {', '.join(_COLUMNS)} FROM arrivals WHERE hour >= ? AND hour < ? ORDER BY hour, site, modality"
)

_CLEAR: Final = Statement("DELETE FROM arrivals")
_RECOUNT: Final = Statement(
    f"INSERT INTO arrivals ({', '.join(_COLUMNS)}) SELECT SUBSTR(received_at, 1, 13), site, "
    f"COALESCE(NULLIF(modality, ''), '{UNKNOWN}'), COUNT(*), SUM(dataset_size) FROM instance "
    "JOIN series ON series.id = series_fk JOIN study ON study.id = study_fk "
    "WHERE received_at >= ? AND calling_ae_title <> ? GROUP BY 1, 2, 3"
)

Counts = Mapping[tuple[str, str, str], tuple[int, int]]
"""Instances and bytes, by hour, site and modality."""


class HourCount(NamedTuple):
    """What came in one hour (UTC, ``2026-11-23T06``) of one modality to one site."""

    hour: str
    site: str
    modality: str
    instances: int
    size_bytes: int


def hour_of(at: datetime) -> str:
    """Return the hour of a moment, as it is stored."""
    return to_text(at)[:_HOUR]


def modality_of(instance: NewInstance) -> str:
    """Return what an instance counts as."""
    value = instance.header.values.get("Modality", "")
    return value if _CODE.fullmatch(value) else UNKNOWN


def counted(instances: Iterable[NewInstance]) -> Counts:
    """Return how many instances and bytes there are by hour, site and modality."""
    counts: dict[tuple[str, str, str], tuple[int, int]] = {}
    for each in instances:
        key = hour_of(each.received_at), each.site, modality_of(each)
        number, size = counts.get(key, (0, 0))
        counts[key] = number + 1, size + each.dataset_size
    return counts


def add(connection: Connection, counts: Counts) -> None:
    """Add counts of instances that are added in the same transaction."""
    rows = [(*key, *count) for key, count in counts.items()]
    if rows:
        _ADD.run_many(connection, rows)


def between(connection: Connection, start: datetime, end: datetime) -> list[HourCount]:
    """Return what came from the hour of ``start`` to before the hour of ``end``, ascending."""
    return [HourCount(*row) for row in _BETWEEN.rows(connection, (hour_of(start), hour_of(end)))]


def recount(connection: Connection, since: datetime, except_from: str) -> None:
    """Count again what came since a moment, but for what one calling AE title sent, as a rebuild needs it."""
    _CLEAR.run(connection)
    _RECOUNT.run(connection, (hour_of(since), except_from))
