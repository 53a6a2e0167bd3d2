"""Why a study has to stay immediate and lossless today, whoever asks to move it; must not move anything.

Asked when a study is prepared, once more in the transaction that switches it, and again before its lossless copy goes.
"""

from __future__ import annotations

from datetime import datetime

from archive.index import assessments, disposal
from archive.index.holds import blocking_holds
from archive.index.session import Connection
from archive.services.clock_trust import check_clock
from tiering.policy import Held, is_hold_or_appeal


def keeps_hot(connection: Connection, study_instance_uid: str, now: datetime, *, held: Held = "stay") -> str:
    """Return why the study stays, "" when nothing keeps it.

    Whoever is not sure keeps it: an assessment that is missing, stale or failed. Age counts from the day of the
    exam: ``lossless_until`` of the assessment, the first day after the immediate access the law asks for. With
    ``held`` "cold_lossless" a hold or an appeal does not keep it: ask ``keeps_lossless`` before anything is lossy.
    Raises ClockNotTrusted: a clock that jumped ahead makes everything old.
    """
    check_clock(connection, now)
    on_hold = _hold(connection, study_instance_uid)
    if on_hold and held == "stay":
        return on_hold
    today = now.date().isoformat()
    row = assessments.by_uid(connection, [study_instance_uid]).get(study_instance_uid)
    if row is None or row.is_stale or (row.error is None and row.reassess_on is not None and row.reassess_on <= today):
        return "its retention was not assessed since something became known: drimbox retention sweep"
    if row.error is not None:
        return f"its retention could not be assessed: {row.error}"
    blocked = [word for word in row.blocked_by.split() if held == "stay" or not is_hold_or_appeal(word)]
    if blocked:
        return f"it is kept for {' '.join(blocked)}"
    if row.lossless_until is None or row.lossless_until > today:
        return f"it is immediate and lossless until {row.lossless_until or 'a day that is not known'}"
    return ""


def keeps_lossless(connection: Connection, study_instance_uid: str) -> str:
    """Return why nothing of the study may be made lossy today, "" when no hold and no appeal forbids it."""
    on_hold = _hold(connection, study_instance_uid)
    row = assessments.by_uid(connection, [study_instance_uid]).get(study_instance_uid)
    blocked = "its retention is not known" if row is None or row.is_stale else row.blocked_by
    return on_hold or (f"it is kept for {blocked}" if blocked else "")


def keeps_for_destruction(connection: Connection, study_instance_uid: str) -> str:
    """Return which approved list will have the study destroyed, "" when none: moving it first would be for nothing."""
    list_id = disposal.awaited(connection, [study_instance_uid]).get(study_instance_uid)
    return f"it waits for its destruction on the approved list {list_id}" if list_id else ""


def _hold(connection: Connection, study_instance_uid: str) -> str:
    """Say which holds there are at this moment: those of an assessment are those of its day."""
    found = blocking_holds(connection, [study_instance_uid]).get(study_instance_uid)
    return f"it is on hold ({', '.join(found)})" if found else ""
