"""What people are told, in both languages."""

from __future__ import annotations

from string import Formatter

import pytest
from hypothesis import given, settings, strategies as st

from retention_rules.explain import Language, explain
from retention_rules.words import MONTHS, WORDS
from tests.unit.retention_rules.golden import CASES, Case
from tests.unit.retention_rules.strategies import Facts, facts
from tests.unit.retention_rules.test_engine import assessed

LANGUAGES = st.sampled_from(["fr", "en"])
BY_NAME = {case.name: case for case in CASES}


def told(name: str, language: Language) -> list[str]:
    """Return what is told of a golden case."""
    return explain(BY_NAME[name].assess(), language)


def fields(template: str) -> list[str]:
    """Return the fields of a template."""
    return sorted(field for _, field, _, _ in Formatter().parse(template) if field is not None)


def test_both_languages_have_the_same_sentences() -> None:
    """Each sentence exists in both languages, with the same fields, and there are twelve months."""
    assert WORDS["fr"].keys() == WORDS["en"].keys()
    assert all(fields(WORDS["fr"][key]) == fields(WORDS["en"][key]) for key in WORDS["fr"])
    assert {len(set(months)) for months in MONTHS.values()} == {12}


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_can_be_told(case: Case, language: Language) -> None:
    """Each golden case is told in whole sentences, with its rules, citations, assumptions and blockers."""
    assessment = case.assess()
    sentences = explain(assessment, language)
    assert all(sentence.endswith(".") and "{" not in sentence and "  " not in sentence for sentence in sentences)
    text = "\n".join(sentences)
    for candidate in (*assessment.basis.candidates, *assessment.basis.set_aside):
        assert candidate.rule.name in text and str(candidate.rule.citation) in text
    assert len([one for one in sentences if one.startswith(("Supposé", "Assumed"))]) == len(assessment.assumptions)
    assert len([one for one in sentences if one.startswith(("Bloqué", "Blocked"))]) == len(assessment.blocked_by)


@settings(max_examples=60, deadline=None)
@given(facts(coherent=False), LANGUAGES)
def test_anything_can_be_told(mapping: Facts, language: Language) -> None:
    """Whatever the facts are there is an explanation, with every contradiction."""
    assessment = assessed(mapping)
    sentences = explain(assessment, language)
    assert sum(one.startswith("Contradiction") for one in sentences) == len(assessment.basis.contradictions)


def test_a_french_explanation() -> None:
    """A whole explanation as an archivist reads it in French."""
    law = "Code de la santé publique, article R.1112-7"
    uncam = "Décision de l'UNCAM du 14 octobre 2025, annexe 5"
    assert told("child died", "fr") == [
        "L'élimination peut être proposée depuis le 1er juillet 2022.",
        "Règle qui décide, hospital.death : 10 ans à compter du décès, le 30 juin 2012, "
        f"soit jusqu'au 30 juin 2022 inclus ({law}).",
        "Règle également examinée, common.immediate_access : 3 ans d'accès immédiat à compter de l'examen, "
        f"le 2 mars 2010, soit jusqu'au 2 mars 2013 inclus ({uncam}).",
        "Règle écartée par la loi, hospital.base : 20 ans à compter du dernier séjour ou de la dernière consultation "
        f"externe, le 2 mars 2010, soit jusqu'au 2 mars 2030 inclus ({law}).",
        "Règle écartée par la loi, hospital.minor : jusqu'au 28e anniversaire du patient, né le 1er janvier 2005, "
        f"soit jusqu'au 1er janvier 2033 inclus ({law}).",
        "Date de l'examen : 2 mars 2010.",
        "Date de naissance : 1er janvier 2005.",
        "Date de décès : 30 juin 2012.",
        f"Accès immédiat sans perte d'information jusqu'à la veille du 3 mars 2013 ({uncam}).",
        "Barème fr_hospital 2026.1, lecture prudente (la conservation la plus longue quand deux sources diffèrent), "
        "au 1er janvier 2030.",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hold", "Blocked by the hold h1 (research)."),
        ("hold", "The retention period has been over since 3 March 2025, but the study must be kept."),
        ("appeal", "Appeals suspend this period: 365 more days, up to and including 2 March 2031."),
        ("appeal", "Appeal from 1 January 2015 to 1 January 2016, the end excluded."),
        ("appeal", "The study must be kept; elimination may be proposed from 3 March 2031 on."),
        ("open appeal", "The study must be kept: there is no end date."),
        ("open appeal", "Appeal begun on 1 January 2015, without an end."),
        ("open appeal", "Blocked by an appeal that is running on 1 January 2030."),
        ("birth unknown", "Assumed: birth date unknown, the patient was born on 2 March 2010 at the latest."),
        ("birth year only", "Assumed: the date of birth, given incomplete, is the last possible day."),
        ("deceased without a date", "Assumed: the patient died on an unknown day; it has no effect on the period."),
        ("death not validated", "Assumed: the death on 30 June 2012 is not validated; it has no effect on the period."),
        ("birth after the exam", "Contradiction: birth (3 March 2010) after the examination (2 March 2010)."),
        ("practice, thirty years", "Number of years chosen by the practice: 30."),
        ("practice, thirty years", "Modalities: MR."),
        (
            "practice, three years, modalities unknown",
            "Assumed: modalities unknown, the minimum for CT/MG/MR is applied.",
        ),
    ],
)
def test_sentences_of_cases(name: str, sentence: str) -> None:
    """What matters in a case is told in so many words."""
    assert sentence in told(name, "en")


def test_the_statute_reading_tells_that_the_death_rule_was_set_aside() -> None:
    """Under the statute a late death is told as set aside, with the date it would have given."""
    (sentence,) = [one for one in told("died late, statute", "en") if "hospital.death" in one]
    assert sentence.startswith("Set aside by the law, hospital.death") and "30 June 2031" in sentence
    assert any("statute (article R.1112-7 alone)" in one for one in told("died late, statute", "en"))
