"""The golden cases: each must come out as the jurist wrote, and the manual must show the same ones."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.retention_rules import reference
from tests.unit.retention_rules.golden import CASES, Case, read_cases

MANUAL = Path(__file__).parents[3] / "docs" / "retention.md"
ROW = re.compile(
    r"^\| (?P<name>[^|]+) \| (?P<facts>[^|]+) \| (?P<date>[0-9-]{10}|never) \| `(?P<rule>[a-z._]+)` \|", re.M
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_case(case: Case) -> None:
    """The engine concludes what the case expects."""
    assert case.found() == {"blocked_by": [], **case.expect}, case.why


@pytest.mark.parametrize("case", [case for case in CASES if case.as_of.year < 2090], ids=lambda case: case.name)
def test_golden_case_counted_by_hand(case: Case) -> None:
    """What the case expects is what counting day by day gives, without the engine."""
    if reference.contradicts(case.facts, case.as_of):
        assert case.expect["rule"] == "none" and case.expect["eligible_on"] == "never"
    elif "9999" not in str(case.facts):
        assert case.expect["eligible_on"] == str(reference.eligible_on(case.facts, case.reading) or "never")


def test_every_case_has_a_name_of_its_own_and_a_reason() -> None:
    """No two cases have one name, and each says why."""
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
    assert all(case.why.endswith(".") for case in CASES)


def test_every_rule_has_a_case() -> None:
    """Each rule of the contract decides in some case, in both readings where they differ."""
    rules = {case.expect["rule"] for case in CASES}
    assert rules == {
        *("hospital.base", "hospital.minor", "hospital.death", "private.base", "private.minor", "private.death"),
        *("private.floor", "common.immediate_access", "none"),
    }
    assert {case.reading for case in CASES} == {"prudent", "statute"}


def test_the_manual_shows_the_same_cases() -> None:
    """The manual's table has every worked case, with the date and the rule of the TOML."""
    shown = {row["name"].strip(): (row["date"], row["rule"]) for row in ROW.finditer(MANUAL.read_text("utf-8"))}
    by_name = {case.name: (case.expect["eligible_on"], case.expect["rule"]) for case in CASES}
    worked = [case.name for case in list(CASES)[:10]]
    assert {name: by_name.get(name) for name in shown} == shown
    assert set(worked) <= set(shown)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[cases]]\nname = 'x'", "only"),
        ("[[case]]\nname='x'\nwhy='y.'\nexpct=1\nfacts={}\nexpect={}", "expct"),
        ("[[case]]\nname='x'\nwhy='y.'\nfacts={brith_on='1950'}\nexpect={eligible_on='never',rule='none'}", "brith_on"),
        ("[[case]]\nname='x'\nwhy='y.'\nfacts={}\nexpect={rule='none'}", "date and a rule"),
    ],
)
def test_a_mistyped_case_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    """A key that means nothing, or a case that expects nothing, is a fault and not a case that passes."""
    (tmp_path / "new.toml").write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError, match=fault):
        list(read_cases(tmp_path))
