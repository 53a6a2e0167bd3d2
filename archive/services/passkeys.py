"""Passkeys (WebAuthn level 3): made by whoever holds a link, shown to sign in; must not know HTTP.

The only user of the fido2 library. A passkey has to verify its user (PIN, finger), and is found by itself: nobody types
a name. Attestation is not asked for: any maker's key will do. A ceremony is kept in memory between its two steps, and
ends with the second, whatever comes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from archive.clock import Clock
from archive.errors import LinkRefused, PasskeyRefused, SignInExpired
from archive.index import accounts, passkeys, web_sessions
from archive.index.passkeys import Invitation, PasskeyRow
from archive.index.session import Connection
from archive.services.accounts import NewAccount, account_draft, check_account
from archive.services.invitations import ADD, FIRST, INVITE, good_invitation
from archive.services.ledger import Draft, Ledger
from archive.services.pending import Pending, digest_of
from archive.services.people import Person
from archive.services.sessions import PASSKEY

Options = Mapping[str, Any]
"""What the browser's ``navigator.credentials`` is given, bytes as base64url."""

_NAME: Final = "drimbox-archive"
_VERIFIED: Final = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True)
class _Ceremony:
    """What has to be remembered between the two steps; ``wanted`` and ``token_sha256`` when a key is being made."""

    state: Any
    wanted: NewAccount | None = None
    token_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Passkeys:
    """The passkeys of one archive. ``host`` is the name they are for, ``is_origin`` tells which page may use them."""

    ledger: Ledger
    clock: Clock
    host: str
    pending: Pending[_Ceremony] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pending", Pending(self.clock))

    def begin_making(self, token: str, wanted: NewAccount | None = None) -> tuple[str, Options]:
        """Return a ceremony and the options for a new passkey, for whoever holds a link.

        ``wanted`` are name and full name the first administrator chooses. Raises LinkRefused, AccountRefused.
        """
        digest = digest_of(token)
        with self.ledger.database.read() as connection:
            invitation = good_invitation(connection, digest, self.clock())
            account = _wanted(invitation, wanted)
            known = [AttestedCredentialData(row.credential) for row in passkeys.of_account(connection, account.name)]
        user = PublicKeyCredentialUserEntity(
            id=_handle(account.name), name=account.name, display_name=account.full_name
        )
        options, state = self._server(lambda _: True).register_begin(
            user,
            known if invitation.purpose == ADD else [],
            resident_key_requirement=ResidentKeyRequirement.REQUIRED,
            user_verification=_VERIFIED,
        )
        return self.pending.put(_Ceremony(state, account, digest)), dict(options)["publicKey"]

    def finish_making(self, ceremony: str, answer: Mapping[str, Any], *, is_origin: Callable[[str], bool]) -> Person:
        """Keep the passkey a browser made, spend the link, and return whose it is.

        Raises SignInExpired, PasskeyRefused, LinkRefused.
        """
        begun = self.pending.take(ceremony)
        if begun is None or begun.wanted is None:
            raise SignInExpired()
        try:
            made = self._server(is_origin).register_complete(begun.state, RegistrationResponse.from_dict(answer))
        except Exception as exc:  # what a browser sends may be anything, and the library raises whatever it comes to
            raise PasskeyRefused(reason=_reason(exc)) from exc
        assert made.credential_data is not None
        data = {
            "credential_id": websafe_encode(made.credential_data.credential_id),
            "credential": bytes(made.credential_data).hex(),
            "sign_count": made.counter,
        }
        return self._keep(begun, data)

    def begin_showing(self) -> tuple[str, Options]:
        """Return a ceremony and the options with which a browser asks for any passkey of this archive."""
        options, state = self._server(lambda _: True).authenticate_begin(user_verification=_VERIFIED)
        return self.pending.put(_Ceremony(state)), dict(options)["publicKey"]

    def finish_showing(self, ceremony: str, answer: Mapping[str, Any], *, is_origin: Callable[[str], bool]) -> Person:
        """Return whose passkey was shown; raise SignInExpired or PasskeyRefused."""
        begun = self.pending.take(ceremony)
        if begun is None or begun.wanted is not None:
            raise SignInExpired()
        try:
            shown = AuthenticationResponse.from_dict(answer)
            row, person = self._known(websafe_encode(shown.raw_id))
            self._server(is_origin).authenticate_complete(begun.state, [AttestedCredentialData(row.credential)], shown)
        except PasskeyRefused:
            raise
        except Exception as exc:
            raise PasskeyRefused(reason=_reason(exc)) from exc
        self._note_use(row, shown.response.authenticator_data.counter)
        return person

    def of_account(self, name: str) -> list[PasskeyRow]:
        """Return the passkeys of an account."""
        with self.ledger.database.read() as connection:
            return passkeys.of_account(connection, name)

    def _server(self, is_origin: Callable[[str], bool]) -> Fido2Server:
        return Fido2Server(PublicKeyCredentialRpEntity(id=self.host, name=_NAME), verify_origin=is_origin)

    def _known(self, credential_id: str) -> tuple[PasskeyRow, Person]:
        with self.ledger.database.read() as connection:
            row = passkeys.find(connection, credential_id)
            account = None if row is None else accounts.find(connection, row.account)
        if row is None or account is None or account.disabled_at is not None:
            raise PasskeyRefused(reason="it is of no open account here")
        return row, Person(account.name, account.full_name, account.roles, account.sites, via=PASSKEY)

    def _note_use(self, row: PasskeyRow, sign_count: int) -> None:
        """Remember the counter; one that stands still or goes back tells of a copied key (WebAuthn section 6.1.1)."""
        if (sign_count or row.sign_count) and sign_count <= row.sign_count:
            raise PasskeyRefused(reason="its counter went back: it may have been copied")
        with self.ledger.database.write(synced=False) as connection:
            passkeys.note_use(connection, row.credential_id, sign_count=sign_count, at=self.clock())

    def _keep(self, begun: _Ceremony, data: Mapping[str, Any]) -> Person:
        wanted = begun.wanted
        assert wanted is not None

        def decide(connection: Connection) -> list[Draft]:
            invitation = good_invitation(connection, begun.token_sha256, self.clock())
            if invitation.purpose != FIRST and invitation.name != wanted.name:
                raise LinkRefused()
            if passkeys.find(connection, data["credential_id"]) is not None:
                raise PasskeyRefused(reason="it is known here already")
            return _made(connection, invitation, wanted, data)

        self.ledger.act(wanted.name, decide)
        return Person(wanted.name, wanted.full_name, wanted.roles, wanted.sites, via=PASSKEY)


def _made(connection: Connection, invitation: Invitation, wanted: NewAccount, data: Mapping[str, Any]) -> list[Draft]:
    """Return what happens when a key was made by a link: all keys before it go, unless it is one more."""
    account = accounts.find(connection, wanted.name)
    drafts = []
    if invitation.purpose in (FIRST, INVITE):
        drafts.append(account_draft(wanted, "" if account is None else account.secret))
    elif account is None or account.disabled_at is not None:
        raise LinkRefused()
    public = {"account": wanted.name, "purpose": invitation.purpose}
    if invitation.purpose != ADD:
        web_sessions.end_all(connection, wanted.name)
        if passkeys.of_account(connection, wanted.name):
            drafts.append(Draft("passkeys_removed", {"name": wanted.name}, public))
    told = {**data, "name": wanted.name, "token_sha256": invitation.token_sha256}
    return [*drafts, Draft("passkey_added", told, public)]


def _wanted(invitation: Invitation, chosen: NewAccount | None) -> NewAccount:
    account = NewAccount(invitation.name, invitation.full_name, invitation.roles, invitation.sites)
    if invitation.purpose == FIRST:
        if chosen is None:
            raise LinkRefused()
        account = replace(account, name=chosen.name, full_name=chosen.full_name.strip())
    check_account(account)
    return account


def _handle(name: str) -> bytes:
    """Return what an authenticator knows an account by: the same for the same name, and telling nothing of it."""
    return hashlib.sha256(f"drimbox-archive account {name}".encode()).digest()


def _reason(error: Exception) -> str:
    """Return why the library refuses; what an answer holds that cannot even be read is not repeated."""
    return str(error).rstrip(".") if type(error) is ValueError else "its answer cannot be read"
