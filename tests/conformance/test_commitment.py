"""Storage commitment with pynetdicom as the modality: reports on its association, on ours, after restarts."""

from __future__ import annotations

import logging
import queue
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from benchmarks import wire
from tests.archive_process import ArchiveProcess, running_archive
from tests.dcmtk import free_port, storescu
from tests.objects import CT_IMAGE, ROOT, write_series
from tests.raw_scu import EVENT_TYPE, RawModality, read_report

MODALITY, HASTY, LATER = "MODALITY", "HASTY", "LATER"
SECONDS = 20


@dataclass(frozen=True)
class Report:
    """One N-EVENT-REPORT as the modality got it; ``is_ours``: on the association it had opened itself."""

    event_type: int
    transaction: str
    committed: Sequence[str]
    failed: dict[str, int]
    retrieve_ae_title: str
    is_ours: bool


@dataclass
class Modality:
    """A commitment SCU: it asks, and it takes reports on any association."""

    ae_title: str = MODALITY
    status: int = 0x0000
    reports: queue.Queue[Report] = field(default_factory=queue.Queue)
    roles: list[tuple[bool, bool]] = field(default_factory=list)

    def take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Note a report and confirm it."""
        report = _report_of(event.event_information, event.event_type or 0, is_ours=event.assoc.is_requestor)
        self.roles += [(bool(context.as_scu), bool(context.as_scp)) for context in event.assoc.accepted_contexts[:1]]
        self.reports.put(report)
        return self.status, None

    @contextmanager
    def connected(self, archive: ArchiveProcess) -> Iterator[Association]:
        """Lend an association to the archive for commitment."""
        ae = AE(ae_title=self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        ae.add_requested_context(Verification)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, self.take)]
        association = ae.associate(archive.host, archive.port, ae_title=archive.ae_title, evt_handlers=handlers)
        assert association.is_established
        try:
            yield association
        finally:
            association.release()

    @contextmanager
    def listening(self, port: int) -> Iterator[None]:
        """Take reports on associations that the archive opens."""
        ae = AE(ae_title=self.ae_title)
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)])
        assert server is not None
        try:
            yield
        finally:
            server.shutdown()

    def ask(self, association: Association, uids: Sequence[str], *, action: int = 1) -> tuple[int, str]:
        """Request commitment; return the status and the transaction."""
        information = Dataset()
        information.TransactionUID = generate_uid()
        information.ReferencedSOPSequence = [_item(uid) for uid in uids]
        status, _ = association.send_n_action(
            information, action, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return status.Status, information.TransactionUID

    def report(self, seconds: float = SECONDS) -> Report:
        """Wait for the next report."""
        return self.reports.get(timeout=seconds)


def _report_of(information: Dataset, event_type: int, *, is_ours: bool) -> Report:
    failures = information.get("FailedSOPSequence", [])
    return Report(
        event_type,
        information.TransactionUID,
        [item.ReferencedSOPInstanceUID for item in information.get("ReferencedSOPSequence", [])],
        {item.ReferencedSOPInstanceUID: item.FailureReason for item in failures},
        information.RetrieveAETitle,
        is_ours,
    )


def _told(report: wire.Message) -> Report:
    """Return what a report on the modality's own association says."""
    return _report_of(read_report(report), int(report.command[EVENT_TYPE]), is_ours=True)


def _confirm_all(modality: RawModality) -> list[Report]:
    """Confirm the reports that came so far, and return what they say."""
    told = []
    while modality.reports:
        report = modality.report()
        modality.confirm(report)
        told.append(_told(report))
    return told


def _item(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_IMAGE, uid
    return item


@dataclass(frozen=True)
class Stage:
    """A running archive that knows some modalities, three stored images, and where the modalities listen."""

    archive: ArchiveProcess
    uids: Sequence[str]
    ports: dict[str, int]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """MODALITY and HASTY take reports anywhere, LATER only on our associations; others are unknown."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    root = tmp_path_factory.mktemp("commitment")
    ports = {name: free_port() for name in (MODALITY, HASTY, LATER)}
    files = write_series(root / "objects", 3)
    with running_archive(root / "home", config=_config(ports)) as archive:
        assert storescu(archive, *files).returncode == 0
        yield Stage(archive, [f"{ROOT}.1.1.{number}" for number in (1, 2, 3)], ports)


def _config(ports: dict[str, int]) -> str:
    peers = (
        f'[[dicom.peers]]\nae_title = "{name}"\nhost = "127.0.0.1"\nport = {port}\n'
        f"commitment_same_association = {str(name != LATER).lower()}\n"
        for name, port in ports.items()
    )
    return "".join(peers)


def _wait_journalled(archive: ArchiveProcess, transaction: str) -> str:
    """Return the journal's body about a transaction."""
    query = "SELECT body FROM audit WHERE event = 'committed' AND body LIKE ?"
    return str(*archive.index_row(query, f'%"{transaction}"%'))


def test_stored_objects_are_committed_on_the_same_association(stage: Stage) -> None:
    """N-ACTION succeeds, the report comes on the modality's own association with everything it asked for."""
    modality = Modality()
    with modality.connected(stage.archive) as association:
        status, transaction = modality.ask(association, stage.uids)
        assert status == 0x0000
        report = modality.report()
        # pynetdicom may release before its confirmation is out: it stays until the archive has it.
        assert '"committed":3,"failed":0,"report":"delivered"' in _wait_journalled(stage.archive, transaction)
    assert report == Report(1, transaction, list(stage.uids), {}, "DRIMBOX", True)


def test_a_modality_nobody_configured_is_served_on_its_association(stage: Stage) -> None:
    """An unknown AE title has no address, and needs none while it waits."""
    modality = Modality("STRANGER")
    with modality.connected(stage.archive) as association:
        modality.ask(association, stage.uids[:1])
        assert modality.report().committed == [stage.uids[0]]


def test_failures_are_listed_with_their_reasons(stage: Stage, tmp_path: Path) -> None:
    """An object the archive never had, and one whose file rots on the disk: event type 2, the rest is committed."""
    (path,) = write_series(tmp_path, 1, study=66)
    assert storescu(stage.archive, path).returncode == 0
    rotten = f"{ROOT}.66.1.1"
    _damage(stage.archive, rotten)
    modality = Modality()
    with modality.connected(stage.archive) as association:
        modality.ask(association, [stage.uids[0], "1.2.3.4", rotten])
        report = modality.report()
    assert (report.event_type, list(report.committed)) == (2, [stage.uids[0]])
    assert report.failed == {"1.2.3.4": 0x0112, rotten: 0x0110}


def _damage(archive: ArchiveProcess, uid: str) -> None:
    """Flip the last byte of an object's file."""
    path = archive.file_of(uid)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def test_a_modality_that_does_not_wait_gets_an_association_of_ours(stage: Stage) -> None:
    """It releases at once: it gets its report before it is gone, or the archive calls it and reports there."""
    modality = Modality()
    with modality.listening(stage.ports[MODALITY]):
        with modality.connected(stage.archive) as association:
            _, transaction = modality.ask(association, stage.uids)
        report = modality.report(60)
    assert report.transaction == transaction
    assert list(report.committed) == list(stage.uids)


def test_a_modality_that_wants_reports_elsewhere_gets_them_there(stage: Stage) -> None:
    """With commitment_same_association off, nothing comes on the modality's own association."""
    modality = Modality(LATER)
    with modality.listening(stage.ports[LATER]), modality.connected(stage.archive) as association:
        _, transaction = modality.ask(association, stage.uids)
        report = modality.report()
        assert '"report":"delivered"' in _wait_journalled(stage.archive, transaction)
    assert report == Report(1, transaction, list(stage.uids), {}, "DRIMBOX", False)
    assert modality.roles == [(True, False)]


def test_other_requests_go_on_around_a_report(stage: Stage) -> None:
    """Echoes and a second request before the report is confirmed: all are answered; then the second report comes.

    Both reports come on the modality's own association, one at a time: no asynchronous operations were negotiated.
    """
    with RawModality(stage.archive, MODALITY, seconds=SECONDS) as modality:
        first = modality.ask(stage.uids)
        report = modality.report()
        assert modality.echo() == 0x0000
        second = modality.ask(stage.uids[:1])
        assert modality.echo() == 0x0000
        assert not modality.reports
        modality.confirm(report)
        other = modality.report()
        assert modality.echo() == 0x0000
        modality.confirm(other)
        assert modality.echo() == 0x0000
        assert not modality.reports
    assert _told(report) == Report(1, first, list(stage.uids), {}, "DRIMBOX", True)
    assert _told(other) == Report(1, second, list(stage.uids[:1]), {}, "DRIMBOX", True)
    for transaction, committed in ((first, 3), (second, 1)):
        journalled = _wait_journalled(stage.archive, transaction)
        assert f'"committed":{committed},"failed":0,"report":"delivered"' in journalled


def test_a_modality_that_goes_on_at_once_gets_both_reports(stage: Stage) -> None:
    """It never waits for a report: all is answered, and each report comes once, there or on an association of ours.

    Which of the two depends on whether the objects were read before the modality spoke again.
    """
    elsewhere = Modality(HASTY)
    with elsewhere.listening(stage.ports[HASTY]):
        with RawModality(stage.archive, HASTY, seconds=SECONDS) as modality:
            asked, told = {}, []
            for uids in (stage.uids, stage.uids[:1]):
                asked[modality.ask(uids)] = list(uids)
                assert modality.echo() == 0x0000
                told += _confirm_all(modality)
            assert modality.echo() == 0x0000
            assert not modality.reports
        told += [elsewhere.report() for _ in range(len(asked) - len(told))]
    assert {report.transaction: list(report.committed) for report in told} == asked
    assert elsewhere.reports.empty()


def test_a_request_for_thousands_of_objects_is_answered_quickly(stage: Stage) -> None:
    """Twenty thousand objects: acknowledged and reported within seconds, and nobody else waits meanwhile."""
    modality, other = Modality(), Modality("OTHER")
    unknown = [f"1.2.{number}" for number in range(20_000)]
    with modality.connected(stage.archive) as association, other.connected(stage.archive) as echoing:
        started = time.monotonic()
        status, _ = modality.ask(association, [*stage.uids, *unknown])
        assert status == 0x0000
        assert echoing.send_c_echo().Status == 0x0000
        report = modality.report(60)
        assert time.monotonic() - started < 30
    assert list(report.committed) == list(stage.uids)
    assert len(report.failed) == 20_000


def test_an_unknown_action_is_refused(stage: Stage) -> None:
    """There is one action, 1; anything else is 0123 and nothing is reported."""
    modality = Modality()
    with modality.connected(stage.archive) as association:
        status, _ = modality.ask(association, stage.uids, action=2)
        assert status == 0x0123
        status, _ = modality.ask(association, [])
        assert status == 0x0115
        assert association.send_c_echo().Status == 0x0000
    assert modality.reports.empty()


@pytest.mark.parametrize("ends", ["stop", "kill"])
def test_a_request_survives_the_archive(tmp_path: Path, ends: str) -> None:
    """Acknowledged, then the archive ends before it could report: the next run reports."""
    port = free_port()
    config = _config({LATER: port})
    modality = Modality(LATER)
    files = write_series(tmp_path / "objects", 2)
    uids = [f"{ROOT}.1.1.{number}" for number in (1, 2)]
    with running_archive(tmp_path / "home", config=config) as archive:
        assert storescu(archive, *files).returncode == 0
        with modality.connected(archive) as association:
            status, transaction = modality.ask(association, uids)
            assert status == 0x0000
        getattr(archive, ends)()
    assert modality.reports.empty()
    _make_due(tmp_path / "home")
    with modality.listening(port), running_archive(tmp_path / "home", config=config):
        report = modality.report()
    assert (report.transaction, list(report.committed), report.is_ours) == (transaction, uids, False)


def _make_due(home: Path) -> None:
    """Let the time until the next attempt pass."""
    with sqlite3.connect(home / "index.db") as index:
        changed = index.execute("UPDATE commitment SET next_attempt_at = requested_at WHERE reported_at IS NULL")
        assert changed.rowcount == 1


def test_a_modality_that_is_down_is_tried_again(tmp_path: Path) -> None:
    """Nobody listens at its address: the request waits, and the log says why without a patient's name."""
    port = free_port()
    modality = Modality(LATER)
    files = write_series(tmp_path / "objects", 1)
    with running_archive(tmp_path / "home", config=_config({LATER: port})) as archive:
        assert storescu(archive, *files).returncode == 0
        with modality.connected(archive) as association:
            modality.ask(association, [f"{ROOT}.1.1.1"])
        deadline = time.monotonic() + SECONDS
        while "commitment_not_delivered" not in archive.log() and time.monotonic() < deadline:
            time.sleep(0.05)
        log = archive.log()
    assert "commitment_not_delivered" in log
    assert "LATER could not be reached" in log
    assert "MOREAU" not in log
