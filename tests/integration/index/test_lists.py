"""Quarantine, association log, commitments, totals: the operator's tables."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta

import pytest

from archive.index import associations, commitments, folders, quarantine
from archive.index.instances import set_location_state
from archive.index.records import AssociationSummary, Commitment, NewQuarantined, Totals
from archive.index.session import Database
from archive.index.totals import totals
from tests.integration.index.making import NOW, add, change, digest, new_instance, sop_uid, value
from tests.integration.index.test_retrieving import copy_to_cold

KEPT = NewQuarantined(
    key="20261123/063529-0a",
    reason="The data set cannot be read.",
    sop_instance_uid="2.25.1",
    calling_ae_title="CTSCAN",
    peer_address="192.0.2.7",
    size_bytes=1234,
    sha256=digest("kept"),
    received_at=NOW,
)
SUMMARY = AssociationSummary(
    calling_ae_title="CTSCAN",
    called_ae_title="DRIMBOX",
    peer_address="192.0.2.7",
    started_at=NOW,
    ended_at=NOW + timedelta(seconds=3),
    outcome="released",
    stored=600,
    retrieved=1,
    found=2,
    refused=3,
    bytes_in=2**40,
    bytes_out=5,
)


# ---- quarantine -----------------------------------------------------------------------------------------------------


def keep(database: Database, *kept: NewQuarantined) -> None:
    """Index objects kept aside."""
    with database.write(synced=False) as connection:
        for one in kept:
            quarantine.add(connection, one)


def waiting(database: Database) -> list[str]:
    """Return the keys of what waits in quarantine."""
    with database.read() as connection:
        return [kept.key for kept in quarantine.iter_open(connection)]


def test_what_is_kept_aside_comes_back_unchanged(database: Database) -> None:
    """Every field, and that it is not resolved."""
    keep(database, KEPT)
    with database.read() as connection:
        (found,) = quarantine.iter_open(connection)
        assert quarantine.find(connection, KEPT.key) == found
    assert asdict(found) == {**asdict(KEPT), "resolved_at": None}


def test_quarantine_is_read_oldest_first(database: Database) -> None:
    """The operator sees first what waits longest."""
    keep(database, *(replace(KEPT, key=f"k{n}", received_at=NOW - timedelta(hours=n)) for n in (1, 3, 2)))
    assert waiting(database) == ["k3", "k2", "k1"]


def test_a_resolved_object_waits_no_more(database: Database) -> None:
    """It stays findable by its key, with the moment; resolving twice changes nothing."""
    keep(database, KEPT, replace(KEPT, key="other"))
    with database.write(synced=False) as connection:
        assert quarantine.resolve(connection, KEPT.key, NOW + timedelta(days=1))
        assert not quarantine.resolve(connection, KEPT.key, NOW + timedelta(days=2))
        assert not quarantine.resolve(connection, "unknown", NOW)
    assert waiting(database) == ["other"]
    with database.read() as connection:
        found = quarantine.find(connection, KEPT.key)
    assert found is not None
    assert found.resolved_at == NOW + timedelta(days=1)


def test_the_same_object_is_kept_once(database: Database) -> None:
    """Start-up finds objects in the folder that are indexed already: the first row stays."""
    keep(database, KEPT, replace(KEPT, reason="another"))
    with database.read() as connection:
        found = quarantine.find(connection, KEPT.key)
        assert quarantine.find(connection, "unknown") is None
    assert found is not None
    assert found.reason == KEPT.reason


def test_copies_are_the_same_bytes_from_the_same_peer_for_the_same_reason(database: Database) -> None:
    """Whatever differs makes another object; one the operator has dealt with is a copy of nothing."""
    others = (
        replace(KEPT, key="uid", sop_instance_uid="2.25.2"),
        replace(KEPT, key="bytes", sha256=digest("other")),
        replace(KEPT, key="peer", calling_ae_title="MR1"),
        replace(KEPT, key="reason", reason="other"),
        replace(KEPT, key="resolved"),
    )
    keep(database, KEPT, replace(KEPT, key="again"), *others)
    with database.write(synced=False) as connection:
        assert quarantine.resolve(connection, "resolved", NOW)
    with database.read() as connection:
        assert sorted(quarantine.find_copies(connection, replace(KEPT, key="new"))) == [KEPT.key, "again"]


# ---- associations ---------------------------------------------------------------------------------------------------


def test_an_association_comes_back_unchanged(database: Database) -> None:
    """Every field, with more bytes than 32 bits count."""
    with database.write(synced=False) as connection:
        associations.add(connection, SUMMARY)
    with database.read() as connection:
        assert associations.latest(connection, limit=10) == [SUMMARY]


def test_the_latest_associations_come_first(database: Database) -> None:
    """By start, not by end; those of one moment latest row first; no more than asked for."""
    with database.write(synced=False) as connection:
        for minutes, name in ((1, "B"), (3, "D"), (0, "A"), (3, "E"), (2, "C")):
            started = NOW + timedelta(minutes=minutes)
            associations.add(connection, replace(SUMMARY, calling_ae_title=name, started_at=started))
    with database.read() as connection:
        assert [summary.calling_ae_title for summary in associations.latest(connection, limit=4)] == [
            "E",
            "D",
            "C",
            "B",
        ]
        assert associations.latest(connection, limit=0) == []


# ---- commitments ----------------------------------------------------------------------------------------------------


def request(database: Database, name: str = "2.25.7", minutes: int = 0) -> int:
    """Keep a request."""
    with database.write(synced=False) as connection:
        at = NOW + timedelta(minutes=minutes)
        return commitments.add(connection, transaction_uid=name, ae_title="CTSCAN", requested_at=at, body='{"é":1}')


def due(database: Database, minutes: int, limit: int = 10) -> list[str]:
    """Return the transactions due at a moment."""
    with database.read() as connection:
        now = NOW + timedelta(minutes=minutes)
        return [row.transaction_uid for row in commitments.due(connection, now=now, limit=limit)]


def test_a_request_is_due_at_once(database: Database) -> None:
    """It comes back as it was kept, never attempted."""
    number = request(database)
    expected = Commitment(number, "2.25.7", "CTSCAN", NOW, '{"é":1}', 0, NOW, None)
    with database.read() as connection:
        assert commitments.due(connection, now=NOW, limit=10) == [expected]
        assert commitments.find(connection, number) == expected
        assert commitments.find(connection, number + 1) is None
    assert due(database, -1) == []


def test_what_waits_longest_is_due_first(database: Database) -> None:
    """In order of the next attempt, and no more than asked for."""
    for minutes in (2, 0, 1, 9):
        request(database, f"2.25.{minutes}", minutes)
    assert due(database, 5) == ["2.25.0", "2.25.1", "2.25.2"]
    assert due(database, 5, limit=2) == ["2.25.0", "2.25.1"]


def test_a_postponed_request_is_due_later_and_counted(database: Database) -> None:
    """Each failed attempt counts; the next comes when said."""
    number = request(database)
    for attempt in (1, 2):
        with database.write(synced=False) as connection:
            commitments.postpone(connection, number, next_attempt_at=NOW + timedelta(minutes=10 * attempt))
    assert (due(database, 19), due(database, 20)) == ([], ["2.25.7"])
    with database.read() as connection:
        found = commitments.find(connection, number)
    assert found is not None
    assert (found.attempts, found.reported_at) == (2, None)


def test_a_reported_request_is_never_due_again(database: Database) -> None:
    """It stays on record with the moment of its report; later calls change nothing."""
    number, other = request(database), request(database, "2.25.8")
    with database.write(synced=False) as connection:
        commitments.reported(connection, number, at=NOW + timedelta(minutes=1))
        commitments.postpone(connection, number, next_attempt_at=NOW)
        commitments.reported(connection, number, at=NOW + timedelta(minutes=5))
    assert other != number
    assert due(database, 999) == ["2.25.8"]
    with database.read() as connection:
        found = commitments.find(connection, number)
    assert found is not None
    assert (found.attempts, found.reported_at) == (1, NOW + timedelta(minutes=1))


# ---- totals ---------------------------------------------------------------------------------------------------------


def report(database: Database) -> Totals:
    """Return the totals."""
    with database.read() as connection:
        return totals(connection)


def test_an_empty_archive_holds_nothing(database: Database) -> None:
    """Zeros, not NULLs."""
    assert report(database) == Totals(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {})


def test_totals_count_what_is_there(database: Database) -> None:
    """Each level, bytes by tier, what is not as it should be, what waits."""
    items = [
        new_instance(n, series, study, site="CHU" if study < 3 else "IRM")
        for study in (1, 2, 3)
        for series in (1, 2)
        for n in (1, 2)
    ]
    add(database, *items)
    copy_to_cold(database, sop_uid(), "pack/1", state="damaged")
    keep(database, KEPT, replace(KEPT, key="resolved"))
    request(database)
    with database.write(synced=False) as connection:
        quarantine.resolve(connection, "resolved", NOW)
        set_location_state(connection, items[0].location.key, "missing")
        folders.open_folder(connection, "20261123/1", NOW)
        folders.open_folder(connection, "20261123/2", NOW)
        folders.seal_folder(connection, "20261123/2", NOW)
    assert report(database) == Totals(
        patients=3,
        studies=3,
        series=6,
        instances=12,
        hot_bytes=12 * 1700,
        cold_bytes=20,
        copies_not_present=2,
        quarantined=1,
        unsealed_folders=1,
        commitments_waiting=1,
        studies_by_site={"CHU": 2, "IRM": 1},
    )


def test_totals_are_whole_numbers_however_large(database: Database) -> None:
    """A petabyte is counted exactly."""
    add(database, new_instance(1), new_instance(2))
    change(database, "UPDATE location SET size_bytes = ?", (10**15 + 1,))
    assert report(database).hot_bytes == 2 * 10**15 + 2
    assert type(report(database).hot_bytes) is int


@pytest.mark.parametrize("table", ["location", "instance"])
def test_totals_read_indexes_not_tables(database: Database, table: str) -> None:
    """The status of a large archive does not read a million wide rows."""
    from archive.index import totals as module

    if database.dialect == "sqlite":
        with database.read() as connection:
            for statement in (module._COUNTS, module._COPIES):
                plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement.sql).fetchall()
                steps = [row[3] for row in plan if f"SCAN {table}" in row[3]]
                assert all("USING COVERING INDEX" in step for step in steps)
    assert value(database, f"SELECT COUNT(*) FROM {table}") == 0
