"""Medians, ratios, targets and the results files of the benchmarks; must not run a benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.results import Figure, Target, load, percentile, save


def _rate(*targets: Target) -> Figure:
    rounds = {"archive": [300.0, 390.0, 310.0], "orthanc": [150.0, 155.0, 100.0]}
    return Figure("rate", "Rate", "instances/s", rounds, targets)


def _delay(*targets: Target) -> Figure:
    return Figure("delay", "Delay", "s", {"archive": [2.0], "orthanc": [3.0]}, targets, higher_is_better=False)


@pytest.mark.parametrize(("rank", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (1, 1), (0.5, 1)], ids=str)
def test_percentile_is_one_of_the_values(rank: float, expected: int) -> None:
    """The nearest-rank percentile of 1..100 is the number itself, whatever their order."""
    assert percentile(list(range(100, 0, -1)), rank) == expected


def test_percentile_of_few_values() -> None:
    """The 95th percentile of ten samples is the worst of them: never a flattering interpolation."""
    assert percentile([1.0] * 9 + [7.0], 95) == 7.0
    assert percentile([3.0], 95) == 3.0


def test_thousands_are_set_apart() -> None:
    """Large numbers in titles have narrow spaces between their thousands."""
    assert results.grouped(1_000_000) == "1\u202f000\u202f000"
    assert results.grouped(600) == "600"


def test_ratio_is_of_medians() -> None:
    """The ratio compares medians, so one lucky round does not count."""
    assert _rate().ratio("orthanc") == pytest.approx(310 / 150)


def test_ratio_of_delays_is_turned_round() -> None:
    """A shorter delay is a ratio above one."""
    assert _delay().ratio("orthanc") == pytest.approx(1.5)


def test_growth_of_nothing_has_no_ratio() -> None:
    """A server that did not grow at all is not infinitely better: the ratio is left out."""
    rounds = {"archive": [0.0], "orthanc": [768.0]}
    row = Figure("growth", "Growth", "MiB", rounds, [Target(96)], higher_is_better=False).as_json()
    assert row["ratios"] == {}
    assert row["targets"][0]["reached"] == "floor"


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (Target(1.7, 3.0, against="orthanc"), "floor"),
        (Target(1.0, 2.0, against="orthanc"), "goal"),
        (Target(2.5, 3.0, against="orthanc"), "no"),
        (Target(310), "floor"),
        (Target(311), "no"),
    ],
    ids=str,
)
def test_target_of_a_rate(target: Target, reached: str) -> None:
    """A rate reaches what it equals or exceeds."""
    assert _rate(target).verdicts()[0].reached == reached


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (Target(5.0), "floor"),
        (Target(5.0, 2.0), "goal"),
        (Target(1.9), "no"),
        (Target(1.0, 1.5, against="orthanc"), "goal"),
        (Target(1.6, against="orthanc"), "no"),
    ],
    ids=str,
)
def test_target_of_a_delay(target: Target, reached: str) -> None:
    """A delay reaches a bound it does not exceed, and a ratio as a rate does."""
    assert _delay(target).verdicts()[0].reached == reached


def test_only_legal_targets_hold_at_smoke_size() -> None:
    """A missed floor fails the full size only; a missed legal limit fails every size."""
    figure = _delay(Target(1.0), Target(1.5, legal=True), Target(9.0))
    assert len(figure.missed(full=True)) == 2
    assert figure.missed(full=False) == ["Delay: 2, floor 1.5, goal None: no"]


def test_results_file_says_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A results file holds machine, size, day, every round, medians, ratios and what was reached."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    figure = _rate(Target(1.7, 3.0, against="orthanc"))
    path = save("ingest", [figure], size="full", machine={"cores": 2}, on="2026-11-23", keep=True)
    content = load(path)
    assert path.name == "ingest.json"
    assert (content["size"], content["machine"]) == ("full", {"cores": 2})
    (row,) = content["figures"]
    assert row["measured_on"] == "2026-11-23"
    assert row["medians"] == {"archive": 310, "orthanc": 150}
    assert row["rounds"]["archive"] == [300, 390, 310]
    assert row["ratios"] == {"orthanc": 2.0667}
    assert row["targets"][0]["reached"] == "floor"


def test_smoke_results_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A smoke run writes beside the kept results, under the name that git ignores."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    path = save("ingest", [_rate()], size="smoke", machine={}, on="2026-11-23", keep=False)
    assert path.name == "ingest.tmp.json"


def test_figures_of_the_same_machine_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring one figure again keeps the others of the same machine, and drops those of another one."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    first = {"size": "full", "machine": {"cores": 2}, "keep": True}
    save("ingest", [_rate(), _delay()], on="2026-11-22", **first)  # type: ignore[arg-type]
    path = save("ingest", [_delay()], on="2026-11-23", **first)  # type: ignore[arg-type]
    days = {row["name"]: row["measured_on"] for row in load(path)["figures"]}
    assert days == {"rate": "2026-11-22", "delay": "2026-11-23"}
    save("ingest", [_delay()], size="full", machine={"cores": 64}, on="2026-11-24", keep=True)
    assert [row["name"] for row in load(path)["figures"]] == ["delay"]
