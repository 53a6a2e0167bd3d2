"""Sessions: begun by signing in, ended by time, by hand, and with the account."""

from __future__ import annotations

import pytest

from archive.index.session import Database
from archive.services.accounts import Accounts, NewAccount
from archive.services.people import Person
from archive.services.sessions import Sessions, form_token, is_form_token
from tests.integration.identity.conftest import PASSWORD
from tests.integration.index.making import rows
from tests.unit.services.shelf import Clock

PAUL = Person("899700366240", "Paul Praticien", frozenset({"referring_physician"}), frozenset({"CHU"}), via="oidc")


def bea_of(accounts: Accounts, anne: Person) -> Person:
    """Make another account and return whose it is, as who came with a passkey."""
    accounts.set(NewAccount("bea", "Béatrice", frozenset({"radiologist"})), PASSWORD, by=anne)
    return Person("bea", "Béatrice", frozenset({"radiologist"}), via="passkey")


def test_a_session_is_whoever_began_it(sessions: Sessions, accounts: Accounts, anne: Person) -> None:
    """The token finds the person as they came in; any other finds nobody."""
    bea = bea_of(accounts, anne)
    token = sessions.begin(bea, address="10.0.0.1")
    assert sessions.find(token) == bea
    assert sessions.find(sessions.begin(PAUL, address="10.0.0.2")) == PAUL
    for other in ("", "x", token + "x"):
        assert sessions.find(other) is None


def test_only_a_digest_of_the_token_is_kept(sessions: Sessions, database: Database, anne: Person) -> None:
    """Whoever reads the database opens nothing with it."""
    token = sessions.begin(anne, address="10.0.0.1")
    assert token not in str(rows(database, "SELECT * FROM web_session"))
    assert [
        body for (body,) in rows(database, "SELECT body FROM audit WHERE event = 'signed_in'") if token in body
    ] == []


def test_a_session_ends_when_it_is_not_used(sessions: Sessions, clock: Clock) -> None:
    """Half an hour of nothing ends it; use keeps it, up to ten hours in all."""
    token = sessions.begin(PAUL, address="10.0.0.1")
    for _ in range(20):
        clock.advance(minutes=29)
        assert sessions.find(token) == PAUL
    clock.advance(minutes=20)
    assert sessions.find(token) is None


def test_an_unused_session_ends_and_is_forgotten(sessions: Sessions, clock: Clock, database: Database) -> None:
    """What is over is swept away when the next session begins."""
    token = sessions.begin(PAUL, address="10.0.0.1")
    clock.advance(minutes=30)
    assert sessions.find(token) is None
    sessions.begin(PAUL, address="10.0.0.1")
    assert rows(database, "SELECT count(*) FROM web_session") == [(1,)]


def test_what_an_account_may_is_looked_up_each_time(sessions: Sessions, accounts: Accounts, anne: Person) -> None:
    """A role taken away is gone at once, not at the next signing in."""
    token = sessions.begin(bea_of(accounts, anne), address="10.0.0.1")
    accounts.change(NewAccount("bea", "Béatrice", frozenset({"auditor"}), frozenset({"CHU"})), by=anne)
    found = sessions.find(token)
    assert found is not None
    assert (found.roles, found.sites) == (frozenset({"auditor"}), frozenset({"CHU"}))


def test_closing_an_account_ends_all_its_sessions_for_good(
    sessions: Sessions, accounts: Accounts, anne: Person
) -> None:
    """They do not come back with the account."""
    bea = bea_of(accounts, anne)
    tokens = [sessions.begin(bea, address="10.0.0.1") for _ in range(2)]
    accounts.disable("bea", by=anne)
    bea_of(accounts, anne)
    assert [sessions.find(token) for token in tokens] == [None, None]


def test_signing_out_ends_one_session_and_is_journaled(sessions: Sessions, database: Database, anne: Person) -> None:
    """The other browser goes on."""
    one, other = (sessions.begin(anne, address="10.0.0.1") for _ in range(2))
    sessions.end(one, address="10.0.0.9")
    sessions.end(one, address="10.0.0.9")
    assert sessions.find(one) is None
    assert sessions.find(other) is not None
    ((actor, body),) = rows(database, "SELECT actor, body FROM audit WHERE event = 'signed_out'")
    assert actor == "anne"
    assert '"address":"10.0.0.9"' in body


@pytest.mark.parametrize("other", ["", "é", "0" * 64])
def test_a_form_belongs_to_its_session(other: str) -> None:
    """No other session's token fits, and none that is made up."""
    assert is_form_token(form_token("a"), "a")
    assert not is_form_token(form_token("b"), "a")
    assert not is_form_token(other, "a")
