"""Stored assessments: true after whatever may change them, and made again for nothing else."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from archive.index import assessments as table
from archive.index.session import Database
from archive.services.assess import Assessments, Assessor, SiteRules
from archive.services.ledger import Ledger
from archive.services.reports import Progress
from retention_rules.loader import load_schedule
from tests.integration.index.making import add, change, new_instance, rows
from tests.integration.retention.test_gathering import fact, place_hold, study, tell
from tests.unit.services.shelf import Clock

TODAY = date(2026, 11, 26)
HOSPITAL = SiteRules(load_schedule("hospital"))
PRACTICE = SiteRules(load_schedule("private", {"base": 5}))


def assessments(database: Database, clock: Clock, **rules: SiteRules) -> Assessments:
    """Return the assessments of an archive with the site CHU, or with others."""
    return Assessments(database, Assessor(rules or {"CHU": HOSPITAL}, HOSPITAL), clock)


@pytest.fixture
def stored(database: Database, clock: Clock) -> Assessments:
    """Lend the assessments of an archive with one hospital."""
    return assessments(database, clock)


def kept(database: Database, number: int = 1) -> tuple[Any, ...]:
    """Return what is stored of a study: date, rule, what blocks, error."""
    found = rows(
        database,
        "SELECT eligible_on, rule, blocked_by, error FROM assessment "
        f"WHERE is_stale = 0 AND study_instance_uid = '2.25.{number}'",
    )
    return tuple(found[0]) if found else ()


def test_what_is_new_is_assessed_once(database: Database, stored: Assessments) -> None:
    """Every study gets a row; without news nothing is made again, with a new study that one is."""
    add(database, study(1, PatientBirthDate="19500714"), study(2, StudyDate="20100302", PatientBirthDate="19500714"))
    assert stored.settle(TODAY) == 2
    assert kept(database, 1) == ("2044-01-16", "hospital.base", "", None)
    assert stored.settle(TODAY) == 0
    add(database, study(3))
    assert stored.settle(TODAY) == 1


def test_another_instance_of_a_study_has_it_assessed_again(database: Database, clock: Clock) -> None:
    """A CT series that arrives late brings the floor of the UNCAM to a practice's study."""
    practice = assessments(database, clock, CHU=SiteRules(load_schedule("private", {"base": 5})))
    add(database, new_instance(1, Modality="US", PatientBirthDate="19500714"))
    practice.settle(TODAY)
    assert rows(database, "SELECT instances FROM assessment") == [(1,)]
    add(database, new_instance(2, series=2, Modality="CT"))
    assert practice.settle(TODAY) == 1
    assert rows(database, "SELECT instances FROM assessment") == [(2,)]


def test_a_fact_touches_the_studies_of_its_patient_alone(
    database: Database, ledger: Ledger, stored: Assessments
) -> None:
    """A visit moves the end of each study of the patient; nobody else's is made again."""
    add(database, study(1), study(2), study(3, "P2"))
    stored.settle(TODAY)
    tell(ledger, fact("birth", "1950-07-14"), fact("visit", "2025-06-01"))
    assert stored.settle(TODAY) == 2
    assert kept(database, 1)[:2] == kept(database, 2)[:2] == ("2045-06-02", "hospital.base")


def test_an_appeal_is_looked_at_again_when_it_ends(database: Database, ledger: Ledger, stored: Assessments) -> None:
    """It blocks while it runs, and no longer from the day on which it ends, without anybody telling."""
    add(database, study(1, PatientBirthDate="19500714"))
    tell(ledger, fact("appeal", "2026-01-01", "2027-01-01"))
    stored.settle(TODAY)
    assert kept(database)[2] == "appeal"
    assert stored.settle(date(2026, 12, 31)) == 0
    assert stored.settle(date(2027, 1, 1)) == 1
    assert kept(database)[:3] == ("2045-01-15", "hospital.base", "")


def test_other_rules_have_everything_of_the_site_assessed_again(database: Database, clock: Clock) -> None:
    """A site that keeps longer, or reads the law otherwise, gets new dates; other sites' rows stay."""
    add(database, study(1, PatientBirthDate="19500714"), study(2, site="Cabinet", PatientBirthDate="19500714"))
    assessments(database, clock, CHU=HOSPITAL, Cabinet=PRACTICE).settle(TODAY)
    assert kept(database, 2)[:2] == ("2029-01-16", "private.base")
    longer = SiteRules(load_schedule("private", {"base": 30}))
    assert assessments(database, clock, CHU=HOSPITAL, Cabinet=longer).settle(TODAY) == 1
    assert kept(database, 2)[:2] == ("2054-01-16", "private.base")
    statute = SiteRules(load_schedule("hospital"), "statute")
    assert assessments(database, clock, CHU=statute, Cabinet=longer).settle(TODAY) == 1


def test_a_site_that_is_gone_is_kept_by_the_strictest_rules(database: Database, clock: Clock) -> None:
    """Studies of a site that nobody configures any more are not due earlier for that."""
    add(database, study(1, site="Cabinet", PatientBirthDate="19500714"))
    assessments(database, clock, CHU=HOSPITAL).settle(TODAY)
    assert kept(database)[:2] == ("2044-01-16", "hospital.base")


def test_a_hold_shows_in_the_row(database: Database, stored: Assessments) -> None:
    """Whoever reads the row sees which hold blocks."""
    add(database, study(1))
    place_hold(database, "H-2026-0001", ["2.25.1", None, None])
    stored.settle(TODAY)
    assert kept(database)[2] == "hold:H-2026-0001"


def test_a_poisoned_study_is_set_aside_and_the_others_go_on(
    database: Database, stored: Assessments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be assessed has its reason in its row, is never due, and is tried again when it changes."""
    add(database, study(1), study(2), study(3))
    good = Assessor.facts

    def poisoned(self: Assessor, gathered: Any) -> Any:
        if gathered.study_instance_uid == "2.25.2":
            raise ZeroDivisionError
        return good(self, gathered)

    with monkeypatch.context() as patch:
        patch.setattr(Assessor, "facts", poisoned)
        assert stored.settle(TODAY) == 3
    assert kept(database, 2) == (None, None, "", "ZeroDivisionError")
    with database.read() as connection:
        assert table.set_aside(connection, None, 10) == [("2.25.2", "ZeroDivisionError")]
        assert table.set_aside(connection, "Cabinet", 10) == []
        assert [uid for page in table.iter_due(connection, date.max, None, page=2) for uid in page] == [
            "2.25.1",
            "2.25.3",
        ]
    change(database, "UPDATE assessment SET is_stale = 1 WHERE error IS NOT NULL")
    assert stored.settle(TODAY) == 1
    assert kept(database, 2)[3] is None


class Killed(BaseException):
    """What ends the process of a test."""


def test_what_was_made_before_a_kill_stays(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two pages, the next run makes only what is missing."""
    monkeypatch.setattr("archive.services.assess._PAGE", 2)
    add(database, *(study(number) for number in range(1, 8)))
    seen: list[int] = []

    def kill(done: int, total: int) -> None:
        seen.append(total)
        if done == 4:
            raise Killed

    killing: Progress = kill
    with pytest.raises(Killed):
        assessments(database, clock).settle(TODAY, killing)
    assert assessments(database, clock).settle(TODAY) == 3
    assert set(seen) == {7}


def test_a_limit_makes_a_part(database: Database, stored: Assessments) -> None:
    """Whoever has little time makes a few, and the rest stays to be made."""
    add(database, *(study(number) for number in range(1, 6)))
    assert stored.settle(TODAY, limit=2) == 2
    assert stored.settle(TODAY) == 3


def test_studies_that_are_gone_are_forgotten(database: Database, stored: Assessments) -> None:
    """A row without its study would be counted for ever."""
    add(database, study(1), study(2))
    stored.settle(TODAY)
    for name in ("location", "instance", "series", "study"):
        change(database, f"DELETE FROM {name}")
    change(database, "UPDATE assessment SET is_stale = 1")
    assert stored.settle(TODAY) == 2
    assert rows(database, "SELECT COUNT(*) FROM assessment") == [(0,)]
