"""From what an identity provider tells of somebody to a person with roles, by the site's rules; pure, no network.

The claims are those of Pro Santé Connect: ``SubjectNameID``, the national identifier with the digit that says of which
register (TRE_G08: 8 is the RPPS, 0 was ADELI, 3 and 5 are an establishment's own); ``SubjectRefPro``, the ways in which
somebody practises, each with profession (TRE_G15) and know-how (TRE_R38). Another provider's fit by ``claims``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from archive.errors import IdentityRefused
from archive.services.people import Person

Claims = Mapping[str, Any]

MANIPULATOR: Final = "98"
"""Profession code of a manipulateur d'électroradiologie médicale (TRE_G15)."""

_RPPS: Final = re.compile(r"8[0-9]{11}")
_PRINTABLE: Final = 120


@dataclass(frozen=True, slots=True)
class Rule:
    """Gives roles, for some sites or all, to whoever fits everything that it asks for; see ``OidcRule``."""

    roles: frozenset[str]
    sites: frozenset[str] = frozenset()
    professions: frozenset[str] = frozenset()
    specialties: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    claims: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def fits(self, subject: str, claims: Claims) -> bool:
        """Tell whether somebody fits: profession and know-how have to be those of one and the same practice."""
        if self.subjects and subject not in self.subjects:
            return False
        if not all(allowed.intersection(_texts(claims.get(name))) for name, allowed in self.claims.items()):
            return False
        return not (self.professions or self.specialties) or any(map(self._fits_practice, _practices(claims)))

    def _fits_practice(self, practice: Claims) -> bool:
        is_profession = not self.professions or practice.get("codeProfession") in self.professions
        return is_profession and (not self.specialties or practice.get("codeSavoirFaire") in self.specialties)


@dataclass(frozen=True, slots=True)
class Professionals:
    """Who may come in by the identity provider. ``identifier`` is the claim that names a person for good."""

    rules: Sequence[Rule]
    identifier: str = "SubjectNameID"

    def person(self, claims: Claims, *, via: str) -> Person:
        """Return the person the claims tell of. Raises IdentityRefused.

        Roles of all rules that fit add up; one rule for every site makes it every site. A manipulator has to be known
        by a verified professional identity, that is by an RPPS number: their register, ADELI, proved too little.
        """
        subject = claims.get(self.identifier)
        if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= _PRINTABLE:
            raise IdentityRefused(
                person="(unknown)", code="no_identifier", reason=f"the provider does not tell {self.identifier}"
            )
        if _is_manipulator(claims) and not _RPPS.fullmatch(subject):
            raise IdentityRefused(
                person=subject,
                code="manipulator",
                reason="a manipulator needs a verified professional identity (RPPS): have it registered, then sign in "
                "again",
            )
        fitting = [rule for rule in self.rules if rule.fits(subject, claims)]
        if not fitting:
            reason = "no rule of this archive gives your profession a role: ask an operator"
            raise IdentityRefused(person=subject, code="no_rule", reason=reason)
        sites: frozenset[str] = frozenset()
        if all(rule.sites for rule in fitting):
            sites = sites.union(*(rule.sites for rule in fitting))
        roles: frozenset[str] = frozenset().union(*(rule.roles for rule in fitting))
        return Person(_name(subject), _full_name(claims) or subject, roles, sites, via=via)


def _name(subject: str) -> str:
    """Return what the journal calls somebody: never the name of an account, whatever a provider calls its people."""
    return subject if subject[0].isdigit() else f"oidc:{subject}"


def _practices(claims: Claims) -> Iterator[Claims]:
    """Yield what ``SubjectRefPro.exercices`` holds, as far as it has the form it should have."""
    about = claims.get("SubjectRefPro")
    listed = about.get("exercices") if isinstance(about, Mapping) else None
    if isinstance(listed, list):
        yield from (each for each in listed if isinstance(each, Mapping))


def _is_manipulator(claims: Claims) -> bool:
    professions = [practice.get("codeProfession") for practice in _practices(claims)]
    professions += [role.partition("^")[0] for role in _texts(claims.get("SubjectRole"))]
    return MANIPULATOR in professions


def _texts(value: object) -> list[str]:
    """Return a claim's value as texts: it may be one, or several."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _full_name(claims: Claims) -> str:
    """Return given name and family name, as printed on lists; "" when the provider tells neither."""
    parts = [part.strip() for name in ("given_name", "family_name") for part in _texts(claims.get(name))]
    text = " ".join(part for part in parts if part)
    return text[:_PRINTABLE] if text.isprintable() else ""
