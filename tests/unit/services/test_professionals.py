"""Who gets which roles of what an identity provider tells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from archive.errors import IdentityRefused
from archive.services.professionals import Professionals, Rule

RADIOLOGY = Rule(frozenset({"radiologist"}), frozenset({"CHU"}), frozenset({"10"}), frozenset({"SM44"}))
PHYSICIANS = Rule(frozenset({"referring_physician"}), frozenset({"CHU", "Clinique"}), frozenset({"10"}))
MANIPULATORS = Rule(frozenset({"manipulator"}), professions=frozenset({"98"}))
OPERATORS = Rule(frozenset({"operator"}), subjects=frozenset({"899700218896"}))
GROUP = Rule(frozenset({"auditor"}), claims={"groups": frozenset({"archive-audit"})})
PROFESSIONALS = Professionals([RADIOLOGY, PHYSICIANS, MANIPULATORS, GROUP])


def told(*practices: tuple[str, str], subject: str = "899700218896", **more: Any) -> dict[str, Any]:
    """Return claims as Pro Santé Connect has them."""
    listed = [{"codeProfession": profession, "codeSavoirFaire": specialty} for profession, specialty in practices]
    return {"SubjectNameID": subject, "SubjectRefPro": {"exercices": listed}, **more}


def test_rules_that_fit_add_up() -> None:
    """A radiologist is a physician too: the roles of both rules, at the sites of either."""
    person = PROFESSIONALS.person(told(("10", "SM44"), given_name="Rita", family_name="Rayon"), via="oidc")
    assert (person.name, person.full_name, person.via) == ("899700218896", "Rita Rayon", "oidc")
    assert person.roles == frozenset({"radiologist", "referring_physician"})
    assert person.sites == frozenset({"CHU", "Clinique"})


def test_profession_and_specialty_belong_to_one_practice() -> None:
    """A physician elsewhere and a radiology code in another profession make no radiologist."""
    person = PROFESSIONALS.person(told(("10", "SM26"), ("98", "SM44")), via="oidc")
    assert "radiologist" not in person.roles


def test_one_rule_for_every_site_makes_it_every_site() -> None:
    """No site named is all of them."""
    assert PROFESSIONALS.person(told(("10", "SM44"), groups=["archive-audit"]), via="oidc").sites == frozenset()


def test_other_claims_and_single_people_can_be_named() -> None:
    """A group of the hospital's own provider, or one person by identifier."""
    own = Professionals([GROUP, OPERATORS], identifier="sub")
    assert own.person({"sub": "u42", "groups": "archive-audit"}, via="oidc").roles == frozenset({"auditor"})
    assert own.person({"sub": "899700218896"}, via="oidc").roles == frozenset({"operator"})
    with pytest.raises(IdentityRefused, match="no rule"):
        own.person({"sub": "u42", "groups": ["others"]}, via="oidc")


@pytest.mark.parametrize("subject", ["0759912345", "3759999999/12", "89970021889", "8997002188961", "X99700218896"])
def test_a_manipulator_needs_an_rpps_number(subject: str) -> None:
    """Any other identifier, ADELI's or an establishment's, leaves the professional identity unverified."""
    with pytest.raises(IdentityRefused, match="verified professional identity") as caught:
        PROFESSIONALS.person(told(("98", ""), subject=subject), via="oidc")
    assert (caught.value.fields["person"], caught.value.fields["code"]) == (subject, "manipulator")
    assert PROFESSIONALS.person(told(("98", "")), via="oidc").roles == frozenset({"manipulator"})


def test_a_manipulator_is_known_by_the_role_too() -> None:
    """Naming a second profession, or only the role, is no way around it."""
    for claims in (
        told(("10", ""), ("98", ""), subject="0759912345"),
        {**told(("10", ""), subject="0759912345"), "SubjectRole": ["98^1.2.250.1.213.1.1.5.5"]},
    ):
        with pytest.raises(IdentityRefused, match="verified professional identity"):
            PROFESSIONALS.person(claims, via="bearer")


def test_nobody_a_provider_knows_has_the_name_of_an_account() -> None:
    """A national identifier stands as it is; any other name is marked, as no account's can be."""
    own = Professionals([GROUP], identifier="sub")
    assert own.person({"sub": "anne", "groups": ["archive-audit"]}, via="oidc").name == "oidc:anne"
    assert PROFESSIONALS.person(told(("10", "")), via="oidc").name == "899700218896"


@pytest.mark.parametrize("subject", [None, "", 7, "a\nb", "x" * 121])
def test_somebody_without_a_name_is_nobody(subject: object) -> None:
    """What the journal calls an actor has to be a text, and a line of it."""
    with pytest.raises(IdentityRefused, match="SubjectNameID"):
        PROFESSIONALS.person({**told(("10", "")), "SubjectNameID": subject}, via="oidc")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    about=json_values,
    practices=json_values,
    role=json_values,
    name=json_values,
)
def test_claims_of_any_form_are_refused_or_fit(about: Any, practices: Any, role: Any, name: Any) -> None:
    """Whatever JSON comes, nothing breaks, and nobody gets a role of a form nobody knows."""
    for said in (about, {"exercices": practices}):
        claims = {"SubjectNameID": "899700218896", "SubjectRefPro": said, "SubjectRole": role, "given_name": name}
        with pytest.raises(IdentityRefused):
            PROFESSIONALS.person(claims, via="oidc")
