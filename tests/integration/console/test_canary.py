"""No name, number or birth date of a patient is ever logged by the console, whatever is asked or goes wrong."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from archive import logs
from tests.console_house import House, images, study_uid
from tests.integration.console.test_acts import WHY

CANARIES = ("CANARI", "Ornella", "PID-CANARI-77", "19510203", "ACC-CANARI")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Log everything there is, as JSON, into memory."""
    before, level = list(logging.getLogger().handlers), logging.getLogger().level
    written = io.StringIO()
    logs.configure("debug", "json", stream=written)
    yield written
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = before
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def canary(house: House) -> None:
    """Take in a study of a patient whose traits are looked for in the log."""
    traits = {"PatientName": "CANARI^Ornella", "PatientID": "PID-CANARI-77", "PatientBirthDate": "19510203"}
    house.receive(*images(50, 1, exam_on="20190101", AccessionNumber="ACC-CANARI", **traits))


def test_nothing_of_a_patient_is_logged(office: House, logged: io.StringIO) -> None:
    """Found, shown, held, searched for in the journal, mistyped, refused, sent to addresses that are none."""
    canary(office)
    anne, manu = office.browser("anne"), office.browser("manu")
    for number in CANARIES:
        anne.post("/studies", {"number": number})
        anne.post("/audit", {"text": number, "actor": number, "event": number})
        anne.get(f"/studies/{number}")
        anne.get(f"/{number}")
        anne.get(f"/holds?done={number}&page={number}")
        manu.post("/studies", {"number": number})
        anne.post("/holds/new", {**WHY, "site": "default", "patient_ids": f"{number}-unknown"})
        anne.send("/holds/new", {"patient_ids": number})
    anne.post(f"/studies/{office.reference(50)}/hold", {**WHY, "scope": "patient"})
    said = logged.getvalue()
    assert "request_answered" in said and "page_refused" in said
    assert [each for each in CANARIES if each in said] == []


def test_an_unforeseen_fault_is_logged_without_what_was_asked(
    office: House, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an error that is not ours the log has type and place, and the answer nothing at all."""
    canary(office)
    anne = office.browser("anne")
    anne.get("/holds")

    def broken(*_: object) -> None:
        raise ValueError("PID-CANARI-77 CANARI^Ornella")

    monkeypatch.setattr("archive.services.study_view._matching", broken)
    answer = anne.post("/studies", {"number": "PID-CANARI-77"})
    assert answer.status_code == 500
    said = logged.getvalue() + answer.text
    assert "request_failed" in said and "ValueError" in said
    assert [each for each in CANARIES if each in said] == []


def test_no_address_that_pages_lead_to_has_anything_of_a_patient(office: House) -> None:
    """Links, forms and redirections name studies by reference, holds and lists by number."""
    canary(office)
    anne = office.browser("anne")
    anne.post("/holds/new", {**WHY, "site": "default", "patient_ids": "PID-CANARI-77"})
    led = anne.post("/studies", {"number": "ACC-CANARI"}, follow=False)
    year = office.core.ledger.clock().year
    pages = [anne.get(path).text for path in ("/", "/holds", f"/holds/H-{year}-0001", "/facts", "/lists", "/jobs")]
    pages.append(anne.get(f"/studies/{office.reference(50)}").text)
    addresses = [led.headers["location"]]
    for page in pages:
        addresses += re.findall(r'(?:href|action|src)="([^"]*)"', page)
    assert [each for each in addresses if any(canary in each for canary in (*CANARIES, study_uid(50)))] == []
