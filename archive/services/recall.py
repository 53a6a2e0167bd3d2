"""Asks for cold packs to be thawed, all of a study at once, and tells how far that is; must not read what is in them.

What is asked for is noted before the store is asked: after a crash, or when the store was down, ``poll`` asks again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event
from typing import Final

from archive import logs
from archive.audit import Body, Entry
from archive.clock import Clock, monotonic
from archive.errors import ColdStoreDown, NoSuchStudy, NotReadableYet
from archive.index import thaws
from archive.index.thaws import ColdPack, Thaw
from archive.services.committer import Committer
from archive.services.thaw_times import ThawTime
from tiering.errors import ObjectNotFound, StoreError
from tiering.stores.base import Availability, ObjectStore

_log = logs.get(__name__)
_READABLE: Final = (Availability.ONLINE, Availability.WARM)
_PAGE: Final = 256
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True)
class RecallStatus:
    """How far the thaw of a study is: its cold packs by what they are, and when the last is expected.

    ``waiting`` are thawing, ``cold`` were not asked for, ``missing`` are not in the store. ``expected_at`` is an
    estimate by storage class; None when nothing is thawing or nothing is known about the class.
    """

    study_instance_uid: str
    packs: int
    readable: int
    waiting: int
    cold: int
    missing: int
    size_bytes: int
    requested_at: datetime | None
    expected_at: datetime | None

    @property
    def is_readable(self) -> bool:
        """Tell whether all of the study can be read now."""
        return self.readable == self.packs


@dataclass(slots=True)
class PollReport:
    """What a look at all thaws came to: packs that are done, that thaw, and that are not in the store."""

    done: int = 0
    waiting: int = 0
    missing: int = 0
    studies: set[str] = field(default_factory=set)
    """The studies some of whose packs are done."""


@dataclass(frozen=True, slots=True)
class Recall:
    """Thaws of one archive; safe to call from any thread.

    ``days``: how long packs stay readable. ``wait``: how long one retrieve waits for thaws at most. ``time``: how long
    a thaw takes by estimate, None when that is not known.
    """

    committer: Committer
    store: ObjectStore
    clock: Clock
    days: int = 7
    wait: timedelta = timedelta(seconds=20)
    time: ThawTime | None = None

    def request(self, study_instance_uid: str, *, by: str, for_rollback: bool = False) -> RecallStatus:
        """Ask for all cold packs of a study that cannot be read; see ``status``. Raises NoSuchStudy, ColdStoreDown."""
        found = self._availability(self._packs(study_instance_uid, for_rollback=for_rollback))
        self._request([pack for pack, state in found if state is Availability.COLD], by)
        return self.status(study_instance_uid, for_rollback=for_rollback)

    def request_packs(self, pack_keys: Collection[str], *, by: str) -> None:
        """Ask for those of these packs that cannot be read. Raises ColdStoreDown."""
        with self.committer.read() as connection:
            packs = thaws.packs_of(connection, pack_keys)
        found = self._availability(packs)
        self._request([pack for pack, state in found if state is Availability.COLD], by)

    def status(self, study_instance_uid: str, *, for_rollback: bool = False) -> RecallStatus:
        """Tell how far the thaw of a study is; ``for_rollback``: of the packs too that it can be rolled back to.

        Raises NoSuchStudy, ColdStoreDown.
        """
        found = self._availability(self._packs(study_instance_uid, for_rollback=for_rollback))
        with self.committer.read() as connection:
            asked = {each.pack_key: each.requested_at for each in thaws.of_study(connection, study_instance_uid)}
        states = Counter(state for _, state in found)
        waited_for = [asked[pack.key] for pack, state in found if state not in _READABLE and pack.key in asked]
        return RecallStatus(
            study_instance_uid,
            packs=len(found),
            readable=sum(states[state] for state in _READABLE),
            waiting=states[Availability.WARMING],
            cold=states[Availability.COLD],
            missing=states[None],
            size_bytes=sum(pack.size_bytes for pack, state in found if state not in _READABLE),
            requested_at=min(waited_for, default=None),
            expected_at=None if self.time is None or not waited_for else max(waited_for) + self.time.longest,
        )

    def poll(self) -> PollReport:
        """Look at all that is waited for: what is done is forgotten, what is cold again is asked for again.

        Raises ColdStoreDown.
        """
        report, after = PollReport(), ""
        while True:
            with self.committer.read() as connection:
                page = thaws.page(connection, after, _PAGE)
            if not page:
                return report
            after = page[-1].pack_key
            self._settle(page, report)

    def is_readable(self, pack_key: str) -> bool:
        """Tell whether a pack can be read now. Raises ColdStoreDown."""
        return self._find_availability(pack_key) in _READABLE

    def patience(self, pack_keys: Sequence[str], *, by: str) -> Patience:
        """Return the patience of one retrieve, which is about to read these packs in somebody's name."""
        return Patience(self, pack_keys, by)

    def expectation(self, pack_key: str) -> timedelta | None:
        """Return how long it takes at least until a pack can be read, by estimate."""
        if self.time is None:
            return None
        with self.committer.read() as connection:
            asked = next(thaws.of_packs(connection, [pack_key]), None)
        since = timedelta() if asked is None else self.clock() - asked.requested_at
        return max(self.time.shortest - since, timedelta())

    def check_all(self, pack_keys: Collection[str], *, by: str) -> None:
        """Ask for those of these packs that have to thaw; raise NotReadableYet when there are any, ColdStoreDown.

        Where no class of storage has to thaw nothing is asked.
        """
        frozen = [key for key in pack_keys if not self.is_readable(key)] if self.time is not None else []
        if frozen:
            self.request_packs(frozen, by=by)
            raise self.not_yet(frozen)

    def not_yet(self, pack_keys: Collection[str]) -> NotReadableYet:
        """Return the error for packs whose thaw was asked for, with the seconds that it takes at least by estimate."""
        waits = [wait.total_seconds() for wait in map(self.expectation, pack_keys) if wait is not None]
        reason = "a thaw was asked for" + ("" if self.time is None else f", {self.time.words}")
        return NotReadableYet(reason=reason, retry_after_seconds=int(max(waits, default=0)) or None)

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _packs(self, study_instance_uid: str, *, for_rollback: bool) -> list[ColdPack]:
        with self.committer.read() as connection:
            if not thaws.has_study(connection, study_instance_uid):
                raise NoSuchStudy(study_instance_uid=study_instance_uid)
            behind = thaws.waiting(connection, study_instance_uid) if for_rollback else []
            return [*thaws.cold_packs(connection, study_instance_uid), *behind]

    def _availability(self, packs: Sequence[ColdPack]) -> list[tuple[ColdPack, Availability | None]]:
        return [(pack, self._find_availability(pack.key)) for pack in packs]

    def _find_availability(self, pack_key: str) -> Availability | None:
        """Return whether a pack can be read, None for one that is not there. Raises ColdStoreDown."""
        try:
            with _told():
                return self.store.availability(pack_key)
        except ObjectNotFound:
            _log.error("cold_pack_missing", key=pack_key)
            return None

    def _request(self, packs: Sequence[ColdPack], by: str) -> None:
        """Note what is asked for, study by study, then ask for all of it."""
        if not packs:
            return
        now, entries = self.clock(), []
        for study, count in Counter(pack.study_instance_uid for pack in packs).items():
            size = sum(pack.size_bytes for pack in packs if pack.study_instance_uid == study)
            body: Body = {"study_instance_uid": study, "packs": count, "size_bytes": size, "days": self.days}
            entries.append(Entry(now, "recalled", by, body))
        self.committer.record_synced(*entries, work=lambda connection: thaws.add(connection, packs, by, now))
        self._ask([pack.key for pack in packs])

    def _ask(self, pack_keys: Sequence[str]) -> None:
        try:
            with _told():
                self.store.request_thaw(pack_keys, self.days)
        except ObjectNotFound as exc:  # it was there a moment ago; ``poll`` asks for the others again
            _log.error("cold_pack_missing", key=exc.fields["key"])

    def _settle(self, page: Sequence[Thaw], report: PollReport) -> None:
        found = [(thaw, self._find_availability(thaw.pack_key)) for thaw in page]
        done = [thaw for thaw, state in found if state in _READABLE]
        gone = [thaw.pack_key for thaw, state in found if state is None]
        again = [thaw.pack_key for thaw, state in found if state is Availability.COLD]
        if done or gone:
            studies = Counter(thaw.study_instance_uid for thaw in done)
            now = self.clock()
            entries = [
                Entry(now, "thawed", "drimbox", {"study_instance_uid": study, "packs": count})
                for study, count in studies.items()
            ]
            keys = [thaw.pack_key for thaw in done] + gone
            self.committer.record(*entries, work=lambda connection: thaws.drop(connection, keys))
            report.studies |= studies.keys()
        if again:
            self._ask(again)
        report.done += len(done)
        report.missing += len(gone)
        report.waiting += len(page) - len(done) - len(gone)


@dataclass(slots=True)
class Patience:
    """How long one retrieve still waits for thaws; ``monotonic`` and ``sleep`` in seconds.

    All its packs are asked for together. Once the time is over, or when a thaw cannot be done in time by estimate,
    nothing is waited for any more.
    """

    recall: Recall
    pack_keys: Sequence[str]
    by: str
    monotonic: Callable[[], float] = monotonic
    sleep: Callable[[float], object] = Event().wait
    _given_up: dict[str, NotReadableYet] = field(default_factory=dict)
    _until: float | None = None

    def check(self, pack_key: str) -> None:
        """Raise NotReadableYet for a pack that was waited for long enough."""
        if pack_key in self._given_up:
            raise self._given_up[pack_key]

    def wait_for(self, pack_key: str) -> None:
        """Return when a pack can be read. Raises NotReadableYet when that takes too long, ColdStoreDown."""
        if self._until is None:
            self._until = self.monotonic() + self.recall.wait.total_seconds()
            self.recall.request_packs({*self.pack_keys, pack_key}, by=self.by)
        pause = _FIRST_PAUSE
        while not self.recall.is_readable(pack_key):
            left = self._until - self.monotonic()
            expected = self.recall.expectation(pack_key)
            if left <= 0 or (expected is not None and expected.total_seconds() > left):
                self._give_up(pack_key)
            self.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _give_up(self, pack_key: str) -> None:
        self._given_up[pack_key] = self.recall.not_yet([pack_key])
        self.check(pack_key)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what a store raises into what the operator and a requester hear; ObjectNotFound leaves as it is."""
    try:
        yield
    except ObjectNotFound:
        raise
    except StoreError as exc:
        raise ColdStoreDown(reason=str(exc.fields.get("reason", exc.message))) from exc
