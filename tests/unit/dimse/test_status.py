"""The one table from errors to DIMSE statuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archive import errors
from archive.dimse.status import PROCESSING_FAILURE, status_of

FIELDS = {
    "reason": "why",
    "name": "x",
    "keyword": "UID",
    "value": "v",
    "floor_mib": 512,
    "limit": 10,
    "ae_title": "PACS",
    "transfer_syntax_uid": "1.2",
    "key": "k",
    "seconds": 3,
    "what": "a PDU",
    "sequence": 4,
    "limit_bytes": 5,
    "number": 6,
    "hold_id": "H-2026-0001",
    "study_instance_uid": "1.2.3",
    "now": "1970-01-01",
    "list_id": "D-2026-0001",
    "study": "1.2.3",
    "minutes": 10,
    "person": "x",
    "frame": 7,
    "frames": 6,
    "columns": 47,
    "rows": 33,
    "failed": 2,
    "package": "x.tgz",
}


def leaves(kind: type[errors.ArchiveError]) -> Iterator[type[errors.ArchiveError]]:
    """Yield every error that has no kinds of its own."""
    children = [child for child in kind.__subclasses__() if child.__module__ == "archive.errors"]
    if not children:
        yield kind
    for child in children:
        yield from leaves(child)


@pytest.mark.parametrize("kind", list(leaves(errors.ArchiveError)), ids=lambda kind: kind.__name__)
def test_every_error_has_a_failure_status_and_words(kind: type[errors.ArchiveError]) -> None:
    """No error of ours is ever answered with success, pending or warning, and each says something."""
    status, comment = status_of(kind(**FIELDS))
    assert status == PROCESSING_FAILURE or status & 0xF000 in (0xA000, 0xC000) or 0x0111 <= status <= 0x0124
    assert comment
    assert "{" not in comment


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.StorageFull(floor_mib=1), 0xA700),
        (errors.StorageFailed(reason="EIO"), 0xA700),
        (errors.IndexUnavailable(reason="down"), 0xA700),
        (errors.UnreadableDataset(reason="cut"), 0xC000),
        (errors.MissingIdentifier(keyword="StudyInstanceUID"), 0xC000),
        (errors.InvalidUid(keyword="SOPInstanceUID"), 0xC000),
        (errors.SopClassMismatch(reason="-"), 0xA900),
        (errors.ConflictingInstance(reason="-"), 0x0111),
        (errors.DestroyedInstance(list_id="D-2026-0001", reason="-"), 0x0124),
        (errors.UnknownDestination(ae_title="X"), 0xA801),
        (errors.InvalidIdentifier(reason="-"), 0xA900),
        (errors.ColdStoreDown(reason="-"), 0xA702),
        (errors.NotReadableYet(reason="-"), 0xA702),
    ],
)
def test_the_statuses_the_standard_names(error: errors.ArchiveError, status: int) -> None:
    """The table of bad input maps to the statuses of PS3.4 B.2.3 and C.4."""
    assert status_of(error)[0] == status


def test_a_comment_says_what_is_special() -> None:
    """What the status says already is left out: the reason has to fit the 64 characters of an Error Comment."""
    reason = "the unique key of the STUDY level is missing"
    assert status_of(errors.InvalidIdentifier(reason=reason)) == (0xA900, reason)
    reason = "no indexed attribute in its first bytes"
    assert status_of(errors.UnreadableDataset(reason=reason)) == (0xC000, reason)


def test_a_foreign_error_tells_the_peer_nothing() -> None:
    """A bug's message may hold anything: the peer gets a fixed sentence."""
    status, comment = status_of(ValueError("MOREAU^Hélène"))
    assert status == PROCESSING_FAILURE
    assert "MOREAU" not in comment


def test_what_is_cold_is_told_within_a_comment() -> None:
    """What to do about a cold object fits the 64 characters that a peer shows."""
    told = status_of(errors.NotReadableYet(reason="a thaw was asked for, 3-5 h"))[1]
    assert (told, len(told) <= 64) == ("In cold storage, try again later: a thaw was asked for, 3-5 h.", True)
