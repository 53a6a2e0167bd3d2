"""What the console reads of the index, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import date, timedelta

import pytest

from archive.audit import Entry
from archive.clock import Clock
from archive.index import (
    assessments,
    cold,
    death_candidates,
    disposal_views,
    due_totals,
    journal_search,
    quarantine as quarantine_table,
    study_details,
)
from archive.index.assessments import AssessmentRow
from archive.index.journal_search import Filter, Stretch
from archive.index.records import to_text
from archive.index.session import Database
from archive.services.as_of import Amount, AsOf
from archive.services.audit_search import PAGE, AuditDesk, AuditWanted
from archive.services.people import Person
from archive.services.study_view import reference_of
from tests.integration.index.making import NOW, add, change, new_instance
from tests.integration.index.test_journal import append

SITES = ("CHU", "Nord")
GASTON = Person("gaston", "Gaston", frozenset({"auditor"}))


def still() -> Clock:
    """Return a clock that stands still."""
    return lambda: NOW


def assessed(number: int, **values: object) -> AssessmentRow:
    """Return a stored assessment of a study."""
    given: dict[str, object] = {
        "study_instance_uid": f"2.25.{number}",
        "site": "CHU",
        "exam_on": "2000-01-01",
        "eligible_on": "2020-01-02",
        "lossless_until": "2003-01-01",
        "rule": "hospital.base",
        "blocked_by": "",
        "reassess_on": None,
        "assumptions": "",
        "reading": "prudent",
        "schedule_version": "1",
        "assessed_at": to_text(NOW),
        "error": None,
        "is_stale": 0,
        "instances": 2,
        "size_bytes": 10,
    }
    return AssessmentRow(**{**given, **values})  # type: ignore[arg-type]


def put(database: Database, *rows: AssessmentRow) -> None:
    """Store assessments."""
    with database.write(synced=False) as connection:
        assessments.put(connection, rows)


# ---- studies -----------------------------------------------------------------------------------------------------


def test_a_study_is_found_by_each_of_its_numbers_and_by_nothing_less(database: Database) -> None:
    """UID, PatientID and AccessionNumber are compared whole; of several studies the newest comes first."""
    add(
        database,
        new_instance(study=1, AccessionNumber="A1", PatientID="P1", StudyDate="20200101"),
        new_instance(study=2, AccessionNumber="A2", PatientID="P1", StudyDate="20210101"),
    )
    with database.read() as connection:
        assert [each.accession_number for each in study_details.of_patient(connection, "P1", 10)] == ["A2", "A1"]
        assert len(study_details.of_patient(connection, "P1", 1)) == 1
        assert [each.patient_id for each in study_details.of_accession(connection, "A1", 10)] == ["P1"]
        assert study_details.of_patient(connection, "P", 10) == []
        assert study_details.of_accession(connection, "A_", 10) == []
        found = study_details.by_uid(connection, ["2.25.1", "2.25.9"])
        (record,) = found.values()
        assert study_details.by_id(connection, record.study_id) == record
        assert study_details.by_id(connection, 999) is None
        assert study_details.modalities_of(connection, [record.study_id]) == {record.study_id: ["CT"]}
    assert (record.site, record.patient_name, record.study_date) == ("CHU", "MOREAU^Hélène", "20200101")
    assert reference_of(record).startswith(f"{record.study_id}-")


def test_copies_are_counted_by_where_and_how_they_lie(database: Database) -> None:
    """One row for each series, tier, way and state; lossy as received and lossy of our own making are told apart."""
    add(
        database,
        new_instance(1, LossyImageCompression="01"),
        new_instance(2),
        new_instance(1, series=2, Modality="SR"),
    )
    change(database, "UPDATE location SET state = 'missing' WHERE key LIKE ?", ("%2.25.1.2.1%",))
    change(
        database,
        "INSERT INTO successor VALUES ('2.25.7.7.7', '2.25.1.1.2', '2.25.1', 'x', ?, 10)",
        (bytes(32),),
    )
    with database.read() as connection:
        (record,) = study_details.by_uid(connection, ["2.25.1"]).values()
        series = study_details.series_of(connection, record.study_id)
        copies = study_details.copies_of(connection, record.study_id)
    assert [(each.modality, each.instances, each.arrived_lossy, each.made_lossy) for each in series] == [
        ("CT", 2, 1, 1),
        ("SR", 1, 0, 0),
    ]
    assert sum(copy.copies for copy in copies) == 3
    assert {(copy.tier, copy.is_packed) for copy in copies} == {("hot", 0)}
    assert all(type(copy.size_bytes) is int for copy in copies)


# ---- the journal ---------------------------------------------------------------------------------------------------


def events(database: Database, count: int) -> None:
    """Append entries a day apart, each of one of three studies."""
    append(
        database,
        [
            Entry(
                NOW + timedelta(days=number),
                "viewed" if number % 2 else "stored",
                "anne" if number % 3 else "olga",
                {"study_instance_uid": f"2.25.{number % 3}", "full_name": "Anne É", "roles": ["archivist"]},
            )
            for number in range(count)
        ],
    )


def test_stretches_of_the_journal_are_looked_through_from_the_end(database: Database) -> None:
    """Event, actor and a text in the body narrow; the limit and the stretch bound what is read."""
    events(database, 12)
    with database.read() as connection:
        assert journal_search.last_sequence(connection) == 12
        every = journal_search.find(connection, Stretch(1, 13), Filter(), 100)
        assert [each.sequence for each in every] == list(range(12, 0, -1))
        assert len(journal_search.find(connection, Stretch(1, 13), Filter(), 5)) == 5
        assert [each.sequence for each in journal_search.find(connection, Stretch(3, 5), Filter(), 9)] == [4, 3]
        olga = journal_search.find(connection, Stretch(1, 13), Filter("stored", "olga", '"2.25.0"'), 100)
        assert {(each.event, each.actor) for each in olga} == {("stored", "olga")}
        assert journal_search.find(connection, Stretch(1, 13), Filter(text="%"), 100) == []
        looks = journal_search.find_looks(connection, 100, '"2.25.1"', 100)
        assert {(each.event, json.loads(each.body)["study_instance_uid"]) for each in looks} == {("viewed", "2.25.1")}
        assert len(journal_search.find_looks(connection, 100, '"2.25.1"', 1)) == 1
        assert len(journal_search.find_looks(connection, 1, "2.25", 100)) == 1


@pytest.mark.parametrize(("days", "first"), [(-5, 1), (0, 1), (0.5, 2), (3, 4), (99, 13)])
def test_the_first_entry_since_a_moment_is_found_by_halving(database: Database, days: float, first: int) -> None:
    """Before the first: the first; after the last: one beyond it."""
    events(database, 12)
    with database.read() as connection:
        assert journal_search.first_since(connection, to_text(NOW + timedelta(days=days))) == first


def test_an_empty_journal_has_nothing_to_find(database: Database) -> None:
    """No entry, no stretch, no error."""
    desk = AuditDesk(database)
    page = desk.search(AuditWanted(since=date(2020, 1, 1), until=date(2030, 1, 1)), GASTON)
    assert (page.entries, page.looked_at, page.next_before) == ([], 0, None)
    assert desk.of_study("2.25.1").entries == []


def test_pages_of_the_journal_follow_each_other_without_a_gap(database: Database) -> None:
    """Each page begins where the one before ended, the last has none behind it; a day bounds both ends."""
    events(database, 2 * PAGE + 5)
    desk, before, seen = AuditDesk(database), None, []
    while True:
        page = desk.search(AuditWanted(before=before), GASTON)
        seen += [each.sequence for each in page.entries]
        before = page.next_before
        if before is None:
            break
    assert seen == list(range(2 * PAGE + 5, 0, -1))
    day = (NOW + timedelta(days=4)).date()
    (only,) = desk.search(AuditWanted(since=day, until=day), GASTON).entries
    assert only.sequence == 5
    assert only.body["full_name"] == "Anne É"


def test_who_looked_at_a_study_is_read_from_its_entries(database: Database) -> None:
    """The newest first, those who looked and no others."""
    events(database, 12)
    found = AuditDesk(database).of_study("2.25.1", limit=1)
    assert [(each.full_name, each.roles, each.event) for each in found.entries] == [
        ("Anne É", ["archivist"], "viewed"),
    ]


# ---- what is due ---------------------------------------------------------------------------------------------------


def test_sums_are_made_by_site_rule_day_and_blocker(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no end or no conclusion is left out; parts that come apart are one sum in the end."""
    monkeypatch.setattr(due_totals, "_AT_ONCE", 2)
    put(
        database,
        assessed(1),
        assessed(2),
        assessed(3, blocked_by="hold:H-2026-0001"),
        assessed(4, rule="hospital.death", eligible_on="2030-06-01"),
        assessed(5, site="Nord", size_bytes=7),
        assessed(6, eligible_on=None, rule=None, blocked_by="facts"),
        assessed(7, error="TypeError"),
    )
    as_of = AsOf(database, still())
    now, later = as_of.several([date(2026, 1, 1), date(2030, 6, 1)], SITES)
    assert (now.free, now.blocked) == (Amount(3, 6, 27), Amount(1, 2, 10))
    assert [rule.rule for rule in later.rules] == ["hospital.base", "hospital.death"]
    assert later.free == Amount(4, 8, 37)
    assert as_of.due(date(2020, 1, 1), SITES).free == Amount()
    assert as_of.due(date(2020, 1, 2), ("Nord",)).free == Amount(1, 2, 7)
    assert as_of.due(date(2099, 1, 1), ()).rules == []


# ---- what waits ----------------------------------------------------------------------------------------------------


def test_contradicted_studies_are_listed_by_site_in_order(database: Database) -> None:
    """Alone among the blockers or beside others; a hold alone is no contradiction."""
    put(
        database,
        assessed(1, blocked_by="facts"),
        assessed(2, blocked_by="hold:H-2026-0001"),
        assessed(3, blocked_by="hold:H-2026-0001 facts"),
        assessed(4, blocked_by="facts", site="Nord"),
    )
    with database.read() as connection:

        def found(sites: Collection[str], after: str = "", limit: int = 9) -> list[str]:
            return assessments.contradicted(connection, sites, after, limit)

        assert found(SITES) == ["2.25.1", "2.25.3", "2.25.4"]
        assert found(("CHU",)) == ["2.25.1", "2.25.3"]
        assert found(SITES, "2.25.1", 1) == ["2.25.3"]
        assert found(()) == []


def test_candidates_that_wait_are_listed_by_site_in_order(database: Database) -> None:
    """A number goes on where the page before ended."""
    insert = (
        "INSERT INTO death_candidate (site, patient_id, died_on, source, reference, traits, found_at, state) "
        "VALUES (?, ?, '2020-01-01', 'insee', ?, '{}', '2026-01-01T00:00:00.000000Z', ?)"
    )
    for number, (site, state) in enumerate([("CHU", "waiting"), ("CHU", "rejected"), ("Nord", "waiting")]):
        change(database, insert, (site, f"P{number}", f"r{number}", state))
    with database.read() as connection:
        every = death_candidates.waiting(connection, SITES, 0, 9)
        assert [each.patient_id for each in every] == ["P0", "P2"]
        assert [each.patient_id for each in death_candidates.waiting(connection, SITES, every[0].number, 9)] == ["P2"]
        assert [each.patient_id for each in death_candidates.waiting(connection, ("CHU",), 0, 9)] == ["P0"]


def test_lists_are_counted_with_their_lines_and_offices(database: Database) -> None:
    """The newest first; those that are over are not among the open ones."""
    insert = (
        "INSERT INTO disposal_list (list_id, site, site_kind, state, as_of, proposed_at, proposed_by) "
        "VALUES (?, ?, 'public', ?, '2026-01-01', ?, 'anne')"
    )
    for number, (site, state) in enumerate([("CHU", "listed"), ("CHU", "destroyed"), ("Nord", "approved")], start=1):
        change(database, insert, (f"D-2026-000{number}", site, state, f"2026-0{number}-01T00:00:00.000000Z"))
    item = "INSERT INTO disposal_item (list_id, study_instance_uid, number, line, state) VALUES (?, ?, ?, '{}', ?)"
    for number, state in enumerate(("listed", "refused", "sent_back"), start=1):
        change(database, item, ("D-2026-0001", f"2.25.{number}", number, state))
    change(
        database,
        "INSERT INTO disposal_approval VALUES ('D-2026-0001', 'director', 'diane', 'Diane', ?, NULL)",
        (to_text(NOW),),
    )
    with database.read() as connection:
        every = disposal_views.of_sites(connection, SITES)
        assert [each.list_id for each in every] == ["D-2026-0003", "D-2026-0002", "D-2026-0001"]
        assert (every[-1].lines, every[-1].kept, every[-1].offices) == (3, 2, ("director",))
        assert [each.list_id for each in disposal_views.open_of_sites(connection, SITES)] == [
            "D-2026-0001",
            "D-2026-0003",
        ]
        assert disposal_views.of_sites(connection, ()) == []


def test_quarantine_and_evidence_are_read_a_page_at_a_time(database: Database) -> None:
    """The quarantine oldest first and only what waits, evidence newest first and without its body."""
    insert = (
        "INSERT INTO quarantine (key, reason, sop_instance_uid, calling_ae_title, peer_address, size_bytes, sha256, "
        "received_at, resolved_at) VALUES (?, 'x', '2.25.1', 'CT', '::1', 1, ?, ?, ?)"
    )
    for number in range(4):
        resolved = to_text(NOW) if number == 1 else None
        change(database, insert, (f"k{number}", bytes(32), to_text(NOW + timedelta(seconds=number)), resolved))
    evidence = "INSERT INTO evidence VALUES (?, '2.25.1', '2.25.1.1', ?, '{}')"
    for number in range(3):
        change(database, evidence, (f"p{number}", to_text(NOW + timedelta(seconds=number))))
    with database.read() as connection:
        assert [each.key for each in quarantine_table.open_page(connection, 2, 0)] == ["k0", "k2"]
        assert [each.key for each in quarantine_table.open_page(connection, 2, 2)] == ["k3"]
        assert [row[2] for row in cold.newest_evidence(connection, 2, 0)] == ["p2", "p1"]
        assert [row[2] for row in cold.newest_evidence(connection, 2, 2)] == ["p0"]
        assert cold.has_evidence(connection, "2.25.1")
        assert not cold.has_evidence(connection, "2.25.2")
