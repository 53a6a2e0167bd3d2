"""What waits for a browser, and how often somebody may fail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archive.errors import SignInError, TooManyAttempts
from archive.services.pending import Attempts, Pending, digest_of, new_token
from tests.unit.services.shelf import Clock


def test_a_value_is_given_out_once() -> None:
    """The second time, and for any other token, there is nothing."""
    pending: Pending[str] = Pending(Clock())
    token = pending.put("mine")
    assert pending.take("another") is None
    assert pending.take(token) == "mine"
    assert pending.take(token) is None


def test_a_value_is_kept_for_a_while() -> None:
    """Whoever comes back too late begins anew."""
    clock = Clock()
    pending: Pending[str] = Pending(clock, timedelta(minutes=5))
    early, late = pending.put("early"), pending.put("late")
    clock.advance(minutes=5, seconds=-1)
    assert pending.take(early) == "early"
    clock.advance(seconds=1)
    assert pending.take(late) is None


def test_the_oldest_go_when_there_are_too_many() -> None:
    """Whoever begins over and over fills no memory."""
    pending: Pending[int] = Pending(Clock())
    tokens = [pending.put(number) for number in range(10_001)]
    assert pending.take(tokens[0]) is None
    assert pending.take(tokens[-1]) == 10_000


def test_tokens_are_long_random_and_kept_as_digests() -> None:
    """Two are never alike, and what is kept does not tell them."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) >= 43 for token in tokens)
    assert digest_of("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert len(digest_of("\ud800")) == 64


def test_failures_from_one_address_are_bounded() -> None:
    """Others go on; the address is heard again when the failures are past."""
    clock = Clock()
    attempts = Attempts(clock, most=3, window=timedelta(minutes=10))
    for _ in range(3):
        attempts.check("10.0.0.1")
        attempts.note_failure("10.0.0.1")
        clock.advance(minutes=1)
    with pytest.raises(TooManyAttempts, match="10 minutes") as caught:
        attempts.check("10.0.0.1")
    assert isinstance(caught.value, SignInError)
    attempts.check("10.0.0.2")
    clock.advance(minutes=7)
    attempts.check("10.0.0.1")
