"""What rebuilding the index needs of SQL; must not touch the journal, the association log or commitments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from archive.index.session import Connection, IndexRefused
from archive.index.statements import Statement

_REBUILT: Final = (
    *("retired", "successor", "pack_trim", "upload", "evidence", "thaw"),
    *("trim", "location", "pack", "instance", "series", "study", "patient", "quarantine", "landing_folder"),
)
_SAVE: Final = Statement("SAVEPOINT attempt")
_BACK: Final = Statement("ROLLBACK TO SAVEPOINT attempt")
_RELEASE: Final = Statement("RELEASE SAVEPOINT attempt")


def clear(connection: Connection) -> None:
    """Remove every row that a rebuild makes again, within the caller's transaction.

    Forget what an InstanceWriter remembers afterwards.
    """
    for table in _REBUILT:
        Statement(f"DELETE FROM {table}").run(connection)


@contextmanager
def attempt(connection: Connection) -> Iterator[None]:
    """Undo what the block did when it fails, and nothing else of the transaction; raise IndexRefused then."""
    _SAVE.run(connection)
    try:
        yield
    except Exception as exc:
        _BACK.run(connection)
        # The driver's own message may quote a value of the index: it goes no further.
        raise IndexRefused(reason=type(exc).__name__) from None
    finally:
        _RELEASE.run(connection)
