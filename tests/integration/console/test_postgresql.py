"""The console of an archive whose index is on PostgreSQL: the same pages, the same acts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console_house import House, furnish, open_house, study_uid, words_of
from tests.integration.console.test_acts import HOLD, WHY, list_path, waited, year
from tests.integration.console.test_pages import PAGES, path_of
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture
def large(tmp_path: Path, postgres_url: str) -> Iterator[House]:
    """Lend a furnished archive on PostgreSQL."""
    with open_house(tmp_path, postgres_url) as house:
        furnish(house)
        yield house


def test_every_page_is_whole(large: House) -> None:
    """No statement is SQLite's alone; sums are whole numbers and texts compare as they do there."""
    browser = large.browser("clara", "en")
    for page in PAGES:
        answer = browser.get(path_of(large, page))
        assert answer.status_code == 200, page
    words = browser.text("/due")
    assert "1 studies that may go" in words and "Decimal" not in words
    assert "birth (1 January 2013) after the examination" in browser.text("/facts/contradictions")
    assert "Lossy copy" in browser.text(f"/studies/{large.reference(7)}")


def test_a_study_is_held_and_a_list_goes_to_its_certificate(large: House) -> None:
    """From the search by number to the destruction in the background."""
    anne = large.browser("anne", "en")
    assert anne.post("/studies", {"number": "PID2"}).url.path.endswith(large.reference(2))
    held = anne.post(f"/studies/{large.reference(2)}/hold", {**WHY, "scope": "study"})
    assert "The hold is placed." in words_of(held.text)
    lifted = anne.post(f"{HOLD.format(year=year(large)).replace('0001', '0002')}/lift", {"reason": "over"})
    assert "The hold is lifted." in words_of(lifted.text)
    anne.post("/lists/propose", {"site": "default"})
    path = list_path(large, 2)
    for name, office in (("diane", "director"), ("david", "dim_physician"), ("aude", "archives_officer")):
        large.browser(name).post(f"{path}/approve", {"office": office, "reference": "VISA"})
    work = anne.post(f"{path}/destroy", {"confirmed": path[7:]}).url.path.removeprefix("/console")
    assert "Studies destroyed 1" in waited(large, "anne", work)
    gone = anne.post("/studies", {"number": study_uid(1)})
    assert "This study was eliminated" in words_of(gone.text)
    found = large.browser("gaston", "en").post("/audit", {"text": path[7:], "event": "disposal_certified"})
    assert "Destruction certified" in words_of(found.text)
