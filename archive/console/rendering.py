"""Templates to pages, in the language of whoever looks; must not know what a page is about.

Everything that is put into a page is escaped; nothing that comes from outside is ever marked as safe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from archive.console import formats
from archive.console.catalogue import Language, catalogue
from archive.console.refusals import said

PATH: Final = "/console"
STATIC: Final = Path(str(files("archive.console") / "static"))
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""The Content-Security-Policy of the console: what it serves itself, and no script or style written in a page."""

_TEMPLATES: Final = Path(str(files("archive.console") / "templates"))
_FILTERS: Final = ("number", "size", "terabytes", "seconds", "decimal", "day", "moment")


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders templates; ``constants`` are what every page knows."""

    constants: Mapping[str, Any] = field(default_factory=dict)

    def render(self, template: str, language: Language, values: Mapping[str, Any]) -> str:
        """Return a page."""
        return environment(language).get_template(template).render({**self.constants, **values})


@cache
def environment(language: Language) -> Environment:
    """Return what renders the templates in a language."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = catalogue(language)
    made.globals |= {
        "t": words.text,
        "n": words.counted,
        "found": words.found,
        "said": partial(said, language=language),
        "language": language,
        "at": address_of,
        "asset": asset,
    }
    for name in _FILTERS:
        made.filters[name] = partial(getattr(formats, name), language=language)
    return made


def address_of(path: str) -> str:
    """Return where a page of the console is."""
    return f"{PATH}{path}"


@cache
def asset(name: str) -> str:
    """Return where a static file is; the address changes with its bytes, so that it can be kept for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"{PATH}/static/{name}?{digest}"
