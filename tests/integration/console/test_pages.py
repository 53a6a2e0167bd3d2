"""Every page of the console as it is rendered, in both languages, for whoever may see it."""

from __future__ import annotations

import re
from dataclasses import replace

import httpx
import pytest

from archive.services.evidence import EvidenceRoom, PackEvidence
from archive.services.people import PERMISSIONS, Permission
from tests.console_house import IMAGE, PEOPLE, SCRIPT, House, study_uid, words_of

PAGES = (
    *("/", "/studies", "/studies/1", "/studies/2", "/studies/3", "/studies/4", "/studies/5", "/studies/7"),
    *("/studies/7/evidence", "/holds", "/holds?all=1", "/holds/new", "/holds/H-2026-0001", "/facts"),
    *("/facts/contradictions", "/lists", "/lists/propose", "/lists/D-2026-0001", "/due", "/due?months=120"),
    *("/due?on=2040-01-01&site=Nord", "/evidence", "/quarantine", "/jobs", "/audit"),
)
YEAR = "2026"


def path_of(house: House, page: str) -> str:
    """Return the address of a page: /studies/4 names the fourth study, and numbers are of this year."""
    year = house.core.ledger.clock().year
    named = re.sub(r"/studies/(\d)", lambda match: f"/studies/{house.reference(int(match[1]))}", page)
    return named.replace(f"-{YEAR}-", f"-{year}-")


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_whole_in_both_languages(house: House, page: str, language: str) -> None:
    """It says its language, has one heading and every form its proof, and is protected as a page is."""
    answer = house.browser("clara", language).get(path_of(house, page))
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in answer.text
    assert answer.text.count("<h1>") == 1
    assert len(re.findall(r'<form[^>]*method="post"', answer.text)) == answer.text.count('name="form_token"')
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"PID\d|MOREAU|DURAND", str(answer.url))


def test_dicom_text_is_shown_as_text(house: House) -> None:
    """Markup in names and descriptions is escaped wherever it is shown."""
    page = house.browser("anne").get(f"/studies/{house.reference(3)}").text
    assert SCRIPT not in page and "<img src=x" not in page
    assert SCRIPT in words_of_escaped(page) and IMAGE in words_of_escaped(page)
    held = house.browser("anne").get("/holds").text
    assert "<b>clinique" not in held and "&lt;b&gt;clinique&lt;/b&gt;" in held


def words_of_escaped(page: str) -> str:
    """Return what a reader sees where the page escaped it."""
    return page.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace("&#39;", "'")


def test_a_study_tells_why_it_is_kept(house: House) -> None:
    """The conclusion, the deciding rule with its citation, the drawing, the hold and the facts with their source."""
    page = house.browser("anne", "fr").get(f"/studies/{house.reference(4)}").text
    words = words_of(page)
    assert "l'élimination pourra être proposée à partir du 21 août 2029" in words
    assert "Règle qui décide, hospital.death" in words and "article R.1112-7" in words
    assert "Les recours suspendent ce délai" in words
    assert 'role="img"' in page and "Hôpital : décès" in words
    assert "Tribunal de Nantes" in words and "hl7:GAM" in words


def test_a_study_tells_where_its_bytes_are(house: House) -> None:
    """A lossy copy in the cold tier is told apart from what is hot and as it was received."""
    browser = house.browser("anne", "en")
    hot, cold = (browser.text(f"/studies/{house.reference(number)}") for number in (2, 7))
    assert "Lossless" in hot and "Lossy copy" not in hot and "Cold nothing" in hot
    assert "Lossy copy" in cold and "See the migration evidence" in cold and "Hot nothing" in cold


def test_looking_at_a_study_is_journalled_with_person_role_place_and_reason(house: House) -> None:
    """The entry names no patient, and the page shows it to the next who looks."""
    browser = house.browser("david", "en")
    browser.post("/studies", {"number": study_uid(2), "reason": "court"})
    entry = house.journal("viewed")[-1]
    assert entry["study_instance_uid"] == study_uid(2)
    assert (entry["full_name"], entry["roles"], entry["via"]) == ("David", ["dim_physician"], "passkey")
    assert (entry["reason"], entry["service"], bool(entry["address"])) == ("court", "console", True)
    assert "PID2" not in str(entry) and "PETIT" not in str(entry)
    shown = house.browser("anne", "en").text(f"/studies/{house.reference(2)}")
    assert "David DIM physician Study page seen" in shown and "Court order or litigation" in shown


@pytest.mark.parametrize("number", [study_uid(2), "PID2", "ACC2", "  ACC2 "])
def test_a_number_leads_to_its_study(house: House, number: str) -> None:
    """PatientID, Study Instance UID or AccessionNumber: one study is gone to, and no address holds the number."""
    answer = house.browser("anne").post("/studies", {"number": number})
    assert answer.url.path == f"/console/studies/{house.reference(2)}"
    assert "number" not in str(answer.url)


@pytest.mark.parametrize("number", ["", "NOBODY", "%", "*", "PID", "x" * 600, "P\0ID", "' OR 1=1 --"])
def test_a_number_that_is_nobodys_leads_to_nothing(house: House, number: str) -> None:
    """Only whole numbers are found; wildcards, quotes and nonsense are texts like others."""
    answer = house.browser("anne").post("/studies", {"number": number})
    assert answer.status_code == 200
    assert "0 studies found" in words_of(answer.text)


def test_a_number_that_leads_nowhere_can_be_corrected(house: House) -> None:
    """What was typed is still there, escaped, with what to do about it; a number found needs no advice."""
    browser = house.browser("anne", "fr")
    page = browser.post("/studies", {"number": f"NOBODY {IMAGE}"}).text
    assert 'value="NOBODY &#34;&gt;&lt;img' in page
    assert "Vérifiez le numéro" in page
    assert "Vérifiez le numéro" not in browser.post("/studies", {"number": study_uid(6)}).text


def test_what_is_in_quarantine_is_told_in_the_language_of_who_looks(house: House) -> None:
    """The reason that was kept is English; the page tells its kind."""
    french, english = (house.browser("olga", language).text("/quarantine") for language in ("fr", "en"))
    assert "Autres octets sous un UID déjà stocké" in french and "Stored already" not in french
    assert "Other bytes under a UID already stored" in english


def test_several_studies_are_listed_and_a_destroyed_one_leads_to_its_list(house: House) -> None:
    """What was eliminated is told with the list that did it."""
    gone = house.browser("anne").post("/studies", {"number": study_uid(6)})
    assert "This study was eliminated" in gone.text and "/console/lists/D-" in gone.text


def test_an_address_made_up_or_from_before_a_rebuild_leads_nowhere(house: House) -> None:
    """The row's number alone opens nothing: the check of the UID has to fit."""
    browser = house.browser("anne")
    reference = house.reference(1)
    for made_up in (reference.partition("-")[0], f"{reference[:-1]}z", f"9{reference}", "1-000000000000", "x" * 50):
        assert browser.get(f"/studies/{made_up}").status_code == 404


def test_a_person_of_another_site_sees_nothing_of_it(house: House) -> None:
    """Studies, holds, lists and the journal of other sites are not there for them."""
    nina = house.browser("nina")
    for page in ("/studies/1", "/studies/7/evidence", "/holds/H-2026-0001", "/lists/D-2026-0001"):
        assert nina.get(path_of(house, page)).status_code == 404
    assert "0 studies found" in words_of(nina.post("/studies", {"number": "PID1"}).text)
    assert "H-20" not in nina.get("/holds?all=1").text
    assert "D-20" not in nina.get("/lists").text
    assert "No evidence" in nina.text("/evidence")
    assert study_uid(2) in house.browser("anne").text("/jobs") and study_uid(2) not in nina.text("/jobs")
    assert nina.get("/lists/propose?site=default").status_code == 403
    assert nina.get("/audit").status_code == 403


@pytest.mark.parametrize("name", sorted(PEOPLE))
def test_each_role_opens_what_the_table_of_permissions_says(house: House, name: str) -> None:
    """A page that is not for somebody is refused on a page of its own, and is not in their list of sections."""
    person, browser = PEOPLE[name], house.browser(name)
    needed = {
        "/": Permission.VIEW_CONSOLE,
        "/holds/new": Permission.PLACE_HOLD,
        "/lists/propose": Permission.PROPOSE_DISPOSAL,
        "/quarantine": Permission.OPERATE,
        "/audit": Permission.READ_AUDIT,
    }
    for path, permission in needed.items():
        allowed = person.may(permission) and not (path == "/audit" and person.sites)
        assert browser.get(path).status_code == (200 if allowed else 403), path
    if person.may(Permission.VIEW_CONSOLE):
        sections = browser.get("/").text
        assert ("/console/quarantine" in sections) is person.may(Permission.OPERATE)


def test_who_is_unknown_is_sent_to_sign_in_and_who_may_not_look_is_told(house: House) -> None:
    """Nobody: on to the login; a manipulator: refused, in their language."""
    assert "manipulator" in PERMISSIONS
    nobody = house.browser("nobody").get("/holds")
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/login/?to=/console/holds")
    refused = house.browser("manu", "fr").get("/holds")
    assert refused.status_code == 403
    assert "Vous n'avez pas le droit de faire cela" in words_of(refused.text)


def test_what_becomes_due_grows_with_the_date(house: House) -> None:
    """The days of the slider and of the field lead to the same figures; what is blocked is counted apart."""
    browser = house.browser("anne", "en")
    year = house.core.ledger.clock().year
    now, later = browser.text("/due"), browser.text(f"/due?on={year + 10}-06-01")
    assert "1 studies that may go" in now
    assert "2 studies that may go" in later and "Hospital: death" in later
    same = browser.text("/due?months=120")
    assert "2 studies that may go" in same


@pytest.mark.parametrize("nonsense", ["on=2026-99-99", "on=0001-01-01", "months=-1", "months=99999", "site=Nowhere"])
def test_a_wrong_day_or_site_in_the_address_is_told(house: House, nonsense: str) -> None:
    """The figures are of the day and the sites that the page names; what was asked for is never taken in silence."""
    browser = house.browser("anne", "fr")
    page = browser.get(f"/due?{nonsense}")
    answer = page.text.partition('id="due-answer"')[2]
    assert page.status_code == 200 and 'role="alert"' in answer and "éliminables" in words_of(answer)
    assert 'role="alert"' not in browser.get("/due").text
    assert 'name="site" value="Nowhere"' not in page.text


def test_a_site_of_others_in_the_address_tells_nothing_of_it(house: House) -> None:
    """Who acts for another site gets the figures of their own, and what was asked for is shown as text."""
    nina = house.browser("nina", "en")
    assert "“default” is not one of your sites" in nina.text("/due?site=default")
    assert "0 studies that may go" in nina.text("/due?site=default")
    page = nina.get("/due?site=%3Cscript%3Ex%3C/script%3E")
    assert "<script>x" not in page.text and "&lt;script&gt;x" in page.text


def test_evidence_has_metrics_and_the_picture(house: House) -> None:
    """Ratio, errors and gates are shown; the picture is a PNG of the cold pack; there is no other picture."""
    browser, base = house.browser("anne", "fr"), f"/studies/{house.reference(7)}/evidence"
    words = browser.text(base)
    assert "Plus petit PSNR" in words and "minimum 48" in words and "openjph" in words
    assert "détail technique" not in words, "the source of a cap is a citation"
    picture = browser.get(f"{base}/0.png")
    assert picture.headers["content-type"] == "image/png" and picture.content.startswith(b"\x89PNG")
    assert browser.get(f"{base}/7.png").status_code == 404
    assert browser.get(f"{base}/x.png").status_code == 404


def test_why_a_series_stayed_lossless_is_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the language of the page; what a library said is marked as its words."""
    path, of_study = f"/studies/{house.reference(7)}/evidence", EvidenceRoom.of_study
    changed = {"lossy": False, "allowed": False, "cap": None, "reasons": ["US: never, by the site's rules"]}

    def kept(room: EvidenceRoom, uid: str) -> list[PackEvidence]:
        pack = of_study(room, uid)[0]
        bodies = [{**pack.body, **changed, "why": why} for why in ("the rules forbid it", "libx: -3")]
        return [replace(pack, body=body) for body in bodies]

    monkeypatch.setattr(EvidenceRoom, "of_study", kept)
    words = house.browser("anne", "fr").text(path)
    assert "US : jamais, d'après les règles du site" in words and "les règles l'interdisent" in words
    assert "détail technique, en anglais : libx: -3" in words
    words = house.browser("anne", "en").text(path)
    assert "US: never, by the site's rules" in words and "the rules forbid it" in words


def test_a_certificate_is_verified_where_it_is_shown(house: House) -> None:
    """The page of a destroyed list proves its certificate with the archive's key, and says so of a changed one."""
    browser, path = house.browser("anne", "en"), path_of(house, "/lists/D-2026-0001")
    assert "Valid Every byte is as it was signed" in browser.text(path)
    (file,) = house.core.settings.certificates_folder.glob("*.json")
    whole = file.read_bytes()
    try:
        file.write_bytes(whole.replace(b'"studies"', b'"stUdies"', 1))
        assert "Not valid" in browser.text(path)
    finally:
        file.write_bytes(whole)


def test_papers_are_downloads(house: House) -> None:
    """Bordereau as PDF and CSV, certificate as JSON, each under the number of its list."""
    browser, path = house.browser("diane"), path_of(house, "/lists/D-2026-0001")
    for name, kind, start in (
        ("bordereau.pdf", "application/pdf", b"%PDF"),
        ("bordereau.csv", "text/csv", b"\xef\xbb\xbf"),
        ("certificate.json", "application/json", b"{"),
    ):
        answer = browser.get(f"{path}/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert answer.content.startswith(start) or kind == "text/csv"
        assert "attachment" in answer.headers["content-disposition"]


def test_the_overview_tells_what_needs_whom(house: House) -> None:
    """Everybody sees drops and contradictions; the quarantine is for who operates."""
    anne, olga = (house.browser(name, "en").text("/") for name in ("anne", "olga"))
    assert "Drops of arrivals" in anne and "Studies with contradictory facts" in anne
    assert "Objects in quarantine" not in anne and "Objects in quarantine" in olga
    assert "MR Drop" in anne and "CT As usual" in anne


def test_the_journal_is_searched_by_event_actor_text_and_day(house: House) -> None:
    """Each narrows; an event that never was finds nothing; what was searched for is in no address."""
    browser, today = house.browser("gaston", "en"), house.core.ledger.clock().date().isoformat()
    signed = browser.post("/audit", {"event": "disposal_approved", "actor": "diane", "since": today, "until": today})
    assert "director" in signed.text and "david" not in words_of(signed.text).partition("Entries")[2]
    found = browser.post("/audit", {"text": study_uid(6)})
    assert "Studies destroyed" in found.text
    for nothing in ({"event": "no_such"}, {"until": "2020-01-01"}, {"text": "%"}):
        assert "No entry" in words_of(browser.post("/audit", nothing).text)
    assert signed.url.path == "/console/audit" and "diane" not in str(signed.url) and today not in str(signed.url)


def test_the_answer_of_a_search_can_be_asked_for_again_by_who_searched(house: House) -> None:
    """Its address tells nothing of it; to anybody else, and after a restart, it is the empty form."""
    anne, olga = house.browser("anne", "en"), house.browser("olga", "en")
    found = anne.post("/studies", {"number": "NOBODY", "reason": "court"})
    address = found.url.raw_path.decode().removeprefix("/console")
    assert "NOBODY" not in address and "search=" in address
    again, other, old = anne.get(address).text, olga.get(address).text, anne.get("/studies?search=made-up").text
    assert 'value="NOBODY"' in again and "0 studies found" in words_of(again) and 'value="court" selected' in again
    for empty in (other, old):
        assert "NOBODY" not in empty and "studies found" not in words_of(empty)
    looked = house.browser("gaston", "en").post("/audit", {"event": "viewed", "actor": "nobody"})
    address = looked.url.raw_path.decode().removeprefix("/console")
    assert 'value="nobody"' in house.browser("gaston", "en").get(address).text
    assert 'value="nobody"' not in house.browser("clara", "en").get(address).text


def test_the_language_is_chosen_for_good_and_the_page_is_shown_again(house: House) -> None:
    """The choice goes before the browser's; it leads back into the console and nowhere else."""
    browser = house.browser("anne", "fr")
    answer = browser.post("/language", {"language": "en", "back": "/holds"})
    assert answer.url.path == "/console/holds" and '<html lang="en">' in answer.text
    for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example", ""):
        away = browser.post("/language", {"language": "en", "back": elsewhere}, follow=False)
        assert away.headers["location"].startswith("/console/")
        assert "evil" not in away.headers["location"]


def test_static_files_are_kept_and_pages_are_compressed(house: House) -> None:
    """The style's address changes with its bytes; nothing outside its folder is given; pages are sent compressed."""
    browser = house.browser("anne")
    page = browser.get("/holds/new")
    assert page.headers["content-encoding"] == "gzip"
    (style,) = re.findall(r'href="/console(/static/console\.css\?[0-9a-f]{12})"', page.text)
    answer = browser.get(style)
    assert "immutable" in answer.headers["cache-control"] and "gzip" in answer.headers.get("content-encoding", "")
    assert len(compressed(answer)) < 8000
    assert browser.get("/static/../desk.py").status_code == 404
    assert browser.get("/static/%2e%2e/desk.py").status_code == 404


def compressed(answer: httpx.Response) -> bytes:
    """Return about what went over the line."""
    import gzip

    return gzip.compress(answer.content)
