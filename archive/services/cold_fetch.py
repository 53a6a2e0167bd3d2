"""Fetches members of cold packs into the read cache, each proven; must not decide what is fetched ahead of whom.

Whoever wants a member that is just being fetched waits for that instead of asking for it too. A store that has failed
several times in a row is left alone for a moment: the rest of a study fails at once and not after one timeout each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple, Self

from archive import logs
from archive.clock import monotonic
from archive.errors import ColdStoreDown, FixityError, NotReadableYet
from archive.index.records import StoredLocation
from archive.services.read_cache import ReadCache
from tiering.errors import ChecksumMismatch, NotThawed, ObjectNotFound, StoreError
from tiering.stores.base import ObjectStore

_log = logs.get(__name__)
GAP_BYTES: Final = 4096
"""Members start at multiples of 64 bytes behind a short header: what lies between two is not worth a request."""
_CHUNK_BYTES: Final = 1 << 20
_MOST_FAILURES: Final = 3
_REST_SECONDS: Final = 5.0


class Wanted(NamedTuple):
    """A copy in a cold pack, and the digest (32 bytes) of its data set."""

    location: StoredLocation
    dataset_sha256: bytes

    @property
    def end(self) -> int:
        """Return where in its pack it ends."""
        return self.location.start + self.location.size_bytes


@dataclass(slots=True)
class Fuse:
    """Keeps readers from a store that fails again and again; ``monotonic`` returns seconds from any zero."""

    monotonic: Callable[[], float] = monotonic
    _failures: int = 0
    _until: float = 0.0
    _reason: str = ""

    def check(self) -> None:
        """Raise ColdStoreDown while the store is left alone."""
        if self._failures >= _MOST_FAILURES and self.monotonic() < self._until:
            raise ColdStoreDown(reason=self._reason)

    def failed(self, reason: str) -> None:
        """Say that the store did not answer."""
        self._failures += 1
        self._until = self.monotonic() + _REST_SECONDS
        self._reason = reason

    def worked(self) -> None:
        """Say that the store gave something."""
        self._failures = 0


@dataclass(slots=True)
class Fetcher:
    """Gives members of cold packs; safe to call from any thread."""

    store: ObjectStore
    cache: ReadCache
    fuse: Fuse = field(default_factory=Fuse)
    _under_way: dict[str, threading.Event] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, wanted: Wanted) -> BinaryIO:
        """Return a member's Part 10 file, open, every byte proven; close it.

        Raises ColdStoreDown, NotReadableYet, FixityError when the store gives other bytes twice.
        """
        key = wanted.location.key
        while True:
            if (file := self.cache.find(key, lambda found: _is_whole(found, wanted))) is not None:
                return file
            if (others := self._claim(key)) is None:
                break
            others.wait()
        try:
            return self._fetch_twice(wanted)
        finally:
            self._settle(key)

    def fetch(
        self,
        members: Sequence[Wanted],
        *,
        is_over: Callable[[], bool] = lambda: False,
        claimed: Callable[[], object] = lambda: None,
    ) -> None:
        """Have neighbours of one pack in the cache, in few requests, until it ``is_over``.

        ``claimed`` is called once whoever wants one of them would wait for it and not ask the store. Those that are
        there, that somebody else fetches or that the cache cannot keep are left out; one that comes wrong is not kept.
        Raises ColdStoreDown, NotReadableYet, FixityError.
        """
        ours: list[Wanted] = []
        try:
            for each in members:
                if self._is_missing(each) and self._claim(each.location.key) is None:
                    ours.append(each)
            claimed()
            for run in _runs(ours):
                self._fetch_run(run, is_over)
        finally:
            for each in ours:
                self._settle(each.location.key)

    def _is_missing(self, wanted: Wanted) -> bool:
        location = wanted.location
        return not self.cache.has(location.key) and self.cache.can_keep(location.size_bytes)

    def _fetch_run(self, run: Sequence[Wanted], is_over: Callable[[], bool]) -> None:
        start, end = run[0].location.start, run[-1].end
        if is_over():
            return
        with (
            self._told(run[0].location, is_ahead=True) as pack,
            _Stream(self.store.read(pack, offset=start, length=end - start), start) as stream,
        ):
            for each in run:
                file = self._filled(each, stream.part(each.location.start, each.location.size_bytes))
                self._settle(each.location.key)
                if file is not None:
                    file.close()
                is_in_vain = file is not None and not self.cache.has(each.location.key)
                if is_in_vain or is_over():
                    return

    def _fetch_twice(self, wanted: Wanted) -> BinaryIO:
        location = wanted.location
        for attempt in (1, 2):
            with self._told(location) as pack:
                chunks = self.store.read(pack, offset=location.start, length=location.size_bytes)
                file = self._filled(wanted, chunks)
            if file is not None:
                return file
            _log.error("cold_copy_read_wrong", key=location.key, attempt=attempt)
        raise FixityError(key=location.key, reason="the cold store gives other bytes", state="damaged")

    def _filled(self, wanted: Wanted, chunks: Iterator[bytes]) -> BinaryIO | None:
        """Return a file with what comes, an entry of the cache where it takes it; None for other bytes."""
        location = wanted.location
        file = self.cache.new_file(location.size_bytes)
        try:
            if _fill(file, chunks, wanted):
                self.cache.keep(location.key, file, location.size_bytes)
                self.fuse.worked()
                return file
        except BaseException:
            self.cache.drop(file)
            file.close()
            raise
        self.cache.drop(file)
        file.close()
        return None

    # ---- one at a time -----------------------------------------------------------------------------------------------

    def _claim(self, key: str) -> threading.Event | None:
        """Take a member for oneself until ``_settle``; else return what tells that somebody else is done with it."""
        with self._lock:
            found = self._under_way.get(key)
            if found is None:
                self._under_way[key] = threading.Event()
            return found

    def _settle(self, key: str) -> None:
        with self._lock:
            done = self._under_way.pop(key, None)
        if done is not None:
            done.set()

    @contextmanager
    def _told(self, location: StoredLocation, *, is_ahead: bool = False) -> Iterator[str]:
        """Lend the key of the pack; turn what a store and a disk raise into what a requester hears."""
        assert location.pack_key is not None
        self.fuse.check()
        try:
            yield location.pack_key
        except NotThawed as exc:
            raise NotReadableYet(reason="it has to be thawed first") from exc
        except ObjectNotFound as exc:
            raise FixityError(key=location.key, reason="it is not in the cold store", state=None) from exc
        except ChecksumMismatch as exc:
            raise FixityError(key=location.key, reason=str(exc.fields["reason"]), state="damaged") from exc
        except StoreError as exc:
            reason = str(exc.fields.get("reason", exc.message))
            if exc.retryable and not is_ahead:  # ranges that fail side by side are one failure, and tried again
                self.fuse.failed(reason)
            raise ColdStoreDown(reason=reason) from exc
        except OSError as exc:
            raise ColdStoreDown(reason=exc.strerror or type(exc).__name__) from exc


def _runs(members: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Yield members, which are in the order of their pack, in groups without a gap that is worth a request."""
    run: list[Wanted] = []
    for each in members:
        if run and each.location.start - run[-1].end > GAP_BYTES:
            yield run
            run = []
        run.append(each)
    if run:
        yield run


class _Stream:
    """Consecutive bytes of an object, given out in parts that do not overlap."""

    def __init__(self, chunks: Iterator[bytes], start: int) -> None:
        self._chunks = chunks
        self._position = start
        self._rest = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what is left: a store may keep a connection for it."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    def part(self, start: int, length: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` on; what lies before is passed over."""
        for _ in self._take(start - self._position):
            pass
        yield from self._take(length)

    def _take(self, length: int) -> Iterator[bytes]:
        while length > 0:
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    return
            piece, self._rest = self._rest[:length], self._rest[length:]
            self._position += len(piece)
            length -= len(piece)
            yield bytes(piece)


def _fill(file: BinaryIO, chunks: Iterator[bytes], wanted: Wanted) -> bool:
    """Write a member to a file; tell whether it is what was wanted."""
    check = _Check(wanted)
    for chunk in chunks:
        check.take(chunk)
        view = memoryview(chunk)
        while view:
            view = view[file.write(view) :]
    file.truncate(wanted.location.size_bytes)
    file.seek(0)
    return check.is_good


def _is_whole(file: BinaryIO, wanted: Wanted) -> bool:
    check = _Check(wanted)
    with suppress(OSError):
        while chunk := file.read(_CHUNK_BYTES):
            check.take(chunk)
        file.seek(0)
        return check.is_good
    return False


class _Check:
    """The digests of a member's header and data set as its bytes come."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._header, self._dataset = sha256(), sha256()
        self._size = 0

    def take(self, chunk: bytes) -> None:
        """Take the next bytes."""
        header = max(self._wanted.location.header_size - self._size, 0)
        view = memoryview(chunk)
        self._header.update(view[:header])
        self._dataset.update(view[header:])
        self._size += len(chunk)

    @property
    def is_good(self) -> bool:
        """Tell whether it was all of the member, unchanged."""
        location = self._wanted.location
        found = (self._size, self._header.digest(), self._dataset.digest())
        return found == (location.size_bytes, location.sha256, self._wanted.dataset_sha256)
