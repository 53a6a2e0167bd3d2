"""Merges and unmerges: whoever's facts change has every study assessed again, and nobody else."""

from __future__ import annotations

from hypothesis import given, strategies as st

from archive.index import patient_facts
from archive.index.records import Event
from archive.index.session import Connection, Database
from archive.index.statements import Statement
from archive.services.facts import NewFact, changes
from archive.services.ledger import Draft, Ledger
from tests.integration.index.making import NOW, add, change, new_instance

IDS = "ABCDE"
STEPS = st.lists(
    st.tuples(st.booleans(), st.sampled_from(IDS), st.sampled_from(IDS)).filter(lambda step: step[1] != step[2]),
    min_size=1,
    max_size=12,
)
STALE = Statement("SELECT study_instance_uid FROM assessment WHERE is_stale = 1")
FRESH = Statement("UPDATE assessment SET is_stale = 0")


def fill(database: Database) -> None:
    """Store two studies for each patient, one of them also at another site, all assessed."""
    for number, patient_id in enumerate(IDS):
        for study in (number, number + 100):
            add(database, new_instance(study=study, PatientID=patient_id))
    add(database, new_instance(study=500, PatientID="A", site="Clinique"))
    change(
        database,
        "INSERT INTO assessment (study_instance_uid, site, blocked_by, assumptions, reading, schedule_version, "
        "assessed_at, is_stale, instances, size_bytes) "
        "SELECT study_instance_uid, site, '', '{}', 'prudent', '1', '', 0, 1, 1 "
        "FROM study",
    )


def patients(connection: Connection) -> dict[str, frozenset[str]]:
    """Return for each PatientID the ids that are the same patient."""
    return {each: frozenset(patient_facts.one_patient(connection, "CHU", [each])) for each in IDS}


def studies(patient_ids: set[str]) -> set[str]:
    """Return the studies that these patients have at the site."""
    return {f"2.25.{IDS.index(each) + more}" for each in patient_ids for more in (0, 100)}


def stale(connection: Connection) -> set[str]:
    """Return what is to be assessed again, and begin anew."""
    found = {uid for (uid,) in STALE.rows(connection)}
    FRESH.run(connection)
    return found


def test_every_study_concerned_is_assessed_again(ledger: Ledger) -> None:
    """Along any chain of merges and unmerges: all studies of all records whose patient changes, and no others.

    One left out would be kept by what is no longer known of its patient.
    """
    fill(ledger.database)

    @given(STEPS)
    def holds(steps: list[tuple[bool, str, str]]) -> None:
        def look(connection: Connection) -> list[Draft]:
            for is_link, kept, merged in steps:
                data = {"site": "CHU", "patient_id": kept, "merged_patient_id": merged}
                data |= {"source": "hl7:GAM", "reference": "m"}
                before = patients(connection)
                apply = patient_facts.apply_linked if is_link else patient_facts.apply_unlinked
                apply(connection, Event(1, NOW, "", "anne", data))
                after, found = patients(connection), stale(connection)
                changed = {each for each in IDS if before[each] != after[each]}
                named = before[kept] | before[merged] | after[kept] | after[merged]
                assert studies(changed) <= found <= studies(set(named))
            Statement("DELETE FROM patient_link").run(connection)
            return []

        ledger.act("anne", look)

    holds()


def test_a_fact_reaches_every_linked_record(ledger: Ledger) -> None:
    """A visit told under one PatientID has the studies of all linked ones assessed again, along a chain."""
    fill(ledger.database)

    def look(connection: Connection) -> list[Draft]:
        for kept, merged in ("AB", "BC"):
            data = {"site": "CHU", "patient_id": kept, "merged_patient_id": merged, "source": "x", "reference": "m"}
            patient_facts.apply_linked(connection, Event(1, NOW, "", "anne", data))
        stale(connection)
        (draft,) = changes(connection, [NewFact("CHU", "C", "visit", "x", "v", "2020")])
        for apply in (patient_facts.apply_recorded, patient_facts.apply_withdrawn):
            apply(connection, Event(2, NOW, "", "anne", draft.data))
            assert stale(connection) == studies({"A", "B", "C"})
        return []

    ledger.act("anne", look)


def test_a_fact_told_of_another_patient_has_both_assessed_again(ledger: Ledger) -> None:
    """A visit that turns out to be somebody else's no longer dates the studies of the first."""
    fill(ledger.database)

    def look(connection: Connection) -> list[Draft]:
        for patient_id, concerned in (("A", {"A"}), ("B", {"A", "B"})):
            (draft,) = changes(connection, [NewFact("CHU", patient_id, "visit", "x", "v", "2020")])
            patient_facts.apply_recorded(connection, Event(1, NOW, "", "anne", draft.data))
            assert stale(connection) == studies(concerned)
        return []

    ledger.act("anne", look)
