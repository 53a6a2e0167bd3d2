"""The contract once more, as slowly and plainly as it can be written: one day after the other, no code of the product.

It takes facts in the form of the machine contract and shares nothing with the engine but the contract's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

DAY = timedelta(days=1)
FOREVER = None
LIST = ("base", "minor", "death", "floor", "immediate_access")


def latest(text: str | None) -> date | None:
    """Return the latest day a date may mean, found by walking back from the end of the year or month."""
    if not text:
        return None
    digits = text.replace("-", "")
    day = date(int(digits[:4]), 12, 31)
    while not day.strftime("%Y%m%d").startswith(digits):
        day -= DAY
    return day


def anniversary(day: date, years: int) -> date:
    """Return the anniversary, or the last day of its month."""
    wanted, year = day.day, day.year + years
    while True:
        try:
            return date(year, day.month, wanted)
        except ValueError:
            wanted -= 1


def contradicts(facts: Mapping[str, Any], today: date) -> bool:
    """Tell whether the facts cannot all be true."""
    exam, birth = latest(facts["exam_on"]), latest(facts.get("birth_on"))
    assert exam is not None
    last = max(exam, latest(facts.get("last_visit_on")) or exam)
    death = latest(facts.get("death_on")) if facts.get("facts_trusted", True) else None
    wrong = exam > today or exam < date(1895, 1, 1)
    wrong = wrong or (birth is not None and birth > exam)
    wrong = wrong or (death is not None and birth is not None and death < birth)
    wrong = wrong or (death is not None and death < last)
    return wrong or any(to is not None and begin is not None and to < begin for begin, to in appeals(facts))


def appeals(facts: Mapping[str, Any]) -> list[tuple[date | None, date | None]]:
    """Return the appeals as pairs of days."""
    return [(latest(appeal["from"]), latest(appeal.get("to"))) for appeal in facts.get("appeals") or []]


def periods(facts: Mapping[str, Any], reading: str) -> dict[str, tuple[date, date]]:
    """Return the first and the last day of each period that applies, appeals left out."""
    exam = latest(facts["exam_on"])
    assert exam is not None
    last = max(exam, latest(facts.get("last_visit_on")) or exam)
    earliest = min(exam, latest(facts.get("first_seen_on")) or exam)
    is_private = facts["regime"] == "private"
    years = facts.get("years") if is_private else None
    found = {
        "base": (last, anniversary(last, 20 if years is None else years)),
        "minor": (last, anniversary(latest(facts.get("birth_on")) or earliest, 28)),
    }
    death = latest(facts.get("death_on")) if facts.get("facts_trusted", True) else None
    if death is not None and death < anniversary(last, 10):
        found = {"death": (death, anniversary(death, 10))}
    elif death is not None and reading == "prudent":
        found["death"] = (death, anniversary(death, 10))
    modalities = facts.get("modalities")
    if is_private and (modalities is None or {"CT", "MR", "MG"} & set(modalities)):
        found["floor"] = (exam, anniversary(exam, 5))
    found["immediate_access"] = (exam, anniversary(exam, 3))
    return found


def suspended(start: date, end: date, facts: Mapping[str, Any]) -> date | None:
    """Let the clock run from ``start``, a day at a time, and stand still on the days of an appeal."""
    stopped: set[date] = set()
    open_from = None
    for begin, to in appeals(facts):
        assert begin is not None
        if to is None:
            open_from = begin if open_from is None else min(begin, open_from)
            continue
        stopped.update(begin + shift * DAY for shift in range((to - begin).days))
    left, day = (end - start).days, start
    if left < 0:
        return end
    while left or day in stopped or (open_from is not None and day >= open_from):
        if open_from is not None and day >= open_from:
            return FOREVER
        left -= day not in stopped
        day += DAY
    return day


def eligible_on(facts: Mapping[str, Any], reading: str = "prudent") -> date | None:
    """Return the first day on which elimination may be proposed, or None without an end."""
    ends = [suspended(start, end, facts) for start, end in periods(facts, reading).values()]
    return None if None in ends else max(end for end in ends if end is not None) + DAY


def deciding(facts: Mapping[str, Any], reading: str = "prudent") -> str:
    """Return the role of the rule that decides, for facts without an open appeal."""
    ends = {role: suspended(start, end, facts) for role, (start, end) in periods(facts, reading).items()}
    last = max(end for end in ends.values() if end is not None)
    return next(role for role in LIST if ends.get(role) == last)


def blocked_by(facts: Mapping[str, Any], today: date) -> list[str]:
    """Return what blocks, in the contract's order."""
    found = sorted({f"hold:{hold['id']}" for hold in facts.get("holds") or []})
    if any(to is None or (begin is not None and begin <= today < to) for begin, to in appeals(facts)):
        found.append("appeal")
    return [*found, "facts"] if contradicts(facts, today) else found
