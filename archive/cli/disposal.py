"""``drimbox disposal``: list what is due, sign, refuse, hand over the papers; must not decide what may go.

What destroys and proves is in ``destroying``.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archive.cli.destroying import certificate, destroy, key, registry, remains, verify
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table, size_text
from archive.cli.sites import site_of, site_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from archive.config import Settings
    from archive.index.disposal import DisposalItem
    from archive.services.disposal import ListView, Proposal
    from archive.services.people import Person

_DAY = click.DateTime(["%Y-%m-%d"])
_OFFICES = ("director", "dim_physician", "archives_officer", "practitioner")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("disposal")
def command() -> None:
    """Let go of studies whose time is over, with proof."""


for _other in (destroy, certificate, verify, key, registry, remains):
    command.add_command(_other)


@command.command("propose")
@site_option
@click.option("--max", "most", type=click.IntRange(1, 1000), default=1000, show_default=True, help="Studies at most.")
@click.option("--apply", "is_applied", is_flag=True, help="Make the list; without it, only show what it would hold.")
@json_option
@with_settings
@acting_as("archivist")
def propose(settings: Settings, who: Person, site: str | None, most: int, is_applied: bool, as_json: bool) -> None:
    """List what is due at a site today, what has been due longest first; a dry run unless --apply."""
    from archive.bootstrap_disposal import disposals_of

    name = site_of(settings, site, who)
    with opened(settings) as core:
        disposals = disposals_of(core)
        proposal = disposals.propose(name, most, who=who) if is_applied else disposals.preview(name, most)
    _print_proposal(proposal, as_json)


@command.command("list")
@json_option
@with_settings
def list_all(settings: Settings, as_json: bool) -> None:
    """Print all disposal lists."""
    from archive.bootstrap_disposal import disposals_of

    with opened(settings) as core:
        views = disposals_of(core).list()
    if as_json:
        print_json([_as_json(view) for view in views])
    elif not views:
        click.echo("There is no disposal list. drimbox disposal propose makes one.")
    else:
        header = ("list", "site", "state", "proposed", "by", "studies", "kept", "missing", "waits until")
        print_table([_row(view) for view in views], header=header)


@command.command("show")
@click.argument("list_id")
@json_option
@with_settings
def show(settings: Settings, list_id: str, as_json: bool) -> None:
    """Print one list, line by line, and who signed it."""
    from archive.bootstrap_disposal import disposals_of

    with opened(settings) as core:
        view = disposals_of(core).show(list_id)
    _print(view, as_json)


@command.command("approve")
@click.argument("list_id")
@click.option("--office", type=click.Choice(_OFFICES), required=True, help="In which office.")
@click.option("--reference", help="Number of the archives' visa; needed with --office archives_officer.")
@json_option
@with_settings
@acting_as(*_OFFICES)
def approve(settings: Settings, who: Person, list_id: str, office: str, reference: str | None, as_json: bool) -> None:
    """Approve every line of a list that was not refused; with the last signature the waiting begins."""
    from archive.bootstrap_disposal import disposals_of

    with opened(settings) as core:
        view = disposals_of(core).approve(list_id, office, who=who, reference=reference)
    _print(view, as_json)


@command.command("refuse")
@click.argument("list_id")
@click.argument("studies", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why they are kept; it stays with the list.")
@json_option
@with_settings
@acting_as("archivist", *_OFFICES)
def refuse(settings: Settings, who: Person, list_id: str, studies: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Take studies off a list, also while it waits: they stay as they are."""
    from archive.bootstrap_disposal import disposals_of

    with opened(settings) as core:
        view = disposals_of(core).refuse(list_id, studies, reason, who=who)
    _print(view, as_json)


@command.command("cancel")
@click.argument("list_id")
@click.option("--reason", required=True, help="Why; it stays with the list.")
@json_option
@with_settings
@acting_as("archivist", *_OFFICES)
def cancel(settings: Settings, who: Person, list_id: str, reason: str, as_json: bool) -> None:
    """End a list before it is destroyed, also while it waits: all its studies stay."""
    from archive.bootstrap_disposal import disposals_of

    with opened(settings) as core:
        view = disposals_of(core).cancel(list_id, reason, who=who)
    _print(view, as_json)


@command.command("export")
@click.argument("list_id")
@click.option("--pdf", type=_FILE, help="Write the bordereau d'élimination, to be signed.")
@click.option("--csv", type=_FILE, help="Write one line a study, for a spreadsheet.")
@with_settings
def export(settings: Settings, list_id: str, pdf: Path | None, csv: Path | None) -> None:
    """Write a list as the archives services ask for it; a file of that name is replaced."""
    from archive.bootstrap_disposal import disposals_of
    from archive.services.bordereau import csv_of, pdf_of
    from archive.services.disposal_papers import bordereau_of

    if pdf is None and csv is None:
        raise click.UsageError("give --pdf FILE, --csv FILE or both")
    with opened(settings) as core:
        disposals = disposals_of(core)
        view = disposals.show(list_id)
    bordereau = bordereau_of(view, disposals.sites.get(view.head.site))
    for path, made in ((csv, csv_of), (pdf, pdf_of)):
        if path is not None:
            _write(path, made(bordereau))


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise click.UsageError(f"{path} cannot be written: {exc.strerror}") from exc
    click.echo(f"Written: {path}")


# ---- for people and programs ---------------------------------------------------------------------------------------


def _print_proposal(proposal: Proposal, as_json: bool) -> None:
    if as_json:
        items = [{"study_instance_uid": uid, **line} for uid, line in proposal.items]
        head = {"list_id": proposal.list_id, "site": proposal.site, "as_of": proposal.as_of}
        print_json({**head, "items": items, "left_out": dict(proposal.left_out)})
        return
    print_pairs(
        {
            "site": proposal.site,
            "as of": proposal.as_of.isoformat(),
            "studies": len(proposal.items),
            "instances": proposal.instances,
            "size": size_text(proposal.size_bytes),
            **{f"left out, {reason}": count for reason, count in sorted(proposal.left_out.items()) if count},
        }
    )
    made = f"Listed as {proposal.list_id}. drimbox disposal show prints it, export writes the bordereau."
    click.echo(made if proposal.list_id else "Dry run: nothing was listed. Give --apply to do it.")


def _print(view: ListView, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(view))
        return
    head = view.head
    signed = {
        f"approved, {each.office}": f"{_signed(each.approved_at, each.account)} {each.reference or ''}".rstrip()
        for each in view.approvals
    }
    ended = {} if head.ended_at is None else {"ended": _signed(head.ended_at, head.ended_by)}
    print_pairs(
        {
            "list": head.list_id,
            "site": f"{head.site} ({head.site_kind})",
            "state": head.state if head.end_reason is None else f"{head.state}: {head.end_reason}",
            "proposed": _signed(head.proposed_at, head.proposed_by),
            **signed,
            "missing approvals": ", ".join(view.missing) or "-",
            "waits until": head.waiting_until or "-",
            **ended,
        }
    )
    lines = [_line(item) for item in view.items]
    header = ("no", "study", "exam", "modalities", "rule", "due since", "images", "size", "state", "reason")
    print_table(lines, header=header)


def _line(item: DisposalItem) -> tuple[object, ...]:
    line, size = item.line, size_text(item.line["size_bytes"])
    what = (line["exam_on"], " ".join(line["modalities"]), line["rule"], line["eligible_on"], line["instances"], size)
    return (item.number, item.study_instance_uid, *what, item.state, item.reason or "")


def _signed(at: datetime, by: str | None) -> str:
    return f"{moment_text(at)} by {by}"


def _as_json(view: ListView) -> Mapping[str, object]:
    return {
        **{name: getattr(view.head, name) for name in ("list_id", "site", "site_kind", "state", "as_of")},
        **{name: getattr(view.head, name) for name in ("proposed_at", "proposed_by", "waiting_until")},
        **{name: getattr(view.head, name) for name in ("ended_at", "ended_by", "end_reason")},
        "missing": view.missing,
        "approvals": [each._asdict() for each in view.approvals],
        "items": view.items,
    }


def _row(view: ListView) -> tuple[object, ...]:
    head = view.head
    going, kept = view.in_state("listed", "destroying", "destroyed"), view.in_state("refused", "sent_back", "cancelled")
    proposed = (head.proposed_at.date().isoformat(), head.proposed_by)
    waiting = ", ".join(view.missing) if head.state == "listed" else "-"
    return (head.list_id, head.site, head.state, *proposed, len(going), len(kept), waiting, head.waiting_until or "-")
