"""How facts are read: every form of a date, what is refused, what is unknown."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from retention_rules.errors import InvalidFacts
from retention_rules.facts import Appeal, Hold, StudyFacts, parse_facts, read_date

LEAST = {"regime": "hospital", "exam_on": "2010-03-02"}
WHOLE = {
    "case": "c1",
    "regime": "private",
    "exam_on": "2010-03-02",
    "last_visit_on": "2012-05-01",
    "first_seen_on": "2001-01-01",
    "birth_on": "1950-07-14",
    "death_on": "2013-01-01",
    "deceased": True,
    "appeals": [{"from": "2011-01-01", "to": "2012-01-01"}, {"from": "2014-01-01", "to": None}],
    "holds": [{"id": "h1", "reason": "trial"}, {"id": 7}],
    "modalities": ["CT", " mr"],
    "years": 10,
    "facts_trusted": False,
    "another": "key",
}


class TestDates:
    """A date may lack its day or its month."""

    @pytest.mark.parametrize(
        ("text", "day", "is_partial"),
        [
            ("2010-03-02", date(2010, 3, 2), False),
            ("20100302", date(2010, 3, 2), False),
            ("1990", date(1990, 12, 31), True),
            ("1990-02", date(1990, 2, 28), True),
            ("1992-02", date(1992, 2, 29), True),
            ("0001", date(1, 12, 31), True),
            ("9999-12-31", date.max, False),
        ],
    )
    def test_it_is_the_latest_day_it_may_mean(self, text: str, day: date, is_partial: bool) -> None:
        """A date is read in both forms; without its day or month it is the last one possible."""
        assert read_date(text) == (day, is_partial)

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "2010-02-30",
                "20100230",
                "2010-13",
                "2010-13-01",
                "20101301",
                "0000",
                "199002",
                "2010-3-2",
                "2010/03/02",
            ),
            *(
                "02.03.2010",
                "2010-03-02T10:00",
                " 2010-03-02",
                "2010-03-02\n",
                "2010-0302",
                "201003-02",
                "-2010",
                "abcd",
            ),
            *("２０１０", "19900000", "2010-00-01", "2010-03-00", "2010-"),
        ],
    )
    def test_anything_else_is_no_date(self, text: str) -> None:
        """A day that does not exist, or another way to write one, is refused and not guessed."""
        with pytest.raises(InvalidFacts, match="exam_on is not a date"):
            parse_facts({**LEAST, "exam_on": text})

    @given(st.dates())
    def test_whole_dates_come_back(self, day: date) -> None:
        """Every day is read back from both its forms, and taken as a date too."""
        assert read_date(day.isoformat()) == (day, False)
        assert read_date(day.isoformat().replace("-", "")) == (day, False)
        assert parse_facts({**LEAST, "exam_on": day}).exam_on == day

    @given(st.text(max_size=12))
    def test_no_text_breaks_the_reader(self, text: str) -> None:
        """Any text is a date or none."""
        day, _ = read_date(text)
        assert day is None or text[:4] == f"{day.year:04}"

    def test_partial_dates_are_remembered(self) -> None:
        """Which dates were partial is known, those of appeals too, whatever was read before."""
        known = {**LEAST, "birth_on": "1990", "appeals": [{"from": "2011-01", "to": "2012"}]}
        assert parse_facts(known).partial == ("birth_on", "appeals.from", "appeals.to")
        assert parse_facts(known).partial == ("birth_on", "appeals.from", "appeals.to")
        assert parse_facts(LEAST).partial == ()


class TestWhole:
    """What is read."""

    def test_every_fact_is_read(self) -> None:
        """Every key of the contract is read; another key is nobody's business."""
        assert parse_facts(WHOLE) == StudyFacts(
            regime="private",
            exam_on=date(2010, 3, 2),
            last_visit_on=date(2012, 5, 1),
            first_seen_on=date(2001, 1, 1),
            birth_on=date(1950, 7, 14),
            death_on=date(2013, 1, 1),
            deceased=True,
            appeals=(Appeal(date(2011, 1, 1), date(2012, 1, 1)), Appeal(date(2014, 1, 1))),
            holds=(Hold("h1", "trial"), Hold("7")),
            modalities=("CT", "MR"),
            years=10,
            facts_trusted=False,
        )

    @pytest.mark.parametrize("value", [None, "", "missing"])
    def test_missing_facts_are_unknown(self, value: str | None) -> None:
        """Null, an empty date and a missing key are the same: unknown."""
        names = ("last_visit_on", "first_seen_on", "birth_on", "death_on")
        given = {} if value == "missing" else dict.fromkeys(names, value)
        assert parse_facts({**LEAST, **given}) == StudyFacts("hospital", date(2010, 3, 2))

    def test_nulls_are_unknown(self) -> None:
        """Every optional fact may be null."""
        names = ("deceased", "appeals", "holds", "modalities", "years", "facts_trusted")
        assert parse_facts({**LEAST, **dict.fromkeys(names)}) == parse_facts(LEAST)

    def test_no_modality_is_not_an_unknown_one(self) -> None:
        """An empty list says that there is none; a missing one says nothing."""
        assert parse_facts({**LEAST, "modalities": []}).modalities == ()
        assert parse_facts(LEAST).modalities is None

    def test_a_hospital_has_no_years_of_its_own(self) -> None:
        """The site's own number is a practice's: a hospital's is not read, nor refused."""
        assert parse_facts({**LEAST, "years": 3}).years is None

    def test_facts_do_not_change(self) -> None:
        """Facts are frozen."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            parse_facts(LEAST).exam_on = date(2011, 1, 1)  # type: ignore[misc]


class TestRefused:
    """What cannot be read names the fact, and never its value."""

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("exam_on", None, "exam_on is missing"),
            ("exam_on", "", "exam_on is missing"),
            ("regime", None, "regime is missing"),
            ("regime", "spa", "regime is not hospital or private"),
            ("regime", ["hospital"], "regime is not"),
            ("regime", {}, "regime is not"),
            ("exam_on", 20100302, "exam_on is not a date"),
            ("exam_on", datetime(2010, 3, 2), "exam_on is not a date"),
            ("birth_on", "SECRET", "birth_on is not a date"),
            ("birth_on", False, "birth_on is not a date"),
            ("deceased", "yes", "deceased is not true or false"),
            ("deceased", 1, "deceased is not true or false"),
            ("facts_trusted", "SECRET", "facts_trusted is not true or false"),
            ("facts_trusted", 0, "facts_trusted is not true or false"),
            ("appeals", {"from": "2011-01-01"}, "appeals is not a list"),
            ("appeals", "SECRET", "appeals is not a list"),
            ("appeals", ["2011-01-01"], "appeals has an item that is not an object"),
            ("appeals", [{}], "appeals.from is missing"),
            ("appeals", [{"to": "2011-01-01"}], "appeals.from is missing"),
            ("appeals", [{"from": "SECRET"}], "appeals.from is not a date"),
            ("appeals", [{"from": "2011", "to": "SECRET"}], "appeals.to is not a date"),
            ("holds", "h1", "holds is not a list"),
            ("holds", ["h1"], "holds has an item that is not an object"),
            ("holds", [{"reason": "SECRET"}], "holds.id is missing"),
            ("holds", [{"id": ""}], "holds.id is missing"),
            ("holds", [{"id": ["SECRET"]}], "holds.id is missing or not a text"),
            ("modalities", "CT", "modalities is not a list"),
            ("modalities", [1], "modalities has an item that is not a text"),
        ],
    )
    def test_what_cannot_be_read(self, name: str, value: Any, message: str) -> None:
        """A fact that is there and makes no sense is an error, not an unknown: it could have kept the study."""
        with pytest.raises(InvalidFacts) as caught:
            parse_facts({**LEAST, name: value})
        assert message in caught.value.message and "SECRET" not in caught.value.message

    @pytest.mark.parametrize("years", ["20", 2.5, True, -1, 1001, []])
    def test_years_are_a_whole_number(self, years: Any) -> None:
        """A practice's number of years is a whole number within reason."""
        with pytest.raises(InvalidFacts, match="years is not a whole number"):
            parse_facts({**LEAST, "regime": "private", "years": years})
