"""STOW-RS (PS3.18 section 10.5): the wire side of storing; must not keep a body in memory."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from archive.dicomweb import accept, json_model
from archive.dicomweb.intake import Intake, reader_of
from archive.dicomweb.store_response import Named, StoreReport
from archive.dicomweb.urls import base_url
from archive.errors import BadRequest, UnsupportedMedia
from archive.http.access import access_of
from archive.services.web_store import WebStore
from archive.uids import parse_uid

_THREADS: Final = 8
_AT_ONCE: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class Storing:
    """Stores what is sent, part by part as it comes; threads of its own wait for the disk."""

    store: WebStore
    committing: Executor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="stow"))

    async def store_instances(self, request: Request) -> Response:
        """Answer POST /studies and POST /studies/{study}."""
        media_type = accept.choose(request, (json_model.MEDIA_TYPE, "application/json"))
        intake = await run_in_threadpool(self._begin, request)
        try:
            report = await _take(request, intake)
        finally:
            await run_in_threadpool(_end, intake)
        return Response(report.json(), report.status, media_type=media_type)

    def _begin(self, request: Request) -> Intake:
        """Refuse what can be refused before a byte of the body; raises NotAllowed, BadRequest, UnsupportedMedia."""
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise UnsupportedMedia(reason="bodies are taken without Content-Encoding")
        study = request.path_params.get("study")
        uid = parse_uid(study, keyword="StudyInstanceUID") if study is not None else ""
        access = access_of(request)
        self.store.incoming(access, uid).abandon()  # whoever may not send is told so now
        reader = reader_of(request.headers.get("content-type", ""))
        return Intake(self.store, access, reader, StoreReport(base_url(request)), self.committing, uid)


async def _take(request: Request, intake: Intake) -> StoreReport:
    """Read the body in pieces of about 512 KiB; the disk is waited for in a thread."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size >= _AT_ONCE:
            await run_in_threadpool(intake.feed, b"".join(pieces))
            pieces, size = [], 0
    return await run_in_threadpool(_finish, intake, b"".join(pieces))


def _finish(intake: Intake, rest: bytes) -> StoreReport:
    """Take the last piece; a body that breaks off after instances were stored is told as one more failure."""
    try:
        if rest:
            intake.feed(rest)
        return intake.finish()
    except BadRequest as exc:
        if not intake.report.stored:
            raise
        intake.abandon()
        intake.report.fail(Named(), exc)
        return intake.report


def _end(intake: Intake) -> None:
    intake.abandon()
    intake.record()
