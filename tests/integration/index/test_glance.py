"""Single look-ups on connections kept for them, on both databases."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from archive.errors import IndexUnavailable
from archive.index.instances import AddOutcome, InstanceWriter, find_digest
from archive.index.session import Database, IndexRefused, driver_of
from tests.integration.index.making import new_instance


def _add(database: Database, number: int) -> str:
    instance = new_instance(number)
    with database.write(synced=False) as connection:
        assert InstanceWriter().add(connection, [instance]) == [AddOutcome.ADDED]
    return instance.header.values["SOPInstanceUID"]


def test_a_glance_sees_what_was_committed_since_the_last(database: Database) -> None:
    """A kept connection holds no old snapshot: each look-up sees the newest commit."""
    first = _add(database, 1)
    with database.glance() as connection:
        assert find_digest(connection, first) is not None
    second = _add(database, 2)
    with database.glance() as connection:
        assert find_digest(connection, second) is not None
        assert find_digest(connection, "1.2.3.4.5.6") is None


def test_a_glance_cannot_write(database: Database) -> None:
    """The kept connections only read, and one that failed is not kept."""
    with pytest.raises((IndexUnavailable, IndexRefused)), database.glance() as connection:
        driver_of(connection).execute("DELETE FROM instance")
    uid = _add(database, 3)
    with database.glance() as connection:
        assert find_digest(connection, uid) is not None


def test_glances_at_the_same_time_have_connections_of_their_own(database: Database) -> None:
    """Two look-ups side by side do not share a connection; later ones use them again."""
    with database.glance() as one, database.glance() as two:
        assert driver_of(one) is not driver_of(two)
        drivers = {id(driver_of(one)), id(driver_of(two))}
    with database.glance() as again:
        assert id(driver_of(again)) in drivers


def test_a_rush_of_glances_leaves_room_for_readers(database: Database) -> None:
    """After thirty look-ups at the same time, twenty-four readers at the same time still get a connection each."""
    with ExitStack() as rush:
        for _ in range(30):
            rush.enter_context(database.glance())
    with ExitStack() as readers:
        connections = [readers.enter_context(database.read()) for _ in range(24)]
        assert len({id(driver_of(connection)) for connection in connections}) == 24
