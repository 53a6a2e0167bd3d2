"""The retention timeline: what stands on which lane, and where."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from archive.console.catalogue import catalogue
from archive.console.timeline import GUTTER, RIGHT, WIDTH, Lane, Timeline, timeline
from archive.index.holds import Hold
from archive.index.patient_facts import PatientFact
from archive.services.explaining import Explanation
from retention_rules.engine import assess
from retention_rules.facts import parse_facts
from retention_rules.loader import load_schedule

TODAY = date(2026, 11, 27)
AT = datetime(2026, 1, 1, tzinfo=UTC)
HOLD = Hold("H-2026-0001", "why", "who", "ref", AT, "anne", None, None, None, None, None)


def visit(day: str | None, until: str | None = None) -> PatientFact:
    """Return a visit that somebody told."""
    told = (day, until, True, "hl7:GAM", "V1", AT, "hl7", None, None)
    return PatientFact(1, "default", "P1", "visit", *told)


def drawn(facts: dict[str, Any], *, visits: tuple[PatientFact, ...] = (), holds: tuple[Hold, ...] = ()) -> Timeline:
    """Return the drawing of a hospital's study."""
    schedule = load_schedule("hospital", {})
    assessment = assess(parse_facts({"regime": "hospital", **facts}), schedule, TODAY, reading="prudent")
    found = Explanation("1.2", "default", "P1", assessment, ["."], {}, visits, [], holds)
    return timeline(found, TODAY, catalogue("en"))


def lane(line: Timeline, label: str) -> Lane:
    """Return a lane by its label."""
    return next(each for each in line.lanes if each.label == label)


def test_an_adult_has_exam_access_and_the_deciding_rule() -> None:
    """Twenty years from the exam decide; what ended before the exam has no lane, it is told in words."""
    line = drawn({"exam_on": "2020-05-04", "birth_on": "1950-07-14"})
    assert [each.label for each in line.lanes] == ["Birth", "Examination", "Immediate, lossless", "Hospital: 20 years"]
    deciding = line.lanes[-1]
    assert deciding.is_deciding
    assert [span.text.replace("\u00a0", " ") for span in deciding.spans] == ["4 May 2040"]
    assert line.eligible is not None
    assert line.eligible.text.replace("\u00a0", " ") == "may go from 5 May 2040"
    (born,) = lane(line, "Birth").marks
    assert born.is_before


def test_a_child_is_kept_until_the_twenty_eighth_birthday() -> None:
    """Birth lies on the axis, and the minor's rule counts from it."""
    line = drawn({"exam_on": "2015-06-10", "birth_on": "2012-01-20"})
    minor = next(each for each in line.lanes if each.is_deciding)
    (born,) = lane(line, "Birth").marks
    assert minor.label == "Hospital: minor"
    assert not born.is_before
    assert minor.spans[0].x == born.x


def test_a_suspension_lengthens_the_bar_and_an_open_one_never_ends() -> None:
    """An appeal has a lane of its own, and what it adds to a rule is drawn behind the rule's own time."""
    closed = drawn({"exam_on": "2004-02-03", "appeals": [{"from": "2005-01-01", "to": "2007-06-30"}]})
    rule, more = next(each for each in closed.lanes if each.is_deciding).spans
    assert (rule.kind, more.kind, more.is_open) == ("deciding", "added", False)
    assert more.x == pytest.approx(rule.x + rule.width, abs=0.2)
    still = drawn({"exam_on": "2004-02-03", "appeals": [{"from": "2005-01-01", "to": None}]})
    assert lane(still, "Appeals (suspension)").spans[0].is_open
    assert next(each for each in still.lanes if each.is_deciding).spans[-1].is_open
    assert still.eligible is None


def test_a_death_that_nobody_validated_is_drawn_as_doubtful() -> None:
    """It shortens nothing, and does not look like one that does."""
    line = drawn({"exam_on": "2010-01-01", "death_on": "2015-01-01", "facts_trusted": False})
    assert lane(line, "Death").marks[0].kind == "doubt"
    assert lane(drawn({"exam_on": "2010-01-01", "death_on": "2015-01-01"}), "Death").marks[0].kind == "death"


def test_visits_and_holds_have_lanes() -> None:
    """Each visit is a mark on the day it ended, partial dates on the last day they may mean; holds run on."""
    visits = (visit("2004-05-01", "2004-05-09"), visit("2006"), visit(None))
    line = drawn({"exam_on": "2004-05-01", "last_visit_on": "2006-12-31"}, visits=visits, holds=(HOLD,))
    texts = [mark.text.replace("\u00a0", " ") for mark in lane(line, "Visits").marks]
    assert texts == ["9 May 2004", "31 Dec 2006"]
    (held,) = lane(line, "Holds").spans
    assert (held.kind, held.is_open) == ("hold", True)


def test_contradictory_facts_have_no_rule_and_no_end() -> None:
    """What cannot be concluded is not drawn."""
    line = drawn({"exam_on": "2012-05-05", "birth_on": "2013-01-01"})
    assert line.eligible is None
    assert not any(each.is_deciding for each in line.lanes)


@pytest.mark.parametrize("exam", ["1896-01-01", "1970-01-01", "2026-11-27", "9990-01-01"])
def test_everything_stays_on_the_paper(exam: str) -> None:
    """Whatever the dates, lanes and years lie between the gutter and the right edge, and years do not crowd."""
    line = drawn({"exam_on": exam, "birth_on": "1850-01-01"}, visits=(visit("0001-01-01"),))
    places = [span.x for each in line.lanes for span in each.spans]
    places += [span.x + span.width for each in line.lanes for span in each.spans]
    places += [mark.x for each in line.lanes for mark in each.marks] + [year.x for year in line.years]
    assert all(GUTTER <= x <= WIDTH - RIGHT + 2.1 for x in places)
    assert 1 <= len(line.years) <= 12
    assert [each.y for each in line.lanes] == sorted({each.y for each in line.lanes})
