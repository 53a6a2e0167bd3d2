"""Probes: which series is asked for, what is kept of it, what it comes to."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from archive.index import probes
from archive.index.probes import Probed
from archive.index.records import StoredInstance
from archive.services.probe import Fetched, Probe
from archive.services.slo import ProbeHistory, is_kept, summarise
from tests.objects import ROOT, ct_dataset
from tests.unit.services.rig import Rig, open_rig
from tests.unit.services.shelf import NOON


@dataclass
class Asked:
    """Notes which series were asked for, and answers."""

    answer: Fetched = field(default_factory=lambda: Fetched(0.1234, 2.5, 2, 1000))
    series: list[str] = field(default_factory=list)

    def __call__(self, instances: Sequence[StoredInstance]) -> Fetched:
        assert len({each.series_instance_uid for each in instances}) == 1
        self.series.append(instances[0].series_instance_uid)
        return self.answer


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend an archive with three series, one of them a report."""
    with open_rig(tmp_path / "home") as lent:
        for number in (1, 2):
            for series, modality in ((1, "CT"), (2, "SR"), (3, "MR")):
                lent.send(ct_dataset(number, series=series, Modality=modality))
        yield lent


def test_a_series_of_images_is_measured_and_kept(rig: Rig) -> None:
    """The journal says that it was the probe, and not which series."""
    asked = Asked()
    (probed,) = Probe(rig.committer, rig.clock, asked, ["hot", "cold"], random.Random(1)).run()
    assert (probed.tier, probed.site, probed.instances, probed.first_ms, probed.whole_ms) == (
        *("hot", "default", 2),
        *(123, 2500),
    )
    (entry,) = [row for row in rig.entries() if row.event == "probed"]
    assert entry.actor == "probe"
    assert ROOT not in entry.body and json.loads(entry.body)["whole_ms"] == 2500
    assert ProbeHistory(rig.database).last(rig.clock.now) == [probed]


def test_every_series_has_its_turn_and_reports_have_none(rig: Rig) -> None:
    """Chance chooses among those with images, so that in time all of them are measured."""
    asked = Asked()
    probe = Probe(rig.committer, rig.clock, asked, ["hot"], random.Random(1))
    for _ in range(20):
        probe.run()
    assert set(asked.series) == {f"{ROOT}.1.1", f"{ROOT}.1.3"}


def test_old_measurements_are_forgotten(rig: Rig) -> None:
    """After ninety days."""
    probe = Probe(rig.committer, rig.clock, Asked(), ["hot"])
    probe.run()
    rig.clock.advance(days=91)
    probe.run()
    with rig.committer.read() as connection:
        assert len(probes.since(connection, NOON)) == 1


def test_an_empty_archive_has_nothing_to_measure(tmp_path: Path) -> None:
    """No series, no site."""
    with open_rig(tmp_path / "empty") as rig:
        assert Probe(rig.committer, rig.clock, Asked(), ["hot", "cold"]).run() == []


def probed(first_ms: int, *, whole_ms: int = 1000, tier: str = "hot", problem: str = "") -> Probed:
    """Return a measurement."""
    return Probed(NOON + timedelta(milliseconds=first_ms), tier, "CHU", 600, 1, first_ms, whole_ms, problem)


def test_percentiles_are_by_nearest_rank() -> None:
    """Of a hundred, the 50th, the 95th, the 99th; those that failed are counted and not timed."""
    (found,) = summarise([*(probed(time) for time in range(1, 101)), probed(9999, problem="0 of 3 came")])
    assert (found.first_ms, found.whole_ms) == ((50, 95, 99), (1000, 1000, 1000))
    assert (found.probes, found.failed, found.kept) == (101, 1, 100)
    assert found.last_at == NOON + timedelta(milliseconds=9999)


def test_few_probes_have_percentiles_too() -> None:
    """Of three, the slowest is all of the upper ones; of one, it is everything."""
    assert [summarise(map(probed, times))[0].first_ms for times in ((1, 2, 3), (7,))] == [(2, 3, 3), (7, 7, 7)]


def test_tiers_are_apart_and_only_failures_have_no_times() -> None:
    """One row for each tier and site."""
    hot, cold = sorted(summarise([probed(3), probed(4, tier="cold", problem="x")]), key=lambda each: each.tier != "hot")
    assert (hot.first_ms, cold.first_ms, cold.failed) == ((3, 3, 3), None, 1)
    assert summarise([]) == []


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (probed(5000, whole_ms=60_000), True),
        (probed(5001), False),
        (probed(1, whole_ms=60_001), False),
        (probed(1, problem="599 of 600 came"), False),
    ],
)
def test_the_promise_of_a_probe(found: Probed, kept: bool) -> None:
    """First image within five seconds, six hundred within a minute, all of them."""
    assert is_kept(found) is kept
