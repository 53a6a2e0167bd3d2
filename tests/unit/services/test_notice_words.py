"""What warnings say, in French and English: nothing of one language is left in the other, nothing is made up."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from archive.bootstrap_certificates import _USES, places_of
from archive.config import load_settings
from archive.monitoring.endpoints import Endpoints
from archive.monitoring.x509 import look_at_file
from archive.services.drops import DayCompared
from archive.services.notice_words import _FRENCH, _WORDS, LANGUAGES, Text, certificate_text, drop_text, in_each
from archive.services.tls_certificates import Certificate, Place, Seen, Watched, judge
from retention_rules.explain import Language
from tests.unit.config.samples import EVERY_SETTING

END = datetime(2027, 3, 1, 12, tzinfo=UTC)
CERTIFICATE = Certificate("server", "CN=pacs", "CN=Autorité", END - timedelta(days=365), END, "ab" * 32)
DROP = DayCompared("CHU", "CT", date(2026, 11, 23), 24, 0, 12000.4, -100.0, True)
NO_OTHER_WORD_IN_FRENCH = {"HTTPS", "DICOM TLS", "webhook"}


def watched(before_end: timedelta, use: str = "HL7") -> Watched:
    """Return a certificate so long before its end."""
    return judge(Seen(Place(use, Path("/etc/tls.pem")), CERTIFICATE, "complete"), END - before_end, (60, 15))


def unseen(problem: str, use: str = "HL7") -> Watched:
    """Return a place where no certificate was seen."""
    return judge(Seen(Place(use, Path("/etc/tls.pem")), problem=problem), END, (60,))


# ---- certificates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before_end", "french", "english"),
    [
        (timedelta(days=60), "expire dans 60 jours", "expires in 60 days"),
        (timedelta(days=15), "expire dans 15 jours", "expires in 15 days"),
        (timedelta(days=1, hours=5), "expire dans 1 jour", "expires in 1 day"),
        (timedelta(hours=5), "expire dans moins d'un jour", "expires in less than a day"),
        (
            timedelta(seconds=-1),
            "a expiré : ce qui l'utilise ne fonctionne plus",
            "has expired: what uses it does not work any more",
        ),
        (
            timedelta(days=366),
            "n'est pas encore valide : ce qui l'utilise ne fonctionne pas",
            "is not valid yet: what uses it does not work",
        ),
    ],
)
def test_a_title_says_what_and_when(before_end: timedelta, french: str, english: str) -> None:
    """A whole sentence in each language, from the first warning to the end."""
    told = in_each(lambda language: certificate_text([watched(before_end)], language))
    assert told["fr"].title == f"Le certificat TLS (HL7) {french}"
    assert told["en"].title == f"TLS certificate (HL7) {english}"


def test_the_lines_say_which_one() -> None:
    """Where it lies, whose it is, until when, and its fingerprint: enough to replace it."""
    told = in_each(lambda language: certificate_text([watched(timedelta(days=3))], language))
    assert told["fr"].lines == (
        "HL7 : /etc/tls.pem",
        "Sujet : CN=pacs",
        "Émetteur : CN=Autorité",
        "Valide jusqu'au 01/03/2027 12:00 UTC",
        f"SHA-256 : {'ab' * 32}",
    )
    assert told["en"].lines == (
        "HL7: /etc/tls.pem",
        "Subject: CN=pacs",
        "Issuer: CN=Autorité",
        "Until: 2027-03-01 12:00 UTC",
        f"SHA-256: {'ab' * 32}",
    )


def test_one_in_several_places_names_each_use_once() -> None:
    """A use that two files have is said once, both files are."""
    found = watched(timedelta(days=3), "cold store")
    group = [found, replace(found, place="/etc/b.pem"), replace(found, use="mail", place="mail.example:465")]
    told = certificate_text(group, "fr")
    assert told.title == "Le certificat TLS (stockage froid, serveur de courriel) expire dans 3 jours"
    assert told.lines[:3] == (
        "stockage froid : /etc/tls.pem",
        "stockage froid : /etc/b.pem",
        "serveur de courriel : mail.example:465",
    )


def test_one_that_cannot_be_read_says_why() -> None:
    """And of what was not seen nothing else is said."""
    told = in_each(lambda language: certificate_text([unseen("Permission denied")], language))
    assert told["fr"] == Text("Le certificat TLS (HL7) ne peut pas être lu", ("HL7 : /etc/tls.pem (accès refusé)",))
    assert told["en"] == Text("TLS certificate (HL7) cannot be read", ("HL7: /etc/tls.pem (Permission denied)",))


def uses(folder: Path) -> Iterator[str]:
    """Yield what a site may need certificates for: all that the settings can come to."""
    file = folder / "drimbox.toml"
    file.write_text(EVERY_SETTING)
    yield from {place.use for place in places_of(load_settings(file, {"home": folder}))}
    yield from _USES.values()
    yield "DICOM and HL7 TLS"


def test_whatever_a_certificate_is_for_is_said_in_french(tmp_path: Path) -> None:
    """A use that is added to the settings without a French word for it is found here."""
    for use in uses(tmp_path):
        (line,) = certificate_text([unseen("", use)], "fr").lines
        told = line.removesuffix(" : /etc/tls.pem")
        assert told != use or use in NO_OTHER_WORD_IN_FRENCH, use
        assert not {"authorities", "and", "peer", "provider", "store"} & set(told.split()), told
        assert certificate_text([unseen("", use)], "en").lines == (f"{use}: /etc/tls.pem",)


@pytest.mark.parametrize(
    ("use", "french"),
    [
        ("cold store: authorities", "stockage froid : autorités"),
        ("webhook: authorities", "webhook : autorités"),
        ("DICOM peer SCANNER", "pair DICOM SCANNER"),
        ("DICOM and HL7 TLS: authorities", "DICOM et HL7 TLS : autorités"),
        ("identity provider", "fournisseur d'identité"),
        ("some.section", "some.section"),
    ],
)
def test_uses_are_taken_apart(use: str, french: str) -> None:
    """Authorities of something, a peer by its title; the name of a section stands for itself in any language."""
    assert certificate_text([unseen("", use)], "fr").title == f"Le certificat TLS ({french}) ne peut pas être lu"


def test_whatever_keeps_one_from_sight_is_said_in_french(tmp_path: Path) -> None:
    """Files and servers as they go wrong, looked at for real: each has its French words."""
    for problem in problems_of_files(tmp_path) | problems_of_servers():
        (french,) = certificate_text([unseen(problem)], "fr").lines
        (english,) = certificate_text([unseen(problem)], "en").lines
        assert english == f"HL7: /etc/tls.pem ({problem})"
        assert french.startswith("HL7 : /etc/tls.pem (")
        assert problem.partition(" (")[0] not in french, problem


def problems_of_files(folder: Path) -> set[str]:
    """Return why no certificate is seen in files that are wrong, each in its way."""
    for name, content in (("key.pem", b"-----BEGIN PRIVATE KEY-----\n"), ("broken.der", b"\x30\x03\x02\x01")):
        (folder / name).write_bytes(content)
    (folder / "empty").mkdir()
    names = ("key.pem", "broken.der", "empty", "missing.pem")
    found = {look_at_file(Place("x", folder / name))[0].problem for name in names}
    assert len(found) == len(names)
    return found


def problems_of_servers() -> set[str]:
    """Return why no certificate is seen of a server that is not there, is silent, or speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = silent.getsockname()[:2]
        found = {asked(address)}
    found.add(asked(address))  # nobody listens there any more
    assert found == {"no answer in time", "Connection refused"}
    return found


def asked(address: tuple[str, int]) -> str:
    """Return what goes wrong when a server is asked."""
    return Endpoints(0.3).look(Place("x", endpoint=address))[0].problem


def test_a_handshake_that_fails_keeps_the_words_of_the_library() -> None:
    """They are what one searches for."""
    (line,) = certificate_text([unseen("the handshake failed (WRONG_VERSION_NUMBER)")], "fr").lines
    assert line == "HL7 : /etc/tls.pem (la négociation TLS a échoué (WRONG_VERSION_NUMBER))"


def test_what_nobody_foresaw_stands_as_it_came() -> None:
    """An error of the system without French words, and names with braces: nothing is lost, nothing is filled in."""
    (line,) = certificate_text([unseen("Stale file handle {x} {0}", "{use}")], "fr").lines
    assert line == "{use} : /etc/tls.pem (Stale file handle {x} {0})"
    odd = replace(watched(timedelta(days=3)), subject="CN={issuer}", issuer="CN={0}")
    assert {"Sujet : CN={issuer}", "Émetteur : CN={0}"} <= set(certificate_text([odd], "fr").lines)


# ---- drops ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until_hour", "french", "english"),
    [(24, "le 23/11/2026", "on 2026-11-23"), (9, "le 23/11/2026 jusqu'à 9 h", "on 2026-11-23 up to 9:00")],
)
def test_a_drop_says_how_much_and_when(until_hour: int, french: str, english: str) -> None:
    """A whole day, or the part of today that is over."""
    told = in_each(lambda language: drop_text(replace(DROP, until_hour=until_hour), language))
    assert told["fr"].title == (
        f"CHU envoie moins d'images CT : 0 {french}, "
        "contre 12\u202f000 les mêmes jours des semaines précédentes (-100 %)"
    )
    assert told["en"].title == f"CHU sends fewer CT images: 0 {english}, 12,000 on the same weekdays before (-100 %)"


def test_a_drop_says_what_to_look_at() -> None:
    """The question that a person at the site can answer, and the command that helps."""
    for language in LANGUAGES:
        (line,) = drop_text(DROP, language).lines
        assert "drimbox status" in line and line.count("?") == 2


@pytest.mark.parametrize(
    ("got", "french", "english"), [(999, "999", "999"), (1234567, "1\u202f234\u202f567", "1,234,567")]
)
def test_numbers_are_written_as_each_language_does(got: int, french: str, english: str) -> None:
    """Thousands stand apart."""
    told = in_each(lambda language: drop_text(replace(DROP, got=got), language))
    assert f" : {french} le " in told["fr"].title
    assert f": {english} on " in told["en"].title


# ---- both ----------------------------------------------------------------------------------------------------------


def fields_of(sentence: str) -> set[Any]:
    """Return the names of a sentence's fields."""
    return {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}


def test_both_languages_say_the_same() -> None:
    """The same sentences with the same fields, and there are no others than French and English."""
    assert LANGUAGES == ("fr", "en")
    assert set(_WORDS) == set(LANGUAGES)
    assert set(_WORDS["fr"]) == set(_WORDS["en"])
    for key, sentence in _WORDS["fr"].items():
        assert fields_of(sentence) == fields_of(_WORDS["en"][key]), key


def test_french_is_french() -> None:
    """No word is translated by itself, and where French puts a space before a colon there is one."""
    for english, french in _FRENCH.items():
        assert french != english
    for key, sentence in _WORDS["fr"].items():
        plain = sentence.replace("%H:%M", "").replace("{:", "")
        assert ":" not in plain.replace(" :", "").replace("change:", ""), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_title_is_one_line(language: Language) -> None:
    """It becomes a subject."""
    titles = [
        certificate_text([watched(timedelta(days=days))], language).title for days in (400, 60, 1, 0, -1)
    ] + [drop_text(DROP, language).title]  # fmt: skip
    assert all(len(title.splitlines()) == 1 and len(title) < 180 for title in titles)
