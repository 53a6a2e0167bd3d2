"""A serving archive that is watched: by Prometheus, by a balancer, by itself."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from archive.cli import root
from archive.clock import utc_now
from archive.index import arrivals
from archive.index.arrivals import hour_of
from archive.index.session import Database
from tests.archive_process import ArchiveProcess, running_archive
from tests.dcmtk import run, storescu
from tests.objects import ROOT, write_series
from tests.pki import in_days, issue
from tests.unit.monitoring.test_channels import Received, web_server

HTTP = """
[http]
port = 0
[[http.clients]]
name = "prometheus"
addresses = ["127.0.0.1"]
roles = ["operator"]
[[http.clients]]
name = "workstation"
addresses = ["127.0.0.2"]
roles = ["radiologist"]
"""
PARIS = ZoneInfo("Europe/Paris")
OPERATOR, WORKSTATION, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@dataclass
class Answer:
    """What came back."""

    status: int
    kind: str
    body: str


def ask(archive: ArchiveProcess, path: str, *, by: str = OPERATOR, method: str = "GET") -> Answer:
    """Ask the archive, coming from an address of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", archive.http_port, timeout=20, source_address=(by, 0))
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Answer(response.status, response.headers["Content-Type"], response.read().decode("latin-1"))
    finally:
        connection.close()


def sample(archive: ArchiveProcess, name: str, **labels: str) -> float | None:
    """Return one sample of the metrics."""
    for family in text_string_to_metric_families(ask(archive, "/metrics").body):
        for each in family.samples:
            if each.name == name and each.labels == labels:
                return float(each.value)
    return None


def within(seconds: float, what: Any) -> bool:
    """Tell whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def command(archive: ArchiveProcess, *words: str) -> Any:
    """Run a drimbox command beside it, in this process, and return its JSON."""
    done = CliRunner().invoke(root, [*words, "--home", str(archive.home), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """Lend an archive with one series, whose patient has a name, that probes itself and takes no unknown peer."""
    folder = tmp_path_factory.mktemp("watched")
    peers = "[dicom]\naccept_unknown_peers = false\n" + "".join(
        f'[[dicom.peers]]\nae_title = "{title}"\n' for title in ("STORESCU", "GETSCU")
    )
    config = f"{peers}{HTTP}[probe]\nevery_minutes = 0.02\n"
    with running_archive(folder / "home", config=config) as lent:
        assert storescu(lent, *write_series(folder / "files", 12)).returncode == 0
        yield lent


def test_metrics_are_for_who_may_operate_the_archive(archive: ArchiveProcess) -> None:
    """A workstation may not, a stranger is not known, and they can only be read."""
    told = ask(archive, "/metrics")
    assert (told.status, told.kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert ask(archive, "/metrics", by=WORKSTATION).status == 403
    assert ask(archive, "/metrics", by=STRANGER).status == 401
    assert [ask(archive, "/metrics", method=method).status for method in ("POST", "HEAD")] == [405, 200]
    assert ask(archive, "/metrics/x").status == 404


def test_metrics_name_no_patient_and_no_study(archive: ArchiveProcess) -> None:
    """Not even by a UID."""
    text = ask(archive, "/metrics").body
    assert "drimbox_ingested_instances_total" in text
    assert not [word for word in (ROOT, "Dupont", "DUPONT", "PAT") if word in text]


def test_everybody_may_ask_whether_it_is_alive_and_ready(archive: ArchiveProcess) -> None:
    """A balancer has no account."""
    assert json.loads(ask(archive, "/healthz", by=STRANGER).body) == {"status": "alive"}
    ready = ask(archive, "/readyz", by=STRANGER)
    assert (ready.status, json.loads(ready.body)) == (200, {"status": "ready", "problems": []})


def test_a_workstation_that_waits_is_measured(archive: ArchiveProcess, tmp_path: Path) -> None:
    """First image and whole retrieve, of what left by C-GET."""
    before = sample(archive, "drimbox_retrieve_seconds_count", tier="hot") or 0
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ROOT}.1"]
    where = ["-aec", archive.ae_title, archive.host, str(archive.port)]
    assert run("getscu", "-S", "-od", tmp_path, *keys, *where).returncode == 0
    assert sample(archive, "drimbox_retrieve_seconds_count", tier="hot") == before + 1
    assert sample(archive, "drimbox_objective_good_total", objective="first_image", tier="hot") == before + 1
    assert sample(archive, "drimbox_ingested_instances_total", site="default", modality="CT") == 12


def test_a_browser_that_waits_is_measured_too(archive: ArchiveProcess) -> None:
    """What leaves by WADO-RS, in the same figures; metadata are no images."""
    before = sample(archive, "drimbox_retrieve_seconds_count", tier="hot") or 0
    assert ask(archive, f"/dicom-web/studies/{ROOT}.1/metadata", by=WORKSTATION).status == 200
    assert (sample(archive, "drimbox_retrieve_seconds_count", tier="hot") or 0) == before
    assert ask(archive, f"/dicom-web/studies/{ROOT}.1", by=WORKSTATION).status == 200
    assert within(5, lambda: sample(archive, "drimbox_retrieve_seconds_count", tier="hot") == before + 1)


def test_the_archive_measures_itself(archive: ArchiveProcess) -> None:
    """Through its own port, though it is no known peer; in the journal it is the probe, and nobody's wait is longer."""
    assert within(20, lambda: command(archive, "slo"))
    (found,) = command(archive, "slo")
    assert (found["tier"], found["site"], found["failed"]) == ("hot", "default", 0)
    assert found["kept"] == found["probes"] >= 1 and 0 < found["first_ms"][0] <= found["whole_ms"][0]
    assert command(archive, "status")["probes"][0]["tier"] == "hot"
    entries = command(archive, "audit", "list", "--event", "retrieved")
    retrieved = [entry for entry in entries if entry["actor"] == "probe"]
    assert retrieved[0]["body"]["instances"] == 12 and retrieved[0]["body"]["destination"] == "probe"
    assert "PROBE-" not in archive.log()


def test_what_keeps_it_from_working_is_told(archive: ArchiveProcess) -> None:
    """A hot store that is gone: 503 and why; and back again."""
    hot, aside = archive.home / "hot", archive.home / "aside"
    hot.rename(aside)
    try:
        assert within(10, lambda: ask(archive, "/readyz", by=STRANGER).status == 503)
        told = json.loads(ask(archive, "/readyz", by=STRANGER).body)
        assert told == {"status": "not ready", "problems": ["hot store: No such file or directory"]}
        assert ask(archive, "/healthz").status == 200
    finally:
        shutil.rmtree(hot, ignore_errors=True)
        aside.rename(hot)
    assert within(10, lambda: ask(archive, "/readyz").status == 200)


def test_a_certificate_that_ends_is_told_once(tmp_path: Path) -> None:
    """To the webhook, in French, and the journal, in English; a restart does not repeat it; the metric has its days."""
    issue("site.example", until=in_days(12)).write(tmp_path / "home" / "tls", "site")
    received = Received()
    with web_server(received) as port:
        files = '[certificates]\nfiles = ["tls/site.pem", "tls/none.pem"]\n'
        config = f"{HTTP}{files}[notify.webhook]\nurl = 'http://127.0.0.1:{port}/hook'\n"
        for _ in range(2):
            with running_archive(tmp_path / "home", config=config) as archive:
                assert within(20, lambda: sample(archive, "drimbox_certificates", state="warning") == 1)
                assert sample(archive, "drimbox_certificates", state="unreadable") == 1
                assert within(20, lambda: len(received.bodies) == 2)
                entries = command(archive, "audit", "list", "--event", "warned")
    assert sorted(body["grade"] for body in received.bodies) == ["15", "unreadable"]
    told = {body["grade"]: body for body in received.bodies}
    assert told["15"]["title"] == "Le certificat TLS (ajouté aux réglages) expire dans 12 jours"
    assert told["unreadable"]["lines"][0].endswith("none.pem (fichier ou dossier introuvable)")
    assert (told["15"]["fields"]["uses"], told["15"]["fields"]["state"]) == ("listed", "warning")
    assert {entry["body"]["title"] for entry in entries} == {
        "TLS certificate (listed) expires in 12 days",
        "TLS certificate (listed) cannot be read",
    }
    assert len(entries) == 2


def test_a_modality_that_falls_silent_is_told_once_a_day(tmp_path: Path) -> None:
    """To the webhook, the status and the metric; an archive that starts again does not repeat it, in no language."""
    home = tmp_path / "home"
    home.mkdir()
    remember_weeks(home, {("CHU", "CT"): 500, ("CHU", "MR"): 1})
    received = Received()
    with web_server(received) as port:
        for language in ("en", "fr"):
            config = (
                f"{HTTP}[notify]\nlanguage = '{language}'\n[notify.webhook]\nurl = 'http://127.0.0.1:{port}/hook'\n"
            )
            with running_archive(home, config=config) as archive:
                assert within(20, lambda: sample(archive, "drimbox_arrivals_drop", site="CHU", modality="CT") == 1)
                assert sample(archive, "drimbox_arrivals_drop", site="CHU", modality="MR") == 0
                assert within(20, lambda: received.bodies)
                drops = command(archive, "status")["drops"]
    told = {body["fields"]["on"]: body for body in received.bodies}
    assert len(told) == len(received.bodies) and {drop["modality"] for drop in drops} == {"CT"}
    yesterday = (utc_now().astimezone(PARIS).date() - timedelta(days=1)).isoformat()
    title = f"CHU sends fewer CT images: 0 on {yesterday}, 12,000 on the same weekdays before (-100 %)"
    assert told[yesterday]["title"] == title


def remember_weeks(home: Path, hourly: dict[tuple[str, str], int]) -> None:
    """Have an index remember six weeks in which so many came each hour, until two days ago."""
    database = Database(f"sqlite:///{home / 'index.db'}")
    database.migrate()
    now = utc_now()
    hours = [now - timedelta(days=2, hours=back) for back in range(24 * 42)]
    with database.write(synced=True) as connection:
        for at in hours:
            counts = {(hour_of(at), *stream): (number, number) for stream, number in hourly.items()}
            arrivals.add(connection, counts)
    database.close()
