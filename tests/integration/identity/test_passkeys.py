"""Passkeys: what is kept of them, and everything about one that has to be right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fido2.webauthn import AuthenticatorData

from archive.errors import AccountRefused, LinkRefused, NotAllowed, PasskeyRefused, SignInExpired
from archive.services.accounts import Accounts, NewAccount
from archive.services.invitations import Invitations
from archive.services.ledger import Ledger
from archive.services.passkeys import Passkeys
from archive.services.people import Person
from archive.services.sessions import Sessions
from tests.integration.identity.authenticator import PRESENT, SoftwareKey
from tests.integration.identity.conftest import PASSWORD
from tests.unit.services.shelf import Clock

ORIGIN = "http://localhost:8042"
FIRST = NewAccount("anne", "Anne Le Goff", frozenset({"operator"}))
BEA = NewAccount("bea", "Béatrice Noël", frozenset({"radiologist"}), frozenset({"CHU"}))


def is_ours(origin: str) -> bool:
    """Tell whether a page is ours."""
    return origin == ORIGIN


@pytest.fixture(params=["sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    """Name the one kind of database that is enough for what is asked here."""
    return str(request.param)


@pytest.fixture
def passkeys(ledger: Ledger, clock: Clock) -> Passkeys:
    """Lend the passkeys."""
    return Passkeys(ledger, clock, "localhost")


def make(passkeys: Passkeys, token: str | None, key: SoftwareKey, wanted: NewAccount | None = None) -> Person:
    """Make a passkey by a link."""
    assert token is not None
    ceremony, options = passkeys.begin_making(token, wanted)
    return passkeys.finish_making(ceremony, key.make(options), is_origin=is_ours)


def show(passkeys: Passkeys, key: SoftwareKey) -> Person:
    """Sign in."""
    ceremony, options = passkeys.begin_showing()
    return passkeys.finish_showing(ceremony, key.show(options), is_origin=is_ours)


@pytest.fixture
def key(passkeys: Passkeys, invitations: Invitations) -> SoftwareKey:
    """Lend anne's key: she is the first administrator."""
    key = SoftwareKey()
    make(passkeys, invitations.first(), key, FIRST)
    return key


def test_the_first_administrator_comes_in_with_the_key(
    passkeys: Passkeys, key: SoftwareKey, accounts: Accounts
) -> None:
    """The account is an operator's, has no password, and the key is the way in."""
    person = show(passkeys, key)
    assert (person.name, person.full_name, person.via) == ("anne", "Anne Le Goff", "passkey")
    assert person.roles == frozenset({"operator"})
    with pytest.raises(NotAllowed):
        accounts.authenticate("anne", "")


def test_the_first_administrator_has_a_name(passkeys: Passkeys, invitations: Invitations) -> None:
    """A name nobody could print, or none, makes no account; the link is still good."""
    token = invitations.first()
    assert token is not None
    for wanted in (NewAccount("Anne!", "Anne", frozenset()), NewAccount("anne", "  ", frozenset())):
        with pytest.raises(AccountRefused):
            passkeys.begin_making(token, wanted)
    with pytest.raises(LinkRefused):
        passkeys.begin_making(token)
    assert make(passkeys, token, SoftwareKey(), FIRST).name == "anne"


def test_nobody_chooses_their_roles(passkeys: Passkeys, invitations: Invitations) -> None:
    """What the first administrator sends beside the name counts for nothing, nor what an invited person sends."""
    grand = NewAccount("anne", "Anne", frozenset({"operator", "director"}), frozenset({"X"}))
    anne = make(passkeys, invitations.first(), SoftwareKey(), grand)
    assert (anne.roles, anne.sites) == (frozenset({"operator"}), frozenset())
    bea = make(passkeys, invitations.invite(BEA, by=anne), SoftwareKey(), grand)
    assert (bea.name, bea.roles, bea.sites) == ("bea", BEA.roles, BEA.sites)


def test_a_link_is_spent_by_the_key_it_made(passkeys: Passkeys, invitations: Invitations) -> None:
    """Two browsers that opened it both make a key; the second one's counts for nothing."""
    token = invitations.first()
    assert token is not None
    begun = [passkeys.begin_making(token, NewAccount(name, name, frozenset())) for name in ("anne", "eve")]
    keys = [SoftwareKey(), SoftwareKey()]
    (first, options), (second, others) = begun
    passkeys.finish_making(first, keys[0].make(options), is_origin=is_ours)
    with pytest.raises(LinkRefused):
        passkeys.finish_making(second, keys[1].make(others), is_origin=is_ours)
    with pytest.raises(PasskeyRefused):
        show(passkeys, keys[1])


def test_no_kind_of_link_works_twice(passkeys: Passkeys, invitations: Invitations, key: SoftwareKey) -> None:
    """An invitation, a recovery and a further key each make one key."""
    anne = show(passkeys, key)
    ways = (
        partial(invitations.invite, BEA, by=anne),
        partial(invitations.add, anne),
        partial(invitations.recover, "anne"),
    )
    for way in ways:
        token = way()
        make(passkeys, token, SoftwareKey())
        with pytest.raises(LinkRefused):
            make(passkeys, token, SoftwareKey())


def test_a_link_replaced_meanwhile_is_refused_at_the_end(
    passkeys: Passkeys, invitations: Invitations, key: SoftwareKey
) -> None:
    """Whoever had the old one open gets nothing."""
    ceremony, options = passkeys.begin_making(invitations.recover("anne"))
    invitations.recover("anne")
    with pytest.raises(LinkRefused):
        passkeys.finish_making(ceremony, SoftwareKey().make(options), is_origin=is_ours)
    show(passkeys, key)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"origin": "https://evil.example"}, "origin"),
        ({"origin": "http://localhost:9999"}, "origin"),
        ({"host": "evil.example"}, "RP ID"),
        ({"flags": PRESENT}, "verification"),
        ({"flags": AuthenticatorData.FLAG(0)}, "Present"),
    ],
)
def test_a_key_that_was_not_asked_so_is_refused(
    passkeys: Passkeys, invitations: Invitations, key: SoftwareKey, changed: dict[str, Any], reason: str
) -> None:
    """On another page, for another host, or without its user: neither made nor shown."""
    for name, value in changed.items():
        setattr(key, name, value)
    with pytest.raises(PasskeyRefused, match=reason):
        show(passkeys, key)
    with pytest.raises(PasskeyRefused, match=reason):
        make(passkeys, invitations.recover("anne"), SoftwareKey(**changed))


def test_an_answer_fits_one_question_once(passkeys: Passkeys, key: SoftwareKey) -> None:
    """Replayed, or given to another question, it is refused; so is a question of another kind."""
    ceremony, options = passkeys.begin_showing()
    answer = key.show(options)
    passkeys.finish_showing(ceremony, answer, is_origin=is_ours)
    with pytest.raises(SignInExpired):
        passkeys.finish_showing(ceremony, answer, is_origin=is_ours)
    other, _ = passkeys.begin_showing()
    with pytest.raises(PasskeyRefused, match="challenge"):
        passkeys.finish_showing(other, answer, is_origin=is_ours)
    third, asked = passkeys.begin_showing()
    with pytest.raises(PasskeyRefused, match="type"):
        passkeys.finish_showing(third, key.show(asked, kind="webauthn.create"), is_origin=is_ours)


def test_the_two_ceremonies_are_not_mixed_up(passkeys: Passkeys, invitations: Invitations, key: SoftwareKey) -> None:
    """What began as making ends as making."""
    making, options = passkeys.begin_making(invitations.recover("anne"))
    with pytest.raises(SignInExpired):
        passkeys.finish_showing(making, key.show(options), is_origin=is_ours)
    showing, asked = passkeys.begin_showing()
    with pytest.raises(SignInExpired):
        passkeys.finish_making(showing, key.make(asked), is_origin=is_ours)


def test_a_question_is_open_for_five_minutes(passkeys: Passkeys, key: SoftwareKey, clock: Clock) -> None:
    """Whoever went away begins again."""
    ceremony, options = passkeys.begin_showing()
    clock.advance(minutes=5)
    with pytest.raises(SignInExpired):
        passkeys.finish_showing(ceremony, key.show(options), is_origin=is_ours)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: {},
        lambda answer: {**answer, "response": {}},
        lambda answer: {**answer, "response": "x"},
        lambda answer: {**answer, "rawId": "%%%"},
        lambda answer: {**answer, "response": {**answer["response"], "clientDataJSON": "AAAA"}},
        lambda answer: {**answer, "response": {**answer["response"], "signature": "AAAA"}},
        lambda answer: {**answer, "response": {**answer["response"], "authenticatorData": 7}},
    ],
)
def test_nonsense_is_refused_and_not_repeated(
    passkeys: Passkeys, key: SoftwareKey, spoil: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Whatever a browser sends, nothing breaks."""
    ceremony, options = passkeys.begin_showing()
    with pytest.raises(PasskeyRefused):
        passkeys.finish_showing(ceremony, spoil(key.show(options)), is_origin=is_ours)


def test_another_keys_signature_is_refused(passkeys: Passkeys, key: SoftwareKey) -> None:
    """Knowing a credential's id is not having it."""
    with pytest.raises(PasskeyRefused, match="signature"):
        show(passkeys, SoftwareKey(id=key.id, count=key.count))


def test_a_counter_that_does_not_grow_tells_of_a_copy(passkeys: Passkeys, key: SoftwareKey) -> None:
    """The copy is refused once the key was used; keys that do not count stay at nought and are taken."""
    copied = SoftwareKey(id=key.id, private=key.private, count=key.count)
    show(passkeys, key)
    with pytest.raises(PasskeyRefused, match="counter"):
        show(passkeys, copied)
    show(passkeys, key)


def test_recovery_takes_all_keys_and_sessions_away(
    passkeys: Passkeys, invitations: Invitations, key: SoftwareKey, sessions: Sessions
) -> None:
    """A lost key opens nothing, nor does a browser it opened."""
    token = sessions.begin(show(passkeys, key), address="10.0.0.1")
    new = SoftwareKey()
    make(passkeys, invitations.recover("anne"), new)
    with pytest.raises(PasskeyRefused):
        show(passkeys, key)
    assert sessions.find(token) is None
    show(passkeys, new)


def test_one_more_key_leaves_the_others(passkeys: Passkeys, invitations: Invitations, key: SoftwareKey) -> None:
    """And the same key is not added twice: the browser is told which it has."""
    anne = show(passkeys, key)
    token = invitations.add(anne)
    _, options = passkeys.begin_making(token)
    assert len(options["excludeCredentials"]) == 1
    with pytest.raises(PasskeyRefused, match="already"):
        make(passkeys, token, key)
    spare = SoftwareKey()
    make(passkeys, token, spare)
    assert show(passkeys, spare) == show(passkeys, key) == anne
    assert len(passkeys.of_account("anne")) == 2


def test_an_invitation_keeps_the_password_and_opens_a_closed_account(
    passkeys: Passkeys, invitations: Invitations, key: SoftwareKey, accounts: Accounts
) -> None:
    """A password account gets a key; a closed one, invited anew, has the roles of the link and none of its old keys."""
    anne = show(passkeys, key)
    accounts.set(BEA, PASSWORD, by=anne)
    old, new = SoftwareKey(), SoftwareKey()
    make(passkeys, invitations.invite(BEA, by=anne), old)
    assert accounts.authenticate("bea", PASSWORD).name == "bea"
    accounts.disable("bea", by=anne)
    with pytest.raises(PasskeyRefused, match="no open account"):
        show(passkeys, old)
    make(passkeys, invitations.invite(NewAccount("bea", "Béatrice", frozenset({"auditor"})), by=anne), new)
    assert show(passkeys, new).roles == frozenset({"auditor"})
    with pytest.raises(PasskeyRefused):
        show(passkeys, old)


def test_a_recovery_ends_with_the_account(
    passkeys: Passkeys, invitations: Invitations, key: SoftwareKey, accounts: Accounts
) -> None:
    """A link made before an account was closed does not open it."""
    anne = show(passkeys, key)
    make(passkeys, invitations.invite(BEA, by=anne), SoftwareKey())
    token = invitations.recover("bea")
    ceremony, options = passkeys.begin_making(token)
    accounts.disable("bea", by=anne)
    with pytest.raises(LinkRefused):
        passkeys.finish_making(ceremony, SoftwareKey().make(options), is_origin=is_ours)
