"""Tells what the service does (PS3.18 section 8.9): WADL and OpenAPI; must not tell anything of what is stored."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from archive.dicomweb import accept, json_model
from archive.dicomweb.descriptions import WADL
from archive.dicomweb.openapi import document
from archive.dicomweb.urls import base_url
from archive.dicomweb.wadl import wadl
from archive.http.access import access_of
from archive.services.people import Permission

_JSON: Final = "application/json"


def capabilities(request: Request) -> Response:
    """Answer OPTIONS of the service: WADL, or OpenAPI where JSON is wanted."""
    media_type = accept.choose(request, (WADL, _JSON))
    if media_type == _JSON:
        return openapi(request)
    _check(request)
    return Response(wadl(base_url(request)), media_type=WADL)


def openapi(request: Request) -> Response:
    """Answer GET /openapi.json."""
    accept.choose(request, (_JSON,))
    _check(request)
    told = document(base_url(request), version("drimbox-archive"))
    return Response(json_model.dumps(told), media_type=_JSON)


def _check(request: Request) -> None:
    person = access_of(request).person
    if not person.may(Permission.SEND_IMAGES):
        person.require(Permission.VIEW_IMAGES)
