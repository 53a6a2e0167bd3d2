"""Sweeps: what they count, what they store, what they compare with, and when they refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from archive.config import Site
from archive.errors import ArchiveError, SweepRefused
from archive.index import assessments
from archive.services import assess as module, due_check, sweep as sweep_module
from archive.services.clock_trust import ClockTrust
from archive.services.holds import Holds, NewHold
from archive.services.ledger import Ledger
from archive.services.sweep import SweepReport, Total
from tests.integration.index.making import add, change, new_instance, rows, value
from tests.integration.retention.sweeping import apply, assessor, dry, stored, study, tell
from tests.unit.services.shelf import Clock


def by_year(report: SweepReport) -> Mapping[tuple[str, int | None], int]:
    """Return how many studies each rule keeps until each year."""
    return {(each.rule, each.year): each.studies for each in report.rules}


def hold(ledger: Ledger, *numbers: int, review_on: date | None = None) -> str:
    """Place a hold on studies."""
    uids = [f"2.25.{number}" for number in numbers]
    wanted = NewHold("CHU", "r", "a", "n", studies=uids, review_on=review_on)
    return Holds(ledger).place(wanted, actor="anne", sites=frozenset({"CHU"})).hold_id


def fill(ledger: Ledger) -> None:
    """Store what a report has to tell of: due, later, never, held, suspended, contradictory, elsewhere."""
    add(
        ledger.database,
        study(1),
        study(2, "20010101"),
        study(3, "20100101"),
        study(4),
        study(5),
        study(6, PatientBirthDate="20200101"),
        study(7, site="Cabinet"),
        study(8, "20100101", PatientBirthDate=None),
    )
    tell(ledger, 5, "appeal", "2010-01-01")
    hold(ledger, 4)


def test_a_report_counts_by_rule_and_year(ledger: Ledger) -> None:
    """Due, blocked by what, by rule and year of eligibility, assumed, forecast: each study where it belongs."""
    fill(ledger)
    report = apply(ledger)
    assert (report.all, report.due, report.due_but_blocked) == (Total(8, 8 * 1700), Total(3, 3 * 1700), Total(1, 1700))
    assert by_year(report) == {
        ("hospital.base", 2020): 2,
        ("hospital.base", 2021): 1,
        ("hospital.base", 2030): 1,
        ("hospital.base", None): 1,
        ("hospital.minor", 2038): 1,
        ("private.base", 2020): 1,
    }
    assert report.blocked == {"appeal": Total(1, 1700), "facts": Total(1, 1700), "hold:H-2026-0001": Total(1, 1700)}
    assert report.assumptions == {"birth_unknown": 1}
    assert [(year.year, year.free.studies) for year in report.forecast if year.free.studies] == [(2030, 1)]
    assert [year.year for year in report.forecast] == list(range(2026, 2036))
    assert (report.is_complete, report.assessed, report.changes) == (True, 8, None)


def test_a_report_may_be_of_one_site(ledger: Ledger) -> None:
    """The others' studies are not counted; all are assessed all the same."""
    fill(ledger)
    report = apply(ledger, site="Cabinet")
    assert (report.all.studies, report.due.studies, report.assessed) == (1, 1, 8)
    assert by_year(report) == {("private.base", 2020): 1}


def test_a_dry_run_stores_nothing_and_tells_the_same(ledger: Ledger) -> None:
    """On an archive never swept, and on one half out of date: the numbers of an applied sweep, and no trace."""
    fill(ledger)
    for _ in range(2):
        before = [
            rows(ledger.database, f"SELECT * FROM {name}") for name in ("assessment", "sweep", "sweep_mark", "audit")
        ]
        found = dry(ledger)
        assert before == [
            rows(ledger.database, f"SELECT * FROM {name}") for name in ("assessment", "sweep", "sweep_mark", "audit")
        ]
        applied = apply(ledger)
        same = replace(applied, is_applied=False, last_as_of=found.last_as_of, changes=found.changes)
        assert found == same
        tell(ledger, 1, "visit", "2019-01-01")
        add(ledger.database, study(9), new_instance(2, study=2, PatientID="P2"))
        hold(ledger, 2, 3)


@pytest.mark.parametrize("at_once", [1, 2, 3, 8, 9])
def test_totals_are_the_same_in_pages_of_any_size(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Summed up one by one, at odd and at even ends, with studies missing between: always what one pass tells."""
    fill(ledger)
    apply(ledger)
    change(ledger.database, "DELETE FROM assessment WHERE study_instance_uid IN ('2.25.2', '2.25.3', '2.25.8')")
    with ledger.database.read() as connection:
        whole = Counter[tuple[object, ...]]()
        for row in assessments.by_uid(connection, [f"2.25.{number}" for number in range(1, 9)]).values():
            whole[row.site, row.rule, row.blocked_by] += row.size_bytes
        monkeypatch.setattr(assessments, "_GROUPED_AT_ONCE", at_once)
        parts = Counter[tuple[object, ...]]()
        for group in assessments.iter_groups(connection, "2026-11-26"):
            parts[group.site, group.rule, group.blocked_by] += group.size_bytes
    assert (parts, parts.total()) == (whole, 5 * 1700)


def test_a_day_ahead_is_simulated(ledger: Ledger) -> None:
    """As of 2050 everything that nothing blocks is due: appeals that end by then have ended."""
    fill(ledger)
    tell(ledger, 3, "appeal", "2020-01-01", "2040-01-01")
    apply(ledger)
    assert dry(ledger, as_of=date(2031, 1, 1)).blocked["appeal"].studies == 2
    report = dry(ledger, as_of=date(2051, 1, 1))
    assert (report.due.studies, report.blocked["appeal"].studies) == (5, 1)
    assert dry(ledger).due.studies == 3
    assert stored(ledger.database)[3].blocked_by == "appeal"


def test_what_has_been_due_for_longest_is_listed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest days first, whether stored or worked out now, dry or applied, of one site or of all."""
    monkeypatch.setattr(due_check, "SHOWN", 2)
    fill(ledger)
    expected = [("2020-03-03", "2.25.1", "CHU"), ("2020-03-03", "2.25.7", "Cabinet")]
    for report in (dry(ledger), apply(ledger), dry(ledger), apply(ledger)):
        assert [(each.eligible_on, each.study_instance_uid, each.site) for each in report.longest_due] == expected
    for attempt in (dry, apply):
        assert [each.study_instance_uid for each in attempt(ledger, site="CHU").longest_due] == ["2.25.1", "2.25.2"]


def make_due(ledger: Ledger, *numbers: int) -> None:
    """Have studies stored as due that are not, as if nobody had said that something changed."""
    for number in numbers:
        uid = f"2.25.{number}"
        change(
            ledger.database,
            "UPDATE assessment SET eligible_on = '2019-01-01', blocked_by = '' WHERE study_instance_uid = ?",
            (uid,),
        )


def test_what_is_due_by_what_is_stored_alone_is_not_due(ledger: Ledger, clock: Clock) -> None:
    """Due studies are assessed again: a dry run counts them as their facts say, an applied sweep corrects them."""
    fill(ledger)
    before = apply(ledger)
    clock.advance(hours=1)
    make_due(ledger, 3, 4, 6)
    found = dry(ledger)
    assert (found.overtaken, found.due, found.rules, found.blocked) == (3, before.due, before.rules, before.blocked)
    assert "2.25.3" not in [each.study_instance_uid for each in found.longest_due]
    assert stored(ledger.database)[3].eligible_on == "2019-01-01"
    assert dry(ledger, site="Cabinet").overtaken == 0
    assert (apply(ledger).overtaken, stored(ledger.database)[3].eligible_on) == (3, "2030-01-02")
    assert (apply(ledger).overtaken, dry(ledger).overtaken) == (0, 0)


def test_a_study_that_is_gone_is_not_due(ledger: Ledger, clock: Clock) -> None:
    """Removed from the index behind the assessments' back: no sweep calls it due, an applied one forgets it."""
    add(ledger.database, study(1), study(2), study(3))
    apply(ledger)
    clock.advance(hours=1)
    change(ledger.database, "UPDATE study SET study_instance_uid = '2.25.99' WHERE study_instance_uid = '2.25.1'")
    assert (dry(ledger).due.studies, dry(ledger).overtaken) == (2, 1)
    apply(ledger)
    assert sorted(stored(ledger.database)) == [2, 3]


def test_a_study_is_counted_once(ledger: Ledger, clock: Clock) -> None:
    """Due, grown since, stale or overtaken at once: each study counts once, in a dry run as when applied."""
    fill(ledger)
    apply(ledger)
    clock.advance(hours=1)
    make_due(ledger, 1, 2, 3, 6)
    add(ledger.database, new_instance(2, study=1, PatientID="P1"), new_instance(2, study=3, PatientID="P3"))
    tell(ledger, 2, "visit", "2019-01-01")
    found, applied = dry(ledger), apply(ledger)
    assert (found.all, found.due, found.overtaken) == (applied.all, applied.due, applied.overtaken)
    assert (found.rules, found.blocked, found.forecast) == (applied.rules, applied.blocked, applied.forecast)
    assert found.all.studies == 8


def test_a_check_has_an_end(ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are assessed again than a sweep is meant to, nor than --max allows."""
    monkeypatch.setattr(sweep_module, "CHECKED", 2)
    add(ledger.database, *map(study, range(1, 6)))
    apply(ledger)
    clock.advance(hours=1)
    change(ledger.database, "UPDATE assessment SET exam_on = '2000-01-01'")
    assert (dry(ledger).overtaken, dry(ledger, most=1).overtaken, dry(ledger).due.studies) == (2, 1, 5)


def test_the_last_day_there_is_may_be_simulated(ledger: Ledger) -> None:
    """The end of the calendar is no error, with a study set aside or not."""
    add(ledger.database, study(1), study(2, site="Ancien"))
    report = dry(ledger, as_of=date.max)
    assert (report.due.studies, report.set_aside.studies) == (1, 1)


def test_what_is_set_aside_elsewhere_is_not_told(ledger: Ledger) -> None:
    """A report of one site lists its own errors."""
    add(ledger.database, study(1), study(2, site="Ancien"))
    for attempt in (dry, apply, dry):
        assert attempt(ledger, site="CHU").errors == []
        assert len(attempt(ledger).errors) == 1


@pytest.mark.parametrize(
    ("as_of", "told"), [(date(2050, 1, 1), "can only be simulated"), (date(2020, 1, 1), "lies in the past")]
)
def test_another_day_is_never_stored(ledger: Ledger, as_of: date, told: str) -> None:
    """Neither the future nor the past may be applied."""
    add(ledger.database, study(1))
    with pytest.raises(SweepRefused, match=told):
        apply(ledger, as_of=as_of)
    assert (stored(ledger.database), rows(ledger.database, "SELECT * FROM sweep")) == ({}, [])


def test_what_changed_since_the_last_sweep(ledger: Ledger, clock: Clock) -> None:
    """New studies, new holds: the difference of the totals to the last sweep that was stored."""
    fill(ledger)
    apply(ledger)
    clock.advance(hours=20)
    add(ledger.database, study(9), study(10, "20200101"))
    hold(ledger, 1)
    assessor(ledger).settle()
    report = dry(ledger)
    assert report.last_as_of == "2026-11-26"
    assert report.changes is not None
    assert {name: number for name, number in report.changes.items() if number and "bytes" not in name} == {
        "studies": 2,
        "blocked": 1,
    }
    assert dry(ledger, site="Cabinet").changes == dict.fromkeys(report.changes, 0)


def test_a_stored_sweep_is_journaled(ledger: Ledger) -> None:
    """Who, for which day, how many: no study and no patient."""
    fill(ledger)
    apply(ledger)
    ((actor, body),) = rows(ledger.database, "SELECT actor, body FROM audit WHERE event = 'swept'")
    assert (actor, body) == (
        "anne",
        '{"as_of":"2026-11-26","blocked":3,"due":3,"set_aside":0,"studies":8,"sweep":1}',
    )


def test_a_cap_is_kept_and_the_next_run_goes_on(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at a time of eight: no more is assessed, none twice, and only the last run is complete."""
    monkeypatch.setattr(module, "PAGE", 2)
    fill(ledger)
    found = [apply(ledger, most=3) for _ in range(4)]
    assert [(report.assessed, report.is_complete) for report in found] == [(3, False), (3, False), (2, True), (0, True)]
    assert value(ledger.database, "SELECT COUNT(*) FROM sweep") == 2
    change(ledger.database, "UPDATE assessment SET is_stale = 1")
    report = dry(ledger, most=3)
    assert (report.assessed, report.is_complete) == (3, False)


def test_reviews_that_are_overdue_are_told(ledger: Ledger, clock: Clock) -> None:
    """A hold past its review date still blocks, and the sweep says which it is."""
    add(ledger.database, study(1))
    hold_id = hold(ledger, 1, review_on=date(2026, 11, 27))
    clock.advance(hours=20)
    ClockTrust(ledger).observe()
    clock.advance(hours=20)
    assert dry(ledger).overdue_holds == [hold_id]
    assert dry(ledger).due.studies == 0


FACTS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from(["visit", "death", "appeal"]),
        st.sampled_from(["1999-05-05", "2012-01-01", "2026-12-24"]),
    ),
    max_size=5,
)


def test_settled_is_what_a_fresh_sweep_concludes(ledger: Ledger) -> None:
    """Whatever is told in whatever order: assessments kept current equal those made from nothing."""
    add(ledger.database, study(1), study(2, PatientID="P1"), study(3, "20200101"), study(4))
    apply(ledger)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
    @given(FACTS)
    def holds_true(facts: list[tuple[int, str, str]]) -> None:
        for number, kind, day in facts:
            tell(ledger, number, kind, day)
        assessor(ledger).settle()
        settled = stored(ledger.database)
        change(ledger.database, "DELETE FROM assessment")
        change(ledger.database, "DELETE FROM sweep_mark")
        apply(ledger)
        assert settled == stored(ledger.database)

    holds_true()


def test_a_simulated_day_is_what_that_day_will_be(ledger: Ledger, clock: Clock) -> None:
    """Whatever is known: a dry run as of a day finds what a sweep applied on that day, from nothing, finds."""
    add(
        ledger.database,
        study(1),
        study(2, PatientID="P1"),
        study(3, "20070101"),
        study(4, "20270601"),
        study(5, "20080101"),
    )
    today = clock.now

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
    @given(FACTS, st.integers(0, 9000))
    def holds_true(facts: list[tuple[int, str, str]], days: int) -> None:
        clock.now = today
        for name in ("audit", "sweep_mark", "assessment"):
            change(ledger.database, f"DELETE FROM {name}")
        for number, kind, day in facts:
            tell(ledger, number, kind, day, "2031-02-03" if kind == "appeal" and number % 2 else None)
        apply(ledger)
        as_of = (today + timedelta(days=days)).date()
        simulated = dry(ledger, as_of=as_of)
        for name in ("audit", "sweep_mark", "assessment"):
            change(ledger.database, f"DELETE FROM {name}")
        clock.advance(days=days)
        applied = apply(ledger)
        for name in ("all", "due", "due_but_blocked", "rules", "blocked", "assumptions", "forecast", "longest_due"):
            assert getattr(simulated, name) == getattr(applied, name), name

    holds_true()


def test_settling_is_quick_when_there_is_nothing_to_do(ledger: Ledger) -> None:
    """A housekeeper may ask every few seconds."""
    add(ledger.database, *(study(number) for number in range(1, 500)))
    apply(ledger)
    started = time.monotonic()
    for _ in range(20):
        assert assessor(ledger).settle() == 0
    assert time.monotonic() - started < 2


def test_settings_below_the_law_make_no_rules() -> None:
    """A site made by other means than the settings' file is refused too."""
    with pytest.raises(ValueError, match="20 years at least"):
        Site(name="CHU", retention_years=3)


def test_an_index_that_fails_ends_the_sweep(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no poisoned study: nothing is set aside for it."""
    add(ledger.database, study(1))

    def broken(*_: object) -> None:
        raise ArchiveError

    monkeypatch.setattr(module, "gather", broken)
    with pytest.raises(ArchiveError):
        apply(ledger)
    assert stored(ledger.database) == {}


# ---- killed --------------------------------------------------------------------------------------------------------

_SWEEP = textwrap.dedent("""
    import sys
    from datetime import UTC, datetime
    from archive.config import Site
    from archive.index.session import Database
    from archive.services import assess
    from archive.services.assess import Assessor, rules_of
    from archive.services.sweep import Sweeps, Wanted

    assess.PAGE = 20
    database = Database(sys.argv[1])
    assessor = Assessor(database, rules_of([Site(name="CHU")]), lambda: datetime(2026, 11, 26, 9, 30, tzinfo=UTC))
    Sweeps(assessor).apply(Wanted(), "anne", lambda done, total: print(done, flush=True))
""")


def test_a_killed_sweep_goes_on_where_it_was(ledger: Ledger, url: str) -> None:
    """SIGKILL in the middle: what was stored counts, the next run assesses the rest, and nothing is missing."""
    add(ledger.database, *(study(number) for number in range(1, 1201)))
    process = subprocess.Popen([sys.executable, "-c", _SWEEP, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    kept = value(ledger.database, "SELECT COUNT(*) FROM assessment")
    assert 100 <= kept < 1200
    report = apply(ledger, Site(name="CHU"))
    assert (report.assessed, report.all.studies, report.is_complete) == (1200 - kept, 1200, True)
