"""QIDO-RS (PS3.18 section 10.6): the wire side of searches; must not know the index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from archive.dicomweb import accept, json_model
from archive.dicomweb.parameters import EMPTY_VALUES, Place, read_search
from archive.dicomweb.urls import base_url
from archive.http.access import access_of
from archive.index.everything import EVERYTHING
from archive.services.search import Level, Page, Search, Wanted
from archive.uids import parse_uid

_MORE: Final = (
    "The number of results exceeded the maximum supported by the server. Additional results can be requested."
)
_MODALITIES: Final = "ModalitiesInStudy"
_NOT_EMPTY: Final = "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed."
_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_FOLDERS: Final = ("studies", "series", "instances")


@dataclass(frozen=True, slots=True)
class Searches:
    """Answers searches at every level."""

    search: Search

    def studies(self, request: Request) -> Response:
        """Answer GET /studies."""
        return self._answer(request, "STUDY")

    def series(self, request: Request) -> Response:
        """Answer GET /series and /studies/{study}/series."""
        return self._answer(request, "SERIES")

    def instances(self, request: Request) -> Response:
        """Answer GET /instances, /studies/{study}/instances and /studies/{study}/series/{series}/instances."""
        return self._answer(request, "IMAGE")

    def _answer(self, request: Request, level: Level) -> Response:
        media_type = accept.choose(request, (json_model.MEDIA_TYPE, "application/json"))
        given = {name: parse_uid(uid, keyword=name) for name, uid in request.path_params.items()}
        place = Place(level, given.get("study", ""), given.get("series", ""))
        wanted = read_search(request.query_params.multi_items(), place, EVERYTHING)
        page = self.search.page(access_of(request), wanted)
        base = base_url(request)
        body = json_model.array(json_model.row_json(_with_url(row, base, level)) for row in page.answers)
        response = Response(body, media_type=media_type)
        for warning in _warnings(wanted, page, request):
            response.headers.append("warning", f'299 {base} "{warning}"')
        return response


def _with_url(row: Mapping[str, str], base: str, level: Level) -> Mapping[str, str]:
    depth = ("STUDY", "SERIES", "IMAGE").index(level) + 1
    steps = (f"/{folder}/{row[uid]}" for folder, uid in zip(_FOLDERS[:depth], _UIDS, strict=False))
    told = {**row, "RetrieveURL": base + "".join(steps)}
    if not told.get(_MODALITIES, _MODALITIES):
        del told[_MODALITIES]  # OHIF 3.13 shows no study at all when one of them has this without a value
    return told


def _warnings(wanted: Wanted, page: Page, request: Request) -> Iterator[str]:
    """Yield what is to be said of an answer that is not all that was asked for (sections 8.3.4.4 and 8.3.4.5)."""
    if page.has_more and wanted.limit != len(page.answers):
        yield _MORE
    if wanted.unmatched:
        yield f"These attributes are not matched: {', '.join(wanted.unmatched)}"
    if request.query_params.get(EMPTY_VALUES) == "true":
        yield _NOT_EMPTY
