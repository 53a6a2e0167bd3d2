"""The machine contract's form of an assessment."""

from __future__ import annotations

import json

import pytest

from retention_rules.assessment import as_json
from tests.unit.retention_rules.golden import CASES
from tests.unit.retention_rules.test_engine import assessed

KEYS = ["case", "eligible_on", "lossless_until", "due", "blocked_by", "rule", "reasons", "assumptions"]
ADULT = {"regime": "hospital", "exam_on": "2010-03-02", "last_visit_on": "2012-05-01", "birth_on": "1950-07-14"}


def test_the_example_of_the_contract() -> None:
    """The contract's own example has the contract's keys in the contract's order, and its values."""
    form = as_json(assessed(ADULT), "c1")
    assert list(form) == KEYS
    assert json.loads(json.dumps(form)) | {"reasons": []} == {
        "case": "c1",
        "eligible_on": "2032-05-02",
        "lossless_until": "2013-03-03",
        "due": True,
        "blocked_by": [],
        "rule": "hospital.base",
        "reasons": [],
        "assumptions": [],
    }


def test_reasons_name_the_rules_with_facts_and_citations() -> None:
    """The deciding rule comes first, then the others, each with the date it counts from and where it is written."""
    law, uncam = "Code de la santé publique, article R.1112-7", "Décision de l'UNCAM du 14 octobre 2025, annexe 5"
    assert assessed(ADULT).reasons == (
        f"decides: hospital.base ({law}), 2012-05-01 + 20 years = 2032-05-01",
        f"considered: common.immediate_access ({uncam}), 2010-03-02 + 3 years = 2013-03-02",
        f"considered: hospital.minor ({law}), 1950-07-14 + 28 years = 1978-07-14",
    )


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"appeals": [{"from": "2015-01-01", "to": "2016-01-01"}]}, "with appeals + 365 days = 2033-05-01"),
        ({"appeals": [{"from": "2015-01-01"}]}, "an open appeal stops the clock"),
        ({"holds": [{"id": "h1"}]}, "blocked by hold:h1"),
        ({"death_on": "2013-01-01"}, "set aside: hospital.base"),
        ({"death_on": "2011-01-01"}, "contradiction: death_before_last_visit"),
    ],
)
def test_what_changes_the_answer_is_a_reason(more: dict[str, object], reason: str) -> None:
    """Appeals, holds, what death sets aside and contradictions are told."""
    assert any(reason in each for each in assessed({**ADULT, **more}).reasons)


@pytest.mark.parametrize(
    ("more", "assumption"),
    [
        ({"birth_on": None}, "birth_on is unknown: born on 2010-03-02 at the latest"),
        ({"birth_on": "1950"}, "birth_on is partial: read as the latest day it may mean"),
        ({"deceased": True}, "deceased without a date: no effect"),
        ({"death_on": "2013-01-01", "facts_trusted": False}, "death_on 2013-01-01 is not validated: no effect"),
        ({"regime": "private"}, "modalities are unknown: the floor of CT/MG/MR is applied"),
    ],
)
def test_what_is_supposed_is_told(more: dict[str, object], assumption: str) -> None:
    """Each thing supposed is one assumption, and nothing else is."""
    assert assessed({**ADULT, **more}).assumptions == (assumption,)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reasons_begin_with_the_rule_that_decides(case: object) -> None:
    """Whenever a rule decides it is the first reason; facts that contradict each other have reasons too."""
    assert hasattr(case, "assess")
    assessment = case.assess()
    first = assessment.reasons[0]
    assert first.startswith(f"decides: {assessment.rule} (" if assessment.rule else "contradiction: ")


def test_two_assessments_of_one_thing_are_equal() -> None:
    """An assessment can be compared, so that a sweep can tell what changed."""
    assert assessed(ADULT) == assessed(dict(ADULT))
    assert assessed(ADULT) != assessed({**ADULT, "holds": [{"id": "h1"}]})
