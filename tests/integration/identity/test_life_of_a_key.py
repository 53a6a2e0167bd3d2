"""A passkey's life on both databases: made, used, kept in the ledger, replaced."""

from __future__ import annotations

import pytest

from archive.errors import PasskeyRefused
from archive.services.accounts import NewAccount
from archive.services.invitations import Invitations
from archive.services.ledger import Ledger
from archive.services.passkeys import Passkeys
from tests.integration.identity.authenticator import SoftwareKey
from tests.integration.identity.test_passkeys import FIRST, make, show
from tests.unit.services.shelf import Clock


def test_keys_come_back_with_the_ledger_and_go_with_a_recovery(
    ledger: Ledger, clock: Clock, invitations: Invitations
) -> None:
    """An index made again knows every key: signing in needs nothing else; a lost one is gone there too."""
    passkeys, lost, new = Passkeys(ledger, clock, "localhost"), SoftwareKey(), SoftwareKey()
    make(passkeys, invitations.first(), lost, FIRST)
    anne = show(passkeys, lost)
    (row,) = passkeys.of_account("anne")
    assert (row.sign_count, row.used_at) == (1, clock())
    again(ledger)
    assert show(passkeys, lost) == anne
    make(passkeys, invitations.recover("anne"), new)
    bea = invitations.invite(NewAccount("bea", "Béatrice", frozenset({"auditor"})), by=anne)
    again(ledger)
    assert show(passkeys, new) == anne
    with pytest.raises(PasskeyRefused):
        show(passkeys, lost)
    assert make(passkeys, bea, SoftwareKey()).full_name == "Béatrice"


def again(ledger: Ledger) -> None:
    """Make the tables again from the ledger."""
    with ledger.database.write(synced=False) as connection:
        ledger.files.replay(connection)
