"""Holds: what they cover, what they block, and how they end, on a real ledger and index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from archive.errors import ArchiveError, InvalidHold, InvalidIdentifier, InvalidUid, NoSuchHold, NothingToHold
from archive.index import holds as table
from archive.index.session import Database
from archive.services.facts import NewLink, link, unlink
from archive.services.gathering import gather
from archive.services.holds import Holds, NewHold
from archive.services.ledger import Ledger
from tests.integration.index.making import add, change, new_instance, rows
from tests.unit.services.shelf import Clock

CHU = frozenset({"CHU"})
EVERY = frozenset({"CHU", "Clinique"})
JUDGE = ("a judge asks", "TGI de Paris", "n° 12/2026")


@pytest.fixture
def holds(ledger: Ledger) -> Holds:
    """Lend the service on an index with three studies of two patients, one of them at another site."""
    first, second = new_instance(study=1, PatientID="P1"), new_instance(study=2, PatientID="P1")
    add(ledger.database, first, second, new_instance(study=3, site="Clinique", PatientID="P1"))
    return Holds(ledger)


def place(holds: Holds, *numbers: int, sites: frozenset[str] | None = EVERY, **other: Any) -> str:
    """Place a hold on studies, or what else is asked for; return its number."""
    wanted = NewHold("CHU", *JUDGE, studies=[f"2.25.{number}" for number in numbers], **other)
    return holds.place(wanted, actor="anne", sites=sites).hold_id


def blocked(holds: Holds, *numbers: int) -> dict[int, list[str]]:
    """Return which holds block each of these studies."""
    with holds.ledger.database.read() as connection:
        found = table.blocking_holds(connection, [f"2.25.{number}" for number in numbers or (1, 2, 3)])
    return {int(uid.rpartition(".")[2]): ids for uid, ids in found.items()}


def store_assessments(database: Database) -> None:
    """Have an assessment of every study, none of them stale."""
    change(database, "DELETE FROM assessment")
    change(
        database,
        "INSERT INTO assessment (study_instance_uid, site, blocked_by, assumptions, reading, schedule_version, "
        "assessed_at, is_stale, instances, size_bytes) "
        "SELECT study_instance_uid, site, '', '{}', '', '', '', 0, 1, 1 FROM study",
    )


def stale(database: Database) -> list[int]:
    """Return the studies that are to be assessed again."""
    found = rows(database, "SELECT study_instance_uid FROM assessment WHERE is_stale = 1")
    return sorted(int(uid.rpartition(".")[2]) for (uid,) in found)


def test_a_hold_on_a_study_blocks_that_study(holds: Holds) -> None:
    """It blocks the study named and no other, from the moment it is placed, and is journaled without names."""
    hold_id = place(holds, 1, review_on=date(2027, 6, 1))
    assert (hold_id, blocked(holds)) == ("H-2026-0001", {1: ["H-2026-0001"]})
    view = holds.show(hold_id)
    assert (view.hold.reason, view.hold.authority, view.hold.reference) == JUDGE
    assert (view.hold.placed_by, view.hold.review_on, view.is_overdue) == ("anne", date(2027, 6, 1), False)
    assert [(scope.site, scope.study_instance_uid) for scope in view.scopes] == [("CHU", "2.25.1")]
    ((event, body),) = rows(holds.ledger.database, "SELECT event, body FROM audit")
    assert event == "hold_placed"
    assert "judge" not in body


def test_a_hold_on_a_patient_blocks_what_comes_later_too(holds: Holds) -> None:
    """Every study of the PatientID at that site, those that come later, and those of records linked to it."""
    hold_id = place(holds, patient_ids=["P1"])
    assert blocked(holds) == {1: [hold_id], 2: [hold_id]}
    add(holds.ledger.database, new_instance(study=4, PatientID="P1"), new_instance(study=5, PatientID="P0"))
    assert blocked(holds, 4, 5) == {4: [hold_id]}
    merge = NewLink("CHU", "P0", "P1", "hl7:GAM", "A40")
    holds.ledger.act("gam", lambda connection: link(connection, merge))
    assert blocked(holds, 3, 4, 5) == {4: [hold_id], 5: [hold_id]}
    assert holds.show(hold_id).study_instance_uids == ["2.25.1", "2.25.2", "2.25.4", "2.25.5"]
    holds.ledger.act("gam", lambda connection: unlink(connection, merge))
    assert blocked(holds, 5) == {}


def test_several_holds_end_one_by_one(holds: Holds) -> None:
    """A study with two holds is free when the second is lifted, not before; a lifted hold stays in the history."""
    first, second = place(holds, 1), place(holds, patient_ids=["P1"])
    assert blocked(holds, 1) == {1: [first, second]}
    lifted = holds.lift(first, reason="closed without further action", actor="bea", sites=EVERY)
    assert (lifted.lifted_by, lifted.lift_reason) == ("bea", "closed without further action")
    assert blocked(holds, 1) == {1: [second]}
    holds.lift(second, reason="the same", actor="bea", sites=EVERY)
    assert blocked(holds) == {}
    assert [view.hold.hold_id for view in holds.list()] == []
    assert [view.hold.hold_id for view in holds.list(with_lifted=True)] == [first, second]


def test_a_hold_past_its_review_date_still_holds(holds: Holds, clock: Clock) -> None:
    """The date asks for a look: it is reported, and blocks as before until somebody lifts the hold."""
    hold_id = place(holds, 1, review_on=date(2027, 1, 1))
    clock.advance(days=400)
    (view,) = holds.list()
    assert (view.is_overdue, blocked(holds)) == (True, {1: [hold_id]})
    holds.review(hold_id, date(2029, 1, 1), note="the case goes on", actor="bea", sites=EVERY)
    (view,) = holds.list()
    assert (view.is_overdue, view.hold.reviewed_at, blocked(holds)) == (False, clock.now, {1: [hold_id]})
    assert place(holds, 2) == "H-2027-0001"


def test_holds_make_what_they_cover_stale(holds: Holds) -> None:
    """Placing and lifting have the studies covered, and no others, assessed again."""
    database = holds.ledger.database
    store_assessments(database)
    study_hold = place(holds, 3)
    assert stale(database) == [3]
    store_assessments(database)
    patient_hold = place(holds, patient_ids=["P1"])
    assert stale(database) == [1, 2]
    for hold_id, expected in ((study_hold, [3]), (patient_hold, [1, 2])):
        store_assessments(database)
        holds.lift(hold_id, reason="over", actor="anne", sites=EVERY)
        assert stale(database) == expected


def test_what_blocks_is_what_an_assessment_is_told(holds: Holds) -> None:
    """The facts gathered of a study name the same holds as the check before a deletion."""
    place(holds, 1, 2)
    place(holds, patient_ids=["P1"])
    with holds.ledger.database.read() as connection:
        gathered = gather(connection, ["2.25.1", "2.25.2", "2.25.3"])
        found = {each.study_instance_uid: [hold["id"] for hold in each.mapping["holds"]] for each in gathered}
        blocking = table.blocking_holds(connection, list(found))
    assert found == {uid: blocking.get(uid, []) for uid in found}


def test_a_query_is_resolved_when_it_is_asked(holds: Holds) -> None:
    """The keys of C-FIND find studies of the sites asked for; all keys must match."""
    assert holds.matching(EVERY, {"PatientName": "moreau*"}) == ["2.25.1", "2.25.2", "2.25.3"]
    assert holds.matching(CHU, {"PatientName": "moreau*", "Modality": "CT"}) == ["2.25.1", "2.25.2"]
    assert holds.matching(EVERY, {"PatientName": "moreau*", "StudyDate": "20200101-20201231"}) == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"PatientNam": "X"}, "PatientNam is not a key"),
        ({"SeriesInstanceUID": "2.25.1"}, "SeriesInstanceUID is not a key"),
        ({"PatientName": "MOREAU*", "StudyDescription": "**"}, "StudyDescription would match every study"),
        ({"PatientName": "^"}, "PatientName would match every study"),
        ({"PatientName": "MOREAU\\*"}, "PatientName would match every study"),
        ({"PatientID": "P1\\ ?* "}, "PatientID would match every study"),
        ({"StudyInstanceUID": "2.25.1\\*"}, "StudyInstanceUID would match every study"),
        ({"Modality": "CT\\*"}, "Modality would match every study"),
        ({"PatientName": "MOREAU", "AccessionNumber": ""}, "AccessionNumber would match every study"),
        ({"PatientName": "\udcff"}, "PatientName has characters that do not print"),
        ({"PatientID": "P1\0"}, "PatientID has characters that do not print"),
        ({"StudyDate": "yesterday"}, "StudyDate"),
    ],
)
def test_a_query_that_would_hold_too_much_is_refused(holds: Holds, keys: dict[str, str], told: str) -> None:
    """A key that is misspelt, of another level, universal or no date is refused: it would not narrow as meant."""
    with pytest.raises(InvalidIdentifier, match=told):
        holds.matching(EVERY, keys)


@pytest.mark.parametrize(
    ("wanted", "error", "told"),
    [
        ({}, NothingToHold, "name a study, a patient"),
        ({"studies": ["2.25.9"]}, NothingToHold, "the archive has no study 2.25.9; check it, or place it --ahead"),
        ({"studies": ["2.25.1", "2.25.8", "2.25.9"]}, NothingToHold, "no study 2.25.8 and 1 more"),
        ({"studies": ["MOREAU"]}, InvalidUid, "StudyInstanceUID is not a DICOM UID"),
        ({"patient_ids": ["P7"]}, NothingToHold, "neither a study nor a fact of that PatientID"),
        ({"patient_ids": [" "]}, InvalidHold, "a PatientID takes 1 to 512"),
        ({"patient_ids": ["P\udcff"], "is_ahead": True}, InvalidHold, "a PatientID takes 1 to 512"),
        ({"patient_ids": ["P\0"], "is_ahead": True}, InvalidHold, "a PatientID takes 1 to 512"),
        ({"patient_ids": ["P" * 513], "is_ahead": True}, InvalidHold, "a PatientID takes 1 to 512"),
        ({"studies": ["2.25.1"], "reason": "  "}, InvalidHold, "the reason takes 1 to 500"),
        ({"studies": ["2.25.1"], "authority": "\x1b[31m"}, InvalidHold, "the authority takes 1 to 200"),
        ({"studies": ["2.25.1"], "reference": "n" * 201}, InvalidHold, "the reference takes 1 to 200"),
        ({"studies": ["2.25.1"], "review_on": date(2026, 11, 26)}, InvalidHold, "the review date is not in the future"),
    ],
)
def test_a_hold_that_says_nothing_is_refused(
    holds: Holds, wanted: dict[str, Any], error: type[ArchiveError], told: str
) -> None:
    """Unknown studies and patients, missing words and past days are refused, all of the hold or none of it."""
    fields = {"site": "CHU", "reason": "r", "authority": "a", "reference": "n", **wanted}
    with pytest.raises(error, match=told):
        holds.place(NewHold(**fields), actor="anne", sites=EVERY)
    assert holds.list(with_lifted=True) == []


def test_a_hold_may_be_placed_ahead(holds: Holds) -> None:
    """Asked for expressly, a hold waits for studies and patients that are not there yet."""
    hold_id = place(holds, 9, patient_ids=["P9"], is_ahead=True)
    add(holds.ledger.database, new_instance(study=9), new_instance(study=10, PatientID="P9"))
    assert blocked(holds, 9, 10) == {9: [hold_id], 10: [hold_id]}


def test_an_account_of_one_site_has_no_say_at_another(holds: Holds) -> None:
    """Studies and holds of another site are, for it, not there."""
    with pytest.raises(NothingToHold, match=r"no study 2\.25\.3"):
        place(holds, 3, sites=CHU)
    with pytest.raises(NothingToHold, match=r"no study 2\.25\.3"):
        place(holds, 3, sites=CHU, is_ahead=True)
    hold_id = place(holds, 1, 3)
    with pytest.raises(NoSuchHold, match="no hold of your sites"):
        holds.lift(hold_id, reason="mine alone", actor="carl", sites=CHU)
    assert blocked(holds) == {1: [hold_id], 3: [hold_id]}


def test_a_site_that_is_configured_no_more_is_still_held(holds: Holds) -> None:
    """Whoever acts for every site holds and frees what is left of a former one; other accounts do not."""
    add(holds.ledger.database, new_instance(study=4, site="Former", PatientID="P4"))
    with pytest.raises(NothingToHold, match=r"no study 2\.25\.4"):
        place(holds, 4)
    with pytest.raises(NothingToHold, match="Former is not a site this account acts for"):
        holds.place(NewHold("Former", *JUDGE, patient_ids=["P4"]), actor="anne", sites=EVERY)
    assert holds.matching(EVERY, {"PatientID": "P4"}) == []
    assert holds.matching(None, {"PatientID": "P4"}) == ["2.25.4"]
    hold_id = place(holds, 4, sites=None)
    assert blocked(holds, 4) == {4: [hold_id]}
    holds.lift(hold_id, reason="over", actor="anne", sites=None)
    assert blocked(holds, 4) == {}


def test_the_history_tells_every_review(holds: Holds) -> None:
    """All reviews are there with their notes, not the last alone; other holds' events are not."""
    hold_id, _ = place(holds, 1), place(holds, 1)
    for year, note in ((2028, "the case goes on"), (2029, "in appeal")):
        holds.review(hold_id, date(year, 1, 1), note=note, actor="bea", sites=EVERY)
    holds.lift(hold_id, reason="judged", actor="carl", sites=EVERY)
    events = holds.history(hold_id.lower())
    assert [(event.kind, event.actor) for event in events] == [
        ("hold_placed", "anne"),
        ("hold_reviewed", "bea"),
        ("hold_reviewed", "bea"),
        ("hold_lifted", "carl"),
    ]
    assert [event.data["note"] for event in events[1:3]] == ["the case goes on", "in appeal"]


@pytest.mark.parametrize(
    "number", ["", "7", "H-2026-1", "H-2026-0001\udcff", "H-2026-0001\0", "H-\u0662\u0660\u0662\u0666-0001"]
)
def test_what_is_no_number_is_told_so(holds: Holds, number: str) -> None:
    """What cannot be a hold's number is refused before a database sees it; case and spaces around do not matter."""
    hold_id = place(holds, 1)
    for refused in (
        lambda: holds.show(number),
        lambda: holds.lift(number, reason="r", actor="bea", sites=EVERY),
        lambda: holds.review(number, date(2030, 1, 1), note="n", actor="bea", sites=EVERY),
    ):
        with pytest.raises(NoSuchHold, match="looks like H-2026-0001"):
            refused()
    assert holds.show(f" {hold_id.lower()} ").hold.hold_id == hold_id


def test_what_cannot_be_lifted_or_reviewed(holds: Holds) -> None:
    """A hold that is not there or is lifted, no reason, a review in the past: each says so and changes nothing."""
    hold_id = place(holds, 1)
    with pytest.raises(NoSuchHold, match="H-2026-0009"):
        holds.lift("H-2026-0009", reason="r", actor="bea", sites=EVERY)
    with pytest.raises(NoSuchHold, match="no hold has this number"):
        holds.show("H-1970-0001")
    with pytest.raises(InvalidHold, match="the reason takes"):
        holds.lift(hold_id, reason=" ", actor="bea", sites=EVERY)
    with pytest.raises(InvalidHold, match="the next review is not in the future"):
        holds.review(hold_id, date(2026, 11, 26), note="n", actor="bea", sites=EVERY)
    holds.lift(hold_id, reason="over", actor="bea", sites=EVERY)
    with pytest.raises(NoSuchHold, match="lifted already"):
        holds.lift(hold_id, reason="again", actor="bea", sites=EVERY)
    with pytest.raises(NoSuchHold, match="lifted already"):
        holds.review(hold_id, date(2030, 1, 1), note="n", actor="bea", sites=EVERY)


def test_holds_outlive_the_index(holds: Holds) -> None:
    """Replayed from the ledger, they are what they were: numbers, words, scopes, ends."""
    place(holds, 1, review_on=date(2027, 1, 1))
    second = place(holds, patient_ids=["P1"])
    holds.review("H-2026-0001", date(2028, 1, 1), note="n", actor="bea", sites=EVERY)
    holds.lift(second, reason="over", actor="bea", sites=EVERY)
    before = holds.list(with_lifted=True)
    with holds.ledger.database.write(synced=True) as connection:
        holds.ledger.files.replay(connection)
    assert holds.list(with_lifted=True) == before
    assert place(holds, 2) == "H-2026-0003"


def test_numbers_go_on_past_four_digits(holds: Holds) -> None:
    """The hold after H-2026-9999 is H-2026-10000, and the one after that is not the same again."""
    change(
        holds.ledger.database,
        "INSERT INTO hold (hold_id, reason, authority, reference, placed_at, placed_by) "
        "VALUES ('H-2026-9999', '', '', '', '2026-01-01T00:00:00.000000Z', '')",
    )
    assert [place(holds, 1), place(holds, 1)] == ["H-2026-10000", "H-2026-10001"]


STEPS = st.lists(st.tuples(st.sampled_from(["study", "patient", "lift"]), st.integers(1, 3)), max_size=8)


def test_a_study_is_free_only_when_nothing_holds_it(holds: Holds) -> None:
    """Whatever is placed and lifted in whatever order: blocked by exactly the holds that cover it and hold."""

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
    @given(STEPS)
    def holds_true(steps: Sequence[tuple[str, int]]) -> None:
        for view in holds.list():
            holds.lift(view.hold.hold_id, reason="clean", actor="anne", sites=EVERY)
        expected: dict[str, set[int]] = {}
        for step, number in steps:
            if step == "study":
                expected[place(holds, number)] = {number}
            elif step == "patient":
                expected[place(holds, patient_ids=["P1"])] = {1, 2}
            elif expected:
                hold_id = sorted(expected)[number % len(expected)]
                holds.lift(hold_id, reason="over", actor="anne", sites=EVERY)
                del expected[hold_id]
        found = {
            number: sorted(each for each, covered in expected.items() if number in covered) for number in (1, 2, 3)
        }
        assert blocked(holds) == {number: ids for number, ids in found.items() if ids}

    holds_true()
