"""What an ADT message says, and what all that was said of a stay or a patient comes to; must not look anything up.

Messages come late, twice and out of order. So nothing is added to what was there: each time, all that a source said
is put in the order in which it was said, and read from the beginning. The same messages give the same facts, whatever
the order they came in. Where two readings are possible, the one that keeps longer is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

DELETED: Final = '""'
"""A value that a source takes back, which is more than not giving it."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one message says of one patient. Dates are ``YYYY[-MM[-DD]]``; None: it does not say.

    ``kind``: start, end or update of a stay, identity, merge, unmerge. ``is_cancel`` takes a start or an end back.
    ``said_at`` orders the statements of one source: its own clock, ``YYYYMMDDHHMMSS…``.
    """

    kind: str
    site: str
    source: str
    patient_id: str
    said_at: str
    visit: str = ""
    movement: str = ""
    is_cancel: bool = False
    from_on: str | None = None
    to_on: str | None = None
    died_at_discharge: bool = False
    birth_on: str | None = None
    death_on: str | None = None
    is_deceased: bool | None = None
    others: tuple[str, ...] = ()


def to_says(statement: Statement) -> dict[str, Any]:
    """Return a statement as JSON values, without what it does not say."""
    blank = Statement("", "", "", "", "")
    values = asdict(statement)
    return {name: value for name, value in values.items() if value != getattr(blank, name)}


def from_says(values: Mapping[str, Any]) -> Statement:
    """Return the statement ``to_says`` wrote."""
    return Statement(**{**values, "others": tuple(values.get("others", ()))})


@dataclass(frozen=True, slots=True)
class Stay:
    """A stay or consultation as a source tells it; ``died_on`` by its mode of discharge, said at ``death_said_at``."""

    patient_id: str
    from_on: str
    to_on: str | None
    died_on: str | None = None
    is_death_certain: bool = True
    death_said_at: str = ""


@dataclass(frozen=True, slots=True)
class Life:
    """Birth and death as a source tells them; ``is_certain`` is False when it says two things at once.

    ``denied_at``: when it was last said that the patient is not dead.
    """

    birth_on: str | None = None
    death_on: str | None = None
    is_deceased: bool = False
    is_certain: bool = True
    denied_at: str = ""


@dataclass(slots=True)
class _Movements:
    """The starts and ends of one stay that hold, by movement; those without a number go by their date."""

    starts: dict[str, str] = field(default_factory=dict)
    ends: dict[str, Statement] = field(default_factory=dict)
    patient_id: str = ""
    unmatched: bool = False

    def read(self, statement: Statement) -> None:
        """Go on by one statement."""
        if statement.kind == "start" and not statement.is_cancel:
            self.patient_id = statement.patient_id
            self.starts[_key(statement, statement.from_on)] = statement.from_on or ""
        elif statement.kind == "start":
            self.patient_id = self.patient_id or statement.patient_id
            self._cancel(self.starts, statement)
            if not self.starts:
                self.ends.clear()  # a stay that never began has no end either
        elif statement.kind == "end" and not statement.is_cancel:
            self._end(statement)
        elif statement.kind == "end":
            self._reopen(statement)
        elif statement.kind == "update" and not statement.is_cancel:
            self._update(statement)

    def _end(self, statement: Statement) -> None:
        self.patient_id = statement.patient_id
        self.ends[_key(statement, statement.to_on)] = statement
        if not self.starts and statement.from_on:
            self.starts[_unnumbered(statement.from_on)] = statement.from_on

    def _reopen(self, statement: Statement) -> None:
        """Take an end back; a stay of which only the end was known goes on all the same."""
        last = max((end.to_on or "" for end in self.ends.values()), default="")
        self._cancel(self.ends, statement)
        day = statement.from_on or last
        if not self.starts and not self.ends and day:
            self.starts[_unnumbered(day)] = day
            self.patient_id = self.patient_id or statement.patient_id

    def _cancel(self, movements: dict[str, Any], statement: Statement) -> None:
        """Take back the movement named, or else the last one that has no number."""
        if statement.movement in movements:
            del movements[statement.movement]
            return
        nameless = [key for key in movements if not statement.movement or key.startswith(_UNNUMBERED)]
        if nameless:
            del movements[nameless[-1]]
        elif movements:
            self.unmatched = True

    def _update(self, statement: Statement) -> None:
        """Correct the first start and the last end: an update repeats the dates of the whole stay."""
        if statement.from_on and statement.from_on != DELETED:
            first = min(self.starts, key=lambda key: self.starts[key], default=None)
            if first is not None:
                self.starts[first] = statement.from_on
            elif not self.patient_id:  # nothing was cancelled: the admission has not come, or never will
                self.starts[_unnumbered(statement.from_on)] = statement.from_on
                self.patient_id = statement.patient_id
        if statement.to_on == DELETED:
            self.ends.clear()
        elif statement.to_on and (self.starts or self.ends):
            last = max(self.ends, key=lambda key: self.ends[key].to_on or "", default=_unnumbered(statement.to_on))
            self.ends[last] = statement

    def stay(self) -> Stay | None:
        """Return what it comes to: from the first start to the last day known."""
        days = [*self.starts.values(), *(end.to_on or "" for end in self.ends.values())]
        if not days:
            return None
        first, last = min(days), max(days)
        dead = [end for end in self.ends.values() if end.died_at_discharge]
        return Stay(
            patient_id=self.patient_id,
            from_on=min(self.starts.values(), default=first),
            to_on=last if self.ends or last != first else None,
            died_on=dead[-1].to_on if dead else None,
            is_death_certain=all(end.is_deceased is not False for end in dead),
            death_said_at=dead[-1].said_at if dead else "",
        )


_UNNUMBERED: Final = "on "


def _unnumbered(day: str) -> str:
    return f"{_UNNUMBERED}{day}"


def _key(statement: Statement, day: str | None) -> str:
    return statement.movement or _unnumbered(day or "")


def read_stay(statements: Iterable[Statement]) -> tuple[Stay | None, bool]:
    """Return what the statements about one stay come to, in the order they were said; None: there was none.

    The second value tells whether a cancel named a movement that nobody had made: it then changed nothing.
    """
    movements = _Movements()
    for statement in _ordered(statements):
        movements.read(statement)
    return movements.stay(), movements.unmatched


_Death = tuple[str | None, bool, bool]


def read_life(statements: Iterable[Statement]) -> Life:
    """Return birth and death as the last statement that speaks of each has them.

    PID-30 = N takes a death back; PID-30 = N beside a date in PID-29 leaves it uncertain, and it shortens nothing.
    """
    birth: str | None = None
    denied_at = ""
    death: _Death = (None, False, True)
    for each in _ordered(statements):
        birth = each.birth_on or birth
        death = _death(each, death)
        denied_at = each.said_at if each.is_deceased is False else denied_at
    died_on, is_deceased, is_certain = death
    return Life(None if birth == DELETED else birth, died_on, is_deceased, is_certain, denied_at)


def _death(statement: Statement, before: _Death) -> _Death:
    if statement.death_on and statement.death_on != DELETED:
        return statement.death_on, True, statement.is_deceased is not False
    if statement.is_deceased:
        known, _, is_certain = before
        return (None, True, True) if statement.death_on == DELETED else (known, True, is_certain)
    if statement.is_deceased is False or statement.death_on == DELETED:
        return None, False, True
    return before


def _ordered(statements: Iterable[Statement]) -> Sequence[Statement]:
    return sorted(statements, key=lambda statement: statement.said_at)
