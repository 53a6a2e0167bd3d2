"""The composition root: settings to the wired application; must hold no rule of its own."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydicom import config as pydicom_config

from archive import bootstrap_proof, logs
from archive.audit import Entry
from archive.bootstrap_console import console_surface
from archive.bootstrap_disposal import assessor_of, disposals_of
from archive.bootstrap_http import http_server
from archive.bootstrap_login import first_link
from archive.bootstrap_monitoring import arrival_watch_of, tracing_of, watching_of
from archive.bootstrap_proof import mirror_of
from archive.bootstrap_tiering import cold_reading_of, sealer_of, trimmer_of, worker_of
from archive.clock import utc_now
from archive.config import PeerSettings, Settings, mask_url
from archive.dimse import command as dimse, tls
from archive.dimse.association import Limits
from archive.dimse.commitment import CommitmentHandler, ReportCourier
from archive.dimse.echo import handle_echo
from archive.dimse.find import FindHandler
from archive.dimse.get import GetHandler
from archive.dimse.move import MoveHandler
from archive.dimse.recorder import AssociationRecorder
from archive.dimse.requestor import Connect, Destination, request_association
from archive.dimse.server import Handler, Server
from archive.dimse.store import StoreHandler
from archive.errors import ArchiveError, ClockNotTrusted
from archive.hl7.listener import Listener
from archive.hl7.messages import text_of
from archive.hl7.receiver import Receiver, read
from archive.hl7.translate import Establishment
from archive.index import journal
from archive.opening import Core, check_home, open_core, open_existing
from archive.opening_cold import open_cold_store
from archive.services.adopt import Adopt
from archive.services.clock_trust import ClockTrust
from archive.services.cold_reading import ColdReading
from archive.services.commitment import CommitmentReporter, Commitments
from archive.services.find import Find
from archive.services.hl7 import Feed, Reading
from archive.services.importer import Importer
from archive.services.journal_check import JournalCheck
from archive.services.ledger import LedgerFiles
from archive.services.lock import hold_home, share_home
from archive.services.quarantine import iter_quarantine
from archive.services.rebuild import Rebuild
from archive.services.reports import (
    AddColdReport,
    AuditItem,
    AuditReport,
    ImportReport,
    Progress,
    QuarantineItem,
    RebuildReport,
    StatusReport,
    VerifyReport,
    VerifyWanted,
)
from archive.services.retrieve import Retrieve
from archive.services.seal_keeper import SealKeeper
from archive.services.status import Status
from tiering.disk import OsDisk

_MIB = 1024 * 1024
_GRACE_SECONDS = 5.0
_HOUR = 3600
_SETTLE_SECONDS = 30
_STOP = (signal.SIGTERM, signal.SIGINT)
_CONNECT_SECONDS = 10.0
_log = logs.get(__name__)

# Real archives are full of values the standard forbids; each would cost a warning, none is ours to judge.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE


# ---- serving -----------------------------------------------------------------------------------------------------


def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Run the archive until SIGTERM or SIGINT; ``announce`` gets the ready line once the ports are open."""
    # Waited for, not handled: a handler may run inside the very lock it would need.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    with (
        hold_home(settings.home) as hold,
        tracing_of(settings) as traces,
        open_core(settings, traces=traces) as core,
        cold_reading_of(core) as cold,
    ):
        _adopt(core)
        shutil.rmtree(settings.scratch_folder, ignore_errors=True)
        hold.share()  # from here on an import may run beside
        watching = watching_of(core)
        retrieve = replace(_retrieve(core, cold), meter=watching.meter)
        reporter, table = _handlers(core, retrieve)
        server = Server(
            settings.dicom,
            table,
            recorder=AssociationRecorder(core.committer, utc_now),
            clock=utc_now,
            tls=tls.server_context(settings.dicom.tls),
            own_titles=watching.own_titles,
        )
        feed = Listener(settings.hl7, _receiver(core), tls=_hl7_tls(settings))
        console = console_surface(core, watching)
        web = http_server(core, retrieve, (*watching.surfaces(), console))
        core.committer.record(_configured(settings))
        addresses = server.start()
        for name, listener in (("hl7", feed), ("http", web)):
            address = listener.start()
            if address is not None:
                addresses[name] = address
        reporter.start()
        keeper = SealKeeper(sealer_of(core), trimmer_of(core)) if settings.sealing.enabled else None
        over = threading.Event()
        worker = worker_of(core, over)
        for part in (keeper, cold, worker):
            if part is not None:
                part.start()
        watching.start(addresses["dicom"])
        if (link := first_link(core, addresses.get("http"))) is not None:
            announce(link)
        announce(_ready_line(settings, addresses))
        _wait_for_signal(core)
        web.begin_stop(grace_seconds=_GRACE_SECONDS)
        feed.stop(grace_seconds=_GRACE_SECONDS)
        server.stop(grace_seconds=_GRACE_SECONDS)
        web.stop(grace_seconds=_GRACE_SECONDS)
        watching.stop()
        reporter.stop()
        over.set()
        for each in (worker, keeper):
            if each is not None:
                each.stop()


def _adopt(core: Core) -> None:
    settings = core.settings
    adopt = Adopt(core.database, core.disk, settings.hot_folder, settings.quarantine_folder, core.committer, utc_now)
    report = adopt.run()
    _log.info("storage_compared", folders=report.folders, adopted=report.adopted, missing=report.missing)


def _retrieve(core: Core, cold: ColdReading | None) -> Retrieve:
    hot = core.settings.hot_folder
    retrieve = Retrieve(core.committer, utc_now, hot, hot)
    return retrieve if cold is None else replace(retrieve, cold=cold.reader, recall=cold.recall)


def _handlers(core: Core, retrieve: Retrieve) -> tuple[CommitmentReporter, dict[int, Handler]]:
    """Return who answers which message, and who delivers commitment reports later."""
    settings = core.settings
    connect = _connect(settings)
    destinations = _destinations(settings)
    commitments = Commitments(retrieve, core.committer, utc_now)
    reporter = CommitmentReporter(commitments, ReportCourier(connect, destinations.get))
    commitment = CommitmentHandler(commitments, reporter, reports_here=partial(_reports_here, settings))
    store = StoreHandler(core.ingest, partial(_site_name, settings), settings.dicom.accept_private_sop_classes)
    return reporter, {
        dimse.C_ECHO_RQ: handle_echo,
        dimse.C_STORE_RQ: store.handle,
        dimse.C_FIND_RQ: FindHandler(Find(core.committer, settings.dicom.find_limit)).handle,
        dimse.C_GET_RQ: GetHandler(retrieve).handle,
        dimse.C_MOVE_RQ: MoveHandler(retrieve, destinations, connect).handle,
        dimse.N_ACTION_RQ: commitment.handle_action,
        dimse.N_EVENT_REPORT_RSP: commitment.handle_report_response,
    }


def _site_name(settings: Settings, calling_ae_title: str) -> str:
    return settings.site_of(calling_ae_title).name


def _reports_here(settings: Settings, ae_title: str) -> bool:
    peer = settings.find_peer(ae_title)
    return peer is None or peer.commitment_same_association


def _connect(settings: Settings) -> Connect:
    dicom = settings.dicom
    return partial(
        request_association,
        calling_ae_title=dicom.ae_title,
        limits=Limits(idle_seconds=dicom.idle_seconds, max_pdu_bytes=dicom.max_pdu_bytes),
        connect_seconds=_CONNECT_SECONDS,
        io_seconds=dicom.pdu_seconds,
    )


def _destinations(settings: Settings) -> dict[str, Destination]:
    peers = [peer for peer in settings.dicom.peers if peer.is_destination]
    context = tls.client_context(settings.dicom.tls) if any(peer.tls for peer in peers) else None
    return {peer.ae_title: _destination(peer, context) for peer in peers}


def _destination(peer: PeerSettings, context: ssl.SSLContext | None) -> Destination:
    assert peer.host is not None
    assert peer.port is not None
    return Destination(peer.ae_title, peer.host, peer.port, context if peer.tls else None)


def _ready_line(settings: Settings, addresses: dict[str, tuple[str, int]]) -> str:
    parts = [f"READY dicom={_endpoint(*addresses['dicom'])}", f"ae={settings.dicom.ae_title}"]
    if "dicom_tls" in addresses:
        parts.append(f"dicom_tls={_endpoint(*addresses['dicom_tls'])}")
    parts.append(f"home={settings.home}")
    parts += [f"{name}={_endpoint(*addresses[name])}" for name in ("hl7", "http") if name in addresses]
    return " ".join(parts)


def _endpoint(host: str, port: int) -> str:
    """Return HOST:PORT, an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hl7_tls(settings: Settings) -> ssl.SSLContext | None:
    return tls.server_context(settings.dicom.tls) if settings.hl7.tls else None


def _receiver(core: Core) -> Receiver:
    return Receiver(Feed(core.ledger, core.database), partial(_establishment, core.settings), utc_now)


def _establishment(settings: Settings, names: Sequence[tuple[str, str]]) -> Establishment:
    site = settings.site_of_feed(names)
    return Establishment(site.name, site.ipp_authorities)


def read_hl7(settings: Settings, message: bytes) -> Reading:
    """Read a kept HL7 message as it would be read if it came now."""
    return read(message, partial(_establishment, settings), utc_now())


def hl7_text(message: bytes) -> str:
    """Return a kept HL7 message for the eye."""
    return text_of(message)


def _configured(settings: Settings) -> Entry:
    """Return the journal entry of a start: the settings in force, secrets masked."""
    return Entry(at=utc_now(), event="configured", actor="drimbox", body={"settings": json.dumps(settings.masked())})


def _wait_for_signal(core: Core) -> None:
    """Return when a signal asks to stop.

    Not ``sigtimedwait``: stopped and continued (a debugger, a suspended shell) past its timeout, Python 3.11 returns
    from it as if a signal had come.
    """
    over = threading.Event()
    keeper = threading.Thread(target=_keep_house, args=(core, over), name="housekeeper", daemon=True)
    mirror = threading.Thread(target=_mirror_holds, args=(core, over), name="hold-mirror", daemon=True)
    for thread in (keeper, mirror):
        thread.start()
    signal.sigwait(_STOP)
    over.set()
    keeper.join()


def _mirror_holds(core: Core, over: threading.Event) -> None:
    """Every hour: have the cold store keep what is on hold, where it can; a hold placed while it was down is told."""
    if core.cold is None or core.cold.holds is None:
        return
    while not over.wait(_HOUR):
        try:
            mirror_of(core).run()
        except ArchiveError as exc:
            _log.warning("housekeeping_failed", exc_info=exc)


def _keep_house(core: Core, over: threading.Event) -> None:
    """Every second: sync what was committed, so that little is left for the next start. Twice a minute: settle."""
    settle = _settler(core)
    for second in itertools.count(1):
        if over.wait(1.0):
            return
        try:
            core.committer.sync()
            if second % _SETTLE_SECONDS == 0:
                settle()
        except ClockNotTrusted as exc:
            if second % _HOUR < _SETTLE_SECONDS:
                _log.error("clock_not_trusted", exc_info=exc)
        except ArchiveError as exc:
            _log.warning("housekeeping_failed", exc_info=exc)


def _settler(core: Core) -> Callable[[], None]:
    """Return what notes that the clock is right, assesses what arrived or changed and keeps what is due no more.

    ClockNotTrusted: nothing of it.
    """
    clock, assessor, disposals = ClockTrust(core.ledger), assessor_of(core), disposals_of(core)

    def settle() -> None:
        clock.observe()
        assessor.settle()
        for list_id, studies in disposals.review().items():
            _log.warning("studies_sent_back", list=list_id, studies=studies)

    return settle


# ---- offline -----------------------------------------------------------------------------------------------------


@contextmanager
def open_offline(settings: Settings) -> Iterator[OfflineArchive]:
    """Lend the archive without its listeners; each command opens what it needs."""
    yield OfflineArchive(settings)


@dataclass(frozen=True, slots=True)
class OfflineArchive:
    """The commands that do not serve; all but ``rebuild_index`` work beside a running archive."""

    settings: Settings

    def _open(self) -> AbstractContextManager[Core]:
        return open_existing(self.settings)

    def status(self) -> StatusReport:
        """Return counts, sizes and the last associations."""
        with self._open() as core:
            settings = self.settings
            shown = mask_url(settings.database_url)
            folders = settings.home, settings.hot_folder
            watch = arrival_watch_of(core)
            return Status(core.database, core.disk, *folders, shown, arrivals=watch, clock=utc_now).report()

    def verify(self, progress: Progress, wanted: VerifyWanted) -> VerifyReport:
        """Read stored objects again and compare them with their digests."""
        return bootstrap_proof.verify(self.settings, wanted, progress)

    def add_cold(self, progress: Progress) -> AddColdReport:
        """Index the packs of the cold store that the index does not know."""
        return bootstrap_proof.add_cold(self.settings, progress)

    def rebuild_index(self, progress: Progress, *, hot_only: bool = False) -> RebuildReport:
        """Make the index again from storage alone, the cold store included unless ``hot_only``.

        Refused while an archive serves the same home.
        """
        settings = self.settings
        check_home(settings)
        with hold_home(settings.home):
            disk = OsDisk()
            ledger = LedgerFiles(disk, settings.ledger_folder)
            cold = None if hot_only else open_cold_store(settings.cold, disk)
            store = None if cold is None else cold.store
            rebuild = Rebuild(disk, settings.hot_folder, settings.quarantine_folder, utc_now, ledger=ledger, cold=store)
            return rebuild.run(settings.database_url, progress)

    def import_paths(self, paths: Sequence[Path], progress: Progress) -> ImportReport:
        """Take in Part 10 files and folders; running it again goes on where it stopped."""
        settings = self.settings
        with share_home(settings.home), open_core(settings) as core:
            site = settings.default_site
            importer = Importer(core.ingest, core.committer, utc_now, site, settings.dicom.ae_title)
            return importer.run(paths, progress)

    def verify_audit(self) -> AuditReport:
        """Check the chains of the whole journal and the whole ledger; raise AuditBroken or LedgerBroken at a break."""
        with self._open() as core:
            return JournalCheck(core.ledger).run(lambda _done, _total: None)

    def iter_audit(self, event: str | None, limit: int) -> Iterator[AuditItem]:
        """Stream the latest ``limit`` entries, oldest first, of one kind of event or of all (None)."""
        with self._open() as core, core.database.read() as connection:
            for row in journal.latest(connection, limit=limit, event=event):
                yield AuditItem(row.sequence, row.at, row.event, row.actor, json.loads(row.body), row.hash.hex())

    def iter_quarantine(self) -> Iterator[QuarantineItem]:
        """Stream what waits in quarantine, oldest first."""
        with self._open() as core:
            for item in iter_quarantine(core.database):
                yield QuarantineItem(
                    key=item.key,
                    reason=item.reason,
                    sop_instance_uid=item.sop_instance_uid,
                    calling_ae_title=item.calling_ae_title,
                    peer_address=item.peer_address,
                    size_bytes=item.size_bytes,
                    received_at=item.received_at,
                    resolved_at=item.resolved_at,
                )
