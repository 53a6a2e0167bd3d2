"""Puts the HTTP port together: who may come in, and what is offered there; must hold no rule of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from archive import bootstrap_login
from archive.clock import utc_now
from archive.config import Settings
from archive.dicomweb import routes as dicomweb
from archive.dicomweb.wado_routes import Wado
from archive.errors import ConfigError
from archive.http.access import Authenticator
from archive.http.authenticators import KnownAddresses
from archive.http.guard import Bounds, Guard
from archive.http.proxies import ForwardedAddress
from archive.http.server import HttpServer
from archive.http.surfaces import Surface
from archive.http.turns import ReadingInTurn, Turns
from archive.http.viewer import viewer_surface
from archive.monitoring.traced_requests import TracedRequests
from archive.opening import Core
from archive.services.accesses import AccessJournal
from archive.services.people import ROLES, Person
from archive.services.retrieve import Retrieve
from archive.services.search import Search
from archive.services.tracing import NO_TRACES
from archive.services.viewer_files import ViewerFiles
from archive.services.web_store import WebStore

_MIB = 1024 * 1024


def http_server(core: Core, retrieve: Retrieve, beside: Sequence[Surface] = ()) -> HttpServer:
    """Return the HTTP port of an archive, not yet open; ``beside``: what else it shows. Raises ConfigError."""
    settings = core.settings
    _check_roles(settings)
    http = settings.http
    offered = (*surfaces(core, retrieve), *beside)
    guard = Guard(
        offered,
        authenticators(core),
        Bounds(http.max_requests, http.body_seconds, http.send_seconds),
        ForwardedAddress(http.proxies if http.behind_proxy else ()),
    )
    traced = guard if core.traces is NO_TRACES else TracedRequests(guard, core.traces, _routes(offered))
    return HttpServer(http, traced, at_end=[surface.at_end for surface in offered if surface.at_end is not None])


def _routes(offered: Sequence[Surface]) -> frozenset[str]:
    """Return the first parts of the paths that are offered."""
    return frozenset("/" + surface.path.split("/")[1] for surface in offered)


def authenticators(core: Core) -> Sequence[Authenticator]:
    """Return who is asked who sends a request: proofs that a request carries come before the address it comes from."""
    return (*bootstrap_login.authenticators(core), KnownAddresses(core.settings.http.clients))


def surfaces(core: Core, retrieve: Retrieve) -> Sequence[Surface]:
    """Return what the port offers."""
    viewer = viewer_surface(ViewerFiles(core.settings.viewer_folder), dicomweb.PATH, "/login/")
    return (_dicomweb(core, retrieve), viewer, bootstrap_login.surface(core))


def _dicomweb(core: Core, retrieve: Retrieve) -> Surface:
    http = core.settings.http
    journal = AccessJournal(core.committer, utc_now)
    wado = Wado(retrieve, core.settings.cache_folder, 2 * core.settings.storage.min_free_mib * _MIB)
    if http.port is not None:
        wado.start()
    services = dicomweb.Services(
        search=Search(core.committer, journal, http.query_limit),
        wado=wado,
        store=WebStore(
            core.ingest,
            utc_now,
            core.settings.dicom.ae_title,
            core.settings.dicom.accept_private_sop_classes,
            partial(_site_of, core.settings),
        ),
    )
    turns = Turns(lambda: core.committer.is_receiving)
    alone = core.disk.is_read_soon
    core.disk.is_read_soon = lambda: not turns.is_waited_for and alone()  # who waits to read needs every cycle
    router = ReadingInTurn(dicomweb.router(services), turns)
    return Surface(dicomweb.PATH, router, max_body_bytes=http.max_body_mib * _MIB, at_end=wado.stop)


def _site_of(settings: Settings, person: Person) -> str:
    """Return the site that owns what a person sends: the default one, or else the first of theirs."""
    ours = [site.name for site in settings.sites if person.is_for(site.name)]
    return settings.default_site if settings.default_site in ours or not ours else ours[0]


def _check_roles(settings: Settings) -> None:
    for client in settings.http.clients:
        unknown = sorted(set(client.roles).difference(ROLES))
        if unknown:
            reason = f"there is no role {unknown[0]!r}; roles are: {', '.join(ROLES)}"
            raise ConfigError(name=f"http.clients {client.name}", reason=reason)
