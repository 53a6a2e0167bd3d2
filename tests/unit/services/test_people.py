"""People, roles and permissions: what the one table says."""

from __future__ import annotations

import pytest

from archive.errors import NotAllowed
from archive.services.people import PERMISSIONS, Permission, Person, roles_with
from retention_rules.approvals import OFFICES

BEA = Person("bea", "Béatrice Noël", frozenset({"radiologist"}), frozenset({"CHU"}), via="passkey")


def test_a_person_may_what_one_of_the_roles_allows_at_one_of_the_sites() -> None:
    """Role and site both count; no site in particular is every site's."""
    assert BEA.may(Permission.VIEW_IMAGES)
    assert BEA.may(Permission.VIEW_IMAGES, "CHU")
    assert not BEA.may(Permission.VIEW_IMAGES, "CLINIC")
    assert not BEA.may(Permission.READ_AUDIT, "CHU")
    both = Person("bea", "Béatrice Noël", BEA.roles | {"auditor"})
    assert both.may(Permission.READ_AUDIT, "CLINIC")


def test_requiring_says_which_role_or_site_is_missing() -> None:
    """Whoever is refused learns whom to ask."""
    BEA.require(Permission.VIEW_IMAGES, "CHU")
    with pytest.raises(NotAllowed, match="operator"):
        BEA.require(Permission.MANAGE_ACCOUNTS)
    with pytest.raises(NotAllowed, match="CLINIC"):
        BEA.require(Permission.VIEW_IMAGES, "CLINIC")
    BEA.require_role(("radiologist", "director"), site="CHU")
    with pytest.raises(NotAllowed, match="director or operator"):
        BEA.require_role(("operator", "director"))
    with pytest.raises(NotAllowed, match="CLINIC"):
        BEA.require_role(("radiologist",), site="CLINIC")


def test_a_role_of_another_version_allows_nothing() -> None:
    """An unknown role in a ledger is no error and no way in."""
    assert Person("eve", "Eve", frozenset({"superuser"})).permissions == frozenset()


@pytest.mark.parametrize("role", ["operator", "auditor", "director", "archivist", "archives_officer"])
def test_whoever_only_runs_or_decides_sees_no_image(role: str) -> None:
    """Images are for those who care for patients and for the physician of medical information."""
    assert Permission.VIEW_IMAGES not in PERMISSIONS[role]


def test_every_permission_is_somebodys_and_every_office_approves() -> None:
    """No permission is out of reach; whoever signs a disposal may open the console to do it."""
    assert all(roles_with(permission) for permission in Permission)
    assert set(roles_with(Permission.APPROVE_DISPOSAL)) == set(OFFICES)
    assert all(Permission.VIEW_CONSOLE in PERMISSIONS[office] for office in OFFICES)


def test_nobody_proposes_and_approves_by_one_role() -> None:
    """The table itself keeps the two apart; two roles of one person are kept apart by the disposal."""
    assert set(roles_with(Permission.PROPOSE_DISPOSAL)).isdisjoint(roles_with(Permission.APPROVE_DISPOSAL))
