"""Sweeps: what they count, what they compare with, and that they do not trust a clock that jumped."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from archive.audit import Entry
from archive.errors import ClockNotTrusted, NoSuchStudy
from archive.index import journal
from archive.index.session import Database
from archive.services.assess import Assessments
from archive.services.clock_trust import beat, check_clock, vouch
from archive.services.committer import Committer, append_entries
from archive.services.explain import explain_study
from archive.services.ledger import Ledger
from archive.services.sweep import Amount, Sweep, SweepReport, as_mapping
from tests.integration.index.making import add
from tests.integration.retention.test_assessments import assessments
from tests.integration.retention.test_gathering import fact, place_hold, study, tell
from tests.unit.services.shelf import Clock

BORN = {"PatientBirthDate": "19500714"}


@pytest.fixture
def stored(database: Database, clock: Clock) -> Assessments:
    """Lend an archive with five studies: two due, one of them on hold, one due in 2030, one that cannot be."""
    add(
        database,
        study(1, "P1", StudyDate="20030301", **BORN),
        study(2, "P2", StudyDate="20040301", **BORN),
        study(3, "P3", StudyDate="20100301", **BORN),
        study(4, "P4", StudyDate="20200301", PatientBirthDate="20250101"),
        study(5, "P5", StudyDate="20250301", **BORN),
    )
    place_hold(database, "H-2026-0001", ["2.25.2", None, None])
    return assessments(database, clock)


def sweep(stored: Assessments, as_of: date = date(2026, 11, 26), *, keep_by: str | None = None) -> SweepReport:
    """Sweep everything."""
    return Sweep(stored, as_of).run(lambda _done, _total: None, keep_by=keep_by)


def test_a_sweep_counts_by_rule_year_and_what_blocks(stored: Assessments) -> None:
    """Due is what is past its date and free; the rest is counted under its rule and year, or what blocks it."""
    report = sweep(stored)
    assert (report.assessed, report.total) == (5, Amount(5, 5, 5 * 1700))
    assert (report.due, report.due_uids, report.is_capped) == (Amount(1, 1, 1700), ("2.25.1",), False)
    assert [(row.rule, row.year, row.amount.studies) for row in report.by_rule_and_year] == [
        (None, None, 1),
        ("hospital.base", 2023, 1),
        ("hospital.base", 2024, 1),
        ("hospital.base", 2030, 1),
        ("hospital.base", 2045, 1),
    ]
    assert report.blocked == {"hold": 1, "appeal": 0, "facts": 1}
    assert [(year, amount.studies) for year, amount in report.forecast if amount.studies] == [(2030, 1)]
    assert len(report.forecast) == 10


def test_another_day_is_looked_at_without_keeping_anything(stored: Assessments) -> None:
    """As of 2050 everything free is due; the day after, today's sweep is what it was."""
    assert sweep(stored, date(2050, 1, 1)).due.studies == 3
    assert sweep(stored).due.studies == 1
    assert sweep(stored).assessed == 0


def test_a_kept_sweep_is_what_the_next_is_compared_with(stored: Assessments, database: Database) -> None:
    """What changed is told by rule; who kept it is in the journal, with counts and no patient."""
    assert sweep(stored, keep_by="anne").last_sweep_at is None
    add(database, study(6, "P6", StudyDate="20240301", PatientBirthDate="20150101"))
    report = sweep(stored)
    assert report.last_sweep_at is not None
    assert report.changes == {"hospital.base": 1}
    with database.read() as connection:
        (entry,) = journal.latest(connection, limit=5, event="swept")
    assert (entry.actor, json.loads(entry.body)) == (
        "anne",
        {"as_of": "2026-11-26", "due": 1, "set_aside": 0, "site": None, "studies": 5},
    )


def test_one_site_is_looked_at_alone(stored: Assessments, database: Database) -> None:
    """Counts, blocks and forecast are of that site's studies."""
    add(database, study(7, "P7", site="Clinique", StudyDate="20030301", **BORN))
    report = Sweep(stored, date(2026, 11, 26), "Clinique").run(lambda _done, _total: None)
    assert (report.total.studies, report.due_uids, report.blocked["hold"]) == (1, ("2.25.7",), 0)


def test_what_is_due_is_judged_by_the_facts_as_they_are(stored: Assessments, ledger: Ledger) -> None:
    """A row that a fact overtook does not make its study due."""
    sweep(stored)
    tell(ledger, fact("visit", "2026-01-01", patient_id="P1"))
    with stored.database.read() as connection:
        due = list(stored.iter_due(connection, date(2026, 11, 26), None))
    assert [(each.facts.study_instance_uid, each.assessment.due) for each in due] == [("2.25.1", False)]
    assert sweep(stored).due.studies == 0


def test_a_list_is_capped_and_the_count_is_not(stored: Assessments) -> None:
    """However many are due, no more are listed than asked for."""
    report = Sweep(stored, date(2050, 1, 1), max_due=2).run(lambda _done, _total: None)
    assert (report.due.studies, len(report.due_uids), report.is_capped) == (3, 2, True)


def test_a_report_is_json(stored: Assessments) -> None:
    """Every value of a report survives the way through JSON."""
    value = json.loads(json.dumps(as_mapping(sweep(stored))))
    assert value["as_of"] == "2026-11-26"
    assert value["forecast"][0] == {"year": 2026, "studies": 0, "instances": 0, "size_bytes": 0}


# ---- the clock ---------------------------------------------------------------------------------------------------


def note(database: Database, clock: Clock) -> None:
    """Journal something now."""
    with database.write(synced=True) as connection:
        append_entries(connection, [Entry(clock(), "stored", "CT1", {})])


@pytest.mark.parametrize(
    ("jump", "is_trusted"),
    [
        (timedelta(minutes=-2), True),
        (timedelta(hours=-1), False),
        (timedelta(days=-365 * 56), False),
        (timedelta(hours=23), True),
        (timedelta(days=2), False),
    ],
)
def test_a_clock_that_jumped_stops_a_sweep(
    stored: Assessments, database: Database, clock: Clock, jump: timedelta, is_trusted: bool
) -> None:
    """Back by more than it takes to set a clock right, or ahead by more than a day: nothing is even assessed."""
    note(database, clock)
    clock.now += jump
    if is_trusted:
        sweep(stored)
        return
    with pytest.raises(ClockNotTrusted, match="--trust-clock"):
        sweep(stored)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM assessment").scalar() == 0


def test_an_archive_that_was_off_is_vouched_for(stored: Assessments, database: Database, clock: Clock) -> None:
    """Somebody says that the clock is right, under a name; from then on it is believed."""
    note(database, clock)
    clock.advance(days=30)
    committer = Committer(database)
    committer.start()
    try:
        with pytest.raises(ClockNotTrusted):
            beat(database, committer, clock())
        vouch(committer, clock(), "anne")
        sweep(stored)
        clock.advance(hours=20)
        beat(database, committer, clock())
        clock.advance(hours=20)
        with database.read() as connection:
            check_clock(connection, clock())
    finally:
        committer.close()


# ---- one study ---------------------------------------------------------------------------------------------------


def test_a_study_is_explained_with_its_facts_and_who_told_them(stored: Assessments, ledger: Ledger) -> None:
    """The whole reasoning in the language asked for, and each fact with its source."""
    tell(ledger, fact("visit", "2012-05-01", patient_id="P3"))
    told = explain_study(stored, "2.25.3", date(2026, 11, 26), "fr")
    assert (told.eligible_on, told.rule, told.blocked_by) == (date(2032, 5, 2), "hospital.base", ())
    assert told.facts == (("visit", "2012-05-01", "-", "test", "anne"),)
    assert any("R.1112-7" in sentence for sentence in told.sentences)
    english = explain_study(stored, "2.25.3", date(2026, 11, 26), "en").sentences
    assert english != told.sentences and len(english) == len(told.sentences)


def test_a_study_that_is_not_here_is_said_so(stored: Assessments) -> None:
    """No reasoning is made up for it."""
    with pytest.raises(NoSuchStudy, match=r"2\.25\.99"):
        explain_study(stored, "2.25.99", date(2026, 11, 26), "fr")
