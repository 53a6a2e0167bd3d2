"""Puts the console together: its pages on the services that the commands use too; must hold no rule of its own."""

from __future__ import annotations

from collections.abc import Sequence

from archive.bootstrap_disposal import assessor_of, destruction_of, disposals_of
from archive.bootstrap_monitoring import Watching
from archive.bootstrap_proof import mirror_of
from archive.bootstrap_tiering import evidence_of
from archive.clock import utc_now
from archive.console.desk import Desk
from archive.console.due import DuePages
from archive.console.evidence import EvidencePages
from archive.console.facts import FactPages
from archive.console.forms import FormTokens
from archive.console.holds import HoldPages
from archive.console.lists import ListPages
from archive.console.login import PATH as LOGIN
from archive.console.machinery import MachineryPages
from archive.console.overview import OverviewPages
from archive.console.rendering import PATH, POLICY, Renderer
from archive.console.routes import Pages, application
from archive.console.studies import StudyPages
from archive.http.surfaces import Surface
from archive.opening import Core
from archive.services.as_of import AsOf
from archive.services.audit_search import AuditDesk
from archive.services.background import Background
from archive.services.contradictions import Contradictions
from archive.services.death_search import DeathSearch
from archive.services.facts_by_hand import FactsByHand
from archive.services.holds import Holds
from archive.services.journal_check import JournalCheck
from archive.services.list_views import ListDesk
from archive.services.overview import OverviewDesk
from archive.services.set_aside import FailedStudies
from archive.services.study_view import StudyDesk
from archive.worker import list_jobs

_MIB = 1024 * 1024


def console_surface(core: Core, watching: Watching) -> Surface:
    """Return the console of an archive; who is unknown is sent to sign in."""
    renderer = Renderer({"account": f"{LOGIN}/", "sign_out": f"{LOGIN}/out"})
    desk = Desk(renderer, FormTokens(), frozenset(site.name for site in core.settings.sites))
    background = Background(utc_now)
    console = application(desk, (_overview(core, watching, desk), *_pages(core, desk, background)))
    return Surface(PATH, console, login=f"{LOGIN}/", policy=POLICY, max_body_bytes=_MIB, at_end=background.stop)


def _overview(core: Core, watching: Watching, desk: Desk) -> Pages:
    overviews = OverviewDesk(watching.keeper, watching.meter, ListDesk(core.database), utc_now)
    return OverviewPages(desk, overviews, lambda: core.disk.free_bytes(core.settings.hot_folder))


def _pages(core: Core, desk: Desk, background: Background) -> Sequence[Pages]:
    assessor, holds = assessor_of(core), Holds(core.ledger)
    studies, evidence = StudyDesk(core.committer, utc_now), evidence_of(core)
    audit, lists = AuditDesk(core.database), ListDesk(core.database)
    facts = FactsByHand(core.ledger)
    mirror, as_of = mirror_of(core), AsOf(core.database, utc_now)
    if core.settings.http.port is not None:
        as_of.warm()
    return (
        StudyPages(desk, studies, assessor, audit, holds, facts, evidence, lists, utc_now, mirror.run),
        HoldPages(desk, holds, studies, mirror.run),
        FactPages(desk, DeathSearch(core.ledger), Contradictions(assessor, utc_now), studies),
        ListPages(desk, lists, disposals_of(core), destruction_of(core), studies, background),
        DuePages(desk, as_of, utc_now),
        EvidencePages(desk, evidence, studies),
        MachineryPages(
            desk,
            audit,
            JournalCheck(core.ledger),
            FailedStudies(core.committer, utc_now),
            lambda: list_jobs(core.settings.workflows_url),
            core.settings.migration.attempts,
            studies,
            background,
        ),
    )
