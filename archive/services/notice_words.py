"""What warnings say to people, in French and English; must not decide whether there is anything to warn of.

What the system or a server says of itself (names in certificates, errors nobody foresaw) stands as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from archive.services.drops import DayCompared
from archive.services.tls_certificates import State, Watched
from retention_rules.explain import Language

LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
_AUTHORITIES: Final = ": authorities"
_PEER: Final = "DICOM peer "
_HANDSHAKE: Final = "the handshake failed"

_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "fr": {
        "certificate": "Le certificat TLS ({uses}) {what}",
        "expires": "expire dans {left}",
        "expired": "a expiré : ce qui l'utilise ne fonctionne plus",
        "not_yet_valid": "n'est pas encore valide : ce qui l'utilise ne fonctionne pas",
        "unreadable": "ne peut pas être lu",
        "hours": "moins d'un jour",
        "day": "1 jour",
        "days": "{days} jours",
        "place": "{use} : {place}",
        "subject": "Sujet : {}",
        "issuer": "Émetteur : {}",
        "until": "Valide jusqu'au {:%d/%m/%Y %H:%M} UTC",
        "sha256": "SHA-256 : {}",
        "drop": "{site} envoie moins d'images {modality} : {got} le {on}{until}, contre {expected} "
        "les mêmes jours des semaines précédentes ({change:+.0f} %)",
        "until_hour": " jusqu'à {hour} h",
        "what_to_do": "La modalité est-elle en service ? Envoie-t-elle encore ses images ici ? "
        "drimbox status affiche les dernières associations.",
        "authorities": "{use} : autorités",
        "peer": "pair DICOM {name}",
        "handshake": "la négociation TLS a échoué{rest}",
        "thousands": "\u202f",
        "date": "%d/%m/%Y",
    },
    "en": {
        "certificate": "TLS certificate ({uses}) {what}",
        "expires": "expires in {left}",
        "expired": "has expired: what uses it does not work any more",
        "not_yet_valid": "is not valid yet: what uses it does not work",
        "unreadable": "cannot be read",
        "hours": "less than a day",
        "day": "1 day",
        "days": "{days} days",
        "place": "{use}: {place}",
        "subject": "Subject: {}",
        "issuer": "Issuer: {}",
        "until": "Until: {:%Y-%m-%d %H:%M} UTC",
        "sha256": "SHA-256: {}",
        "drop": "{site} sends fewer {modality} images: {got} on {on}{until}, {expected} "
        "on the same weekdays before ({change:+.0f} %)",
        "until_hour": " up to {hour}:00",
        "what_to_do": "Is the modality in use? Does it still send here? "
        "drimbox status prints the last associations.",
        "authorities": "{use}: authorities",
        "peer": "DICOM peer {name}",
        "handshake": "the handshake failed{rest}",
        "thousands": ",",
        "date": "%Y-%m-%d",
    },
}  # fmt: skip
_FRENCH: Final = {
    # what a certificate is for
    "DICOM and HL7 TLS": "DICOM et HL7 TLS",
    "identity provider": "fournisseur d'identité",
    "cold store": "stockage froid",
    "mail": "serveur de courriel",
    "listed": "ajouté aux réglages",
    # why none was seen
    "No such file or directory": "fichier ou dossier introuvable",
    "Permission denied": "accès refusé",
    "no certificate is in this folder": "ce dossier ne contient aucun certificat",
    "no certificate is in this file": "ce fichier ne contient aucun certificat",
    "the certificate in it is malformed": "le certificat qu'il contient est mal formé",
    "it shows a malformed certificate": "il présente un certificat mal formé",
    "no answer in time": "pas de réponse à temps",
    "Connection refused": "connexion refusée",
    "Connection reset by peer": "connexion coupée par l'autre machine",
    "No route to host": "aucune route vers cette machine",
    "Network is unreachable": "réseau inaccessible",
    "Name or service not known": "nom de machine inconnu",
    "Temporary failure in name resolution": "le serveur de noms ne répond pas",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A warning in one language: ``title`` fits in one line, ``lines`` say more."""

    title: str
    lines: tuple[str, ...] = ()


def in_each(tell: Callable[[Language], Text]) -> Mapping[Language, Text]:
    """Return a warning in every language there is."""
    return {language: tell(language) for language in LANGUAGES}


def certificate_text(group: Sequence[Watched], language: Language) -> Text:
    """Return the words about one certificate, which may lie in several places."""
    words, first = _WORDS[language], group[0]
    uses = ", ".join(dict.fromkeys(_use(each.use, language) for each in group))
    what = words["expires"].format(left=_left(first.days_left or 0, words))
    if first.state in (State.EXPIRED, State.NOT_YET_VALID, State.UNREADABLE):
        what = words[first.state.name.lower()]
    lines = [_place(each, language) for each in group]
    if first.sha256:
        lines += [words["subject"].format(first.subject), words["issuer"].format(first.issuer)]
        lines += [words["until"].format(first.not_after), words["sha256"].format(first.sha256)]
    return Text(words["certificate"].format(uses=uses, what=what), tuple(lines))


def drop_text(drop: DayCompared, language: Language) -> Text:
    """Return the words about a day with fewer images."""
    words = _WORDS[language]
    title = words["drop"].format(
        site=drop.site,
        modality=drop.modality,
        got=_number(drop.got, words),
        on=drop.on.strftime(words["date"]),
        until="" if drop.until_hour == 24 else words["until_hour"].format(hour=drop.until_hour),
        expected=_number(round(drop.expected), words),
        change=drop.change_percent or 0.0,
    )
    return Text(title, (words["what_to_do"],))


def _place(each: Watched, language: Language) -> str:
    told = _WORDS[language]["place"].format(use=_use(each.use, language), place=each.place)
    return f"{told} ({_problem(each.problem, language)})" if each.problem else told


def _use(use: str, language: Language) -> str:
    words = _WORDS[language]
    if use.endswith(_AUTHORITIES):
        return words["authorities"].format(use=_use(use.removesuffix(_AUTHORITIES), language))
    if use.startswith(_PEER):
        return words["peer"].format(name=use.removeprefix(_PEER))
    return _translated(use, language)


def _problem(problem: str, language: Language) -> str:
    if problem.startswith(_HANDSHAKE):
        return _WORDS[language]["handshake"].format(rest=problem.removeprefix(_HANDSHAKE))
    return _translated(problem, language)


def _translated(text: str, language: Language) -> str:
    return _FRENCH.get(text, text) if language == "fr" else text


def _left(days: int, words: Mapping[str, str]) -> str:
    if days < 1:
        return words["hours"]
    return words["day"] if days == 1 else words["days"].format(days=days)


def _number(value: int, words: Mapping[str, str]) -> str:
    return f"{value:,}".replace(",", words["thousands"])
