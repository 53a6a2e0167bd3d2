"""Recording and withdrawing through the ledger: only what changes something becomes an event."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies as st

from archive.errors import InvalidFact
from archive.index import patient_facts
from archive.index.records import Event
from archive.services.facts import NewFact, NewLink, changes, link, unlink, withdrawals
from archive.services.ledger import Ledger

VISIT = NewFact("CHU", "P1", "visit", source="file:GAM", reference="v1", from_on="2020-01-01", to_on="2020-01-05")
LINK = NewLink("CHU", "P1", "P2", source="hand", reference="merge")


def tell(ledger: Ledger, *facts: NewFact) -> list[Event]:
    """Tell facts; return what became an event."""
    return ledger.act("anne", lambda connection: changes(connection, facts))


def current(ledger: Ledger, patient_id: str = "P1") -> list[tuple[str, str | None, str | None]]:
    """Return kind and dates of what counts for a patient."""
    with ledger.database.read() as connection:
        facts = patient_facts.current(connection, "CHU", patient_id)
    return [(fact.kind, fact.from_on, fact.to_on) for fact in facts]


def test_the_same_fact_again_is_no_event(ledger: Ledger) -> None:
    """Told twice in one act or in two, written in ISO or as DICOM does: one fact, one event."""
    assert len(tell(ledger, VISIT, VISIT)) == 1
    assert tell(ledger, VISIT, replace(VISIT, from_on="20200101", to_on="05/01/2020")) == []
    assert current(ledger) == [("visit", "2020-01-01", "2020-01-05")]


@pytest.mark.parametrize("news", [{"to_on": "2020-02-01"}, {"to_on": None}, {"is_trusted": False}])
def test_a_change_replaces_what_was_known(ledger: Ledger, news: dict[str, Any]) -> None:
    """Another end, or other trust, under the same reference: the new one alone is current."""
    tell(ledger, VISIT)
    changed = replace(VISIT, **news)
    assert len(tell(ledger, changed)) == 1
    with ledger.database.read() as connection:
        (fact,) = patient_facts.current(connection, "CHU", "P1")
    assert (fact.to_on, fact.is_trusted) == (changed.to_on, changed.is_trusted)


def test_kinds_sites_and_sources_do_not_mix(ledger: Ledger) -> None:
    """One reference may name a fact of each kind, at each site, from each source."""
    birth = replace(VISIT, kind="birth", from_on="1950", to_on=None)
    others = [replace(VISIT, source="hl7:GAM"), replace(VISIT, site="Clinique"), birth]
    assert len(tell(ledger, VISIT, *others)) == 4
    assert tell(ledger, *others, VISIT) == []


def test_a_fact_told_of_another_patient_leaves_the_first(ledger: Ledger) -> None:
    """A source that corrects whose visit it was takes it from one patient and gives it to the other."""
    tell(ledger, VISIT)
    tell(ledger, replace(VISIT, patient_id="P2"))
    assert (current(ledger, "P1"), len(current(ledger, "P2"))) == ([], 1)


def test_more_references_than_a_statement_takes(ledger: Ledger) -> None:
    """Thousands of facts in one act are looked up in parts, none is forgotten."""
    many = [replace(VISIT, reference=f"v{number}") for number in range(1201)]
    assert len(tell(ledger, *many)) == 1201
    assert tell(ledger, *many) == []


def test_withdrawn_once(ledger: Ledger) -> None:
    """What a source takes back no longer counts; taking it back again, or what was never said, is no event."""
    birth = replace(VISIT, kind="birth", from_on="1950", to_on=None)
    tell(ledger, VISIT, birth)
    said = partial(withdrawals, site="CHU", source="file:GAM", reference="v1")
    for kind, events in (("visit", 1), ("visit", 0), (None, 1), (None, 0)):
        assert len(ledger.act("anne", partial(said, kind=kind))) == events
    assert current(ledger) == []


def test_links_are_made_and_taken_back_once(ledger: Ledger) -> None:
    """The same link again is no event, nor is taking back one that is not there."""
    assert [len(ledger.act("anne", lambda connection: link(connection, LINK))) for _ in range(2)] == [1, 0]
    assert [len(ledger.act("anne", lambda connection: unlink(connection, LINK))) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("news", "told"),
    [
        ({"site": ""}, "site is missing"),
        ({"patient_id": " "}, "patient_id is missing"),
        ({"patient_id": "A\x00B"}, "patient_id is longer than 128"),
        ({"patient_id": "A" * 129}, "patient_id is longer than 128"),
        ({"reference": ""}, "reference is missing"),
        ({"kind": "holiday"}, "kind is not one of visit, birth"),
        ({"from_on": None}, "from_on is missing: a visit has a date"),
        ({"from_on": "2020-02-30"}, "from_on is not a date"),
        ({"from_on": "1492-10-12"}, "from_on lies before 1800"),
        ({"to_on": "tomorrow"}, "to_on is not a date"),
        ({"to_on": "2019"}, "to_on lies before from_on"),
        ({"kind": "death"}, "to_on is not for a death"),
        ({"kind": "deceased", "to_on": None}, "from_on has no date"),
    ],
)
def test_what_is_no_fact_is_refused(ledger: Ledger, news: dict[str, Any], told: str) -> None:
    """A missing name, an impossible date or kind: a message that names the field, and nothing of the act happens."""
    with pytest.raises(InvalidFact, match=told):
        tell(ledger, VISIT, replace(VISIT, **news))
    assert current(ledger) == []


def test_a_patient_is_not_linked_to_itself(ledger: Ledger) -> None:
    """A merge of a record into itself is a mistake of the source and is refused."""
    with pytest.raises(InvalidFact, match="is the patient itself"):
        ledger.act("anne", lambda connection: link(connection, replace(LINK, merged_patient_id="P1 ")))


TOLD = st.lists(
    st.builds(
        NewFact,
        site=st.just("CHU"),
        patient_id=st.sampled_from("AB"),
        kind=st.just("visit"),
        source=st.just("test"),
        reference=st.sampled_from("xyz"),
        from_on=st.sampled_from(["2020", "2020-02", "2020-02-03"]),
        is_trusted=st.booleans(),
    ),
    max_size=8,
)


def test_telling_all_again_in_the_end_state_is_no_event(ledger: Ledger) -> None:
    """Whatever is told in whatever order, the last word on each reference counts and is no news again."""

    @given(TOLD)
    def holds(facts: list[NewFact]) -> None:
        tell(ledger, *facts)
        last = {fact.key: fact for fact in facts}
        assert tell(ledger, *last.values()) == []

    holds()
