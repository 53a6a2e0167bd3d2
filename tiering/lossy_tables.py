"""Reads the rules of lossy compression from their TOML files; must not let an unclear one through.

The files are in `tiering/rules`; only this module knows their form.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, NoReturn

from tiering.errors import InvalidLossyRules
from tiering.lossy_rules import Cap, CapTable, LossyRules, NeverRules, SiteRules
from tiering.quality import Gate, GateTable

TABLES = ("drg", "car")
REGIONS = ("brain", "other")

_WORDS = {str: "a text", float: "a number", list: "a list", dict: "a table"}


def load_rules(table: str = "drg", site: SiteRules | None = None) -> LossyRules:
    """Return the rules with one society's caps (drg, car) and what a site adds. Raises InvalidLossyRules."""
    if table not in TABLES:
        raise InvalidLossyRules(file=table, reason=f"there are {', '.join(TABLES)}")
    rules = site or SiteRules()
    for modality, ratio in rules.caps.items():
        if not (math.isfinite(ratio) and ratio > 1):
            raise InvalidLossyRules(file="the site's rules", reason=f"the cap of {modality} is not above 1")
    return LossyRules(_shipped_caps(table), _shipped_never(), rules)


@lru_cache
def load_gates() -> GateTable:
    """Return the gates of every modality. Raises InvalidLossyRules."""
    return read_gates("gates", _text("gates"))


@lru_cache
def _shipped_caps(table: str) -> CapTable:
    return read_caps(table, _text(table))


@lru_cache
def _shipped_never() -> NeverRules:
    return read_never("never", _text("never"))


def _text(name: str) -> str:
    return (resources.files("tiering") / "rules" / f"{name}.toml").read_text(encoding="utf-8")


def read_caps(name: str, text: str) -> CapTable:
    """Return the caps written in `text` (TOML); `name` is for messages. Raises InvalidLossyRules."""
    reader = _Reader(name, text)
    reader.keys("the file", reader.content, {"name": str, "version": str, "citation": dict, "caps": list})
    citation = reader.content["citation"]
    reader.keys("the citation", citation, {"text": str, "url": str})
    caps = [reader.cap(f"cap {number}", row) for number, row in enumerate(reader.content["caps"], 1)]
    reader.check_rows([(cap.modality, cap.region) for cap in caps])
    return CapTable(reader.content["name"], reader.content["version"], citation["text"], citation["url"], tuple(caps))


def read_gates(name: str, text: str) -> GateTable:
    """Return the gates written in `text` (TOML). Raises InvalidLossyRules."""
    reader = _Reader(name, text)
    reader.keys("the file", reader.content, {"version": str, "gates": list})
    rows = [reader.gate(f"gate {number}", row) for number, row in enumerate(reader.content["gates"], 1)]
    reader.check_rows([key for key, _ in rows])
    return GateTable(reader.content["version"], dict(rows))


def read_never(name: str, text: str) -> NeverRules:
    """Return what is never compressed with loss, written in `text` (TOML). Raises InvalidLossyRules."""
    reader = _Reader(name, text)
    lists = dict.fromkeys(("sop_classes", "photometrics", "modalities", "image_types", "regions"), list)
    reader.keys("the file", reader.content, {"version": str, **lists})
    return NeverRules(
        version=reader.content["version"],
        sop_classes=frozenset(reader.words("sop_classes", reader.content["sop_classes"])),
        photometrics=frozenset(reader.words("photometrics", reader.content["photometrics"])),
        modalities=reader.reasons("modalities", "names"),
        image_types=reader.reasons("image_types", "words"),
        regions=reader.regions(),
    )


class _Reader:
    """Turns a parsed file into rules; every refusal names the file and the row."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        try:
            self.content: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise InvalidLossyRules(file=name, reason=f"it is not TOML ({exc})") from exc

    def refuse(self, reason: str) -> NoReturn:
        """Raise InvalidLossyRules."""
        raise InvalidLossyRules(file=self.name, reason=reason)

    def keys(self, where: str, table: object, types: Mapping[str, type], optional: Sequence[str] = ()) -> None:
        """Refuse a table with an unknown key, without a needed one, or with an empty or wrong value."""
        if not isinstance(table, dict):
            self.refuse(f"{where} is not a table")
        for key in table.keys() - types.keys():
            self.refuse(f"{where} has the unknown key {key}")
        for key in types.keys() - table.keys() - set(optional):
            self.refuse(f"{where} has no {key}")
        for key, value in table.items():
            if not isinstance(value, types[key]) or value in ("", [], {}):
                self.refuse(f"{key} of {where} is not {_WORDS[types[key]]}, or empty")

    def cap(self, where: str, row: object) -> Cap:
        """Return one cap."""
        types = {"modality": str, "region": str, "ratio": float, "quote": str}
        self.keys(where, row, types, ("region",))
        assert isinstance(row, dict)
        self.check_number(where, row["ratio"], 1.0, 100.0)
        return Cap(**row)

    def gate(self, where: str, row: object) -> tuple[tuple[str, str], Gate]:
        """Return one gate and what it is for."""
        limits = dict.fromkeys(("max_error", "max_error_percent", "min_psnr_db", "min_ssim"), float)
        self.keys(where, row, {"modality": str, "region": str, "rationale": str, **limits}, ("region", *limits))
        assert isinstance(row, dict)
        values = dict(row)
        key = values.pop("modality"), values.pop("region", "")
        if ("max_error" in values) == ("max_error_percent" in values):
            self.refuse(f"{where} needs either max_error or max_error_percent")
        for name, (low, high) in _GATE_LIMITS.items():
            if name in values:
                self.check_number(f"{name} of {where}", values[name], low, high)
        if not {"min_psnr_db", "min_ssim"} <= values.keys():
            self.refuse(f"{where} needs min_psnr_db and min_ssim")
        return key, Gate(**values)

    def check_number(self, where: str, value: float, low: float, high: float) -> None:
        """Refuse a number out of (low, high]; not a number is out of everything."""
        if not low < value <= high:
            self.refuse(f"{where}: {value} is not above {low:g} and up to {high:g}")

    def check_rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Refuse rows that say the same thing twice, name no region there is, or make a region's row ambiguous."""
        for modality, region in rows:
            if region and region not in REGIONS:
                self.refuse(f"{region!r} of {modality} is not one of {', '.join(REGIONS)}")
            if rows.count((modality, region)) > 1:
                self.refuse(f"{modality} {region} is there twice".replace("  ", " "))
            if region and (modality, "") in rows:
                self.refuse(f"{modality} has a row for all and one for {region}: which holds is unclear")

    def words(self, where: str, values: Iterable[object]) -> list[str]:
        """Return a list of distinct texts in capitals."""
        found = [value.strip().upper() for value in values if isinstance(value, str) and value.strip()]
        if len(found) != len(list(values)) or len(set(found)) != len(found):
            self.refuse(f"{where} has an item that is empty, no text, or there twice")
        return found

    def reasons(self, name: str, key: str) -> dict[str, str]:
        """Return the reason of every word of a list of tables."""
        pairs = []
        for number, row in enumerate(self.content[name], 1):
            self.keys(f"{name} {number}", row, {key: list, "reason": str})
            pairs += [(word, row["reason"]) for word in row[key]]
        self.words(name, [word for word, _ in pairs])
        return {word.strip().upper(): reason for word, reason in pairs}

    def regions(self) -> dict[str, str]:
        """Return the region of every word and code."""
        pairs = []
        for number, row in enumerate(self.content["regions"], 1):
            self.keys(f"region {number}", row, {"name": str, "words": list, "codes": list})
            if row["name"] not in REGIONS:
                self.refuse(f"{row['name']!r} is not one of {', '.join(REGIONS)}")
            pairs += [(word, row["name"]) for word in (*row["words"], *row["codes"])]
        self.words("regions", [word for word, _ in pairs])
        return {word.strip().upper(): region for word, region in pairs}


_GATE_LIMITS = {
    "max_error": (0.0, 1000.0),
    "max_error_percent": (0.0, 100.0),
    "min_psnr_db": (20.0, 200.0),
    "min_ssim": (0.5, 1.0),
}
