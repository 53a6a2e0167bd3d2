"""Takes files and folders in as if they had been sent; must not change them, nor know the command line.

The bytes of the data set are taken as they lie in the file. A second run over the same files answers "already stored"
one by one: that is how an interrupted import goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Final

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.errors import ConflictingInstance, IngestError, InvalidUid, UnreadableDataset
from archive.part10.foreign import ForeignFile, claims_part10, parse_foreign
from archive.services.arrival import Arrival
from archive.services.committer import IMPORT, Committer
from archive.services.ingest import Ingest, Outcome, Reception
from archive.services.quarantine import reason_of
from archive.services.reports import ImportReport, Progress

CALLING_AE_TITLE: Final = IMPORT
_MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Importer:
    """The way in for files; ``site`` owns what comes in, ``ae_title`` is the archive's own."""

    ingest: Ingest
    committer: Committer
    clock: Clock
    site: str
    ae_title: str

    def run(self, paths: Sequence[Path], progress: Progress) -> ImportReport:
        """Take in every DICOM file at or below ``paths``; a file that is refused does not stop the others.

        Raises StorageFull, StorageFailed and IndexUnavailable: nothing more could be taken in; run it again later.
        """
        counts = _Counts()
        total = sum(1 for _ in _iter_files(paths, []))
        for done, path in enumerate(_iter_files(paths, counts.refused), start=1):
            self._take(path, counts)
            progress(done, max(total, done))
        report = counts.report()
        body = {
            "stored": report.stored,
            "duplicates": report.duplicates,
            "conflicts": report.conflicts,
            "refused": len(report.refused),
            "skipped": report.skipped,
        }
        self.committer.record_synced(Entry(at=self.clock(), event="imported", actor=CALLING_AE_TITLE, body=body))
        return report

    def _take(self, path: Path, counts: _Counts) -> None:
        try:
            outcome = self._import(path)
        except ConflictingInstance:
            counts.conflicts += 1
        except (IngestError, InvalidUid) as exc:
            counts.refused.append((str(path), reason_of(exc)))
        except OSError as exc:
            counts.refused.append((str(path), exc.strerror or type(exc).__name__))
        else:
            counts.stored += outcome is Outcome.STORED
            counts.duplicates += outcome is Outcome.ALREADY_STORED
            counts.skipped += outcome is None

    def _import(self, path: Path) -> Outcome | None:
        """Take in one file; None when it is not a DICOM object. One that says it is, and is not, is refused by name."""
        if not path.is_file():
            return None
        with path.open("rb") as file:
            try:
                found = parse_foreign(file)
            except UnreadableDataset:
                if claims_part10(file):
                    raise
                return None
            if found.sop_class_uid == _MEDIA_DIRECTORY:
                return None
            file.seek(found.dataset_offset)
            reception = self.ingest.begin(self._arrival(found))
            try:
                _pour(file, reception)
                return reception.commit()
            finally:
                reception.abandon()

    def _arrival(self, found: ForeignFile) -> Arrival:
        return Arrival(
            sop_class_uid=found.sop_class_uid,
            sop_instance_uid=found.sop_instance_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            calling_ae_title=CALLING_AE_TITLE,
            called_ae_title=self.ae_title,
            peer_address="",
            site=self.site,
        )


@dataclass(slots=True)
class _Counts:
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    skipped: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def report(self) -> ImportReport:
        return ImportReport(self.stored, self.duplicates, self.conflicts, tuple(self.refused), self.skipped)


def _pour(file: BufferedReader, reception: Reception) -> None:
    """Stream the rest of ``file`` into the reception's own chunk."""
    while count := file.readinto(reception.room()):
        reception.filled(count)


def _iter_files(paths: Sequence[Path], refused: list[tuple[str, str]]) -> Iterator[Path]:
    """Yield files in the order of their names; what cannot be listed goes to ``refused``."""

    def tell(error: OSError) -> None:
        refused.append((str(error.filename), error.strerror or type(error).__name__))

    for path in paths:
        if not path.exists():
            refused.append((str(path), "no such file or folder"))
        elif not path.is_dir():
            yield path
        else:
            for folder, names, files in os.walk(path, onerror=tell):
                names.sort()
                yield from (Path(folder, name) for name in sorted(files))
