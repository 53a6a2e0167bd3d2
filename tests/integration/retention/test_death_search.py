"""Deaths of INSEE's file: who is a candidate, and that only a person makes one a death."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive.errors import NoSuchFact
from archive.services import death_search
from archive.services.death_search import DeathSearch, SearchReport
from archive.services.facts import NewFact
from archive.services.gathering import gather
from archive.services.ledger import Ledger
from tests.insee import insee_line
from tests.integration.index.making import add, new_instance
from tests.integration.retention.test_facts import tell

SITES = frozenset({"CHU", "Clinique"})
Search = Callable[..., SearchReport]


@pytest.fixture
def search(ledger: Ledger, tmp_path: Path) -> Search:
    """Give a function that looks for the patients of the archive in a file of these lines."""

    def run(*lines: str, actor: str | None = "anne", sites: frozenset[str] = SITES) -> SearchReport:
        path = tmp_path / "deces.txt"
        path.write_text("".join(f"{line}\n" for line in lines))
        return DeathSearch(ledger).run(path, sites=sites, actor=actor, progress=lambda _done, _total: None)

    return run


def store(ledger: Ledger, number: int = 1, *, site: str = "CHU", **values: Any) -> None:
    """Store a study of Hélène Moreau, born on 14 July 1950, unless told otherwise."""
    traits = {"PatientName": "MOREAU^Hélène", "PatientBirthDate": "19500714", "PatientSex": "F", **values}
    add(ledger.database, new_instance(study=number, attributes=traits, site=site))


def waiting(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Return site, patient and date of what waits for a person."""
    return [(each.site, each.patient_id, each.died_on) for each in DeathSearch(ledger).list()]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, insee_line()),
        ({"PatientName": "moreau^HELENE^Marie^^Mme"}, insee_line()),
        ({"PatientName": "LE GOFF^ANNE-MARIE"}, insee_line("LE GOFF", "ANNE MARIE")),
        ({"PatientName": "Legoff^Anne=漢字"}, insee_line("LE-GOFF", "ANNE")),
        ({"PatientSex": "O"}, insee_line()),
        ({"PatientSex": ""}, insee_line()),
        ({}, insee_line(born="19500700")),
        ({}, insee_line(born="19500000")),
    ],
)
def test_who_is_a_candidate(ledger: Ledger, search: Search, values: dict[str, Any], line: str) -> None:
    """Family name, first first name, sex and birth date agree, as far as both sides know them."""
    store(ledger, **values)
    assert search(insee_line("AUTRE"), line).found == 1
    assert waiting(ledger) == [("CHU", "PID1", "2025-06-30")]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, insee_line("MOREAUX")),
        ({}, insee_line(first_names="MARIE HELENE")),
        ({}, insee_line(sex="1")),
        ({}, insee_line(born="19500715")),
        ({}, insee_line(born="19500800")),
        ({}, insee_line(born="19510000")),
        ({}, insee_line(born="00000000")),
        ({}, insee_line(died="00000000")),
        ({"PatientBirthDate": ""}, insee_line()),
        ({"PatientBirthDate": "1950"}, insee_line(born="19510000")),
        ({"PatientID": ""}, insee_line()),
        ({"PatientName": ""}, insee_line()),
        ({"PatientName": "MOREAU HELENE"}, insee_line()),
    ],
)
def test_who_is_none(ledger: Ledger, search: Search, values: dict[str, Any], line: str) -> None:
    """One trait that differs, or that either side lacks, and nobody is bothered."""
    store(ledger, **values)
    assert (search(line).found, waiting(ledger)) == (0, [])


def test_a_candidate_shortens_nothing_until_it_is_confirmed(ledger: Ledger, search: Search) -> None:
    """What is known of the study is the same before and after the search; confirmed, the death is trusted."""
    store(ledger)

    def known() -> dict[str, object]:
        with ledger.database.read() as connection:
            return gather(connection, ["2.25.1"])[0].mapping

    before = known()
    search(insee_line(died="20250600"))
    assert known() == before
    (candidate,) = DeathSearch(ledger).list()
    DeathSearch(ledger).confirm(candidate.number, actor="bea", sites=SITES)
    after = known()
    assert (after["death_on"], after["facts_trusted"], after["deceased"]) == ("2025-06", True, True)
    (confirmed,) = DeathSearch(ledger).list("confirmed")
    assert (confirmed.decided_by, waiting(ledger)) == ("bea", [])


def test_a_rejected_candidate_is_not_found_again(ledger: Ledger, search: Search) -> None:
    """The next month's file brings the same death again: nobody is asked twice; another death is another candidate."""
    store(ledger)
    search(insee_line())
    (candidate,) = DeathSearch(ledger).list()
    DeathSearch(ledger).reject(candidate.number, actor="bea", sites=SITES)
    again = search(insee_line(), insee_line(deed="99"))
    assert (again.found, again.found_before) == (1, 1)
    assert len(waiting(ledger)) == 1


def test_decisions_that_cannot_be_taken(ledger: Ledger, search: Search) -> None:
    """Twice, of another site, of nothing: refused; a rejection may be put right, a confirmation withdrawn as a fact."""
    store(ledger)
    search(insee_line())
    work = DeathSearch(ledger)
    (candidate,) = work.list()
    for number, sites in ((candidate.number + 1, SITES), (candidate.number, frozenset({"Clinique"}))):
        with pytest.raises(NoSuchFact, match="is not the number of a candidate"):
            work.confirm(number, actor="bea", sites=sites)
    work.reject(candidate.number, actor="bea", sites=SITES)
    with pytest.raises(NoSuchFact, match="is rejected already"):
        work.reject(candidate.number, actor="bea", sites=SITES)
    work.confirm(candidate.number, actor="bea", sites=SITES)
    with pytest.raises(NoSuchFact, match="is confirmed already"):
        work.confirm(candidate.number, actor="bea", sites=SITES)
    with pytest.raises(NoSuchFact, match="facts withdraw"):
        work.reject(candidate.number, actor="bea", sites=SITES)


def test_duplicates_in_the_file_are_one_candidate(
    ledger: Ledger, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INSEE's history repeats some 220 000 deaths: in one batch or in several, each is one candidate."""
    store(ledger)
    assert (search(insee_line(), insee_line(), actor=None).found, waiting(ledger)) == (1, [])
    monkeypatch.setattr(death_search, "AT_ONCE", 1)
    dry, wet = (search(insee_line(), insee_line(), actor=actor) for actor in (None, "anne"))
    assert (dry.found, dry.found_before) == (wet.found, wet.found_before) == (1, 1)
    assert len(waiting(ledger)) == 1


def test_one_person_under_two_ids_and_at_two_sites(ledger: Ledger, search: Search) -> None:
    """Each record is a candidate of its own, and confirming one leaves the other's death alone."""
    store(ledger, 1)
    store(ledger, 2)
    store(ledger, 3, site="Clinique", PatientID="PID1")
    assert search(insee_line(), actor=None, sites=frozenset({"Clinique"})).found == 1
    assert search(insee_line()).found == 3
    for candidate in DeathSearch(ledger).list():
        DeathSearch(ledger).confirm(candidate.number, actor="bea", sites=SITES)
    with ledger.database.read() as connection:
        deaths = [each.mapping["death_on"] for each in gather(connection, ["2.25.1", "2.25.2", "2.25.3"])]
    assert deaths == ["2025-06-30"] * 3


def test_a_death_that_is_known_is_no_candidate(ledger: Ledger, search: Search) -> None:
    """A trusted death that agrees leaves nothing to ask; an unsure one, or another date, does."""
    store(ledger)
    death = NewFact("CHU", "PID1", "death", "hl7:GAM", "d", "2025-06-30", is_trusted=False)
    tell(ledger, death)
    assert search(insee_line(), actor=None).found == 1
    tell(ledger, NewFact("CHU", "PID1", "death", "hl7:GAM", "d", "2025-06"))
    known = search(insee_line(), actor=None)
    assert (known.found, known.known) == (0, 1)
    assert search(insee_line(died="20240101"), actor=None).found == 1


def test_what_speaks_against_it_is_told(ledger: Ledger, search: Search) -> None:
    """An exam after the death makes a namesake likely: the person who decides is told, with what both sides say."""
    store(ledger, StudyDate="20260101")
    search(insee_line())
    (candidate,) = DeathSearch(ledger).list()
    traits = json.loads(candidate.traits)
    assert traits["doubts"] == ["the death is before the last exam"]
    assert traits["archive"] == {"name": "moreau^helene", "sex": "F", "born_on": "1950-07-14"}
    assert (traits["insee"]["first_names"], traits["insee"]["birth_town"]) == ("HELENE MARIE", "PARIS")


def test_the_candidates_are_made_again_from_the_ledger(ledger: Ledger, search: Search) -> None:
    """After a rebuild the same candidates are in the same states, decided by the same people."""
    store(ledger)
    search(insee_line(), insee_line(deed="2"), insee_line(deed="3"))
    one, two, _ = DeathSearch(ledger).list()
    DeathSearch(ledger).confirm(one.number, actor="bea", sites=SITES)
    DeathSearch(ledger).reject(two.number, actor="bea", sites=SITES)

    def states() -> list[tuple[str, str, str | None]]:
        found = [each for state in ("waiting", "confirmed", "rejected") for each in DeathSearch(ledger).list(state)]
        return [(each.reference, each.state, each.decided_by) for each in found]

    before = states()
    with ledger.database.write(synced=True) as connection:
        ledger.files.replay(connection)
    assert states() == before
    assert len(before) == 3


def test_a_file_of_many_lines_names_the_bad_ones(
    ledger: Ledger, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad lines are counted to the last, listed to a limit, and hold nothing up."""
    monkeypatch.setattr(death_search, "LISTED", 2)
    store(ledger)
    report = search(*["bad"] * 5, insee_line(), insee_line(died="00000000"))
    assert (report.lines, report.bad, len(report.bad_lines), report.undated, report.found) == (7, 5, 2, 1, 1)
