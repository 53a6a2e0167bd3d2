"""``drimbox disposal`` on a real archive, as those call it who list, sign and destroy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from archive.clock import utc_now
from archive.index.session import Database
from archive.services.accounts import Accounts, NewAccount
from archive.services.people import Person
from tests.integration.disposal.conftest import Office, open_office, study_uid
from tests.pdf import pdf_words
from tests.unit.cli.conftest import Drimbox, drimbox
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk

__all__ = ["drimbox"]

PASSWORD = "correct horse battery"
PEOPLE = {
    "olga": "operator",
    "anne": "archivist",
    "diane": "director",
    "david": "dim_physician",
    "aude": "archives_officer",
}
Run = Callable[..., Result]


@pytest.fixture
def office(database: Database, url: str, tmp_path: Path) -> Iterator[Office]:
    """Lend the archive of a home with three studies, two of them due, and five accounts."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "drimbox.toml").write_text(f'[disposal]\nwaiting_days = 0\n[index]\nurl = "{url}"\n')
    for office in open_office(database, Clock(utc_now()), home, OsDisk()):
        accounts = Accounts(office.ledger)
        accounts.set(NewAccount("olga", "Olga Ruiz", frozenset({"operator"})), PASSWORD, by=None)
        olga = Person("olga", "Olga Ruiz", frozenset({"operator"}))
        for name, role in PEOPLE.items():
            accounts.set(NewAccount(name, f"{name.title()} Noël", frozenset({role})), PASSWORD, by=olga)
        for study, exam_on in ((1, "20000302"), (2, "20010302"), (3, "20240302")):
            office.store(study, exam_on=exam_on)
        office.sweep()
        yield office


@pytest.fixture
def run(drimbox: Drimbox, office: Office) -> Run:
    """Give a function that runs ``drimbox disposal`` on that home, as somebody when one is named."""

    def call(*arguments: str, who: str | None = None) -> Result:
        env = {"DRIMBOX_HOME": str(office.rig.root), "DRIMBOX_PASSWORD": PASSWORD}
        return drimbox("disposal", *arguments, *(() if who is None else ("--as", who)), env=env)

    return call


def test_the_whole_procedure(run: Run, office: Office) -> None:
    """Each command says what it did and what comes next; the last one proves it."""
    dry = run("propose", who="anne")
    assert (dry.exit_code, "Dry run: nothing was listed. Give --apply to do it." in dry.stdout) == (0, True), dry.output
    assert "There is no disposal list." in run("list").stdout
    made = run("propose", "--apply", who="anne")
    assert "Listed as D-" in made.stdout and "studies:" in made.stdout
    (listed,) = json.loads(run("list", "--json").stdout)
    list_id = listed["list_id"]
    shown = run("show", list_id.lower()).stdout
    assert study_uid(1) in shown and "hospital.base" in shown and "missing approvals:" in shown
    refused = run("refuse", list_id, study_uid(2), "--reason", "wanted for a thesis", who="david")
    assert "refused" in refused.stdout and "wanted for a thesis" in refused.stdout
    for name, office_name in (("diane", "director"), ("david", "dim_physician")):
        assert run("approve", list_id, "--office", office_name, who=name).exit_code == 0
    signed = run("approve", list_id, "--office", "archives_officer", "--reference", "AD 1", who="aude")
    assert "approved, archives_officer:" in signed.stdout and "by aude AD 1" in signed.stdout
    plan = run("destroy", list_id, who="olga")
    assert "cannot be undone" in plan.stdout
    assert json.loads(run("destroy", list_id, "--json", who="olga").stdout)["plan"]["copies"] == 2
    done = run("destroy", list_id, "--apply", who="olga")
    assert (done.exit_code, "certificate:" in done.stdout) == (0, True), done.output
    certificate = office.rig.root / "certificates" / f"{list_id}.json"
    assert run("certificate", list_id).stdout == certificate.read_text()
    key = run("key").stdout.strip()
    verified = run("verify", str(certificate), "--public-key", key)
    assert "valid:" in verified.stdout and "(the one given)" in verified.stdout
    assert json.loads(run("verify", str(certificate), "--json").stdout)["list_id"] == list_id
    assert list_id in run("registry", study_uid(1)).stdout
    assert "was not destroyed here" in run("registry", study_uid(3)).stdout
    assert {each["list_id"] for each in json.loads(run("registry", study_uid(1), "--json").stdout)} == {list_id}
    assert "destroyed" in run("list").stdout


def test_the_papers(run: Run, office: Office, tmp_path: Path) -> None:
    """The bordereau has the list's studies as PDF and as CSV, with who signed and boxes for who did not."""
    list_id = json.loads(run("propose", "--apply", "--json", who="anne").stdout)["list_id"]
    run("approve", list_id, "--office", "director", who="diane")
    pdf, table = tmp_path / "b.pdf", tmp_path / "b.csv"
    written = run("export", list_id, "--pdf", str(pdf), "--csv", str(table))
    assert (written.exit_code, written.stdout.count("Written:")) == (0, 2), written.output
    text = pdf_words(pdf.read_bytes())
    assert "Bordereau d'élimination" in text and list_id in text and "Diane Noël" in text
    assert text.count("Signature et cachet") == 3
    rows = list(csv.reader(io.StringIO(table.read_bytes().decode("utf-8-sig")), delimiter=";"))
    assert [row for row in rows if study_uid(1) in row] and [row for row in rows if study_uid(2) in row]
    assert run("export", list_id).exit_code == 2
    assert "cannot be written" in run("export", list_id, "--pdf", str(tmp_path / "no" / "b.pdf")).stderr
    assert "MOREAU" not in text


def test_wrong_steps_are_told(run: Run, tmp_path: Path) -> None:
    """The proposer, a visa without reference, a list that does not exist: an exit status and what to do."""
    list_id = json.loads(run("propose", "--apply", "--json", who="anne").stdout)["list_id"]
    visa = run("approve", list_id, "--office", "archives_officer", who="aude")
    assert (visa.exit_code, "give its --reference" in visa.stderr) == (28, True)
    own = run("approve", list_id, "--office", "director", who="anne")
    assert (own.exit_code, "may not do this" in own.stderr) == (22, True)
    strange = run("show", "D-1")
    assert (strange.exit_code, "drimbox disposal list" in strange.stderr) == (28, True)
    early = run("destroy", list_id, "--apply", who="olga")
    assert (early.exit_code, "not approved by" in early.stderr) == (28, True)
    again = run("propose", "--apply", who="anne")
    assert (again.exit_code, "already on an open list" in again.stderr) == (28, True)
    file = tmp_path / "certificate.json"
    file.write_text("{}")
    assert run("verify", str(file)).exit_code == 29
    assert run("propose", "--site", "Nowhere", who="anne").exit_code == 2


def test_what_stays_is_partly_done(run: Run, office: Office) -> None:
    """A study sent back at the last moment, or a copy that is not the one: exit status 3, and why."""
    list_id = json.loads(run("propose", "--apply", "--json", who="anne").stdout)["list_id"]
    for name in ("diane", "david", "aude"):
        run("approve", list_id, "--office", PEOPLE[name], "--reference", "AD 1", who=name)
    office.hold(2)
    damaged = office.rig.hot / f"{office.rig.stored_keys()[0]}.dcm"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    first = run("destroy", list_id, "--apply", who="olga")
    assert (first.exit_code, "give the same command again" in first.stderr) == (3, True), first.output
    assert "it is on hold" in first.stdout and "not those that were stored" in first.stdout
    second = json.loads(run("destroy", list_id, "--apply", "--damaged", "--json", who="olga").stdout)
    assert (second["deleted"], second["gone_before"], len(second["damaged"])) == (1, 1, 1)


def test_cancelled_and_listed_again(run: Run) -> None:
    """A cancelled list says why, and its studies may be listed again."""
    list_id = json.loads(run("propose", "--apply", "--json", "--max", "1", who="anne").stdout)["list_id"]
    cancelled = run("cancel", list_id, "--reason", "the wrong year", "--json", who="diane")
    view = json.loads(cancelled.stdout)
    assert (view["state"], view["end_reason"], view["ended_by"]) == ("cancelled", "the wrong year", "diane")
    assert "cancelled: the wrong year" in run("show", list_id).stdout
    again = json.loads(run("propose", "--apply", "--json", who="anne").stdout)
    assert len(again["items"]) == 2


def test_remains_are_looked_for_and_deleted(run: Run, office: Office) -> None:
    """A destroyed object that lies there again is told by its key and list, and goes with --apply."""
    list_id = json.loads(run("propose", "--apply", "--json", "--max", "1", who="anne").stdout)["list_id"]
    for name in ("diane", "david", "aude"):
        run("approve", list_id, "--office", PEOPLE[name], "--reference", "AD 1", who=name)
    saved = {path: (office.rig.root / path).read_bytes() for path in office.files()}
    assert run("destroy", list_id, "--apply", who="olga").exit_code == 0
    assert "0 destroyed objects are there." in run("remains", who="olga").stdout
    for path, data in saved.items():
        (office.rig.root / path).write_bytes(data)
    looked = run("remains", who="olga")
    assert f"of list {list_id}" in looked.stdout and "2 destroyed objects are there. Give --apply" in looked.stdout
    assert len(json.loads(run("remains", "--json", who="olga").stdout)["copies"]) == 2
    assert json.loads(run("remains", "--apply", "--json", who="olga").stdout)["deleted"] == 2
    assert "0 destroyed objects are there." in run("remains", who="olga").stdout
