"""DIMSE status codes and the one table from our errors to them (PS3.7 annex C, PS3.4 B.2.3, C.4); must not raise.

The longest match up the class tree decides, so a new leaf has its parent's status until it is given its own.
"""

from __future__ import annotations

from typing import Final

from archive import errors

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_WARNING: Final = 0xFF01
CANCEL: Final = 0xFE00
SUBOPERATIONS_FAILED: Final = 0xB000
OUT_OF_RESOURCES: Final = 0xA700
UNABLE_TO_PERFORM: Final = 0xA702
DESTINATION_UNKNOWN: Final = 0xA801
NO_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
DUPLICATE_INSTANCE: Final = 0x0111
NO_SUCH_INSTANCE: Final = 0x0112
PROCESSING_FAILURE: Final = 0x0110
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122

_STATUS: Final[dict[type[BaseException], int]] = {
    errors.ArchiveError: PROCESSING_FAILURE,
    errors.InvalidUid: CANNOT_UNDERSTAND,
    errors.IngestError: CANNOT_UNDERSTAND,
    errors.SopClassMismatch: NO_MATCH,
    errors.SopInstanceMismatch: NO_MATCH,
    errors.ConflictingInstance: DUPLICATE_INSTANCE,
    errors.DestroyedInstance: NOT_AUTHORIZED,
    errors.Unavailable: OUT_OF_RESOURCES,
    errors.QueryError: CANNOT_UNDERSTAND,
    errors.InvalidIdentifier: NO_MATCH,
    errors.TooManyMatches: OUT_OF_RESOURCES,
    errors.UnknownDestination: DESTINATION_UNKNOWN,
    errors.DestinationUnreachable: UNABLE_TO_PERFORM,
    errors.InstanceNotFound: NO_SUCH_INSTANCE,
    errors.ColdStoreDown: UNABLE_TO_PERFORM,
    errors.NotReadableYet: UNABLE_TO_PERFORM,
    errors.SyntaxNotAccepted: SOP_CLASS_NOT_SUPPORTED,
}

_REASON_SAYS_IT_ALL: Final = (errors.InvalidIdentifier, errors.UnreadableDataset)
"""Errors whose general part the status says already: a comment has 64 characters, which the special part needs."""


def status_of(error: Exception) -> tuple[int, str]:
    """Return the status and the Error Comment of an error; one that is not ours tells the peer nothing of itself."""
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind], _comment(error)
    return PROCESSING_FAILURE, "internal error; the archive's log has the details"


def _comment(error: Exception) -> str:
    if isinstance(error, _REASON_SAYS_IT_ALL):
        return str(error.fields["reason"])
    return getattr(error, "message", "")
