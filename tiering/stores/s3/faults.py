"""Gives what botocore raises the name it has in the contract, the one place where that is done; must not retry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

from tiering.errors import (
    ChecksumMismatch,
    KeyTaken,
    NotThawed,
    ObjectNotFound,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)

_OF_THE_OBJECT: Final[dict[str, type[StoreError]]] = {
    "404": ObjectNotFound,
    "NoSuchKey": ObjectNotFound,
    "NoSuchVersion": ObjectNotFound,
    "412": KeyTaken,
    "PreconditionFailed": KeyTaken,
    "InvalidObjectState": NotThawed,
}
_FULL: Final = frozenset({"QuotaExceeded", "InsufficientCapacity", "507"})
_PASSING: Final = frozenset(
    {
        "BadDigest",  # what arrived was not what we had checked and sent
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InvalidPart",
        "NoSuchUpload",  # somebody ended the upload: the whole put is to be repeated
        "OperationAborted",
        "RequestTimeout",
        "RestoreAlreadyInProgress",
        "SlowDown",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
_PASSING_CALLS: Final = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError)


@contextmanager
def told(key: str) -> Iterator[None]:
    """Translate what a call about an object raises."""
    try:
        yield
    except ClientError as exc:
        raise of_answer(key, exc.response) from exc
    except BotoCoreError as exc:
        kind = StoreUnavailable if isinstance(exc, _PASSING_CALLS) else StoreRefused
        raise kind(reason=type(exc).__name__) from exc


def of_answer(key: str, response: dict[str, Any]) -> StoreError:
    """Return the error that an answer of the endpoint stands for."""
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _OF_THE_OBJECT:
        return _OF_THE_OBJECT[code](key=key)
    if code == "InvalidRange":
        return ChecksumMismatch(key=key, reason="it ends before the range begins")
    reason = f"{code or 'no code'} ({status})"
    if code in _FULL or status == 507:
        return StoreFull(reason=reason)
    is_passing = code in _PASSING or status == 429 or (status >= 500 and status != 501)
    return StoreUnavailable(reason=reason) if is_passing else StoreRefused(reason=reason)
