"""Makes instances to index and asks the index simple questions; must not hide what a test is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from archive.index.find import Query, run_query
from archive.index.instances import AddOutcome, InstanceWriter
from archive.index.records import NewInstance, NewLocation
from archive.index.session import Database
from archive.index.statements import Statement
from archive.part10.attributes import InstanceHeader

NOW = datetime(2026, 11, 23, 6, 35, 29, 123456, tzinfo=UTC)
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def digest(text: object) -> bytes:
    """Return 32 bytes that stand for some content."""
    return hashlib.sha256(str(text).encode()).digest()


def sop_uid(number: int = 1, series: int = 1, study: int = 1) -> str:
    """Return the SOP Instance UID ``new_instance`` gives."""
    return f"2.25.{study}.{series}.{number}"


def new_instance(
    number: int = 1,
    series: int = 1,
    study: int = 1,
    attributes: Mapping[str, str | None] = MappingProxyType({}),
    *,
    site: str = "CHU",
    **values: str | None,
) -> NewInstance:
    """Return an instance to add; ``values`` and ``attributes`` are keyword=text, None takes one away."""
    uid = sop_uid(number, series, study)
    header: dict[str, str | None] = {
        "PatientName": "MOREAU^Hélène",
        "PatientID": f"PID{study}",
        "StudyInstanceUID": f"2.25.{study}",
        "StudyDate": "20240115",
        "SeriesInstanceUID": f"2.25.{study}.{series}",
        "SeriesNumber": str(series),
        "Modality": "CT",
        "SOPClassUID": CT_CLASS,
        "SOPInstanceUID": uid,
        "InstanceNumber": str(number),
        **attributes,
        **values,
    }
    kept = {keyword: value for keyword, value in header.items() if value is not None}
    return NewInstance(
        header=InstanceHeader(kept),
        site=site,
        transfer_syntax_uid=EXPLICIT,
        dataset_sha256=digest(uid),
        dataset_size=1000 + number,
        received_at=NOW,
        calling_ae_title="CTSCAN",
        location=new_location(f"20261123/063529-aa/{kept['SOPInstanceUID']}"),
    )


def other_bytes(item: NewInstance) -> NewInstance:
    """Return an instance of the same identifiers with other bytes, landed elsewhere."""
    return replace(item, dataset_sha256=digest("other"), location=new_location("elsewhere"))


def new_location(key: str, tier: str = "hot") -> NewLocation:
    """Return a copy under ``key``."""
    return NewLocation(tier, key, digest(key), 700, 1700)


def add(database: Database, *items: NewInstance, writer: InstanceWriter | None = None) -> list[AddOutcome]:
    """Add instances in one transaction."""
    writer = writer or InstanceWriter()
    with database.write(synced=False) as connection:
        outcomes = writer.add(connection, items)
    writer.committed()
    return outcomes


def rows(database: Database, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return what a statement answers."""
    with database.read() as connection:
        return list(Statement(sql).rows(connection, parameters))


def change(database: Database, sql: str, parameters: Sequence[Any] = ()) -> None:
    """Run a statement that changes something."""
    with database.write(synced=False) as connection:
        Statement(sql).run(connection, parameters)


def value(database: Database, sql: str, parameters: Sequence[Any] = ()) -> Any:
    """Return the only value of the only row."""
    ((only,),) = rows(database, sql, parameters)
    return only


def find(
    database: Database,
    level: str,
    keys: Mapping[str, str],
    *,
    root: str = "study",
    limit: int = 0,
    relational: bool = True,
) -> list[dict[str, str]]:
    """Return the answers to a query, in no particular order."""
    with database.read() as connection:
        return [dict(row) for row in run_query(connection, Query(root, level, keys, limit, relational))]


def studies_found(database: Database, **keys: str) -> list[int]:
    """Return the numbers of the studies that match, ascending."""
    return numbers(row["StudyInstanceUID"] for row in find(database, "STUDY", keys))


def numbers(uids: Iterable[str]) -> list[int]:
    """Return the last components of UIDs, ascending."""
    return sorted(int(uid.rpartition(".")[2]) for uid in uids)
