"""What the pages of signing in say, in English and in French; must not hold anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from archive.console import refusals
from archive.console.catalogue import catalogue
from archive.errors import ArchiveError

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("Sign in", "Connexion"),
    "sign_in": ("Sign in with a passkey", "Se connecter avec une clé d’accès"),
    "sign_in_help": (
        "Your key asks for a finger or a PIN. No name and no password are needed.",
        "Votre clé demande un doigt ou un code. Ni nom ni mot de passe ne sont nécessaires.",
    ),
    "provider": ("Sign in with Pro Santé Connect", "Se connecter avec Pro Santé Connect"),
    "no_account": (
        "No account, or no key any more? An operator of the archive sends you a link.",
        "Pas de compte, ou plus de clé ? Un exploitant de l’archive vous envoie un lien.",
    ),
    "no_script": (
        "Passkeys need JavaScript: allow it for this page.",
        "Les clés d’accès ont besoin de JavaScript : autorisez-le pour cette page.",
    ),
    "no_passkeys": (
        "This browser has no passkeys here: they need https, or localhost.",
        "Ce navigateur n’offre pas de clés d’accès ici : il faut https, ou localhost.",
    ),
    "cancelled": ("The key was not used. Try again.", "La clé n’a pas été utilisée. Réessayez."),
    "waiting": ("Waiting for your key…", "En attente de votre clé…"),
    "failed": ("The archive does not answer. Try again.", "L’archive ne répond pas. Réessayez."),
    "first_title": ("First administrator", "Premier administrateur"),
    "first_help": (
        "You start this archive. Choose a name; your key will be asked for next.",
        "Vous démarrez cette archive. Choisissez un nom ; votre clé sera demandée ensuite.",
    ),
    "first_again": (
        "The link works once, for a short time. If it is refused, start the archive again: it prints another.",
        "Le lien sert une fois, peu de temps. S’il est refusé, redémarrez l’archive : elle en imprime un autre.",
    ),
    "first_used": (
        "This link was used: the archive has its first administrator.",
        "Ce lien a servi : l’archive a son premier administrateur.",
    ),
    "first_used_sign_in": (
        "If that is you, sign in with your passkey.",
        "Si c’est vous, connectez-vous avec votre clé d’accès.",
    ),
    "first_used_invite": (
        "For somebody else, an operator makes a link:",
        "Pour une autre personne, un exploitant fait un lien :",
    ),
    "first_used_invited": (
        'NAME --as OPERATOR --full-name "FULL NAME" --role ROLE',
        'NOM --as EXPLOITANT --full-name "NOM COMPLET" --role RÔLE',
    ),
    "first_used_lost": (
        "For who lost every key, on the archive’s machine:",
        "Pour qui a perdu toutes ses clés, sur la machine de l’archive :",
    ),
    "first_used_recovered": ("NAME", "NOM"),
    "link_title": ("Your passkey", "Votre clé d’accès"),
    "link_help": (
        "Make the passkey by which you will sign in. This link works once.",
        "Créez la clé d’accès avec laquelle vous vous connecterez. Ce lien ne sert qu’une fois.",
    ),
    "name": ("Account name (a-z, 0-9)", "Nom du compte (a-z, 0-9)"),
    "full_name": ("Full name, as it is printed on lists", "Nom complet, tel qu’imprimé sur les bordereaux"),
    "make": ("Make the passkey", "Créer la clé d’accès"),
    "signed_in_as": ("Signed in as", "Connecté en tant que"),
    "roles": ("Roles", "Rôles"),
    "sites": ("Sites", "Sites"),
    "every_site": ("all", "tous"),
    "sign_out": ("Sign out", "Se déconnecter"),
    "add": ("Add another key", "Ajouter une autre clé"),
    "go_on": ("Go on", "Continuer"),
    "again": ("Back to signing in", "Retour à la connexion"),
    "refused_title": ("Not signed in", "Connexion refusée"),
    "technical": ("technical detail:", "détail technique, en anglais :"),
    "language": ("Français", "English"),
}
_OTHER: Final = {"en": "fr", "fr": "en"}


def words(lang: str) -> dict[str, str]:
    """Return every text in a language, with ``other``, the language one can change to, and ``archive``, the product."""
    place = 0 if lang == "en" else 1
    archive = catalogue("en" if lang == "en" else "fr").text("name")
    return {name: both[place] for name, both in _WORDS.items()} | {"other": _OTHER[lang], "archive": archive}


def role_names(roles: Iterable[str], lang: str) -> list[str]:
    """Return what roles are called in a language, in order; one that nobody named as it is written."""
    said = catalogue("en" if lang == "en" else "fr")
    return sorted(said.found(f"role.{role}", role) for role in roles)


def told(error: ArchiveError, lang: str) -> str:
    """Return what went wrong, in a language; what no page expects is marked as technical."""
    mark = _WORDS["technical"][1]
    parts = refusals.told(error, lang)
    return "".join(f"{mark} {part.text}" if part.is_technical and lang != "en" else part.text for part in parts)
