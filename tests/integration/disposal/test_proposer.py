"""Whoever proposed a list is known again when they come to sign it another way: provider, account, rebuilt index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from archive.errors import NotAllowed
from archive.index import accounts
from archive.index.session import Database
from archive.services.accounts import NewAccount, account_draft
from archive.services.disposal import Disposals
from archive.services.ledger import Draft, Ledger
from archive.services.people import Person
from archive.services.professionals import Professionals, Rule
from archive.services.rebuild import Rebuild
from tests.integration.disposal.conftest import ANNE, AUDE, DAVID, DIANE, SITES, Office, nothing
from tests.integration.index.making import value

RPPS = "810001234567"
PROVIDER = Professionals([Rule(frozenset({"archivist", "director"}))])
PROPOSED = "whoever proposed a list does not approve it"
SPELLINGS = [
    "Élodie Le Goff",
    "élodie le goff",
    "ÉLODIE LE GOFF",
    "  Élodie  Le\u00a0Goff ",
    "E\u0301lodie Le Goff",
    "LE GOFF Elodie",
    "Le-Goff, Élodie",
]


def by_provider(given: str, family: str, subject: str = RPPS) -> Person:
    """Return somebody as the identity provider tells of them: they have no account."""
    claims = {"SubjectNameID": subject, "given_name": given, "family_name": family}
    return PROVIDER.person(claims, via="oidc")


def by_account(office: Office, name: str, full_name: str, *roles: str) -> Person:
    """Make or change an account; return who it is."""
    wanted = NewAccount(name, full_name, frozenset(roles))
    office.ledger.act("(first)", lambda _: [account_draft(wanted, "")])
    return Person(name, full_name, wanted.roles)


def proposed_by(office: Office, who: Person) -> str:
    """Have somebody list a study that is due; return the list's id."""
    office.store(1)
    office.sweep()
    return str(office.disposals.propose("default", who=who).list_id)


def proposed_before(office: Office, actor: str) -> str:
    """Propose a list as the archive did when it did not keep the proposer's full name; return the list's id."""
    office.store(1)
    office.sweep()
    proposal = office.disposals.preview("default")
    data: Mapping[str, Any] = {
        "list_id": "D-2026-0001",
        "site": "default",
        "site_kind": "public",
        "as_of": proposal.as_of.isoformat(),
        "items": [{"study_instance_uid": uid, "line": line} for uid, line in proposal.items],
    }
    office.ledger.act(actor, lambda _: [Draft("disposal_proposed", data)])
    return "D-2026-0001"


def assert_refused(disposals: Disposals, list_id: str, who: Person) -> None:
    """Assert that somebody cannot sign as director, because they proposed, and that nothing came of it."""
    before = disposals.show(list_id)
    with pytest.raises(NotAllowed, match=PROPOSED):
        disposals.approve(list_id, "director", who=who)
    assert disposals.show(list_id) == before


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_who_proposed_by_the_provider_does_not_sign_by_an_account(office: Office, spelling: str) -> None:
    """No account of the proposer's name exists: their full name is known from the list, however it is written."""
    list_id = proposed_by(office, by_provider("Élodie", "Le Goff"))
    with office.ledger.database.read() as connection:
        assert accounts.find(connection, RPPS) is None
    assert_refused(office.disposals, list_id, by_account(office, "elodie", spelling, "director"))


def test_who_proposed_by_the_provider_does_not_sign_by_another_identity(office: Office) -> None:
    """The same identity, and another one of the provider with the same full name, are the proposer too."""
    list_id = proposed_by(office, by_provider("Élodie", "Le Goff"))
    for subject in (RPPS, "350000000012/17"):
        assert_refused(office.disposals, list_id, by_provider("Élodie", "LE GOFF", subject))


def test_who_proposed_by_an_account_is_known_without_a_row_of_it(office: Office) -> None:
    """What is compared with is what the list keeps: an index in which the account is not found changes nothing."""
    list_id = proposed_by(office, Person("elodie", "Élodie Le Goff", frozenset({"archivist"})))
    assert_refused(office.disposals, list_id, by_provider("Élodie", "LE GOFF"))


@pytest.mark.parametrize("full_name", ["Élodie Le Gall", "Le Goff", "Élodie Le Goff-Martin"])
def test_another_full_name_is_another_person(office: Office, full_name: str) -> None:
    """Who is called otherwise than the proposer signs, and with the other offices the waiting begins."""
    list_id = proposed_by(office, by_provider("Élodie", "Le Goff"))
    office.disposals.approve(list_id, "director", who=by_account(office, "elise", full_name, "director"))
    office.disposals.approve(list_id, "dim_physician", who=DAVID)
    view = office.disposals.approve(list_id, "archives_officer", who=AUDE, reference="AD84 2026/113")
    assert (view.head.state, [each.account for each in view.approvals]) == ("approved", ["elise", "david", "aude"])


def test_a_proposer_whose_account_was_renamed_is_known_by_both_names(office: Office) -> None:
    """A marriage or a corrected spelling between proposal and signature does not make another person."""
    anne = by_account(office, "anne", "Anne Le Goff", "archivist")
    list_id = proposed_by(office, anne)
    by_account(office, "anne", "Anne Martin", "archivist")
    assert_refused(office.disposals, list_id, by_provider("Anne", "LE GOFF"))
    assert_refused(office.disposals, list_id, by_provider("Anne", "MARTIN"))
    assert office.disposals.show(list_id).head.proposed_by_full_name == "Anne Le Goff"


def test_the_proposer_is_known_after_a_rebuild(office: Office, url: str) -> None:
    """From storage alone: an index made again knows what the proposer is called, and refuses them."""
    list_id = proposed_by(office, by_provider("Élodie", "Le Goff"))
    account = by_account(office, "elodie", "élodie LE GOFF", "director")
    before = office.disposals.show(list_id)
    rig = office.rig
    Rebuild(rig.disk, rig.hot, rig.kept, office.clock, ledger=office.ledger.files).run(url, nothing)
    database = Database(url)
    try:
        ledger = Ledger(office.ledger.files, database, office.clock)
        disposals = Disposals(ledger, office.assessor, SITES, 30)
        assert disposals.show(list_id) == before
        assert before.head.proposed_by_full_name == "Élodie Le Goff"
        assert_refused(disposals, list_id, account)
    finally:
        database.close()


def test_a_list_of_before_the_name_was_kept_is_judged_by_the_account(office: Office) -> None:
    """An old event of the ledger has no full name: it is read as ever, and the proposer's account tells who it was."""
    by_account(office, "anne", "Anne Le  Goff", "archivist")
    list_id = proposed_before(office, "anne")
    assert office.disposals.show(list_id).head.proposed_by_full_name is None
    assert_refused(office.disposals, list_id, Person("anne", "Another Name", frozenset({"director"})))
    assert_refused(office.disposals, list_id, by_provider("anne", "LE GOFF"))
    view = office.disposals.approve(list_id, "director", who=DIANE)
    assert (list(view.missing), view.head.proposed_by) == (["dim_physician", "archives_officer"], "anne")


def test_an_old_list_of_somebody_without_an_account_goes_on(office: Office) -> None:
    """Nothing tells what an old proposer by the provider is called: they are refused as themselves, others sign."""
    list_id = proposed_before(office, RPPS)
    assert_refused(office.disposals, list_id, by_provider("Élodie", "Le Goff"))
    office.approve(list_id)
    assert office.disposals.show(list_id).head.state == "approved"


def test_old_and_new_events_are_replayed_side_by_side(office: Office) -> None:
    """A ledger that was begun before and gone on with afterwards comes to the same lists, applied or replayed."""
    first = proposed_before(office, "anne")
    office.store(2)
    office.sweep()
    second = str(office.disposals.propose("default", who=ANNE).list_id)
    before = office.disposals.list()
    with office.ledger.database.write(synced=False) as connection:
        office.ledger.files.replay(connection)
    assert office.disposals.list() == before
    names = {view.head.list_id: view.head.proposed_by_full_name for view in before}
    assert names == {first: None, second: "Anne"}


def test_the_full_name_is_in_ledger_and_list_alone(office: Office, capfd: pytest.CaptureFixture[str]) -> None:
    """The journal and the log tell of a proposal, and of its refused signature, by the name of the account."""
    list_id = proposed_by(office, by_provider("Elodie", "Quincampoix"))
    assert_refused(office.disposals, list_id, by_account(office, "elodie", "Elodie Quincampoix", "director"))
    (event,) = [each for each in office.ledger.files.iter_events() if each.kind == "disposal_proposed"]
    assert (event.actor, event.data["full_name"]) == (RPPS, "Elodie Quincampoix")
    kept = value(office.ledger.database, "SELECT proposed_by_full_name FROM disposal_list")
    assert kept == "Elodie Quincampoix"
    assert [row.actor for row in office.journal() if row.event == "disposal_proposed"] == [RPPS]
    assert not any("quincampoix" in row.body.casefold() for row in office.journal())
    assert "quincampoix" not in "".join(capfd.readouterr()).casefold()
