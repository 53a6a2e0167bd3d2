"""Who has to agree before a record is eliminated (R.1112-7 CSP, R.212-14 code du patrimoine)."""

from __future__ import annotations

import pytest

from retention_rules.approvals import missing_offices, needed_offices
from retention_rules.errors import UnknownKind


@pytest.mark.parametrize(
    ("kind", "offices"),
    [
        ("public", ("director", "dim_physician", "archives_officer")),
        ("espic", ("director", "dim_physician", "archives_officer")),
        ("private_clinic", ("director", "dim_physician")),
        ("practice", ("practitioner",)),
    ],
)
def test_each_kind_of_establishment_has_its_offices(kind: str, offices: tuple[str, ...]) -> None:
    """Public and ESPIC: director, DIM physician, archives visa; clinic: director, DIM; practice: practitioner."""
    assert needed_offices(kind) == offices
    assert missing_offices(kind, ()) == offices
    assert missing_offices(kind, offices) == ()
    assert missing_offices(kind, offices[:1]) == offices[1:]


def test_an_unknown_kind_eliminates_nothing() -> None:
    """A kind that nobody foresaw is an error, never a list without signatures."""
    with pytest.raises(UnknownKind, match="'hospice'"):
        needed_offices("hospice")
