"""WADO-RS of whole objects (PS3.18 section 10.4): studies, series, instances; must not read a stored byte itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from archive import logs
from archive.dicomweb.accept import MediaRange, accepted
from archive.dicomweb.streaming import SMALL_BYTES, Multipart, Pieces, Streamed, Threads
from archive.errors import ArchiveError, NotAcceptable, NotAllGiven
from archive.http.access import access_of
from archive.http.direct import FilePiece, Piece
from archive.index.records import StoredInstance
from archive.services.accesses import Access
from archive.services.part10_files import (
    Given,
    Part10,
    Parts,
    Sharing,
    cannot_be_given,
    is_quick,
    iter_prepared,
    known_size,
    prepare,
)
from archive.services.retrieve import Retrieved
from archive.services.viewing import Viewing

DICOM: Final = "application/dicom"
SERVICE: Final = "WADO-RS"
_FIRST_OBJECTS: Final = 64
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Objects:
    """Answers retrieves of whole objects."""

    viewing: Viewing
    threads: Threads
    sharing: Sharing = field(default_factory=Sharing)

    def retrieve(self, request: Request) -> Response:
        """Answer GET of a study, a series or an instance: Part 10 files one after the other."""
        access, params = access_of(request), request.path_params
        is_single, syntaxes = wanted_syntaxes(accepted(request), is_instance="instance" in params)
        instances = self.viewing.find(access, *_uids(params))
        self.viewing.check_readable(instances, access)
        given = Given(instances, [each for each in instances if cannot_be_given(each, syntaxes)])
        with ExitStack() as stack:
            stack.callback(self._conclude, given, access)
            retrieve = stack.enter_context(self.viewing.retrieve.ahead(given.instances, by=access.person.name))
            parts = iter_prepared(
                self.threads.preparing,
                lambda each: prepare(retrieve, each, syntaxes),
                given,
                quick=lambda each: is_quick(each, syntaxes),
                together=stack.enter_context(self.sharing.share()),
            )
            stack.callback(parts.close)
            first = _beginning(parts)
            if not first:
                stack.close()
                assert given.first_error is not None
                raise given.first_error
            given.foreseen = [*given.foreseen, *given.failed]
            frame = None if is_single else Multipart(DICOM)
            return self._answer(_Body(first, parts, given, frame, stack.pop_all()), syntaxes)

    def _answer(self, body: _Body, syntaxes: tuple[str, ...]) -> Response:
        given, frame, first = body.given, body.frame, body.first[0]
        media_type = _content_type(first.transfer_syntax_uid) if frame is None else frame.media_type
        size: int | None = first.size_bytes
        if frame is not None:
            size = None if given.foreseen else _size(given.instances, syntaxes, frame)
        headers = {} if size is None else {"content-length": str(size)}
        status = 206 if given.foreseen else 200
        return Streamed(body, self.threads.making, media_type=media_type, status=status, headers=headers)

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


def wanted_syntaxes(ranges: Sequence[MediaRange], *, is_instance: bool) -> tuple[bool, tuple[str, ...]]:
    """Return whether one file by itself is wanted, and in which transfer syntaxes, the best first ("": the default).

    Raises NotAcceptable. One file by itself is what ``application/dicom`` asks for, of an instance.
    """
    multipart = [each for each in ranges if _is_multipart(each)]
    single = [each for each in ranges if each.kind == DICOM] if is_instance else []
    usable = [each for each in ranges if each in multipart or each in single]
    if not usable:
        raise NotAcceptable(reason=f'objects are given as multipart/related; type="{DICOM}"')
    is_single = usable[0] in single
    return is_single, tuple(each.transfer_syntax for each in (single if is_single else multipart))


def _is_multipart(each: MediaRange) -> bool:
    if each.kind == "multipart/related":
        return each.payload in (DICOM, "*/*", "application/*")
    return each.kind in ("*/*", "multipart/*")


def _uids(params: dict[str, str]) -> tuple[str, str, str]:
    return params["study"], params.get("series", ""), params.get("instance", "")


def _size(instances: Sequence[StoredInstance], syntaxes: tuple[str, ...], frame: Multipart) -> int | None:
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


def _beginning(parts: Parts) -> list[Part10]:
    """Return the first objects, a little of what there is: what goes wrong with these is told before anything is sent.

    All of a small answer is known so; raises what preparing raises, with nothing left open.
    """
    first: list[Part10] = []
    try:
        while sum(each.size_bytes for each in first) < SMALL_BYTES and len(first) < _FIRST_OBJECTS:
            part = next(parts, None)
            if part is None:
                break
            first.append(part)
    except BaseException:
        for each in first:
            each.content.close()
        raise
    return first


class _Body:
    """The pieces of an answer, an object each, as parts of a frame or one by itself; close it.

    An object counts as given once the next piece is asked for: only then have all of its bytes gone.
    """

    def __init__(
        self, first: Sequence[Part10], parts: Parts, given: Given, frame: Multipart | None, stack: ExitStack
    ) -> None:
        self.first = deque(first)
        self.given = given
        self.frame = frame
        self._parts = parts
        self._stack = stack
        self._going: Part10 | None = None
        self._is_over = False

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> Piece:
        if self._going is not None:
            self._going.content.close()
            self.given.completed += 1
            self.given.size_bytes += self._going.size_bytes
        part = self._going = self.first.popleft() if self.first else next(self._parts, None)
        if part is None:
            return self._end()
        head = b"" if self.frame is None else self.frame.head(_content_type(part.transfer_syntax_uid))
        return FilePiece(head + part.header, part.content)

    def _end(self) -> Piece:
        self._stack.close()
        if self._is_over or self.frame is None:
            raise StopIteration
        self._is_over = True
        if self.given.surprises:
            raise NotAllGiven(failed=self.given.surprises, reason="not all")
        return self.frame.end()

    def close(self) -> None:
        """Close what is open; the retrieve is over."""
        for part in (self._going, *self.first):
            if part is not None:
                part.content.close()
        self._going = None
        self._stack.close()
