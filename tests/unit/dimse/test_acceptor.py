"""Who is let in, and what a request may look like before anything is believed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings, strategies as st

from archive.config import DicomSettings, PeerSettings
from archive.dimse import acceptor
from archive.dimse.association import Peer
from archive.dimse.transport import PlainTransport
from archive.errors import AssociationRefused, PduError, PeerTimeout
from benchmarks.wire import VERIFICATION, Proposal, accepted_contexts, encode_associate
from tests.unit.dimse.wire import read_pdu, tcp_pair

REQUEST = encode_associate("DRIMBOX", "SCANNER", [Proposal(VERIFICATION)], max_pdu=16384)
SCANNER = Peer("SCANNER", "DRIMBOX", "10.1.2.3", "ab" * 32)


def _request(called: str = "DRIMBOX", calling: str = "SCANNER") -> acceptor.Request:
    return acceptor.parse_request(encode_associate(called, calling, [Proposal(VERIFICATION)], max_pdu=16384))


def _peer(**fields: object) -> PeerSettings:
    return PeerSettings.model_validate({"ae_title": "SCANNER", **fields})


def test_a_request_is_parsed() -> None:
    """Titles, maximum length and contexts of a request are read."""
    request = acceptor.parse_request(REQUEST)
    assert (request.calling_ae_title, request.called_ae_title) == ("SCANNER", "DRIMBOX")
    assert request.max_pdu_bytes == 16384
    assert len(request.primitive.presentation_context_definition_list) == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(6, len(REQUEST) - 1), st.binary(min_size=1, max_size=6))
def test_a_damaged_request_is_a_protocol_error_or_a_request(position: int, damage: bytes) -> None:
    """Any bytes anywhere in a request give a request or PduError, never another exception."""
    raw = REQUEST[:position] + damage + REQUEST[position + len(damage) :]
    try:
        request = acceptor.parse_request(raw)
        acceptor.refusal_of(request, SCANNER, DicomSettings())
    except PduError:
        return
    assert isinstance(request.calling_ae_title, str)


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        (DicomSettings(), None),
        (DicomSettings(ae_title="OTHER"), acceptor.CALLED_UNKNOWN),
        (DicomSettings(ae_title="OTHER", extra_ae_titles=("DRIMBOX",)), None),
        (DicomSettings(ae_title="OTHER", check_called_ae_title=False), None),
        (DicomSettings(accept_unknown_peers=False), acceptor.CALLING_UNKNOWN),
        (DicomSettings(accept_unknown_peers=False, peers=(_peer(),)), None),
        (DicomSettings(peers=(_peer(addresses=["10.1.0.0/16"]),)), None),
        (DicomSettings(peers=(_peer(addresses=["10.2.0.0/16"]),)), acceptor.CALLING_UNKNOWN),
        (DicomSettings(peers=(_peer(certificate_sha256="ab" * 32),)), None),
        (DicomSettings(peers=(_peer(certificate_sha256="cd" * 32),)), acceptor.CALLING_UNKNOWN),
    ],
)
def test_the_rules_at_the_door(settings_: DicomSettings, expected: acceptor.Refusal | None) -> None:
    """Called title, unknown callers, and a known caller's address and certificate each decide as configured."""
    assert acceptor.refusal_of(_request(), SCANNER, settings_) is expected


def test_a_certificate_is_needed_where_one_is_bound() -> None:
    """A peer bound to a certificate does not get in over a plain connection."""
    bound = DicomSettings(peers=(_peer(certificate_sha256="ab" * 32),))
    plain = Peer("SCANNER", "DRIMBOX", "10.1.2.3")
    assert acceptor.refusal_of(_request(), plain, bound) is acceptor.CALLING_UNKNOWN


def test_an_unknown_application_context_is_refused() -> None:
    """Only the DICOM application context is spoken here."""
    raw = REQUEST.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9")
    assert acceptor.refusal_of(acceptor.parse_request(raw), SCANNER, DicomSettings()) is acceptor.CONTEXT_UNKNOWN


def test_a_refusal_is_a_rejection_pdu() -> None:
    """The peer reads result, source and reason, and the archive's side raises AssociationRefused."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=5)
    with pytest.raises(AssociationRefused):
        acceptor.send_refusal(transport, acceptor.TOO_MANY)
    assert read_pdu(theirs) == (3, bytes((0, 2, 3, 2)))
    transport.close()
    theirs.close()


def test_an_acceptance_names_our_limit_and_contexts() -> None:
    """The A-ASSOCIATE-AC carries our maximum PDU length and the accepted context."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=5)
    association = acceptor.accept(transport, _request(), SCANNER, DicomSettings(max_pdu_bytes=65536))
    kind, body = read_pdu(theirs)
    assert kind == 2
    assert accepted_contexts(body) == ({1}, 65536)
    assert association.peer_max_pdu_bytes == 16384
    assert association.contexts[1].abstract_syntax == VERIFICATION
    transport.close()
    theirs.close()


def test_silence_before_the_request_runs_into_artim() -> None:
    """A connection that asks for nothing raises PeerTimeout after the ARTIM time."""
    ours, theirs = tcp_pair()
    transport = PlainTransport(ours, io_seconds=0.1)
    with pytest.raises(PeerTimeout):
        acceptor.read_request(transport, artim_seconds=0.2)
    transport.close()
    theirs.close()


def test_a_request_larger_than_any_real_one_is_refused_unread() -> None:
    """A length of 2 GiB is refused from the header alone."""
    ours, theirs = tcp_pair()
    theirs.sendall(b"\x01\x00\x7f\xff\xff\xff")
    transport = PlainTransport(ours, io_seconds=5)
    with pytest.raises(PduError):
        acceptor.read_request(transport, artim_seconds=5)
    transport.close()
    theirs.close()


def test_an_address_is_matched_as_a_network() -> None:
    """Addresses in settings are networks."""
    assert _peer(addresses=["10.1.0.0/16"]).addresses == (ipaddress.ip_network("10.1.0.0/16"),)
