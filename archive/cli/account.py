"""``drimbox account``: who may act, and in which role; must not keep or print a password."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from archive.cli.options import acting_as, json_option, new_password, opened, with_settings
from archive.cli.output import moment_text, print_json, print_table

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.index.accounts import AccountRow
    from archive.services.accounts import NewAccount
    from archive.services.people import Person


@click.group("account")
def command() -> None:
    """Manage who may act, and in which role."""


def _described(function: Callable[..., None]) -> Callable[..., None]:
    """Add what says whose account it is, and what for: ``_wanted`` reads it."""
    for add in (
        click.option("--site", "sites", multiple=True, help="Only for this site; without it, for all."),
        click.option("--role", "roles", multiple=True, required=True, help="A role; give the option again for more."),
        click.option("--full-name", required=True, help="As it is printed on lists and certificates."),
        click.argument("name"),
    ):
        function = add(function)
    return function


@command.command("create")
@_described
@with_settings
@acting_as("operator", is_optional=True)
def create(settings: Settings, who: Person | None, **wanted: object) -> None:
    """Make an account, or give one other roles, sites and password. Without --as only the first can be made."""
    from archive.services.accounts import Accounts

    account = _wanted(settings, wanted)
    with opened(settings) as core:
        Accounts(core.ledger).set(account, new_password(), by=who)
    click.echo(f"{account.name}: {', '.join(sorted(account.roles))}")


@command.command("change")
@_described
@with_settings
@acting_as("operator")
def change(settings: Settings, who: Person, **wanted: object) -> None:
    """Give an account another name, roles or sites; its keys and its password stay."""
    from archive.services.accounts import Accounts

    account = _wanted(settings, wanted)
    with opened(settings) as core:
        Accounts(core.ledger).change(account, by=who)
    click.echo(f"{account.name}: {', '.join(sorted(account.roles))}")


@command.command("invite")
@_described
@with_settings
@acting_as("operator")
def invite(settings: Settings, who: Person, **wanted: object) -> None:
    """Print a one-time link by which somebody makes a passkey and gets an account, in place of keys they had."""
    from archive.bootstrap_login import invitations_of, link_to

    account = _wanted(settings, wanted)
    with opened(settings) as core:
        token = invitations_of(core).invite(account, by=who)
    click.echo(link_to("link", token, settings))


@command.command("recover")
@click.argument("name")
@with_settings
def recover(settings: Settings, name: str) -> None:
    """Print a one-time link for somebody who lost every key; whoever commands this machine may."""
    from archive.bootstrap_login import invitations_of, link_to

    with opened(settings) as core:
        token = invitations_of(core).recover(name)
    click.echo(link_to("link", token, settings))


@command.command("password")
@click.argument("name")
@with_settings
def password(settings: Settings, name: str) -> None:
    """Set the password by which an account acts at the command line; whoever commands this machine may."""
    from archive.services.accounts import Accounts
    from archive.services.invitations import AT_MACHINE

    with opened(settings) as core:
        Accounts(core.ledger).set_password(name, new_password(), by=AT_MACHINE)
    click.echo(f"{name}: password set")


@command.command("disable")
@click.argument("name")
@with_settings
@acting_as("operator")
def disable(settings: Settings, who: Person, name: str) -> None:
    """Close an account; what it did stays in the ledger."""
    from archive.services.accounts import Accounts

    with opened(settings) as core:
        Accounts(core.ledger).disable(name, by=who)
    click.echo(f"{name}: closed")


@command.command("list")
@json_option
@with_settings
def list_accounts(settings: Settings, as_json: bool) -> None:
    """Print the accounts, closed ones too."""
    from archive.services.accounts import Accounts

    with opened(settings) as core:
        rows = Accounts(core.ledger).list()
    items = [_item(row) for row in rows]
    if as_json:
        print_json(items)
        return
    print_table([_line(row) for row in rows], header=("name", "full name", "roles", "sites", "state"))


def _wanted(settings: Settings, fields: Mapping[str, object]) -> NewAccount:
    from archive.services.accounts import NewAccount

    lists = {key: frozenset(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    account = NewAccount(**lists)  # type: ignore[arg-type]
    unknown = account.sites.difference([site.name for site in settings.sites])
    if unknown:
        raise click.UsageError(f"there is no site {', '.join(sorted(unknown))}")
    return account


def _item(row: AccountRow) -> dict[str, object]:
    names = ("name", "full_name", "created_at", "created_by", "disabled_at")
    return {name: getattr(row, name) for name in names} | {"roles": sorted(row.roles), "sites": sorted(row.sites)}


def _line(row: AccountRow) -> tuple[object, ...]:
    state = "open" if row.disabled_at is None else f"closed {moment_text(row.disabled_at)}"
    return row.name, row.full_name, ", ".join(sorted(row.roles)), ", ".join(sorted(row.sites)) or "all", state
