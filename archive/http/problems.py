"""The one table from errors to HTTP statuses, and problem details (RFC 9457); must not raise.

The longest match up the class tree decides, so a new leaf has its parent's status until it is given its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from archive import errors

MEDIA_TYPE: Final = "application/problem+json"
_WORD_START: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_RETRY_SECONDS: Final = 30
_SOON_SECONDS: Final = 1

_STATUS: Final[dict[type[BaseException], int]] = {
    errors.ArchiveError: 500,
    errors.ConfigError: 500,
    errors.InvalidUid: 400,
    errors.InvalidAETitle: 400,
    errors.IngestError: 422,
    errors.ConflictingInstance: 409,
    errors.DestroyedInstance: 410,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    errors.QueryError: 400,
    errors.TooManyMatches: 413,
    errors.RetrieveError: 500,
    errors.UnknownDestination: 404,
    errors.DestinationUnreachable: 502,
    errors.InstanceNotFound: 404,
    errors.SyntaxNotAccepted: 406,
    errors.ColdStoreDown: 503,
    errors.NotReadableYet: 503,
    errors.NotAnImage: 406,
    errors.NoSuchFrame: 404,
    errors.NoSuchRegion: 400,
    errors.MessageRefused: 422,
    errors.MessageNotFound: 404,
    errors.RebuildRefused: 409,
    errors.AccountRefused: 422,
    errors.NotAllowed: 403,
    errors.SignInError: 403,
    errors.TooManyAttempts: 429,
    errors.TokenRefused: 401,
    errors.ProviderFailed: 503,
    errors.FactError: 422,
    errors.NoSuchFact: 404,
    errors.HoldError: 422,
    errors.NothingToHold: 404,
    errors.NoSuchHold: 404,
    errors.ClockNotTrusted: 503,
    errors.NoSuchStudy: 404,
    errors.StudyDestroyed: 410,
    errors.SweepRefused: 409,
    errors.DisposalError: 409,
    errors.NoSuchList: 404,
    errors.MigrationError: 409,
    errors.ColdCopyDiffers: 503,
    errors.ViewerRefused: 422,
    errors.RequestError: 400,
    errors.FormTooOld: 403,
    errors.NotAuthenticated: 401,
    errors.NoSuchResource: 404,
    errors.MethodNotOffered: 405,
    errors.NotAcceptable: 406,
    errors.UnsupportedMedia: 415,
    errors.BodyTooLarge: 413,
    errors.HeadersTooLong: 431,
    errors.TooSlow: 408,
    errors.TooManyRequests: 503,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a requester is told of an error: ``kind`` is the error's name as a URN, ``headers`` what goes with it."""

    status: int
    kind: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, extra: Mapping[str, Any] | None = None) -> Response:
        """Return the answer, ``application/problem+json``, with members of its own (RFC 9457 section 3.2)."""
        told = {"type": self.kind, "title": HTTPStatus(self.status).phrase, "status": self.status}
        body = json.dumps({**told, "detail": self.detail, **(extra or {})}, ensure_ascii=False)
        return Response(body.encode(), self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


def problem_of(error: BaseException) -> Problem:
    """Return status and words of an error; one that is not ours tells the requester nothing of itself."""
    if isinstance(error, HTTPException):
        return Problem(error.status_code, "about:blank", str(error.detail), dict(error.headers or {}))
    for kind in type(error).__mro__:
        if kind in _STATUS:
            status = _STATUS[kind]
            return Problem(status, _urn(type(error)), getattr(error, "message", ""), _headers(error, status))
    return Problem(500, "about:blank", "internal error; the archive's log has the details")


def _urn(kind: type[BaseException]) -> str:
    return f"urn:drimbox:problem:{_WORD_START.sub('-', kind.__name__).lower()}"


def _headers(error: BaseException, status: int) -> dict[str, str]:
    """Return what the standard wants beside a status: how to prove oneself, when to come back (RFC 9110)."""
    if isinstance(error, errors.TokenRefused):
        return {"WWW-Authenticate": 'Bearer realm="drimbox", error="invalid_token"'}
    if isinstance(error, errors.TooManyAttempts):
        return {"Retry-After": str(error.fields["minutes"] * 60)}
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="drimbox"'}
    if status in (503, 507):
        given = getattr(error, "fields", {}).get("retry_after_seconds")
        waits = _SOON_SECONDS if isinstance(error, errors.TooManyRequests) else _RETRY_SECONDS
        return {"Retry-After": str(given or waits)}
    return {}
