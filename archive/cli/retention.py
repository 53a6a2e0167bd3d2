"""``drimbox retention``: until when is a study kept, and why; must not work it out itself.

``assess`` is the machine contract: it needs no archive and no home, and streams. ``sweep`` and ``explain`` have
modules of their own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date, datetime
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from archive.cli import PARTLY_DONE
from archive.cli.explaining import explain
from archive.cli.sweeping import sweep
from retention_rules.errors import InvalidFacts

if TYPE_CHECKING:
    from retention_rules.assessment import Reading

_LONGEST_LINE = 1 << 20
_BATCH = 64


@click.group("retention")
def command() -> None:
    """Ask until when studies are kept, and why."""


command.add_command(sweep)
command.add_command(explain)


@command.command("assess")
@click.option("--facts", type=click.File("rb"), required=True, help="Facts, one JSON object a line (- is stdin).")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day to assess for.")
@click.option(
    "--reading",
    type=click.Choice(["prudent", "statute"]),
    default="prudent",
    show_default=True,
    help="Keep longer where two official sources differ, or apply the statute alone.",
)
def assess_lines(facts: IO[bytes], as_of: datetime, reading: Reading) -> None:
    """Print an assessment for each line of facts, as one JSON object a line, in the same order."""
    failed = False
    answers = iter_answers(facts, as_of.date(), reading)
    while batch := list(islice(answers, _BATCH)):
        sys.stdout.buffer.write("".join([answer for answer, _ in batch]).encode("ascii"))
        failed = failed or any(is_wrong for _, is_wrong in batch)
    sys.stdout.buffer.flush()
    if failed:
        raise click.exceptions.Exit(PARTLY_DONE)


def iter_answers(facts: IO[bytes], as_of: date, reading: Reading) -> Iterator[tuple[str, bool]]:
    """Yield the line that answers each line of ``facts``, and whether it tells of an error."""
    from retention_rules.assessment import as_json
    from retention_rules.engine import assess
    from retention_rules.facts import REGIMES, parse_facts
    from retention_rules.loader import load_schedule

    schedules = {regime: load_schedule(regime) for regime in REGIMES}
    encode = json.JSONEncoder(check_circular=False).encode
    for line in iter_lines(facts):
        case = None
        try:
            mapping = read_object(line)
            case = mapping.get("case")
            study = parse_facts(mapping)
            answer = as_json(assess(study, schedules[study.regime], as_of, reading=reading), case)
        except InvalidFacts as exc:
            yield encode({"case": case, "error": exc.message}) + "\n", True
        else:
            yield encode(answer) + "\n", False


def iter_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long for memory only the beginning."""
    is_rest = False
    for line in iter(partial(file.readline, _LONGEST_LINE), b""):
        if not is_rest:
            yield line
        is_rest = len(line) == _LONGEST_LINE and not line.endswith(b"\n")


def read_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line, or raise InvalidFacts."""
    try:
        mapping = _decode(line.decode())
    except (ValueError, RecursionError):
        raise InvalidFacts(name="the line", reason="is not JSON") from None
    if not isinstance(mapping, dict):
        raise InvalidFacts(name="the line", reason="is not a JSON object")
    if isinstance(mapping.get("case"), list | dict):
        raise InvalidFacts(name="case", reason="is not a text or a number")
    return mapping


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decode = json.JSONDecoder(parse_constant=_no_constant).decode
