"""Migrates by itself, durably: workflows on DBOS, in SQLite or PostgreSQL; must not know what a step does.

The only module that knows DBOS, which it loads when a worker starts. One workflow a study, one step a series, one step
that switches; what a finished step returned is kept, and the step is not run again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import thread as pool
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

from archive import logs
from archive.clock import Clock, utc_now
from archive.errors import WorkflowsUnavailable
from archive.index.executors import database_file, executors
from archive.services.feeder import MIGRATE, TRIM, Feeder, Flow, Here
from archive.services.migration_steps import Job, MigrationSteps
from archive.services.step_runner import COUNT, PREPARE, SWITCH, Gate, Pace, StepRunner, Suspended

if TYPE_CHECKING:
    from dbos import DBOSClient, DBOSConfig, EnqueueOptions, WorkflowStatus

__all__ = ["Pace", "Worker", "list_jobs"]

_log = logs.get(__name__)

APPLICATION: Final = "drimbox"
VERSION: Final = "migration-1"
"""The version of the workflows below: a new one whenever their steps are others, or come in another order."""
QUEUES: Final = {MIGRATE: "drimbox-migrate", TRIM: "drimbox-trim"}
_STATES: Final = {"ENQUEUED": "waiting", "DELAYED": "waiting", "PENDING": "running"}
_ENDED: Final = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_NO_TABLE: Final = "42P01"
_TICKS_FAILED: Final = 3
_STUCK_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 10.0
_THREADS: Final = "dbos-executor-"


class _StepFailed(Exception):
    """A step was recorded as failed; ``counts`` tells whether that is the study's fault."""

    def __init__(self, reason: str, *, counts: bool) -> None:
        self.reason, self.counts = reason, counts
        super().__init__(reason)


class _Workflows:
    """What runs in the threads of DBOS: the two workflows, step by step."""

    def __init__(self, steps: MigrationSteps, runner: StepRunner, in_hand: set[str]) -> None:
        self._steps, self._runner, self._in_hand = steps, runner, in_hand

    def register(self) -> None:
        """Tell DBOS the workflows, under names that mean the same to every worker."""
        from dbos import DBOS  # noqa: PLC0415

        def migrate(study_uid: str) -> dict[str, Any]:
            return self.migrate(study_uid)

        def trim() -> dict[str, Any]:
            return self.trim()

        # Workers that end with a workflow are counted by the feeder, which says so where an operator looks.
        DBOS.workflow(name=MIGRATE, max_recovery_attempts=None)(migrate)
        DBOS.workflow(name=TRIM, max_recovery_attempts=None)(trim)

    def migrate(self, study_uid: str) -> dict[str, Any]:
        """Migrate a study; a failure is an answer like another: of an exception DBOS would keep all it says."""
        with self._holding():
            try:
                return {"migrated": self._move(study_uid)}
            except _StepFailed as failed:
                return self._give_up(study_uid, failed)

    def trim(self) -> dict[str, Any]:
        """Let go of what may go from the hot tier."""
        with self._holding():
            try:
                return {"trimmed": self._step("trim", TRIM, lambda: dict(self._steps.trim()))}
            except _StepFailed as failed:
                return {"failed": failed.reason}

    def _move(self, study_uid: str) -> Any:
        steps, prepared = self._steps, []
        for series_uid in self._step("series", study_uid, lambda: list(steps.series_of(study_uid))):
            prepared.append(self._prepared(study_uid, series_uid))
        return self._step(SWITCH, study_uid, lambda: dict(steps.switch(study_uid, prepared)))

    def _prepared(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        call = lambda: dict(self._steps.prepare(study_uid, series_uid))  # noqa: E731
        done: Mapping[str, Any] = self._step(PREPARE, study_uid, call)
        return done

    def _give_up(self, study_uid: str, failed: _StepFailed) -> dict[str, Any]:
        """Count the failure when it counts, and say so; the feeder lets the study rest."""
        attempts = 0
        if failed.counts:
            with suppress(_StepFailed):
                attempts = self._step(COUNT, study_uid, lambda: self._steps.failed(study_uid, failed.reason))
        told = {"study_instance_uid": study_uid, "reason": failed.reason, "attempts": attempts}
        if attempts < self._runner.pace.attempts:
            _log.warning("migration_failed", **told)
        else:
            _log.error("migration_set_aside", **told)
        return {"failed": failed.reason, "attempts": attempts}

    def _step(self, name: str, study_uid: str, call: Callable[[], Any]) -> Any:
        """Run a step, or take what it came to before. Raises _StepFailed."""
        from dbos import DBOS, error  # noqa: PLC0415

        try:
            told = DBOS.run_step({"name": name}, lambda: self._runner.run(name, study_uid, call))
        except (error.DBOSWorkflowCancelledError, error.DBOSWorkflowConflictIDError):
            # Another worker has it now. DBOS would keep this thread until that one is done.
            raise Suspended from None
        if "reason" in told:
            raise _StepFailed(told["reason"], counts=told["counts"])
        return told["value"]

    @contextmanager
    def _holding(self) -> Iterator[None]:
        from dbos import DBOS  # noqa: PLC0415

        workflow_id = DBOS.workflow_id
        assert workflow_id is not None
        self._in_hand.add(workflow_id)
        try:
            yield
        finally:
            self._in_hand.discard(workflow_id)


class _Engine:
    """DBOS, as the feeder sees it: through a client, which says that a database is away, where DBOS waits for it."""

    def __init__(self, client: DBOSClient) -> None:
        self._client = client

    def active(self) -> list[Flow]:
        """Return those that wait or run."""
        return self._flows(status=[*_STATES])

    def of_studies(self, study_uids: Sequence[str]) -> list[Flow]:
        """Return those of these studies that are kept, with what they came to."""
        return self._flows(workflow_id_prefix=[f"{study_uid}/" for study_uid in study_uids], load_output=True)

    def of_executor(self, name: str) -> list[Flow]:
        """Return those that run under a worker's name."""
        return self._flows(status="PENDING", executor_id=name)

    def ended_before(self, moment: datetime, limit: int) -> list[Flow]:
        """Return some that ended before a moment."""
        return self._flows(status=[*_ENDED], completed_before=moment.isoformat(), limit=limit)

    def enqueue(self, name: str, flow_id: str, *values: str) -> None:
        """Let one wait for a worker; nothing happens when there is one of that id."""
        queue = {"queue_name": QUEUES[name], "workflow_name": name, "workflow_id": flow_id, "app_version": VERSION}
        self._client.enqueue(cast("EnqueueOptions", queue), *values)

    def resume(self, flow: Flow) -> None:
        """Let one wait for a worker again, which goes on after its last finished step."""
        self._client.resume_workflow(flow.id, queue_name=QUEUES[flow.name])

    def cancel(self, flow: Flow) -> None:
        """End one where it is."""
        self._client.cancel_workflow(flow.id)

    def forget(self, flows: Sequence[Flow]) -> None:
        """Delete some."""
        self._client.delete_workflows([flow.id for flow in flows])

    def _flows(self, **wanted: Any) -> list[Flow]:
        """Return workflows, without what they took and gave unless that is wanted."""
        filters = {"load_input": False, "load_output": False, **wanted}
        return [_flow(status) for status in self._client.list_workflows(name=[*QUEUES], **filters)]


class Worker:
    """A thread that migrates what is due while ``is_open``, and comes back to it whatever stopped it.

    ``system_database_url``: where workflows are kept, ``sqlite:///path`` for one worker, ``postgresql://…`` for
    several, which may come and go. ``executor_id`` names this one; each start of it is told apart.
    """

    def __init__(
        self,
        steps: MigrationSteps,
        pace: Pace,
        *,
        system_database_url: str,
        executor_id: str,
        is_open: Callable[[], bool],
        clock: Clock = utc_now,
    ) -> None:
        self._steps, self._pace, self._clock = steps, pace, clock
        self._url = system_database_url
        name = f"{executor_id}/{uuid4().hex[:8]}"
        self._here = Here(name, executors(system_database_url, name))
        self._gate = Gate(is_open)
        self._thread: threading.Thread | None = None

    def is_stopping(self) -> bool:
        """Tell whether steps are to end: they may raise Interrupted."""
        return self._gate.over.is_set()

    def start(self) -> None:
        """Start the thread; what keeps it from working is logged, and tried again."""
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Start nothing more; return when the steps at hand are done or, after the grace, given up to be run again."""
        self._gate.shut(grace_seconds)
        if self._thread is not None:
            self._thread.join(grace_seconds + _STOP_SECONDS)
            if self._thread.is_alive():
                _log.warning("worker_given_up", executor=self._here.name)
        _let_go_of_threads()
        self._here.executors.close()

    def _run(self) -> None:
        while not self.is_stopping():
            try:
                if self._here.executors.hold():
                    self._work()
                else:
                    _log.warning("workflows_in_use", executor=self._here.name)
            except Exception as exc:  # the worker's edge: the database comes back, or somebody reads the log
                _log.error("worker_failed", exc_info=exc)
            self._gate.over.wait(self._pace.pause)

    def _work(self) -> None:
        """Run until the worker stops, or its database fails for long enough to begin anew."""
        failed = 0
        with self._launched() as engine:
            feeder = Feeder(self._steps, self._pace, self._gate, self._clock, self._here, engine)
            while failed < _TICKS_FAILED and not self._gate.over.wait(self._pace.pause if failed else self._pace.tick):
                try:
                    feeder.tick()
                    failed = 0
                except Exception as exc:  # the worker's edge, as above
                    failed = 1 if self._here.in_hand else failed + 1
                    _log.error("worker_failed", exc_info=exc)
            while self._here.in_hand and not self._gate.is_late(_STUCK_SECONDS):
                threading.Event().wait(0.02)

    @contextmanager
    def _launched(self) -> Iterator[_Engine]:
        """Have DBOS run until the block ends; what it left is then for whoever comes next."""
        from dbos import DBOS  # noqa: PLC0415

        _keep_quiet()
        _Workflows(self._steps, StepRunner(self._pace, self._gate), self._here.in_hand).register()
        DBOS(config=_config(self._url, self._here.name, self._pace))
        try:
            DBOS.launch()
            _queue(MIGRATE, self._pace.concurrency, self._pace.poll)
            _queue(TRIM, 1, self._pace.tick)
            with _client(self._url) as client:
                _log.info("worker_started", executor=self._here.name)
                yield _Engine(client)
        finally:
            DBOS.destroy(destroy_registry=True)
            _let_go_of_threads()
        self._hand_back()
        _log.info("worker_stopped", executor=self._here.name)

    def _hand_back(self) -> None:
        """Let what was suspended wait as if it had never been begun: no worker died of it."""
        with _client(self._url) as client:
            engine = _Engine(client)
            for flow in engine.of_executor(self._here.name):
                engine.resume(flow)


def _config(url: str, executor_id: str, pace: Pace) -> DBOSConfig:
    """Return what DBOS is told: to listen to nobody, to tell nobody, to keep JSON and no pickles."""
    from dbos import DBOSPortableJSONSerializer  # noqa: PLC0415

    return {
        "name": APPLICATION,
        "system_database_url": url,
        "application_version": VERSION,
        "executor_id": executor_id,
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "ERROR",  # it warns at every look while its database is away
        "enable_otlp": False,
        "sys_db_pool_size": pace.concurrency + 6,
        "scheduler_polling_interval_sec": 3600.0,
    }


def _queue(name: str, at_once: int, poll_seconds: float) -> None:
    """Have DBOS look at a queue; the worker that started last says how much each worker takes from it at once."""
    from dbos import DBOS  # noqa: PLC0415

    DBOS.register_queue(
        QUEUES[name],
        worker_concurrency=at_once,
        polling_interval_sec=poll_seconds,
        on_conflict="always_update",
    )


def _keep_quiet() -> None:
    """Let what DBOS logs go where all logs go; without a handler it writes to the terminal by itself."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _let_go_of_threads() -> None:
    """Let the process end without the threads of DBOS: a database that is away, or another worker, may keep them.

    They are daemons, but Python waits for those of every pool all the same, and has no public way to ask it not to.
    """
    waited_for: dict[threading.Thread, object] = getattr(pool, "_threads_queues", {})
    for thread in threading.enumerate():
        if thread.name.startswith(_THREADS):
            waited_for.pop(thread, None)


def _flow(status: WorkflowStatus) -> Flow:
    state = _STATES.get(status.status, "ended")
    since = {"waiting": status.created_at, "running": status.dequeued_at, "ended": status.completed_at}[state]
    return Flow(
        status.workflow_id,
        status.name,
        state,
        executor=status.executor_id,
        is_current=status.app_version == VERSION,
        went_well=isinstance(status.output, dict) and "migrated" in status.output,
        since=None if since is None else datetime.fromtimestamp(since / 1000, UTC),
    )


@contextmanager
def _client(url: str) -> Iterator[DBOSClient]:
    from dbos import DBOSClient, DBOSPortableJSONSerializer  # noqa: PLC0415

    _keep_quiet()
    client = DBOSClient(
        system_database_url=url,
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION,
        retry_connection_errors=False,
    )
    try:
        yield client
    finally:
        client.destroy()


def list_jobs(url: str) -> list[Job]:
    """Return the studies that workers have or will have, those that run first. Raises WorkflowsUnavailable."""
    file = database_file(url)
    if file is not None and not file.exists():
        return []
    try:
        with _client(url) as client:
            found = [flow for flow in _Engine(client).active() if flow.name == MIGRATE]
    except Exception as exc:  # the worker's edge: whatever the database has to say
        origin = getattr(exc, "orig", None)
        if getattr(origin, "sqlstate", None) == _NO_TABLE or str(origin).startswith("no such table"):
            return []  # no worker has run yet
        raise WorkflowsUnavailable(reason=type(exc).__name__) from exc
    flows = sorted(found, key=lambda flow: (flow.state, flow.since))
    return [Job(flow.study_uid, flow.state, flow.since, flow.executor) for flow in flows]
