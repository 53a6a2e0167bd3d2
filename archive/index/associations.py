"""The log of associations that ended, for the operator; must not hold what was asked or answered."""

from __future__ import annotations

from typing import Final

from archive.index.records import AssociationSummary, from_text, to_text
from archive.index.session import Connection
from archive.index.statements import Row, Statement, insert_into

_COLUMNS: Final = (
    "calling_ae_title",
    "called_ae_title",
    "peer_address",
    "started_at",
    "ended_at",
    "outcome",
    "stored",
    "retrieved",
    "found",
    "refused",
    "bytes_in",
    "bytes_out",
)
_ADD: Final = insert_into("association_log", _COLUMNS)
_LATEST: Final = Statement(
    f"SELECT {', '.join(_COLUMNS)} FROM association_log ORDER BY started_at DESC, id DESC LIMIT ?"
)


def add(connection: Connection, summary: AssociationSummary) -> None:
    """Log an association that ended."""
    moments = {"started_at": to_text(summary.started_at), "ended_at": to_text(summary.ended_at)}
    _ADD.run(connection, [moments.get(name) or getattr(summary, name) for name in _COLUMNS])


def latest(connection: Connection, *, limit: int) -> list[AssociationSummary]:
    """Return the ``limit`` associations that started last, latest first."""
    return [_summary(row) for row in _LATEST.rows(connection, (limit,))]


def _summary(row: Row) -> AssociationSummary:
    calling, called, address, started_at, ended_at, *rest = row
    return AssociationSummary(calling, called, address, from_text(started_at), from_text(ended_at), *rest)
