"""``drimbox retention explain``: the whole reasoning about one study; must not work it out itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from archive.cli.options import json_option, opened, with_settings
from archive.cli.output import print_json, print_table

if TYPE_CHECKING:
    from archive.config import Settings
    from archive.services.explaining import Explanation
    from retention_rules.explain import Language

_WORDS: Final = {
    "fr": {
        "study": "Étude {study} du patient {patient}, {site}",
        "facts": "Faits connus, avec leur source :",
        "no facts": "Aucun fait n'a été transmis sur ce patient : seules les dates des objets DICOM comptent.",
        "unsure": "non validé",
        "supposed": "Supposé : {}.",
        "hold": "Gel {hold_id} : {reason} ({authority}, {reference}), posé le {placed_at:%Y-%m-%d} par {placed_by}.",
        "header": ("fait", "du", "au", "source", "référence", "validé"),
        "yes": "oui",
    },
    "en": {
        "study": "Study {study} of patient {patient}, {site}",
        "facts": "Facts known, with their source:",
        "no facts": "Nobody told a fact about this patient: the dates of the DICOM objects alone count.",
        "unsure": "not validated",
        "supposed": "Assumed: {}.",
        "hold": "Hold {hold_id}: {reason} ({authority}, {reference}), placed on {placed_at:%Y-%m-%d} by {placed_by}.",
        "header": ("fact", "from", "to", "source", "reference", "validated"),
        "yes": "yes",
    },
}


@click.command("explain")
@click.argument("study_uid")
@click.option("--lang", "language", type=click.Choice(["fr", "en"]), default="fr", show_default=True)
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="The day to assess for  [default: today]")
@json_option
@with_settings
def explain(settings: Settings, study_uid: str, language: Language, as_of: datetime | None, as_json: bool) -> None:
    """Print until when a study is kept, by which rule, on which facts, and what blocks."""
    from archive.bootstrap_disposal import assessor_of
    from archive.services.explaining import explain_study

    with opened(settings) as core:
        assessor = assessor_of(core)
        day = core.ledger.clock().date() if as_of is None else as_of.date()
        found = explain_study(assessor, study_uid, as_of=day, language=language)
    if as_json:
        print_json(_item(found))
        return
    for line in _lines(found, _WORDS[language]):
        click.echo("".join(letter if letter.isprintable() else "?" for letter in line))
    _print_facts(found, _WORDS[language])


def _lines(found: Explanation, words: dict[str, Any]) -> Iterator[str]:
    yield words["study"].format(study=found.study_instance_uid, patient=found.patient_id or "-", site=found.site)
    yield ""
    yield from found.sentences
    for text in found.supposed:
        yield words["supposed"].format(text)
    for hold in found.holds:
        fields = ("hold_id", "reason", "authority", "reference", "placed_at", "placed_by")
        yield words["hold"].format(**{name: getattr(hold, name) for name in fields})
    yield ""


def _print_facts(found: Explanation, words: dict[str, Any]) -> None:
    if not found.facts:
        click.echo(words["no facts"])
        return
    click.echo(words["facts"])
    print_table(
        [
            (
                fact.kind,
                fact.from_on or "-",
                fact.to_on or "-",
                fact.source,
                fact.reference,
                words["yes" if fact.is_trusted else "unsure"],
            )
            for fact in found.facts
        ],
        header=words["header"],
    )


def _item(found: Explanation) -> dict[str, object]:
    from retention_rules.assessment import as_json

    assessment = as_json(found.assessment, found.study_instance_uid)
    del assessment["case"]
    return {
        "study_instance_uid": found.study_instance_uid,
        "site": found.site,
        "patient_id": found.patient_id,
        **assessment,
        "schedule_version": found.assessment.schedule_version,
        "reading": found.assessment.basis.reading,
        "explanation": found.sentences,
        "supposed": found.supposed,
        "facts": found.mapping,
        "sources": [_source(fact) for fact in found.facts],
        "holds": [
            {name: getattr(hold, name) for name in ("hold_id", "reason", "authority", "reference", "placed_at")}
            for hold in found.holds
        ],
    }


def _source(fact: object) -> dict[str, object]:
    names = ("fact_id", "patient_id", "kind", "from_on", "to_on", "is_trusted", "source", "reference")
    return {name: getattr(fact, name) for name in (*names, "recorded_at", "recorded_by")}
