"""A command line to call and an archive to call it on, both in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from archive import bootstrap
from archive.cli import root
from archive.config import Settings
from archive.errors import ArchiveError
from archive.services.reports import (
    AddColdReport,
    AssociationSummary,
    AuditItem,
    AuditReport,
    ImportReport,
    Offline,
    Progress,
    QuarantineItem,
    RebuildReport,
    StatusReport,
    VerifyReport,
    VerifyWanted,
)

MOMENT = datetime(2026, 11, 23, 6, 35, 29, 123456, tzinfo=UTC)
Drimbox = Callable[..., Result]


@dataclass
class FakeOffline:
    """Answers what a test told it to, and remembers what it was asked and whether it was closed."""

    status_report: StatusReport
    verify_report: VerifyReport = field(default_factory=lambda: VerifyReport(12, (), ()))
    rebuild_report: RebuildReport = field(default_factory=lambda: RebuildReport(12, 1, ()))
    add_cold_report: AddColdReport = field(default_factory=lambda: AddColdReport(packs=2, instances=9))
    import_report: ImportReport = field(default_factory=lambda: ImportReport(3, 2, 0, (), 1))
    audit_report: AuditReport = field(default_factory=lambda: AuditReport(9, "ab" * 32, 4, "cd" * 32))
    audit_items: Sequence[AuditItem] = ()
    quarantine_items: Sequence[QuarantineItem] = ()
    error: BaseException | None = None
    settings: Settings | None = None
    closed: int = 0
    asked: list[object] = field(default_factory=list)

    def status(self) -> StatusReport:
        """Answer, or raise what the test told."""
        self._note("status")
        return self.status_report

    def verify(self, progress: Progress, wanted: VerifyWanted) -> VerifyReport:
        """Answer after telling progress to the half and to the end."""
        self._note("verify" if wanted == VerifyWanted() else ("verify", wanted))
        progress(6, 12)
        progress(12, 12)
        return self.verify_report

    def add_cold(self, progress: Progress) -> AddColdReport:
        """Answer after telling progress without a known total."""
        self._note("add_cold")
        progress(1, 0)
        return self.add_cold_report

    def rebuild_index(self, progress: Progress, *, hot_only: bool = False) -> RebuildReport:
        """Answer after telling progress without a known total."""
        self._note("rebuild_index of hot copies" if hot_only else "rebuild_index")
        progress(1, 0)
        return self.rebuild_report

    def import_paths(self, paths: Sequence[Path], progress: Progress) -> ImportReport:
        """Answer and remember the paths."""
        self._note(("import_paths", tuple(paths)))
        progress(1, 1)
        return self.import_report

    def verify_audit(self) -> AuditReport:
        """Answer, or raise what the test told."""
        self._note("verify_audit")
        return self.audit_report

    def iter_audit(self, event: str | None, limit: int) -> Iterator[AuditItem]:
        """Stream the entries of the test."""
        self._note(("iter_audit", event, limit))
        yield from self.audit_items

    def iter_quarantine(self) -> Iterator[QuarantineItem]:
        """Stream the objects of the test."""
        self._note("iter_quarantine")
        yield from self.quarantine_items

    def _note(self, what: object) -> None:
        if self.closed:
            raise AssertionError("the archive is closed already")
        self.asked.append(what)
        if self.error is not None:
            raise self.error


@pytest.fixture
def association() -> AssociationSummary:
    """One association that stored three objects."""
    return AssociationSummary("CT1", "DRIMBOX", "10.0.0.7", MOMENT, MOMENT, "released", stored=3, bytes_in=1536)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, association: AssociationSummary) -> FakeOffline:
    """Replace the offline archive by a fake one."""
    status = StatusReport(
        home="/srv/home",
        database="sqlite",
        patients=2,
        studies=3,
        series=4,
        instances=500,
        size_bytes=3 * 1024 * 1024,
        free_bytes=5 * 1024**3,
        quarantined=1,
        unsealed_folders=0,
        studies_by_site={"CHU": 2, "Cabinet Nord": 1},
        associations=(association,),
    )
    fake = FakeOffline(status)

    @contextmanager
    def open_offline(settings: Settings) -> Iterator[Offline]:
        fake.settings = settings
        try:
            yield fake
        finally:
            fake.closed += 1

    monkeypatch.setattr(bootstrap, "open_offline", open_offline)
    return fake


@pytest.fixture
def drimbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Drimbox]:
    """Give a function that runs ``drimbox ARGS`` in an empty folder with only the given DRIMBOX_ variables."""
    for name in os.environ:
        if name.upper().startswith("DRIMBOX_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    handlers = list(logging.getLogger().handlers)
    level = logging.getLogger().level

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
        return CliRunner().invoke(root, arguments, env=env, prog_name="drimbox")

    yield run
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def fails_with(archive: FakeOffline) -> Callable[[ArchiveError], None]:
    """Give a function that makes every request to the offline archive raise an error."""

    def fail(error: ArchiveError) -> None:
        archive.error = error

    return fail
