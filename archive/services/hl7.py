"""Keeps every HL7 message and what follows from it, in one act of the ledger; must not read messages itself.

The message's own event comes first, the facts it brings after it, all in one transaction: whoever is told that a
message is kept can rely on its facts too. A refused message is kept as well, byte for byte, to be replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from archive.errors import ArchiveError, LedgerBroken, MessageNotFound, MessageRefused, Unavailable
from archive.index import hl7_messages as table, patient_facts
from archive.index.hl7_messages import KeptMessage
from archive.index.session import Connection, Database
from archive.services import facts
from archive.services.adt import Life, Statement, Stay, from_says, read_life, read_stay, to_says
from archive.services.facts import NewFact, NewLink
from archive.services.ledger import Draft, Ledger

Outcome = Literal["accepted", "ignored", "refused"]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as it came; ``message_type`` is ``ADT^A01`` or what there is of it."""

    message: bytes
    control_id: str
    message_type: str
    peer_address: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of a message: a statement, or why there is none; ``detail`` names nobody."""

    statement: Statement | None = None
    detail: str = ""
    error: MessageRefused | None = None

    @property
    def outcome(self) -> Outcome:
        """Say what becomes of a message read so."""
        if self.error is not None:
            return "refused"
        return "ignored" if self.statement is None else "accepted"


Read = Callable[[bytes], Reading]


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a message; ``is_new`` is False when nothing was written because it is known already."""

    number: int
    outcome: str
    detail: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Feed:
    """The messages of the hospital's own systems."""

    ledger: Ledger
    database: Database

    def keep(self, arrived: Arrived, reading: Reading) -> Kept:
        """Make a message and its facts durable; return only then.

        The same message again, byte for byte under the same control id, changes nothing; one that was refused is
        looked at again. Raises Unavailable, LedgerBroken and OSError: then it is not kept, and may be sent again.
        """
        act = _Act(reading)

        def decide(connection: Connection) -> list[Draft]:
            known = table.find_same(connection, arrived.control_id, arrived.message)
            if known is not None:
                return act.again(connection, known)
            return act.first(connection, arrived)

        return self._done(act, decide, actor=_actor(reading))

    def replay(self, number: int, read: Read, *, actor: str) -> Kept:
        """Read a kept message again, with today's settings; raise MessageNotFound when there is none."""
        reading = read(self.get(number).message)
        act = _Act(reading)

        def decide(connection: Connection) -> list[Draft]:
            known = table.find(connection, number)
            assert known is not None, "messages are never removed"
            return act.replayed(connection, known)

        return self._done(act, decide, actor=actor)

    def get(self, number: int) -> KeptMessage:
        """Return a message; raise MessageNotFound when there is none of this number."""
        with self.database.read() as connection:
            found = table.find(connection, number)
        if found is None:
            raise MessageNotFound(number=number)
        return found

    def latest(self, limit: int) -> list[KeptMessage]:
        """Return the last messages, oldest first."""
        with self.database.read() as connection:
            return table.latest(connection, limit)

    def iter_refused(self) -> Iterator[KeptMessage]:
        """Yield every message that is refused, oldest first."""
        with self.database.read() as connection:
            yield from table.iter_refused(connection)

    def _done(self, act: _Act, decide: Callable[[Connection], list[Draft]], *, actor: str) -> Kept:
        events = self.ledger.act(actor, decide)
        number = act.number or events[0].sequence
        return Kept(number, act.outcome, act.detail, is_new=bool(events))


@dataclass(slots=True)
class _Act:
    """One decision about a message: what is written, and what became of it."""

    reading: Reading
    number: int = 0
    outcome: str = ""
    detail: str = ""

    def first(self, connection: Connection, arrived: Arrived) -> list[Draft]:
        """Return the events of a message that was not there before."""
        follows = self._follows(connection, None)
        data = {
            "peer_address": arrived.peer_address,
            "control_id": arrived.control_id,
            "message_type": arrived.message_type,
            "outcome": self.outcome,
            "detail": self.detail,
            "message": table.encoded(arrived.message),
            "says": self._says(),
        }
        public = {"outcome": self.outcome, "detail": self.detail, "peer_address": arrived.peer_address}
        return [Draft("hl7_received", data, public), *follows]

    def again(self, connection: Connection, known: KeptMessage) -> list[Draft]:
        """Return the events of a message sent again: none, unless it was refused and is understood now."""
        if known.outcome == "refused":
            return self.replayed(connection, known)
        self.number, self.outcome, self.detail = known.number, known.outcome, known.detail
        return []

    def replayed(self, connection: Connection, known: KeptMessage) -> list[Draft]:
        """Return the events by which a kept message is understood anew: none when it is understood as before."""
        self.number = known.number
        follows = [*self._forgotten(connection, known), *self._follows(connection, known)]
        now = (self.outcome, self._says())
        if not follows and now == (known.outcome, dict(known.says)) and self._is_same_detail(known):
            self.detail = known.detail
            return []
        data = {"number": known.number, "outcome": self.outcome, "detail": self.detail, "says": self._says()}
        return [Draft("hl7_replayed", data, {"number": known.number, "outcome": self.outcome}), *follows]

    def _is_same_detail(self, known: KeptMessage) -> bool:
        return self.outcome == "accepted" or self.detail == known.detail

    def _says(self) -> dict[str, Any]:
        statement = self.reading.statement
        return {} if statement is None or self.outcome == "refused" else _json(to_says(statement))

    def _follows(self, connection: Connection, known: KeptMessage | None) -> list[Draft]:
        """Return the events of the facts that change; set outcome and detail."""
        self.outcome, self.detail = self.reading.outcome, self.reading.detail
        statement = self.reading.statement
        if statement is None:
            return []
        try:
            drafts, is_unmatched = _consequences(connection, statement, known)
        except (Unavailable, LedgerBroken):
            raise
        except ArchiveError as exc:
            self.outcome, self.detail = "refused", exc.message
            return []
        self.detail = _detail(drafts, is_unmatched=is_unmatched)
        return drafts

    def _forgotten(self, connection: Connection, known: KeptMessage) -> list[Draft]:
        """Return the events that undo what a message said of a patient or a stay it does not speak of now."""
        if not known.says:
            return []
        before, now = from_says(known.says), self.reading.statement
        about = _Scope.of(before)
        if now is not None and (now.site, now.source) == (before.site, before.source):
            about = about.without(_Scope.of(now))
        return about.settle(connection, before, [], known)[0]


def _actor(reading: Reading) -> str:
    return "hl7" if reading.statement is None else reading.statement.source


def _json(says: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in says.items()}


_COUNTED: Final = {
    "fact_recorded": "facts recorded",
    "fact_withdrawn": "facts withdrawn",
    "patients_linked": "patients linked",
    "patients_unlinked": "patients unlinked",
}


def _detail(drafts: list[Draft], *, is_unmatched: bool) -> str:
    counted = Counter(draft.kind for draft in drafts)
    parts = [f"{words}: {counted[kind]}" for kind, words in _COUNTED.items() if counted[kind]]
    if is_unmatched:
        parts.append("it cancels a movement that is not known, which changes nothing")
    return "; ".join(parts) or "nothing new"


# ---- what follows from a statement ---------------------------------------------------------------------------------


def _consequences(connection: Connection, statement: Statement, known: KeptMessage | None) -> tuple[list[Draft], bool]:
    links = [draft for other in statement.others for draft in _linked(connection, statement, other)]
    drafts, is_unmatched = _Scope.of(statement).settle(connection, statement, [statement], known)
    return [*links, *drafts], is_unmatched


def _linked(connection: Connection, statement: Statement, other: str) -> list[Draft]:
    site, source = statement.site, statement.source
    reference = f"{statement.said_at} {other}"
    there = NewLink(site, statement.patient_id, other, source, reference)
    if statement.kind == "merge":
        return facts.link(connection, there)
    back = NewLink(site, other, statement.patient_id, source, reference)
    return [*facts.unlink(connection, there), *facts.unlink(connection, back)]


@dataclass(frozen=True, slots=True)
class _Scope:
    """The patient and the stay whose facts are brought in line with all that was said; empty: none."""

    patient_id: str
    visit: str

    @classmethod
    def of(cls, statement: Statement) -> _Scope:
        """Return what a statement speaks of."""
        return cls(statement.patient_id, statement.visit)

    def without(self, other: _Scope) -> _Scope:
        """Leave out what another scope covers."""
        return _Scope(
            "" if self.patient_id == other.patient_id else self.patient_id,
            "" if self.visit == other.visit else self.visit,
        )

    def settle(
        self, connection: Connection, about: Statement, added: list[Statement], known: KeptMessage | None
    ) -> tuple[list[Draft], bool]:
        """Return the events after which the facts are what all statements come to, ``added`` ones included.

        The second value tells of a cancel that found nothing to cancel.
        """
        site, source = about.site, about.source
        rows = table.said_of_patient(connection, site=site, source=source, patient_id=about.patient_id)
        of_patient = _others(rows, known) + added
        life = read_life(of_patient)
        wanted: list[NewFact] = []
        references: dict[str, set[str]] = {}
        if self.patient_id:
            wanted += _of_life(about, life)
            references[_person(about)] = {"birth", "death", "deceased"}
        is_unmatched = False
        for visit in self._visits(of_patient):
            rows = table.said_of_visit(connection, site=site, source=source, visit=visit)
            stay, unmatched = read_stay(_others(rows, known) + [each for each in added if each.visit == visit])
            is_unmatched |= unmatched and visit == self.visit
            wanted += [] if stay is None else _of_stay(about, visit, stay, life)
            references[visit] = {"visit", "death"}
        return [*_withdrawn(connection, about, wanted, references), *facts.changes(connection, wanted)], is_unmatched

    def _visits(self, of_patient: Sequence[Statement]) -> list[str]:
        """Return the stays concerned: the one, and those of the patient that ended by death: PID-29 goes before."""
        ended = {each.visit for each in of_patient if each.died_at_discharge} if self.patient_id else set()
        return sorted((ended | {self.visit}) - {""})


def _withdrawn(
    connection: Connection, about: Statement, wanted: Sequence[NewFact], references: Mapping[str, set[str]]
) -> list[Draft]:
    """Return the events that take back what holds no more, and what is another patient's now."""
    holds = {(fact.reference, fact.kind, fact.patient_id) for fact in wanted}
    drafts = []
    for reference, kinds in references.items():
        found = patient_facts.find_current(connection, site=about.site, source=about.source, reference=reference)
        for fact in found:
            if fact.kind in kinds and (fact.reference, fact.kind, fact.patient_id) not in holds:
                drafts.append(facts.withdrawal(fact))
    return drafts


def _others(rows: Sequence[tuple[int, Mapping[str, Any]]], known: KeptMessage | None) -> list[Statement]:
    """Return what all messages say but the one that is being read again."""
    return [from_says(says) for number, says in rows if known is None or number != known.number]


def _person(statement: Statement) -> str:
    return f"patient {statement.patient_id}"


def _of_life(about: Statement, life: Life) -> list[NewFact]:
    found: list[tuple[str, str | None, bool]] = []
    if life.birth_on:
        found.append(("birth", life.birth_on, True))
    if life.death_on:
        found.append(("death", life.death_on, life.is_certain))
    elif life.is_deceased:
        found.append(("deceased", None, True))
    return [
        NewFact(about.site, about.patient_id, kind, about.source, _person(about), day, is_trusted=is_certain)
        for kind, day, is_certain in found
    ]


def _of_stay(about: Statement, visit: str, stay: Stay, life: Life) -> list[NewFact]:
    place = (about.source, visit)
    found = [NewFact(about.site, stay.patient_id, "visit", *place, stay.from_on, stay.to_on)]
    # PID-29 is the day of death; the day of a discharge by death is the next best.
    if stay.died_on and life.death_on is None:
        is_trusted = stay.is_death_certain and life.denied_at <= stay.death_said_at
        found.append(NewFact(about.site, stay.patient_id, "death", *place, stay.died_on, is_trusted=is_trusted))
    return found
