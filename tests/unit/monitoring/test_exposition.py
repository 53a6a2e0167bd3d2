"""What Prometheus reads, and that dashboard and alerts ask for nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from hypothesis import given, strategies as st
from prometheus_client.parser import text_string_to_metric_families

from archive.errors import WorkflowsUnavailable
from archive.index import marks, probes
from archive.index.probes import Probed
from archive.index.session import Database
from archive.monitoring.exposition import Exposition, Sources
from archive.services.arrival_watch import ArrivalWatch
from archive.services.committer import Committer
from archive.services.drops import DropRules
from archive.services.figures import FigureKeeper
from archive.services.measuring import BOUNDS, FIRST, HOT, WHOLE, Meter
from archive.services.tls_certificates import Place, Seen, State, judge
from tests.objects import ct_dataset
from tests.unit.services.rig import Rig, open_rig
from tests.unit.services.shelf import NOON
from tests.unit.services.test_tls_certificates import CERTIFICATE, END

DOCKER = Path(__file__).parents[3] / "docker"
Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


class Watched:
    """An archive with everything that is measured of one."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.meter = Meter()
        watch = ArrivalWatch(rig.database, DropRules(min_expected=1), UTC)
        self.keeper = FigureKeeper(rig.database, watch, rig.clock, 3, int, lambda: {"running": 1, "waiting": 7})
        sources = Sources(
            *(self.meter, rig.committer, self.keeper, rig.clock, "0.1.0", lambda: {"hot": 5_000, "home": 6_000}),
            floor_bytes=512,
        )
        self.exposition = Exposition(sources)

    def samples(self) -> Samples:
        """Return every sample as a collector reads it."""
        families = text_string_to_metric_families(self.exposition.text().decode())
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return one sample."""
        return self.samples().get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Lend an empty archive."""
    with open_rig(tmp_path / "home") as rig:
        yield Watched(rig)


def test_before_anything_was_counted_there_is_an_answer(watched: Watched) -> None:
    """The counts have no sample yet, which is not the same as none."""
    assert watched.value("drimbox_info", version="0.1.0") == 1
    assert watched.value("drimbox_figures_age_seconds") is None
    assert watched.value("drimbox_quarantined") is None
    assert watched.value("drimbox_disk_free_bytes", folder="hot") == 5_000


def test_latencies_are_histograms(watched: Watched) -> None:
    """Cumulated, with the limits of the promise among the bounds, and good out of total."""
    for seconds in (0.02, 3.0, 7.0, 1000.0):
        watched.meter.add((FIRST, HOT), seconds, is_good=seconds <= 5)
    watched.meter.add((WHOLE, HOT), None, is_good=False)
    counts = [watched.value("drimbox_first_image_seconds_bucket", tier="hot", le=f"{edge:g}") for edge in BOUNDS]
    assert counts == [0, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3]
    assert watched.value("drimbox_first_image_seconds_bucket", tier="hot", le="+Inf") == 4
    assert watched.value("drimbox_first_image_seconds_sum", tier="hot") == pytest.approx(1010.02)
    assert watched.value("drimbox_objective_total", objective=FIRST, tier="hot") == 4
    assert watched.value("drimbox_objective_good_total", objective=FIRST, tier="hot") == 2
    assert watched.value("drimbox_objective_good_total", objective=WHOLE, tier="hot") == 0
    assert watched.value("drimbox_retrieve_seconds_count", tier="hot") is None


def test_what_comes_in_is_counted_at_once(watched: Watched) -> None:
    """Without waiting for the next count of everything."""
    for number in (1, 2, 2):
        watched.rig.send(ct_dataset(number))
    watched.rig.committer.barrier()
    assert watched.value("drimbox_ingested_instances_total", site="default", modality="CT") == 2
    assert (watched.value("drimbox_ingested_bytes_total", site="default", modality="CT") or 0) > 500


def test_the_counts_are_those_of_the_index(watched: Watched) -> None:
    """Studies, bytes, queues, drops, verification, probes: as of the last refresh, whose age is told."""
    rig = watched.rig
    for week in range(1, 5):
        rig.clock.now = NOON - timedelta(weeks=week)
        rig.send(ct_dataset(week))
    rig.clock.now = NOON + timedelta(hours=3)
    rig.committer.barrier()
    with rig.database.write(synced=False) as connection:
        marks.put(connection, marks.VERIFIED_HOT, NOON)
        probes.add(connection, Probed(NOON, "hot", "default", 600, 1, 120, 3400, ""))
        probes.add(connection, Probed(NOON, "cold", "default", 0, 0, 10, 10, "DestinationUnreachable"))
    watched.keeper.refresh()
    rig.clock.advance(seconds=30)
    age = watched.value("drimbox_figures_age_seconds")
    assert age is not None and 30 <= age < 120
    assert watched.value("drimbox_studies", site="default") == 1
    assert watched.value("drimbox_stored", what="instances") == 4
    assert (watched.value("drimbox_stored_bytes", tier="hot") or 0) > 4 * 900
    assert watched.value("drimbox_queue", queue="migration_waiting") == 7
    assert watched.value("drimbox_arrivals_drop", site="default", modality="CT") == 1
    assert watched.value("drimbox_arrivals_change_percent", site="default", modality="CT", day="today") == -100
    assert watched.value("drimbox_verified_timestamp_seconds", tier="hot") == NOON.timestamp()
    assert watched.value("drimbox_probe_seconds", tier="hot", site="default", what=WHOLE, quantile="0.95") == 3.4
    assert watched.value("drimbox_probe_ok", tier="hot", site="default") == 1
    assert watched.value("drimbox_probe_ok", tier="cold", site="default") == 0
    assert watched.value("drimbox_ledger_ok") == 1


def test_certificates_have_their_days(watched: Watched) -> None:
    """By use and place, the two halves of a pair apart; states are counted, those nobody has too."""
    now = watched.rig.clock.now
    seen = [Seen(Place("HL7", Path("/a.pem")), replace(CERTIFICATE, not_after=now + timedelta(days=12)))]
    seen.append(Seen(Place("DICOM", Path("/b.pem")), problem="Permission denied"))
    watched.keeper.certificates = [judge(each, now, (60, 15)) for each in seen]
    left = watched.value(
        "drimbox_certificate_days_left", use="HL7", place="/a.pem", role="server", fingerprint="ab" * 8
    )
    assert left == pytest.approx(12, abs=0.01)
    wanted = ("warning", "unreadable", "expired")
    states = {state: watched.value("drimbox_certificates", state=state) for state in wanted}
    assert states == {"warning": 1, "unreadable": 1, "expired": 0}
    assert now < END


def test_a_scrape_does_not_touch_the_index(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the archive: what was counted is told, two hundred sites of it, and nothing is read."""
    rig = watched.rig
    rig.send(ct_dataset(1))
    figures = watched.keeper.refresh()
    sites = {f"site {number}": number for number in range(200)}
    watched.keeper.latest = replace(figures, retention=replace(figures.retention, due=sites, held=sites))
    monkeypatch.setattr(Database, "read", None)
    assert sum(name == "drimbox_studies_due" for name, _ in watched.samples()) == 200
    monkeypatch.undo()


# ---- dashboard and alerts ------------------------------------------------------------------------------------------

_NAME = re.compile(r"\b(?:drimbox|process)_[a-z_]+\b")
_SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created")


def families(watched: Watched) -> set[str]:
    """Return every name that the archive exposes, those without a sample too."""
    text = watched.exposition.text().decode()
    return {line.split()[2].removesuffix("_total") for line in text.splitlines() if line.startswith("# TYPE")}


def asked(expression: str) -> set[str]:
    """Return the families that a query asks for."""
    found = set()
    for name in _NAME.findall(expression):
        found.add(next((name.removesuffix(end) for end in _SUFFIXES if name.endswith(end)), name))
    return found


def expressions(tree: Any) -> Iterator[str]:
    """Yield every query of a document."""
    if isinstance(tree, dict):
        yield from (value for key, value in tree.items() if key == "expr" and isinstance(value, str))
        tree = list(tree.values())
    if isinstance(tree, list):
        for each in tree:
            yield from expressions(each)


def dashboard() -> Any:
    """Return the dashboard."""
    return json.loads((DOCKER / "grafana-dashboard.json").read_text())


def test_the_dashboard_asks_for_what_there_is_and_leaves_little_out(watched: Watched) -> None:
    """Every name exists, and every family of ours is on it but for three about ourselves."""
    names = {name for expression in expressions(dashboard()) for name in asked(expression)}
    assert names <= families(watched)
    ours = {name for name in families(watched) if name.startswith("drimbox_")}
    assert ours - names == {
        *("drimbox_info", "drimbox_figures_age_seconds", "drimbox_figures_seconds", "drimbox_certificates"),
        "drimbox_probe_timestamp_seconds",
    }


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Panels have ids of their own, a place that is free, and the data source of the variable."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", [])} == {"${datasource}"}


def test_alerts_ask_for_what_there_is(watched: Watched) -> None:
    """Every name exists; expiry, the promise and fewer images are among them; each says what it means."""
    rules = yaml.safe_load((DOCKER / "alerts.yml").read_text())["groups"][0]["rules"]
    names = {name for rule in rules for name in asked(rule["expr"])}
    assert names <= families(watched)
    assert {"drimbox_certificate_days_left", "drimbox_objective_good", "drimbox_arrivals_drop"} <= names
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)


_SELECTED = re.compile(r"\b((?:drimbox|process)_[a-z_]+)\{([^}]*)\}")
_MATCHED = re.compile(r'(\w+)=~?"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on|ignoring) \(([^)]*)\)")
_SHOWN = re.compile(r"\$labels\.(\w+)|\{\{(\w+)\}\}")
_OF_PROMETHEUS = {"job", "instance", "le"}


def labels(watched: Watched) -> dict[str, set[str]]:
    """Return the labels of each family."""
    return {family.name: set(family._labelnames) for family in watched.exposition.collect()}  # type: ignore[attr-defined]


def said() -> Iterator[tuple[str, str]]:
    """Yield each query of the alerts and of the dashboard, and the text that is shown with its labels."""
    for rule in yaml.safe_load((DOCKER / "alerts.yml").read_text())["groups"][0]["rules"]:
        yield rule["expr"], rule["annotations"]["summary"]
    for panel in dashboard()["panels"]:
        yield from ((target["expr"], target["legendFormat"]) for target in panel.get("targets", []))


def test_alerts_and_dashboard_ask_for_labels_there_are(watched: Watched) -> None:
    """What is matched, grouped by and shown is a label of what is asked for: a wrong one matches nothing, silently."""
    known = labels(watched)
    looked_at = 0
    for query, text in said():
        of_all = set().union(*(known.get(name, set()) for name in asked(query)), _OF_PROMETHEUS)
        for name, matchers in _SELECTED.findall(query):
            (family,) = asked(name)
            assert {label for label, _ in _MATCHED.findall(matchers)} <= known[family], query
            looked_at += 1
        grouped = {label.strip() for found in _GROUPED.findall(query) for label in found.split(",")}
        assert grouped <= of_all, query
        assert {first or second for first, second in _SHOWN.findall(text)} <= of_all, text
        looked_at += len(grouped)
    assert looked_at > 20


def test_alerts_ask_for_states_there_are() -> None:
    """A certificate that is expired, not valid yet or unreadable has exactly that word."""
    (states,) = re.findall(r'drimbox_certificates\{state=~"([^"]+)"\}', " ".join(query for query, _ in said()))
    assert set(states.split("|")) == {state.value for state in State if state not in (State.VALID, State.WARNING)}


def test_alerts_hold_for_each_of_several_archives() -> None:
    """Nothing is matched across archives: Prometheus refuses to evaluate such a rule as soon as there are two."""
    assert [query for query, _ in said() if re.search(r"\bon \(\s*\)", query)] == []


def test_the_scrape_example_asks_where_the_archive_answers() -> None:
    """At the path of the surface."""
    (job,) = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics"


# ---- hostile words -------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=60))
def test_any_words_are_labels(site: str, place: str) -> None:
    """Sites, paths and what servers call themselves come back as they were, and nothing of them becomes a sample."""
    site, place = (text.encode("utf-8", "replace").decode() for text in (site, place))
    at = judge(Seen(Place(site, Path(place)), CERTIFICATE), END, (60,))
    nothing = cast(Any, None)  # nothing is counted here
    keeper = FigureKeeper(nothing, nothing, lambda: END, 3, int)
    keeper.certificates = [at]
    committer = cast(Committer, SimpleNamespace(waiting=0, arrived=lambda: {(site, "CT"): (3, 900)}))
    sources = Sources(Meter(), committer, keeper, lambda: END, "0.1.0", free_bytes=dict, floor_bytes=0)
    text = Exposition(sources).text().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    (left,) = [sample for sample in samples if sample.name == "drimbox_certificate_days_left"]
    assert (left.labels["use"], left.labels["place"], left.value) == (site, str(Path(place)), 0)
    (number,) = [sample for sample in samples if sample.name == "drimbox_ingested_instances_total"]
    assert (number.labels, number.value) == ({"site": site, "modality": "CT"}, 3)


def test_many_streams_do_not_flood_who_collects(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that makes up modalities gets five hundred of them."""
    made_up = {("CHU", f"X{number:05d}"): (1, 1) for number in range(10_000)}
    monkeypatch.setattr(type(watched.rig.committer), "arrived", lambda _: made_up)
    found = [name for name, _ in watched.samples() if name == "drimbox_ingested_instances_total"]
    assert len(found) == 500


def test_workflows_that_are_away_do_not_hide_the_rest(watched: Watched) -> None:
    """The other queues are counted."""

    def away() -> Mapping[str, int]:
        raise WorkflowsUnavailable(reason="down")

    watched.keeper.jobs = away
    watched.keeper.refresh()
    assert watched.value("drimbox_queue", queue="migration_waiting") == 0
    assert watched.value("drimbox_queue", queue="thaw") == 0
