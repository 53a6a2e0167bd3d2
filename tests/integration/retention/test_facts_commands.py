"""``drimbox facts`` and ``drimbox patient`` on a real archive, as an operator calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from archive.index.session import Database
from archive.services.accounts import Accounts, NewAccount
from archive.services.ledger import Ledger, LedgerFiles
from archive.services.people import Person
from tests.insee import insee_line
from tests.integration.index.making import add, new_instance
from tests.unit.cli.conftest import Drimbox, drimbox
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk

__all__ = ["drimbox"]

PASSWORD = "correct horse battery"
SITES = '[[sites]]\nname = "CHU"\nregime = "hospital"\n[[sites]]\nname = "Clinique"\nregime = "hospital"\n'
Run = Callable[..., Result]


@pytest.fixture
def home(database: Database, url: str, tmp_path: Path) -> Iterator[Path]:
    """Lend the home of an archive with one study and three accounts, nobody inside."""
    home = tmp_path / "home"
    home.mkdir()
    index = f'[index]\nurl = "{url}"\n'
    (home / "drimbox.toml").write_text(f'default_site = "CHU"\n{SITES}{index}')
    add(database, new_instance(PatientID="P1"))
    accounts = Accounts(Ledger(LedgerFiles(OsDisk(), home / "ledger"), database, Clock()))
    anne = NewAccount("anne", "Anne Le Goff", frozenset({"operator"}))
    accounts.set(anne, PASSWORD, by=None)
    by = Person("anne", "Anne Le Goff", frozenset({"operator"}))
    accounts.set(NewAccount("bea", "Béatrice Noël", frozenset({"director"})), PASSWORD, by=by)
    only = NewAccount("carl", "Carl Petit", frozenset({"archivist"}), frozenset({"Clinique"}))
    accounts.set(only, PASSWORD, by=by)
    yield home


@pytest.fixture
def run(drimbox: Drimbox, home: Path) -> Run:
    """Give a function that runs ``drimbox`` on that home as somebody, anne unless another is named."""

    def call(*arguments: str, who: str | None = "anne") -> Result:
        env = {"DRIMBOX_HOME": str(home), "DRIMBOX_PASSWORD": PASSWORD}
        named = () if who is None else ("--as", who)
        return drimbox(*arguments, *named, env=env)

    return call


def shown(run: Run, patient_id: str = "P1", *more: str) -> list[dict[str, Any]]:
    """Return the facts that are shown of a patient."""
    result = run("facts", "show", patient_id, "--json", *more, who=None)
    assert result.exit_code == 0, result.output
    facts: list[dict[str, Any]] = json.loads(result.stdout)["facts"]
    return facts


def write(folder: Path, text: str) -> str:
    """Write a file of facts; return its path."""
    path = folder / "visits.csv"
    path.write_text(text)
    return str(path)


def test_import_dry_then_applied_then_again(run: Run, tmp_path: Path) -> None:
    """The dry run needs nobody and says how to go on; applied it is done; again it changes nothing."""
    file = write(tmp_path, "ipp;nature;date\nP1;visite;31/12/2020\nP7;décès;2021\n")
    dry = run("facts", "import", file, who=None)
    assert dry.exit_code == 0, dry.output
    assert "csv, UTF-8, semicolon" in dry.stdout
    assert "Dry run: nothing was taken in. Give --apply --as NAME to do it." in dry.stdout
    wet = run("facts", "import", file, "--source", "GAM", "--apply")
    assert (wet.exit_code, "Done: the ledger has them." in wet.stdout) == (0, True), wet.output
    again = json.loads(run("facts", "import", file, "--source", "GAM", "--apply", "--json").stdout)
    assert (again["added"], again["unchanged"], again["matched"], again["unmatched"]) == (0, 2, 1, 1)
    (fact,) = shown(run)
    assert (fact["source"], fact["recorded_by"], fact["from_on"]) == ("file:GAM", "anne", "2020-12-31")


def test_import_with_bad_lines_is_partly_done(run: Run, tmp_path: Path) -> None:
    """Exit status 3, each bad line with its column, nothing taken in unless told to leave them out."""
    file = write(tmp_path, "ipp,kind,date\nP1,visit,2020\nP1,visit,32/01/2020\n")
    refused = run("facts", "import", file, "--apply")
    assert refused.exit_code == 3
    assert "line 3: from_on is not a date" in refused.stdout
    assert "Nothing was taken in: correct the bad lines" in refused.stdout
    skipped = run("facts", "import", file, "--apply", "--skip-bad-lines")
    assert (skipped.exit_code, "The bad lines were left out." in skipped.stdout) == (3, True)
    assert len(shown(run)) == 1


def test_many_bad_lines_and_contradictions_are_cut(run: Run, tmp_path: Path) -> None:
    """The terminal gets the first twenty of each and how many more there are."""
    lines = "P1,visit,never\n" * 30 + "".join(f"P1,visit,20{number}-01-01\n" for number in range(30, 55))
    result = run("facts", "import", write(tmp_path, f"ipp,kind,date\n{lines}"), who=None)
    assert result.stdout.count("line ") >= 40
    assert "... and 10 more" in result.stdout
    assert "... and 5 more" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "who", "code", "told"),
    [
        (("--apply",), None, 2, "--apply takes --as NAME"),
        (("--apply",), "bea", 22, "this takes the role archivist or operator"),
        (("--site", "Nowhere"), None, 2, "'Nowhere' is not a site here"),
        (("--apply", "--site", "CHU"), "carl", 2, "choose one of: Clinique"),
    ],
)
def test_who_may_import_and_for_which_site(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], who: str | None, code: int, told: str
) -> None:
    """An operator or archivist, for a site of the settings and of their account."""
    result = run("facts", "import", write(tmp_path, "ipp,kind,date\nP1,visit,2020\n"), *arguments, who=who)
    assert result.exit_code == code
    assert told in result.output


def test_a_file_that_is_none_of_facts(run: Run, tmp_path: Path) -> None:
    """A misspelt column stops everything with a message that names it."""
    result = run("facts", "import", write(tmp_path, "ipp,kind,dat\n"), who=None)
    assert result.exit_code == 23
    assert "line 1, column 3: 'dat' is not one of patient_id, kind" in result.output


def test_add_and_withdraw_by_hand(run: Run) -> None:
    """A person tells a fact with a reason and takes it back; the history keeps both, by whom and when."""
    added = run("facts", "add", "death", "P1", "--from", "12/2024", "--reason", "acte n° 12")
    assert (added.exit_code, "is not a date" in added.output) == (23, True)
    arguments = ("facts", "add", "death", "P1", "--from", "2024-12", "--reason", "acte n° 12", "--not-validated")
    assert run(*arguments).stdout == "added\n"
    assert run(*arguments).stdout == "unchanged: this was told before\n"
    (fact,) = shown(run)
    assert (fact["reference"], fact["is_trusted"]) == ("P1 2024-12 acte n° 12", False)
    withdrawn = run("facts", "withdraw", str(fact["fact_id"]), "--reason", "homonyme")
    assert withdrawn.stdout == "withdrawn: death of P1\n"
    (fact,) = shown(run)
    assert (fact["withdrawn_by"], fact["withdrawn_at"] is None) == ("anne", False)
    text = run("facts", "show", "P1", who=None).stdout
    assert "death (not validated)" in text
    again = run("facts", "withdraw", str(fact["fact_id"]), "--reason", "homonyme")
    assert (again.exit_code, "is withdrawn already" in again.output) == (23, True)


def test_the_same_reason_for_two_patients_is_two_facts(run: Run) -> None:
    """A reason is no reference: what is told of one patient does not take away the other's."""
    for patient_id in ("P1", "P2"):
        run("facts", "add", "visit", patient_id, "--from", "2024-12-01", "--reason", "registre papier")
    assert [len(shown(run, each)) for each in ("P1", "P2")] == [1, 1]


def test_withdraw_only_at_sites_of_the_account(run: Run) -> None:
    """A fact of another site is none for an account that is not for it."""
    run("facts", "add", "visit", "P1", "--from", "2024-12-01", "--reason", "registre")
    (fact,) = shown(run)
    operator = run("facts", "withdraw", str(fact["fact_id"]), "--reason", "x", who="carl")
    assert (operator.exit_code, "is not the number of a fact" in operator.output) == (23, True)


def test_an_empty_reason_is_none(run: Run) -> None:
    """What is told by hand always says why."""
    result = run("facts", "add", "visit", "P1", "--from", "2024", "--reason", "  ")
    assert (result.exit_code, "reason takes 1 to 200 characters" in result.output) == (23, True)


def test_nothing_is_known(run: Run) -> None:
    """A PatientID without study or fact is a mistake: of the PatientID or the site."""
    result = run("facts", "show", "P99", who=None)
    assert (result.exit_code, "check --site" in result.output) == (23, True)


def test_link_show_unlink(run: Run) -> None:
    """Linked records are shown as one patient with all studies, until they are parted; the way round matters."""
    assert run("patient", "link", "P1", "P2", "--reason", "doublon").stdout == "linked\n"
    assert run("patient", "link", "P1", "P2", "--reason", "doublon").stdout == "unchanged: they were linked before\n"
    view = json.loads(run("patient", "show", "P2", "--json", who=None).stdout)
    assert view == {
        "site": "CHU",
        "patient_id": "P2",
        "linked": ["P1"],
        "study_instance_uids": ["2.25.1"],
        "facts": 0,
    }
    assert "2.25.1" in run("patient", "show", "P2", who=None).stdout
    wrong = run("patient", "unlink", "P2", "P1", "--reason", "erreur")
    assert (wrong.exit_code, "not linked this way round" in wrong.output) == (23, True)
    assert run("patient", "unlink", "P1", "P2", "--reason", "erreur").stdout == "unlinked\n"
    assert json.loads(run("patient", "show", "P1", "--json", who=None).stdout)["linked"] == []


def test_the_journal_names_no_patient(run: Run, tmp_path: Path) -> None:
    """Every act is journaled with who, source and kind; PatientIDs, reasons and references stay in the ledger."""
    run("facts", "import", write(tmp_path, "ipp,kind,date\nCANARY,visit,2020\n"), "--apply")
    run("facts", "add", "visit", "CANARY", "--from", "2024", "--reason", "CANARY's visit")
    run("facts", "withdraw", "1", "--reason", "CANARY")
    run("patient", "link", "CANARY", "CANARY2", "--reason", "CANARY")
    run("patient", "unlink", "CANARY", "CANARY2", "--reason", "CANARY")
    journal = run("audit", "list", "--json", who=None)
    events = [entry["event"] for entry in json.loads(journal.stdout)]
    assert events[-5:] == ["fact_recorded", "fact_recorded", "fact_withdrawn", "patients_linked", "patients_unlinked"]
    assert "CANARY" not in journal.stdout


def test_insee_then_a_person_decides(run: Run, database: Database, tmp_path: Path) -> None:
    """Dry run, candidates kept, listed with both sides, confirmed by an archivist: not by an operator."""
    add(database, new_instance(study=2, PatientID="P2", site="Clinique", PatientBirthDate="19500714"))
    file = tmp_path / "deces.txt"
    file.write_text(insee_line() + "\n" + insee_line(deed="2") + "\nbad\n")
    dry = run("facts", "insee", str(file), who=None)
    assert (dry.exit_code, "line 3: has 3 characters" in dry.stdout, "Dry run" in dry.stdout) == (3, True, True)
    assert run("facts", "insee", str(file), "--apply", who=None).exit_code == 2
    report = json.loads(run("facts", "insee", str(file), "--apply", "--json").stdout)
    assert (report["found"], report["lines"]) == (2, 3)
    text = run("facts", "candidates", "list", who=None).stdout
    assert "MOREAU HELENE MARIE" in text
    assert "moreau^helene" in text
    one, two = json.loads(run("facts", "candidates", "list", "--json", who=None).stdout)
    assert one["traits"]["insee"]["birth_place"] == "75056"
    assert run("facts", "candidates", "confirm", str(one["number"])).exit_code == 22
    confirmed = run("facts", "candidates", "confirm", str(one["number"]), who="carl")
    assert confirmed.stdout == "confirmed: P2 died 2025-06-30\n"
    rejected = run("facts", "candidates", "reject", str(two["number"]), who="carl")
    assert rejected.stdout == "rejected: P2 is somebody else\n"
    assert run("facts", "candidates", "list", who=None).stdout.count("\n") == 1
    (fact,) = shown(run, "P2", "--site", "Clinique")
    assert (fact["source"], fact["kind"], fact["recorded_by"], fact["is_trusted"]) == ("insee", "death", "carl", True)
    journal = run("audit", "list", "--json", who=None).stdout
    assert "MOREAU" not in journal.upper()
