"""Arrivals and notices as both databases keep them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from archive.errors import IndexUnavailable
from archive.index import arrivals, notices, probes
from archive.index.arrivals import HourCount
from archive.index.figures import retention_figures
from archive.index.marks import VERIFIED_HOT, put as put_mark
from archive.index.probes import Probed
from archive.index.records import NewInstance
from archive.index.session import Database
from archive.part10.attributes import InstanceHeader
from tests.integration.index.making import change, new_instance
from tests.unit.services.shelf import NOON


def arrived(modality: str = "CT", *, minutes: int = 0, site: str = "CHU", size: int = 10) -> NewInstance:
    """Return an instance that came so many minutes after noon."""
    made = new_instance()
    header = InstanceHeader({**made.header.values, "Modality": modality}, made.header.flags)
    at = NOON + timedelta(minutes=minutes)
    return replace(made, header=header, site=site, received_at=at, dataset_size=size)


def counted(database: Database) -> list[HourCount]:
    """Return all that was counted that day."""
    with database.read() as connection:
        return arrivals.between(connection, NOON - timedelta(hours=12), NOON + timedelta(hours=12))


def test_instances_add_up_by_hour_site_and_modality(database: Database) -> None:
    """One row for each, in one batch and over several."""
    for batch in ([arrived(), arrived(minutes=59), arrived("MR", site="Parc")], [arrived(), arrived(minutes=60)]):
        with database.write(synced=False) as connection:
            arrivals.add(connection, arrivals.counted(batch))
    assert counted(database) == [
        HourCount("2026-11-23T12", "CHU", "CT", 3, 30),
        HourCount("2026-11-23T12", "Parc", "MR", 1, 10),
        HourCount("2026-11-23T13", "CHU", "CT", 1, 10),
    ]


def test_a_batch_that_was_not_committed_is_not_counted(database: Database) -> None:
    """Counts and objects are there together or not at all."""
    with pytest.raises(IndexUnavailable), database.write(synced=False) as connection:
        arrivals.add(connection, arrivals.counted([arrived()]))
        raise IndexUnavailable(reason="away")
    assert counted(database) == []


@pytest.mark.parametrize("modality", ["", "ct", "CT\\MR", "X" * 17, "C\u0301T"])
def test_what_is_no_modality_counts_as_unknown(database: Database, modality: str) -> None:
    """Peers put anything there: it must not make columns of figures."""
    with database.write(synced=False) as connection:
        arrivals.add(connection, arrivals.counted([arrived(modality)]))
    assert [row.modality for row in counted(database)] == [arrivals.UNKNOWN]


def test_a_warning_given_is_known_by_channel_until_it_is_forgotten(database: Database) -> None:
    """Another grade, another channel is another warning; told twice it is noted once."""
    with database.write(synced=False) as connection:
        for channel in ("mail", "mail", "journal"):
            notices.mark(connection, "certificate x", "15", channel, NOON)
        assert notices.channels(connection, "certificate x", "15") == {"mail", "journal"}
        assert notices.channels(connection, "certificate x", "expired") == set()
        notices.forget_before(connection, NOON)
        assert notices.channels(connection, "certificate x", "15") == {"mail", "journal"}
        notices.forget(connection, "certificate x")
        assert notices.channels(connection, "certificate x", "15") == set()


def test_retention_is_counted_for_who_watches(database: Database) -> None:
    """Due and held by site, holds in force and overdue, what is set aside and thawing, on both databases."""
    columns = (
        "study_instance_uid, site, eligible_on, blocked_by, reassess_on, assumptions, reading, schedule_version, "
        "assessed_at, error, is_stale, instances, size_bytes"
    )
    studies = [
        ("1.1", "CHU", "2026-11-23", "", None, 0),
        ("1.2", "CHU", "2026-11-24", "", None, 0),
        ("1.3", "CHU", "2020-01-01", "appeal hold:H-2026-0001", None, 0),
        ("1.4", "Parc", "2020-01-01", "", None, 1),
        ("1.5", "Parc", None, "", "unreadable", 0),
        ("1.6", "Parc", "2020-01-01", "", None, 0),
    ]
    for uid, site, eligible, blocked, error, stale in studies:
        values = (uid, site, eligible, blocked, "2027-01-01", "", "prudent", "1", "now", error, stale, 1, 1)
        places = ", ".join("?" * len(values))
        change(database, f"INSERT INTO assessment ({columns}) VALUES ({places})", values)
    for number, review, lifted in ((1, "2026-11-23", None), (2, "2027-01-01", None), (3, "2020-01-01", "now")):
        row = (f"H-2026-000{number}", "why", "court", "ref", "now", "olga", review, lifted)
        sql = "INSERT INTO hold (hold_id, reason, authority, reference, placed_at, placed_by, review_on, lifted_at) "
        change(database, sql + "VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    for uid, attempts in (("1.1", 3), ("1.2", 2)):
        change(database, "INSERT INTO set_aside VALUES (?, ?, 'why', 'now')", (uid, attempts))
    change(database, "INSERT INTO thaw VALUES ('k', '1.1', 'now', 'olga')")
    with database.write(synced=False) as connection:
        put_mark(connection, VERIFIED_HOT, NOON)
        put_mark(connection, VERIFIED_HOT, NOON + timedelta(days=1))
    with database.read() as connection:
        found = retention_figures(connection, "2026-11-23", 3)
    assert (dict(found.due), dict(found.held)) == ({"CHU": 1, "Parc": 1}, {"CHU": 1})
    assert (found.holds, found.holds_overdue, dict(found.listed)) == (2, 1, {})
    assert (found.facts_set_aside, found.migration_set_aside, found.thaws) == (1, 1, 1)
    assert dict(found.marks) == {VERIFIED_HOT: NOON + timedelta(days=1)}


def test_probes_are_kept_and_forgotten(database: Database) -> None:
    """Oldest first, from a moment on."""
    found = [Probed(NOON + timedelta(hours=hour), "hot", "CHU", 3, 900, 12, 34, "") for hour in range(3)]
    with database.write(synced=False) as connection:
        for each in found:
            probes.add(connection, each)
    with database.read() as connection:
        assert probes.since(connection, NOON + timedelta(hours=1)) == found[1:]
        assert probes.pick(connection, "hot", "CHU", [0.5]) is None
    with database.write(synced=False) as connection:
        probes.forget_before(connection, NOON + timedelta(hours=2))
        assert probes.since(connection, NOON) == found[2:]
