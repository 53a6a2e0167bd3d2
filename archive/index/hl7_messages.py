"""Every HL7 message that came, with what it says and what became of it; must not read one.

A message's number is the sequence of the ledger event that brought it, so it is the same after a rebuild. ``message``
is base64: what came may be of any character set, or of none.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """One message; ``outcome`` is accepted, ignored or refused, and ``detail`` says why without naming anybody."""

    number: int
    received_at: datetime
    peer_address: str
    control_id: str
    message_type: str
    outcome: str
    detail: str
    message: bytes
    says: Mapping[str, Any]


_RECEIVED: Final = ("peer_address", "control_id", "message_type", "outcome", "detail", "message")
_SAYS: Final = ("site", "source", "patient_id", "visit", "said_at")
_INSERT: Final = insert_into("hl7_message", ("id", "received_at", *_RECEIVED, *_SAYS, "says"))
_REPLAY: Final = Statement(
    "UPDATE hl7_message SET outcome = ?, detail = ?, site = ?, source = ?, patient_id = ?, visit = ?, said_at = ?, "
    "says = ? WHERE id = ?"
)
_COLUMNS: Final = f"SELECT id, received_at, {', '.join(_RECEIVED)}, says FROM hl7_message"
_FIND: Final = Statement(f"{_COLUMNS} WHERE id = ?")
_SAME: Final = Statement(f"{_COLUMNS} WHERE control_id = ? AND message = ? ORDER BY id DESC LIMIT 1")
_LATEST: Final = Statement(f"{_COLUMNS} ORDER BY id DESC LIMIT ?")
_REFUSED: Final = Statement(f"{_COLUMNS} WHERE outcome = 'refused' AND id > ? ORDER BY id LIMIT ?")
_OF_VISIT: Final = Statement(
    "SELECT id, says FROM hl7_message WHERE site = ? AND source = ? AND visit = ? ORDER BY said_at, id"
)
_OF_PATIENT: Final = Statement(
    "SELECT id, says FROM hl7_message WHERE site = ? AND source = ? AND patient_id = ? ORDER BY said_at, id"
)
_PAGE: Final = 500


def apply_received(connection: Connection, event: Event) -> None:
    """Keep a message under the number of its event."""
    data = event.data
    received = [_storable(data[name]) for name in _RECEIVED]
    _INSERT.run(connection, (event.sequence, to_text(event.at), *received, *_said(data["says"])))


def apply_replayed(connection: Connection, event: Event) -> None:
    """Give a message the outcome it has now, and what it says as it is understood now."""
    data = event.data
    _REPLAY.run(connection, (data["outcome"], data["detail"], *_said(data["says"]), data["number"]))


def encoded(message: bytes) -> str:
    """Return a message's bytes as they are kept, in the ledger and in the table."""
    return base64.b64encode(message).decode("ascii")


# ---- looking up ----------------------------------------------------------------------------------------------------


def find(connection: Connection, number: int) -> KeptMessage | None:
    """Return a message by its number, or None."""
    row = _FIND.one(connection, (number,))
    return None if row is None else _kept(row)


def find_same(connection: Connection, control_id: str, message: bytes) -> KeptMessage | None:
    """Return the last message kept with this control id and exactly these bytes, or None."""
    row = _SAME.one(connection, (_storable(control_id), encoded(message)))
    return None if row is None else _kept(row)


def latest(connection: Connection, limit: int) -> list[KeptMessage]:
    """Return the last messages, oldest first."""
    return [_kept(row) for row in _LATEST.rows(connection, (limit,))][::-1]


def iter_refused(connection: Connection) -> Iterator[KeptMessage]:
    """Yield the messages that are refused, oldest first."""
    last = 0
    while page := [_kept(row) for row in _REFUSED.rows(connection, (last, _PAGE))]:
        yield from page
        last = page[-1].number


def said_of_visit(connection: Connection, *, site: str, source: str, visit: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the numbers of the messages about a stay and what they say, in the order in which it was said."""
    return [(number, json.loads(says)) for number, says in _OF_VISIT.rows(connection, (site, source, visit))]


def said_of_patient(
    connection: Connection, *, site: str, source: str, patient_id: str
) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the numbers of the messages about a patient and what they say, in the order in which it was said."""
    return [(number, json.loads(says)) for number, says in _OF_PATIENT.rows(connection, (site, source, patient_id))]


def _said(says: Mapping[str, Any]) -> tuple[str, ...]:
    text = json.dumps(says, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return (*(str(says.get(name, "")) for name in _SAYS), text)


def _storable(text: str) -> str:
    """PostgreSQL keeps no NUL."""
    return text.replace("\0", "�")


def _kept(row: Row) -> KeptMessage:
    number, received_at, *received, says = row
    values = dict(zip(_RECEIVED, received, strict=True))
    values["message"] = base64.b64decode(values["message"])
    return KeptMessage(number=number, received_at=from_text(received_at), **values, says=json.loads(says))
