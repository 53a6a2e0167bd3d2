"""Long lists are read a page at a time, and every page leads to the next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archive.clock import utc_now
from archive.index import set_aside
from archive.services.holds import LIFTERS, REVIEWERS, Holds, NewHold
from archive.services.people import PERMISSIONS, Permission, roles_with
from tests.console_house import House, images, study_uid, words_of
from tests.integration.index.making import change
from tests.objects import changed, ct_dataset

COMMANDS = Path(__file__).parents[3] / "archive" / "cli"


def walk(house: House, path: str, pattern: str) -> list[list[str]]:
    """Return what each page holds of a pattern, from the first to the one that leads no further."""
    browser, pages = house.browser("clara"), []
    for _ in range(20):
        page = browser.get(path).text
        pages.append(list(dict.fromkeys(re.findall(pattern, page.partition("<main")[2]))))
        following = re.search(r'href="/console([^"]*)" rel="next"', page)
        if following is None:
            return pages
        path = following[1].replace("&amp;", "&")
    raise AssertionError("the pages do not end")


def test_holds_are_walked_through_newest_first(office: House) -> None:
    """Fifty a page, each once."""
    holds = Holds(office.core.ledger)
    for _ in range(52):
        wanted = NewHold("default", "why", "who", "ref", studies=(study_uid(1),))
        holds.place(wanted, actor="anne", sites=None)
    first, second = walk(office, "/holds", r"H-\d{4}-\d{4}")
    assert (len(first), len(second)) == (50, 2)
    assert first + second == sorted(first + second, reverse=True)


def test_failures_and_quarantine_are_walked_through(office: House) -> None:
    """Both oldest first; what does not fit on a page is on the next."""
    insert = (
        "INSERT INTO quarantine (key, reason, sop_instance_uid, calling_ae_title, peer_address, size_bytes, sha256, "
        "received_at) VALUES (?, 'ConflictingInstance', '2.25.1', 'CT', '::1', 1, ?, ?)"
    )
    for number in range(51):
        change(office.core.database, insert, (f"day/{number:04d}", bytes(32), f"2026-01-01T00:{number:02d}:00.000000Z"))
        with office.core.database.write(synced=False) as connection:
            set_aside.record_failure(connection, f"2.25.9.{number}", "why", utc_now())
    kept = walk(office, "/quarantine", r"day/\d{4}")
    assert [len(page) for page in kept] == [50, 1]
    assert kept[1] == ["day/0050"]
    failed = walk(office, "/jobs", r"2\.25\.9\.\d+")
    assert [len(page) for page in failed] == [50, 1]


def test_contradictions_and_candidates_go_on_after_the_last_one_shown(
    office: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page is counted from the start: what was decided meanwhile shifts nothing."""
    monkeypatch.setattr("archive.console.facts._PAGE", 1)
    for number in (1, 2):
        office.tell(f"PID{number}", "birth", "2010-01-01")
    office.settle()
    pages = walk(office, "/facts/contradictions", r">(2\.25\.\d+\.\d)<")
    assert pages == [[study_uid(1)], [study_uid(2)]]


def test_series_of_a_large_study_are_walked_through(office: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of a study of many series shows some, and its totals are of all."""
    monkeypatch.setattr("archive.console.studies._SERIES_A_PAGE", 2)
    many = [ct_dataset(1, study=70, series=series) for series in range(1, 6)]
    office.receive(*(changed(ds, {"SeriesDescription": f"SERIE-{ds.SeriesNumber}"}) for ds in many))
    pages = walk(office, f"/studies/{office.reference(70)}", r"SERIE-\d")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert "5 series, 5 images" in office.browser("anne", "en").text(f"/studies/{office.reference(70)}")


def test_several_found_studies_are_listed_with_what_tells_them_apart(office: House) -> None:
    """Date, description, modality, patient and site, each leading to its page."""
    office.receive(*images(71, 1, PatientID="TWO"), *images(72, 1, PatientID="TWO", exam_on="20110101", Modality="MR"))
    page = office.browser("anne", "en").post("/studies", {"number": "TWO"})
    assert [office.reference(number) in page.text for number in (71, 72)] == [True, True]
    assert "MR" in page.text and "1\u00a0Jan\u00a02011" in page.text


# ---- beyond the last page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/holds",
        "/holds?all=1",
        "/lists",
        "/lists/D",
        "/quarantine",
        "/jobs",
        "/evidence",
        "/studies/7/evidence",
        "/studies/7",
    ],
)
def test_a_page_beyond_the_last_says_so_and_leads_to_the_first(house: House, path: str) -> None:
    """No listing takes a page that is not there for an empty list; the first page, asked for or not, is as ever."""
    year = house.core.ledger.clock().year
    path = path.replace("/7", f"/{house.reference(7)}").replace("/D", f"/D-{year:04d}-0001")
    page = f"{path}{'&' if '?' in path else '?'}page="
    french, english = (house.browser("clara", language) for language in ("fr", "en"))
    assert "Il n'y a pas de page 999 : la liste est plus courte." in french.text(f"{page}999")
    answer = english.get(f"{page}999")
    assert answer.status_code == 200 and "There is no page 999: the list is shorter." in words_of(answer.text)
    assert f'<a href="/console{path}">Go to the first page</a>' in answer.text
    assert 'rel="prev"' not in answer.text
    for first in (path, f"{page}1", f"{page}x"):
        assert "There is no page" not in english.text(first)


@pytest.mark.parametrize(("path", "after"), [("/facts", "99999"), ("/facts/contradictions", "9.9")])
def test_where_a_list_ends_says_so_and_leads_to_the_first(house: House, path: str, after: str) -> None:
    """Who goes on after the last one is not told that nothing waits."""
    browser = house.browser("clara", "fr")
    answer = browser.get(f"{path}?after={after}")
    assert "Il n'y en a pas d'autres à partir d'ici." in words_of(answer.text)
    assert f'<a href="/console{path}">' in answer.text.partition("<main")[2]
    assert "Aucun" not in words_of(answer.text.partition("<main")[2])
    assert "pas d'autres" not in browser.text(path)


def test_evidence_of_other_sites_alone_on_a_page_leads_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may hold nothing for somebody of some sites; what follows can still be gone to."""
    monkeypatch.setattr("archive.console.evidence._PAGE", 0)
    page = house.browser("nina", "en").get("/evidence").text
    assert "Nothing of your sites on this page." in words_of(page) and 'rel="next"' in page


# ---- the console and the commands ask for the same -----------------------------------------------------------------


def roles_of(command: str, noun: str) -> set[str]:
    """Return the roles that a command of the shell takes, as its source says."""
    text = (COMMANDS / f"{noun}.py").read_text(encoding="utf-8")
    found = re.search(rf"@acting_as\(([^)]*)\)\s*def {command}\(", text)
    assert found is not None, command
    return set(re.findall(r'"([a-z_]+)"', found[1]))


@pytest.mark.parametrize(
    ("noun", "command", "roles"),
    [
        ("hold", "place", set(roles_with(Permission.PLACE_HOLD))),
        ("hold", "review", set(REVIEWERS)),
        ("hold", "lift", set(LIFTERS)),
        ("candidates", "confirm", set(roles_with(Permission.VALIDATE_FACTS))),
        ("candidates", "reject", set(roles_with(Permission.VALIDATE_FACTS))),
        ("jobs", "retry", set(roles_with(Permission.RUN_MIGRATION))),
    ],
)
def test_an_act_takes_the_same_roles_in_the_console_and_in_the_shell(noun: str, command: str, roles: set[str]) -> None:
    """Nobody may do by one way what the other refuses them."""
    assert roles_of(command, noun) == roles
    assert roles <= PERMISSIONS.keys()
