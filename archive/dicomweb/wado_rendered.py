"""Rendered frames and thumbnails (PS3.18 sections 10.4.1.1.3 and .4): what a request wants drawn; must not draw."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from archive.dicomweb import accept
from archive.dicomweb.accept import MediaRange
from archive.dicomweb.streaming import Threads, answer
from archive.dicomweb.urls import base_url
from archive.dicomweb.wado_album import Album
from archive.dicomweb.wado_frames import read_list
from archive.errors import BadRequest, NotAcceptable, NotAnImage
from archive.http.access import access_of
from archive.index.records import StoredInstance
from archive.services.display import Window
from archive.services.pictures import Pictures
from archive.services.rendering import DEFAULT_QUALITY, LARGEST_SIDE, Look, Region
from archive.services.viewing import Viewing

_OFFERED: Final = ("image/jpeg", "image/png")
_FUNCTIONS: Final = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_THUMBNAIL: Final = (128, 128)
_TRIED: Final = 5
_DECIMAL: Final = re.compile(r"-?[0-9]{1,6}(\.[0-9]{0,6})?")
_VIEWPORT: Final = "viewport is width,height in pixels and, for a part of the image, x,y,width,height of that"


@dataclass(frozen=True, slots=True)
class Renderings:
    """Answers requests for pictures."""

    viewing: Viewing
    pictures: Pictures
    threads: Threads

    def rendered(self, request: Request) -> Response:
        """Answer GET .../rendered of a study, a series, an instance or frames.

        A picture by itself for one frame and for an instance, of which it is the first; several, and what is asked for
        so, as multipart: of each instance every frame, unless frames are named.
        """
        media_type, is_multipart = picture_form(request)
        look, params = read_look(request, media_type), request.path_params
        numbers = read_list(params["frames"]) if "frames" in params else []
        instances = self._instances(request, "WADO-RS rendered", are_all_needed=True)
        if not is_multipart and "instance" in params and len(numbers) <= 1:
            return _answer(self.pictures.rendered(instances[0], (numbers or [1])[0], look), look)
        album = Album(self.pictures, instances, numbers, look, base_url(request))
        with ExitStack() as stack:
            by = access_of(request).person.name
            retrieve = stack.enter_context(self.viewing.retrieve.ahead(instances, by=by))
            begun = album.begin(stack.pop_all(), retrieve)
        return answer(begun, self.threads.making, media_type=album.media_type, status=album.status, headers={})

    def thumbnail(self, request: Request) -> Response:
        """Answer GET .../thumbnail of a study, a series, an instance or a frame: one in the middle."""
        look = read_look(request)
        look = replace(look, size=look.size or _THUMBNAIL)
        numbers = read_list(request.path_params["frames"]) if "frames" in request.path_params else [None]
        instances = self._instances(request, "WADO-RS thumbnail")
        problem: NotAnImage | None = None
        for instance in _from_the_middle(instances)[:_TRIED]:
            try:
                return _answer(self.pictures.rendered(instance, numbers[0], look), look)
            except NotAnImage as exc:
                problem = problem or exc
        assert problem is not None
        raise problem

    def _instances(self, request: Request, service: str, *, are_all_needed: bool = False) -> list[StoredInstance]:
        access, params = access_of(request), request.path_params
        instances = self.viewing.find(access, params["study"], params.get("series", ""), params.get("instance", ""))
        needed = instances if are_all_needed else _from_the_middle(instances)[:1]
        self.viewing.check_readable(needed, access)
        self.viewing.note(access, instances[0].study_instance_uid, service=service)
        return instances


def picture_form(request: Request) -> tuple[str, bool]:
    """Return the media type of the pictures, and whether a multipart is asked for around them; raise NotAcceptable."""
    for each in accept.accepted(request):
        is_multipart = each.kind in ("multipart/related", "multipart/*")
        wanted = MediaRange("*/*" if each.kind == "multipart/*" else each.payload)
        for media_type in _OFFERED:
            if wanted.covers(media_type):
                return media_type, is_multipart
    raise NotAcceptable(reason=f"pictures are offered as {', '.join(_OFFERED)}, by themselves or in multipart/related")


def read_look(request: Request, media_type: str = "") -> Look:
    """Return how a picture is wanted; the request says in which media type unless it is given.

    Raises BadRequest, NotAcceptable.
    """
    query = request.query_params
    size, region = _viewport(query)
    return Look(
        media_type=cast(Any, media_type or accept.choose(request, _OFFERED)),
        window=_window(query),
        size=size,
        quality=_quality(query),
        region=region,
    )


def _window(query: QueryParams) -> Window | None:
    if "window" not in query:
        return None
    parts = query["window"].split(",")
    try:
        centre, width = float(parts[0]), float(parts[1])
        function = _FUNCTIONS[(parts[2] if len(parts) > 2 else "linear").strip().lower()]
    except (ValueError, IndexError, KeyError) as exc:
        raise BadRequest(
            reason="window is centre,width,function: two numbers and linear, linear-exact or sigmoid"
        ) from exc
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
        raise BadRequest(reason="a window has a finite centre and a width above zero")
    return Window(centre, width, function)


def _viewport(query: QueryParams) -> tuple[tuple[int, int] | None, Region | None]:
    """Return what to fit into, and what to cut out before (PS3.18 section 8.3.5.1.3)."""
    if "viewport" not in query:
        return None, None
    wide, high, *rest = _numbers(query["viewport"])
    if wide is None or high is None or not (wide.is_integer() and high.is_integer()):
        raise BadRequest(reason=_VIEWPORT)
    if not (0 < wide <= LARGEST_SIDE and 0 < high <= LARGEST_SIDE):
        raise BadRequest(reason=f"a viewport has sides from 1 to {LARGEST_SIDE}")
    return (int(wide), int(high)), _region(rest) if any(each is not None for each in rest) else None


def _numbers(text: str) -> list[float | None]:
    """Return the two to six numbers of a viewport, None for an empty one."""
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6 or not all(part == "" or _DECIMAL.fullmatch(part) for part in parts):
        raise BadRequest(reason=_VIEWPORT)
    return [float(part) if part else None for part in parts]


def _region(numbers: Sequence[float | None]) -> Region:
    left, top, width, height = [*numbers, None, None, None, None][:4]
    if (left or 0) < 0 or (top or 0) < 0:
        raise BadRequest(reason="a part of an image begins at x and y from 0 on")
    if width == 0 or height == 0:
        raise BadRequest(reason="a part of an image has a width and a height; where they are negative it is mirrored")
    return Region(left or 0.0, top or 0.0, width, height)


def _quality(query: QueryParams) -> int:
    text = query.get("quality", str(DEFAULT_QUALITY))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:4]) <= 100):
        raise BadRequest(reason="quality is a number from 1 to 100")
    return int(text)


def _from_the_middle(instances: Sequence[StoredInstance]) -> list[StoredInstance]:
    """Return instances of the first series that has several, or of the first, the one in the middle first."""
    middle = len(instances) // 2
    return [*instances[middle:], *instances[:middle]]


def _answer(picture: bytes, look: Look) -> Response:
    return Response(picture, media_type=look.media_type)
