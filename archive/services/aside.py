"""What is kept aside, told from storage alone: notes and quarantine rows; must not move, change or remove an object.

An object of the hot folder that is broken, or whose SOP Instance UID is stored with other bytes, stays where it is:
its quarantine key is ``hot/`` and its own key, and a note lies beside it so that a rebuild knows it too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from archive.audit import Entry
from archive.errors import UnreadableDataset
from archive.index import quarantine as table
from archive.index.records import NewQuarantined
from archive.index.session import Database
from archive.part10.meta import StoredHeader, parse_header
from archive.services.arrival import CHUNK_BYTES
from archive.services.committer import Committer
from archive.uids import uid_or_nothing
from tiering.disk import Disk, write_once
from tiering.landing import NOTE_SUFFIX, SUFFIX, path_of

HOT_PREFIX: Final = "hot/"
_LATE: Final = "found at start-up: it was kept aside, the index did not know"


def row_from_storage(disk: Disk, path: Path, key: str, *, now: datetime, reason: str = "") -> NewQuarantined:
    """Return the quarantine row of the object at ``path``, from its note and its header, as far as they can be read.

    ``reason`` when there is no note; ``now`` when nothing says when it came. Raises OSError as the disk does.
    """
    note = read_note(disk, path)
    stored, size, digest = _measure(disk, path)
    origin = stored.provenance if stored is not None else None
    return NewQuarantined(
        key=key,
        reason=note.get("reason") or reason or _LATE,
        sop_instance_uid=note.get("announced_sop_instance_uid") or (origin.sop_instance_uid if origin else ""),
        calling_ae_title=note.get("calling_ae_title") or (origin.calling_ae_title if origin else ""),
        peer_address=note.get("peer_address") or (origin.peer_address if origin else ""),
        size_bytes=size,
        sha256=digest,
        received_at=_moment(note.get("received_at")) or (origin.received_at if origin else now),
    )


def set_aside(disk: Disk, committer: Committer, row: NewQuarantined, path: Path) -> None:
    """Index and journal an object kept aside where it lies, with a note. Raises IndexUnavailable, OSError."""
    write_note(disk, path, row)
    entry = Entry(
        at=row.received_at,
        event="quarantined",
        actor=row.calling_ae_title,
        body={
            "sop_instance_uid": uid_or_nothing(row.sop_instance_uid),
            "sha256": row.sha256.hex(),
            "key": row.key,
            "reason": row.reason,
        },
    )
    committer.record(entry, work=lambda connection: table.add(connection, row))


def is_known(database: Database, key: str) -> bool:
    """Tell whether the index has the object kept aside under ``key``."""
    with database.read() as connection:
        return table.find(connection, key) is not None


def read_note(disk: Disk, path: Path) -> Mapping[str, str]:
    """Return the note beside an object; empty when there is none that can be read."""
    with suppress(FileNotFoundError, ValueError):
        note = json.loads(b"".join(disk.read(path.with_suffix(NOTE_SUFFIX), chunk_bytes=CHUNK_BYTES)))
        if isinstance(note, dict):
            return {key: value for key, value in note.items() if isinstance(value, str)}
    return {}


def write_note(disk: Disk, path: Path, row: NewQuarantined) -> None:
    """Put a note beside an object, durably; one that lies there stays."""
    note = {
        "reason": row.reason,
        "received_at": row.received_at.isoformat(),
        "calling_ae_title": row.calling_ae_title,
        "peer_address": row.peer_address,
        "announced_sop_instance_uid": row.sop_instance_uid,
    }
    write_once(disk, path.with_suffix(NOTE_SUFFIX), json.dumps(note, indent=1).encode())


def noted_keys(disk: Disk, root: Path, folder: str) -> set[str]:
    """Return the keys of the objects of a landing folder beside which a note lies."""
    notes = (name for name in disk.names(root / folder) if name.endswith(NOTE_SUFFIX))
    return {f"{folder}/{name.removesuffix(NOTE_SUFFIX)}" for name in notes}


def iter_kept(disk: Disk, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield key and file of every object in the quarantine folder, oldest day first."""
    for day in disk.names(root):
        if day.isdecimal():
            for name in disk.names(root / day):
                if name.endswith(SUFFIX) and name.isprintable():
                    key = f"{day}/{name.removesuffix(SUFFIX)}"
                    yield key, path_of(root, key)


def _measure(disk: Disk, path: Path) -> tuple[StoredHeader | None, int, bytes]:
    """Return the header, if it is one, and size and digest of what follows it (of the whole file without one)."""
    chunks = disk.read(path, chunk_bytes=CHUNK_BYTES)
    first = next(chunks, b"")
    stored: StoredHeader | None = None
    with suppress(UnreadableDataset):
        stored = parse_header(first)
    first = first[stored.header_size :] if stored is not None else first
    digest, size = hashlib.sha256(first), len(first)
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return stored, size, digest.digest()


def _moment(text: str | None) -> datetime | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(text or "")
        return moment if moment.tzinfo is not None else None
    return None
