"""Who has to agree before a record is eliminated; must not know who they are, nor whether they did.

Public establishments and those of public interest: the director decides after the opinion of the physician in charge
of medical information (R.1112-7 CSP), and the archives administration gives its visa (R.212-14 code du patrimoine). A
private clinic needs no visa. In a practice the practitioner answers for the records.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from retention_rules.errors import UnknownKind

DIRECTOR: Final = "director"
DIM_PHYSICIAN: Final = "dim_physician"
ARCHIVES_OFFICER: Final = "archives_officer"
PRACTITIONER: Final = "practitioner"

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "public": (DIRECTOR, DIM_PHYSICIAN, ARCHIVES_OFFICER),
    "espic": (DIRECTOR, DIM_PHYSICIAN, ARCHIVES_OFFICER),
    "private_clinic": (DIRECTOR, DIM_PHYSICIAN),
    "practice": (PRACTITIONER,),
}

OFFICES: Final = (DIRECTOR, DIM_PHYSICIAN, ARCHIVES_OFFICER, PRACTITIONER)
WITH_REFERENCE: Final = frozenset({ARCHIVES_OFFICER})
"""Offices whose approval is a paper with a number: the visa."""


def needed_offices(site_kind: str) -> tuple[str, ...]:
    """Return the offices that have to approve, in the order in which they sign. Raises UnknownKind."""
    try:
        return _NEEDED[site_kind]
    except KeyError as exc:
        raise UnknownKind(kind=site_kind, known=", ".join(_NEEDED)) from exc


def missing_offices(site_kind: str, given: Collection[str]) -> tuple[str, ...]:
    """Return the offices that have not approved yet. Raises UnknownKind."""
    return tuple(office for office in needed_offices(site_kind) if office not in given)
