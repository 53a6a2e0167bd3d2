"""Makes HTML of templates in the reader's language; must not hold a rule or a text.

Templates escape everything; nothing in them is a script.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

LANGUAGES: Final = ("fr", "en")
LANGUAGE_COOKIE: Final = "drimbox-language"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""The Content-Security-Policy of our pages: what they load is ours, and no script stands in a page."""

STATIC: Final = Path(__file__).parent / "static"
_TEMPLATES: Final = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """Return where templates are read; a name that a template uses and nobody gave is an error."""
    return Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)


def language_of(request: Request) -> str:
    """Return ``fr`` or ``en``: what was chosen (``?lang=``, then kept in a cookie), else what the browser prefers."""
    for chosen in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    wanted = request.headers.get("accept-language", "")
    ranked = sorted((_preference(part) for part in wanted.split(",")), key=lambda pair: -pair[1])
    return next((name for name, weight in ranked if name in LANGUAGES and weight > 0), LANGUAGES[0])


def render(request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """Return a page; it gets ``lang`` beside its values, and a language that was chosen is remembered."""
    lang = language_of(request)
    response = HTMLResponse(environment().get_template(template).render(lang=lang, **values), status)
    if request.query_params.get("lang") == lang:
        response.set_cookie(LANGUAGE_COOKIE, lang, max_age=365 * 86400, samesite="lax", httponly=True)
    return response


def _preference(part: str) -> tuple[str, float]:
    """Return a language and its weight of an Accept-Language header (RFC 9110 section 12.5.4)."""
    tag, _, weight = part.partition(";q=")
    try:
        return tag.strip().lower()[:2], float(weight or 1)
    except ValueError:
        return "", 0.0
