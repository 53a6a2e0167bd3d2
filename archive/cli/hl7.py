"""``drimbox hl7``: the messages the hospital's systems sent; must not read them itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table, progress_bar

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.index.hl7_messages import KeptMessage
    from archive.services.hl7 import Kept
    from archive.services.people import Person

_PARTLY_DONE = 3


@click.group("hl7")
def command() -> None:
    """Look at HL7 messages, and have them read again."""


@command.command("list")
@click.option("--refused", "only_refused", is_flag=True, help="Only those that were refused, all of them.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many of the last ones.")
@json_option
@with_settings
def list_messages(settings: Settings, *, as_json: bool, only_refused: bool, limit: int) -> None:
    """Print the last messages and what became of them, oldest first."""
    with opened(settings) as core:
        from archive.services.hl7 import Feed

        feed = Feed(core.ledger, core.database)
        found = list(feed.iter_refused()) if only_refused else feed.latest(limit)
    if as_json:
        print_json([_pairs(each) for each in found])
    else:
        rows = [(each.number, moment_text(each.received_at), *_row(each)) for each in found]
        print_table(rows, header=("number", "received", "from", "type", "control id", "outcome", "detail"))


@command.command("show")
@click.argument("number", type=click.IntRange(1))
@json_option
@with_settings
def show(settings: Settings, *, as_json: bool, number: int) -> None:
    """Print one message, a segment a line. It names a patient."""
    with opened(settings) as core:
        from archive.services.hl7 import Feed

        found = Feed(core.ledger, core.database).get(number)
    text = _text(found.message)
    if as_json:
        print_json({**_pairs(found), "message": text, "message_hex": found.message.hex()})
        return
    print_pairs({name.replace("_", " "): value for name, value in _pairs(found).items()})
    for line in text.splitlines():
        click.echo("".join(letter if letter.isprintable() else "?" for letter in line))


@command.command("replay")
@click.argument("number", type=click.IntRange(1), required=False)
@click.option("--refused", "all_refused", is_flag=True, help="All that are refused, oldest first.")
@json_option
@with_settings
@acting_as("operator", "archivist")
def replay(settings: Settings, who: Person, *, as_json: bool, number: int | None, all_refused: bool) -> None:
    """Have a message read again, after the settings were corrected. Exit code 3: some are still refused."""
    if (number is None) is not all_refused:
        raise click.UsageError("give a number, or --refused")
    from archive.bootstrap import read_hl7
    from archive.services.hl7 import Feed

    with opened(settings) as core, progress_bar("Replaying") as progress:
        feed = Feed(core.ledger, core.database)
        numbers = [each.number for each in feed.iter_refused()] if number is None else [number]
        done: list[Kept] = []
        for each in numbers:
            done.append(feed.replay(each, partial(read_hl7, settings), actor=who.name))
            progress(len(done), len(numbers))
    if as_json:
        print_json(done)
    else:
        print_table([(one.number, one.outcome, one.detail) for one in done], header=("number", "outcome", "detail"))
    if any(one.outcome == "refused" for one in done):
        raise click.exceptions.Exit(_PARTLY_DONE)


def _row(each: KeptMessage) -> tuple[str, ...]:
    return each.peer_address, each.message_type, each.control_id, each.outcome, each.detail


def _pairs(each: KeptMessage) -> dict[str, object]:
    return {
        "number": each.number,
        "received_at": each.received_at,
        "peer_address": each.peer_address,
        "message_type": each.message_type,
        "control_id": each.control_id,
        "outcome": each.outcome,
        "detail": each.detail,
    }


def _text(message: bytes) -> str:
    """Return a message's text, by its own character set when that holds."""
    from archive.bootstrap import hl7_text

    return hl7_text(message)
