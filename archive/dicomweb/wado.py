"""WADO-RS of whole objects (PS3.18 section 10.4): studies, series, instances; must not read a stored byte itself."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from archive import logs
from archive.dicomweb.accept import MediaRange, accepted
from archive.dicomweb.streaming import Begun, Chunks, Multipart, Threads, answer
from archive.errors import ArchiveError, NotAcceptable, NotAllGiven
from archive.http.access import access_of
from archive.index.records import StoredInstance
from archive.services.accesses import Access
from archive.services.part10_files import Given, Part10, cannot_be_given, iter_prepared, known_size, prepare
from archive.services.retrieve import Retrieved
from archive.services.viewing import Viewing

DICOM: Final = "application/dicom"
SERVICE: Final = "WADO-RS"
_log = logs.get(__name__)

Parts = Generator[Part10, None, None]


@dataclass(frozen=True, slots=True)
class Objects:
    """Answers retrieves of whole objects."""

    viewing: Viewing
    threads: Threads

    def retrieve(self, request: Request) -> Response:
        """Answer GET of a study, a series or an instance: Part 10 files one after the other."""
        access, params = access_of(request), request.path_params
        is_single, syntaxes = wanted_syntaxes(accepted(request), is_instance="instance" in params)
        instances = self.viewing.find(access, *_uids(params))
        self.viewing.check_readable(instances, access)
        given = Given(instances, [each for each in instances if cannot_be_given(each, syntaxes)])
        parts = self._parts(given, syntaxes, access)
        first = next(parts, None)
        if first is None:
            assert given.first_error is not None
            raise given.first_error
        if is_single:
            return self._single(first, given, parts)
        frame = Multipart(DICOM)
        size = None if given.foreseen else _size(instances, syntaxes, frame)
        begun = Begun(_multipart(first, parts, given, frame))
        try:
            begun.begin()
        except NotAllGiven:  # all of what can be given is made already
            return Response(b"".join([*begun.first, frame.end()]), 206, media_type=frame.media_type)
        given.foreseen = [*given.foreseen, *given.failed]
        status = 206 if given.foreseen else 200
        headers = {} if size is None or given.foreseen else {"content-length": str(size)}
        return answer(begun, self.threads.making, media_type=frame.media_type, status=status, headers=headers)

    def _single(self, part: Part10, given: Given, parts: Parts) -> Response:
        headers = {"content-length": str(part.size_bytes)}
        media_type = _content_type(part.transfer_syntax_uid)
        begun = Begun(_alone(part, given, parts)).begin()
        return answer(begun, self.threads.making, media_type=media_type, headers=headers)

    def _parts(self, given: Given, syntaxes: Sequence[str], access: Access) -> Parts:
        """Yield what can be given, and journal at the end what came of it, however it ended."""
        with ExitStack() as stack:
            stack.callback(self._conclude, given, access)
            retrieve = stack.enter_context(self.viewing.retrieve.ahead(given.instances, by=access.person.name))
            yield from iter_prepared(self.threads.preparing, lambda each: prepare(retrieve, each, syntaxes), given)

    def _conclude(self, given: Given, access: Access) -> None:
        retrieved = Retrieved(
            service=SERVICE,
            requested_by=access.person.name,
            destination=access.address,
            instances=given.instances,
            completed=given.completed,
            failed=len(given.failed),
            warning=0,
            remaining=given.remaining,
            visit=access.body(),
        )
        _log.info(
            "objects_retrieved",
            service=SERVICE,
            destination=access.address,
            retrieved=given.completed,
            failed=retrieved.failed,
            remaining=retrieved.remaining,
            size_bytes=given.size_bytes,
        )
        try:
            self.viewing.retrieve.record(retrieved, wait=False)
        except ArchiveError as exc:
            _log.error("retrieve_not_journaled", exc_info=exc)


def wanted_syntaxes(ranges: Sequence[MediaRange], *, is_instance: bool) -> tuple[bool, list[str]]:
    """Return whether one file by itself is wanted, and in which transfer syntaxes, the best first ("": the default).

    Raises NotAcceptable. One file by itself is what ``application/dicom`` asks for, of an instance.
    """
    multipart = [each for each in ranges if _is_multipart(each)]
    single = [each for each in ranges if each.kind == DICOM] if is_instance else []
    usable = [each for each in ranges if each in multipart or each in single]
    if not usable:
        raise NotAcceptable(reason=f'objects are given as multipart/related; type="{DICOM}"')
    is_single = usable[0] in single
    return is_single, [each.transfer_syntax for each in (single if is_single else multipart)]


def _is_multipart(each: MediaRange) -> bool:
    if each.kind == "multipart/related":
        return each.payload in (DICOM, "*/*", "application/*")
    return each.kind in ("*/*", "multipart/*")


def _uids(params: dict[str, str]) -> tuple[str, str, str]:
    return params["study"], params.get("series", ""), params.get("instance", "")


def _size(instances: Sequence[StoredInstance], syntaxes: Sequence[str], frame: Multipart) -> int | None:
    """Return how long the answer will be, None when something has to be converted: nobody knows then.

    A length known spares the server a copy of every byte, and shows a reader how far it is.
    """
    total = frame.overhead(len(instances))
    for each in instances:
        size = known_size(each, syntaxes)
        if size is None:
            return None
        total += size + len(_content_type(each.given_syntax_uid))
    return total


def _content_type(syntax: str) -> str:
    return f"{DICOM}; transfer-syntax={syntax}"


def _multipart(first: Part10, parts: Parts, given: Given, frame: Multipart) -> Chunks:
    part: Part10 | None = first
    try:
        while part is not None:
            head = frame.head(_content_type(part.transfer_syntax_uid))
            yield from part.chunks(head)
            given.completed += 1
            given.size_bytes += part.size_bytes
            part = next(parts, None)
        if given.surprises:
            raise NotAllGiven(failed=given.surprises, reason="not all")
        yield frame.end()
    finally:
        if part is not None:
            part.content.close()
        parts.close()


def _alone(part: Part10, given: Given, parts: Parts) -> Chunks:
    try:
        yield from part.chunks()
        given.completed += 1
        given.size_bytes += part.size_bytes
    finally:
        part.content.close()
        parts.close()
