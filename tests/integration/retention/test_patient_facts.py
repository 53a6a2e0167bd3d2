"""Facts and links as the tables keep them: recorded, replaced, withdrawn, gathered over linked records."""

from __future__ import annotations

from hypothesis import given, strategies as st

from archive.index import patient_facts
from archive.index.session import Connection
from archive.index.statements import Statement
from archive.services.ledger import Draft, Ledger
from tests.integration.retention.test_ledger import record, visit, visits

LINKS = st.lists(st.tuples(st.sampled_from("ABCDE"), st.sampled_from("ABCDE")), max_size=6)


def link(kept: str, merged: str, kind: str = "patients_linked") -> Draft:
    """Return the draft of a merge, or of one taken back."""
    told = {"source": "hl7:GAM", "reference": "m1"}
    return Draft(kind, {"site": "CHU", "patient_id": kept, "merged_patient_id": merged, **told})


def test_a_fact_told_again_takes_the_place_of_the_old_one(ledger: Ledger) -> None:
    """Same source, reference and kind: the new one counts, the old one stays in the history with who and when."""
    record(ledger, visit(1))
    record(ledger, visit(1, from_on="2021-02-02"))
    assert visits(ledger) == ["2021-02-02"]
    with ledger.database.read() as connection:
        first, second = patient_facts.history(connection, "CHU", "P1")
        told = patient_facts.find_current(connection, site="CHU", source="file:visits", reference="v1")
    assert (first.withdrawn_by, second.withdrawn_by) == ("anne", None)
    assert told == [second]


def test_another_site_knows_nothing_of_it(ledger: Ledger) -> None:
    """Facts belong to one establishment: the same PatientID elsewhere is another patient."""
    record(ledger, visit(1), visit(2, site="Clinique"))
    assert visits(ledger) == ["2020-01-01"]


def test_linked_records_are_one_patient_until_they_are_unlinked(ledger: Ledger) -> None:
    """Facts of all linked records count for each of them; taking the link back parts them again."""
    record(ledger, visit(1, "P1"), visit(2, "P2"), visit(3, "P3"))
    record(ledger, link("P1", "P2"), link("P2", "P3"))
    assert len(visits(ledger, "P1")) == len(visits(ledger, "P3")) == 3
    with ledger.database.read() as connection:
        assert patient_facts.survivors(connection, "CHU", "P3") == ["P2"]
    record(ledger, link("P2", "P3", "patients_unlinked"))
    assert len(visits(ledger, "P1")) == 2
    assert visits(ledger, "P3") == ["2020-01-03"]


def reachable(links: list[tuple[str, str]], start: str) -> set[str]:
    """Return what is linked to ``start``, worked out by hand."""
    found = {start}
    for _ in links:
        found |= {b for a, b in links if a in found} | {a for a, b in links if b in found}
    return found


def test_who_is_one_patient_does_not_depend_on_the_order_of_merges(ledger: Ledger) -> None:
    """Whatever chains and circles merges make, everyone linked is found from anyone."""

    @given(LINKS)
    def holds(links: list[tuple[str, str]]) -> None:
        seen: list[set[str]] = []

        def look(connection: Connection) -> list[Draft]:
            for kept, merged in links:
                values = ("CHU", kept, merged, "test", "m", "2026-11-26T00:00:00.000000Z")
                patient_facts._LINK.run(connection, values)
            seen.extend(patient_facts.one_patient(connection, "CHU", [each]) for each in "ABCDE")
            Statement("DELETE FROM patient_link").run(connection)
            return []

        ledger.act("anne", look)
        assert seen == [reachable(links, each) for each in "ABCDE"]

    holds()
