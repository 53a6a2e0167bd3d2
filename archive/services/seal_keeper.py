"""Seals and trims by itself while the archive serves, at most half of the time; must not decide what is sealed."""

from __future__ import annotations

import threading
from datetime import datetime
from time import monotonic
from typing import Final

from archive import logs
from archive.errors import ArchiveError
from archive.index.packs import newest_instance
from archive.services.seal import Sealer
from archive.services.trim import Trimmer

_log = logs.get(__name__)
_PAUSE_SECONDS: Final = 60.0
_STUDIES: Final = 4
_FILES: Final = 1024


class SealKeeper:
    """A thread that seals a few studies, trims some received files, and rests for as long as that took, or a minute.

    Once all that was quiet is sealed, only studies are looked for that something came for since.
    """

    def __init__(self, sealer: Sealer, trimmer: Trimmer, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._sealer = sealer
        self._trimmer = trimmer
        self._pause_seconds = pause_seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._marks: list[tuple[datetime, int]] = []
        self._since_instance = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when the series at hand is done."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            started = monotonic()
            is_idle = self._turn()
            pause = self._pause_seconds if is_idle else monotonic() - started

    def _turn(self) -> bool:
        """Do a little; tell whether there was nothing to do."""
        try:
            self._note_newest()
            before = self._sealer.clock() - self._sealer.quiet
            sealed = self._sealer.run(most=_STUDIES, since_instance=self._since_instance, is_over=self._over.is_set)
            if sealed.is_complete and not sealed.packs:
                self._look_only_behind(before)
            trimmed = self._trimmer.run(most=_FILES)
        except ArchiveError as exc:
            _log.warning("sealing_failed", exc_info=exc)
            return True
        if sealed.packs or trimmed.trimmed:
            _log.info(
                "studies_sealed",
                packs=sealed.packs,
                instances=sealed.instances,
                received_bytes=sealed.received_bytes,
                packed_bytes=sealed.packed_bytes,
                trimmed=trimmed.trimmed,
            )
        return not sealed.packs and not trimmed.trimmed

    def _note_newest(self) -> None:
        """Remember which instance is the newest at this moment."""
        with self._sealer.committer.read() as connection:
            newest = newest_instance(connection)
        if not self._marks or self._marks[-1][1] < newest:
            self._marks.append((self._sealer.clock(), newest))

    def _look_only_behind(self, before: datetime) -> None:
        """What was there at a moment before ``before`` was quiet or has something newer: look only behind that."""
        while self._marks and self._marks[0][0] < before:
            self._since_instance = self._marks.pop(0)[1]
