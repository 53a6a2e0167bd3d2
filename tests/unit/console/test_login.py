"""Pages of signing in: where one goes on to, in which language, and what no page may do."""

from __future__ import annotations

import re

import pytest
from starlette.requests import Request

from archive import errors
from archive.console.catalogue import LANGUAGES, catalogue
from archive.console.login import local_path
from archive.console.login_words import _WORDS, role_names, told, words
from archive.console.pages import POLICY, STATIC, environment, language_of, render
from archive.services.people import ROLES, Person


def request(query: str = "", **headers: str) -> Request:
    """Return a request for a page."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw})


@pytest.mark.parametrize("path", ["/console/", "/viewer/?StudyInstanceUIDs=1.2.3", "/console/a%20b"])
def test_one_goes_on_to_a_path_of_this_archive(path: str) -> None:
    """Whoever had to sign in lands where they wanted to be."""
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", None, "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "console", "/a\nb", "/a\\b"],
)
def test_nobody_is_led_elsewhere(path: str | None) -> None:
    """What a browser could take for another host is nothing."""
    assert local_path(path) == ""


@pytest.mark.parametrize(
    ("query", "headers", "lang"),
    [
        ("", {}, "fr"),
        ("", {"accept_language": "en-GB,en;q=0.9"}, "en"),
        ("", {"accept_language": "de, en;q=0.5, fr;q=0.8"}, "fr"),
        ("", {"accept_language": "en;q=0, fr;q=0.1"}, "fr"),
        ("", {"accept_language": "en;q=x, *"}, "fr"),
        ("lang=en", {"accept_language": "fr"}, "en"),
        ("lang=xx", {"accept_language": "en"}, "en"),
        ("", {"cookie": "drimbox-language=en", "accept_language": "fr"}, "en"),
    ],
)
def test_the_language_is_the_one_chosen_or_preferred(query: str, headers: dict[str, str], lang: str) -> None:
    """A choice wins over what the browser says, and French over what nobody here speaks."""
    assert language_of(request(query, **headers)) == lang


def test_a_chosen_language_is_remembered() -> None:
    """Once is enough."""
    values = {"words": words("en"), "reason": "x"}
    assert "drimbox-language=en" in render(request("lang=en"), "login/refused.html", values).headers["set-cookie"]
    assert "set-cookie" not in render(request(), "login/refused.html", values).headers


def test_what_somebody_wrote_is_no_markup() -> None:
    """A name may hold anything a provider tells."""
    evil = Person("eve", '<script src="//evil">"', frozenset({"radiologist"}), frozenset({"<b>"}), via="passkey")
    values = {"words": words("fr"), "person": evil, "roles": ["<u>"], "form_token": '"><i>', "home": ""}
    page = bytes(render(request(), "login/signed_in.html", values).body).decode()
    assert '<script src="//' not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<u>" not in page
    assert "&lt;script" in page


@pytest.mark.parametrize("name", [name for name in environment().list_templates() if name.startswith("login/")])
def test_no_page_holds_a_script_or_a_style(name: str) -> None:
    """The policy forbids both; nothing is loaded from elsewhere."""
    text = (STATIC.parent / "templates" / name).read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|https?://|//[a-z]", text)
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "frame-ancestors 'none'" in POLICY


def test_every_text_is_there_in_both_languages() -> None:
    """None is empty, and none was left in the other language."""
    assert all(english and french and english != french for english, french in _WORDS.values() if english != "Sites")
    assert words("en")["other"] == "fr"
    assert words("fr")["other"] == "en"


def test_the_archive_has_one_name() -> None:
    """Who signs in and goes on to the console reads the same name on both, in each language."""
    for language in LANGUAGES:
        assert words(language)["archive"] == catalogue(language).text("name")
        page = bytes(render(request(f"lang={language}"), "login/refused.html", refused(language)).body).decode()
        assert page.count(catalogue(language).text("name")) == 2


def refused(language: str) -> dict[str, object]:
    """Return what a page of a refusal needs."""
    return {"words": words(language), "reason": "x"}


def test_every_role_has_a_name_in_both_languages() -> None:
    """They are those of the console; what nobody named is shown as it is written."""
    for lang in ("en", "fr"):
        assert not set(role_names(ROLES, lang)) & {role for role in ROLES if "_" in role}
    assert role_names(["operator", "radiologist", "other"], "fr") == ["Exploitant", "Radiologue", "other"]


@pytest.mark.parametrize("kind", [*errors.SignInError.__subclasses__(), errors.AccountRefused])
def test_every_error_of_signing_in_is_told_in_french(kind: type[errors.ArchiveError]) -> None:
    """The French text fits the error's own fields, and the English is the error's message."""
    error = kind(reason="there is no such open account", minutes=10, person="x", name="x")
    assert told(error, "en") == error.message
    assert "{" not in told(error, "fr")
    assert "technique" not in told(error, "fr") and told(error, "fr") != error.message


def test_what_a_library_says_of_a_passkey_is_marked_as_technical() -> None:
    """Better in English than not at all; what it means is French."""
    error = errors.PasskeyRefused(reason="Wrong challenge in response")
    french = "La clé d'accès n'a pas été acceptée : détail technique, en anglais : Wrong challenge in response."
    assert told(error, "fr") == french
    assert told(error, "en") == error.message


def test_an_error_no_page_expects_is_told_as_it_is() -> None:
    """Better in English than not at all."""
    error = errors.RebuildRefused(reason="why")
    assert told(error, "fr") == f"détail technique, en anglais : {error.message}"
