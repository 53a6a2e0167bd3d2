"""An archive to sweep, on SQLite and on PostgreSQL; must not hide what a test is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from archive.config import Site
from archive.index import assessments
from archive.index.assessments import AssessmentRow
from archive.index.records import NewInstance
from archive.index.session import Database
from archive.services.assess import Assessor, rules_of
from archive.services.facts import NewFact, changes
from archive.services.ledger import Ledger
from archive.services.sweep import SweepReport, Sweeps, Wanted
from tests.integration.index.making import new_instance

SITES = (Site(name="CHU"), Site(name="Cabinet", regime="private", kind="practice"))


def assessor(ledger: Ledger, *sites: Site) -> Assessor:
    """Return an assessor by the rules of these sites, or of a hospital and a practice."""
    return Assessor(ledger.database, rules_of(sites or SITES), ledger.clock)


def study(number: int, exam_on: str = "20000302", *, site: str = "CHU", **values: str | None) -> NewInstance:
    """Return the only instance of a study of a patient born in 1950."""
    attributes = {"PatientID": f"P{number}", "PatientBirthDate": "19500714", "StudyDate": exam_on, **values}
    return new_instance(study=number, attributes=attributes, site=site)


def tell(ledger: Ledger, number: int, kind: str, from_on: str, to_on: str | None = None) -> None:
    """Tell a fact about a study's patient."""
    fact = NewFact("CHU", f"P{number}", kind, "test", f"{kind} {from_on}", from_on=from_on, to_on=to_on)
    ledger.act("anne", lambda connection: changes(connection, [fact]))


def nothing(_done: int, _total: int) -> None:
    """Show no progress."""


def apply(ledger: Ledger, *sites: Site, **wanted: Any) -> SweepReport:
    """Sweep and store."""
    return Sweeps(assessor(ledger, *sites)).apply(Wanted(**wanted), "anne", nothing)


def dry(ledger: Ledger, *sites: Site, **wanted: Any) -> SweepReport:
    """Sweep and store nothing."""
    return Sweeps(assessor(ledger, *sites)).dry_run(Wanted(**wanted), nothing)


def stored(database: Database) -> Mapping[int, AssessmentRow]:
    """Return the stored assessments by the study's number."""
    with database.read() as connection:
        uids = [f"2.25.{number}" for number in range(1, 100)]
        found = assessments.by_uid(connection, uids)
    return {int(uid.rpartition(".")[2]): row for uid, row in found.items()}


def conclusion(row: AssessmentRow) -> tuple[str | None, str | None, str]:
    """Return what was concluded."""
    return row.eligible_on, row.rule, row.blocked_by


TODAY = date(2026, 11, 26)
"""The day of the clock that tests are lent."""
