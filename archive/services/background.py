"""Long work that somebody started and may look at again, under a number; must not know what the work is.

It lives as long as the process, whose end it does not delay: what that cuts off is such that it can be started again, a
destruction goes on from the ledger, a check begins anew.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from archive import logs
from archive.clock import Clock
from archive.errors import ArchiveError, NoSuchResource, TooManyRequests
from archive.services.people import Person
from archive.services.reports import Progress

_log = logs.get(__name__)
_THREADS: Final = 2
_KEPT: Final = 200
_MOST_RUNNING: Final = 8


@dataclass(slots=True)
class Work:
    """One piece of work; ``result`` is what it returned, ``error`` what it failed with: either one once it is over."""

    work_id: str
    kind: str
    subject: str
    by: str
    started_at: datetime
    done: int = 0
    total: int = 0
    ended_at: datetime | None = None
    result: Any = None
    error: ArchiveError | None = None
    is_broken: bool = False

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended, well or not."""
        return self.ended_at is not None

    def advance(self, done: int, total: int) -> None:
        """Note how far it is."""
        self.done, self.total = done, total


@dataclass(slots=True)
class Background:
    """Runs work, two pieces at a time, and remembers the last ones."""

    clock: Clock
    _works: OrderedDict[str, Work] = field(default_factory=OrderedDict)
    _alone: threading.Lock = field(default_factory=threading.Lock)
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_THREADS))
    _is_over: bool = False

    def start(self, kind: str, subject: str, by: Person, run: Callable[[Progress], object]) -> Work:
        """Start work and return it; the same kind on the same subject that still runs is returned instead.

        Raises TooManyRequests when too much is running or waiting.
        """
        with self._alone:
            running = [work for work in self._works.values() if not work.is_over]
            same = next((work for work in running if (work.kind, work.subject) == (kind, subject)), None)
            if same is not None:
                return same
            if len(running) >= _MOST_RUNNING:
                raise TooManyRequests(reason="too much long work")
            work = Work(secrets.token_urlsafe(12), kind, subject, by.name, self.clock())
            self._works[work.work_id] = work
            while len(self._works) > _KEPT and next(iter(self._works.values())).is_over:
                self._works.popitem(last=False)
        threading.Thread(target=self._run, args=(work, run), name="background", daemon=True).start()
        return work

    def get(self, work_id: str, who: Person) -> Work:
        """Return work that a person started. Raises NoSuchResource."""
        work = self._works.get(work_id)
        if work is None or work.by != who.name:
            raise NoSuchResource(reason="this work is not known any more: look at what it was about")
        return work

    def stop(self) -> None:
        """Start nothing more; what runs is not waited for."""
        self._is_over = True

    def _run(self, work: Work, run: Callable[[Progress], object]) -> None:
        with self._places:
            if not self._is_over:
                self._finish(work, run)

    def _finish(self, work: Work, run: Callable[[Progress], object]) -> None:
        try:
            work.result = run(work.advance)
        except ArchiveError as exc:
            work.error = exc
            _log.warning("work_refused", kind=work.kind, reason=type(exc).__name__)
        except Exception as exc:
            work.is_broken = True
            _log.error("work_failed", kind=work.kind, exc_info=exc)
        finally:
            work.ended_at = self.clock()
