"""Who acts and what they may do: people, roles and the one table of permissions; must not know how anybody proved it.

A role is an office in the establishment, a permission one thing the archive can be asked for. Rules of a disposal go
further than this table: who signs in which office, and that nobody approves what they proposed, is told by
``archive.services.disposal``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from archive.errors import NotAllowed


class Permission(StrEnum):
    """One thing that somebody may be allowed."""

    VIEW_IMAGES = "view_images"
    """find studies, read their images and metadata"""
    SEND_IMAGES = "send_images"
    """store instances (STOW-RS)"""
    VIEW_CONSOLE = "view_console"
    """open the console: studies without their images, lists, holds, state of the tiers"""
    PLACE_HOLD = "place_hold"
    PROPOSE_DISPOSAL = "propose_disposal"
    APPROVE_DISPOSAL = "approve_disposal"
    """approve or refuse in one's own office"""
    VALIDATE_FACTS = "validate_facts"
    """settle contradictions and candidates of deaths"""
    RUN_MIGRATION = "run_migration"
    """migrate, recall, roll back, retry what was set aside"""
    MANAGE_ACCOUNTS = "manage_accounts"
    READ_AUDIT = "read_audit"
    OPERATE = "operate"
    """see and mend the machinery: quarantine, jobs, certificates, checks"""


_P = Permission
_LOOKS: Final = frozenset({_P.VIEW_IMAGES})
_DECIDES: Final = frozenset({_P.VIEW_CONSOLE, _P.PLACE_HOLD, _P.APPROVE_DISPOSAL})

PERMISSIONS: Final[Mapping[str, frozenset[Permission]]] = {
    "radiologist": _LOOKS | {_P.SEND_IMAGES, _P.VIEW_CONSOLE},
    "manipulator": _LOOKS | {_P.SEND_IMAGES},
    "referring_physician": _LOOKS,
    "archivist": frozenset(
        {_P.VIEW_CONSOLE, _P.PLACE_HOLD, _P.PROPOSE_DISPOSAL, _P.VALIDATE_FACTS, _P.RUN_MIGRATION, _P.READ_AUDIT}
    ),
    "dim_physician": _LOOKS | _DECIDES | {_P.VALIDATE_FACTS},
    "director": _DECIDES,
    "archives_officer": _DECIDES,
    "practitioner": _LOOKS | _DECIDES | {_P.SEND_IMAGES},
    "operator": frozenset(
        {_P.VIEW_CONSOLE, _P.PLACE_HOLD, _P.RUN_MIGRATION, _P.MANAGE_ACCOUNTS, _P.READ_AUDIT, _P.OPERATE}
    ),
    "auditor": frozenset({_P.VIEW_CONSOLE, _P.READ_AUDIT}),
}
"""What each role may do. An operator and an auditor run and check the archive, and see no image."""

ROLES: Final = tuple(PERMISSIONS)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, or a machine, who proved who they are; ``sites`` empty: every site.

    ``name`` is what the journal calls the actor, ``via`` how they came in: ``password``, ``passkey``, ``oidc``,
    ``bearer`` or ``address``.
    """

    name: str
    full_name: str
    roles: frozenset[str]
    sites: frozenset[str] = frozenset()
    via: str = "password"

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return what the roles allow together; a role this version does not know allows nothing."""
        return frozenset().union(*(PERMISSIONS.get(role, frozenset()) for role in self.roles))

    def may(self, permission: Permission, site: str | None = None) -> bool:
        """Tell whether the person may do this, for the site where one is given."""
        return permission in self.permissions and self.is_for(site)

    def is_for(self, site: str | None) -> bool:
        """Tell whether the person acts for the site; for None, which is no site in particular, always."""
        return site is None or not self.sites or site in self.sites

    def require(self, permission: Permission, site: str | None = None) -> None:
        """Raise NotAllowed unless the person may do this, for the site where one is given."""
        if permission not in self.permissions:
            raise NotAllowed(name=self.name, reason=f"this takes the role {_any_of(roles_with(permission))}")
        self._require_site(site)

    def require_role(self, roles: Collection[str], *, site: str | None = None) -> None:
        """Raise NotAllowed unless the person has one of the roles, for the site where one is given."""
        if self.roles.isdisjoint(roles):
            raise NotAllowed(name=self.name, reason=f"this takes the role {_any_of(roles)}")
        self._require_site(site)

    def _require_site(self, site: str | None) -> None:
        if not self.is_for(site):
            raise NotAllowed(name=self.name, reason=f"the account is not for the site {site}")


def roles_with(permission: Permission) -> tuple[str, ...]:
    """Return the roles that allow something, by name."""
    return tuple(sorted(role for role, allowed in PERMISSIONS.items() if permission in allowed))


def _any_of(roles: Collection[str]) -> str:
    return " or ".join(sorted(roles))
