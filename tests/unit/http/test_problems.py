"""The one table from errors to HTTP statuses."""

from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from archive import errors
from archive.http.problems import MEDIA_TYPE, problem_of
from tests.unit.dimse.test_status import FIELDS, leaves


@pytest.mark.parametrize("kind", list(leaves(errors.ArchiveError)), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_words(kind: type[errors.ArchiveError]) -> None:
    """No error of ours is ever answered with success, and each says what it is and what to do."""
    response = problem_of(kind(**FIELDS)).response()
    told = json.loads(bytes(response.body))
    assert 400 <= response.status_code == told["status"] <= 599
    assert response.media_type == MEDIA_TYPE
    assert told["type"].startswith("urn:drimbox:problem:")
    assert told["detail"] and "{" not in told["detail"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidUid(keyword="StudyInstanceUID"), 400),
        (errors.NotAuthenticated(reason="-"), 401),
        (errors.NotAllowed(name="x", reason="-"), 403),
        (errors.InstanceNotFound(reason="-"), 404),
        (errors.StudyDestroyed(study_instance_uid="1.2", list_id="D-1"), 410),
        (errors.SyntaxNotAccepted(transfer_syntax_uid="1.2", reason="-"), 406),
        (errors.BodyTooLarge(limit_bytes=1, reason="-"), 413),
        (errors.HeadersTooLong(limit_bytes=1, reason="-"), 431),
        (errors.TooSlow(seconds=1, reason="-"), 408),
        (errors.NotReadableYet(reason="-"), 503),
        (errors.IndexUnavailable(reason="-"), 503),
        (errors.StorageFull(floor_mib=1), 507),
        (errors.FixityError(key="k", reason="-"), 500),
    ],
)
def test_the_statuses_that_clients_act_on(error: errors.ArchiveError, status: int) -> None:
    """Who must sign in, may not, asks for what is gone or has to come back is told so by the status."""
    assert problem_of(error).status == status


def test_what_may_work_later_says_when() -> None:
    """What has to thaw and what is overloaded carry Retry-After, what waits for a thaw the thaw's own time."""
    assert problem_of(errors.NotReadableYet(reason="-")).headers["Retry-After"] == "30"
    assert problem_of(errors.NotReadableYet(reason="-", retry_after_seconds=14400)).headers["Retry-After"] == "14400"
    assert problem_of(errors.TooManyRequests(reason="-")).headers["Retry-After"] == "1"
    crowded = problem_of(errors.TooManyConnections(reason="-"))
    assert (crowded.status, crowded.headers["Retry-After"]) == (503, "1")
    assert crowded.kind == "urn:drimbox:problem:too-many-connections"


def test_who_is_unknown_is_told_how_to_prove_it() -> None:
    """A 401 names the way to sign in (RFC 9110 section 11.6.1)."""
    assert problem_of(errors.NotAuthenticated(reason="-")).headers["WWW-Authenticate"].startswith("Bearer")


def test_an_error_that_is_not_ours_says_nothing_of_itself() -> None:
    """What a library quotes in its errors stays inside."""
    problem = problem_of(ValueError("DUPONT^JEANNE"))
    assert problem.status == 500
    assert "DUPONT" not in problem.detail


def test_an_error_of_the_router_keeps_its_status() -> None:
    """Wrong methods and the like are told as problems too."""
    problem = problem_of(HTTPException(405, headers={"Allow": "GET"}))
    assert (problem.status, dict(problem.headers)) == (405, {"Allow": "GET"})


def test_a_problem_takes_members_of_its_own() -> None:
    """An endpoint may add what its clients want to know (RFC 9457 section 3.2)."""
    body = bytes(problem_of(errors.BadRequest(reason="x")).response({"failed": 3}).body)
    assert json.loads(body)["failed"] == 3
