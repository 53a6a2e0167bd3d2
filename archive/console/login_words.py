"""What the pages of signing in say, in English and in French; must not hold anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from archive.console.catalogue import catalogue
from archive.errors import ArchiveError

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("Sign in", "Connexion"),
    "archive": ("Image archive", "Archive d’images"),
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
    "language": ("Français", "English"),
}
_OTHER: Final = {"en": "fr", "fr": "en"}

_ERRORS: Final[Mapping[str, str]] = {
    "LinkRefused": "Le lien a déjà servi, est trop ancien ou a été remplacé : demandez-en un autre à un exploitant.",
    "PasskeyRefused": "La clé d’accès n’a pas été acceptée.",
    "SignInExpired": "Cette tentative de connexion est terminée, ou vient d’un autre navigateur : recommencez.",
    "TooManyAttempts": "Trop de tentatives depuis cette adresse : réessayez dans {minutes} minutes.",
    "ProviderFailed": "Le fournisseur d’identité ne peut pas être utilisé. Les clés d’accès fonctionnent toujours.",
    "TokenRefused": "La réponse du fournisseur d’identité n’est pas acceptée.",
    "AccountRefused": "Ce nom de compte n’est pas accepté : 2 à 32 signes parmi a-z, 0-9, point, tiret ; "
    "et un nom complet.",
}
_IDENTITIES: Final[Mapping[str, str]] = {
    "manipulator": "L’accès des manipulateurs ERM demande une identité professionnelle vérifiée (RPPS). "
    "Faites-la enregistrer auprès de votre établissement, puis reconnectez-vous.",
    "no_rule": "Votre profession ne donne accès à aucun rôle dans cette archive. Adressez-vous à un exploitant.",
    "no_identifier": "Le fournisseur d’identité n’a pas transmis votre identifiant national.",
}


def words(lang: str) -> dict[str, str]:
    """Return every text in a language, and ``other``, the language one can change to."""
    place = 0 if lang == "en" else 1
    return {name: both[place] for name, both in _WORDS.items()} | {"other": _OTHER[lang]}


def role_names(roles: Iterable[str], lang: str) -> list[str]:
    """Return what roles are called in a language, in order; one that nobody named as it is written."""
    said = catalogue("en" if lang == "en" else "fr")
    return sorted(said.found(f"role.{role}", role) for role in roles)


def told(error: ArchiveError, lang: str) -> str:
    """Return what went wrong, in a language; English for what no page expects."""
    if lang == "en":
        return error.message
    french = _IDENTITIES.get(str(error.fields.get("code"))) or _ERRORS.get(type(error).__name__)
    return error.message if french is None else french.format(**error.fields)
