"""``drimbox hold``: forbid the disposal of studies, and allow it again; must not decide what that covers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from archive.cli import PARTLY_DONE
from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_pairs, print_table
from archive.cli.sites import site_of, site_option

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.index.records import Event
    from archive.opening import Core
    from archive.services.holds import HoldView, NewHold
    from archive.services.people import Person

_SHOWN = 20
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group("hold")
def command() -> None:
    """Forbid the disposal of studies, and allow it again."""


@command.command("place")
@click.option("--study", "studies", multiple=True, help="A Study Instance UID; give the option again for more.")
@click.option("--patient", "patient_ids", multiple=True, help="A PatientID of --site: all studies, later ones too.")
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Studies that answer a query, as in C-FIND, now.")
@click.option("--reason", required=True, help="Why they must be kept.")
@click.option("--authority", required=True, help="Who asks for it: a court, the legal department…")
@click.option("--reference", required=True, help="Under which number or letter.")
@click.option("--review-on", type=_DAY, help="Day to look at it again; it holds beyond that day.")
@click.option("--ahead", "is_ahead", is_flag=True, help="Also a study or patient of which nothing is there yet.")
@click.option("--apply", "is_applied", is_flag=True, help="Needed when a query finds more than one study.")
@site_option
@json_option
@with_settings
@acting_as("operator", "archivist", "dim_physician", "director", "archives_officer", "practitioner")
def place(settings: Settings, who: Person, site: str | None, as_json: bool, **options: Any) -> None:
    """Put studies or patients on hold: nothing of theirs is disposed of until it is lifted."""
    from archive.services.holds import Holds, NewHold

    where, is_applied, review_on = (options.pop(name) for name in ("where", "is_applied", "review_on"))
    wanted = NewHold(site_of(settings, site, who), review_on=_day(review_on), **options)
    with opened(settings) as core:
        holds, sites = Holds(core.ledger), who.sites or None
        found = holds.matching(sites if site is None else frozenset({site}), _keys(where)) if where else []
        if len(found) > 1 and not is_applied:
            _preview(found, as_json)
            return
        if where and not found:
            from archive.errors import NothingToHold

            raise NothingToHold(reason="no study answers the query")
        hold = holds.place(_with(wanted, found), actor=who.name, sites=sites)
        view = holds.show(hold.hold_id)
        _mirror(core, view)
    _print(view, as_json)


def _mirror(core: Core, view: HoldView) -> None:
    """Have the cold store keep what is held now; the hold is in force without it, and the archive tries again."""
    from archive.bootstrap_proof import mirror_of

    for key, reason in mirror_of(core).run(view.study_instance_uids).left:
        click.echo(f"The cold store does not keep {key} yet, the archive does: {reason}", err=True)


def _with(wanted: NewHold, found: Sequence[str]) -> NewHold:
    import dataclasses

    return dataclasses.replace(wanted, studies=(*wanted.studies, *found))


def _preview(found: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json({"applied": False, "study_instance_uids": found})
        return
    click.echo(f"{len(found)} studies answer the query:")
    for uid in found[:_SHOWN]:
        click.echo(f"  {uid}")
    if len(found) > _SHOWN:
        click.echo(f"  and {len(found) - _SHOWN} more")
    click.echo("Nothing was put on hold. Give --apply to do it.")


@command.command("review")
@click.argument("hold_id")
@click.option("--review-on", type=_DAY, required=True, help="Day to look at it again.")
@click.option("--note", required=True, help="What was found; it is kept with the hold.")
@json_option
@with_settings
@acting_as("operator", "archivist", "dim_physician", "director", "practitioner")
def review(settings: Settings, who: Person, hold_id: str, review_on: datetime, note: str, as_json: bool) -> None:
    """Leave a hold in place after having looked at it, until another day."""
    from archive.services.holds import Holds

    with opened(settings) as core:
        holds = Holds(core.ledger)
        holds.review(hold_id, review_on.date(), note=note, actor=who.name, sites=who.sites or None)
        view = holds.show(hold_id)
    _print(view, as_json)


@command.command("lift")
@click.argument("hold_id")
@click.option("--reason", required=True, help="Why they need not be kept any more.")
@json_option
@with_settings
@acting_as("archivist", "dim_physician", "director", "practitioner")
def lift(settings: Settings, who: Person, hold_id: str, reason: str, as_json: bool) -> None:
    """End a hold; it stays in the history, and other holds go on."""
    from archive.services.holds import Holds

    with opened(settings) as core:
        holds = Holds(core.ledger)
        holds.lift(hold_id, reason=reason, actor=who.name, sites=who.sites or None)
        view = holds.show(hold_id)
    _print(view, as_json)


@command.command("mirror")
@json_option
@with_settings
def mirror(settings: Settings, as_json: bool) -> None:
    """Have the cold store keep what is on hold, and let go of what is not any more."""
    from archive.bootstrap_proof import mirror_of

    with opened(settings) as core:
        report = mirror_of(core).run()
    if as_json:
        print_json(report)
    else:
        print_table(report.left)
        print_pairs({"packs held": report.held, "let go of": report.released, "not told": len(report.left)})
    if report.left:
        raise click.exceptions.Exit(PARTLY_DONE)


@command.command("list")
@click.option("--all", "with_lifted", is_flag=True, help="Lifted ones too.")
@json_option
@with_settings
def list_holds(settings: Settings, with_lifted: bool, as_json: bool) -> None:
    """Print the holds, and which of them wait for their review."""
    from archive.services.holds import Holds

    with opened(settings) as core:
        views = Holds(core.ledger).list(with_lifted=with_lifted)
    if as_json:
        print_json([_item(view) for view in views])
        return
    print_table([_row(view) for view in views], header=("hold", "placed", "by", "studies", "review", "state", "reason"))
    overdue = sum(view.is_overdue for view in views)
    if overdue:
        click.echo(f"{overdue} past the review date: they hold until they are lifted.")


@command.command("show")
@click.argument("hold_id")
@json_option
@with_settings
def show(settings: Settings, hold_id: str, as_json: bool) -> None:
    """Print one hold, what it covers, and what was said of it."""
    from archive.services.holds import Holds

    with opened(settings) as core:
        holds = Holds(core.ledger)
        view, events = holds.show(hold_id), holds.history(hold_id)
    if as_json:
        print_json(_item(view) | {"history": [_happened(event) for event in events]})
        return
    _print(view, as_json)
    click.echo()
    header = ("when", "by", "what", "review on", "said")
    print_table([_line(event) for event in events], header=header)


def _happened(event: Event) -> dict[str, object]:
    data = event.data
    said = data.get("note") or data["reason"]
    return {
        "at": event.at,
        "by": event.actor,
        "what": event.kind.removeprefix("hold_"),
        "review_on": data.get("review_on"),
        "said": said,
    }


def _line(event: Event) -> tuple[object, ...]:
    told = _happened(event)
    return moment_text(event.at), told["by"], told["what"], told["review_on"] or "-", told["said"]


def _print(view: HoldView, as_json: bool) -> None:
    if as_json:
        print_json(_item(view))
        return
    hold = view.hold
    print_pairs(
        {
            "hold": hold.hold_id,
            "state": _state(view),
            "reason": hold.reason,
            "authority": hold.authority,
            "reference": hold.reference,
            "placed": f"{moment_text(hold.placed_at)} by {hold.placed_by}",
            "review on": hold.review_on or "-",
            "reviewed": moment_text(hold.reviewed_at),
            "lifted": "-" if hold.lifted_at is None else f"{moment_text(hold.lifted_at)} by {hold.lifted_by}",
            "lifted because": hold.lift_reason or "-",
            "placed on": "; ".join(
                f"patient {scope.patient_id} of {scope.site}"
                if scope.patient_id
                else f"study {scope.study_instance_uid}"
                for scope in view.scopes[:_SHOWN]
            )
            + (f" and {len(view.scopes) - _SHOWN} more" if len(view.scopes) > _SHOWN else ""),
            "studies covered": len(view.study_instance_uids),
        }
    )


def _item(view: HoldView) -> dict[str, object]:
    hold = view.hold
    names = ("hold_id", "reason", "authority", "reference", "placed_at", "placed_by")
    ends = ("reviewed_at", "lifted_at", "lifted_by", "lift_reason")
    return {
        **{name: getattr(hold, name) for name in names},
        "review_on": None if hold.review_on is None else hold.review_on.isoformat(),
        **{name: getattr(hold, name) for name in ends},
        "state": _state(view),
        "scopes": [scope._asdict() for scope in view.scopes],
        "study_instance_uids": view.study_instance_uids,
    }


def _row(view: HoldView) -> tuple[object, ...]:
    hold = view.hold
    studies = len(view.study_instance_uids)
    placed = hold.placed_at.date().isoformat()
    return hold.hold_id, placed, hold.placed_by, studies, hold.review_on or "-", _state(view), hold.reason


def _state(view: HoldView) -> str:
    if view.hold.lifted_at is not None:
        return "lifted"
    return "holds, review overdue" if view.is_overdue else "holds"


def _keys(where: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in where]
    wrong = [text for text, (key, sign, value) in zip(where, pairs, strict=True) if not (key and sign and value)]
    if wrong:
        raise click.UsageError(f"--where takes KEY=VALUE, as in StudyDate=20200101-20200131; not {wrong[0]!r}")
    twice = {key for key, _, _ in pairs if [other for other, _, _ in pairs].count(key) > 1}
    if twice:
        raise click.UsageError(f"--where {min(twice)} is given twice; all keys must match at once")
    return {key: value for key, _, value in pairs}


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()
