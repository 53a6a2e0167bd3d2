"""Where the ledger's projections stand, and what each kind of event does to them; must not touch the ledger's files.

Every table of retention is a projection: it can be emptied and made again from the ledger. ``apply`` is the one way by
which an event reaches them, when it happens and when it is replayed, so it depends on nothing but the event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from archive.index import accounts, death_candidates, disposal, hl7_messages, holds, passkeys, patient_facts, sweeps
from archive.index.records import Event
from archive.index.session import Connection
from archive.index.statements import Statement, insert_into

GENESIS: Final = bytes(32)
"""The previous hash of the first event."""


@dataclass(frozen=True, slots=True)
class Position:
    """The last event applied, its hash (32 bytes), and where its successor goes; ``offset_bytes`` within ``file``."""

    sequence: int
    hash: bytes
    file: str
    offset_bytes: int


START: Final = Position(0, GENESIS, "", 0)

Apply = Callable[[Connection, Event], None]
APPLY: Final[Mapping[str, Apply]] = {
    "fact_recorded": patient_facts.apply_recorded,
    "fact_withdrawn": patient_facts.apply_withdrawn,
    "patients_linked": patient_facts.apply_linked,
    "patients_unlinked": patient_facts.apply_unlinked,
    "candidate_found": death_candidates.apply_found,
    "candidate_confirmed": death_candidates.apply_confirmed,
    "candidate_rejected": death_candidates.apply_rejected,
    "hl7_received": hl7_messages.apply_received,
    "hl7_replayed": hl7_messages.apply_replayed,
    "account_set": accounts.apply_set,
    "account_disabled": accounts.apply_disabled,
    "account_invited": passkeys.apply_invited,
    "passkey_added": passkeys.apply_added,
    "passkeys_removed": passkeys.apply_removed,
    "hold_placed": holds.apply_placed,
    "hold_reviewed": holds.apply_reviewed,
    "hold_lifted": holds.apply_lifted,
    "clock_trusted": sweeps.apply_clock_trusted,
    "disposal_proposed": disposal.apply_proposed,
    "disposal_approved": disposal.apply_approved,
    "disposal_kept": disposal.apply_kept,
    "disposal_cancelled": disposal.apply_cancelled,
    "studies_destroyed": disposal.apply_destroyed,
    "disposal_certified": disposal.apply_certified,
    "remains_destroyed": disposal.apply_remains,
}
"""What each kind of event does. A kind, once written, keeps its meaning for ever: old ledgers are replayed."""

_POSITION: Final = Statement("SELECT sequence, hash, file, offset_bytes FROM ledger_position WHERE id = 1")
_MOVE: Final = insert_into(
    "ledger_position",
    ("id", "sequence", "hash", "file", "offset_bytes"),
    " ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash, file = excluded.file, "
    "offset_bytes = excluded.offset_bytes",
)


_PROJECTIONS: Final = (
    *("hold_scope", "hold", "account", "passkey", "invitation"),
    *("disposal_approval", "disposal_item", "disposal_list", "tombstone"),
    *(
        "death_candidate",
        "patient_link",
        "patient_fact",
        "hl7_message",
        "assessment",
        "sweep_mark",
        "ledger_position",
    ),
)
"""In an order in which nothing emptied is still referred to."""


def clear(connection: Connection) -> None:
    """Empty every projection."""
    for name in _PROJECTIONS:
        Statement(f"DELETE FROM {name}").run(connection)


def position(connection: Connection) -> Position:
    """Return where the projections stand; START when no event was applied yet."""
    row = _POSITION.one(connection)
    return START if row is None else Position(row[0], bytes(row[1]), row[2], row[3])


def move(connection: Connection, to: Position) -> None:
    """Say where the projections stand now, in the transaction that applied the events up to there."""
    _MOVE.run(connection, (1, to.sequence, to.hash, to.file, to.offset_bytes))


def apply(connection: Connection, event: Event) -> None:
    """Let an event do what it does to the projections; KeyError for a kind this version does not know."""
    APPLY[event.kind](connection, event)
