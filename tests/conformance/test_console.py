"""The console in a real Chromium: keyboard, contrast, hostile text, long work; and it asks for nothing elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from archive.config import HttpSettings
from archive.http.server import HttpServer
from tests.axe import violations
from tests.chromium import browsing, running_browser
from tests.console_house import IMAGE, SCRIPT, WHO, House, furnish, images, open_house

WIDTHS = ({"width": 1360, "height": 800}, {"width": 360, "height": 700})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Lend a furnished archive."""
    with open_house(tmp_path_factory.mktemp("house")) as house:
        furnish(house)
        yield house


@pytest.fixture(scope="module")
def base(house: House) -> Iterator[str]:
    """Open the archive's real port, and give the address of the console."""
    server = HttpServer(HttpSettings(port=0), house.application)
    address = server.start()
    assert address is not None
    yield f"http://{address[0]}:{address[1]}/console"
    server.stop(grace_seconds=1)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run one browser for all of them."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Lend a tab of somebody with many roles."""
    with browsing(chromium, extra_http_headers={WHO: "clara"}, locale="en-GB", viewport=WIDTHS[0]) as page:
        page.set_default_timeout(10_000)
        yield page


def pages_of(house: House) -> list[str]:
    """Return the paths of every kind of page."""
    year = house.core.ledger.clock().year
    browser = house.browser("clara")
    work = browser.post("/audit/check").url.path.removeprefix("/console")
    studies = [f"/studies/{house.reference(study)}" for study in (3, 4, 5, 7)]
    return [
        *("/", "/studies", *studies, f"{studies[-1]}/evidence", "/holds", "/holds/new", f"/holds/H-{year}-0001"),
        *("/facts", "/facts/contradictions", "/lists", "/lists/propose?site=default", f"/lists/D-{year}-0001"),
        *("/due?months=120", "/due?on=0&site=x", "/holds?page=9", "/evidence", "/quarantine", "/jobs", "/audit"),
        *("/lists/propose", "/no-such-page", work),
    ]


def test_no_page_breaks_a_rule_of_accessibility(house: House, base: str, page: Page) -> None:
    """axe-core finds nothing against WCAG 2.2 A and AA on any page, in light and in dark."""
    found = []
    for path in pages_of(house):
        page.goto(f"{base}{path}")
        found += violations(page)
    assert found == []


def test_a_narrow_window_needs_no_scrolling_sideways(house: House, base: str, chromium: Browser) -> None:
    """At 360 pixels (WCAG 1.4.10) only wide tables and drawings scroll, each in a frame of its own."""
    with browsing(chromium, extra_http_headers={WHO: "clara"}, viewport=WIDTHS[1]) as page:
        for path in ("/", f"/studies/{house.reference(4)}", "/holds/new", "/due", "/audit"):
            page.goto(f"{base}{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[1]["width"], path


def test_a_narrow_window_leaves_long_numbers_readable(house: House, base: str, chromium: Browser) -> None:
    """UIDs and digests break anywhere, and yet no cell that holds one is a letter wide: its table scrolls instead."""
    year = house.core.ledger.clock().year
    with browsing(chromium, extra_http_headers={WHO: "clara"}, viewport=WIDTHS[1]) as page:
        for path in ("/audit", f"/lists/D-{year}-0001", "/quarantine", "/facts/contradictions", "/evidence", "/jobs"):
            page.goto(f"{base}{path}")
            cells = page.locator("td.code, td:has(.code)")
            widths = cells.evaluate_all("cells => cells.map(each => each.getBoundingClientRect().width)")
            assert widths and min(widths) >= 200, path
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[1]["width"], path


def test_the_days_of_the_growth_are_readable_in_a_narrow_window(base: str, chromium: Browser) -> None:
    """The drawing shrinks with the window, its days less so, and none runs into the next."""
    with browsing(chromium, extra_http_headers={WHO: "clara"}, viewport=WIDTHS[1]) as page:
        page.goto(f"{base}/")
        boxes = [box for day in page.locator(".chart text").all() if (box := day.bounding_box())]
        assert len(boxes) == 6 and min(box["height"] for box in boxes) >= 6
        assert all(left["x"] + left["width"] <= right["x"] for left, right in pairwise(boxes))


def test_dicom_text_cannot_do_anything(house: House, base: str, page: Page) -> None:
    """Scripts and broken tags in names and descriptions are shown as they were written, and do not run."""
    page.goto(f"{base}/studies/{house.reference(3)}")
    expect(page.get_by_text(SCRIPT, exact=False).first).to_be_visible()
    assert page.locator("h1").inner_text() == IMAGE
    assert page.title().startswith(IMAGE)
    assert page.locator("main img, main script").count() == 0


def test_nothing_is_asked_of_another_host(house: House, base: str, page: Page) -> None:
    """Every request of every page goes to the archive's own port."""
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108  Playwright marks what it is given
    for path in pages_of(house):
        page.goto(f"{base}{path}")
    origin = base.removesuffix("/console")
    assert {request.url for request in asked if not request.url.startswith(origin)} == set()
    assert not [request.url for request in asked if re.search("PID|MOREAU|2.25.12", request.url)]


def test_everything_is_done_with_the_keyboard(house: House, base: str, page: Page) -> None:
    """From the first Tab, which skips to the content, to a study found by its number and put on hold."""
    page.goto(f"{base}/studies")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_id("number")
    page.keyboard.type("ACC2")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{base}/studies/{house.reference(2)}")
    walked = tab_until(page, "input[name=scope]")
    assert len(walked) == len(set(walked)), "each element is reached once"
    for text in ("contentieux", "Tribunal", "RG 7"):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The hold is placed.")
    assert page.evaluate("getComputedStyle(document.querySelector('.skip')).outlineStyle") is not None


def tab_until(page: Page, selector: str) -> list[str]:
    """Press Tab until an element has the focus; return what had it on the way, each seen to be outlined."""
    walked = []
    for _ in range(120):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        walked.append(str(focus.evaluate("each => each.outerHTML")))
        assert focus.evaluate("each => getComputedStyle(each).outlineStyle") != "none"
        if focus.evaluate("(each, selector) => each.matches(selector)", selector):
            return walked
    raise AssertionError(f"{selector} is not reached by Tab")


def test_the_slider_follows_the_arrow_keys(base: str, page: Page) -> None:
    """With a script the figures follow the slider without a button; the address can be kept."""
    page.goto(f"{base}/due")
    page.locator("#months").focus()
    before = page.locator("#due-title").inner_text()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#due-title")).not_to_have_text(before)
    page.keyboard.press("End")
    expect(page).to_have_url(re.compile(r"months=300"))
    expect(page.locator("#due-answer")).to_contain_text("Hospital: death")


def test_everything_works_without_a_script(house: House, base: str, chromium: Browser) -> None:
    """Forms, the slider with its button, and long work, whose page is loaded again by itself."""
    with browsing(chromium, extra_http_headers={WHO: "clara"}, java_script_enabled=False) as page:
        page.goto(f"{base}/due")
        page.locator("#months").fill("120")
        page.get_by_role("button", name="Show").first.click()
        expect(page).to_have_url(re.compile("months=120"))
        page.goto(f"{base}/studies")
        page.locator("#number").fill("PID2")
        page.locator("#number").press("Enter")
        expect(page).to_have_url(f"{base}/studies/{house.reference(2)}")
        page.goto(f"{base}/audit")
        page.get_by_role("button", name="Check the chain").click()
        expect(page.get_by_text("Chain unbroken")).to_be_visible(timeout=15_000)


def test_long_work_is_shown_as_it_goes_and_survives_a_reload(base: str, page: Page) -> None:
    """Its page has an address of its own: loaded again, in another tab, it tells the same."""
    page.goto(f"{base}/audit")
    page.get_by_role("button", name="Check the chain").click()
    expect(page.get_by_text("Chain unbroken")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Chain unbroken")).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_text("Chain unbroken")).to_be_visible()


def test_one_goes_back_from_a_study_to_what_was_found(house: House, base: str, page: Page) -> None:
    """Back and reload show the answer of a search again without a question about sending a form twice."""
    house.receive(*images(61, 1, PatientID="TWICE"), *images(62, 1, PatientID="TWICE"))
    page.goto(f"{base}/studies")
    page.locator("#number").fill("TWICE")
    page.locator("#number").press("Enter")
    expect(page.get_by_role("heading", name="2 studies found")).to_be_visible()
    assert "TWICE" not in page.url
    page.get_by_role("link", name="SCANNER THORACIQUE").first.click()
    expect(page.get_by_role("heading", name="Why it is kept")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="2 studies found")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="SCANNER THORACIQUE")).to_have_count(2)


def test_a_refused_form_is_left_by_changing_the_language_or_loading_its_address(
    house: House, base: str, page: Page
) -> None:
    """The message is told where the form is; neither a language nor the address itself leads to a page that is none."""
    page.goto(f"{base}/studies/{house.reference(1)}")
    for label in ("Reason", "Asked for by", "Reference"):
        page.get_by_label(label, exact=True).fill(" ")
    page.get_by_role("button", name="Place a hold").click()
    expect(page.get_by_role("alert")).to_contain_text("Check reason, who asks")
    page.get_by_role("button", name="Français").click()
    expect(page).to_have_url(f"{base}/studies/{house.reference(1)}")
    expect(page.get_by_role("button", name="Poser un gel")).to_be_visible()
    page.goto(f"{base}/studies/{house.reference(1)}/hold")
    expect(page).to_have_url(f"{base}/studies/{house.reference(1)}")


def test_the_language_is_changed_where_one_is(base: str, page: Page) -> None:
    """A click on a language shows the same page in it, and the browser remembers."""
    page.goto(f"{base}/holds")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.get_by_role("button", name="Français").click()
    expect(page.locator("h1")).to_have_text("Gels")
    page.goto(f"{base}/facts")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
