"""Turns the parts of a STOW-RS body into stored instances and a report of them; must not know the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Final, Protocol

from archive import logs
from archive.dicomweb.accept import parse_media_type
from archive.dicomweb.multipart import Event, MultipartReader, PartBegun, PartData
from archive.dicomweb.store_response import Named, StoreReport
from archive.errors import ArchiveError, BadRequest, UnsupportedMedia
from archive.services.accesses import Access
from archive.services.web_store import Accepted, IncomingFile, WebStore

_log = logs.get(__name__)
DICOM: Final = "application/dicom"
MOST_PARTS: Final = 10_000
_MOST_FAILURES: Final = 1_000
_MOST_WAITING: Final = 3


class Reader(Protocol):
    """What takes a body apart."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what some bytes bring."""

    def close(self) -> None:
        """Raise BadRequest unless the body was whole."""


class OnePart:
    """A body that is one instance and nothing around it (PS3.18 section 8.6.1.1)."""

    def __init__(self) -> None:
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the bytes as those of the only part."""
        if not self._has_begun:
            self._has_begun = True
            yield PartBegun({"content-type": DICOM})
        yield PartData(data)

    def close(self) -> None:
        """Take any end for the end: a body without its last bytes does not get here."""


def reader_of(content_type: str) -> Reader:
    """Return what takes a body of this Content-Type apart; raise BadRequest, UnsupportedMedia."""
    kind = parse_media_type(content_type)
    if kind.kind == DICOM:
        return OnePart()
    if kind.kind != "multipart/related":
        raise UnsupportedMedia(reason='send multipart/related; type="application/dicom"')
    if kind.payload not in (DICOM, "*/*"):
        raise UnsupportedMedia(reason=f"parts are taken as {DICOM}: Part 10 files, pixel data inside")
    return MultipartReader(kind.parameters.get("boundary", ""), most_parts=MOST_PARTS)


@dataclass(slots=True)
class Intake:
    """One request: ``feed`` it in any pieces, then ``finish`` it; ``abandon`` it at the end, whatever happened.

    What was stored of a request that goes wrong later stays stored, as with C-STORE. While an instance is made durable
    by a thread of ``committing``, the next one comes in; no more than a few wait, each with a chunk of 1 MiB.
    """

    store: WebStore
    access: Access
    reader: Reader
    report: StoreReport
    committing: Executor
    study_instance_uid: str = ""
    _file: IncomingFile | None = None
    _waiting: deque[tuple[IncomingFile, Future[Accepted]]] = field(default_factory=deque)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body; raise BadRequest for a body that is none. It blocks on disk and index."""
        for event in self.reader.feed(data):
            if isinstance(event, PartData):
                self._go_on(event.data)
            elif isinstance(event, PartBegun):
                self._begin(event)
            else:
                self._end()
            if len(self.report.failed) >= _MOST_FAILURES:
                raise BadRequest(reason=f"{_MOST_FAILURES} parts could not be stored")

    def finish(self) -> StoreReport:
        """Close the body and return what became of it; raise BadRequest when there was nothing in it, or no end."""
        if isinstance(self.reader, OnePart):
            self._end()
        self._settle(0)
        self.reader.close()
        if not self.report.stored and not self.report.failed:
            raise BadRequest(reason="there is no part in the body")
        return self.report

    def record(self) -> None:
        """Journal what came of it, if anything was sent at all. Raises IndexUnavailable."""
        report = self.report
        if report.stored or report.failed:
            self.store.record(self.access, studies=report.studies, stored=len(report.stored), failed=len(report.failed))

    def abandon(self) -> None:
        """Let go of a part that was not whole; the ones that were end as they do."""
        if self._file is not None:
            self._file.abandon()
            self._file = None
        self._settle(0)

    def _begin(self, part: PartBegun) -> None:
        try:
            kind = parse_media_type(part.headers.get("content-type", DICOM)).kind
            if kind != DICOM:
                raise UnsupportedMedia(reason=f"a part is {DICOM}")
            self._file = self.store.incoming(self.access, self.study_instance_uid)
        except (BadRequest, UnsupportedMedia) as exc:
            self._fail(exc)

    def _go_on(self, data: bytes) -> None:
        if self._file is not None:
            try:
                self._file.feed(data)
            except Exception as exc:
                self._fail(exc)

    def _end(self) -> None:
        if self._file is not None:
            self._waiting.append((self._file, self.committing.submit(self._file.commit)))
            self._file = None
            self._settle(_MOST_WAITING)

    def _settle(self, most: int) -> None:
        """Note what became of the oldest instances, until no more than ``most`` wait."""
        while len(self._waiting) > most:
            file, future = self._waiting.popleft()
            try:
                done = future.result()
            except Exception as exc:
                self._note(file, exc)
            else:
                self.report.stored.append(
                    Named(done.sop_class_uid, done.sop_instance_uid, done.study_instance_uid, done.series_instance_uid)
                )
                file.abandon()

    def _fail(self, error: Exception) -> None:
        """Note that the part that comes was not stored; the rest of it is passed over."""
        file, self._file = self._file, None
        self._note(file, error)

    def _note(self, file: IncomingFile | None, error: Exception) -> None:
        """Note a failure and let go of what failed."""
        named = Named(*file.named) if file is not None else Named()
        if file is not None:
            file.abandon()
        level = _log.warning if isinstance(error, ArchiveError) else _log.error
        level("object_refused", reason=type(error).__name__, exc_info=error)
        self.report.fail(named, error)
