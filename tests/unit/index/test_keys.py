"""The keys: one for each indexed attribute, in agreement with the standard's dictionary."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from archive.index.derived import DERIVED, availability
from archive.index.find import SUPPORTED
from archive.index.keys import KEYS, MULTIPLE, TABLES, UNIQUE_KEYS, Key, Level, Matching
from archive.part10.attributes import INSTANCE, PATIENT, SERIES, STUDY, snake_case

KINDS = {
    "UI": Matching.UID,
    "PN": Matching.NAME,
    "DA": Matching.DATE,
    "TM": Matching.TIME,
    "IS": Matching.NUMBER,
    "US": Matching.NUMBER,
}


def test_every_indexed_attribute_is_a_key_of_its_level() -> None:
    """Nothing is stored that cannot be asked for."""
    for level, attributes in zip(Level, (PATIENT, STUDY, SERIES, INSTANCE), strict=True):
        assert {key for key, found in KEYS.items() if found.level is level} == {a.keyword for a in attributes}


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.keyword)
def test_a_key_is_compared_as_its_vr_says(key: Key) -> None:
    """PS3.6 gives the VR, PS3.4 C.2.2.2 the kind of matching; whatever is not special is text."""
    vr = dictionary_VR(key.keyword)
    assert key.matching is KINDS.get(vr, Matching.TEXT)
    assert vr != "DT", "ranges of date times are not understood: their time zones look like ranges"


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.keyword)
def test_a_key_may_hold_several_values_where_the_standard_says(key: Key) -> None:
    """PS3.6 gives the value multiplicity."""
    assert key.is_multiple == (dictionary_VM(key.keyword) != "1") == (key.keyword in MULTIPLE)


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.keyword)
def test_a_key_has_the_column_of_its_name(key: Key) -> None:
    """snake_case of the keyword, in the table of its level; names are compared by their folded key."""
    assert key.column is TABLES[key.level].c[snake_case(key.keyword)]
    suffix = "_key" if key.matching is Matching.NAME else ""
    assert key.matched is TABLES[key.level].c[snake_case(key.keyword) + suffix]


def test_each_level_has_its_unique_key() -> None:
    """PS3.4 C.6.1.1 and C.6.2.1."""
    assert [KEYS[keyword].level for keyword in UNIQUE_KEYS] == list(Level)


def test_everything_supported_is_a_keyword_of_the_standard() -> None:
    """A misspelt keyword would never be asked for."""
    assert all(tag_for_keyword(keyword) is not None for keyword in SUPPORTED)
    assert {*KEYS, *DERIVED, "InstanceAvailability"} == SUPPORTED


def test_what_is_derived_is_not_stored() -> None:
    """A keyword has one meaning."""
    assert KEYS.keys().isdisjoint(DERIVED)


@pytest.mark.parametrize("keyword", DERIVED)
def test_what_is_derived_belongs_to_the_level_its_name_says(keyword: str) -> None:
    """NumberOfStudyRelatedSeries is an answer about a study."""
    named = {"Patient": Level.PATIENT, "Study": Level.STUDY, "Series": Level.SERIES}
    owner = keyword.removeprefix("NumberOf").partition("Related")[0] if "Related" in keyword else "Study"
    assert DERIVED[keyword].level is named[owner]


def test_patients_have_no_availability() -> None:
    """Studies, series and instances do."""
    assert [availability(level) is None for level in Level] == [True, False, False, False]
