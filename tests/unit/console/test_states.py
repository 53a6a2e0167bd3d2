"""Rare states as their pages show them: long work in each of its states, lists, lines, holds, looks, promises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from archive.console.catalogue import Language
from archive.console.refusals import Part, told
from archive.console.rendering import Renderer, environment
from archive.errors import AuditBroken
from archive.services.audit_search import AccessEntry, Accesses
from archive.services.background import Work
from archive.services.destroy import Destroyed
from archive.services.people import Person
from archive.services.reports import AuditReport
from tests.console_house import words_of

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
ANNE = Person("anne", "Anne", frozenset({"archivist"}))
FRAME: dict[str, Any] = {
    "person": ANNE,
    "navigation": [("overview", "/")],
    "section": "overview",
    "here": "/",
    "languages": ("fr", "en"),
    "form_field": "form_token",
    "form_token": "0",
    "sign_out_token": None,
    "sign_out": "/login/out",
    "account": "/login/",
    "done": "",
}


def page(template: str, language: Language, **values: Any) -> str:
    """Return a page with these values in its frame."""
    return Renderer(FRAME).render(template, language, values)


def worked(kind: str, **values: Any) -> Work:
    """Return a piece of work."""
    work = Work("w", kind, "D-2026-0001" if kind == "destruction" else "", "anne", NOW)
    for name, value in values.items():
        setattr(work, name, value)
    return work


def shown(work: Work, language: Language = "en", error: Mapping[str, object] | None = None) -> str:
    """Return the page of a piece of work."""
    share = work.done / work.total if work.total else None
    return page("work.html", language, work=work, error=error, share=share)


def test_work_under_way_is_looked_at_again() -> None:
    """With a script the region is fetched again, without one the page; how far it is stands in words and as a bar."""
    begun, half = shown(worked("journal_check")), shown(worked("journal_check", done=500, total=1000))
    assert 'data-live="running"' in begun and '<noscript><meta http-equiv="refresh"' in begun
    assert "<progress max=" in begun and "Begun." in begun
    assert '<progress value="0.5" max="1"' in half and "500 of 1,000" in words_of(half)


def test_work_that_is_over_is_not_looked_at_again() -> None:
    """What came of it, and the way back to what it was about."""
    report = AuditReport(entries=1234, head="ab" * 32, ledger_events=5, ledger_head="cd" * 32)
    over = shown(worked("journal_check", ended_at=NOW, result=report))
    assert 'data-live="over"' in over and "http-equiv" not in over
    assert "1,234 entries checked" in words_of(over) and "ab" * 32 in over and 'href="/console/audit"' in over
    gone = Destroyed("D-2026-0001", studies=2, instances=9, deleted=11, certificate=Path("x"))
    done = shown(worked("destruction", ended_at=NOW, result=gone), "fr")
    assert "Copies supprimées 11" in words_of(done) and 'href="/console/lists/D-2026-0001"' in done


def test_copies_that_are_left_are_named_with_the_reason() -> None:
    """A destruction that is not whole says what to do, and which objects they are."""
    left = Destroyed("D-2026-0001", studies=1, left=[("hot/1", "disk <away>")], sent_back=[("1.2", "held")])
    words = words_of(shown(worked("destruction", ended_at=NOW, result=left)))
    assert "Some copies are still there" in words and "hot/1 : disk <away>" in words
    assert "Sent back at the last moment 1" in words


def test_work_that_failed_says_so() -> None:
    """With its error if it is one of ours; else that the log has it."""
    error = AuditBroken(sequence=7, reason="an entry is missing")
    problem = {"headline": "The chain of the journal is broken", "advice": "", "detail": told(error, "en")}
    refused = shown(worked("journal_check", ended_at=NOW, error=error), error=problem)
    assert "Stopped" in refused and "The chain of the journal is broken" in refused and "an entry is missing" in refused
    assert "Internal error" in shown(worked("journal_check", ended_at=NOW, is_broken=True))


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("state", ["listed", "approved", "destroying", "destroyed", "cancelled"])
def test_states_are_words_and_not_colours_alone(language: Language, state: str) -> None:
    """Every badge has a text."""
    made = environment(language).from_string(
        '{% import "macros.html" as m with context %}{{ m.list_state(state) }}'
        '{% if state != "approved" %}{{ m.item_state(state) }}{% endif %}'
    )
    badges = made.render(FRAME | {"state": state})
    assert len(words_of(badges)) > 5
    assert "badge" in badges


def test_who_looked_is_told_with_how_and_why() -> None:
    """A page seen in the console, images over the web, images sent to a station: each in its own words."""
    looks = [
        AccessEntry(NOW, "viewed", "console", "Anne", ["archivist"], "192.0.2.1", "court"),
        AccessEntry(NOW, "viewed", "WADO-RS", "Rita", ["radiologist"], "192.0.2.2", "second opinion"),
        AccessEntry(NOW, "retrieved", "C-MOVE", "CT1", [], "STATION", ""),
    ]
    text = words_of(page("accesses.html", "en", accesses=Accesses(looks, 3)))
    assert "Anne Archivist Study page seen 192.0.2.1 Court order or litigation" in text
    assert "Rita Radiologist Study seen WADO-RS 192.0.2.2 second opinion" in text
    assert "CT1 Images sent C-MOVE STATION –" in text


def test_a_role_of_a_later_version_is_shown_as_it_is() -> None:
    """Words that the catalogue does not have fall back to themselves, escaped."""
    stranger = Person("x", "X", frozenset({"<new_role>"}))
    text = Renderer(FRAME | {"person": stranger}).render(
        "error.html", "fr", {"headline": "h", "advice": "", "detail": (Part("d"),), "status_code": 404}
    )
    assert "&lt;new_role&gt;" in text


def test_who_may_not_open_the_console_is_offered_no_search() -> None:
    """The frame of a refusal has no section, no search and no way to one."""
    text = page("error.html", "en", headline="h", advice="", detail=(Part("d"),), status_code=403, navigation=[])
    assert 'role="search"' not in text and 'href="/console/"' in text.partition("<main")[0]
    assert "Back to the overview" not in text


def test_the_days_of_a_page_are_those_of_its_language() -> None:
    """One value, two ways to write it."""
    for language, text in (("fr", "27/11/2026"), ("en", "27\u00a0Nov\u00a02026")):
        made = environment("fr" if language == "fr" else "en").from_string("{{ value|day }}")
        assert made.render(value=date(2026, 11, 27)) == text
