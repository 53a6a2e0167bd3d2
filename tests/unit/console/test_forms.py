"""Proofs of forms: made for one person in one browser, and for nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from archive.console.forms import FormTokens, new_cookie, parse_form
from archive.errors import BadRequest

FORM = "application/x-www-form-urlencoded"


def test_a_token_is_for_one_person_one_browser_and_one_process() -> None:
    """Another name, another cookie, another key, no cookie, a changed token: refused."""
    tokens, cookie = FormTokens(), new_cookie()
    token = tokens.make(cookie, "anne")
    assert tokens.is_right(token, cookie, "anne")
    assert not tokens.is_right(token, cookie, "olga")
    assert not tokens.is_right(token, new_cookie(), "anne")
    assert not tokens.is_right(tokens.make("", "anne"), "", "anne")
    assert not FormTokens().is_right(token, cookie, "anne")
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert not tokens.is_right(changed, cookie, "anne")


def test_a_token_looks_different_on_every_page() -> None:
    """The digest is masked anew, so that compression tells nothing of it."""
    tokens, cookie = FormTokens(), new_cookie()
    assert len({tokens.make(cookie, "anne") for _ in range(20)}) == 20
    assert "key" not in repr(tokens)


@given(st.text())
def test_nonsense_is_no_token(text: str) -> None:
    """Whatever is sent as a token, nothing breaks and nothing passes."""
    assert not FormTokens().is_right(text, "cookie", "anne")


def test_fields_are_read_with_their_accents() -> None:
    """Forms come percent-encoded in UTF-8; empty fields are there, repeated ones all."""
    assert parse_form(b"a=%C3%A9t%C3%A9&b=&b=2", FORM) == {"a": ["été"], "b": ["", "2"]}
    assert parse_form(b"", f"{FORM}; charset=utf-8") == {}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=1", "multipart/form-data; boundary=x"),
        (b"a=1", "text/plain"),
        (b"a=1", ""),
        ("a=é".encode(), FORM),
        (b"a=%ff", FORM),
        (b"&".join(b"a=1" for _ in range(4000)), FORM),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, content_type: str) -> None:
    """Another type, bytes that are no text, thousands of fields: BadRequest, and nothing else."""
    with pytest.raises(BadRequest):
        parse_form(body, content_type)
