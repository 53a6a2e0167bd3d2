"""Facts and links that a person tells or takes back, and what is known of a patient; must not read files.

A fact told by hand has the source ``hand`` and, as its reference, the patient, the day and the person's reason: so the
history shows the reason, and two patients never share a reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from archive.errors import InvalidFact, NoSuchFact
from archive.index import gathering as index, patient_facts
from archive.index.patient_facts import PatientFact
from archive.index.session import Connection
from archive.services.facts import NewFact, NewLink, changes, checked, link, unlink, withdrawal
from archive.services.ledger import Draft, Ledger

SOURCE = "hand"


@dataclass(frozen=True, slots=True)
class PatientView:
    """What is known of one patient: every PatientID that is theirs, the studies, the facts in the order they came."""

    site: str
    patient_id: str
    linked: Sequence[str]
    study_instance_uids: Sequence[str]
    facts: Sequence[PatientFact]


@dataclass(frozen=True, slots=True)
class FactsByHand:
    """What the commands ``facts`` and ``patient`` do for a person."""

    ledger: Ledger

    def show(self, site: str, patient_id: str) -> PatientView:
        """Return what is known of a patient, linked records included; raise NoSuchFact when that is nothing."""
        with self.ledger.database.read() as connection:
            names = patient_facts.one_patient(connection, site, [patient_id])
            facts = [fact for each in sorted(names) for fact in patient_facts.history(connection, site, each)]
            studies = sorted(study.study_instance_uid for study in index.of_patients(connection, site, names))
        if not facts and not studies and len(names) == 1:
            raise NoSuchFact(reason="the site has neither a study nor a fact of this PatientID; check --site")
        facts.sort(key=lambda fact: fact.fact_id)
        return PatientView(site, patient_id, sorted(names - {patient_id}), studies, facts)

    def add(self, fact: NewFact, *, reason: str, actor: str) -> bool:
        """Tell a fact; return False when just that was told before. Raises InvalidFact."""
        told = checked(replace(fact, source=SOURCE, reference="?"))
        named = replace(told, reference=_reference([told.patient_id, told.from_on or ""], reason))
        return bool(self.ledger.act(actor, lambda connection: changes(connection, [named])))

    def withdraw(self, fact_id: int, *, reason: str, actor: str, sites: frozenset[str]) -> PatientFact:
        """Take a fact back, whoever told it; the reason goes to the ledger. Raises NoSuchFact, InvalidFact."""
        why = _reference([], reason)
        found: list[PatientFact] = []

        def decide(connection: Connection) -> list[Draft]:
            fact = patient_facts.find(connection, fact_id)
            if fact is None or fact.site not in sites:
                raise NoSuchFact(reason=f"{fact_id} is not the number of a fact; facts show prints them")
            if fact.withdrawn_at is not None:
                raise NoSuchFact(reason=f"{fact_id} is withdrawn already")
            found.append(fact)
            draft = withdrawal(fact)
            return [replace(draft, data={**draft.data, "reason": why})]

        self.ledger.act(actor, decide)
        return found[0]

    def link(self, wanted: NewLink, *, actor: str) -> bool:
        """Make two records one patient; return False when they are already. Raises InvalidFact."""
        return bool(self.ledger.act(actor, lambda connection: link(connection, wanted)))

    def unlink(self, wanted: NewLink, *, actor: str) -> None:
        """Part two records; raise NoSuchFact when they are not linked so."""

        def decide(connection: Connection) -> list[Draft]:
            drafts = unlink(connection, wanted)
            if not drafts:
                raise NoSuchFact(reason="these records are not linked this way round; patient show prints the links")
            return drafts

        self.ledger.act(actor, decide)


def new_link(site: str, patient_id: str, merged_patient_id: str, reason: str) -> NewLink:
    """Return a link made or parted by hand. Raises InvalidFact for a reason that is none."""
    return NewLink(site, patient_id, merged_patient_id, SOURCE, _reference([], reason))


def _reference(parts: Sequence[str], reason: str) -> str:
    reason = " ".join(reason.split())
    if not reason or len(reason) > 200:
        raise InvalidFact(name="reason", reason="takes 1 to 200 characters")
    return " ".join([*filter(None, parts), reason]) if parts else reason
