"""How answers look: JSON, aligned columns, progress bars; must not know where they come from.

Answers go to standard output, everything else to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from archive.services.reports import Progress

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def print_json(value: object) -> None:
    """Print ``value`` as one JSON document: dataclasses as objects, moments as ISO 8601 in UTC, days too."""
    click.echo(json.dumps(value, indent=2, default=_json_value))


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print ``name  value`` lines, the values aligned."""
    print_table([(f"{name}:", value) for name, value in pairs.items()])


def print_table(rows: Sequence[Sequence[object]], *, header: Sequence[str] = ()) -> None:
    """Print rows in columns as wide as their widest cell; peers cannot send control characters to the terminal."""
    table = [[_cell(value) for value in row] for row in ([header, *rows] if header else rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size_text(size_bytes: int) -> str:
    """Return a size for people: 1536 is ``1.5 KiB``."""
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"


def seconds_text(milliseconds: int) -> str:
    """Return a duration for people: 1530 is ``1.53 s``."""
    return f"{milliseconds / 1000:.2f} s"


def moment_text(moment: datetime | None) -> str:
    """Return a moment for people, in UTC to the second; ``-`` for None."""
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Give a function to call with (done, total); it draws a bar on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _cell(value: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _json_value(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
