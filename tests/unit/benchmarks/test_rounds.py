"""Rounds in turns, stores that go away, facts that name nobody; must not measure time."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import clients, machine, rounds, stores
from benchmarks.peers import Endpoint
from benchmarks.rounds import Contender, peaks_mib, rates, take_turns

_HERE = Endpoint("127.0.0.1", 104, "HERE", os.getpid())


class _FakeBenchmark:
    """Runs like pytest-benchmark's pedantic mode."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(
        self,
        target: Callable[[], object],
        *,
        setup: Callable[[], None],
        teardown: Callable[[], None],
        rounds: int,
        iterations: int,
    ) -> None:
        """Run the rounds."""
        assert iterations == 1
        for _ in range(rounds):
            setup()
            target()
            teardown()


def _contender(name: str, events: list[str]) -> Contender:
    @contextmanager
    def serve() -> Iterator[Endpoint]:
        events.append(f"{name} up")
        yield _HERE
        events.append(f"{name} down")

    return Contender(name, serve, lambda _: events.append(f"{name} works"), lambda _: events.append(f"{name} checked"))


def test_contenders_take_turns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round runs the peer and then the archive, never both up, the disks synced before the work."""
    events: list[str] = []
    monkeypatch.setattr(rounds, "settle", lambda: events.append("settled"))
    take_turns(_FakeBenchmark(), [_contender("archive", events), _contender("orthanc", events)], 2)
    one_turn = [
        f"{name} {event}".replace(f"{name} settled", "settled")
        for name in ("orthanc", "archive")
        for event in ("up", "settled", "works", "checked", "down")
    ]
    assert events == one_turn * 2


def test_only_the_work_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds of a round are those of the work: two readings of the clock around it."""
    readings = iter([10.0, 12.5])
    monkeypatch.setattr(rounds, "monotonic", lambda: next(readings))
    contender = _contender("archive", [])
    contender.whole_round()
    assert contender.seconds == [2.5]
    assert rates([contender], 600) == {"archive": [240.0]}


def test_memory_is_the_highest_of_all_rounds() -> None:
    """The memory shown is the worst round's."""
    contender = _contender("archive", [])
    contender.peak_rss_bytes = [50 << 20, 75 << 20, 60 << 20]
    assert peaks_mib([contender]) == {"archive": 75.0}


def test_failed_check_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round whose work was not done is not a measurement."""

    def check(_: Endpoint) -> None:
        raise AssertionError("599 of 600")

    contender = _contender("archive", [])
    contender.check = check
    with pytest.raises(AssertionError, match="599"):
        take_turns(_FakeBenchmark(), [contender], 1)


def test_fresh_store_stays_until_the_workspace_goes(tmp_path: Path) -> None:
    """A fresh store is empty, its own, and left alone afterwards: deleting it would slow the next contender."""
    seen: list[Path] = []

    @contextmanager
    def serve(store: Path) -> Iterator[Endpoint]:
        store.mkdir()
        (store / "image").write_bytes(b"1")
        seen.append(store)
        yield _HERE

    for _ in range(2):
        with stores.fresh(serve, tmp_path):
            assert [path.name for path in seen[-1].iterdir()] == ["image"]
    assert seen[0] != seen[1]
    assert all((store / "image").exists() for store in seen)


def test_missing_instances_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check after a store round fails when the server says it has fewer instances than were acknowledged."""
    monkeypatch.setattr("benchmarks.probe.count_instances", lambda *_: 599)
    stores.expect_instances(599, "1.2.3")(_HERE)
    with pytest.raises(AssertionError, match="HERE holds 599 of 600"):
        stores.expect_instances(600, "1.2.3")(_HERE)


def test_pixel_digests_ignore_headers(tmp_path: Path) -> None:
    """Files are compared by their pixels: a retrieving client may write its own header before them."""
    (tmp_path / "a").write_bytes(b"one header" + b"pixels")
    (tmp_path / "b").write_bytes(b"another, longer header" + b"pixels")
    assert stores.pixel_digests(tmp_path, 6) == {hashlib.sha256(b"pixels").digest()}


@pytest.mark.parametrize(("files", "shares"), [(8, [2, 2, 2, 2]), (10, [2, 3, 2, 3]), (3, [0, 1, 1, 1])])
def test_split_shares_out_everything(tmp_path: Path, files: int, shares: list[int]) -> None:
    """Four associations share a series evenly: every file once, in order."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(files):
        (source / f"{number:03d}").write_bytes(bytes([number]))
    parts = clients.split(source, 4, tmp_path / "parts")
    assert [len(list(part.iterdir())) for part in parts] == shares
    names = [path.name for part in parts for path in sorted(part.iterdir())]
    assert names == sorted(path.name for path in source.iterdir())


def test_failing_client_is_noticed(tmp_path: Path) -> None:
    """A client that cannot do its work makes the round fail, with its own words."""
    nobody = Endpoint("127.0.0.1", 9, "NOBODY", os.getpid())
    if not _installed("storescu"):
        pytest.skip("needs DCMTK")
    (tmp_path / "empty.dcm").write_bytes(b"")
    with pytest.raises(clients.ClientFailed, match="storescu"):
        clients.store(nobody, tmp_path)


def _installed(program: str) -> bool:
    return any(os.access(Path(folder) / program, os.X_OK) for folder in os.environ.get("PATH", "").split(":"))


def test_facts_name_no_machine(tmp_path: Path) -> None:
    """The facts beside the results say what the machine is, and not which one it is or whose."""
    facts = machine.facts(tmp_path)
    assert facts["cores"] >= 1
    assert facts["memory_mib"] > 100
    assert facts["file_system"] not in ("", "unknown")
    assert facts["python"] == platform.python_version()
    assert {"cpu", "kernel", "orthanc", "dcmtk", "postgresql", "sqlite", "pynetdicom"} <= set(facts)
    assert platform.node() not in map(str, facts.values())
    assert re.fullmatch(r"[\d.]+", facts["kernel"])


def test_absent_program_is_a_fact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A peer that is not installed is written down as that."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.facts(tmp_path)["orthanc"] == "not installed"
