"""Rows of the index become series of a plan: what is hot of them, what is not sealed, what their pixels are."""

from __future__ import annotations

import pytest

from archive.index.tiering import Contents, First, PlannedPack
from archive.services.planned_series import facts_of, series_of
from tiering.lossy_rules import SeriesFacts

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
FIRST = First("1.2.840.10008.1.2.1", "MONOCHROME2", "1", "16", "12", "ORIGINAL\\PRIMARY\\ axial", "")


def pack(number: int, series: str = "1.1", *, tier: str = "hot", waits: int = 0) -> PlannedPack:
    """Return a pack of 1000 bytes."""
    return PlannedPack("1", series, number, tier, 1000, waits)


def contents(instances: int = 3, series: str = "1.1", first: First | None = FIRST) -> Contents:
    """Return a series of CT images."""
    return Contents(7, series, "CT", "chest", {CT_CLASS: instances}, first)


def test_a_series_is_all_of_its_hot_packs() -> None:
    """Generations are counted together, series apart, in the order of their UIDs."""
    packs = [pack(1), pack(2), pack(3, "1.0")]
    series, words = series_of(packs, {1: 2, 2: 1, 3: 4}, [contents(), contents(4, "1.0")], has_received=False)
    assert [(each.series_instance_uid, each.instances, each.size_bytes) for each in series] == [
        ("1.0", 4, 1000),
        ("1.1", 3, 2000),
    ]
    assert words == ""


def test_what_is_cold_is_not_planned() -> None:
    """Neither a cold pack nor the hot one that it stands in for."""
    packs = [pack(1, waits=1), pack(2, tier="cold"), pack(3)]
    (series,), words = series_of(packs, {1: 2, 2: 2, 3: 1}, [contents()], has_received=False)
    assert (series.instances, series.size_bytes, words) == (1, 1000, "")


def test_an_image_in_no_pack_is_noticed_beside_cold_twins() -> None:
    """Of a pack that waits only its cold twin counts: the copies of the two must not make up for one that is loose."""
    packs = [pack(1, waits=1), pack(2, tier="cold"), pack(3)]
    _, words = series_of(packs, {1: 2, 2: 2, 3: 1}, [contents(4)], has_received=False)
    assert words == "1 of its instances are not sealed yet"


def test_received_files_are_noticed() -> None:
    """All is in packs, and files as they came still lie beside them: it says which setting keeps them there."""
    assert "sealing.grace_hours" in series_of([pack(1)], {1: 3}, [contents()], has_received=True)[1]


def test_a_pack_of_a_series_the_index_does_not_have() -> None:
    """It is planned without pixels, and so never with loss."""
    (series,), _ = series_of([pack(1)], {1: 3}, [], has_received=False)
    assert (series.modality, series.facts.bits_allocated) == ("", 0)


def test_facts_are_those_of_the_first_instance() -> None:
    """Words in capitals and without blanks, numbers as numbers, SOP classes of all."""
    assert facts_of(contents()) == SeriesFacts(
        modality="CT",
        sop_class_uids=frozenset({CT_CLASS}),
        photometrics=frozenset({"MONOCHROME2"}),
        bits_allocated=16,
        bits_stored=12,
        body_part="chest",
        image_types=frozenset({"ORIGINAL", "PRIMARY", "AXIAL"}),
    )


@pytest.mark.parametrize(
    ("change", "is_lossy"),
    [
        ({"lossy_image_compression": "01"}, True),
        ({"lossy_image_compression": "00"}, False),
        ({"transfer_syntax_uid": "1.2.840.10008.1.2.4.50"}, True),
        ({"transfer_syntax_uid": "1.2.840.10008.1.2.4.203"}, True),
        ({"transfer_syntax_uid": "1.2.840.10008.1.2.4.202"}, False),
    ],
)
def test_what_came_lossy_is_known(change: dict[str, str], is_lossy: bool) -> None:
    """By what it says of itself, or by a transfer syntax that may be lossy."""
    assert facts_of(contents(first=FIRST._replace(**change))).is_already_lossy is is_lossy


@pytest.mark.parametrize("bits", ["", "sixteen", "16.5", "-16", "²"])
def test_values_that_are_no_numbers_are_none(bits: str) -> None:
    """A modality writes what it likes: the plan does not break."""
    assert facts_of(contents(first=FIRST._replace(bits_allocated=bits))).bits_allocated == 0
    assert facts_of(contents(first=None)).bits_allocated == 0
