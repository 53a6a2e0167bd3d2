"""Nonsense and malice at every page and form of the console: never a fault of ours, never markup of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from archive.console.forms import FIELD
from archive.services.people import Person
from tests.console_house import PEOPLE, Browser, House, images, study_uid

EXPECTED = {200, 303, 400, 403, 404, 405, 413, 422}
MARKS = ("<script>alert(1)</script>", "'\"><svg onload=alert(1)>", "{{ 7*7 }}", "${7*7}", "\u202eevil", "\x00", "%00")
PATHS = (
    *("/studies/{}", "/studies/{}/evidence", "/studies/{}/evidence/0.png", "/holds/{}", "/lists/{}"),
    *("/lists/{}/bordereau.pdf", "/lists/{}/certificate.json", "/work/{}", "/{}", "/static/{}", "/facts/{}"),
)
QUERIES = ("/holds?page={}", "/facts?after={}", "/facts/contradictions?after={}", "/due?on={}", "/due?months={}")
MORE_QUERIES = ("/due?site={}", "/lists?page={}", "/lists/propose?site={}", "/holds?done={}", "/evidence?page={}")
FORMS = (
    *("/studies", "/language", "/holds/new", "/lists/propose", "/audit", "/jobs/retry", "/facts/candidates/1"),
    *("/holds/H-2026-0001/review", "/holds/H-2026-0001/lift", "/lists/D-2026-0001/approve"),
    *("/lists/D-2026-0001/refuse", "/lists/D-2026-0001/cancel", "/lists/D-2026-0001/destroy"),
)
FIELDS = (
    *("number", "reason", "language", "back", "site", "studies", "patient_ids", "authority", "reference", "review_on"),
    *("is_ahead", "note", "office", "study", "confirmed", "decision", "event", "actor", "text", "since", "until"),
    *("before", "scope"),
)


@pytest.fixture(scope="module")
def clara(house: House) -> Browser:
    """Lend a browser of somebody with many roles."""
    return house.browser("clara")


@pytest.fixture(scope="module")
def proof(clara: Browser) -> str:
    """Return what a form of hers carries."""
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', clara.get("/holds").text)
    assert found is not None
    return found[1]


def is_ours(page: str) -> bool:
    """Tell whether nothing but our own markup is on a page."""
    return not re.search(r"<script>|<svg onload|<img[^>]*onerror", page)


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("path", [*PATHS, *QUERIES, *MORE_QUERIES])
def test_hostile_addresses_lead_nowhere(clara: Browser, path: str, mark: str) -> None:
    """Whatever stands in a path or a query, the answer is a page of ours or a refusal, with nothing of it as markup."""
    answer = clara.get(path.format(mark.replace("\x00", "%00").replace("#", "%23")))
    assert answer.status_code in EXPECTED
    assert is_ours(answer.text)
    assert "49" not in answer.headers.get("location", "")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(FORMS),
    st.dictionaries(st.sampled_from(FIELDS), st.one_of(st.text(max_size=40), st.sampled_from(MARKS)), max_size=8),
)
def test_hostile_forms_do_nothing_wrong(clara: Browser, proof: str, path: str, fields: dict[str, str]) -> None:
    """Any field with any text: an answer that was meant, and what is shown again is escaped."""
    told = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    answer = clara.send(path, {FIELD: proof, **told})
    assert answer.status_code in EXPECTED
    assert is_ours(answer.text)
    location = answer.headers.get("location", "/console/")
    assert location.startswith("/console/") and not location.startswith("//")


def test_a_body_that_is_too_long_is_refused(clara: Browser, proof: str) -> None:
    """A megabyte is all that a form may have."""
    answer = clara.send("/holds/new", {FIELD: proof, "studies": "1.2\n" * 400_000})
    assert answer.status_code == 413


def test_many_studies_at_once_are_told_and_not_held(office: House) -> None:
    """A form with thousands of UIDs that nobody knows is answered in words, quickly."""
    uids = "\n".join(f"2.25.{number}" for number in range(5000))
    why = {"reason": "a", "authority": "b", "reference": "c", "site": "default", "studies": uids}
    answer = office.browser("anne").post("/holds/new", why)
    assert answer.status_code == 422
    assert "4999 more" in answer.text


NAMES = ('O\'Brien^"Bob"', "<b>Nom</b>^&amp;", "MÜLLER^Zoë", "山田^太郎", "A" * 64, "^^^^", "{{name}}")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind_are_shown_as_they_are(office: House, name: str) -> None:
    """Quotes, markup, accents, other scripts: on the study's page, in the list of found ones, nowhere as markup."""
    from html import escape

    office.receive(
        *images(20, 1, PatientName=name, PatientID="SAME", SpecificCharacterSet="ISO_IR 192"),
        *images(21, 1, PatientName=name, PatientID="SAME", SpecificCharacterSet="ISO_IR 192"),
    )
    shown = escape(name.replace("^", " ")).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    browser = office.browser("anne")
    found = browser.post("/studies", {"number": "SAME"}).text
    page = browser.get(f"/studies/{office.reference(20)}").text
    assert shown.strip() in found and shown.strip() in page
    assert "<b>Nom" not in page + found


def people() -> Iterator[Person]:
    """Yield everybody who may open the console."""
    return (person for person in PEOPLE.values() if person.name != "manu")


@pytest.mark.parametrize("person", list(people()), ids=lambda person: person.name)
def test_no_page_holds_what_its_reader_may_not_know(house: House, person: Person) -> None:
    """Over all sections: a person of one site reads nothing of another's patients, and nobody reads a secret."""
    browser = house.browser(person.name)
    for path in ("/", "/holds?all=1", "/facts", "/facts/contradictions", "/lists", "/due", "/evidence", "/jobs"):
        page = browser.get(path).text
        assert house.core.settings.signing_key.name not in page
        if person.sites:
            assert not re.search(r"PID\d|MOREAU|DURAND|Tribunal", page), path
            assert f">{study_uid(4)}<" not in page
