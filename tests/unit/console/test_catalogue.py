"""What the console says: whole in both languages, and nowhere but in its catalogue."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from archive.console.catalogue import LANGUAGES, Catalogue, catalogue, choose
from archive.console.machinery import EVENTS, REFUSALS
from archive.console.visit import REASONS
from archive.index.patient_facts import KINDS
from archive.services.people import ROLES
from archive.services.tls_certificates import State
from retention_rules.facts import REGIMES, Regime
from retention_rules.loader import load_schedule
from retention_rules.schedule import Rule

ARCHIVE = Path(__file__).parents[3] / "archive"
CONSOLE = ARCHIVE / "console"
TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))
SOURCES = [*TEMPLATES, *sorted(CONSOLE.glob("*.py"))]
JINJA = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
TAG = re.compile(r"<[^>]*>", re.DOTALL)
SPOKEN = re.compile(r'(?:aria-label|placeholder|alt|title|content)="([^"]*)"')
NO_WORDS = {"p50", "p95", "p99", "dB", "nbsp", "width", "device", "initial", "scale", "noindex"}
"""What is the same in every language, and what only browsers read."""


def fields(message: str) -> set[str]:
    """Return the names of a message's fields."""
    return {name for _, name, _, _ in Formatter().parse(message) if name}


def used() -> Iterator[tuple[str, bool]]:
    """Yield the keys that pages ask for, and whether it is only how they begin."""
    for file in SOURCES:
        text = file.read_text(encoding="utf-8")
        yield from ((key, False) for key in re.findall(r'\b(?:t|text|_text)\("([a-z0-9_.]+[a-z0-9_])"', text))
        yield from ((f"{key}.one", False) for key in re.findall(r'\b(?:n|counted)\("([a-z0-9_.]+)"', text))
        yield from ((key, True) for key in re.findall(r'\b(?:t|found)\("([a-z0-9_.]+\.)" ?~', text))
        yield from ((key, True) for key in re.findall(r'f"([a-z_]+\.)\{', text))


def test_both_languages_have_every_key_with_the_same_fields() -> None:
    """No message is missing in a language, and none fills in what the other does not."""
    french, english = (catalogue(language).messages for language in LANGUAGES)
    assert french.keys() == english.keys()
    assert [key for key in french if fields(french[key]) != fields(english[key])] == []
    assert [key for key, text in {**french, **english}.items() if not text.strip()] == []


def test_every_key_that_a_page_asks_for_has_a_message() -> None:
    """Keys in templates and pages are there; where a key is put together, something begins so."""
    messages = catalogue("fr").messages
    missing = [key for key, is_start in used() if not is_start and key not in messages]
    missing += [key for key, is_start in used() if is_start and not any(each.startswith(key) for each in messages)]
    assert missing == []


def test_no_message_is_left_over() -> None:
    """Every message is asked for by some page."""
    keys = {key for key, is_start in used() if not is_start}
    keys |= {f"{key.removesuffix('.one')}.many" for key in keys if key.endswith(".one")}
    starts = tuple(key for key, is_start in used() if is_start)
    assert [key for key in catalogue("en").messages if key not in keys and not key.startswith(starts)] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_bare_text(template: Path) -> None:
    """Whatever a person reads or hears comes from the catalogue."""
    text = JINJA.sub("", template.read_text(encoding="utf-8"))
    said = [TAG.sub(" ", text), *SPOKEN.findall(text)]
    words = [word for each in said for word in re.findall(r"[^\W\d_]\w+", each)]
    assert [word for word in words if word not in NO_WORDS] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_script_style_or_trust(template: Path) -> None:
    """No script or style stands in a page, nothing is called safe, and nothing is loaded from elsewhere."""
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe|autoescape|style=|<style|\son[a-z]+=|javascript:", text)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", text))
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)


def test_what_services_may_say_has_words() -> None:
    """Roles, facts, events, reasons, rules and states of certificates have a message each."""
    rules = {rule.name for regime in REGIMES for rule in _rules(regime)}
    wanted = [
        *(f"role.{role}" for role in ROLES),
        *(f"fact_kind.{kind}" for kind in KINDS),
        *(f"event.{event}" for event in EVENTS),
        *(f"reason.{reason}" for reason in REASONS),
        *(f"quarantine_reason.{kind.__name__}" for kind in REFUSALS),
        *(f"rule.{rule}" for rule in rules),
        *(f"certificate_state.{state.name}" for state in State),
        *(f"list_state.{state}" for state in ("listed", "approved", "destroying", "destroyed", "cancelled")),
        *(f"item_state.{state}" for state in "listed refused sent_back cancelled destroying destroyed".split()),
    ]
    assert [key for key in wanted if key not in catalogue("fr").messages] == []


def journalled() -> Iterator[str]:
    """Yield every event that the archive's code writes to the journal, as far as it stands there as a text."""
    for file in ARCHIVE.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func).rpartition(".")[2]
            place = {"Entry": 1, "Draft": 0, "_entry": 0, "stored_entry": 0}.get(name)
            if place is not None:
                given = [each.value for each in call.keywords if each.arg == "event"] or call.args[place : place + 1]
                yield from (str(each.value) for each in given if isinstance(each, ast.Constant) and each.value)


def test_every_event_of_the_journal_has_words() -> None:
    """Nobody reads the name that the code gives an event: those written in the code, and those it puts together."""
    events = {*journalled(), "recovered", "damaged", "missing", "hot_pack_trimmed", "cold_pack_trimmed"}
    assert {"imported", "signed_in", "stored", "disposal_proposed", "warned"} <= events
    assert sorted(event for event in events if f"event.{event}" not in catalogue("fr").messages) == []


def _rules(regime: Regime) -> Iterator[Rule]:
    schedule = load_schedule(regime, {})
    for edition in schedule.editions:
        roles = (edition.base, edition.immediate_access, edition.minor, edition.death, edition.floor)
        yield from (rule for rule in roles if rule is not None)


@pytest.mark.parametrize(
    ("language", "count", "text"),
    [
        ("fr", 0, "0 étude"),
        ("fr", 1, "1 étude"),
        ("fr", 1200, "1\u202f200 études"),
        ("en", 0, "0 studies"),
        ("en", 1, "1 study"),
        ("en", 1200, "1,200 studies"),
    ],
)
def test_numbers_of_things_are_said_as_each_language_does(language: str, count: int, text: str) -> None:
    """Nought is singular in French and plural in English."""
    words: Catalogue = catalogue("fr" if language == "fr" else "en")
    assert words.counted("count.studies", count) == text


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        ("", "", "fr"),
        ("en", "fr", "en"),
        ("de", "en-GB,fr;q=0.8", "en"),
        ("", "de-DE, en;q=0.5, fr;q=0.9", "fr"),
        ("", "fr;q=0, en", "en"),
        ("", "en;q=nonsense", "fr"),
        ("", "zz," * 500 + "en", "fr"),
        ("<script>", "*", "fr"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_first_accepted(chosen: str, accepted: str, language: str) -> None:
    """A choice goes before what the browser accepts; French is spoken when neither is known."""
    assert choose(chosen, accepted) == language


def test_a_message_that_is_not_there_is_an_error() -> None:
    """A key without a message is our mistake; words of others fall back to themselves."""
    with pytest.raises(KeyError):
        catalogue("en").text("no.such.key")
    assert catalogue("en").found("modality.XX", "XX") == "XX"
