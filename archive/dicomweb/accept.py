"""Chooses the media type of an answer (PS3.18 section 8.7, RFC 9110 section 12.5.1); must not write one.

The query parameter ``accept`` has precedence over the header (section 8.3.3.1). ``*`` of ``transfer-syntax`` means
whatever the object is stored in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from starlette.requests import Request

from archive.errors import BadRequest, NotAcceptable

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE: Final = re.compile(rf"\s*({_TOKEN}/{_TOKEN})")
_PARAMETER: Final = re.compile(rf'\s*;\s*(?:({_TOKEN})\s*=\s*(?:({_TOKEN}(?:/{_TOKEN})?)|"((?:[^"\\]|\\.)*)"))?')
_LONGEST: Final = 16 * 1024
_MOST_RANGES: Final = 100


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One thing that is accepted: ``kind`` "multipart/related", its parameters in lower-case names, its weight."""

    kind: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    weight: float = 1.0

    @property
    def payload(self) -> str:
        """Return the type of what is inside: the parameter ``type`` of a multipart, else the type itself."""
        return self.parameters.get("type", "*/*").lower() if self.kind == "multipart/related" else self.kind

    @property
    def transfer_syntax(self) -> str:
        """Return the transfer syntax that is wanted, "*" for any, "" when nothing is said."""
        return self.parameters.get("transfer-syntax", "")

    def covers(self, media_type: str) -> bool:
        """Tell whether a media type, without parameters, is among what is accepted."""
        wanted, _, subtype = self.kind.partition("/")
        return self.kind in ("*/*", media_type) or (subtype == "*" and media_type.startswith(f"{wanted}/"))


def accepted(request: Request) -> list[MediaRange]:
    """Return what a request accepts, the most wanted first; everything when it does not say.

    Of equal weight what is said more precisely comes first, then what is said first. What has weight 0 is left out.
    Raises BadRequest.
    """
    given = request.query_params.getlist("accept")
    lines = given or request.headers.getlist("accept")
    found = parse_accept(",".join(lines)) if any(line.strip() for line in lines) else [MediaRange("*/*")]
    return sorted((each for each in found if each.weight > 0), key=lambda each: (-each.weight, _vagueness(each)))


def choose(request: Request, offered: Sequence[str]) -> str:
    """Return the media type to answer in, of those ``offered``, the preferred first; raise NotAcceptable."""
    ranges = accepted(request)
    for media_range in ranges:
        for media_type in offered:
            if media_range.covers(media_type):
                return media_type
    raise NotAcceptable(reason=f"this is offered as {', '.join(offered)}")


def parse_accept(text: str) -> list[MediaRange]:
    """Return the media ranges of an Accept header, in their order; raise BadRequest."""
    if len(text) > _LONGEST:
        raise BadRequest(reason=f"Accept is longer than {_LONGEST} characters")
    found = list(_iter_ranges(text))
    if len(found) > _MOST_RANGES:
        raise BadRequest(reason=f"Accept names more than {_MOST_RANGES} media types")
    return found


def parse_media_type(text: str) -> MediaRange:
    """Return one media type with its parameters, as Content-Type has it; raise BadRequest."""
    found = parse_accept(text)
    if len(found) != 1:
        raise BadRequest(reason="Content-Type is one media type")
    return found[0]


def _iter_ranges(text: str) -> Iterator[MediaRange]:
    position = 0
    while True:
        position = _skip(text, position)
        if position == len(text):
            return
        kind = _RANGE.match(text, position)
        if kind is None:
            raise BadRequest(reason="a media type is not written as type/subtype")
        parameters, position = _parameters(text, kind.end())
        weight = _weight(parameters.pop("q", "1"))
        yield MediaRange(kind[1].lower(), MappingProxyType(parameters), weight)


def _parameters(text: str, position: int) -> tuple[dict[str, str], int]:
    parameters: dict[str, str] = {}
    while (found := _PARAMETER.match(text, position)) is not None:
        if found[1]:
            value = found[2] if found[3] is None else re.sub(r"\\(.)", r"\1", found[3])
            parameters.setdefault(found[1].lower(), value)
        position = found.end()
    rest = text[position:].lstrip(" \t")
    if rest and not rest.startswith(","):
        raise BadRequest(reason="a parameter of a media type is not written as name=value")
    return parameters, position


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t,":
        position += 1
    return position


def _weight(text: str) -> float:
    if not re.fullmatch(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", text, re.ASCII):
        raise BadRequest(reason="q is a number from 0 to 1 with at most three decimals")
    return float(text)


def _vagueness(media_range: MediaRange) -> int:
    return media_range.kind.count("*")
