"""What a French reader meets when the archive says no: French, from the headline to the reason."""

from __future__ import annotations

import pytest

from archive.clock import utc_now
from archive.index import set_aside
from tests.console_house import House, images, study_uid, words_of

WHY = {"reason": "contentieux", "authority": "Tribunal", "reference": "RG 1"}
ENGLISH = {"the", "is", "of", "not", "this", "takes", "already", "drimbox"}
"""Words that no French sentence of a refusal has."""


def path_of(house: House) -> str:
    """Return the address of the first list of this year."""
    return f"/lists/D-{house.core.ledger.clock().year:04d}-0001"


def english_in(page: str) -> set[str]:
    """Return the English words of what a page refuses with."""
    refusal = words_of(page.partition('role="alert"')[2].partition("</div>")[0])
    assert refusal
    return set(refusal.casefold().split()) & ENGLISH


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"review_on": "2001-01-01"}, "la date de revue n'est pas dans l'avenir"),
        ({"reason": ""}, "le motif prend 1 à 500 caractères imprimables"),
        ({"review_on": "hier"}, "la date de revue n'est pas une date"),
        ({"studies": study_uid(99)}, f"l'archive n'a pas l'étude {study_uid(99)}."),
        ({"studies": ""}, "nommez une étude ou un patient"),
        ({"studies": "", "patient_ids": "PERSONNE"}, "default n'a ni étude ni fait de cet IPP"),
        ({"studies": "abc"}, "StudyInstanceUID n'est pas un UID DICOM"),
        ({"site": "Ailleurs"}, "le site n'est pas dans les réglages"),
    ],
)
def test_a_hold_that_is_refused_says_why_in_french(office: House, fields: dict[str, str], told: str) -> None:
    """The form comes back with the reason, and nothing of it is English."""
    wanted = {**WHY, "site": "default", "studies": study_uid(1), **fields}
    page = office.browser("anne", "fr").post("/holds/new", wanted)
    assert page.status_code == 422 and told in words_of(page.text)
    assert english_in(page.text) == set()
    again = office.browser("anne", "en").post("/holds/new", wanted)
    assert told not in words_of(again.text) and english_in(again.text)


def test_what_a_list_refuses_is_french(office: House) -> None:
    """Signing twice, without a number, in another's office, too early, or what nobody ticked."""
    anne, diane, aude = (office.browser(name, "fr") for name in ("anne", "diane", "aude"))
    path = path_of(office)
    anne.post("/lists/propose", {"site": "default"})
    said = [
        anne.post("/lists/propose", {"site": "default"}),
        anne.post(f"{path}/refuse", {"reason": "recherche"}),
        anne.post(f"{path}/refuse", {"study": study_uid(3), "reason": "recherche"}),
        anne.post(f"{path}/cancel", {"reason": ""}),
        anne.post(f"{path}/destroy", {"confirmed": "oui"}),
        aude.post(f"{path}/approve", {"office": "archives_officer"}),
        diane.post(f"{path}/approve", {"office": "dim_physician"}),
        anne.post(f"{path}/approve", {"office": "archivist"}),
    ]
    told = [
        "2 × déjà sur un bordereau en cours",
        "aucune de ses études n'est cochée",
        f"{study_uid(3)} n'y est pas",
        "le motif prend 1 à 500 caractères imprimables",
        "écrivez le numéro du bordereau pour confirmer",
        "un visa a un numéro : écrivez-le",
        "il faut le rôle médecin DIM",
        "il faut le rôle",
    ]
    assert [each for each, page in zip(told, said, strict=True) if each not in words_of(page.text)] == []
    assert [english_in(page.text) for page in said] == [set()] * len(said)


def test_what_was_sent_back_or_left_out_is_french(office: House) -> None:
    """Lists keep the reason in English; the page says it to who reads French, and a person's own words as they are."""
    anne, path = office.browser("anne", "fr"), path_of(office)
    anne.post("/lists/propose", {"site": "default"})
    assert "2 · déjà sur un bordereau en cours" in anne.text("/lists/propose?site=default")
    anne.post(f"{path}/refuse", {"study": study_uid(2), "reason": "it is on hold: they said"})
    anne.post("/holds/new", {**WHY, "site": "default", "studies": study_uid(1)})
    page = words_of(office.browser("diane", "fr").post(f"{path}/approve", {"office": "director"}).text)
    assert "elle est gelée : H-" in page and "it is on hold: they said" in page


def test_the_reasons_of_jobs_and_the_doubts_of_candidates_are_french(office: House) -> None:
    """What is known is said; what a codec or a disk said is marked as technical."""
    with office.core.database.write(synced=False) as connection:
        set_aside.leave_alone(connection, study_uid(1), "rolled back by olga", utc_now())
        set_aside.record_failure(connection, study_uid(2), "the codec gave other pixels", utc_now())
    jobs = office.browser("anne", "fr").get("/jobs").text
    assert "ramenée par olga" in words_of(jobs)
    assert "détail technique, en anglais : the codec gave other pixels" in words_of(jobs)
    assert '<span lang="en">the codec gave other pixels</span>' in jobs
    plain = office.browser("anne", "en").text("/jobs")
    assert "rolled back by olga" in plain and "technical detail" not in plain
    refused = office.browser("anne", "fr").post("/jobs/retry", {"study": study_uid(3)})
    assert "reste où elle est : elle n'est pas mise de côté" in words_of(refused.text)


def test_a_decided_candidate_and_a_withdrawn_fact_are_refused_in_french(office: House) -> None:
    """Also what is no candidate at all."""
    office.find_death()
    david = office.browser("david", "fr")
    david.post("/facts/candidates/1", {"decision": "confirm"})
    said = [
        david.post("/facts/candidates/1", {"decision": "confirm"}),
        david.post("/facts/candidates/1", {"decision": "reject"}),
        david.post("/facts/candidates/99", {"decision": "reject"}),
        david.post("/facts/candidates/1", {"decision": "?"}),
    ]
    told = ["le décès 1 est déjà confirmé", "le candidat 1 est déjà confirmé", "99 n'est pas le numéro d'un candidat"]
    told.append("un candidat se confirme ou s'écarte")
    assert [each for each, page in zip(told, said, strict=True) if each not in words_of(page.text)] == []
    assert [english_in(page.text) for page in said] == [set()] * 4


def test_pages_that_are_not_there_or_not_for_somebody_say_so_in_french(office: House) -> None:
    """Wrong numbers and addresses, missing roles, other sites."""
    rita, nina = office.browser("rita", "fr"), office.browser("nina", "fr")
    office.receive(*images(4))
    said = [rita.get(path) for path in ("/nulle/part", "/lists/D-2020-0001", "/holds/H-1", "/holds/new", "/work/-")]
    said += [rita.get("/studies/1-abc"), nina.get("/lists/propose?site=default"), nina.get("/audit")]
    assert [english_in(page.text) for page in said] == [set()] * len(said)
    assert "un numéro de gel ressemble à H-2026-0001" in words_of(said[2].text)
    assert "ou archiviste ou médecin DIM ou directeur" in words_of(said[3].text)
