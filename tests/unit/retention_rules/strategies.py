"""Facts in the machine contract's form, drawn by hypothesis; whole days, so that every draw can be counted by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

Facts = dict[str, Any]
TODAY = date(2035, 6, 15)
EDGES = [date(year, 2, 29) + timedelta(days=shift) for year in range(1992, 2034, 4) for shift in (-1, 0, 1)]


def days(first: date = date(1990, 1, 1), last: date = date(2034, 12, 31)) -> st.SearchStrategy[str]:
    """Draw a day; ends of February are drawn often, and so are days close to each other."""
    edges = [day for day in EDGES if first <= day <= last]
    return (st.dates(first, last) | st.sampled_from(edges or [last])).map(date.isoformat)


@st.composite
def appeals(draw: st.DrawFn, may_be_open: bool = True) -> list[dict[str, str | None]]:
    """Draw up to three appeals; they may be empty, overlap, touch or be open, but never end before they begin."""
    found: list[dict[str, str | None]] = []
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(days(date(1995, 1, 1)))
        length = draw(st.sampled_from([0, 1, 30, 365, 366, 3000]) | st.integers(0, 5000))
        end = (date.fromisoformat(begin) + timedelta(days=length)).isoformat()
        is_open = may_be_open and draw(st.integers(0, 3)) == 0
        found.append({"from": begin, "to": None if is_open else end})
    return found


@st.composite
def facts(draw: st.DrawFn, *, coherent: bool = True, may_be_open: bool = True) -> Facts:
    """Draw a study's facts; coherent ones do not contradict each other on TODAY."""
    regime = draw(st.sampled_from(["hospital", "private"]))
    exam = draw(days(date(2000, 1, 1)))
    birth_last = date.fromisoformat(exam) if coherent else date(2034, 12, 31)
    birth = draw(st.none() | days(date(1990, 1, 1), birth_last))
    seen_first = date.fromisoformat(birth) if birth and coherent else date(1990, 1, 1)
    drawn: Facts = {
        "case": "drawn",
        "regime": regime,
        "exam_on": exam,
        "last_visit_on": draw(st.none() | days()),
        "first_seen_on": draw(st.none() | days(seen_first)),
        "birth_on": birth,
        "death_on": None,
        "deceased": draw(st.booleans()),
        "appeals": draw(appeals(may_be_open)),
        "holds": draw(st.lists(st.sampled_from([{"id": "h1", "reason": "trial"}, {"id": "h2"}]), max_size=2)),
        "modalities": draw(st.none() | st.lists(st.sampled_from(["CT", "MR", "MG", "US", "CR"]), max_size=2)),
        "facts_trusted": draw(st.integers(0, 4)) > 0,
    }
    last = date.fromisoformat(max(exam, drawn["last_visit_on"] or exam))
    drawn["death_on"] = draw(st.none() | days(last if coherent else date(1990, 1, 1)) | near(last))
    if regime == "private":
        drawn["years"] = draw(st.none() | st.integers(0, 6) | st.sampled_from([10, 20, 30]))
    return drawn


def near(last: date) -> st.SearchStrategy[str]:
    """Draw a day around ten years after ``last``, where the death rule turns."""
    turn = last.replace(day=min(last.day, 28), year=last.year + 10)
    return st.integers(-3, 4).map(lambda shift: (turn + timedelta(days=shift)).isoformat())
