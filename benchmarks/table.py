"""The README's table of measured figures, written from the results between two markers; must not measure.

``python -m benchmarks.table`` writes it, ``--check`` only says (exit 1) that it is out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, OURS, load

BEGIN = "<!-- benchmarks: begin (written by python -m benchmarks.table) -->"
END = "<!-- benchmarks: end -->"
README = Path(__file__).resolve().parent.parent / "README.md"
_ORDER = ("ingest", "scale", "retrieve", "find", "memory", "assess")
_REACHED = {"goal": "✔ goal reached", "floor": "✔ reached", "no": "✘ not reached"}
_VERSIONS = {
    "kernel": "Linux", "python": "Python", "orthanc": "Orthanc", "dcmtk": "DCMTK", "postgresql": "PostgreSQL",
    "sqlite": "SQLite",
}  # fmt: skip
_HEADINGS = ("Measured (medians)", "This archive", "Beside it", "Ratio", "Set")


def rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield one row of cells for each figure of a results file."""
    for figure in result["figures"]:
        medians: Mapping[str, float] = figure["medians"]
        others = [name for name in medians if name != OURS]
        yield (
            f"{figure['title']} ({figure['unit']})",
            f"**{_number(medians[OURS])}**",
            _lines(f"{_shown(name)} {_number(medians[name])}" for name in others),
            _lines(f"{_number(ratio)} × {_shown(name)}" for name, ratio in figure["ratios"].items()),
            _lines(_target(target, figure["higher_is_better"]) for target in figure["targets"]),
        )


def _lines(parts: Iterator[str]) -> str:
    return "<br>".join(parts) or "–"


def _shown(contender: str) -> str:
    return {"orthanc": "Orthanc"}.get(contender, contender)


def _number(value: float) -> str:
    """Return ``value`` with three significant digits, never with an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _target(target: Mapping[str, Any], higher_is_better: bool) -> str:
    """Return a target in words: what is asked, and whether it was reached."""
    against = target["against"]
    sign = "≥" if higher_is_better or against else "≤"
    unit = f" × {_shown(against)}" if against else ""
    goal = f", goal {target['goal']:g}" if target["goal"] is not None else ""
    law = " (law)" if target["legal"] else ""
    return f"{sign} {target['floor']:g}{unit}{goal}{law}: {_REACHED[target['reached']]}"


def render(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of all results, and under it the machines they were measured on."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cells) + " |" for result in results for cells in rows(result)]
    return "\n".join([*lines, "", *dict.fromkeys(_machine(result) for result in results)])


def _machine(result: Mapping[str, Any]) -> str:
    facts = result["machine"]
    days = sorted({figure["measured_on"] for figure in result["figures"]})
    memory = f"{facts['memory_mib'] // 1024} GiB"
    versions = ", ".join(f"{shown} {facts[name]}" for name, shown in _VERSIONS.items())
    machine = f"{facts['cpu']}, {facts['cores']} cores, {memory}, {facts['file_system']}"
    return f"Measured on {' and '.join(days)}, {result['size']} size: {machine}, {versions}."


def insert(readme: str, table: str) -> str:
    """Return ``readme`` with ``table`` between the markers; raise ValueError when they are not there once, in order."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(f"README.md needs {BEGIN!r} and then {END!r}, each once")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the kept results of ``folder`` in the table's order."""
    found = {path.stem: load(path) for path in folder.glob("*.json") if not path.name.endswith(".tmp.json")}
    return [found[name] for name in sorted(found, key=_place)]


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER)), name


def main() -> int:
    """Write the table, or check it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 when the table is out of date")
    check = parser.parse_args().check
    old = README.read_text(encoding="utf-8")
    new = insert(old, render(read_results(FOLDER)))
    if check and new != old:
        print("README.md: run python -m benchmarks.table", file=sys.stderr)
        return 1
    if not check:
        README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
