"""The law as data: rules with their numbers, texts and citations; must not count days nor read files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from retention_rules.facts import Regime


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a rule is written; ``quote`` is the text itself, as far as it was seen."""

    text: str
    article: str
    url: str
    quote: str

    def __str__(self) -> str:
        return f"{self.text}, {self.article}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in force on ``[valid_from, valid_until)``; ``explanations`` are templates by language (fr, en).

    ``within_years`` (death): the rule replaces the others when the patient died that soon after the last visit.
    ``modalities`` (floor): the rule is only for studies with one of these. ``minimum_years`` is what no site setting
    goes below, ``is_optional`` tells whether a site may switch the rule off. ``label`` is the name with its citation.
    """

    name: str
    years: int
    minimum_years: int
    citation: Citation
    explanations: Mapping[str, str]
    valid_from: date
    valid_until: date | None = None
    within_years: int = 0
    modalities: frozenset[str] = frozenset()
    is_optional: bool = False
    label: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", f"{self.name} ({self.citation})")


@dataclass(frozen=True, slots=True)
class Edition:
    """The rules in force from ``valid_from`` on, one a role; None is a rule that the regime or the site leaves out."""

    valid_from: date
    base: Rule
    immediate_access: Rule
    minor: Rule | None = None
    death: Rule | None = None
    floor: Rule | None = None


@dataclass(frozen=True, slots=True)
class RetentionSchedule:
    """The rules of one regime, in editions from the oldest to the newest; ``version`` names them in every answer."""

    regime: Regime
    version: str
    editions: tuple[Edition, ...]

    def in_force(self, today: date) -> Edition:
        """Return the edition in force on ``today``; before the first one, the first."""
        for edition in reversed(self.editions):
            if edition.valid_from <= today:
                return edition
        return self.editions[0]
