"""The ledger: what people and other systems told the archive, kept in files of its own; must not judge any of it.

Stored objects cannot tell who visited, who died, what is on hold, who approved what or what was destroyed. The ledger
can: one line of JSON an event, append-only, each line holding the hash of the line before. The tables of retention
are made from it, in the same transaction that appends, so that storage alone suffices to make the index again.

Order: decide, apply, append, sync, commit. A crash between the last two leaves events that the tables do not have;
``catch_up`` applies them before anything else is decided.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archive.audit import Body, Entry
from archive.clock import Clock
from archive.errors import LedgerBroken
from archive.index import ledger as table
from archive.index.ledger import Position
from archive.index.records import Event, from_text, to_text
from archive.index.session import Connection, Database
from archive.services.committer import append_entries
from tiering.disk import Disk

_CHUNK_BYTES: Final = 1 << 20
_SUFFIX: Final = ".jsonl"


@dataclass(frozen=True, slots=True)
class Draft:
    """An event about to happen. ``data`` goes to the ledger; ``public``, which names no patient, to the journal."""

    kind: str
    data: Mapping[str, Any]
    public: Body = field(default_factory=dict)


Decide = Callable[[Connection], Sequence[Draft]]


@dataclass(frozen=True, slots=True)
class LedgerFiles:
    """The ledger's folder: one file a month, read in the order of their names. Methods raise LedgerBroken, OSError."""

    disk: Disk
    root: Path

    def catch_up(self, connection: Connection) -> Position:
        """Apply what is in the files and not in the tables, within the caller's writing transaction."""
        position = table.position(connection)
        for event, after in self._iter_after(position):
            table.apply(connection, event)
            position = after
            table.move(connection, position)
        return position

    def replay(self, connection: Connection) -> int:
        """Make the tables again from the first event, within the caller's transaction; return how many there were."""
        table.clear(connection)
        return self.catch_up(connection).sequence

    def verify(self) -> tuple[int, bytes]:
        """Read all of it; return the number of events and the last hash."""
        position = table.START
        for _, after in self._iter_after(position):
            position = after
        return position.sequence, position.hash

    def iter_events(self) -> Iterator[Event]:
        """Yield every event from the first."""
        return (event for event, _ in self._iter_after(table.START))

    def append(self, position: Position, events: Sequence[Event]) -> Position:
        """Write the events behind the last, over what a power cut left there, durably; return the new position."""
        name = f"{events[0].at:%Y-%m}{_SUFFIX}"
        # A clock that jumped back must not put an event in front of earlier ones: files are read in their order.
        name = max(name, position.file)
        offset = position.offset_bytes if name == position.file else 0
        if position.file and name != position.file:
            self.disk.append(self.root / position.file, b"", position.offset_bytes)  # no torn tail but in the last file
        lines, previous = [], position.hash
        for left, event in zip(range(len(events) - 1, -1, -1), events, strict=True):
            line = _line(event, previous, left)
            previous = hashlib.sha256(line).digest()
            lines.append(line + b"\n")
        data = b"".join(lines)
        self.disk.append(self.root / name, data, offset)
        return Position(events[-1].sequence, previous, name, offset + len(data))

    def _iter_after(self, position: Position) -> Iterator[tuple[Event, Position]]:
        """Yield whole acts: one of which a power cut kept only the first events happened to nobody."""
        act: list[tuple[Event, Position]] = []
        for event, after, left in self._iter_lines(position):
            act.append((event, after))
            if left == 0:
                yield from act
                act = []

    def _iter_lines(self, position: Position) -> Iterator[tuple[Event, Position, int]]:
        names = [name for name in self.disk.names(self.root) if name.endswith(_SUFFIX) and name >= position.file]
        if position.file and position.file not in names:
            raise LedgerBroken(sequence=position.sequence, reason=f"{position.file} is missing")
        for name in names:
            skip = position.offset_bytes if name == position.file else 0
            size = self.disk.size_bytes(self.root / name)
            if size < skip:
                raise LedgerBroken(sequence=position.sequence, reason=f"{name} is shorter than it was")
            if size == skip:
                continue
            for line in self._lines(self.root / name, skip):
                found = _event(line, position, is_last_file=name == names[-1])
                if found is None:
                    return
                event, left = found
                end = (position.offset_bytes if name == position.file else 0) + len(line)
                position = Position(event.sequence, hashlib.sha256(line.rstrip(b"\n")).digest(), name, end)
                yield event, position, left

    def _lines(self, path: Path, skip: int) -> Iterator[bytes]:
        """Yield lines with their ends; the last may have none."""
        rest = b""
        for chunk in self.disk.read(path, chunk_bytes=_CHUNK_BYTES):
            part = chunk[min(skip, len(chunk)) :]
            skip -= len(chunk) - len(part)
            *whole, rest = (rest + part).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if rest:
            yield rest


@dataclass(frozen=True, slots=True)
class Ledger:
    """The files and the tables made from them; safe from several threads and processes.

    The database's one writer at a time is the ledger's one writer too.
    """

    files: LedgerFiles
    database: Database
    clock: Clock

    def act(self, actor: str, decide: Decide) -> list[Event]:
        """Let ``decide`` look at the present state and say what happens; make it durable; return the events.

        ``decide`` runs inside the writing transaction, alone, and may raise any ArchiveError to refuse: nothing has
        happened then. Raises IndexUnavailable and OSError; after these the events may still turn up, once.
        """
        with self.database.write(synced=True) as connection:
            position = self.files.catch_up(connection)
            drafts = decide(connection)
            if not drafts:
                return []
            now = self.clock()
            events = [
                Event(position.sequence + number, now, draft.kind, actor, draft.data)
                for number, draft in enumerate(drafts, start=1)
            ]
            for event in events:
                table.apply(connection, event)
            table.move(connection, self.files.append(position, events))
            append_entries(connection, [_entry(event, draft) for event, draft in zip(events, drafts, strict=True)])
        return events

    def catch_up(self) -> int:
        """Apply what is in the files and not in the tables; return how many events. Raises LedgerBroken."""
        with self.database.write(synced=True) as connection:
            before = table.position(connection).sequence
            return self.files.catch_up(connection).sequence - before


def _line(event: Event, previous: bytes, left: int) -> bytes:
    """Return an event's line; ``left`` events of the same act follow it."""
    value = {
        "sequence": event.sequence,
        "at": to_text(event.at),
        "kind": event.kind,
        "actor": event.actor,
        "data": event.data,
        "previous": previous.hex(),
        "left": left,
    }
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


def _event(line: bytes, position: Position, *, is_last_file: bool) -> tuple[Event, int] | None:
    """Return the event of a line, and how many of its act follow; None for a tail that a power cut left."""
    try:
        value = json.loads(line)
        event = Event(value["sequence"], from_text(value["at"]), value["kind"], value["actor"], value["data"])
        previous, left = bytes.fromhex(value["previous"]), int(value["left"])
    except (ValueError, KeyError, TypeError) as exc:
        if is_last_file and (not line.endswith(b"\n") or not line.strip(b"\0\n")):
            return None
        raise LedgerBroken(sequence=position.sequence + 1, reason="a line cannot be read") from exc
    if not line.endswith(b"\n"):
        return None
    if event.sequence != position.sequence + 1 or previous != position.hash:
        raise LedgerBroken(sequence=position.sequence + 1, reason="a line does not follow the one before it")
    if event.kind not in table.APPLY:
        raise LedgerBroken(sequence=event.sequence, reason=f"an event {event.kind!r}, of a newer version")
    return event, left


def _entry(event: Event, draft: Draft) -> Entry:
    return Entry(event.at, event.kind, event.actor, {**draft.public, "ledger": event.sequence})
