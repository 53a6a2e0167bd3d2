"""Options that all nouns share, and what they lead to: settings, logs, the offline archive; must not print."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

if TYPE_CHECKING:
    from archive.bootstrap import Core
    from archive.config import Settings
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


def read_settings(config: Path | None, overrides: Mapping[str, object]) -> Settings:
    """Return the settings, or raise ConfigError."""
    from archive.config import load_settings

    return load_settings(config, overrides)


@contextmanager
def opened(settings: Settings) -> Iterator[Core]:
    """Open an archive that is there, without listeners, and lend its parts; only warnings are logged."""
    from archive import bootstrap, logs

    logs.configure("warning", settings.log.format)
    with bootstrap.open_existing(settings) as core:
        yield core


@contextmanager
def offline(settings: Settings) -> Iterator[Offline]:
    """Open the archive without its listeners; only warnings are logged, so that the answer stands alone."""
    from archive import bootstrap, logs

    logs.configure("warning", settings.log.format)
    with bootstrap.open_offline(settings) as archive:
        yield archive
