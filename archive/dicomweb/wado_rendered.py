"""Rendered frames and thumbnails (PS3.18 sections 10.4.1.1.3 and .4): what a request wants drawn; must not draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from archive.dicomweb import accept
from archive.dicomweb.wado_frames import read_list
from archive.errors import BadRequest, NotAnImage
from archive.http.access import access_of
from archive.index.records import StoredInstance
from archive.services.display import Window
from archive.services.pictures import Pictures
from archive.services.rendering import DEFAULT_QUALITY, LARGEST_SIDE, Look
from archive.services.viewing import Viewing

_OFFERED: Final = ("image/jpeg", "image/png")
_FUNCTIONS: Final = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_THUMBNAIL: Final = (128, 128)
_TRIED: Final = 5


@dataclass(frozen=True, slots=True)
class Renderings:
    """Answers requests for pictures."""

    viewing: Viewing
    pictures: Pictures

    def rendered(self, request: Request) -> Response:
        """Answer GET .../instances/{i}[/frames/{n}]/rendered: one frame, the first unless another is named."""
        numbers = read_list(request.path_params.get("frames", "1"))
        if len(numbers) > 1:
            raise BadRequest(reason="one frame is rendered at a time")
        look = read_look(request)
        (instance, *_) = self._instances(request, "WADO-RS rendered")
        return _answer(self.pictures.rendered(instance, numbers[0], look), look)

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

    def _instances(self, request: Request, service: str) -> list[StoredInstance]:
        access, params = access_of(request), request.path_params
        instances = self.viewing.find(access, params["study"], params.get("series", ""), params.get("instance", ""))
        self.viewing.check_readable(_from_the_middle(instances)[:1], access)
        self.viewing.note(access, instances[0].study_instance_uid, service=service)
        return instances


def read_look(request: Request) -> Look:
    """Return how a picture is wanted. Raises BadRequest, NotAcceptable."""
    query = request.query_params
    return Look(
        media_type=cast(Any, accept.choose(request, _OFFERED)),
        window=_window(query),
        size=_viewport(query),
        quality=_quality(query),
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


def _viewport(query: QueryParams) -> tuple[int, int] | None:
    if "viewport" not in query:
        return None
    try:
        width, height = (int(part) for part in query["viewport"].split(",")[:2])
    except ValueError as exc:
        raise BadRequest(reason="viewport is width,height in pixels") from exc
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise BadRequest(reason=f"a viewport has sides from 1 to {LARGEST_SIDE}")
    return width, height


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
