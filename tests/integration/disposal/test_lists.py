"""Lists before anything is destroyed: who may do what, and what sends a study back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from archive.errors import ClockNotTrusted, DisposalRefused, NoSuchList, NotAllowed, NothingDue
from archive.services.accounts import NewAccount, account_draft
from archive.services.disposal import ALREADY_LISTED
from archive.services.people import Person
from tests.integration.disposal.conftest import ANNE, AUDE, DAVID, DIANE, OLGA, Office, account, study_uid
from tests.objects import changed, ct_dataset


def test_only_what_is_due_is_listed(office: Office) -> None:
    """Due studies are listed with their rule and since when, oldest first; what is kept is not."""
    office.store(1, exam_on="20010101")
    office.store(2, exam_on="20000101")
    office.store(3, exam_on="20250101")
    view = office.propose()
    assert [item.study_instance_uid for item in view.items] == [study_uid(2), study_uid(1)]
    line = view.items[0].line
    assert (line["rule"], line["eligible_on"], line["instances"]) == ("hospital.base", "2020-01-02", 2)
    assert (view.head.list_id, view.head.state, view.head.proposed_by) == ("D-2026-0001", "listed", "anne")
    assert list(view.missing) == ["director", "dim_physician", "archives_officer"]


def test_a_preview_lists_nothing(office: Office) -> None:
    """The dry run shows what a list would hold and leaves no trace."""
    office.store(1)
    office.sweep()
    before = len(office.journal())
    proposal = office.disposals.preview("default")
    assert ([uid for uid, _ in proposal.items], proposal.list_id) == ([study_uid(1)], None)
    assert office.disposals.list() == []
    assert len(office.journal()) == before


def test_a_study_is_on_one_open_list(office: Office) -> None:
    """What is listed is not listed again until its list is over; a refused study may be."""
    first = office.propose(1, 2).head.list_id
    with pytest.raises(NothingDue, match=f"2 {ALREADY_LISTED}"):
        office.disposals.propose("default", who=ANNE)
    office.disposals.refuse(first, [study_uid(2)], "wanted for a thesis", who=DAVID)
    again = office.disposals.propose("default", who=ANNE)
    assert [uid for uid, _ in again.items] == [study_uid(2)]
    assert again.list_id == "D-2026-0002"


def test_a_list_takes_as_many_as_asked(office: Office) -> None:
    """--max bounds a list; the rest goes on the next one."""
    for study in (1, 2, 3):
        office.store(study)
    office.sweep()
    assert len(office.disposals.propose("default", 2, who=ANNE).items) == 2
    assert len(office.disposals.propose("default", 2, who=ANNE).items) == 1


def test_nothing_due_is_told(office: Office) -> None:
    """Without a due study there is no list, and the operator is told what assesses them."""
    with pytest.raises(NothingDue, match="retention sweep --apply"):
        office.disposals.propose("default", who=ANNE)


@pytest.mark.parametrize(
    ("site", "offices"),
    [
        ("default", ("director", "dim_physician", "archives_officer")),
        ("Clinique", ("director", "dim_physician")),
        ("Cabinet", ("practitioner",)),
    ],
)
def test_each_kind_of_site_has_its_signatures(office: Office, site: str, offices: tuple[str, ...]) -> None:
    """The waiting begins with the last signature that the site's kind demands, in whichever order they come."""
    office.store(1, exam_on="19900302")
    with office.ledger.database.write(synced=False) as connection:
        from archive.index.statements import Statement

        Statement("UPDATE study SET site = ?").run(connection, (site,))
        Statement("UPDATE patient SET site = ?").run(connection, (site,))
    office.sweep()
    list_id = str(office.disposals.propose(site, who=ANNE).list_id)
    view = office.disposals.show(list_id)
    assert tuple(view.missing) == offices
    for number, name in enumerate(reversed(offices)):
        assert view.head.state == "listed"
        view = office.disposals.approve(list_id, name, who=account(f"p{number}", name), reference="V 1")
    assert (view.head.state, view.head.waiting_until) == ("approved", date(2026, 12, 26))


REFUSALS: list[tuple[Callable[[Office, str], object], type[Exception], str]] = [
    (lambda o, d: o.disposals.approve(d, "director", who=ANNE), NotAllowed, "takes the role director"),
    (
        lambda o, d: o.disposals.approve(d, "director", who=account("anne", "archivist", "director")),
        NotAllowed,
        "whoever proposed a list does not approve it",
    ),
    (lambda o, d: o.disposals.approve(d, "archives_officer", who=AUDE), DisposalRefused, "give its --reference"),
    (
        lambda o, d: o.disposals.approve(d, "archives_officer", who=AUDE, reference="  "),
        DisposalRefused,
        "give its --reference",
    ),
    (
        lambda o, d: o.disposals.approve(d, "practitioner", who=account("paul", "practitioner")),
        DisposalRefused,
        "practitioner does not sign at a public site",
    ),
    (
        lambda o, d: o.disposals.approve(d, "director", who=account("zoe", "director", sites=("Clinique",))),
        NotAllowed,
        "not for the site default",
    ),
    (lambda o, d: o.disposals.approve("D-2026-0099", "director", who=DIANE), NoSuchList, "D-2026-0099"),
    (lambda o, d: o.disposals.approve("\x1b[2J", "director", who=DIANE), NoSuchList, "list .?.2J"),
    (lambda o, d: o.disposals.refuse(d, [study_uid(1)], "x", who=OLGA), NotAllowed, "takes the role"),
    (lambda o, d: o.disposals.refuse(d, [study_uid(7)], "x", who=DAVID), DisposalRefused, "is not on it"),
    (lambda o, d: o.disposals.refuse(d, [study_uid(1)], " ", who=DAVID), DisposalRefused, "the reason takes"),
    (lambda o, d: o.disposals.cancel(d, "a\nb\x00", who=DAVID), DisposalRefused, "the reason takes"),
    (lambda o, d: o.disposals.propose("default", who=OLGA), NotAllowed, "archivist"),
]


@pytest.mark.parametrize(("act", "error", "words"), REFUSALS, ids=lambda each: getattr(each, "__name__", None))
def test_what_may_not_be_done_changes_nothing(
    office: Office, act: Callable[[Office, str], object], error: type[Exception], words: str
) -> None:
    """A wrong office, the proposer, a visa without reference, a strange site or study: refused with the reason."""
    list_id = office.propose(1).head.list_id
    before = (office.disposals.show(list_id), len(office.journal()))
    with pytest.raises(error, match=words):
        act(office, list_id)
    assert (office.disposals.show(list_id), len(office.journal())) == before


def test_one_person_signs_once(office: Office) -> None:
    """Somebody with two roles signs in one office only, and no office signs twice."""
    list_id = office.propose(1).head.list_id
    both = account("diane", "director", "dim_physician")
    office.disposals.approve(list_id, "director", who=both)
    with pytest.raises(NotAllowed, match="one person signs in one office only"):
        office.disposals.approve(list_id, "dim_physician", who=both)
    with pytest.raises(DisposalRefused, match="director has approved already"):
        office.disposals.approve(list_id, "director", who=account("denis", "director"))


def test_one_person_is_one_person_however_they_come_in(office: Office) -> None:
    """An account and a provider's identity of the same full name do not sign for one another, nor propose and sign."""
    wanted = NewAccount("anne", "Anne Le  Goff", frozenset({"archivist"}))
    office.ledger.act("(first)", lambda _: [account_draft(wanted, "")])
    list_id = office.propose(1).head.list_id
    by_provider = Person("810001234567", "anne LE GOFF", frozenset({"director", "dim_physician"}), via="oidc")
    with pytest.raises(NotAllowed, match="whoever proposed a list does not approve it"):
        office.disposals.approve(list_id, "director", who=by_provider)
    office.disposals.approve(list_id, "director", who=DIANE)
    again = Person("810007654321", "DIANE", frozenset({"dim_physician"}), via="oidc")
    with pytest.raises(NotAllowed, match="one person signs in one office only"):
        office.disposals.approve(list_id, "dim_physician", who=again)
    assert office.disposals.approve(list_id, "dim_physician", who=DAVID).missing == ("archives_officer",)


def test_a_refused_line_stays_on_the_list_and_its_study_in_the_archive(office: Office) -> None:
    """Line by line: the refused one keeps its reason, the others go on; a list without a line left is over."""
    list_id = office.propose(1, 2).head.list_id
    view = office.disposals.refuse(list_id, [study_uid(1)], "still  in\tcare", who=DAVID)
    (refused,) = view.in_state("refused")
    assert (refused.study_instance_uid, refused.reason, refused.decided_by) == (study_uid(1), "still in care", "david")
    assert view.head.state == "listed"
    view = office.disposals.refuse(list_id, [study_uid(2)], "that one too", who=DAVID)
    assert (view.head.state, view.head.end_reason) == ("cancelled", "no study is left on it")
    assert len(office.files()) == 4


def test_a_waiting_list_can_be_undone(office: Office) -> None:
    """While an approved list waits, studies are taken off it and it can be ended; nothing was moved meanwhile."""
    list_id = office.propose(1, 2).head.list_id
    office.approve(list_id)
    office.disposals.refuse(list_id, [study_uid(1)], "found to be needed", who=ANNE)
    view = office.disposals.cancel(list_id, "the director withdraws", who=DIANE)
    assert [item.state for item in view.items] == ["refused", "cancelled"]
    assert (view.head.state, view.head.ended_by) == ("cancelled", "diane")
    office.days(31)
    with pytest.raises(DisposalRefused, match="it is cancelled"):
        office.destroy(list_id)
    assert len(office.files()) == 4


CHANGES: list[tuple[str, Callable[[Office], object], str]] = [
    ("hold", lambda o: o.hold(1), "it is on hold: H-2026-0001"),
    ("visit", lambda o: o.tell(1, "visit", "2020-05-05"), "it is kept until"),
    ("appeal", lambda o: o.tell(1, "appeal", "2019-01-01"), "blocked by appeal"),
    ("death", lambda o: o.tell(1, "death", "2001-01-01"), "another rule decides now"),
    ("birth", lambda o: o.tell(1, "birth", "1951-01-01"), "a fact about the patient changed"),
    (
        "object",
        lambda o: o.rig.send(changed(ct_dataset(9, study=1), {"StudyDate": "20000302"})),
        "objects came or went since it was listed",
    ),
]


@pytest.mark.parametrize(("act", "reason"), [(act, reason) for _, act, reason in CHANGES], ids=[n for n, *_ in CHANGES])
@pytest.mark.parametrize("when", ["signing", "destroying"])
def test_whatever_changes_sends_a_study_back(
    office: Office, act: Callable[[Office], object], reason: str, when: str
) -> None:
    """A hold, a fact or an object that comes after listing keeps the study, with the reason on the list."""
    list_id = office.propose(1, 2).head.list_id
    if when == "destroying":
        office.approve(list_id)
        office.days(30)
    act(office)
    office.rig.committer.barrier()
    if when == "signing":
        view = office.approve(list_id)
        office.days(30)
        office.destroy(list_id)
    else:
        office.destroy(list_id)
    view = office.disposals.show(list_id)
    (back,) = view.in_state("sent_back")
    assert back.study_instance_uid == study_uid(1)
    assert reason in str(back.reason)
    assert [item.study_instance_uid for item in view.in_state("destroyed")] == [study_uid(2)]
    assert office.rig.find(f"{study_uid(1)}.1.1") is not None


def test_serving_sends_back_what_is_not_due_any_more(office: Office) -> None:
    """Once a fact is assessed, a look at the lists takes the study off, by itself, and finds nothing more to do."""
    list_id = office.propose(1, 2).head.list_id
    assert office.disposals.review() == {}
    office.tell(1, "visit", "2020-05-05")
    office.assessor.settle()
    assert office.disposals.review() == {list_id: 1}
    assert office.disposals.review() == {}
    (back,) = office.disposals.show(list_id).in_state("sent_back")
    assert (back.study_instance_uid, back.decided_by) == (study_uid(1), "drimbox")


def test_a_list_whose_studies_were_all_sent_back_is_not_approved(office: Office) -> None:
    """Nobody signs for nothing: the list is over, without that signature."""
    list_id = office.propose(1).head.list_id
    office.hold(1)
    view = office.disposals.approve(list_id, "director", who=DIANE)
    assert (view.head.state, list(view.approvals)) == ("cancelled", [])


@pytest.mark.parametrize("year", [1970, 2027])
def test_a_clock_that_cannot_be_right_stops_everything(office: Office, year: int) -> None:
    """In 1970, or a year ahead of the journal, nothing is listed, signed or destroyed."""
    list_id = office.ready(1)
    office.store(2)
    office.sweep()
    office.clock.now = office.clock.now.replace(year=year, month=12, day=31)
    for act in (
        lambda: office.disposals.propose("default", who=ANNE),
        lambda: office.disposals.preview("default"),
        lambda: office.destruction().plan(list_id),
        lambda: office.destroy(list_id),
    ):
        with pytest.raises(ClockNotTrusted):
            act()
    assert len(office.files()) == 4


def test_every_step_is_in_the_journal(office: Office) -> None:
    """Proposal, signatures, refusal, destruction and certificate are journaled with who did them, and no patient."""
    list_id = office.ready(1, 2)
    office.disposals.refuse(list_id, [study_uid(1)], "kept", who=DAVID)
    office.destroy(list_id)
    steps = [(row.event, row.actor) for row in office.journal() if "disposal" in row.event or "destroyed" in row.event]
    assert steps == [
        ("disposal_proposed", "anne"),
        ("disposal_approved", "diane"),
        ("disposal_approved", "david"),
        ("disposal_approved", "aude"),
        ("disposal_kept", "david"),
        ("studies_destroyed", "olga"),
        ("disposal_certified", "olga"),
    ]
    assert not any("PID1" in row.body or "PID2" in row.body for row in office.journal())
