"""What a permission to delete must name before it exists."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tiering.errors import InvalidWarrant
from tiering.warrant import KEY_CHARACTERS, DeleteWarrant

DIGEST = bytes(range(32))
WARRANT = DeleteWarrant(key="20260331/0001/000042", sha256=DIGEST, generation="7", reason="cold copy verified")


def test_a_warrant_holds_what_it_was_given() -> None:
    """Key, digest, generation and reason come back unchanged."""
    assert WARRANT.key == "20260331/0001/000042"
    assert WARRANT.sha256 == DIGEST
    assert WARRANT.generation == "7"
    assert WARRANT.reason == "cold copy verified"


def test_a_warrant_cannot_be_turned_to_another_object() -> None:
    """No field can be set once the warrant exists."""
    with pytest.raises(FrozenInstanceError):
        WARRANT.key = "another"  # type: ignore[misc]


def test_equal_warrants_are_one() -> None:
    """Two warrants for the same version of the same object and reason are equal, and hash alike."""
    twin = replace(WARRANT)
    assert twin == WARRANT
    assert len({twin, WARRANT}) == 1
    assert replace(WARRANT, generation="8") != WARRANT


@pytest.mark.parametrize("key", ["a", "20260331/0001/000042", "série/été", "a.b/c..d"])
def test_any_unambiguous_key_is_accepted(key: str) -> None:
    """A key is segments joined by slashes; dots inside a segment and accents are no matter."""
    assert replace(WARRANT, key=key).key == key


@pytest.mark.parametrize(
    "key",
    ["", " ", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\\b", "a\0b", "a\nb", "k" * (KEY_CHARACTERS + 1)],
)
def test_an_ambiguous_key_is_refused(key: str) -> None:
    """A key that is absolute, climbs, is empty in part or holds what a store may read otherwise names no object."""
    with pytest.raises(InvalidWarrant) as caught:
        replace(WARRANT, key=key)
    assert caught.value.fields["field"] == "key"


@pytest.mark.parametrize("sha256", [b"", DIGEST[:-1], DIGEST + b"\0", bytes(32), DIGEST.hex(), None])
def test_a_digest_is_32_bytes_of_something(sha256: Any) -> None:
    """A digest of another length or type, or of zeros only, proves nothing."""
    with pytest.raises(InvalidWarrant) as caught:
        replace(WARRANT, sha256=sha256)
    assert caught.value.fields["field"] == "sha256"


@pytest.mark.parametrize("field", ["generation", "reason"])
@pytest.mark.parametrize("text", ["", "  ", "two\nlines", None, 7])
def test_generation_and_reason_are_words(field: str, text: Any) -> None:
    """A warrant without a version or without a reason does not exist."""
    with pytest.raises(InvalidWarrant) as caught:
        replace(WARRANT, **{field: text})
    assert caught.value.fields["field"] == field


def test_a_key_is_text() -> None:
    """A path object or bytes in place of a key are refused, not converted."""
    wrong: Any = b"20260331/0001/000042"
    with pytest.raises(InvalidWarrant, match="not text"):
        DeleteWarrant(key=wrong, sha256=DIGEST, generation="7", reason="trim")


@given(st.text(max_size=40))
def test_no_text_makes_a_climbing_key(text: str) -> None:
    """Whatever text is given, a warrant that exists holds neither empty segments nor dots alone."""
    try:
        key = DeleteWarrant(key=text, sha256=DIGEST, generation="1", reason="trim").key
    except InvalidWarrant:
        return
    assert key == text
    assert not {"", ".", ".."} & set(key.split("/"))
