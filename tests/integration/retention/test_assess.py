"""Assessments kept current: what is assessed again, when, and that nothing else is."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from archive.config import Site
from archive.index import assessments, sweeps
from archive.index.session import Database
from archive.services import assess, assess as module, gathering
from archive.services.assess import Assessor, Page, reassess_on
from archive.services.gathering import GatheredFacts
from archive.services.ledger import Ledger
from retention_rules.facts import parse_facts
from retention_rules.loader import load_schedule
from tests.integration.index.making import add, change, new_instance, value
from tests.integration.retention.sweeping import TODAY, apply, assessor, conclusion, stored, study, tell
from tests.unit.services.shelf import Clock


def pending(ledger: Ledger, *sites: Site) -> list[str]:
    """Return the studies that a sweep would assess."""
    found = assessor(ledger, *sites)
    return sorted(uid for page in found.pages(ledger.database.read, TODAY) for uid in page.study_instance_uids)


def test_each_study_is_assessed_by_its_sites_rules(ledger: Ledger) -> None:
    """A hospital's study and a practice's: date, rule, basis, sizes and assumptions are stored."""
    add(ledger.database, study(1), study(2, site="Cabinet"), study(3, PatientBirthDate=None))
    apply(ledger)
    rows = stored(ledger.database)
    assert conclusion(rows[1]) == ("2020-03-03", "hospital.base", "")
    assert conclusion(rows[2]) == ("2020-03-03", "private.base", "")
    assert conclusion(rows[3]) == ("2028-03-03", "hospital.minor", "")
    assert (rows[1].exam_on, rows[1].lossless_until, rows[1].reading) == ("2000-03-02", "2003-03-03", "prudent")
    assert (rows[1].instances, rows[1].size_bytes, rows[3].assumptions) == (1, 1700, "birth_unknown")


def test_what_is_current_is_not_assessed_again(ledger: Ledger) -> None:
    """After a sweep nothing waits; a second sweep assesses nothing."""
    add(ledger.database, study(1), study(2))
    assert apply(ledger).assessed == 2
    assert (pending(ledger), apply(ledger).assessed) == ([], 0)


def test_new_studies_and_new_instances(ledger: Ledger) -> None:
    """A study that arrives, and one that grows, are found by what was indexed since, and only they."""
    database = ledger.database
    add(database, study(1), study(2))
    apply(ledger)
    add(database, study(3), new_instance(2, study=1, PatientID="P1"))
    assert pending(ledger) == ["2.25.1", "2.25.3"]
    assert assessor(ledger).settle() == 2
    assert (pending(ledger), stored(database)[1].instances) == ([], 2)


def test_instance_ids_used_again_hide_nothing(ledger: Ledger) -> None:
    """The last instance is removed and another comes, on SQLite under the same row id: the newcomer is found."""
    database = ledger.database
    add(database, study(1), study(2))
    apply(ledger)
    last = value(database, "SELECT MAX(id) FROM instance")
    change(database, "DELETE FROM location WHERE instance_fk = ?", (last,))
    change(database, "DELETE FROM instance WHERE id = ?", (last,))
    add(database, new_instance(5, study=1, PatientID="P1"))
    assert pending(ledger) == ["2.25.1", "2.25.2"]
    apply(ledger)
    assert {number: row.instances for number, row in stored(database).items()} == {1: 2, 2: 0}


@pytest.mark.parametrize("page", [1, 2, 3, 2000])
def test_without_a_mark_all_are_compared(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """Nobody knows how far it was: what was never assessed and what grew is found, in pages of any size."""
    database = ledger.database
    add(database, *(study(number) for number in range(1, 8)))
    apply(ledger)
    change(database, "UPDATE sweep_mark SET instance_id = 0")
    change(database, "DELETE FROM assessment WHERE study_instance_uid IN ('2.25.1', '2.25.5')")
    add(database, new_instance(2, study=4, PatientID="P4"), new_instance(2, study=7, PatientID="P7"))
    monkeypatch.setattr(module, "PAGE", page)
    assert pending(ledger) == ["2.25.1", "2.25.4", "2.25.5", "2.25.7"]
    assert (apply(ledger).assessed, pending(ledger)) == (4, [])


def test_a_fact_has_its_patients_studies_assessed_again(ledger: Ledger) -> None:
    """A visit moves the date of that patient's studies; nobody else's are touched."""
    add(ledger.database, study(1), study(2))
    apply(ledger)
    tell(ledger, 1, "visit", "2015-05-01")
    assert pending(ledger) == ["2.25.1"]
    assert assessor(ledger).settle() == 1
    rows = stored(ledger.database)
    assert (rows[1].eligible_on, rows[2].eligible_on) == ("2035-05-02", "2020-03-03")


def test_time_alone_has_a_study_assessed_again(ledger: Ledger, clock: Clock) -> None:
    """An appeal that ends blocks until that day, and the study is found on that day without any fact."""
    add(ledger.database, study(1))
    apply(ledger)
    tell(ledger, 1, "appeal", "2026-01-01", "2026-12-01")
    assessor(ledger).settle()
    row = stored(ledger.database)[1]
    assert (row.blocked_by, row.reassess_on) == ("appeal", "2026-12-01")
    clock.advance(days=4)
    assert assessor(ledger).settle() == 0
    clock.advance(days=1)
    assert assessor(ledger).settle() == 1
    assert conclusion(stored(ledger.database)[1]) == ("2020-03-03", "hospital.base", "")


def test_an_exam_in_the_future_waits_for_its_day(ledger: Ledger, clock: Clock) -> None:
    """Until then its facts contradict each other; on that day it is assessed like any other."""
    add(ledger.database, study(1, "20261128"))
    apply(ledger)
    assert conclusion(stored(ledger.database)[1]) == (None, None, "facts")
    clock.advance(days=2)
    assessor(ledger).settle()
    assert conclusion(stored(ledger.database)[1]) == ("2046-11-29", "hospital.base", "")


@pytest.mark.parametrize(
    "changed",
    [
        Site(name="CHU", reading="statute"),
        Site(name="CHU", retention_years=30),
        Site(name="CHU", regime="private", kind="private_clinic"),
    ],
)
def test_other_settings_have_a_sites_studies_assessed_again(ledger: Ledger, changed: Site) -> None:
    """Reading, years or regime: the site's studies are assessed anew, once, and no other site's."""
    other = Site(name="Cabinet", regime="private", kind="practice")
    add(ledger.database, study(1), study(2), study(3, site="Cabinet"))
    apply(ledger)
    assert pending(ledger, changed, other) == ["2.25.1", "2.25.2"]
    assert apply(ledger, changed, other).assessed == 2
    assert pending(ledger, changed, other) == []


def test_a_site_without_settings_is_set_aside(ledger: Ledger) -> None:
    """Its studies are never due; once the site is configured they are assessed."""
    add(ledger.database, study(1, site="Ancien"))
    report = apply(ledger)
    assert report.errors == [("2.25.1", "site is not in the settings: add it under [[sites]].")]
    assert (report.set_aside.studies, report.due.studies) == (1, 0)
    known = Site(name="Ancien")
    assert apply(ledger, known).errors == []
    assert conclusion(stored(ledger.database)[1]) == ("2020-03-03", "hospital.base", "")


def test_a_destroyed_study_has_no_assessment_left(ledger: Ledger) -> None:
    """When a study has gone from the index, its assessment goes with the next look at it."""
    database = ledger.database
    add(database, study(1), study(2))
    apply(ledger)
    for table in ("location", "instance", "series", "study"):
        where = {"location": "instance_fk", "instance": "series_fk", "series": "study_fk", "study": "id"}[table]
        change(database, f"DELETE FROM {table} WHERE {where} = 2")
    change(database, "UPDATE assessment SET is_stale = 1 WHERE study_instance_uid = '2.25.2'")
    assessor(ledger).settle()
    assert sorted(stored(database)) == [1]
    change(database, "UPDATE assessment SET study_instance_uid = '2.25.9'")
    change(database, "UPDATE sweep_mark SET instance_id = 0")  # as after a rebuild: all is compared
    apply(ledger)
    assert sorted(stored(database)) == [1]


def test_one_poisoned_study_stops_nobody(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts that raise while gathered or assessed set that study aside; it is tried again the next day."""
    add(ledger.database, *map(study, range(1, 8)))
    gather, judge = gathering.gather, Assessor.judge

    def poisoned_gather(connection: object, uids: list[str]) -> list[GatheredFacts]:
        if "2.25.3" in uids:
            raise KeyError("MOREAU")
        return gather(connection, uids)  # type: ignore[arg-type]

    def poisoned_judge(self: Assessor, gathered: GatheredFacts, today: date) -> object:
        if gathered.study_instance_uid == "2.25.5":
            raise RecursionError
        return judge(self, gathered, today)

    monkeypatch.setattr(module, "gather", poisoned_gather)
    monkeypatch.setattr(Assessor, "judge", poisoned_judge)
    report = apply(ledger)
    assert report.errors == [("2.25.3", "KeyError"), ("2.25.5", "RecursionError")]
    assert (report.assessed, report.due.studies, report.set_aside.studies) == (7, 5, 2)
    assert "facts" not in report.blocked
    monkeypatch.undo()
    clock = ledger.clock
    assert isinstance(clock, Clock)
    assert assessor(ledger).settle() == 0
    clock.advance(hours=23)
    assert assessor(ledger).settle() == 2
    assert {row.error for row in stored(ledger.database).values()} == {None}


def test_a_fact_that_comes_while_a_page_is_read_is_not_lost(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and storing the ledger moves: what is stored knows the fact."""
    add(ledger.database, study(1))
    found = assessor(ledger)
    rows = Assessor.rows
    calls: list[int] = []

    def slow(self: Assessor, connection: object, uids: list[str], today: date) -> object:
        result = rows(self, connection, uids, today)  # type: ignore[arg-type]
        if not calls:
            calls.append(1)
            tell(ledger, 1, "visit", "2015-05-01")
        return result

    monkeypatch.setattr(Assessor, "rows", slow)
    found.store(Page(["2.25.1"]), TODAY)
    row = stored(ledger.database)[1]
    assert (row.eligible_on, row.is_stale) == ("2035-05-02", 0)


def test_settle_stops_at_its_limit_and_goes_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page at a time, so that a keeper of the house never works for long."""
    add(ledger.database, *map(study, range(1, 8)))
    apply(ledger)
    monkeypatch.setattr(module, "PAGE", 3)
    change(ledger.database, "UPDATE assessment SET is_stale = 1")
    assert [assessor(ledger).settle(3) for _ in range(4)] == [3, 3, 1, 0]


def test_a_new_archive_is_assessed_without_a_sweep(ledger: Ledger) -> None:
    """What arrives before anybody swept is assessed while the archive serves: a small index is compared as a whole."""
    add(ledger.database, study(1))
    assert assessor(ledger).settle() == 1
    assert sorted(stored(ledger.database)) == [1]
    add(ledger.database, study(2))
    assert assessor(ledger).settle() == 1
    assert sorted(stored(ledger.database)) == [1, 2]


def test_a_large_archive_is_left_to_the_first_sweep(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of a whole index that is not small is a sweep's work."""
    monkeypatch.setattr(assess, "PAGE", 1)
    add(ledger.database, study(1), study(2))
    assert (assessor(ledger).settle(), stored(ledger.database)) == (0, {})


def test_due_studies_are_listed_oldest_first(ledger: Ledger) -> None:
    """What may be proposed: eligible, unblocked, current, of that site."""
    database = ledger.database
    add(database, study(1), study(2, "19990101"), study(3, "20150101"), study(4, site="Cabinet"), study(5))
    apply(ledger)
    tell(ledger, 5, "visit", "2020-01-01")
    with database.read() as connection:
        pages = list(assessments.iter_due(connection, "CHU", TODAY.isoformat(), page=1))
    assert [[row.study_instance_uid for row in page] for page in pages] == [["2.25.2"], ["2.25.1"]]


def test_the_ledger_replayed_makes_all_new(ledger: Ledger) -> None:
    """A replay empties the assessments and the mark, so that the next sweep compares everything."""
    add(ledger.database, study(1))
    apply(ledger)
    with ledger.database.write(synced=True) as connection:
        ledger.files.replay(connection)
        assert sweeps.seen(connection) is None
    assert pending(ledger) == ["2.25.1"]


@pytest.mark.parametrize(
    ("facts", "day"),
    [
        ({}, None),
        ({"exam_on": "2027-05-01"}, "2027-05-01"),
        ({"appeals": [{"from": "2020-01-01", "to": None}]}, None),
        ({"appeals": [{"from": "2020-01-01", "to": "2027-02-01"}]}, "2027-02-01"),
        ({"appeals": [{"from": "2027-03-01", "to": "2028-02-01"}, {"from": "2026-12-01"}]}, "2026-12-01"),
        ({"appeals": [{"from": "2020-01-01", "to": TODAY.isoformat()}]}, None),
    ],
)
def test_the_next_day_that_changes_something(facts: dict[str, object], day: str | None) -> None:
    """The earliest beginning or end of an appeal, or exam, after today."""
    study_facts = parse_facts({"regime": "hospital", "exam_on": "2010-03-02", **facts})
    assert reassess_on(study_facts, load_schedule("hospital"), TODAY) == day


def test_a_rule_that_comes_into_force_is_such_a_day() -> None:
    """The day before the newest edition, the next day is its first."""
    schedule = load_schedule("private")
    begins = schedule.editions[-1].valid_from
    facts = parse_facts({"regime": "private", "exam_on": "2000-03-02"})
    assert reassess_on(facts, schedule, begins - timedelta(days=1)) == begins.isoformat()


def test_a_mark_is_believed_only_while_its_instance_is_there(database: Database) -> None:
    """Same id, other object: the place cannot be told, and everything is compared."""
    add(database, study(1))
    with database.write(synced=False) as connection:
        newest = sweeps.newest(connection)
        assert newest is not None
        sweeps.see(connection, newest)
        assert sweeps.seen(connection) == newest
        sweeps.see(connection, newest._replace(sop_instance_uid="2.25.77"))
        assert sweeps.seen(connection) is None
