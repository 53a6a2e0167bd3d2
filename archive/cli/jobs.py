"""``drimbox tier jobs`` and ``tier retry``: what is migrated by itself, what failed; must not migrate anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from archive.cli.options import acting_as, json_option, opened, with_settings
from archive.cli.output import moment_text, print_json, print_table

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.index.set_aside import SetAside
    from archive.services.migration_steps import Job
    from archive.services.people import Person

_HEADER = ("study", "state", "since", "attempts", "what")


@click.command("jobs")
@json_option
@with_settings
def jobs(settings: Settings, as_json: bool) -> None:
    """Print the studies that are being migrated or wait for it, and those that failed."""
    from archive.clock import utc_now
    from archive.services.set_aside import FailedStudies
    from archive.worker import list_jobs

    with opened(settings) as core:
        failed = FailedStudies(core.committer, utc_now).all()
    found, limit = list_jobs(settings.workflows_url), settings.migration.attempts
    if as_json:
        by_state = {state: [job for job in found if job.state == state] for state in ("running", "waiting")}
        print_json(by_state | {"failed": [_item(each, limit) for each in failed]})
        return
    rows = [*map(_job_row, found), *(_failed_row(each, limit) for each in failed)]
    if rows:
        print_table(rows, header=_HEADER)
    else:
        click.echo("Nothing is being migrated, nothing failed. What stays hot, and why: drimbox tier plan")


@click.command("retry")
@click.argument("study")
@with_settings
@acting_as("operator", "archivist")
def retry(settings: Settings, who: Person, study: str) -> None:
    """Have a study migrated again that was set aside, or rolled back."""
    from archive.clock import utc_now
    from archive.services.lock import share_home
    from archive.services.set_aside import FailedStudies

    with share_home(settings.home), opened(settings) as core:
        FailedStudies(core.committer, utc_now, who.name).retry(study)
    click.echo("It goes cold again once it is due: drimbox tier jobs")


def _item(failed: SetAside, limit: int) -> dict[str, object]:
    return failed._asdict() | {"is_set_aside": failed.attempts >= limit}


def _job_row(job: Job) -> Sequence[object]:
    return job.study_instance_uid, job.state, moment_text(job.since), "", job.executor or ""


def _failed_row(failed: SetAside, limit: int) -> Sequence[object]:
    from archive.index.set_aside import FOR_GOOD

    is_aside = failed.attempts >= limit
    at = f"{failed.failed_at[:19].replace('T', ' ')}Z"
    attempts = "" if failed.attempts >= FOR_GOOD else failed.attempts
    return failed.study_instance_uid, "set aside" if is_aside else "failed", at, attempts, failed.reason
