"""The journal as people search it: a page at a time, from the newest back; must not change or check an entry.

Each look goes through a bounded part of the journal and says how far it came, so that it takes as long on the first
day as after twenty years.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from archive.errors import NotAllowed
from archive.index import journal_search as table
from archive.index.journal_search import Filter, FoundEntry, Stretch
from archive.index.records import from_text, to_text
from archive.index.session import Connection, Database
from archive.services.people import Permission, Person

PAGE: Final = 50
LOOKS: Final = 20_000
_STRETCH: Final = 20_000
_STRETCHES: Final = 5


@dataclass(frozen=True, slots=True)
class AuditWanted:
    """What is searched for; "" and None: anything. ``before`` is the sequence to go back from."""

    event: str = ""
    actor: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry as it is shown; ``body`` is what it holds."""

    sequence: int
    at: datetime
    event: str
    actor: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """What was found, newest first, in ``looked_at`` entries; ``next_before`` goes on from there, None: to the end."""

    entries: Sequence[AuditEntry]
    looked_at: int
    next_before: int | None


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """Somebody looked at a study, or had it sent: who, as what, from where, why."""

    at: datetime
    event: str
    service: str
    full_name: str
    roles: Sequence[str]
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accesses:
    """Who looked at a study lately; ``looked_at``: among how many last looks of anybody."""

    entries: Sequence[AccessEntry]
    looked_at: int


@dataclass(frozen=True, slots=True)
class AuditDesk:
    """Searches the journal."""

    database: Database

    def search(self, wanted: AuditWanted, who: Person) -> AuditPage:
        """Return the next page. Raises NotAllowed, also for who is for some sites only: the journal is of them all."""
        who.require(Permission.READ_AUDIT)
        if who.sites:
            raise NotAllowed(name=who.name, reason="the journal is of every site, and the account is for some only")
        found: list[FoundEntry] = []
        with self.database.read() as connection:
            first, beyond = _bounds(connection, wanted)
            looked = left = beyond
            for stretch in _back(first, beyond):
                pattern = Filter(wanted.event, wanted.actor, json.dumps(wanted.text, ensure_ascii=False)[1:-1])
                found += table.find(connection, stretch, pattern, PAGE + 1 - len(found))
                left = stretch.first
                if len(found) > PAGE:
                    left = found[PAGE - 1].sequence
                    break
        entries = [_entry(each) for each in found[:PAGE]]
        return AuditPage(entries, looked - left, left if left > first else None)

    def of_study(self, study_instance_uid: str, limit: int = PAGE) -> Accesses:
        """Return who looked at a study, as far as the last looks of anybody tell, newest first."""
        with self.database.read() as connection:
            found = table.find_looks(connection, LOOKS, json.dumps(study_instance_uid), limit)
        return Accesses([_access(each) for each in found], LOOKS)


def _bounds(connection: Connection, wanted: AuditWanted) -> tuple[int, int]:
    first = 1 if wanted.since is None else table.first_since(connection, _midnight(wanted.since))
    beyond = table.last_sequence(connection) + 1
    if wanted.until is not None and wanted.until < date.max:
        beyond = table.first_since(connection, _midnight(wanted.until + timedelta(days=1)))
    return first, beyond if wanted.before is None else min(beyond, wanted.before)


def _back(first: int, beyond: int) -> Iterator[Stretch]:
    """Yield stretches from the newest back, as many as one look takes."""
    for _ in range(_STRETCHES):
        if beyond <= first:
            return
        start = max(first, beyond - _STRETCH)
        yield Stretch(start, beyond)
        beyond = start


def _midnight(day: date) -> str:
    return to_text(datetime.combine(day, time.min, UTC))


def _entry(found: FoundEntry) -> AuditEntry:
    return AuditEntry(found.sequence, from_text(found.at), found.event, found.actor, json.loads(found.body))


def _access(found: FoundEntry) -> AccessEntry:
    body: Mapping[str, Any] = json.loads(found.body)
    return AccessEntry(
        from_text(found.at),
        found.event,
        str(body.get("service", "")),
        str(body.get("full_name") or found.actor),
        [str(role) for role in body.get("roles", ())],
        str(body.get("address") or body.get("destination") or ""),
        str(body.get("reason", "")),
    )
