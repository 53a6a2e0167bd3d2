"""What it takes to record, withdraw and link, as drafts for the ledger; must not append them itself.

Every function looks at what is known and returns only what changes it: the same fact told again, by the same source
under the same reference, makes no event. Call them inside ``Ledger.act``, where nobody else decides meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Final

from archive.errors import InvalidFact
from archive.index import patient_facts
from archive.index.patient_facts import KINDS, FactKey, PatientFact
from archive.index.session import Connection
from archive.services.fact_dates import first_day, iso_date, last_day
from archive.services.ledger import Draft

LONGEST: Final = {"site": 64, "patient_id": 128, "source": 128, "reference": 512}
"""Characters that a name may have; a PatientID of DICOM has 64 (PS3.5, LO), HL7's may have more."""

_EARLIEST_YEAR: Final = "1800"
_WITHOUT_END: Final = ("birth", "death", "deceased")


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact about to be told; see ``PatientFact`` for what the dates of each kind mean.

    ``source`` names who tells it (``hl7:GAM``, ``file:GAM``, ``hand``) and, since it is journaled, no patient;
    ``reference`` names the fact within its source. A visit without ``to_on`` lasted a day or goes on.
    """

    site: str
    patient_id: str
    kind: str
    source: str
    reference: str
    from_on: str | None = None
    to_on: str | None = None
    is_trusted: bool = True

    @property
    def key(self) -> FactKey:
        """Return what makes it the same fact as another."""
        return FactKey(self.site, self.source, self.reference, self.kind)


_TOLD: Final = tuple(each.name for each in fields(NewFact))


@dataclass(frozen=True, slots=True)
class NewLink:
    """``merged_patient_id`` turned out to be the patient ``patient_id``, at one site."""

    site: str
    patient_id: str
    merged_patient_id: str
    source: str
    reference: str


def checked(fact: NewFact) -> NewFact:
    """Return the fact with its names trimmed and its dates in the ledger's form; raise InvalidFact."""
    names = {name: _name(name, getattr(fact, name)) for name in LONGEST}
    if fact.kind not in KINDS:
        raise InvalidFact(name="kind", reason=f"is not one of {', '.join(KINDS)}")
    from_on, to_on = _date("from_on", fact.from_on), _date("to_on", fact.to_on)
    if (from_on is None) != (fact.kind == "deceased"):
        reason = "has no date: a death with one is a death" if from_on else f"is missing: a {fact.kind} has a date"
        raise InvalidFact(name="from_on", reason=reason)
    if to_on is not None and fact.kind in _WITHOUT_END:
        raise InvalidFact(name="to_on", reason=f"is not for a {fact.kind}")
    if from_on is not None and to_on is not None and last_day(to_on) < first_day(from_on):
        raise InvalidFact(name="to_on", reason="lies before from_on")
    return NewFact(**names, kind=fact.kind, from_on=from_on, to_on=to_on, is_trusted=fact.is_trusted)


def news(connection: Connection, facts: Iterable[NewFact]) -> list[tuple[NewFact, NewFact | None]]:
    """Return those facts that are new or say something else than before, each with what was said before.

    A fact whose source and reference are known replaces what was known of its kind. Raises InvalidFact for any of
    them, before anything is returned.
    """
    wanted = [checked(fact) for fact in facts]
    known = patient_facts.current_by_key(connection, {fact.key for fact in wanted})
    said = {key: _as_told(fact) for key, fact in known.items()}
    found = []
    for fact in wanted:
        former = said.get(fact.key)
        if former != fact:
            said[fact.key] = fact
            found.append((fact, former))
    return found


def changes(connection: Connection, facts: Iterable[NewFact]) -> list[Draft]:
    """Return the drafts of those facts that ``news`` finds, in their order. Raises InvalidFact."""
    return [recorded(fact) for fact, _ in news(connection, facts)]


def recorded(fact: NewFact) -> Draft:
    """Return the draft that tells a checked fact."""
    data = {name: getattr(fact, name) for name in _TOLD}
    return Draft("fact_recorded", data, {"source": fact.source, "fact": fact.kind})


def withdrawals(
    connection: Connection, *, site: str, source: str, reference: str, kind: str | None = None
) -> list[Draft]:
    """Return the drafts that take back what a source says now under a reference: of one kind, or all; often none."""
    found = patient_facts.find_current(connection, site=site, source=source, reference=reference)
    return [withdrawal(fact) for fact in found if kind is None or fact.kind == kind]


def withdrawal(fact: PatientFact) -> Draft:
    """Return the draft that takes a current fact back."""
    key = {"site": fact.site, "kind": fact.kind, "source": fact.source, "reference": fact.reference}
    public = {"source": fact.source, "fact": fact.kind}
    return Draft("fact_withdrawn", {**key, "patient_id": fact.patient_id}, public)


def link(connection: Connection, wanted: NewLink) -> list[Draft]:
    """Return the draft that makes two records one patient; none when they are linked so already. Raises InvalidFact."""
    wanted = _checked_link(wanted)
    if wanted.patient_id in patient_facts.survivors(connection, wanted.site, wanted.merged_patient_id):
        return []
    return [Draft("patients_linked", asdict(wanted), {"source": wanted.source})]


def unlink(connection: Connection, wanted: NewLink) -> list[Draft]:
    """Return the draft that parts two records again; none when they are not linked so. Raises InvalidFact."""
    wanted = _checked_link(wanted)
    if wanted.patient_id not in patient_facts.survivors(connection, wanted.site, wanted.merged_patient_id):
        return []
    return [Draft("patients_unlinked", asdict(wanted), {"source": wanted.source})]


def _as_told(fact: PatientFact) -> NewFact:
    return NewFact(**{name: getattr(fact, name) for name in _TOLD})


def _checked_link(wanted: NewLink) -> NewLink:
    names = {name: _name(name, getattr(wanted, name)) for name in LONGEST}
    merged = _name("merged_patient_id", wanted.merged_patient_id, longest=LONGEST["patient_id"])
    if merged == names["patient_id"]:
        raise InvalidFact(name="merged_patient_id", reason="is the patient itself")
    return NewLink(merged_patient_id=merged, **names)


def _name(name: str, value: str, *, longest: int | None = None) -> str:
    value = value.strip()
    longest = longest or LONGEST[name]
    if not value:
        raise InvalidFact(name=name, reason="is missing")
    if len(value) > longest or not value.isprintable():
        raise InvalidFact(name=name, reason=f"is longer than {longest} characters or has characters that do not print")
    return value


def _date(name: str, value: str | None) -> str | None:
    if value is None or not value.strip():
        return None
    found = iso_date(value)
    if found is None:
        raise InvalidFact(name=name, reason="is not a date (2020-12-31, 2020-12, 2020, 20201231 or 31/12/2020)")
    if found < _EARLIEST_YEAR:
        raise InvalidFact(name=name, reason=f"lies before {_EARLIEST_YEAR}")
    return found
