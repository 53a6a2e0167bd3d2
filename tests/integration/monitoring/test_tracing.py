"""Spans of a real archive, as a collector decodes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from archive.bootstrap_monitoring import tracing_of
from archive.config import Settings, load_settings
from archive.errors import ConfigError, UnreadableDataset
from archive.monitoring.tracing import open_traces
from archive.services.traced_steps import TracedSteps
from archive.services.tracing import NO_TRACES
from tests.archive_process import running_archive
from tests.dcmtk import run, storescu
from tests.integration.monitoring.collector import Collector, collector
from tests.integration.monitoring.test_serving import HTTP, WORKSTATION, ask
from tests.objects import ROOT, ct_dataset, write_series
from tests.unit.services.rig import open_rig


@pytest.fixture
def receiving() -> Iterator[Collector]:
    """Lend a collector."""
    with collector() as found:
        yield found


def test_a_serving_archive_tells_what_it_does(receiving: Collector, tmp_path: Path) -> None:
    """Objects in, retrieves out, requests: with their kind, size and outcome, and nobody's name or UID."""
    config = f"{HTTP}[tracing]\nendpoint = 'http://127.0.0.1:{receiving.port}'\n"
    with running_archive(tmp_path / "home", config=config) as archive:
        files = write_series(tmp_path / "files", 3)
        for _ in range(2):
            assert storescu(archive, *files).returncode == 0
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ROOT}.1"]
        where = ["-aec", archive.ae_title, archive.host, str(archive.port)]
        assert run("getscu", "-S", "-od", tmp_path, *keys, *where).returncode == 0
        assert ask(archive, f"/dicom-web/studies/{ROOT}.1", by=WORKSTATION).status == 200
        assert ask(archive, "/DUPONT%5EJEAN/x").status == 404
    assert receiving.paths == {"/v1/traces"}
    ingested = receiving.named("ingest")
    assert sorted(str(span.attributes["outcome"]) for span in ingested) == ["already stored"] * 3 + ["stored"] * 3
    assert all(span.attributes["site"] == "default" and span.attributes["size_bytes"] for span in ingested)
    retrieved = receiving.named("retrieve")
    assert [(span.attributes["tier"], span.attributes["images"], span.is_error) for span in retrieved] == [
        *(("hot", 3, False), ("hot", 3, False)),
    ]
    assert all(0 < float(span.attributes["first_image_seconds"]) <= span.seconds for span in retrieved)
    requests = [
        (span.attributes["http.route"], span.attributes["http.response.status_code"])
        for span in receiving.named("HTTP request")
    ]
    assert sorted(requests, key=str) == [("", 404), ("/dicom-web", 200)]  # the longer may end last
    assert {span.resource["service.instance.id"] for span in receiving.spans} == {"DRIMBOX"}
    told = repr(receiving.spans)
    assert not [word for word in (ROOT, "DUPONT", "Dupont", "PAT") if word in told]


def test_what_is_refused_is_an_error_by_its_kind(receiving: Collector, tmp_path: Path) -> None:
    """Not in the words of the message, which may quote anything."""
    with (
        open_traces(f"http://127.0.0.1:{receiving.port}/", 100, "TEST") as traces,
        open_rig(tmp_path / "home") as rig,
    ):
        rig.ingest.traces = traces
        with pytest.raises(UnreadableDataset):
            rig.send(b"no data set at all", "2.25.7")
        rig.begin("2.25.8").abandon()
        rig.send(ct_dataset(1))
    found = [(span.is_error, span.attributes.get("error.type")) for span in receiving.named("ingest")]
    assert found == [(True, "UnreadableDataset"), (True, "abandoned"), (False, None)]


class Steps:
    """Steps of a migration, one of which fails."""

    def due(self, limit: int) -> Sequence[str]:
        return [ROOT]

    def series_of(self, study_uid: str) -> Sequence[str]:
        return [ROOT]

    def prepare(self, study_uid: str, series_uid: str) -> dict[str, Any]:
        return {"packs": 1}

    def switch(self, study_uid: str, prepared: Sequence[Any]) -> dict[str, Any]:
        raise UnreadableDataset(reason=ROOT)

    def trim(self) -> dict[str, Any]:
        return {"trimmed": 0}

    def failed(self, study_uid: str, reason: str) -> int:
        return 3


def test_steps_of_a_migration_are_told(receiving: Collector) -> None:
    """Each with its name; what they return and raise is what it was."""
    with open_traces(f"http://127.0.0.1:{receiving.port}", 100, "TEST") as traces:
        steps = TracedSteps(Steps(), traces)
        assert (steps.due(1), steps.series_of(ROOT), steps.failed(ROOT, "x")) == ([ROOT], [ROOT], 3)
        assert steps.prepare(ROOT, ROOT) == {"packs": 1}
        with pytest.raises(UnreadableDataset):
            steps.switch(ROOT, [])
        assert steps.trim() == {"trimmed": 0}
    found = [(span.attributes["step"], span.is_error) for span in receiving.named("migration step")]
    assert found == [("prepare", False), ("switch", True), ("trim", False)]
    assert ROOT not in repr(receiving.spans)


def test_what_begins_within_a_span_is_a_part_of_it(receiving: Collector) -> None:
    """A retrieve of a request; and each span ends once."""
    with open_traces(f"http://127.0.0.1:{receiving.port}", 100, "TEST") as traces:
        outer = traces.begin("HTTP request")
        with outer.entered():
            inner = traces.begin("retrieve")
        for span in (inner, outer, outer):
            span.end()
    assert [span.name for span in receiving.spans] == ["retrieve", "HTTP request"]
    assert receiving.spans[0].parent_id == receiving.spans[1].span_id


def test_a_collector_that_is_away_holds_nothing_up() -> None:
    """Spans are dropped, the end comes soon enough."""
    with open_traces("http://127.0.0.1:1", 100, "TEST") as traces:
        for _ in range(100):
            traces.begin("ingest").end()


def test_a_share_of_the_traces_is_sent(receiving: Collector) -> None:
    """Chosen by chance, whole traces."""
    with open_traces(f"http://127.0.0.1:{receiving.port}", 10, "TEST") as traces:
        for _ in range(500):
            traces.begin("ingest").end()
    assert 10 < len(receiving.spans) < 150


def test_without_the_setting_nothing_is_traced(tmp_path: Path) -> None:
    """Nor are the libraries asked for."""
    with tracing_of(Settings(home=tmp_path)) as traces:
        assert traces is NO_TRACES
    span = NO_TRACES.begin("ingest", site="x")
    with span.entered():
        span.note("outcome", "stored")
    span.end()


def test_missing_libraries_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings them."""
    monkeypatch.setitem(__import__("sys").modules, "archive.monitoring.tracing", None)
    settings = load_settings(None, {"home": tmp_path, "tracing.endpoint": "http://collector.example:4318"})
    with pytest.raises(ConfigError, match=r"drimbox-archive\[tracing\]"):
        tracing_of(settings)
