"""What the pages stand on: studies, lists, holds, contradictions and the overview, as services give them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.bootstrap_disposal import assessor_of, disposals_of
from archive.bootstrap_monitoring import watching_of
from archive.clock import utc_now
from archive.errors import AuditBroken, NoSuchResource, NotAllowed
from archive.index.session import Database
from archive.services.accesses import Access
from archive.services.audit_search import AuditDesk, AuditWanted
from archive.services.contradictions import Contradictions
from archive.services.facts_by_hand import FactsByHand, new_link
from archive.services.holds import Holds, NewHold
from archive.services.journal_check import JournalCheck
from archive.services.list_views import ListDesk
from archive.services.measuring import FIRST, HOT
from archive.services.overview import GROWTH_DAYS, STREAM_DAYS, Overview, OverviewDesk
from archive.services.people import Person
from archive.services.study_view import MOST_FOUND, StudyDesk
from archive.services.tls_certificates import Certificate, Place, Seen, Watched, judge
from tests.console_house import PEOPLE, House, arrive, images, study_uid, words_of

SITES = frozenset({"default", "Nord"})
ANNE, NINA, MANU = PEOPLE["anne"], PEOPLE["nina"], PEOPLE["manu"]


def desk_of(house: House) -> StudyDesk:
    """Return what finds and shows studies."""
    return StudyDesk(house.core.committer, utc_now)


def access(person: Person = ANNE) -> Access:
    """Return somebody who looks."""
    return Access(person, "192.0.2.7", "court")


# ---- studies -------------------------------------------------------------------------------------------------------


def test_a_study_is_shown_with_its_series_copies_and_packs(house: House) -> None:
    """What was sealed has a pack, what went cold has two; sizes are by tier."""
    desk = desk_of(house)
    sealed, cold = (desk.show(house.reference(number), access()) for number in (2, 7))
    assert [(pack.tier, pack.series_instance_uid) for pack in sealed.packs] == [("hot", f"{study_uid(2)}.1")]
    assert sorted(pack.tier for pack in cold.packs) == ["cold", "hot"]
    assert (cold.instances, cold.made_lossy, cold.arrived_lossy) == (2, 2, 0)
    assert (sealed.instances, sealed.made_lossy) == (2, 0)
    assert sealed.size_bytes("hot") > 0 == sealed.size_bytes("cold")
    assert cold.size_bytes("cold") > 0 == cold.size_bytes("hot")
    assert cold.modalities == ["CT"]


def test_a_study_is_only_shown_to_who_may_know_of_it(house: House) -> None:
    """Without the permission: refused. Of another site: not there, for every way to it."""
    desk, reference = desk_of(house), house.reference(2)
    with pytest.raises(NotAllowed):
        desk.show(reference, access(MANU))
    with pytest.raises(NotAllowed):
        desk.find("PID2", MANU)
    for look in (lambda: desk.show(reference, access(NINA)), lambda: desk.resolve(reference, NINA)):
        with pytest.raises(NoSuchResource):
            look()
    assert list(desk.find("PID2", NINA).studies) == []
    assert desk.records([study_uid(2)], NINA) == {}
    assert desk.records([study_uid(2)], ANNE)[study_uid(2)].reference == reference


def test_a_refused_look_is_not_journalled_as_one(house: House) -> None:
    """Only what was shown is a look."""
    before = len(house.journal("viewed"))
    with pytest.raises(NoSuchResource):
        desk_of(house).show(house.reference(2), access(NINA))
    assert len(house.journal("viewed")) == before
    desk_of(house).show(house.reference(2), access())
    entry = house.journal("viewed")[-1]
    assert (entry["address"], entry["reason"]) == ("192.0.2.7", "court")


def test_records_that_are_one_patient_are_told_beside_each_other(office: House) -> None:
    """The page of a study names the other PatientIDs of its patient."""
    link = new_link("default", "PID1", "PID2", "fusion")
    FactsByHand(office.core.ledger).link(link, actor="anne")
    assert desk_of(office).show(office.reference(1), access()).linked == ["PID2"]
    assert desk_of(office).show(office.reference(3), access()).linked == []


def test_the_studies_of_patients_are_told_with_those_of_linked_records(office: House) -> None:
    """The newest first; none of another site's, nor to who is for another site; who has none has none."""
    desk, wanted = desk_of(office), [("default", "PID1"), ("default", "PID3"), ("Nord", "PID1"), ("default", "NOBODY")]
    FactsByHand(office.core.ledger).link(new_link("default", "PID1", "PID2", "fusion"), actor="anne")
    office.receive(*images(40, 1, PatientID="PID1", exam_on="20100101"))
    found = desk.of_patients(wanted, ANNE)
    uids = {patient: [each.record.study_instance_uid for each in studies] for patient, studies in found.items()}
    assert uids == {
        ("default", "PID1"): [study_uid(40), study_uid(1), study_uid(2)],
        ("default", "PID3"): [study_uid(3)],
        ("Nord", "PID1"): [],
        ("default", "NOBODY"): [],
    }
    assert found["default", "PID3"][0].reference == office.reference(3)
    assert set(map(len, desk.of_patients(wanted, NINA).values())) == {0}


def test_a_number_that_is_several_things_leads_to_each_study_once(office: House) -> None:
    """One study's PatientID may be another's AccessionNumber."""
    office.receive(
        *images(30, 1, PatientID="X-1", AccessionNumber="X-2"),
        *images(31, 1, PatientID="X-2", AccessionNumber="X-1"),
        *images(32, 1, PatientID="X-1", AccessionNumber="X-1"),
    )
    found = desk_of(office).find("X-1", ANNE)
    assert {each.record.study_instance_uid for each in found.studies} == {study_uid(n) for n in (30, 31, 32)}
    assert len(found.studies) == 3 and not found.is_cut


def test_a_patient_with_hundreds_of_studies_is_cut(office: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are shown, and the page says that there are more."""
    monkeypatch.setattr("archive.services.study_view.MOST_FOUND", 2)
    days = ("20100101", "20120101", "20110101")
    for number, day in enumerate(days, start=40):
        office.receive(*images(number, 1, exam_on=day, PatientID="MANY", AccessionNumber=f"M{number}"))
    found = desk_of(office).find("MANY", ANNE)
    assert [each.record.study_date for each in found.studies] == ["20120101", "20110101"]
    assert found.is_cut and MOST_FOUND > 2
    assert "Only the first are shown" in office.browser("anne", "en").post("/studies", {"number": "MANY"}).text


# ---- lists, holds, contradictions ----------------------------------------------------------------------------------


def test_lists_are_paged_and_open_ones_told(office: House) -> None:
    """The newest first; a cancelled one is over; sites bound both."""
    disposals, lists = disposals_of(office.core), ListDesk(office.core.database)
    first = disposals.propose("default", 1, who=ANNE).list_id
    second = disposals.propose("default", 1, who=ANNE).list_id
    assert first is not None and second is not None
    disposals.cancel(first, "error", who=ANNE)
    page, more = lists.page(SITES, 0, 1)
    assert ([each.list_id for each in page], more) == ([second], True)
    page, more = lists.page(SITES, 1, 1)
    assert ([(each.list_id, each.kept) for each in page], more) == ([(first, 1)], False)
    assert [each.list_id for each in lists.open(SITES)] == [second]
    assert list(lists.open({"Nord"})) == []
    (listed,) = disposals.show(second).items
    assert lists.of_study(listed.study_instance_uid) == [second]
    assert lists.of_study(study_uid(3)) == []


def test_holds_are_paged_newest_first_within_sites(office: House) -> None:
    """Lifted ones on request; a hold that covers another site too is not shown to who is for one."""
    holds = Holds(office.core.ledger)
    for number in range(1, 4):
        wanted = NewHold("default", f"reason {number}", "court", "RG", studies=(study_uid(number),))
        holds.place(wanted, actor="anne", sites=None)
    year = utc_now().year
    holds.lift(f"H-{year}-0002", reason="over", actor="anne", sites=None)
    page, more = holds.page(None, 0, 1, with_lifted=False)
    assert ([view.hold.hold_id for view in page], more) == ([f"H-{year}-0003"], True)
    every, _ = holds.page(None, 0, 9, with_lifted=True)
    assert [view.hold.hold_id for view in every] == [f"H-{year}-000{number}" for number in (3, 2, 1)]
    assert holds.page(frozenset({"Nord"}), 0, 9, with_lifted=True) == ([], False)
    assert len(holds.page(frozenset({"default"}), 0, 9, with_lifted=True)[0]) == 3


def test_contradictions_are_paged_and_told_in_both_languages(office: House) -> None:
    """Each with what cannot be true together; a study that went away meanwhile is left out."""
    for number in (1, 2):
        office.tell(f"PID{number}", "birth", "2010-01-01")
    office.settle()
    found = Contradictions(assessor_of(office.core), utc_now)
    first, after = found.page(SITES, "", 1, "fr")
    assert [each.study_instance_uid for each in first] == [study_uid(1)]
    assert after == study_uid(1)
    rest, end = found.page(SITES, after, 9, "en")
    assert [each.study_instance_uid for each in rest] == [study_uid(2)]
    assert end is None
    assert first[0].sentences[0].startswith("Contradiction : naissance")
    assert rest[0].sentences[0].startswith("Contradiction: birth")
    assert found.page({"Nord"}, "", 9, "en") == ([], None)


# ---- the overview and the journal ----------------------------------------------------------------------------------


def overview(house: House, person: Person) -> Overview:
    """Return the overview of a person, counted now."""
    watching = watching_of(house.core)
    watching.keeper.refresh()
    sites = frozenset(site for site in SITES if person.is_for(site))
    return OverviewDesk(watching.keeper, watching.meter, ListDesk(house.core.database), utc_now).overview(person, sites)


def waiting(house: House, name: str) -> dict[str, int]:
    """Return what waits for a person, by name."""
    return {each.name: each.count for each in overview(house, PEOPLE[name]).waiting}


def test_a_list_waits_for_those_whose_office_has_not_signed(office: House) -> None:
    """Not for who proposed it, not for who signed, not at another site; and for whoever destroys once it is ripe."""
    disposals = disposals_of(office.core)
    assert waiting(office, "diane") == {}
    list_id = disposals.propose("default", who=ANNE).list_id
    assert list_id is not None
    assert [waiting(office, name).get("lists_to_sign") for name in ("diane", "david", "anne", "olga")] == [
        1,
        1,
        None,
        None,
    ]
    disposals.approve(list_id, "director", who=PEOPLE["diane"])
    assert waiting(office, "diane").get("lists_to_sign") is None
    disposals.approve(list_id, "dim_physician", who=PEOPLE["david"])
    disposals.approve(list_id, "archives_officer", who=PEOPLE["aude"], reference="V")
    assert waiting(office, "anne").get("lists_ripe") == 1
    assert waiting(office, "nina").get("lists_ripe") is None


@pytest.mark.parametrize(("seconds", "age", "is_new"), [(0.01, 6, True), (0.01, 3, False), (2.0, 60, False)])
def test_what_has_just_come_in_is_counted_where_that_is_quick(
    office: House, seconds: float, age: int, is_new: bool
) -> None:
    """Whoever sends a study and looks sees it; where counting takes long nobody waits for it."""
    watching = watching_of(office.core)
    counted = watching.keeper.refresh()
    before = replace(counted.totals, studies=0)
    then = utc_now() - timedelta(seconds=age)
    watching.keeper.latest = replace(counted, totals=before, seconds=seconds, taken_at=then)
    desk = OverviewDesk(watching.keeper, watching.meter, ListDesk(office.core.database), utc_now)
    shown = desk.overview(PEOPLE["olga"], SITES).figures
    assert shown is not None and counted.totals.studies > 0
    assert shown.totals.studies == (counted.totals.studies if is_new else 0)


def test_figures_that_are_not_counted_yet_keep_nobody_waiting(office: House) -> None:
    """Right after a start the page is there without them, says so, and has them a moment later."""
    browser = office.browser("olga", "en")
    first = browser.get("/").text
    assert "its figures are being counted" in first and 'data-live="running"' in first
    for _ in range(200):
        page = browser.get("/").text
        if 'data-live="over"' in page:
            break
        threading.Event().wait(0.02)
    assert "3 studies" in words_of(page) and "Counted" in page


def test_what_is_counted_beside_is_shown_as_it_is(office: House) -> None:
    """Whoever watches the archive counts; the overview does not count again."""
    counted = office.watching.keeper.refresh()
    office.receive(*images(60, 1))
    assert "3 studies" in office.browser("olga", "en").text("/")
    assert office.watching.keeper.latest is counted


def test_the_flow_has_every_day_and_every_stream(office: House) -> None:
    """Thirty days of growth, fourteen of each stream, those with a drop first; only a person's own sites."""
    arrive(office)
    flow = overview(office, ANNE).flow
    assert len(flow.growth) == GROWTH_DAYS
    assert [day.on - flow.growth[0].on for day in flow.growth] == [timedelta(days=n) for n in range(GROWTH_DAYS)]
    assert all(day.instances for day in flow.growth)
    assert [(stream.modality, stream.is_drop) for stream in flow.streams] == [("MR", True), ("CT", False)]
    assert {len(stream.days) for stream in flow.streams} == {STREAM_DAYS}
    assert overview(office, NINA).flow.streams == []


def watched(use: str, days: int | None) -> Watched:
    """Return a certificate that ends in so many days; None: one that cannot be read."""
    now = utc_now()
    place = Place(use, Path(f"tls/{use}.pem"))
    if days is None:
        return judge(Seen(place, problem="no such file"), now, (60, 15))
    start, end = now - timedelta(days=400), now + timedelta(days=days, hours=1)
    return judge(Seen(place, Certificate("server", f"CN={use}", "CN=CA", start, end, use), "complete"), now, (60, 15))


def test_certificates_come_with_the_most_urgent_first(office: House) -> None:
    """Days left, state in words, what cannot be read too; those that need care are among what needs a person."""
    keeper = office.watching.keeper
    keeper.certificates = (watched("later", 300), watched("soon", 14), watched("lost", None), watched("over", -2))
    keeper.refresh()
    page = office.browser("olga", "en").text("/").rpartition("Certificates")[2]
    assert [page.index(f"tls/{use}.pem") for use in ("over", "soon", "later", "lost")] == sorted(
        page.index(f"tls/{use}.pem") for use in ("over", "soon", "later", "lost")
    )
    for text in ("-2 Expired", "14 To be renewed", "300 Valid", "– Unreadable", "no such file"):
        assert text in page
    assert "Certificates to renew 3" in office.browser("olga", "en").text("/")


def test_promises_are_shown_with_those_that_were_not_kept(office: House) -> None:
    """Since the start, by tier: percentiles, the limit, and how many were quick enough."""
    office.watching.keeper.refresh()
    for seconds in (0.02, 0.02, 6.0):
        office.watching.meter.add((FIRST, HOT), seconds, is_good=seconds <= 5)
    page = office.browser("olga", "en").text("/")
    assert "First image Hot everybody ≤ 25 ms ≤ 10.00 s ≤ 10.00 s 5.00 s 2 of 3" in page.replace("\u00a0", " ")


def test_the_check_of_the_journal_tells_how_far_it_is(office: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress counts entries; a break is the same error as the command's."""
    monkeypatch.setattr("archive.services.journal_check._STEP", 2)
    seen: list[tuple[int, int]] = []
    report = JournalCheck(office.core.ledger).run(lambda done, total: seen.append((done, total)))
    assert report.entries == seen[-1][1]
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    spoil(office.core.database)
    with pytest.raises(AuditBroken):
        JournalCheck(office.core.ledger).run(lambda _done, _total: None)


def spoil(database: Database) -> None:
    """Take an entry out of the journal."""
    from tests.integration.index.making import change

    change(database, "DELETE FROM audit WHERE sequence = ?", (3,))


def test_who_looked_is_told_from_the_newest_back(office: House) -> None:
    """Looks of different people at one study, and none at another; a limit bounds what is told."""
    desk, audit = desk_of(office), AuditDesk(office.core.database)
    reference = office.reference(1)
    for person in (ANNE, PEOPLE["david"], PEOPLE["olga"]):
        desk.show(reference, access(person))
    office.core.committer.barrier()
    told = audit.of_study(study_uid(1))
    assert [each.full_name for each in told.entries] == ["Olga", "David", "Anne"]
    assert {(each.address, each.reason, each.service) for each in told.entries} == {("192.0.2.7", "court", "console")}
    assert [each.full_name for each in audit.of_study(study_uid(1), limit=1).entries] == ["Olga"]
    assert audit.of_study(study_uid(2)).entries == []
    assert audit.of_study("2.25.1234567890").entries == [], "the beginning of a UID is another's"


def test_the_journal_is_for_who_reads_the_audit_of_every_site(house: House) -> None:
    """A director does not, and an auditor of one site does not either."""
    audit = AuditDesk(house.core.database)
    for person in (PEOPLE["diane"], NINA):
        with pytest.raises(NotAllowed):
            audit.search(AuditWanted(), person)
    assert audit.search(AuditWanted(), PEOPLE["gaston"]).entries
