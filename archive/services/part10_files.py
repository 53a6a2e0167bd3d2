"""Stored objects on their way out as Part 10 files, one ready ahead of the other; must not know who takes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final

from archive import logs
from archive.errors import ArchiveError, RetrieveError, SyntaxNotAccepted
from archive.index.records import StoredInstance
from archive.part10.meta import outgoing_header
from archive.services.retrieve import ObjectBytes, Retrieve, StoredObject, can_give

EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
AS_STORED: Final = "*"
TOGETHER: Final = 32
"""How many objects are opened together at most."""

_NOT_FOR_WEB: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"})
"""Implicit VR and big endian shall not be used with web services (PS3.18 8.7.3.1)."""
LOSSY: Final = frozenset(
    f"1.2.840.10008.1.2.4.{number}"
    for number in (50, 51, 53, 55, 81, 91, 93, 100, 101, 102, 103, 104, 105, 106, 107, 108, 111, 112, 203)
)
"""Transfer syntaxes in which an object is, or may be, compressed with loss."""

_log = logs.get(__name__)


@lru_cache(maxsize=128)
def choose_syntax(stored: str, accepted: tuple[str, ...]) -> str:
    """Return the transfer syntax in which an object goes that is stored in another (PS3.18 8.7.3.1).

    ``accepted``: the best first, ``*`` for whatever it is stored in, "" for the default: Explicit VR Little Endian, but
    what is compressed with loss stays as it is, and so does what cannot be converted. Raises SyntaxNotAccepted.
    """
    for wanted in accepted:
        if not wanted:
            stays = stored in LOSSY or not can_give(stored, EXPLICIT_LITTLE)
            return stored if stays else EXPLICIT_LITTLE
        if wanted == AS_STORED:
            return EXPLICIT_LITTLE if stored in _NOT_FOR_WEB else stored
        if wanted not in _NOT_FOR_WEB and can_give(stored, wanted):
            return wanted
    raise SyntaxNotAccepted(transfer_syntax_uid=stored)


@dataclass(slots=True)
class Part10:
    """One object ready to leave: its Part 10 header, the bytes behind it, open, and its transfer syntax; close it."""

    instance: StoredInstance
    transfer_syntax_uid: str
    header: bytes
    content: ObjectBytes

    @property
    def size_bytes(self) -> int:
        """Return the length of the whole file."""
        return len(self.header) + self.content.size_bytes


@dataclass(slots=True)
class Given:
    """What became of the objects of one retrieve so far; ``foreseen``: those that were known not to be given.

    ``first_error``: why the first was not, or the first of those that may be given later.
    """

    instances: Sequence[StoredInstance]
    foreseen: Sequence[StoredInstance] = ()
    completed: int = 0
    size_bytes: int = 0
    failed: list[StoredInstance] = field(default_factory=list)
    first_error: ArchiveError | None = None

    def fail(self, instance: StoredInstance, error: ArchiveError) -> None:
        """Account for an object that cannot be given."""
        uid, reason = instance.sop_instance_uid, type(error).__name__
        _log.warning("object_not_given", sop_instance_uid=uid, reason=reason)
        self.failed.append(instance)
        if self.first_error is None or (error.retryable and not self.first_error.retryable):
            self.first_error = error

    @property
    def surprises(self) -> int:
        """Return how many failed that were not foreseen."""
        known = {each.instance_id for each in self.foreseen}
        return sum(each.instance_id not in known for each in self.failed)

    @property
    def remaining(self) -> int:
        """Return how many were neither given nor tried."""
        return len(self.instances) - self.completed - len(self.failed)


def cannot_be_given(instance: StoredInstance, accepted: tuple[str, ...]) -> bool:
    """Tell whether it is known beforehand that an object cannot be given: no copy, or none in a form accepted."""
    if instance.readable is None:
        return True
    try:
        choose_syntax(instance.given_syntax_uid, accepted)
    except SyntaxNotAccepted:
        return True
    return False


def known_size(instance: StoredInstance, accepted: tuple[str, ...]) -> int | None:
    """Return the length of the file that an instance is given as; None when that is known once it is converted."""
    copy, stored = instance.readable, instance.given_syntax_uid
    if copy is None or choose_syntax(stored, accepted) != stored:
        return None
    return _header_size(instance.sop_class_uid, len(instance.sop_instance_uid), stored) + copy.dataset_size


def prepare(retrieve: Retrieve, instance: StoredInstance, accepted: tuple[str, ...]) -> Part10:
    """Open an object in an accepted transfer syntax; raise RetrieveError when it cannot be given.

    A copy that opens and cannot be read or converted is passed over for the next one.
    """
    problems: list[RetrieveError] = []
    for stored in retrieve.each(instance):
        try:
            return _opened(retrieve, stored, accepted)
        except RetrieveError as exc:
            problems.append(exc)
    raise problems[0]


def _opened(retrieve: Retrieve, stored: StoredObject, accepted: tuple[str, ...]) -> Part10:
    try:
        wanted = choose_syntax(stored.transfer_syntax_uid, accepted)
    except SyntaxNotAccepted:
        if stored.file is not None:
            stored.file.close()
        raise
    is_same = wanted == stored.transfer_syntax_uid
    content = retrieve.read(stored) if is_same else retrieve.convert(stored, wanted)
    return Part10(stored.instance, wanted, _header(stored.instance, wanted), content)


def _header(instance: StoredInstance, transfer_syntax_uid: str) -> bytes:
    return outgoing_header(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
    )


@lru_cache(maxsize=256)
def _header_size(sop_class_uid: str, uid_length: int, transfer_syntax_uid: str) -> int:
    """Return the length of the header of each object of a class whose UID has so many characters."""
    return len(
        outgoing_header(
            sop_class_uid=sop_class_uid, sop_instance_uid="1" * uid_length, transfer_syntax_uid=transfer_syntax_uid
        )
    )


Parts = Generator[Part10, None, None]


def is_quick(instance: StoredInstance, accepted: tuple[str, ...]) -> bool:
    """Tell whether an instance only has to be opened: its copy is hot, and goes as it is stored."""
    copy, stored = instance.readable, instance.given_syntax_uid
    return copy is not None and copy.tier == "hot" and choose_syntax(stored, accepted) == stored


@dataclass(slots=True)
class Sharing:
    """Shares the files that may be open ahead among all who are given objects at the moment; safe from any thread."""

    files: int = 4 * TOGETHER
    _users: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def share(self) -> Iterator[int]:
        """Lend one share: how many to open together."""
        with self._lock:
            self._users += 1
            users = self._users
        try:
            yield max(1, min(TOGETHER, self.files // users))
        finally:
            with self._lock:
                self._users -= 1


PrepareOne = Callable[[StoredInstance], Part10]
_Tried = tuple[StoredInstance, Part10 | ArchiveError]


@dataclass(slots=True)
class _Group:
    """Objects that were prepared together; ``is_slow``: it took longer than opening files that are in memory."""

    tried: list[_Tried] = field(default_factory=list)
    is_slow: bool = False


def iter_prepared(
    executor: Executor,
    prepare_one: PrepareOne,
    given: Given,
    *,
    quick: Callable[[StoredInstance], bool] = lambda _: False,
    together: int = TOGETHER,
) -> Parts:
    """Yield the objects that can be given, in order, others being opened or converted ahead; account for the rest.

    Those that are ``quick`` are opened here, so many ``together``, as long as they are in memory: that costs less than
    a thread, which would want the processor of whoever reads. As soon as one is not, or an object is not quick, two
    groups are prepared ahead in threads, of one object each if it is not quick. What is not in memory is loaded.
    Close the iterator: what was prepared and not taken is closed with it.
    """

    def prepare_group(group: list[StoredInstance]) -> _Group:
        is_quick = quick(group[0])
        prepared = _Group(is_slow=not is_quick)
        try:
            for instance in group:
                part, is_loaded = _prepared(prepare_one, instance, is_quick=is_quick)
                prepared.tried.append((instance, part))
                prepared.is_slow |= is_loaded
        except BaseException:
            _close_all(prepared.tried)
            raise
        return prepared

    groups = _groups(given.instances, quick, together)
    waiting: deque[Future[_Group]] = deque()
    left: deque[_Tried] = deque()
    group, is_slow = next(groups, None), False
    try:
        while group or waiting:
            if is_slow or (group and not quick(group[0])):
                waiting.extend(executor.submit(prepare_group, each) for each in islice(groups, 2 - len(waiting)))
            prepared = prepare_group(group) if group else waiting.popleft().result()
            left.extend(prepared.tried)
            is_slow = prepared.is_slow
            while left:
                instance, part = left.popleft()
                if isinstance(part, ArchiveError):
                    given.fail(instance, part)
                else:
                    yield part
            group = None if waiting else next(groups, None)
    finally:
        _close_all(left)
        for future in waiting:
            _let_go(future)


def _groups(
    instances: Sequence[StoredInstance], quick: Callable[[StoredInstance], bool], together: int
) -> Iterator[list[StoredInstance]]:
    """Yield the first by itself, for it must not wait, each that is not quick too, the others together."""
    group: list[StoredInstance] = []
    for number, instance in enumerate(instances):
        is_alone = number == 0 or not quick(instance)
        if group and (is_alone or len(group) == together):
            yield group
            group = []
        group.append(instance)
        if is_alone:
            yield group
            group = []
    if group:
        yield group


def _prepared(
    prepare_one: PrepareOne, instance: StoredInstance, *, is_quick: bool
) -> tuple[Part10 | ArchiveError, bool]:
    """Return an object, or why there is none, and whether it had to be loaded; only what is quick is loaded."""
    try:
        part = prepare_one(instance)
    except ArchiveError as exc:
        return exc, False
    try:
        return part, is_quick and part.content.load()
    except BaseException as exc:
        part.content.close()
        if isinstance(exc, ArchiveError):
            return exc, True
        raise


def _let_go(future: Future[_Group]) -> None:
    if not future.cancel():
        future.add_done_callback(_close)


def _close(future: Future[_Group]) -> None:
    if not future.cancelled() and future.exception() is None:
        _close_all(future.result().tried)


def _close_all(tried: Iterable[_Tried]) -> None:
    for _, part in tried:
        if isinstance(part, Part10):
            part.content.close()
