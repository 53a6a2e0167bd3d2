"""Reads schedules from their TOML files and applies a site's settings; must not let an unclear text through.

The files are in ``retention_rules/schedules``; only this module knows their form.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from string import Formatter
from typing import Any, NoReturn

from retention_rules.errors import InvalidSchedule, InvalidSetting, SettingBelowFloor, UnknownRegime
from retention_rules.facts import REGIMES, Regime
from retention_rules.schedule import Citation, Edition, RetentionSchedule, Rule

LANGUAGES = ("fr", "en")
PLACEHOLDERS = frozenset({"years", "counted_from", "modalities"})
LONGEST_YEARS = 1000

_ROLES: dict[str, tuple[str, ...]] = {
    "hospital": ("hospital.base", "hospital.minor", "hospital.death", "common.immediate_access"),
    "private": ("private.base", "private.minor", "private.death", "private.floor", "common.immediate_access"),
}
_RULE_TYPES: dict[str, type] = {
    "name": str,
    "years": int,
    "valid_from": date,
    "citation": dict,
    "explanations": dict,
    "minimum_years": int,
    "valid_until": date,
    "within_years": int,
    "modalities": list,
    "is_optional": bool,
}
_REQUIRED = ("name", "years", "valid_from", "citation", "explanations")


def load_schedule(regime: str, settings: Mapping[str, int | bool] | None = None) -> RetentionSchedule:
    """Return the schedule of a regime, lengthened by a site's settings.

    ``settings`` gives a rule (``base``, ``minor``, ``death``, ``floor``, ``immediate_access``) its years, or switches
    an optional one off with ``False``. Raises UnknownRegime, InvalidSchedule, InvalidSetting, SettingBelowFloor.
    """
    schedule = _shipped(regime)
    return with_settings(schedule, settings) if settings else schedule


@lru_cache
def _shipped(regime: str) -> RetentionSchedule:
    if regime not in REGIMES:
        raise UnknownRegime(regime=regime)
    name = f"fr_{regime}"
    file = resources.files("retention_rules") / "schedules" / f"{name}.toml"
    return read_schedule(name, file.read_text(encoding="utf-8"))


def read_schedule(name: str, text: str) -> RetentionSchedule:
    """Return the schedule written in ``text`` (TOML); ``name`` is for messages. Raises InvalidSchedule."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise InvalidSchedule(schedule=name, reason=f"it is not TOML ({exc})") from exc
    return _Reader(name).schedule(content)


class _Reader:
    """Turns a parsed file into a schedule; every refusal names the file and the rule."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self, reason: str) -> NoReturn:
        """Raise InvalidSchedule."""
        raise InvalidSchedule(schedule=self.name, reason=reason)

    def schedule(self, content: Mapping[str, Any]) -> RetentionSchedule:
        """Return the schedule of a whole file."""
        self._keys("the file", content, {"regime": str, "version": str, "rules": list}, ("regime", "version", "rules"))
        regime: Regime = content["regime"]
        if regime not in REGIMES:
            self.refuse(f"regime {regime!r} is not one of {', '.join(REGIMES)}")
        if not content["version"].strip():
            self.refuse("version is empty")
        rules = [self._rule(f"rule {number}", table) for number, table in enumerate(content["rules"], 1)]
        return RetentionSchedule(regime, content["version"], tuple(self._editions(rules, _ROLES[regime])))

    def _keys(self, where: str, table: object, types: Mapping[str, type], required: Sequence[str]) -> None:
        if not isinstance(table, dict):
            self.refuse(f"{where} is not a table")
        unknown = sorted(table.keys() - types.keys())
        missing = [key for key in required if key not in table]
        if unknown or missing:
            self.refuse(f"{where} " + (f"has the unknown key {unknown[0]}" if unknown else f"has no {missing[0]}"))
        for key, value in table.items():
            if not _is_a(value, types[key]):
                self.refuse(f"{key} of {where} is not {_WORDS[types[key]]}")

    def _rule(self, where: str, table: Any) -> Rule:
        self._keys(where, table, _RULE_TYPES, _REQUIRED)
        values = dict(table)
        where = f"rule {values['name']}"
        values["citation"] = self._citation(where, values["citation"])
        self._check_explanations(where, values["explanations"])
        values["modalities"] = self._modalities(where, values.get("modalities", []))
        values.setdefault("minimum_years", values["years"])
        rule = Rule(**values)
        self._check_numbers(where, rule)
        return rule

    def _citation(self, where: str, table: object) -> Citation:
        fields = [field.name for field in dataclasses.fields(Citation)]
        self._keys(f"the citation of {where}", table, dict.fromkeys(fields, str), fields)
        assert isinstance(table, dict)
        if not (table["text"].strip() and table["article"].strip()):
            self.refuse(f"the citation of {where} is empty")
        return Citation(**table)

    def _check_explanations(self, where: str, table: object) -> None:
        where = f"the explanations of {where}"
        self._keys(where, table, dict.fromkeys(LANGUAGES, str), LANGUAGES)
        assert isinstance(table, dict)
        for language, template in table.items():
            try:
                used = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
            except ValueError as exc:
                self.refuse(f"{where}, {language}: {exc}")
            if not template.strip() or used - PLACEHOLDERS:
                self.refuse(
                    f"{where}, {language}: "
                    + ("empty" if not template.strip() else f"no {min(used - PLACEHOLDERS)!r} here")
                )

    def _modalities(self, where: str, values: Sequence[object]) -> frozenset[str]:
        found = [value for value in values if isinstance(value, str) and value.strip()]
        if len(found) != len(values):
            self.refuse(f"modalities of {where} has an item that is not a modality")
        return frozenset(value.strip().upper() for value in found)

    def _check_numbers(self, where: str, rule: Rule) -> None:
        if not (1 <= rule.minimum_years <= rule.years <= LONGEST_YEARS and 0 <= rule.within_years <= LONGEST_YEARS):
            self.refuse(f"{where} has years out of 1 to {LONGEST_YEARS}, or below minimum_years")
        if rule.name.endswith(".death") != (rule.within_years > 0):
            self.refuse(f"{where}: within_years is for the death rule, which needs it")
        if rule.name.endswith(".floor") != bool(rule.modalities):
            self.refuse(f"{where}: modalities is for the floor, which needs it")
        if rule.valid_until is not None and rule.valid_until <= rule.valid_from:
            self.refuse(f"{where} ends (valid_until) before it begins")

    def _editions(self, rules: Sequence[Rule], names: Sequence[str]) -> list[Edition]:
        if not rules:
            self.refuse("it has no rule")
        histories = {name: [rule for rule in rules if rule.name == name] for name in names}
        for rule in rules:
            if rule.name not in histories:
                self.refuse(f"{rule.name!r} is no rule of this regime; its rules are {', '.join(names)}")
        for name, history in histories.items():
            self._check_history(name, history)
        days = sorted({rule.valid_from for history in histories.values() for rule in history[1:]})
        first = min(rule.valid_from for rule in rules)
        return [_edition(day, histories.values()) for day in [first, *days]]

    def _check_history(self, name: str, history: list[Rule]) -> None:
        """Refuse a rule that is missing, or whose versions overlap, leave a gap, or come to an end."""
        if not history:
            self.refuse(f"the rule {name} is missing")
        history.sort(key=lambda rule: rule.valid_from)
        for older, newer in pairwise(history):
            if older.valid_until != newer.valid_from:
                fault = "overlap" if (older.valid_until or date.max) > newer.valid_from else "leave a gap"
                self.refuse(f"two versions of {name} {fault}: valid_until must be {newer.valid_from}, the next begins")
        if history[-1].valid_until is not None:
            self.refuse(f"nothing follows {name} from {history[-1].valid_until} on")


_WORDS = {str: "a text", int: "a whole number", date: "a date", dict: "a table", list: "a list", bool: "true or false"}


def _is_a(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool)) and not isinstance(value, datetime)


def _edition(day: date, histories: Iterable[Sequence[Rule]]) -> Edition:
    """Return the rules in force on ``day``; a rule that began later is in force before it began too."""
    rules: dict[str, Any] = {}
    for history in histories:
        begun = [rule for rule in history if rule.valid_from <= day]
        rule = begun[-1] if begun else history[0]
        rules[role_of(rule.name)] = rule
    return Edition(day, **rules)


def role_of(name: str) -> str:
    """Return what a rule is for: ``base`` for ``hospital.base``."""
    return name.rpartition(".")[2]


def with_settings(schedule: RetentionSchedule, settings: Mapping[str, int | bool]) -> RetentionSchedule:
    """Return a schedule with a site's settings; see ``load_schedule``. Its version names them."""
    editions = schedule.editions
    for role, value in sorted(settings.items()):
        editions = tuple(_with_setting(edition, role, value) for edition in editions)
    named = ", ".join(f"{role}={str(value).lower()}" for role, value in sorted(settings.items()))
    return dataclasses.replace(schedule, version=f"{schedule.version} ({named})", editions=editions)


def _with_setting(edition: Edition, role: str, value: int | bool) -> Edition:
    change: dict[str, Any] = {role: _set(edition, role, value)}
    return dataclasses.replace(edition, **change)


def _set(edition: Edition, role: str, value: object) -> Rule | None:
    rule = getattr(edition, role, None)
    if not isinstance(rule, Rule):
        raise InvalidSetting(name=role, reason="the schedule has no such rule")
    if value is False and not rule.is_optional:
        raise InvalidSetting(name=role, reason="the law does not let this rule be switched off")
    if isinstance(value, bool):
        return rule if value else None
    if not isinstance(value, int) or value > LONGEST_YEARS:
        raise InvalidSetting(name=role, reason=f"it is not a number of years up to {LONGEST_YEARS}")
    if value < rule.minimum_years:
        raise SettingBelowFloor(name=role, value=value, citation=rule.citation, minimum=rule.minimum_years)
    return dataclasses.replace(rule, years=value)
