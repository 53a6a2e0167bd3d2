"""Queries on a real index: what a question means, what its answers hold, where they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from archive.errors import InvalidIdentifier, TooManyMatches
from archive.services.find import Find, Root
from tests.objects import ROOT, ct_dataset
from tests.unit.services.shelf import Shelf, open_shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Three studies of one series of two images, the third of another patient."""
    with open_shelf(tmp_path) as opened:
        for study in (1, 2, 3):
            name = "Ångström^Zoé" if study == 3 else "MOREAU^Hélène"
            for number in (1, 2):
                opened.put(ct_dataset(number, study=study, PatientName=name, StudyDate=f"2024011{study}"))
        yield opened


def ask(shelf: Shelf, identifier: Mapping[str, str], *, root: Root = "study", limit: int = 100) -> list[dict[str, str]]:
    """Return the answers, by study."""
    find = Find(shelf.committer, limit)
    answers = [dict(answer) for answer in find.answers(find.question(root, identifier))]
    return sorted(answers, key=lambda answer: answer.get("StudyInstanceUID", ""))


def test_answers_hold_what_was_asked_for_and_the_level(shelf: Shelf) -> None:
    """Keys asked for come back with their values, and so do the unique key and the level that nobody asked for."""
    identifier = {"QueryRetrieveLevel": "STUDY", "PatientID": "PID2", "PatientName": "", "AccessionNumber": ""}
    assert ask(shelf, identifier) == [
        {
            "QueryRetrieveLevel": "STUDY",
            "StudyInstanceUID": f"{ROOT}.2",
            "PatientID": "PID2",
            "PatientName": "MOREAU^Hélène",
            "AccessionNumber": "ACC2",
        }
    ]


def test_the_level_is_found_whatever_its_case_and_padding(shelf: Shelf) -> None:
    """Some workstations pad the level or write it small."""
    assert len(ask(shelf, {"QueryRetrieveLevel": " study "})) == 3


@pytest.mark.parametrize(
    ("root", "level", "count"), [("patient", "PATIENT", 3), ("study", "SERIES", 3), ("study", "IMAGE", 6)]
)
def test_each_level_answers_its_own_entities(shelf: Shelf, root: Root, level: str, count: int) -> None:
    """Without any key, a level answers all its entities: the query is relational."""
    assert len(ask(shelf, {"QueryRetrieveLevel": level}, root=root)) == count


def test_keys_of_upper_levels_may_be_missing_or_relational(shelf: Shelf) -> None:
    """An image query by patient, without Study or Series Instance UID, finds the patient's images."""
    answers = ask(shelf, {"QueryRetrieveLevel": "IMAGE", "PatientName": "angstrom*"})
    assert [answer["StudyInstanceUID"] for answer in answers] == [f"{ROOT}.3"] * 2
    assert {answer["SOPInstanceUID"] for answer in answers} == {f"{ROOT}.3.1.1", f"{ROOT}.3.1.2"}


@pytest.mark.parametrize("identifier", [{}, {"QueryRetrieveLevel": ""}, {"QueryRetrieveLevel": "  "}])
def test_a_query_without_a_level_is_refused(shelf: Shelf, identifier: dict[str, str]) -> None:
    """The level is what the query is about: without it there is no answer."""
    with pytest.raises(InvalidIdentifier, match="QueryRetrieveLevel is missing"):
        ask(shelf, identifier)


@pytest.mark.parametrize(("root", "level"), [("study", "PATIENT"), ("study", "FRAME"), ("patient", "WORKLIST")])
def test_a_level_its_model_does_not_have_is_refused(shelf: Shelf, root: Root, level: str) -> None:
    """Study Root has no patient level, and no model has levels of other services."""
    with pytest.raises(InvalidIdentifier, match=f"no such level in the {root} root"):
        ask(shelf, {"QueryRetrieveLevel": level}, root=root)


def test_a_value_that_makes_no_sense_is_refused(shelf: Shelf) -> None:
    """A date that is none is the peer's mistake, not an empty answer."""
    with pytest.raises(InvalidIdentifier, match="StudyDate"):
        ask(shelf, {"QueryRetrieveLevel": "STUDY", "StudyDate": "yesterday"})


def test_elements_about_the_query_are_no_keys(shelf: Shelf) -> None:
    """Character set, view and retrieve AE title neither narrow the answers nor count as unsupported keys."""
    find = Find(shelf.committer, 10)
    identifier = {
        "QueryRetrieveLevel": "STUDY",
        "SpecificCharacterSet": "ISO_IR 192",
        "QueryRetrieveView": "CLASSIC",
        "RetrieveAETitle": "ELSEWHERE",
        "TimezoneOffsetFromUTC": "+0100",
    }
    question = find.question("study", identifier)
    answers = list(find.answers(question))
    assert len(answers) == 3
    assert question.asked == frozenset()
    assert question.unsupported(answers[0]) == frozenset()


def test_a_time_zone_is_answered_for_images_and_never_compared(tmp_path: Path) -> None:
    """At the image level an object's own offset comes back even when the query states another."""
    with open_shelf(tmp_path) as shelf:
        shelf.put(ct_dataset(1, TimezoneOffsetFromUTC="+0200"))
        answers = ask(shelf, {"QueryRetrieveLevel": "IMAGE", "TimezoneOffsetFromUTC": "+0100"})
    assert [answer["TimezoneOffsetFromUTC"] for answer in answers] == ["+0200"]


def test_unsupported_keys_are_told_apart_from_empty_ones(shelf: Shelf) -> None:
    """A key the index lacks is unsupported; one it knows but the study does not have is an empty answer."""
    find = Find(shelf.committer, 10)
    keys = {
        "QueryRetrieveLevel": "STUDY",
        "ProcedureCodeSequence": "",
        "SeriesNumber": "",
        "ReferringPhysicianName": "",
    }
    question = find.question("study", keys)
    answer = next(find.answers(question))
    assert question.unsupported(answer) == {"ProcedureCodeSequence", "SeriesNumber"}
    assert answer["ReferringPhysicianName"] == ""


def test_derived_answers_come_when_asked_for(shelf: Shelf) -> None:
    """Counts, modalities and availability are worked out for who asks."""
    keys = ("ModalitiesInStudy", "NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries", "InstanceAvailability")
    asked = {"QueryRetrieveLevel": "STUDY", "StudyDate": "20240113-", **dict.fromkeys(keys, "")}
    (answer,) = ask(shelf, asked)
    assert [answer[key] for key in keys] == ["CT", "2", "1", "ONLINE"]


def test_as_many_answers_as_the_limit_are_no_error(shelf: Shelf) -> None:
    """The limit is the largest number of answers, not the first that is too many."""
    assert len(ask(shelf, {"QueryRetrieveLevel": "STUDY"}, limit=3)) == 3


def test_one_answer_more_than_the_limit_ends_the_answers(shelf: Shelf) -> None:
    """The answers up to the limit come first, then the error that says so."""
    find = Find(shelf.committer, 2)
    answers = find.answers(find.question("study", {"QueryRetrieveLevel": "STUDY"}))
    assert len([next(answers), next(answers)]) == 2
    with pytest.raises(TooManyMatches, match="More than 2 answers"):
        next(answers)


def test_answers_abandoned_early_give_their_connection_back(shelf: Shelf) -> None:
    """A query that is cancelled again and again never runs the index out of connections."""
    find = Find(shelf.committer, 100)
    for _ in range(50):
        answers = find.answers(find.question("study", {"QueryRetrieveLevel": "IMAGE"}))
        next(answers)
        answers.close()
    assert len(ask(shelf, {"QueryRetrieveLevel": "IMAGE"})) == 6


def test_what_was_handed_in_before_is_found(shelf: Shelf) -> None:
    """An object indexed a moment ago is in the next answer: queries wait for commits, not the other way round."""
    shelf.put(ct_dataset(1, study=9))
    assert [
        answer["StudyInstanceUID"] for answer in ask(shelf, {"QueryRetrieveLevel": "STUDY", "PatientID": "PID9"})
    ] == [f"{ROOT}.9"]
