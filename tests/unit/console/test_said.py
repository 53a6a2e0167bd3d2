"""What services say in English is said in French in French pages: every sentence that the console can meet."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import pytest

from archive import errors
from archive.console import refusals
from archive.console.refusals import Part, said, told
from archive.errors import ArchiveError
from archive.services import disposal, disposal_lines
from archive.services.people import ROLES
from retention_rules.errors import InvalidFacts
from tiering.lossy_rules import SeriesFacts, SiteRules, may_be_lossy
from tiering.lossy_tables import load_rules

ROOT = Path(__file__).parents[3]
CONSOLE = ROOT / "archive" / "console"
BELOW = ("archive/services/", "archive/index/", "archive/audit.py", "archive/uids.py")
"""Where the console's own modules lead to; nothing else of what they import raises anything for a person."""

MOVERS = [
    *(ROOT / f"archive/services/{name}.py" for name in "background migrate keeping_hot remains set_aside".split()),
    ROOT / "retention_rules/facts.py",
]
"""Who writes the reasons that jobs and destructions keep, and why a study cannot be assessed."""

NOT_MET = {
    **dict.fromkeys(("IngestError", "QueryError", "ProtocolError", "FeedBroken"), "what peers send, never a person"),
    **dict.fromkeys(("UnreadableFacts", "RebuildRefused", "SweepRefused", "ViewerRefused"), "commands of the shell"),
    **dict.fromkeys(("FixityError", "ColdCopyDiffers"), "a copy's bytes: a job keeps the words of the store"),
    "NoticeNotSent": "the background's own",
}
"""Errors, with their children, that no page shows, and why not."""

TECHNICAL = {
    ("archive/index/session.py", "_reason(origin)"),
    ("archive/services/committer.py", "failure.fields['reason']"),
    ("archive/services/committer.py", "error.fields['reason']"),
    ("archive/services/passkeys.py", "_reason(exc)"),
    ("archive/services/migrate.py", "str(exc)"),
}
"""Reasons that are a database's, a library's or a disk's own words: shown as technical detail."""

FOLLOWED = {
    ("archive/services/clock_trust.py", "reason"),
    ("archive/services/death_search.py", "reason"),
    ("archive/services/disposal.py", "_why_nothing(proposal)"),
    ("archive/services/facts.py", "reason"),
    ("archive/services/migrate.py", "reason"),
    ("archive/services/professionals.py", "reason"),
    ("archive/services/set_aside.py", "reason"),
}
"""Reasons that a name stands for: what it may hold is found where it is assigned or returned, in the same file."""


ARGUMENTS = {"add": 0, "_StaysLossless": 0, "refuse": 1, "LossyChoice": 1, "_lossless": 2}
"""Who is given a reason why a series stays lossless, and as which argument."""


class Reason(NamedTuple):
    """A reason in the source: where, of which error, and as it is written."""

    place: str
    kind: str
    node: ast.expr


@cache
def reached() -> Sequence[Path]:
    """Return the console's modules and all they come to: what may raise while a page is answered."""
    waiting, seen = [*sorted(CONSOLE.glob("*.py")), *MOVERS], set[Path]()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
                below = [f"{name.replace('.', '/')}.py" for name in names]
                waiting += [ROOT / each for each in below if each.startswith(BELOW) and (ROOT / each).exists()]
    return sorted(seen)


def kind_of(name: str) -> type[ArchiveError] | None:
    """Return the error of a name that a page may show; None for others."""
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, ArchiveError)):
        return None
    return None if NOT_MET.keys() & {each.__name__ for each in kind.__mro__} else kind


@cache
def reasons() -> Sequence[Reason]:
    """Return the ``reason`` of every error that is made in what the console comes to, and hold's and fact's names."""
    found = []
    for file in reached():
        place = file.relative_to(ROOT).as_posix()
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = ast.unparse(call.func).rpartition(".")[2] if isinstance(call, ast.Call) else ""
            if isinstance(call, ast.Call) and (kind_of(name) or name in ("NotAsPlanned", "InvalidFacts")):
                given = [each.value for each in call.keywords if each.arg == "reason"]
                given += call.args[:1] if name == "NotAsPlanned" else []
                found += [Reason(place, name, node) for node in given]
    return found


def samples(node: ast.expr) -> Iterator[str]:
    """Yield texts that a text or f-string of the source may come to: its holes are numbers, or words of ours."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for first in ("7", "2026-01-01", "listed", "death"):
            for others in (first, ""):
                fillings = iter([first, *[others] * len(node.values)])
                yield "".join(
                    str(each.value) if isinstance(each, ast.Constant) else next(fillings) for each in node.values
                )
    elif isinstance(node, ast.IfExp):
        yield from samples(node.body)
    elif isinstance(node, ast.BinOp):
        yield from samples(node.left)


def is_text(node: ast.expr) -> bool:
    """Tell whether the source says the text there and then."""
    return bool(list(samples(node)))


def is_known(node: ast.expr) -> bool:
    """Tell whether French has a sentence for it: a whole text, or one whose holes something fills."""
    if isinstance(node, ast.IfExp):
        return all(is_known(each) for each in (node.body, node.orelse) if is_text(each))
    return any(not said(text, "fr")[0].is_technical for text in samples(node))


def french(text: str) -> str:
    """Return what a French reader reads."""
    return "".join(part.text for part in said(text, "fr"))


# ---- nothing is forgotten ----------------------------------------------------------------------------------------


def test_the_walk_comes_to_what_the_pages_do() -> None:
    """Holds, facts, candidates, lists, jobs, searches and signing in are among what is walked."""
    names = {file.stem for file in reached()}
    assert {"holds", "facts_by_hand", "death_search", "disposal", "destroy", "set_aside", "audit_search"} <= names
    assert {"passkeys", "invitations", "provider_sign_in", "study_view", "ledger", "session", "people"} <= names
    assert len(reasons()) > 100


def test_every_reason_that_a_page_can_meet_is_said_in_french() -> None:
    """A new ``reason=`` in a service that the console calls needs its sentence in refusals.toml."""
    missing = [
        f"{each.place}: {each.kind}: {ast.unparse(each.node)}"
        for each in reasons()
        if is_text(each.node) and not is_known(each.node)
    ]
    assert missing == []


def test_every_reason_that_is_no_text_is_accounted_for() -> None:
    """What a name or a call stands for is either a machine's own words, or found where it is made."""
    computed = {(each.place, ast.unparse(each.node)) for each in reasons() if not is_text(each.node)}
    assert {(place, text) for place, text in computed if "strerror" not in text} == TECHNICAL | FOLLOWED


@pytest.mark.parametrize("place", sorted({place for place, _ in FOLLOWED} | {"archive/services/keeping_hot.py"}))
def test_reasons_that_are_assigned_or_returned_are_said_in_french(place: str) -> None:
    """Assigned to ``reason``, handed to the error's maker, or returned as a text."""
    tree = ast.parse((ROOT / place).read_text(encoding="utf-8"))
    found: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) or (
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("reason", "blocked")
        ):
            found.append(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "_error":
            found += node.args[1:]
    shown = [node for node in found if node is not None and is_text(node) and not is_known(node)]
    assert [text for node in shown if not (text := ast.unparse(node)).startswith("f'{size} bytes")] == []


def test_what_lists_and_candidates_keep_in_english_is_said_in_french() -> None:
    """Why a study is left out or sent back, and what is doubtful about a death."""
    texts = [*disposal_lines._COMPARED.values(), disposal.ALREADY_LISTED, "its study is on hold"]
    assert [text for text in texts if said(text, "fr")[0].is_technical] == []
    tree = ast.parse((ROOT / "archive/services/fact_checks.py").read_text(encoding="utf-8"))
    doubts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Yield) and node.value is not None]
    assert len(doubts) > 8
    assert [ast.unparse(node) for node in doubts if is_text(node) and not is_known(node)] == []
    tree = ast.parse((ROOT / "archive/services/disposal_lines.py").read_text(encoding="utf-8"))
    kept = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and " " in ast.unparse(node)]
    assert [ast.unparse(node) for node in kept if "digest" not in ast.unparse(node) and not is_known(node)] == []


def test_every_error_that_a_page_can_meet_has_a_french_sentence() -> None:
    """With the same fields as the English one, but for commands that only the shell has."""
    made = {each.kind for each in reasons()} | {"FormTooOld", "LinkRefused", "SignInExpired", "TooManyAttempts"}
    made |= {"InvalidUid", "NoSuchList", "NoSuchStudy", "StudyDestroyed", "StorageFull"}
    kinds = [kind for name in sorted(made) if (kind := kind_of(name)) is not None]
    assert len(kinds) > 25
    assert [kind.__name__ for kind in kinds if kind.__doc__ not in refusals._table()] == []


def test_french_sentences_fill_no_hole_that_the_english_one_has_not() -> None:
    """And every form of a hole is one that is known."""
    for english, sentence in refusals._table().items():
        holes = {(name, form) for _, name, form, _ in Formatter().parse(sentence) if name}
        assert {name for name, _ in holes} <= set(re.findall(r"\{(\w+)", english)), english
        assert {form for _, form in holes} <= {"", "fr", "known", "day", "maybe"}, english


def test_no_sentence_is_there_twice() -> None:
    """A key in two parts of the table with two meanings would lose one of them."""
    text = (files("archive.console") / "messages" / "refusals.toml").read_text(encoding="utf-8")
    keys = [key for part in tomllib.loads(text).values() for key in part]
    assert sorted(key for key in keys if keys.count(key) > 1) == []


def test_everything_that_an_error_names_has_a_french_name() -> None:
    """A fact, a hold or facts of a study that cannot be kept: what of it, as far as the source says it."""
    named = set[str]()
    makers = ("archive/services/facts.py", "archive/services/holds.py", "retention_rules/facts.py")
    for file in reached():
        makes = ("_date", "_flag", "_list", "_text") if file.as_posix().endswith(makers) else ()
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("InvalidHold", "InvalidFact", "InvalidFacts"):
                named |= {
                    str(each.value.value)
                    for each in call.keywords
                    if each.arg == "name" and isinstance(each.value, ast.Constant)
                }
            elif isinstance(call, ast.Call) and ast.unparse(call.func) in makes:
                named |= {str(each.value) for each in call.args[:1] if isinstance(each, ast.Constant)}
    assert {"the review date", "reason", "from_on", "appeals.from", "facts_trusted", "note"} <= named
    known = refusals._table()
    assert sorted(name for name in named if name not in known and f"the {name}" not in known) == []


def test_every_role_has_its_french_name() -> None:
    """They are named where one is missing."""
    assert [role for role in ROLES if french(role) == role] == []


# ---- what it says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            errors.InvalidHold(name="the review date", reason="is not in the future"),
            "Le gel ne peut pas être gardé : la date de revue n'est pas dans l'avenir.",
        ),
        (
            errors.NotAllowed(name="rita", reason="this takes the role archivist or dim_physician"),
            "rita ne peut pas faire cela : il faut le rôle archiviste ou médecin DIM.",
        ),
        (
            errors.NotAllowed(name="(unknown)", reason="the request was not made by a page of this archive"),
            "Une personne inconnue ne peut pas faire cela : la demande ne vient pas d'une page de cette archive.",
        ),
        (
            errors.DisposalRefused(
                list_id="D-2026-0001", reason="it is approved, not approved by director, archives_officer"
            ),
            "Le bordereau D-2026-0001 reste tel quel : il est approuvé, et il manque la signature de : "
            "directeur, archives départementales.",
        ),
        (
            errors.DisposalRefused(list_id="D-2026-0001", reason="it waits until 2027-01-31; refuse and cancel work"),
            "Le bordereau D-2026-0001 reste tel quel : il attend jusqu'au 31/01/2027 ; on peut encore en retirer des "
            "études ou l'abandonner.",
        ),
        (
            errors.NothingDue(reason="3 already on an open list; 2 it is on hold: H-2026-0001"),
            "Aucun bordereau n'a été fait : 3 × déjà sur un bordereau en cours ; 2 × elle est gelée : H-2026-0001.",
        ),
        (errors.NoSuchFact(reason="12 is withdrawn already"), "Rien n'a été changé : le fait 12 est déjà retiré."),
        (InvalidFacts(name="exam_on", reason="is missing"), "la date d'examen manque."),
    ],
)
def test_an_error_is_said_in_french(error: refusals.Told, sentence: str) -> None:
    """Class, reason, roles, states and days, none of it in English; in English it is as it was."""
    assert told(error, "fr") == (Part(sentence),)
    assert told(error, "en") == (Part(error.message),)


def test_a_databases_own_words_are_marked_as_technical() -> None:
    """What it means is said; only the words that nobody could know stay as they are."""
    error = errors.IndexUnavailable(reason="OperationalError: disk I/O error")
    before, words, after = told(error, "fr")
    assert before.text == "La base de l'index ne répond pas : "
    assert after.text == ". Démarrez-la, l'archive reprendra d'elle-même."
    assert words == Part("OperationalError: disk I/O error", is_technical=True)
    assert not before.is_technical and not after.is_technical


@pytest.mark.parametrize("text", ["512 bytes with SHA-256 00ff", "the codec gave other pixels", "{", "%", "x" * 5000])
def test_what_nobody_knows_is_left_whole(text: str) -> None:
    """It is not taken for something else; all of it is technical."""
    assert said(text, "fr") == (Part(text, is_technical=True),)


def test_the_reason_a_job_kept_is_said_from_its_text_alone() -> None:
    """The error's message was stored; its class and fields are found in it."""
    kept = errors.MigrationRefused(study="2.25.1", reason="3 of its instances are not sealed yet").message
    assert french(kept) == "L'étude 2.25.1 reste où elle est : 3 de ses images ne sont pas encore scellées."
    assert french("rolled back by olga") == "ramenée par olga"


def test_what_somebody_wrote_fills_a_hole_as_it_is() -> None:
    """A site or a PatientID that looks like a hole or a sentence is not looked into."""
    error = errors.NothingToHold(reason="{reason} is not a site this account acts for")
    assert told(error, "fr") == (Part("Rien n'a été gelé : {reason} n'est pas un site de ce compte."),)


@pytest.mark.parametrize("text", ["a: " * 660 + "a", "x: a. " * 330, "a or b: c, " * 180, "a; " * 600 + "b: " * 50])
def test_what_looks_like_sentences_without_end_stays_as_it_is(text: str) -> None:
    """A text that others wrote may look like sentence in sentence; it is given up and shown, whatever its length."""
    assert said(text, "fr") == (Part(text, is_technical=True),)


# ---- why a series stays lossless ---------------------------------------------------------------------------------


def obstacles() -> Iterator[ast.expr]:
    """Yield what the lossy pipeline writes into evidence: what forbids it, why no step held, what a gate found."""
    files = {file for file in (ROOT / "tiering").glob("lossy*.py") if file.stem != "lossy_tables"}
    for file in sorted(files | {ROOT / "tiering/quality.py"}):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Yield) and node.value is not None and file.stem in ("lossy_rules", "quality"):
                yield node.value
            elif isinstance(node, ast.Call):
                yield from node.args[ARGUMENTS.get(ast.unparse(node.func).rpartition(".")[2], len(node.args)) :][:1]


def test_why_a_series_stays_lossless_is_said_in_french() -> None:
    """What the rules, the pipeline and the gates write into evidence, whatever fills the holes."""
    found = [node for node in obstacles() if is_text(node) and ast.unparse(node) != "'every frame passed'"]
    assert len(found) > 25
    assert [ast.unparse(node) for node in found if not is_known(node)] == []


def test_the_verdict_of_every_rule_is_said_in_french() -> None:
    """Each modality and word that is never compressed with loss, and one that no table has."""
    rules = load_rules()
    plain = SeriesFacts("CT", frozenset({"1.2.840.10008.5.1.4.1.1.2"}), frozenset({"MONOCHROME2"}), 16, 12)
    series = [replace(plain, modality=modality) for modality in (*rules.never.modalities, "XX", "")]
    series += [replace(plain, image_types=frozenset({word})) for word in rules.never.image_types]
    series += [replace(plain, sop_class_uids=frozenset(), photometrics=frozenset({"YBR_ICT", "XYZ"}))]
    verdicts = [may_be_lossy(facts, rules) for facts in series]
    told_why = {reason for verdict in verdicts for reason in verdict.reasons}
    assert not any(verdict.allowed for verdict in verdicts)
    assert [reason for reason in sorted(told_why) if said(reason, "fr")[0].is_technical] == []


def test_a_citation_stays_as_it_is() -> None:
    """The society's own words; that the site lowered the cap is said in French behind them."""
    rules = load_rules(site=SiteRules(caps={"CT": 4.0}))
    facts = SeriesFacts("CT", frozenset({"1.2.840.10008.5.1.4.1.1.2"}), frozenset({"MONOCHROME2"}), 16, 12)
    (reason,) = may_be_lossy(facts, rules).reasons
    quote = reason.partition(", lowered")[0]
    assert quote != reason
    assert french(reason) == f"{quote}, abaissé à 4 : 1 par le site"
    assert french(quote) == quote
