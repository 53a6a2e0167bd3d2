"""What watches a site and tells people, made from settings; must hold no rule of its own."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version

from archive.bootstrap_certificates import certificate_watch_of
from archive.clock import utc_now
from archive.config import Settings
from archive.dimse.association import Limits
from archive.dimse.probe import ProbeRequestor
from archive.dimse.requestor import Connect, Destination, request_association
from archive.errors import ConfigError
from archive.http.surfaces import Surface
from archive.monitoring.exposition import Exposition, Sources
from archive.monitoring.mail import Mail, MailServer
from archive.monitoring.pages import pages
from archive.monitoring.webhook import Webhook
from archive.opening import Core
from archive.services.arrival_watch import ArrivalWatch, drop_notice
from archive.services.certificate_watch import CertificateWarnings
from archive.services.drops import DropRules
from archive.services.figures import NO_JOBS, FigureKeeper, Jobs
from archive.services.health import Health
from archive.services.measuring import PROBE, Meter
from archive.services.monitor import Monitor, Task
from archive.services.notices import Channel, Notices
from archive.services.probe import Probe
from archive.services.tracing import NO_TRACES, Traces
from tiering.budget import zone_of

_MIB = 1 << 20
_MINUTE = 60.0
_HOUR = 3600.0
_CONNECT_SECONDS = 10.0
_GRACE_SECONDS = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what is listened on, and where that is reached from here
_MUST_THAW = ("GLACIER", "DEEP_ARCHIVE")


# ---- beside a serving archive --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Watching:
    """What watches a serving archive: ``start`` it once the ports are open, ``stop`` it before the index closes.

    ``own_titles`` are for the DICOM server: the probe is not a peer.
    """

    core: Core
    keeper: FigureKeeper
    meter: Meter
    probe_title: str = field(default_factory=lambda: f"PROBE-{secrets.token_hex(5).upper()}")
    _monitors: list[Monitor] = field(default_factory=list)

    @property
    def own_titles(self) -> Mapping[str, str]:
        """Return the calling AE titles of parts of the archive, and how the journal calls them."""
        return {self.probe_title: PROBE}

    def surfaces(self) -> Sequence[Surface]:
        """Return what the HTTP port shows of it."""
        settings, core, keeper = self.core.settings, self.core, self.keeper
        floor = settings.storage.min_free_mib * _MIB
        sources = Sources(
            *(self.meter, core.committer, keeper, utc_now, version("drimbox-archive")),
            free_bytes=partial(_free_bytes, core),
            floor_bytes=floor,
        )
        health = Health(
            *(core.committer, settings.hot_folder, lambda: core.disk.free_bytes(settings.hot_folder), floor),
            ledger_problem=lambda: "" if keeper.latest is None else keeper.latest.ledger_problem,
        )
        return pages(Exposition(sources).text, health.problems)

    def start(self, dicom_address: tuple[str, int]) -> None:
        """Begin to watch, and to probe when that is set."""
        probing = self._probing(dicom_address)
        self._monitors = [Monitor("monitor", _tasks(self.core, self.keeper)), Monitor("probe", probing)]
        for monitor in self._monitors:
            monitor.start()

    def stop(self) -> None:
        """End within a few seconds."""
        for monitor in self._monitors:
            monitor.stop(grace_seconds=_GRACE_SECONDS)

    def _probing(self, address: tuple[str, int]) -> Sequence[Task]:
        settings = self.core.settings
        every = settings.probe.every_minutes * _MINUTE
        if not every:
            return ()
        requestor = ProbeRequestor(_connect_as(settings, self.probe_title), _ourselves(settings, address))
        tiers = [tier for tier in settings.probe.tiers if tier == "hot" or _can_probe_cold(self.core)]
        probe = Probe(self.core.committer, utc_now, requestor.fetch, tiers)
        return (Task("probe", every, probe.run, after_seconds=min(every, _MINUTE)),)


def watching_of(core: Core) -> Watching:
    """Return what watches a serving archive."""
    return Watching(core, figure_keeper_of(core), Meter(traces=core.traces))


def tracing_of(settings: Settings) -> AbstractContextManager[Traces]:
    """Return what lends where spans go: nowhere unless that is set. Raises ConfigError without its libraries."""
    tracing = settings.tracing
    if tracing.endpoint is None:
        return nullcontext(NO_TRACES)
    try:
        from archive.monitoring.tracing import open_traces  # noqa: PLC0415  an optional part
    except ImportError as exc:
        reason = 'its libraries are not installed: pip install "drimbox-archive[tracing]"'
        raise ConfigError(name="tracing.endpoint", reason=reason) from exc
    return open_traces(tracing.endpoint, tracing.percent, settings.dicom.ae_title)


def figure_keeper_of(core: Core) -> FigureKeeper:
    """Return what counts the archive's figures."""
    attempts, jobs = core.settings.migration.attempts, _jobs_of(core)
    return FigureKeeper(core.database, arrival_watch_of(core), utc_now, attempts, core.ledger.catch_up, jobs)


def arrival_watch_of(core: Core) -> ArrivalWatch:
    """Return what compares what comes in with the weeks before."""
    arrivals = core.settings.arrivals
    rules = DropRules(arrivals.drop_percent, arrivals.weeks, arrivals.min_expected)
    return ArrivalWatch(core.database, rules, zone_of(arrivals.time_zone))


def _tasks(core: Core, keeper: FigureKeeper) -> Sequence[Task]:
    settings, notices = core.settings, notices_of(core)
    watch, warnings = certificate_watch_of(settings), CertificateWarnings(notices)

    def look_at_certificates() -> None:
        keeper.certificates = tuple(watch.report(utc_now()))
        warnings.run(keeper.certificates)

    def tell_drops() -> None:
        for drop in keeper.arrivals.drops(utc_now()):
            notices.tell(drop_notice(drop))

    return (
        Task("figures", _MINUTE, keeper.refresh),
        Task("certificates", settings.certificates.check_hours * _HOUR, look_at_certificates),
        Task("arrivals", _HOUR / 4, tell_drops),
    )


def _jobs_of(core: Core) -> Jobs:
    if not core.settings.migration.enabled or core.cold is None:
        return NO_JOBS
    from archive.worker import list_jobs  # noqa: PLC0415  its libraries are slow to load

    return lambda: Counter(job.state for job in list_jobs(core.settings.workflows_url))


def _free_bytes(core: Core) -> Mapping[str, int]:
    settings = core.settings
    return {"hot": core.disk.free_bytes(settings.hot_folder), "home": core.disk.free_bytes(settings.home)}


def _can_probe_cold(core: Core) -> bool:
    """Tell whether cold studies can be read at once: a probe must not have them thawed, which costs."""
    return core.cold is not None and core.settings.cold.storage_class not in _MUST_THAW


def _ourselves(settings: Settings, address: tuple[str, int]) -> Destination:
    host, port = address
    return Destination(settings.dicom.ae_title, _EVERYWHERE.get(host, host), port)


def _connect_as(settings: Settings, title: str) -> Connect:
    dicom = settings.dicom
    return partial(
        request_association,
        calling_ae_title=title,
        limits=Limits(idle_seconds=dicom.idle_seconds, max_pdu_bytes=dicom.max_pdu_bytes),
        connect_seconds=_CONNECT_SECONDS,
        io_seconds=dicom.pdu_seconds,
    )


# ---- whom to tell ---------------------------------------------------------------------------------------------------


def notices_of(core: Core) -> Notices:
    """Return what gives warnings to whom the settings name."""
    return Notices(core.committer, utc_now, channels_of(core.settings))


def channels_of(settings: Settings) -> dict[str, Channel]:
    """Return the channels of warnings by name: those that are set."""
    mail, webhook, archive = settings.notify.mail, settings.notify.webhook, settings.dicom.ae_title
    language = settings.notify.language
    channels: dict[str, Channel] = {}
    if mail.host is not None and mail.sender is not None:
        login = None if mail.user is None or mail.password_file is None else (mail.user, mail.password_file)
        server = MailServer(mail.host, mail.port, mail.security, login, mail.ca_file)
        channels["mail"] = Mail(server, mail.sender, mail.recipients, archive, language)
    if webhook.url is not None:
        channels["webhook"] = Webhook(webhook.url, archive, webhook.token_file, webhook.ca_file, language)
    return channels
