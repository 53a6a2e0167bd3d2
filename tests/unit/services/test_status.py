"""What drimbox status tells is what is there."""

from __future__ import annotations

import hashlib
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from archive.errors import UnreadableDataset
from archive.index import associations, probes
from archive.index.probes import Probed
from archive.index.records import AssociationSummary
from archive.services import reports
from archive.services.arrival_watch import ArrivalWatch
from archive.services.drops import DropRules
from archive.services.status import LAST_ASSOCIATIONS, Status
from tests.objects import ct_dataset
from tests.unit.services.rig import Rig, open_rig
from tests.unit.services.shelf import NOON


def status(rig: Rig) -> reports.StatusReport:
    """Return the report."""
    rig.committer.barrier()
    watch = ArrivalWatch(rig.database, DropRules(min_expected=1), UTC)
    folders = rig.root, rig.hot
    return Status(rig.database, rig.disk, *folders, "sqlite:///index.db", arrivals=watch, clock=rig.clock).report()


def test_an_empty_archive_says_so(tmp_path: Path) -> None:
    """All counts are zero, and there is room."""
    with open_rig(tmp_path) as rig:
        report = status(rig)
    assert (report.home, report.database) == (str(tmp_path), "sqlite:///index.db")
    assert (report.patients, report.studies, report.series, report.instances, report.size_bytes) == (0, 0, 0, 0, 0)
    assert (report.quarantined, report.unsealed_folders, dict(report.studies_by_site)) == (0, 0, {})
    assert list(report.associations) == []
    assert report.free_bytes > 0


def test_what_is_stored_is_counted_at_every_level(tmp_path: Path) -> None:
    """Bytes are those of the files on disk, headers included."""
    with open_rig(tmp_path) as rig:
        for number, study, series in ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 1)):
            rig.send(ct_dataset(number, study=study, series=series))
        with pytest.raises(UnreadableDataset):
            rig.send(hashlib.sha256(b"").digest() * 9, "2.25.7")
        report = status(rig)
        assert (report.patients, report.studies, report.series, report.instances) == (2, 2, 3, 4)
        assert report.size_bytes == sum(path.stat().st_size for path in rig.hot.rglob("*.dcm"))
        assert (report.quarantined, report.unsealed_folders) == (1, 1)
        assert dict(report.studies_by_site) == {"default": 2}


def test_the_last_associations_come_latest_first(tmp_path: Path) -> None:
    """A bounded number of them, with what they did."""
    with open_rig(tmp_path) as rig:
        with rig.database.write(synced=False) as connection:
            for number in range(LAST_ASSOCIATIONS + 3):
                at = NOON + timedelta(minutes=number)
                summary = AssociationSummary(
                    f"CT{number}", "DRIMBOX", "192.0.2.7", at, at + timedelta(seconds=9), "released", stored=number
                )
                associations.add(connection, summary)
        told = status(rig).associations
        assert len(told) == LAST_ASSOCIATIONS
        assert [one.stored for one in told] == list(range(LAST_ASSOCIATIONS + 2, 2, -1))
        assert told[0] == reports.AssociationSummary(
            calling_ae_title="CT12",
            called_ae_title="DRIMBOX",
            peer_address="192.0.2.7",
            started_at=NOON + timedelta(minutes=12),
            ended_at=NOON + timedelta(minutes=12, seconds=9),
            outcome="released",
            stored=12,
        )


def test_what_dropped_and_what_was_measured_is_told(tmp_path: Path) -> None:
    """A modality that fell silent, and the probes of the last days."""
    with open_rig(tmp_path) as rig:
        for week in range(1, 5):
            rig.clock.now = NOON - timedelta(weeks=week)
            rig.send(ct_dataset(week))
        with rig.database.write(synced=False) as connection:
            probes.add(connection, Probed(NOON, "hot", "default", 600, 1, 120, 3400, ""))
        rig.clock.now = NOON + timedelta(hours=3)
        report = status(rig)
    assert [(drop.modality, drop.got, drop.expected) for drop in report.drops] == [("CT", 0, 1)]
    assert [(each.tier, each.kept, each.first_ms) for each in report.probes] == [("hot", 1, (120, 120, 120))]
