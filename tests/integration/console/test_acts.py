"""What people do in the console: the same services as the commands, proven forms, one answer each."""

from __future__ import annotations

import re
import threading

import pytest

from archive.services.people import Permission
from tests.console_house import PEOPLE, House, images, study_uid, words_of

WHY = {"reason": "contentieux", "authority": "Tribunal", "reference": "RG 1"}
HOLD = "/holds/H-{year}-0001"


def year(house: House) -> int:
    """Return the year that numbers begin with."""
    return house.core.ledger.clock().year


def list_path(house: House, number: int = 1) -> str:
    """Return the address of a list."""
    return f"/lists/D-{year(house):04d}-{number:04d}"


# ---- forms -------------------------------------------------------------------------------------------------------


def test_a_form_without_its_proof_does_nothing(office: House) -> None:
    """No token, another person's, one of another browser, another site's page: refused, and nothing is held."""
    anne, olga = office.browser("anne"), office.browser("olga")
    token = re.search('name="form_token" value="([0-9a-f]+)"', olga.get("/holds").text)
    assert token is not None
    fields = {**WHY, "site": "default", "studies": study_uid(1)}
    anne.get("/holds")
    for proof in ({}, {"form_token": ""}, {"form_token": "00" * 64}, {"form_token": token[1]}):
        assert anne.send("/holds/new", {**fields, **proof}).status_code == 403
    anne.headers["sec-fetch-site"] = "cross-site"
    assert anne.post("/holds/new", fields).status_code == 403
    assert office.journal("hold_placed") == []


def test_an_act_is_answered_by_going_on_so_that_reloading_repeats_nothing(office: House) -> None:
    """A form that was taken leads to a page (303), one that was not is shown again with what was entered (422)."""
    anne = office.browser("anne")
    done = anne.post("/holds/new", {**WHY, "site": "default", "studies": study_uid(1)}, follow=False)
    assert (done.status_code, done.headers["location"].partition("?")[2]) == (303, "done=hold_placed")
    wrong = anne.post("/holds/new", {**WHY, "site": "default", "studies": study_uid(99)})
    assert wrong.status_code == 422
    assert study_uid(99) in wrong.text and 'value="contentieux"' in wrong.text and 'role="alert"' in wrong.text


# ---- holds -------------------------------------------------------------------------------------------------------


def test_a_hold_is_placed_from_the_study_reviewed_and_lifted(office: House) -> None:
    """On the study or on its patient; an operator places and reviews it, and may not lift it."""
    olga, anne = office.browser("olga", "en"), office.browser("anne", "en")
    page = olga.post(f"/studies/{office.reference(1)}/hold", {**WHY, "scope": "patient"})
    assert "The hold is placed." in words_of(page.text) and "Everything of patient PID1" in words_of(page.text)
    path = HOLD.format(year=year(office))
    reviewed = olga.post(f"{path}/review", {"review_on": f"{year(office) + 1}-01-01", "note": "still needed"})
    assert "The hold is kept." in words_of(reviewed.text) and "still needed" not in reviewed.text
    assert "still needed" in olga.text(f"{path}?history=1")
    assert olga.post(f"{path}/lift", {"reason": "over"}).status_code == 403
    assert anne.post(f"{path}/lift", {"reason": ""}).status_code == 422
    assert "The hold is lifted." in words_of(anne.post(f"{path}/lift", {"reason": "over"}).text)
    assert anne.post(f"{path}/lift", {"reason": "again"}).status_code == 422
    kinds = [len(office.journal(kind)) for kind in ("hold_placed", "hold_reviewed", "hold_lifted")]
    assert kinds == [1, 1, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": ""},
        {"review_on": "yesterday"},
        {"review_on": "2001-01-01"},
        {"site": "Nowhere"},
        {"studies": "no uid"},
        {"studies": "", "patient_ids": ""},
        {"studies": "", "patient_ids": "NOBODY"},
    ],
)
def test_a_hold_that_says_too_little_is_not_placed(office: House, wrong: dict[str, str]) -> None:
    """Texts, dates, site and scope are checked by the service; the form comes back."""
    fields = {**WHY, "site": "default", "studies": study_uid(1), **wrong}
    assert office.browser("anne").post("/holds/new", fields).status_code == 422
    assert office.journal("hold_placed") == []


def test_which_site_a_hold_is_of_is_asked_when_there_are_several(office: House) -> None:
    """None is taken because its name comes first; what was chosen stays when the form comes back."""
    anne, nina = office.browser("anne", "fr"), office.browser("nina", "fr")
    assert "Choisir un site" in anne.text("/holds/new") and "Choisir un site" not in nina.text("/holds/new")
    for browser in (anne, nina):
        missing = browser.post("/holds/new", {**WHY, "site": "", "studies": study_uid(1)})
        assert missing.status_code == 422 and "le site manque" in words_of(missing.text)
    wrong = anne.post("/holds/new", {**WHY, "site": "default", "studies": study_uid(99)})
    assert "<option selected>default" in wrong.text and "Choisir un site" not in words_of(wrong.text)
    assert office.journal("hold_placed") == []


def test_a_patient_and_studies_not_there_yet_can_be_held(office: House) -> None:
    """One a line; ahead of their arrival when that is asked for."""
    fields = {**WHY, "site": "default", "studies": f"{study_uid(8)}\n{study_uid(9)}", "patient_ids": "PID 8\nPID1"}
    anne = office.browser("anne", "en")
    assert anne.post("/holds/new", fields).status_code == 422
    page = words_of(anne.post("/holds/new", {**fields, "is_ahead": "1"}).text)
    assert "Everything of patient PID 8" in page and "1 study covered today" in page


# ---- elimination ---------------------------------------------------------------------------------------------------


def test_a_list_goes_from_proposal_to_certificate_in_the_browser(office: House) -> None:
    """Proposed by one, signed by three others, one line refused, destroyed in the background, certificate verified."""
    anne, path = office.browser("anne", "en"), list_path(office)
    assert "2 Studies" in anne.text("/lists/propose?site=default")
    proposed = anne.post("/lists/propose", {"site": "default"})
    assert proposed.url.path == f"/console{path}" and "You proposed it" in words_of(proposed.text)
    assert anne.post(f"{path}/refuse", {"study": study_uid(1), "reason": "recherche"}).status_code == 200
    for name, office_name in (("diane", "director"), ("david", "dim_physician")):
        signed = office.browser(name, "en").post(f"{path}/approve", {"office": office_name})
        assert "Your signature is kept." in words_of(signed.text)
    aude = office.browser("aude", "en")
    assert aude.post(f"{path}/approve", {"office": "archives_officer"}).status_code == 422
    aude.post(f"{path}/approve", {"office": "archives_officer", "reference": "VISA 12"})
    assert office.browser("diane").post(f"{path}/destroy", {"confirmed": path[7:]}).status_code == 403
    assert anne.post(f"{path}/destroy", {"confirmed": "yes"}).status_code == 422
    work = anne.post(f"{path}/destroy", {"confirmed": path[7:]})
    assert "/console/work/" in work.url.path
    over = waited(office, "anne", work.url.path.removeprefix("/console"))
    assert "Studies destroyed 1" in over and "Copies left 0" in over
    assert "Valid Every byte is as it was signed" in anne.text(path)
    assert office.browser("anne").post("/studies", {"number": study_uid(1)}).url.path.startswith("/console/studies/")


def waited(house: House, name: str, path: str) -> str:
    """Return what a page of work says once the work is over."""
    for _ in range(100):
        page = house.browser(name, "en").get(path)
        if 'data-live="over"' in page.text:
            return words_of(page.text)
        threading.Event().wait(0.1)
    raise AssertionError("the work does not end")


def test_which_site_a_list_is_for_is_asked_when_there_are_several(office: House) -> None:
    """None is taken because its name comes first; who has one site, or came from one, is not asked."""
    anne, nina = office.browser("anne", "fr"), office.browser("nina", "fr")
    asked = anne.get("/lists/propose")
    assert asked.status_code == 200 and "Choisir un site" in words_of(asked.text)
    assert "Bordereau de" not in words_of(asked.text) and "Proposer ce bordereau" not in words_of(asked.text)
    chosen = anne.get("/lists/propose?site=default").text
    assert "Bordereau de default" in words_of(chosen) and "Choisir un site" not in words_of(chosen)
    own = nina.text("/lists/propose")
    assert "Bordereau de Nord" in own and "Choisir un site" not in own
    assert nina.get("/lists/propose?site=default").status_code == 403
    assert anne.get("/lists/propose?site=Ailleurs").status_code == 403


def test_what_is_due_at_a_site_leads_to_its_list(office: House) -> None:
    """The site that was looked at is the one proposed for; of another day, or to who may not, nothing is offered."""
    anne = office.browser("anne")
    assert 'href="/console/lists/propose?site=default"' in anne.get("/due?site=default").text
    assert 'href="/console/lists/propose"' in anne.get("/due").text
    assert "/console/lists/propose" not in anne.get("/due?site=default&months=12").text
    assert "/console/lists/propose" not in office.browser("diane").get("/due?site=default").text


def test_nobody_approves_what_they_proposed(office: House) -> None:
    """Not even with every role: the page does not offer it, and the service refuses it."""
    clara, path = office.browser("clara", "en"), list_path(office)
    page = clara.post("/lists/propose", {"site": "default"})
    assert "Sign: DIM physician" not in words_of(page.text)
    assert clara.post(f"{path}/approve", {"office": "dim_physician"}).status_code == 403
    assert office.browser("david", "en").text(path).count("Sign: DIM physician") == 1
    assert office.browser("diane").post(f"{path}/approve", {"office": "dim_physician"}).status_code == 403
    assert office.journal("disposal_approved") == []


def test_a_list_is_cancelled_and_nothing_due_is_told(office: House) -> None:
    """With a reason; its studies are due again, and a site without any says so."""
    anne, path = office.browser("anne", "en"), list_path(office)
    anne.post("/lists/propose", {"site": "default"})
    again = anne.post("/lists/propose", {"site": "default"})
    assert again.status_code == 422 and "Nothing is due" in words_of(again.text)
    assert anne.post(f"{path}/cancel", {"reason": ""}).status_code == 422
    assert "Cancelled" in words_of(anne.post(f"{path}/cancel", {"reason": "erreur"}).text)
    assert anne.post("/lists/propose", {"site": "Elsewhere"}).status_code == 400
    assert anne.post(f"{path}/refuse", {"study": study_uid(1), "reason": "x"}).status_code == 422
    assert anne.get("/lists/D-2020-0001").status_code == 404
    assert anne.get("/lists/nonsense").status_code == 404


def test_what_changed_since_it_was_listed_is_sent_back_when_somebody_signs(office: House) -> None:
    """A hold placed after the proposal keeps its study, and the list says why."""
    anne, path = office.browser("anne", "en"), list_path(office)
    anne.post("/lists/propose", {"site": "default"})
    anne.post("/holds/new", {**WHY, "site": "default", "studies": study_uid(1)})
    page = words_of(office.browser("diane", "en").post(f"{path}/approve", {"office": "director"}).text)
    assert "Sent back, kept" in page and "it is on hold" in page


# ---- facts ---------------------------------------------------------------------------------------------------------


def test_a_candidate_is_confirmed_or_rejected_once(office: House) -> None:
    """What both sides say is shown; the decision is journalled; a second one is refused."""
    office.find_death()
    david = office.browser("david", "en")
    words = david.text("/facts")
    assert "MOREAU HELENE MARIE" in words and "75056 PARIS" in words and "PID1" in words
    assert david.post("/facts/candidates/1", {"decision": "maybe"}).status_code == 400
    assert "confirmed" in words_of(david.post("/facts/candidates/1", {"decision": "confirm"}).text)
    assert "rejected" in words_of(david.post("/facts/candidates/2", {"decision": "reject"}).text)
    assert david.post("/facts/candidates/1", {"decision": "confirm"}).status_code == 404
    assert david.post("/facts/candidates/x", {"decision": "confirm"}).status_code == 404
    assert office.browser("diane").post("/facts/candidates/3", {"decision": "confirm"}).status_code == 403
    assert len(office.journal("candidate_confirmed")) == len(office.journal("candidate_rejected")) == 1


def test_a_candidate_leads_to_the_studies_of_the_patient(office: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to say whether it is this patient looks at what is known; the address names nobody."""
    monkeypatch.setattr("archive.console.facts._STUDIES", 1)
    office.find_death()
    office.receive(*images(50, 1, PatientID="PID1", exam_on="20110405"))
    page = office.browser("david", "fr").get("/facts").text
    card = next(each for each in page.split('class="card"') if "PID1 (default)" in each)
    assert f'href="/console/studies/{office.reference(50)}"' in card and "05/04/2011 CT" in words_of(card)
    assert "et 1 autre" in words_of(card) and office.reference(1) not in card
    assert not re.search(r'href="[^"]*PID', page)
    assert office.browser("david").get(f"/studies/{office.reference(50)}").status_code == 200
    assert "PID1" not in office.browser("nina").get("/facts").text


def test_a_contradiction_is_settled_by_withdrawing_the_wrong_fact(office: House) -> None:
    """The list says what contradicts what; the study's page takes the fact back, with a reason."""
    office.tell("PID3", "birth", "2021-05-05")
    office.settle()
    david = office.browser("david", "en")
    assert "birth (5 May 2021) after the examination" in david.text("/facts/contradictions")
    path = f"/studies/{office.reference(3)}"
    fact = re.search(r"/facts/(\d+)/withdraw", david.get(path).text)
    assert fact is not None
    withdraw = f"{path}/facts/{fact[1]}/withdraw"
    assert david.post(withdraw, {"reason": ""}).status_code == 422
    assert office.browser("olga").post(withdraw, {"reason": "x"}).status_code == 403
    assert "The fact is withdrawn" in words_of(david.post(withdraw, {"reason": "faute de frappe"}).text)
    office.settle()
    assert "No contradiction." in david.text("/facts/contradictions")


# ---- machinery -----------------------------------------------------------------------------------------------------


def test_a_study_set_aside_is_tried_again(office: House) -> None:
    """By who may run migrations; one that is not set aside is told."""
    from archive.clock import utc_now
    from archive.index import set_aside

    with office.core.database.write(synced=False) as connection:
        set_aside.leave_alone(connection, study_uid(1), "rolled back", utc_now())
    anne = office.browser("anne", "en")
    assert "Set aside" in anne.text("/jobs") and "rolled back" in anne.text("/jobs")
    assert office.browser("diane").post("/jobs/retry", {"study": study_uid(1)}).status_code == 403
    assert "tried again" in words_of(anne.post("/jobs/retry", {"study": study_uid(1)}).text)
    assert anne.post("/jobs/retry", {"study": study_uid(1)}).status_code == 422
    (entry,) = office.journal("migration_retried")
    assert entry["study_instance_uid"] == study_uid(1)


def test_a_study_set_aside_is_tried_again_by_people_of_its_site_alone(office: House) -> None:
    """To who is for another site there is no such study."""
    from archive.clock import utc_now
    from archive.index import set_aside

    with office.core.database.write(synced=False) as connection:
        for study in (1, 2):
            set_aside.leave_alone(connection, study_uid(study), "rolled back", utc_now())
    nina = office.browser("nina", "en")
    assert "Nothing failed." in nina.text("/jobs")
    refused = nina.post("/jobs/retry", {"study": study_uid(1)})
    assert refused.status_code == 422 and "The archive has no such study" in words_of(refused.text)
    assert nina.post("/jobs/retry", {"study": ""}).status_code == 422
    assert office.journal("migration_retried") == []
    assert "tried again" in words_of(office.browser("anne", "en").post("/jobs/retry", {"study": study_uid(1)}).text)


def test_the_chain_is_checked_in_the_background_and_a_break_is_told(office: House) -> None:
    """The check has an address of its own, for who started it; a changed entry is found."""
    from tests.integration.index.making import value

    assert value(office.core.database, "SELECT COUNT(*) FROM audit")
    gaston = office.browser("gaston", "en")
    work = gaston.post("/audit/check").url.path.removeprefix("/console")
    assert "Chain unbroken" in waited(office, "gaston", work)
    assert office.browser("clara").get(work).status_code == 404
    assert gaston.get(f"{work}x").status_code == 404
    change(office)
    broken = gaston.post("/audit/check").url.path.removeprefix("/console")
    assert "The chain of the journal is broken" in waited(office, "gaston", broken)


def change(house: House) -> None:
    """Change an entry of the journal behind the archive's back."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(house.core.settings.home / "index.db")) as index, index:
        index.execute("UPDATE audit SET actor = 'mallory' WHERE sequence = 2")


def test_an_act_needs_its_permission_whatever_the_page_offers(office: House) -> None:
    """Sent without being offered, each form is refused to who may not; nothing is journalled but the refusal's log."""
    paths = {
        "/holds/new": Permission.PLACE_HOLD,
        f"/studies/{office.reference(1)}/hold": Permission.PLACE_HOLD,
        "/lists/propose": Permission.PROPOSE_DISPOSAL,
        f"{list_path(office)}/approve": Permission.APPROVE_DISPOSAL,
        "/facts/candidates/1": Permission.VALIDATE_FACTS,
        "/jobs/retry": Permission.RUN_MIGRATION,
        "/audit/check": Permission.READ_AUDIT,
    }
    before = len(office.journal("hold_placed"))
    for name in ("rita", "manu", "gaston"):
        for path, permission in paths.items():
            if not PEOPLE[name].may(permission):
                assert office.browser(name).post(path, {"site": "default"}).status_code == 403, (name, path)
    assert len(office.journal("hold_placed")) == before


def test_a_new_study_shows_up_without_a_restart(office: House) -> None:
    """What arrives is found at once."""
    office.receive(*images(5, exam_on="20210101"))
    assert office.browser("anne").post("/studies", {"number": "ACC5"}).url.path.endswith(office.reference(5))


# ---- what was typed ------------------------------------------------------------------------------------------------


def test_a_refused_hold_of_a_study_comes_back_as_it_was_sent(office: House) -> None:
    """Also whom it is for: a hold of a patient must not become one of a study because a date was wrong."""
    wrong = {**WHY, "scope": "patient", "review_on": "2001-01-01"}
    page = office.browser("anne").post(f"/studies/{office.reference(1)}/hold", wrong).text
    assert 'value="contentieux"' in page and 'value="2001-01-01"' in page
    assert 'value="patient" checked' in page and 'value="study" checked' not in page


def test_a_refused_review_or_lift_comes_back_as_it_was_sent(office: House) -> None:
    """The note that was written is not lost over a date in the past."""
    anne, path = office.browser("anne"), HOLD.format(year=year(office))
    anne.post("/holds/new", {**WHY, "site": "default", "studies": study_uid(1)})
    page = anne.post(f"{path}/review", {"review_on": "2001-01-01", "note": "expertise en cours"})
    assert page.status_code == 422
    assert 'value="expertise en cours"' in page.text and 'value="2001-01-01"' in page.text
    assert f'value="{"x" * 501}"' in anne.post(f"{path}/lift", {"reason": "x" * 501}).text


def test_a_refused_form_of_a_list_comes_back_as_it_was_sent(office: House) -> None:
    """Ticks and texts stay in the form that was sent, and come into no other; nothing ticked is told as that."""
    anne, path = office.browser("anne", "en"), list_path(office)
    anne.post("/lists/propose", {"site": "default"})
    none = anne.post(f"{path}/refuse", {"reason": "recherche"})
    assert none.status_code == 422 and "no study of it was chosen" in none.text
    assert none.text.count('value="recherche"') == 1
    no_reason = anne.post(f"{path}/refuse", {"study": study_uid(2), "reason": " "}).text
    ticked = re.findall(r'name="study" value="([^"]*)" checked', no_reason)
    assert ticked == [study_uid(2)]
    assert anne.post(f"{path}/cancel", {"reason": "y" * 501}).text.count("y" * 501) == 1
    aude = office.browser("aude").post(f"{path}/approve", {"office": "archives_officer", "reference": "v" * 501})
    assert aude.status_code == 422 and 'value="vvv' in aude.text


def test_a_fact_that_is_withdrawn_without_a_reason_is_told_on_its_page(office: House) -> None:
    """The study stays in sight, with what to do; a fact that is gone has no page to go back to."""
    office.tell("PID3", "visit", "2021-05-05")
    office.settle()
    david, path = office.browser("david", "en"), f"/studies/{office.reference(3)}"
    fact = re.search(r"/facts/(\d+)/withdraw", david.get(path).text)
    assert fact is not None
    page = david.post(f"{path}/facts/{fact[1]}/withdraw", {"reason": "  "})
    assert page.status_code == 422
    assert "Write a reason." in page.text and "Why it is kept" in page.text
    assert david.post(f"{path}/facts/999/withdraw", {"reason": "x"}).status_code == 404
    back = david.get(f"{path}/facts/{fact[1]}/withdraw")
    assert (back.status_code, back.headers["location"]) == (303, f"/console{path}")
