"""Whether the archive can do its work now: take an object, index it, decide; must not name what it is working on."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archive.clock import monotonic
from archive.errors import ArchiveError
from archive.services.committer import Committer

_MIB: Final = 1 << 20
_KEPT_SECONDS: Final = 2.0


@dataclass(slots=True)
class Health:
    """Looks at index, hot store and ledger; asked more often than every two seconds it answers what it saw.

    ``free_bytes`` says how much room the hot store has. ``ledger_problem`` says what is wrong with the ledger, or "".
    """

    committer: Committer
    hot_root: Path
    free_bytes: Callable[[], int]
    min_free_bytes: int
    ledger_problem: Callable[[], str]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: Sequence[str] = ()
    _seen_at: float = float("-inf")

    def problems(self) -> Sequence[str]:
        """Return what keeps the archive from its work, nothing when it is ready."""
        with self._lock:
            if monotonic() - self._seen_at > _KEPT_SECONDS:
                found = (self._index(), self._hot(), self._ledger())
                self._seen, self._seen_at = [each for each in found if each], monotonic()
            return self._seen

    def _index(self) -> str:
        try:
            self.committer.check()
            self.committer.record()  # an empty transaction: it can be written, now
        except ArchiveError as exc:
            return f"index: {exc.message}"
        return ""

    def _hot(self) -> str:
        try:
            if self.free_bytes() <= self.min_free_bytes:
                return f"hot store: less than {self.min_free_bytes // _MIB} MiB are free"
            with tempfile.TemporaryFile(dir=self.hot_root) as file:
                file.write(b"\0")
        except OSError as exc:
            return f"hot store: {exc.strerror or type(exc).__name__}"
        return ""

    def _ledger(self) -> str:
        problem = self.ledger_problem()
        return f"ledger: {problem}" if problem else ""
