"""What goes into the index and comes out of it, as plain frozen values; must not know SQL or a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from archive.part10.attributes import InstanceHeader


def to_text(at: datetime) -> str:
    """Return an aware moment as the sortable UTC text that is stored: ``2026-11-23T06:35:29.123456Z``."""
    assert at.tzinfo is not None, "only aware moments are stored"
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def from_text(text: str) -> datetime:
    """Return the aware UTC moment ``to_text`` wrote."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class NewLocation:
    """One copy of an instance about to be indexed.

    ``sha256`` (32 bytes) is the digest of the file's first ``header_size`` bytes, which hold the data set's digest:
    together they prove the whole file. ``size_bytes`` counts the whole file.
    """

    tier: str
    key: str
    sha256: bytes
    header_size: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewInstance:
    """One received instance about to be indexed; ``flags`` is all that is odd about it, the header's flags included."""

    header: InstanceHeader
    site: str
    transfer_syntax_uid: str
    dataset_sha256: bytes
    dataset_size: int
    received_at: datetime
    calling_ae_title: str
    location: NewLocation
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredLocation:
    """One indexed copy; ``state`` is ``present``, ``missing`` or ``damaged``.

    A copy in a pack starts ``offset_bytes`` into the object ``pack_key``. ``transfer_syntax_uid`` and
    ``dataset_sha256`` are None for a copy whose data set is the one that was received.
    """

    tier: str
    key: str
    sha256: bytes
    header_size: int
    size_bytes: int
    state: str
    pack_key: str | None = None
    offset_bytes: int | None = None
    transfer_syntax_uid: str | None = None
    dataset_sha256: bytes | None = None

    @property
    def start(self) -> int:
        """Return where in its object the copy begins."""
        return self.offset_bytes or 0

    @property
    def dataset_size(self) -> int:
        """Return how many bytes its data set has."""
        return self.size_bytes - self.header_size


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One indexed instance with its copies, hot ones first; transfer syntax and digest as it was received."""

    instance_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    dataset_sha256: bytes
    dataset_size: int
    locations: tuple[StoredLocation, ...]

    @property
    def copies(self) -> list[StoredLocation]:
        """Return the copies that can be read, in the order in which they are tried: hot ones first."""
        present = [each for each in self.locations if each.state == "present"]
        return present if len(present) < 2 else sorted(present, key=lambda each: each.tier != "hot")

    @property
    def readable(self) -> StoredLocation | None:
        """Return the copy that it is given from, or None: a hot one as long as there is one, the received one first."""
        return next(iter(self.copies), None)

    @property
    def given_syntax_uid(self) -> str:
        """Return the transfer syntax of the copy that it is given from."""
        copy = self.readable
        return self.transfer_syntax_uid if copy is None else copy.transfer_syntax_uid or self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class LocatedCopy:
    """One copy as the fixity check needs it; ``location_id`` ascends, ``verified_at`` is None when never verified."""

    location_id: int
    sop_instance_uid: str
    dataset_sha256: bytes
    dataset_size: int
    verified_at: datetime | None
    location: StoredLocation


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One row of the audit journal as stored; ``body`` is canonical JSON, the hashes are 32 bytes."""

    sequence: int
    at: datetime
    event: str
    actor: str
    body: str
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class LandingFolderRow:
    """A folder objects land in: ``name`` is the key prefix ``<yyyymmdd>/<folder>``, ``sealed_at`` None while in use."""

    name: str
    opened_at: datetime
    sealed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewQuarantined:
    """An object kept aside; ``reason`` names the error's class, never what the object says of a patient."""

    key: str
    reason: str
    sop_instance_uid: str
    calling_ae_title: str
    peer_address: str
    size_bytes: int
    sha256: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An object kept aside, as indexed; ``resolved_at`` is None while it waits for the operator."""

    key: str
    reason: str
    sop_instance_uid: str
    calling_ae_title: str
    peer_address: str
    size_bytes: int
    sha256: bytes
    received_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class AssociationSummary:
    """One association from start to end, for the operator; counts are instances, ``found`` C-FIND answers."""

    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    stored: int = 0
    retrieved: int = 0
    found: int = 0
    refused: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Commitment:
    """One storage commitment request still to be reported; ``body`` is JSON the service wrote."""

    commitment_id: int
    transaction_uid: str
    ae_title: str
    requested_at: datetime
    body: str
    attempts: int
    next_attempt_at: datetime
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What the archive holds; bytes are of whole files by tier, whatever their state.

    ``retired_bytes``: of the copies, hot or cold, that lossy ones replaced, and that a rollback would give again.
    """

    patients: int
    studies: int
    series: int
    instances: int
    hot_bytes: int
    cold_bytes: int
    copies_not_present: int
    quarantined: int
    unsealed_folders: int
    commitments_waiting: int
    studies_by_site: Mapping[str, int]
    retired_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the facts or the procedures of retention; ``data`` is JSON and may name a patient."""

    sequence: int
    at: datetime
    kind: str
    actor: str
    data: Mapping[str, Any]
