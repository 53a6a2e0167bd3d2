"""Reading the query of a search."""

from __future__ import annotations

import pytest

from archive.dicomweb.parameters import Place, read_search
from archive.errors import BadRequest
from archive.index.everything import EVERYTHING
from archive.services.search import Wanted

STUDIES = Place("STUDY")


def read(*pairs: tuple[str, str], place: Place = STUDIES) -> Wanted:
    """Read a query."""
    return read_search(pairs, place, EVERYTHING)


def given(wanted: Wanted) -> dict[str, str]:
    """Return the keys with a value."""
    return {keyword: value for keyword, value in wanted.keys.items() if value}


def test_keywords_and_tags_mean_the_same() -> None:
    """An attribute is named by its keyword or by eight hexadecimal digits in either case."""
    found = [read((name, "X*")) for name in ("PatientName", "00100010")]
    assert [given(wanted) for wanted in found] == [{"PatientName": "X*"}] * 2
    assert given(read(("0020000d", "1.2"))) == {"StudyInstanceUID": "1.2"}


def test_what_is_returned_without_being_asked_for() -> None:
    """Answers carry the attributes of tables 10.6.3-3 to -5; levels that the path names are not repeated."""
    assert {"StudyInstanceUID", "PatientName", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"} <= {*read().keys}
    everywhere = read(place=Place("SERIES")).keys
    assert {"Modality", "SeriesInstanceUID", "PatientName", "StudyDate"} <= {*everywhere}
    within = read(place=Place("SERIES", "1.2")).keys
    assert {"Modality", "SeriesInstanceUID"} <= {*within}
    assert "PatientName" not in within
    assert "Modality" not in read(place=Place("IMAGE", "1.2", "1.3")).keys


def test_more_fields_can_be_asked_for() -> None:
    """``includefield`` names one or several attributes, is repeated, or is ``all`` of what the index has."""
    wanted = read(("includefield", "StudyDescription,00081060"), ("includefield", "PatientAge"))
    assert {"StudyDescription", "NameOfPhysiciansReadingStudy", "PatientAge"} <= {*wanted.keys}
    assert {*EVERYTHING["STUDY"]} <= {*read(("includefield", "all")).keys}
    assert given(read(("includefield", "all"), ("PatientID", "7"))) == {"PatientID": "7"}


def test_lists_of_uids() -> None:
    """UIDs and modalities are listed with commas, with backslashes or by repetition; other values keep their commas."""
    wanted = read(("StudyInstanceUID", "1,2"), ("StudyInstanceUID", "3"), ("ModalitiesInStudy", "CT,MR"))
    assert given(wanted) == {"StudyInstanceUID": "1\\2\\3", "ModalitiesInStudy": "CT\\MR"}
    assert given(read(("StudyDescription", "CHEST, PLAIN"))) == {"StudyDescription": "CHEST, PLAIN"}


def test_pages_and_fuzziness() -> None:
    """limit, offset and fuzzymatching are about the answers and no keys."""
    wanted = read(("limit", "5"), ("offset", "10"), ("fuzzymatching", "true"), ("accept", "application/json"))
    assert (wanted.limit, wanted.offset, wanted.is_fuzzy, given(wanted)) == (5, 10, True, {})
    assert read(("offset", "9" * 40)).offset == 2**31 - 1


def test_the_path_is_a_key() -> None:
    """What the path names selects; a query may repeat it, and not contradict it."""
    place = Place("SERIES", study="1.2")
    assert given(read(place=place)) == {"StudyInstanceUID": "1.2"}
    assert given(read(("StudyInstanceUID", "1.2"), place=place)) == {"StudyInstanceUID": "1.2"}
    with pytest.raises(BadRequest, match="path"):
        read(("StudyInstanceUID", "1.3"), place=place)


def test_what_the_index_cannot_compare_is_known() -> None:
    """A sequence path or an attribute that is not indexed is understood and told as not matched."""
    wanted = read(("00400275.00400009", "S1"), ("KVP", "120"))
    assert wanted.unmatched == ["KVP", "RequestAttributesSequence.ScheduledProcedureStepID"]


@pytest.mark.parametrize(
    "pair",
    [
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "x"),
        ("limit", "²"),
        ("limit", ""),
        ("offset", "-1"),
        ("fuzzymatching", "yes"),
        ("emptyvaluematching", "1"),
        ("NoSuchKeyword", "1"),
        ("", "1"),
        ("0010001", "1"),
        ("00100010.", "1"),
        ("includefield", "nonsense"),
        ("PatientID", "x" * 5000),
    ],
)
def test_nonsense_is_refused(pair: tuple[str, str]) -> None:
    """A parameter that cannot be understood is a bad request: an answer to another question could do harm."""
    with pytest.raises(BadRequest):
        read(pair)


def test_repetition_is_refused_where_it_says_nothing() -> None:
    """What can be said once is not said twice, and not two hundred times."""
    for pair in (("limit", "1"), ("fuzzymatching", "true"), ("PatientID", "1")):
        with pytest.raises(BadRequest):
            read(pair, pair)
    with pytest.raises(BadRequest):
        read(*[("includefield", "PatientID")] * 201)


def test_errors_quote_no_value() -> None:
    """What is told, and logged, of a bad query does not repeat a patient's name."""
    with pytest.raises(BadRequest) as caught:
        read(("PatientNane", "DUPONT"))
    assert "DUPONT" not in caught.value.message
