"""Lines of INSEE's file of deaths, for tests and benchmarks; must not read any."""

from __future__ import annotations


def insee_line(
    name: str = "MOREAU",
    first_names: str = "HELENE MARIE",
    *,
    sex: str = "2",
    born: str = "19500714",
    died: str = "20250630",
    deed: str = "1234",
) -> str:
    """Return a record as it is in the file, without the line's end: born in Paris, died in Lyon."""
    names = f"{name}*{first_names}/".ljust(80)
    birth = f"{sex}{born}75056{'PARIS':30}{'':30}"
    return f"{names}{birth}{died}69123{deed:9}"
