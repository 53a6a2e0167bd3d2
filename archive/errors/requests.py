"""Errors of the HTTP port: somebody does not come in, or a request cannot be answered; must not import the rest."""

from __future__ import annotations

from archive.errors.base import ArchiveError


class SignInError(ArchiveError):
    """Signing in failed: {reason}."""

    exit_code = 37


class LinkRefused(SignInError):
    """The link is used, too old, or was replaced by a newer one: ask an operator for another."""


class PasskeyRefused(SignInError):
    """The passkey was not accepted: {reason}."""


class SignInExpired(SignInError):
    """This attempt to sign in is over, or was made in another browser: start again."""


class TooManyAttempts(SignInError):
    """Too many failed attempts from this address: try again in {minutes} minutes."""


class TokenRefused(SignInError):
    """The token is not accepted: {reason}."""


class IdentityRefused(SignInError):
    """{person} is known to the identity provider and may not come in: {reason}."""


class ProviderFailed(SignInError):
    """The identity provider cannot be used: {reason}. Passkeys go on working."""

    retryable = True


class RequestError(ArchiveError):
    """The request cannot be answered: {reason}."""

    exit_code = 36


class BadRequest(RequestError):
    """The request cannot be understood: {reason}."""


class NotAuthenticated(RequestError):
    """It is not known who asks: {reason}."""


class FormTooOld(RequestError):
    """The form is too old, or is not of this console: open its page again and send it from there."""


class NoSuchResource(RequestError):
    """There is nothing here: {reason}."""


class MethodNotOffered(RequestError):
    """This cannot be done here: {reason}."""


class NotAcceptable(RequestError):
    """The answer cannot be given in any form that was asked for: {reason}."""


class UnsupportedMedia(RequestError):
    """What was sent is in a form that is not taken: {reason}."""


class BodyTooLarge(RequestError):
    """The body is longer than {limit_bytes} bytes; nothing of what had not been acknowledged is kept."""


class HeadersTooLong(RequestError):
    """The request's address and headers are longer than {limit_bytes} bytes together."""


class TooSlow(RequestError):
    """The request did not arrive in time ({seconds} s without progress)."""


class TooManyRequests(RequestError):
    """Too many requests at once: try again in a moment."""

    retryable = True


class TooManyConnections(TooManyRequests):
    """Too many connections at once: try again in a moment."""
