"""What is negotiated: which SOP classes, which transfer syntax, which role."""

from __future__ import annotations

import pytest
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, build_context

from archive.dimse import contexts
from archive.dimse.association import Context

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
JPEG_XL = "1.2.840.10008.1.2.4.110"


def _proposed(abstract_syntax: str, *transfer_syntaxes: str, number: int = 1) -> PresentationContext:
    context = build_context(abstract_syntax, list(transfer_syntaxes))
    context.context_id = number
    return context


def _negotiated(
    *proposed: PresentationContext, roles: dict[str, tuple[bool, bool]] | None = None, private: bool = True
) -> dict[int, Context]:
    results, _ = contexts.negotiate(proposed, roles or {}, accept_private=private)
    assert len(results) == len(proposed)
    return contexts.accepted(results)


def test_every_storage_class_of_the_standard_is_taken() -> None:
    """Each class pynetdicom lists under the Storage Service Class is accepted."""
    for known in AllStoragePresentationContexts:
        assert contexts.is_storage(str(known.abstract_syntax), accept_private=False)


@pytest.mark.parametrize(
    "abstract_syntax", ["1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.5.1.4.1.1.999.7"]
)
def test_retired_and_future_storage_classes_are_taken(abstract_syntax: str) -> None:
    """Old archives are full of retired classes, and the standard grows under the same root."""
    assert contexts.is_storage(abstract_syntax, accept_private=False)


def test_private_classes_follow_the_setting() -> None:
    """A class outside the standard's root is storage only where the site says so."""
    assert contexts.is_storage("1.3.12.2.1107.5.9.1", accept_private=True)
    assert not contexts.is_storage("1.3.12.2.1107.5.9.1", accept_private=False)


@pytest.mark.parametrize("service", ["1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.1.1", "1.2.840.10008.3.1.2.3.3"])
def test_other_services_are_rejected(service: str) -> None:
    """Worklist, printing and MPPS are not ours: abstract syntax not supported."""
    results, _ = contexts.negotiate([_proposed(service, contexts.IMPLICIT_LITTLE)], {}, accept_private=True)
    assert [result.result for result in results] == [3]


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([contexts.IMPLICIT_LITTLE], contexts.IMPLICIT_LITTLE),
        ([contexts.IMPLICIT_LITTLE, contexts.EXPLICIT_LITTLE], contexts.EXPLICIT_LITTLE),
        ([contexts.EXPLICIT_BIG, contexts.IMPLICIT_LITTLE], contexts.EXPLICIT_BIG),
        ([contexts.EXPLICIT_LITTLE, J2K, JPEG_LS], J2K),
        ([contexts.IMPLICIT_LITTLE, JPEG_XL], JPEG_XL),
        (["1.2.3.4.5.6"], "1.2.3.4.5.6"),
        ([contexts.DEFLATED], contexts.DEFLATED),
    ],
)
def test_storage_takes_what_keeps_most(offered: list[str], taken: str) -> None:
    """Compressed as the peer has it, else explicit over implicit; an unknown syntax is taken as it comes."""
    assert _negotiated(_proposed(CT, *offered))[1].transfer_syntax == taken


def test_each_context_is_answered_by_itself() -> None:
    """Two contexts for one class with different syntaxes are both accepted, each with its own."""
    answered = _negotiated(_proposed(CT, JPEG_LS, number=1), _proposed(CT, contexts.IMPLICIT_LITTLE, number=3))
    assert {number: context.transfer_syntax for number, context in answered.items()} == {
        1: JPEG_LS,
        3: contexts.IMPLICIT_LITTLE,
    }


def test_without_a_role_the_peer_sends_and_we_store() -> None:
    """Default roles: we are SCP only."""
    context = _negotiated(_proposed(CT, contexts.EXPLICIT_LITTLE))[1]
    assert (context.as_scp, context.as_scu) == (True, False)


def test_a_role_lets_us_send_back() -> None:
    """A peer that offers to be SCP of storage (C-GET) gets it, and the reply says so."""
    proposed = [_proposed(CT, contexts.EXPLICIT_LITTLE), _proposed(contexts.STUDY_ROOT_GET, contexts.IMPLICIT_LITTLE)]
    proposed[1].context_id = 3
    results, replies = contexts.negotiate(proposed, {CT: (False, True)}, accept_private=True)
    assert contexts.accepted(results)[1].as_scu
    assert [(str(reply.sop_class_uid), reply.scp_role) for reply in replies] == [(CT, True)]


def test_where_we_send_what_everything_converts_to_is_taken() -> None:
    """A peer that is to receive and offers a compressed syntax beside a native one gets the native one."""
    proposed = _proposed(CT, JPEG_LS, contexts.IMPLICIT_LITTLE, contexts.EXPLICIT_LITTLE)
    assert _negotiated(proposed, roles={CT: (False, True)})[1].transfer_syntax == contexts.EXPLICIT_LITTLE
    assert _negotiated(proposed)[1].transfer_syntax == JPEG_LS


def test_queries_answer_extended_negotiation_with_what_both_can() -> None:
    """Relational queries and fuzzy names are confirmed when asked for, combined date-time is not claimed."""
    answers = contexts.extended_answers({contexts.STUDY_ROOT_FIND: bytes((1, 1, 1, 0)), contexts.VERIFICATION: b"\1"})
    assert [(str(a.sop_class_uid), a.service_class_application_information) for a in answers] == [
        (contexts.STUDY_ROOT_FIND, bytes((1, 0, 1, 0)))
    ]


def test_nothing_is_confirmed_that_was_not_asked_for() -> None:
    """A peer that asks for no relational queries gets none."""
    answers = contexts.extended_answers({contexts.PATIENT_ROOT_FIND: bytes((0,))})
    assert answers[0].service_class_application_information == bytes((0,))


def test_storage_states_full_support() -> None:
    """Level 2 (all attributes kept), no coercion (PS3.4 B.3.1)."""
    answers = contexts.extended_answers({CT: bytes(6)})
    assert answers[0].service_class_application_information == bytes((2, 0, 0, 0, 0, 0))
