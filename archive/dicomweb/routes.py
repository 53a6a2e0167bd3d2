"""The paths of the DICOMweb service (PS3.18 section 10); must not answer a request itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute, Route, Router

from archive.dicomweb.capabilities import capabilities, openapi
from archive.dicomweb.descriptions import DESCRIPTIONS
from archive.dicomweb.qido import Searches
from archive.dicomweb.stow import Storing
from archive.dicomweb.wado_routes import Wado
from archive.services.search import Search
from archive.services.web_store import WebStore

PATH = "/dicom-web"


@dataclass(frozen=True, slots=True)
class Services:
    """What the service stands on."""

    search: Search
    wado: Wado
    store: WebStore


def router(services: Services) -> Router:
    """Return the ASGI application of everything below ``PATH``."""
    routes = [
        *search_routes(services.search),
        *store_routes(services.store),
        *services.wado.routes(),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/", capabilities, methods=["OPTIONS"]),
    ]
    assert {each for route in routes for each in _operations(route)} == DESCRIPTIONS.keys(), (
        "described is what is there"
    )
    return Router(routes, redirect_slashes=False)


def _operations(route: BaseRoute) -> Iterator[tuple[str, str]]:
    assert isinstance(route, Route)
    path = route.path.replace(":path", "")
    yield from ((method, path) for method in route.methods or () if method != "HEAD")


def search_routes(search: Search) -> Sequence[BaseRoute]:
    """Return the routes of QIDO-RS (section 10.6)."""
    searches = Searches(search)
    return [
        Route("/studies", searches.studies, methods=["GET"]),
        Route("/series", searches.series, methods=["GET"]),
        Route("/studies/{study}/series", searches.series, methods=["GET"]),
        Route("/instances", searches.instances, methods=["GET"]),
        Route("/studies/{study}/instances", searches.instances, methods=["GET"]),
        Route("/studies/{study}/series/{series}/instances", searches.instances, methods=["GET"]),
    ]


def store_routes(store: WebStore) -> Sequence[BaseRoute]:
    """Return the routes of STOW-RS (section 10.5)."""
    storing = Storing(store)
    return [
        Route("/studies", storing.store_instances, methods=["POST"]),
        Route("/studies/{study}", storing.store_instances, methods=["POST"]),
    ]
