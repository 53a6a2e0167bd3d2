"""The state of a TLS certificate on a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from archive.services.certificate_watch import notice_of
from archive.services.tls_certificates import Certificate, Place, Seen, State, Watched, judge, worst

END = datetime(2027, 3, 1, 12, tzinfo=UTC)
CERTIFICATE = Certificate("server", "CN=pacs", "CN=ca", END - timedelta(days=365), END, "ab" * 32)
PLACE = Place("DICOM TLS", Path("/etc/tls.pem"))


def judged(now: datetime, *warn_days: int) -> Watched:
    """Judge the certificate at a moment."""
    return judge(Seen(PLACE, CERTIFICATE, "complete"), now, warn_days or (60, 15))


@pytest.mark.parametrize(
    ("before_end", "state", "within", "days"),
    [
        (timedelta(days=61), State.VALID, None, 61),
        (timedelta(days=60, seconds=1), State.VALID, None, 60),
        (timedelta(days=60), State.WARNING, 60, 60),
        (timedelta(days=15, seconds=1), State.WARNING, 60, 15),
        (timedelta(days=15), State.WARNING, 15, 15),
        (timedelta(seconds=1), State.WARNING, 15, 0),
        (timedelta(0), State.WARNING, 15, 0),
        (timedelta(seconds=-1), State.EXPIRED, None, -1),
        (timedelta(days=365, seconds=1), State.NOT_YET_VALID, None, 365),
    ],
)
def test_the_state_follows_from_the_moment(before_end: timedelta, state: State, within: int | None, days: int) -> None:
    """Each limit belongs to the warning, the last second to the certificate."""
    found = judged(END - before_end)
    assert (found.state, found.within_days, found.days_left) == (state, within, days)


def test_what_cannot_be_read_has_a_state_too() -> None:
    """It is told by its place, and why."""
    found = judge(Seen(PLACE, problem="No such file or directory"), END, (60,))
    assert (found.state, found.grade, found.known_as) == (State.UNREADABLE, "unreadable", "place /etc/tls.pem")
    told = notice_of([found]).texts["en"]
    assert "cannot be read" in told.title
    assert told.lines == ("DICOM TLS: /etc/tls.pem (No such file or directory)",)


def test_a_certificate_in_two_places_is_one_warning() -> None:
    """Both uses are named."""
    found = judged(END - timedelta(days=3))
    notice = notice_of([found, replace(found, use="HL7", place="/etc/hl7.pem")])
    assert (notice.subject, notice.grade) == (f"certificate {'ab' * 32}", "15")
    assert notice.texts["en"].title == "TLS certificate (DICOM TLS, HL7) expires in 3 days"
    assert notice.texts["fr"].title == "Le certificat TLS (DICOM TLS, HL7) expire dans 3 jours"
    assert "Until: 2027-03-01 12:00 UTC" in notice.texts["en"].lines
    assert notice.fields["uses"] == "DICOM TLS, HL7"


def test_an_endpoint_is_named_as_a_url_would() -> None:
    """An IPv6 address stands in brackets."""
    assert [Place("x", endpoint=(host, 443)).name for host in ("a.example", "::1")] == ["a.example:443", "[::1]:443"]


def test_the_worst_comes_first() -> None:
    """Expired before unreadable before a warning; nothing at all is fine."""
    some = [judged(END - timedelta(days=days)) for days in (100, 3, -1)]
    assert (worst(some), worst(some[:2]), worst(some[:1]), worst([])) == (
        *(State.EXPIRED, State.WARNING, State.VALID, State.VALID),
    )


@given(st.integers(-400, 400), st.integers(0, 400), st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_time_only_makes_it_more_urgent(days: int, later: int, warn_days: list[int]) -> None:
    """A warning that was given is never followed by a milder one."""
    first, second = (judged(END - timedelta(days=when), *warn_days) for when in (days, days - later))
    if first.state is State.WARNING:
        assert second.state in (State.WARNING, State.EXPIRED)
        assert second.within_days is None or (first.within_days or 0) >= second.within_days
