"""``drimbox tier recall``: ask for frozen studies to be thawed, see how far that is; must not read what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from time import sleep
from typing import TYPE_CHECKING

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, progress_bar, size_text

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.people import Person
    from archive.services.recall import Recall, RecallStatus
    from archive.services.reports import Progress

_LOOK_SECONDS = 15.0


@click.command("recall")
@click.argument("studies", nargs=-1, required=True)
@click.option("--wait", "is_waiting", is_flag=True, help="Return when all of them can be read.")
@json_option
@with_settings
@acting_as("operator", "archivist", is_optional=True)
def recall(settings: Settings, who: Person | None, studies: tuple[str, ...], is_waiting: bool, as_json: bool) -> None:
    """Ask for studies in cold storage to be thawed, with --as NAME; without it, only tell how far they are."""
    from archive.bootstrap_tiering import recall_of
    from archive.services.lock import share_home

    with share_home(settings.home), opened(settings) as core, progress_bar("Packs") as progress:
        asking = recall_of(core)
        found = [
            asking.status(study, for_rollback=True)
            if who is None
            else asking.request(study, by=who.name, for_rollback=True)
            for study in dict.fromkeys(studies)
        ]
        if is_waiting:
            found = _waited(asking, found, progress)
    _print(found, is_asked=who is not None, as_json=as_json)


def _waited(asking: Recall, found: Sequence[RecallStatus], progress: Progress) -> list[RecallStatus]:
    """Look again and again until nothing thaws any more."""
    while True:
        progress(sum(each.readable for each in found), sum(each.packs for each in found))
        if not any(each.waiting for each in found):
            return list(found)
        sleep(_LOOK_SECONDS)
        asking.poll()
        found = [
            each if each.is_readable else asking.status(each.study_instance_uid, for_rollback=True) for each in found
        ]


def _print(found: Sequence[RecallStatus], *, is_asked: bool, as_json: bool) -> None:
    if as_json:
        print_json({"asked": is_asked, "studies": found})
    else:
        for each in found:
            print_pairs(_pairs(each))
        if not is_asked and any(each.cold for each in found):
            click.echo("Nothing was asked for. Give --as NAME to do it.")
    if not all(each.is_readable for each in found):
        raise click.exceptions.Exit(PARTLY_DONE)


def _pairs(status: RecallStatus) -> dict[str, object]:
    pairs: dict[str, object] = {
        "study": status.study_instance_uid,
        "packs": status.packs,
        "readable": status.readable,
        "thawing": status.waiting,
        "frozen": status.cold,
    }
    if status.missing:
        pairs["missing"] = f"{status.missing}: drimbox verify"
    if not status.is_readable:
        pairs["still to come"] = size_text(status.size_bytes)
    if status.requested_at is not None:
        pairs["asked for"] = moment_text(status.requested_at)
    if status.expected_at is not None:
        pairs["expected"] = f"{moment_text(status.expected_at)}, by the provider's estimate"
    return pairs
