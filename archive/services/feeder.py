"""Hands out migrations: what is due, what dead workers left, what ended long ago; must not know what runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import uuid4

from archive import logs
from archive.clock import Clock, monotonic
from archive.index.executors import Executors
from archive.services.migration_steps import MigrationSteps, rest_after
from archive.services.step_runner import Gate, Pace

_log = logs.get(__name__)

MIGRATE: Final = "migrate_study"
TRIM: Final = "trim_hot_packs"
_AT_ONCE: Final = 200
_SEEN: Final = 2
_SEEN_HERE: Final = 6  # an engine that waits for its database has a workflow of which nothing is in hand any more
_ENDED: Final = "the worker ended while it worked on this study"


@dataclass(frozen=True, slots=True)
class Flow:
    """One workflow, as its engine has it.

    ``state`` is ``waiting``, ``running`` (on ``executor``) or ``ended``; ``is_current`` when its steps are those of
    this version. ``went_well`` is only known of one that has ended.
    """

    id: str
    name: str
    state: str
    executor: str | None = None
    is_current: bool = True
    went_well: bool = False
    since: datetime | None = None

    @property
    def study_uid(self) -> str:
        """Return the study it migrates."""
        return self.id.rpartition("/")[0]

    @property
    def number(self) -> int:
        """Return which workflow of its study it is, from 1."""
        return int(self.id.rpartition("/")[2])


class Engine(Protocol):
    """What runs workflows. Each method raises whatever its database has to say."""

    def active(self) -> list[Flow]:
        """Return those that wait or run."""
        ...

    def of_studies(self, study_uids: Sequence[str]) -> list[Flow]:
        """Return those of these studies that are kept, with what they came to."""
        ...

    def ended_before(self, moment: datetime, limit: int) -> list[Flow]:
        """Return some that ended before a moment."""
        ...

    def enqueue(self, name: str, flow_id: str, *values: str) -> None:
        """Let one wait for a worker; nothing happens when there is one of that id."""
        ...

    def resume(self, flow: Flow) -> None:
        """Let one wait for a worker again, which goes on after its last finished step."""
        ...

    def cancel(self, flow: Flow) -> None:
        """End one where it is."""
        ...

    def forget(self, flows: Sequence[Flow]) -> None:
        """Delete some."""
        ...


@dataclass(frozen=True, slots=True)
class Here:
    """The worker that a feeder belongs to: its name among the executors, and the workflows that run in it."""

    name: str
    executors: Executors
    in_hand: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Feeder:
    """Hands out work, while no other worker does."""

    steps: MigrationSteps
    pace: Pace
    gate: Gate
    clock: Clock
    here: Here
    engine: Engine
    _lost: Mapping[tuple[str, str | None], int] = field(default_factory=dict)
    _next_due: float = 0.0
    _next_trim: float = 0.0
    _next_collection: float = 0.0
    _resting: int = 0

    def tick(self) -> None:
        """Look once at everything."""
        executors = self.here.executors
        if not executors.hold():
            return
        with executors.alone() as is_chief:
            if not is_chief:
                return
            active = self.engine.active()
            self._rescue(active)
            if self.gate.is_ajar:
                self._feed(active)
                self._trim(active)
            self._collect()

    # ---- what was left behind ------------------------------------------------------------------------------------

    def _rescue(self, active: Sequence[Flow]) -> None:
        """Take up what no worker works on any more; seen more than once, since one may be about to say that it does."""
        gone: dict[str | None, bool] = {}
        lost = [flow for flow in active if self._is_lost(flow, gone)]
        self._lost = {(flow.id, flow.executor): self._lost.get((flow.id, flow.executor), 0) + 1 for flow in lost}
        for flow in lost:
            seen = _SEEN_HERE if flow.executor == self.here.name else _SEEN
            if self._lost[flow.id, flow.executor] >= seen:
                self._take_up(flow)

    def _is_lost(self, flow: Flow, gone: dict[str | None, bool]) -> bool:
        if flow.state != "running":
            return not flow.is_current
        if flow.executor == self.here.name:
            return flow.id not in self.here.in_hand
        if flow.executor not in gone:
            gone[flow.executor] = self.here.executors.is_gone(str(flow.executor))
        return gone[flow.executor]

    def _take_up(self, flow: Flow) -> None:
        """Let a workflow go on where it was left, unless it has brought too many workers down."""
        if not flow.is_current:
            # Its steps are not these: it is let go of, and the study is found due again.
            self.engine.cancel(flow)
            _log.warning("workflow_cancelled", workflow=flow.id)
        elif self._was_deadly(flow):
            self.engine.cancel(flow)
            _log.error("migration_set_aside", study_instance_uid=flow.study_uid, reason=_ENDED)
        else:
            self.engine.resume(flow)
            _log.warning("workflow_resumed", workflow=flow.id, executor=flow.executor)

    def _was_deadly(self, flow: Flow) -> bool:
        """Count the worker that ended with it, and tell whether it was one too many."""
        if flow.name != MIGRATE or flow.executor == self.here.name:
            return False
        return self.steps.failed(flow.study_uid, _ENDED) >= self.pace.attempts

    # ---- what is new ---------------------------------------------------------------------------------------------

    def _feed(self, active: Sequence[Flow]) -> None:
        """Keep a few studies waiting; more of them would only be known earlier."""
        flows = [flow for flow in active if flow.name == MIGRATE]
        room = 2 * self.pace.concurrency - sum(flow.state == "waiting" for flow in flows)
        if room <= 0 or monotonic() < self._next_due:
            return
        known = {flow.study_uid for flow in flows}
        wanted = len(known) + self._resting + room
        found = self.steps.due(wanted)
        fresh = [study_uid for study_uid in found if study_uid not in known]
        awake = [flow_id for flow_id in self._next_ids(fresh) if flow_id is not None]
        self._resting = len(fresh) - len(awake)
        for flow_id in awake[:room]:
            self.engine.enqueue(MIGRATE, flow_id, flow_id.rpartition("/")[0])
        if not awake and len(found) < wanted:
            self._next_due = monotonic() + self.pace.idle

    def _next_ids(self, study_uids: Sequence[str]) -> Iterator[str | None]:
        """Yield the id of each study's next workflow, which all workers agree on; None while the study rests."""
        for start in range(0, len(study_uids), _AT_ONCE):
            some = study_uids[start : start + _AT_ONCE]
            history: dict[str, list[Flow]] = {study_uid: [] for study_uid in some}
            for flow in self.engine.of_studies(some):
                history[flow.study_uid].append(flow)
            for study_uid, flows in history.items():
                flows.sort(key=lambda flow: flow.number)
                number = flows[-1].number + 1 if flows else 1
                yield None if self._is_resting(flows) else f"{study_uid}/{number}"

    def _is_resting(self, flows: Sequence[Flow]) -> bool:
        """Tell whether a study's last workflows, oldest first, failed too lately for another."""
        failures = 0
        for flow in reversed(flows):
            if flow.went_well:
                break
            failures += 1
        ended_at = flows[-1].since if flows else None
        if ended_at is None:
            return False
        # Not when the clock went back since: it could be for years.
        return timedelta() <= self.clock() - ended_at < rest_after(failures, self.pace.rest)

    def _trim(self, active: Sequence[Flow]) -> None:
        """Not by the time of day: with a clock that jumps it would trim too often, or never again."""
        if monotonic() < self._next_trim or any(flow.name == TRIM for flow in active):
            return
        self._next_trim = monotonic() + self.pace.trim
        self.engine.enqueue(TRIM, f"trim/{uuid4().hex}")

    def _collect(self) -> None:
        """Forget workflows that ended long ago, some at a time."""
        if monotonic() < self._next_collection:
            return
        old = self.engine.ended_before(self.clock() - self.pace.keep, _AT_ONCE)
        if old:
            self.engine.forget(old)
        if len(old) < _AT_ONCE:
            self._next_collection = monotonic() + self.pace.trim
