"""Which SOP classes and transfer syntaxes we take, and the negotiation of them; must not touch a socket.

Storage is open: every class of the Storage Service Class (PS3.4 annex B.5), retired ones and those to come under the
same root, private ones by setting, each in whatever transfer syntax it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation, SOPClassExtendedNegotiation
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, negotiate_as_acceptor

from archive.dimse.association import Context

VERIFICATION: Final = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"

QUERY_CLASSES: Final = frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND})
MOVE_CLASSES: Final = frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE})
GET_CLASSES: Final = frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET})
_QUERY_RETRIEVE: Final = QUERY_CLASSES | MOVE_CLASSES | GET_CLASSES
_SERVICES: Final = _QUERY_RETRIEVE | {VERIFICATION, STORAGE_COMMITMENT}
_SERVICE_SYNTAXES: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG)

_STANDARD_ROOT: Final = "1.2.840.10008."
_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_STORAGE: Final = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
_UNCOMPRESSED: Final = (EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE)

# Relational queries, combined date-time matching, fuzzy person names, time zone adjustment (PS3.4 C.5.1.1).
_QUERY_SUPPORT: Final = bytes((1, 0, 1, 0))
_RELATIONAL_RETRIEVE: Final = bytes((1,))
_STORAGE_SUPPORT: Final = bytes((2, 0, 0, 0, 0, 0))  # level 2 (full), no signature support, no coercion (PS3.4 B.3.1)


def is_storage(abstract_syntax: str, *, accept_private: bool) -> bool:
    """Tell whether a SOP class is one we store."""
    if abstract_syntax in _STORAGE or abstract_syntax.startswith(_STORAGE_ROOT):
        return True
    return accept_private and not abstract_syntax.startswith(_STANDARD_ROOT)


def _storage_preference(proposed: Iterable[str], *, we_send: bool) -> list[str]:
    """Order a peer's syntaxes.

    Where it sends: compressed ones in its order (least work for it), then by what keeps most. Where we send: by what
    everything stored can be converted to.
    """
    offered = [str(syntax) for syntax in proposed]
    compressed = [syntax for syntax in offered if syntax not in _UNCOMPRESSED]
    native: list[str] = [syntax for syntax in _UNCOMPRESSED if syntax in offered]
    return native + compressed if we_send else compressed + native


def _supported(
    proposed: PresentationContext, roles: Mapping[Any, tuple[bool, bool]], *, accept_private: bool
) -> list[PresentationContext]:
    """Return, as pynetdicom wants it, what we support for one proposed context: a list of none or one."""
    we_send = roles.get(proposed.abstract_syntax) == (False, True)
    abstract = str(proposed.abstract_syntax)
    ours = PresentationContext()
    ours.abstract_syntax = proposed.abstract_syntax
    if abstract in _SERVICES:
        ours.transfer_syntax = list(_SERVICE_SYNTAXES)
    elif is_storage(abstract, accept_private=accept_private):
        ours.transfer_syntax = list(_storage_preference(proposed.transfer_syntax, we_send=we_send))
        ours.scu_role = ours.scp_role = True
    else:
        return []
    return [ours]


def negotiate(
    proposed: Sequence[PresentationContext], roles: Mapping[Any, tuple[bool, bool]], *, accept_private: bool
) -> tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]]:
    """Answer every proposed context (PS3.8 section 9.3.3) and role (PS3.7 annex D.3.3.4)."""
    results: list[PresentationContext] = []
    replies: dict[str, SCP_SCU_RoleSelectionNegotiation] = {}
    for context in proposed:
        ours = _supported(context, roles, accept_private=accept_private)
        answered, answered_roles = negotiate_as_acceptor([context], ours, dict(roles))
        results += answered
        replies |= {str(role.sop_class_uid): role for role in answered_roles}
    return results, list(replies.values())


def accepted(results: Iterable[PresentationContext]) -> dict[int, Context]:
    """Return the accepted contexts by identifier, for an association in which we are the acceptor."""
    return {
        int(result.context_id or 0): Context(
            int(result.context_id or 0),
            str(result.abstract_syntax),
            str(result.transfer_syntax[0]),
            bool(result.as_scu),
            bool(result.as_scp),
        )
        for result in results
        if result.result == 0
    }


def extended_answers(asked: Mapping[Any, bytes]) -> list[SOPClassExtendedNegotiation]:
    """Answer SOP class extended negotiation: what was asked for and we do (PS3.4 B.3.1, C.5)."""
    answers = []
    for sop_class, wanted in asked.items():
        support = _support_of(str(sop_class))
        if support is None:
            continue
        answer = SOPClassExtendedNegotiation()
        answer.sop_class_uid = sop_class
        answer.service_class_application_information = _both(wanted, support, str(sop_class))
        answers.append(answer)
    return answers


def _support_of(sop_class: str) -> bytes | None:
    if sop_class in QUERY_CLASSES:
        return _QUERY_SUPPORT
    if sop_class in _QUERY_RETRIEVE:
        return _RELATIONAL_RETRIEVE
    return _STORAGE_SUPPORT if sop_class.startswith(_STORAGE_ROOT) else None


def _both(wanted: bytes, support: bytes, sop_class: str) -> bytes:
    """Queries answer with what both sides can do; storage states our own level."""
    if sop_class not in _QUERY_RETRIEVE:
        return support
    return bytes(ours & theirs for ours, theirs in zip(support, wanted, strict=False))
