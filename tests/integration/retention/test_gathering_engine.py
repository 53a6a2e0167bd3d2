"""What is gathered, given to the engine: everything can be assessed, and doubt never brings the end nearer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from archive.index import patient_facts
from archive.index.records import Event
from archive.index.session import Database
from archive.services.facts import NewFact, changes
from archive.services.gathering import gather
from retention_rules.engine import assess
from retention_rules.facts import parse_facts
from retention_rules.loader import load_schedule
from tests.integration.index.making import NOW, add, new_instance

TODAY = date(2026, 11, 26)
DATES = st.one_of(
    st.dates(date(1990, 1, 1), date(2026, 1, 1)).map(date.isoformat),
    st.dates(date(1990, 1, 1), date(2026, 1, 1)).map(lambda day: day.isoformat()[:7]),
    st.integers(1990, 2025).map(str),
)
DAYS = st.dates(date(2011, 1, 1), date(2026, 1, 1)).map(date.isoformat)
Ends = Callable[[Sequence[NewFact]], date]


def fact(kind: str, from_on: str | None, number: int = 0, *, is_trusted: bool = True) -> NewFact:
    """Return a fact of the only patient."""
    return NewFact("CHU", "PID1", kind, "test", f"{kind} {number}", from_on, is_trusted=is_trusted)


FACTS = st.lists(
    st.one_of(
        st.builds(fact, st.sampled_from(["visit", "appeal"]), DATES, st.integers(0, 9), is_trusted=st.booleans()),
        st.builds(fact, st.sampled_from(["birth", "death"]), DATES, st.integers(0, 3), is_trusted=st.booleans()),
        st.just(fact("deceased", None)),
    ),
    max_size=6,
)


class _Undo(Exception):
    """Nothing of an example stays."""


@pytest.fixture
def ends(database: Database) -> Ends:
    """Give a function that tells when a study of 2010 may go, with these facts; the last day there is when never."""
    add(database, new_instance(StudyDate="20100302"))
    schedule = load_schedule("hospital")

    def end(facts: Sequence[NewFact]) -> date:
        found: list[dict[str, Any]] = []
        try:
            with database.write(synced=False) as connection:
                for draft in changes(connection, facts):
                    patient_facts.apply_recorded(connection, Event(1, NOW, draft.kind, "anne", draft.data))
                found.extend(each.mapping for each in gather(connection, ["2.25.1"]))
                raise _Undo
        except _Undo:
            pass
        assessment = assess(parse_facts({"regime": "hospital", **found[0]}), schedule, TODAY)
        return date.max if assessment.blocked_by else assessment.eligible_on or date.max

    return end


def test_whatever_is_told_can_be_assessed(ends: Ends) -> None:
    """Any facts, partial, unsure and contradictory, are read by the engine, and the floor holds."""

    @given(FACTS)
    @settings(deadline=None)
    def holds(facts: list[NewFact]) -> None:
        assert ends(facts) >= date(2013, 3, 3)

    holds()


def test_an_unsure_death_never_shortens(ends: Ends) -> None:
    """A death nobody has validated leaves the end where it is, or later."""

    @given(FACTS, DAYS)
    @settings(deadline=None)
    def holds(facts: list[NewFact], died_on: str) -> None:
        assert ends([*facts, fact("death", died_on, 99, is_trusted=False)]) >= ends(facts)

    holds()


def test_deaths_that_differ_never_shorten(ends: Ends) -> None:
    """Two trusted deaths on different days: the end is never earlier than with none, nor than with either alone.

    Appeals are left out: counted from a death, a period may miss one that a period from the visit contains.
    """

    @given(FACTS, DAYS, DAYS)
    @settings(deadline=None)
    def holds(facts: list[NewFact], one: str, other: str) -> None:
        alive = [each for each in facts if each.kind != "death"]
        told = [*alive, fact("death", one, 98), fact("death", other, 99)]
        if one != other:
            assert ends(told) >= ends(alive)
            calm = [each for each in alive if each.kind != "appeal"]
            alone = [ends([*calm, death]) for death in told[-2:]]
            assert all(ends([*calm, *told[-2:]]) >= end for end in alone if end != date.max)

    holds()


def test_births_that_differ_keep_longest(ends: Ends) -> None:
    """With several birth dates the end is the latest that any of them gives."""

    @given(
        st.lists(
            DAYS | st.sampled_from(["1960-05-01", "1990-05-01", "2001-02-03"]), min_size=1, max_size=3, unique=True
        )
    )
    @settings(deadline=None)
    def holds(births: list[str]) -> None:
        told = [fact("birth", born_on, number) for number, born_on in enumerate(births)]
        assert ends(told) == max(ends([each]) for each in told)

    holds()
