"""Studies whose migration failed, as the index keeps them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archive.errors import IndexUnavailable
from archive.index import set_aside
from archive.index.session import Database
from archive.index.set_aside import FOR_GOOD, SetAside
from tests.unit.services.shelf import NOON

AT = "2026-11-23T12:00:00.000000Z"


def rows(database: Database) -> list[SetAside]:
    """Return all of them."""
    with database.read() as connection:
        return set_aside.all_of(connection)


def test_each_failure_counts_and_the_last_reason_stays(database: Database) -> None:
    """The first failure makes a row, later ones count; why and when are those of the last."""
    with database.write(synced=False) as connection:
        counts = [set_aside.record_failure(connection, "1.1", f"reason {n}", NOON) for n in range(3)]
    assert counts == [1, 2, 3]
    assert rows(database) == [SetAside("1.1", 3, "reason 2", AT)]


def test_a_failure_that_was_not_committed_does_not_count(database: Database) -> None:
    """What a transaction that failed has counted is gone with it."""
    with pytest.raises(IndexUnavailable), database.write(synced=False) as connection:
        set_aside.record_failure(connection, "1.1", "reason", NOON)
        raise IndexUnavailable(reason="away")
    assert rows(database) == []


def test_what_is_left_alone_stays_past_every_limit(database: Database) -> None:
    """A study that was rolled back is not tried again, whatever the limit, nor does a failure change that."""
    with database.write(synced=False) as connection:
        set_aside.record_failure(connection, "1.1", "reason", NOON)
        set_aside.leave_alone(connection, "1.1", "rolled back", NOON)
        assert set_aside.record_failure(connection, "1.1", "again", NOON) == FOR_GOOD + 1


def test_a_cleared_study_starts_anew(database: Database) -> None:
    """Clearing forgets all failures, once; another study's stay."""
    with database.write(synced=False) as connection:
        for study in ("1.1", "1.2"):
            set_aside.record_failure(connection, study, "reason", NOON)
        assert set_aside.clear(connection, "1.1")
        assert not set_aside.clear(connection, "1.1")
        assert set_aside.record_failure(connection, "1.1", "reason", NOON) == 1
    assert {row.study_instance_uid: row.attempts for row in rows(database)} == {"1.1": 1, "1.2": 1}


def test_the_study_that_failed_longest_ago_comes_first(database: Database) -> None:
    """They are listed by the moment of the last failure, then by UID."""
    with database.write(synced=False) as connection:
        for study, minutes in (("1.3", 2), ("1.2", 1), ("1.1", 2)):
            set_aside.record_failure(connection, study, "reason", NOON + timedelta(minutes=minutes))
    assert [row.study_instance_uid for row in rows(database)] == ["1.2", "1.1", "1.3"]
