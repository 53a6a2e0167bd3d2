"""Why objects lie in quarantine: the messages that were kept, told as kinds of errors."""

from __future__ import annotations

import pytest

from archive import errors
from archive.console.machinery import REFUSALS, refusal_of
from archive.errors import ArchiveError, IngestError
from archive.services.quarantine import reason_of


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.ConflictingInstance(), ("ConflictingInstance", "")),
        (errors.MissingIdentifier(keyword="SOPClassUID"), ("MissingIdentifier", "SOPClassUID")),
        (errors.UnreadableDataset(reason="it ends: (here)."), ("UnreadableDataset", "it ends: (here).")),
        (errors.DestroyedInstance(list_id="D-2026-0001"), ("DestroyedInstance", "D-2026-0001")),
        (errors.InvalidUid(keyword="SOPInstanceUID"), ("InvalidUid", "SOPInstanceUID")),
    ],
)
def test_a_kept_reason_is_told_as_its_kind_and_what_is_particular(error: ArchiveError, told: tuple[str, str]) -> None:
    """The message is taken apart where the error put its own words in."""
    assert refusal_of(reason_of(error)) == told


@pytest.mark.parametrize("reason", ["", "KeyError", "of a later version {x}", "Stored already with other bytes"])
def test_a_reason_of_no_known_kind_is_shown_as_it_was_kept(reason: str) -> None:
    """Nothing is guessed of a message that is another one."""
    assert refusal_of(reason) == ("", reason)


def test_every_way_an_object_is_not_taken_in_has_a_kind() -> None:
    """A new error of taking in objects has to be told here too; a transfer that was lost leaves nothing to keep."""
    assert set(IngestError.__subclasses__()) - {errors.TransferLost} <= set(REFUSALS)
