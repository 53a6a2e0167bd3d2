"""The README's table: its rows, its markers, its place; must not read the real results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import results, table
from benchmarks.results import Figure, Target, load, save
from benchmarks.table import BEGIN, END, insert, read_results, render, rows

_MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "memory_mib": 24105,
    "file_system": "ext4",
    "kernel": "6.1",
    "python": "3.11.7",
    "orthanc": "1.10.1",
    "dcmtk": "3.6.7",
    "postgresql": "15.1",
    "sqlite": "3.40",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty results folder that the table is written from."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(table, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(table, "README", tmp_path / "README.md")
    return tmp_path / "results"


def _save(name: str, *, keep: bool = True) -> dict[str, Any]:
    rounds = {"archive": [310.0], "orthanc": [150.0], "storescp": [700.0]}
    targets = [Target(1.7, 3.0, against="orthanc"), Target(400)]
    figure = Figure("one", "Ingest", "instances/s", rounds, targets)
    return load(save(name, [figure], size="full", machine=_MACHINE, on="2026-11-23", keep=keep))


def test_row_shows_everyone_and_every_target(folder: Path) -> None:
    """A row shows our median, the peers' beside it, the ratios, and each target with what became of it."""
    (cells,) = rows(_save("ingest"))
    assert cells == (
        "Ingest (instances/s)",
        "**310**",
        "Orthanc 150<br>storescp 700",
        "2.07 × Orthanc<br>0.443 × storescp",
        "≥ 1.7 × Orthanc, goal 3: ✔ reached<br>≥ 400: ✘ not reached",
    )


def test_delay_alone_has_dashes(folder: Path) -> None:
    """A figure without a peer has dashes for it, its bound the other way round, and says when the law sets it."""
    targets = [Target(5000, 100, legal=True)]
    figure = Figure("delay", "First image", "ms p95", {"archive": [7.994]}, targets, higher_is_better=False)
    (cells,) = rows({"figures": [figure.as_json()]})
    assert cells[1:] == ("**7.99**", "–", "–", "≤ 5000, goal 100 (law): ✔ goal reached")


def test_table_names_the_machine_once(folder: Path) -> None:
    """The table ends with the machine and versions, once when all results come from one."""
    text = render([_save("ingest"), _save("find")])
    assert text.count("Some CPU, 2 cores, 23 GiB, ext4, Linux 6.1, Python 3.11.7, Orthanc 1.10.1") == 1
    assert "Measured on 2026-11-23, full size" in text
    assert text.startswith("| Measured (medians) |")


def test_results_come_in_order_without_smoke(folder: Path) -> None:
    """Ingest comes before retrieve and find, unknown ones last, and smoke results not at all."""
    for name in ("zebra", "find", "retrieve", "ingest"):
        _save(name)
    _save("memory", keep=False)
    assert [result["name"] for result in read_results(folder)] == ["ingest", "retrieve", "find", "zebra"]


def test_table_goes_between_the_markers() -> None:
    """Only what stands between the markers changes, and inserting twice is inserting once."""
    readme = f"# Title\n\n{BEGIN}\nold\n{END}\n\nMore.\n"
    once = insert(readme, "new")
    assert once == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nMore.\n"
    assert insert(once, "new") == once


@pytest.mark.parametrize(
    "readme", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}"], ids=["none", "begin", "swapped", "two"]
)
def test_missing_markers_are_an_error(readme: str) -> None:
    """A README without both markers in order is left alone, loudly."""
    with pytest.raises(ValueError, match="each once"):
        insert(readme, "new")


def test_check_tells_an_old_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--check`` ends with 1 and writes nothing while the table is out of date, and with 0 once it is written."""
    _save("ingest")
    table.README.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    before = table.README.read_text(encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["table", "--check"])
    assert table.main() == 1
    assert "python -m benchmarks.table" in capsys.readouterr().err
    assert table.README.read_text(encoding="utf-8") == before
    monkeypatch.setattr("sys.argv", ["table"])
    assert table.main() == 0
    monkeypatch.setattr("sys.argv", ["table", "--check"])
    assert table.main() == 0
    assert "**310**" in table.README.read_text(encoding="utf-8")
