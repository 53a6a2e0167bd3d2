"""Steps of a migration that move nothing but files in a folder, which says what was called and what it came to."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from archive.errors import FixityError, StorageFailed

T = TypeVar("T")
SERIES = 3
CANARY = "DUPONT^MARIE"


FAULTS: Mapping[str, Callable[[], Exception]] = {
    "final": lambda: FixityError(key="20261127/1/7", reason="other bytes"),
    "retryable": lambda: StorageFailed(reason="the store is away"),
    "foreign": lambda: ValueError(CANARY),
    "timeout": lambda: TimeoutError(CANARY),
    "disk full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), CANARY),
}


class FakeSteps:
    """A folder that stands for an archive.

    ``due`` lists the studies; ``calls`` grows by a line for each beginning and each end; ``cold`` and ``switched`` hold
    what was done; ``fault/CALL`` says how a call fails, ``block/CALL`` keeps it from going on before it has done
    anything, ``late/CALL`` keeps it from returning. A call is ``prepare.STUDY.SERIES``, ``switch.STUDY`` and the like.
    """

    def __init__(self, folder: Path, *, attempts: int = 3) -> None:
        self.folder, self.attempts = folder, attempts
        for name in ("cold", "switched", "failures", "fault", "block", "late"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    # ---- what a worker calls -------------------------------------------------------------------------------------

    def due(self, limit: int) -> Sequence[str]:
        """Return the studies that are neither switched nor set aside."""
        return [study_uid for study_uid in self._studies() if self._is_due(study_uid)][:limit]

    def series_of(self, study_uid: str) -> Sequence[str]:
        """Return a few series."""
        return self._call(f"series.{study_uid}", lambda: [f"{study_uid}.{n}" for n in range(1, SERIES + 1)])

    def prepare(self, study_uid: str, series_uid: str) -> Mapping[str, Any]:
        """Make the file of a series."""
        path = self.folder / "cold" / series_uid
        return self._call(f"prepare.{series_uid}", lambda: {"series": series_uid, "size": path.write_text("cold")})

    def switch(self, study_uid: str, prepared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Make the file of a study, which says what was prepared."""
        path = self.folder / "switched" / study_uid
        return self._call(f"switch.{study_uid}", lambda: {"bytes": path.write_text(json.dumps(prepared))})

    def trim(self) -> Mapping[str, Any]:
        """Do nothing."""
        return self._call("trim", lambda: {"trimmed": 0})

    def failed(self, study_uid: str, reason: str) -> int:
        """Note the reason; return how many there are."""
        with (self.folder / "failures" / study_uid).open("a") as file:
            file.write(f"{reason}\n")
        return len(self.failures(study_uid))

    # ---- what a test asks ----------------------------------------------------------------------------------------

    def make_due(self, *study_uids: str) -> None:
        """Let studies be due."""
        with (self.folder / "due").open("a") as file:
            file.writelines(f"{study_uid}\n" for study_uid in study_uids)

    def put(self, kind: str, call: str, text: str = "") -> None:
        """Let calls fail (``fault``) or wait (``block``, ``late``)."""
        (self.folder / kind / call).write_text(text)

    def take(self, kind: str, call: str) -> None:
        """Let them not any more."""
        (self.folder / kind / call).unlink()

    def calls(self, phase: str = "begin") -> list[str]:
        """Return the calls that began, or came to their end, in their order."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{phase} ")]

    def switched(self) -> list[str]:
        """Return the studies that were switched."""
        return sorted(path.name for path in (self.folder / "switched").iterdir())

    def failures(self, study_uid: str) -> list[str]:
        """Return why a study failed, each time."""
        path = self.folder / "failures" / study_uid
        return path.read_text().splitlines() if path.exists() else []

    # ---- inside --------------------------------------------------------------------------------------------------

    def _studies(self) -> list[str]:
        path = self.folder / "due"
        return path.read_text().splitlines() if path.exists() else []

    def _is_due(self, study_uid: str) -> bool:
        is_done = (self.folder / "switched" / study_uid).exists()
        return not is_done and len(self.failures(study_uid)) < self.attempts

    def _call(self, name: str, work: Callable[[], T]) -> T:
        self._note(f"begin {name}")
        self._wait_while(self.folder / "block" / name)
        fault = self.folder / "fault" / name
        if fault.exists():
            self._fail(fault.read_text())
        done = work()
        self._wait_while(self.folder / "late" / name)
        self._note(f"end {name}")
        return done

    def _fail(self, kind: str) -> None:
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise FAULTS[kind]()

    def _note(self, line: str) -> None:
        descriptor = os.open(self.folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def _wait_while(self, path: Path) -> None:
        while path.exists():
            time.sleep(0.01)
