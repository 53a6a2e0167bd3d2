"""Options that all nouns share, and what they lead to: settings, logs, the offline archive; must not print."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.opening import Core
    from archive.services.people import Person
    from archive.services.reports import Offline

P = ParamSpec("P")

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the archive  [env: DRIMBOX_HOME; default: ./drimbox-home]",
)
config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="DRIMBOX_CONFIG",
    help="Configuration file  [env: DRIMBOX_CONFIG; default: drimbox.toml in the home, when it exists]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_settings(function: Callable[Concatenate[Settings, P], None]) -> Callable[..., None]:
    """Add ``--home`` and ``--config`` to a command and call it with the settings they lead to."""

    @home_option
    @config_option
    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        config, home = kwargs.pop("config"), kwargs.pop("home")
        assert isinstance(config, Path | None)
        function(read_settings(config, {"home": home}), *args, **kwargs)

    return command


def acting_as(*roles: str, is_optional: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add ``--as NAME`` to a command, below ``with_settings``, and give it ``who``.

    ``who`` is the account, which has proven itself and has one of the roles; None when it ``is_optional`` and nobody
    is named. The password is taken from DRIMBOX_PASSWORD, or asked for.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--as",
            "acting",
            envvar="DRIMBOX_ACCOUNT",
            required=not is_optional,
            help="Account that acts  [env: DRIMBOX_ACCOUNT]",
        )
        @functools.wraps(function)
        def command(settings: Settings, *args: object, acting: str | None, **kwargs: object) -> None:
            who = None if acting is None else _proven(settings, acting, roles)
            function(settings, *args, who=who, **kwargs)

        return command

    return decorate


def _proven(settings: Settings, name: str, roles: tuple[str, ...]) -> Person:
    from archive.services.accounts import Accounts

    password = os.environ.get("DRIMBOX_PASSWORD") or click.prompt(f"Password of {name}", hide_input=True, err=True)
    with opened(settings) as core:
        account = Accounts(core.ledger).authenticate(name, password)
    account.require_role(roles)
    return account


def new_password() -> str:
    """Return the password for an account being made: DRIMBOX_NEW_PASSWORD, or asked for twice."""
    wanted: str = os.environ.get("DRIMBOX_NEW_PASSWORD") or click.prompt(
        "Password of the account", hide_input=True, confirmation_prompt=True, err=True
    )
    return wanted


def read_settings(config: Path | None, overrides: Mapping[str, object]) -> Settings:
    """Return the settings, or raise ConfigError."""
    from archive.config import load_settings

    return load_settings(config, overrides)


@contextmanager
def opened(settings: Settings) -> Iterator[Core]:
    """Open an archive that is there, without listeners, and lend its parts; only warnings are logged."""
    from archive import logs, opening

    logs.configure("warning", settings.log.format)
    with opening.open_existing(settings) as core:
        yield core


@contextmanager
def offline(settings: Settings) -> Iterator[Offline]:
    """Open the archive without its listeners; only warnings are logged, so that the answer stands alone."""
    from archive import bootstrap, logs

    logs.configure("warning", settings.log.format)
    with bootstrap.open_offline(settings) as archive:
        yield archive
