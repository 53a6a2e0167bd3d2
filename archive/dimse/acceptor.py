"""Answers an association request (PS3.8 sections 7.1 and 9.3.2 to 9.3.4); must not know what the services do.

Reading the request and building the answer is pynetdicom's; the rules by which a peer is let in are ours.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)

from archive.config import DicomSettings, PeerSettings
from archive.dimse import contexts
from archive.dimse.association import Association, Limits, Peer
from archive.dimse.transport import Transport
from archive.errors import AssociationRefused, PduError
from archive.part10.meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION

_REQUEST: Final = 0x01
_REQUEST_LIMIT: Final = 1024 * 1024
_FIRST_VERSION: Final = 0x0001
"""The bit of protocol version 1; no other is to be tested (PS3.8 table 9-11)."""
_APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and words for the log."""

    result: int
    source: int
    diagnostic: int
    reason: str


CALLED_UNKNOWN: Final = Refusal(1, 1, 7, "called AE title not recognized")
CALLING_UNKNOWN: Final = Refusal(1, 1, 3, "calling AE title not recognized")
CONTEXT_UNKNOWN: Final = Refusal(1, 1, 2, "application context name not supported")
VERSION_UNKNOWN: Final = Refusal(1, 2, 2, "protocol version not supported")
TOO_MANY: Final = Refusal(2, 3, 2, "local limit of associations exceeded")
BUSY: Final = Refusal(2, 3, 1, "temporary congestion")


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed A-ASSOCIATE-RQ."""

    primitive: A_ASSOCIATE
    protocol_versions: int
    calling_ae_title: str
    called_ae_title: str
    max_pdu_bytes: int
    roles: dict[Any, tuple[bool, bool]]
    extended: dict[Any, bytes]
    wants_async: bool


def read_request(transport: Transport, *, artim_seconds: float) -> Request:
    """Read and parse the first PDU; raise PduError when it is no association request."""
    head = bytearray(6)
    got = transport.receive_some(memoryview(head), idle_seconds=artim_seconds, what="an association request")
    if got < 6:
        transport.receive(memoryview(head)[got:], what="an association request")
    length = int.from_bytes(head[2:6], "big")
    if head[0] != _REQUEST:
        raise PduError(reason="the first PDU is not an association request")
    if not 68 <= length <= _REQUEST_LIMIT:
        raise PduError(reason=f"an association request of {length} bytes")
    body = bytearray(length)
    transport.receive(memoryview(body), what="an association request")
    return parse_request(bytes(head + body))


def parse_request(raw: bytes) -> Request:
    """Parse an A-ASSOCIATE-RQ; whatever is wrong with it leaves as PduError."""
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(raw)
        primitive = pdu.to_primitive()
        return _request_of(primitive, pdu.protocol_version)
    except Exception as exc:  # the parser meets hostile bytes: any failure of it is the peer's
        raise PduError(reason="the association request cannot be parsed") from exc


def _request_of(primitive: A_ASSOCIATE, protocol_versions: int) -> Request:
    maximum, wants_async = 0, False
    roles: dict[Any, tuple[bool, bool]] = {}
    extended: dict[Any, bytes] = {}
    for item in primitive.user_information:
        if isinstance(item, MaximumLengthNotification):
            maximum = item.maximum_length_received or 0
        elif isinstance(item, SCP_SCU_RoleSelectionNegotiation):
            roles[item.sop_class_uid] = (bool(item.scu_role), bool(item.scp_role))
        elif isinstance(item, SOPClassExtendedNegotiation):
            extended[item.sop_class_uid] = item.service_class_application_information or b""
        elif isinstance(item, AsynchronousOperationsWindowNegotiation):
            wants_async = True
    return Request(
        primitive=primitive,
        protocol_versions=protocol_versions,
        calling_ae_title=str(primitive.calling_ae_title or "").strip(),
        called_ae_title=str(primitive.called_ae_title or "").strip(),
        max_pdu_bytes=maximum,
        roles=roles,
        extended=extended,
        wants_async=wants_async,
    )


def refusal_of(request: Request, peer: Peer, settings: DicomSettings) -> Refusal | None:
    """Return why this peer may not come in, or None. The calling AE is bound to its address and certificate."""
    if not request.protocol_versions & _FIRST_VERSION:
        return VERSION_UNKNOWN
    if str(request.primitive.application_context_name) != _APPLICATION_CONTEXT:
        return CONTEXT_UNKNOWN
    ours = {settings.ae_title, *settings.extra_ae_titles}
    if settings.check_called_ae_title and request.called_ae_title not in ours:
        return CALLED_UNKNOWN
    entries = [entry for entry in settings.peers if entry.ae_title == request.calling_ae_title]
    if not entries:
        return None if settings.accept_unknown_peers else CALLING_UNKNOWN
    return None if any(_matches(entry, peer) for entry in entries) else CALLING_UNKNOWN


def _matches(entry: PeerSettings, peer: Peer) -> bool:
    if entry.addresses:
        address = ipaddress.ip_address(peer.address)
        if not any(address in network for network in entry.addresses):
            return False
    wanted = entry.certificate_sha256
    return wanted is None or wanted == peer.certificate_sha256


def send_refusal(transport: Transport, refusal: Refusal) -> None:
    """Send the A-ASSOCIATE-RJ and raise AssociationRefused."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = refusal.result, refusal.source, refusal.diagnostic
    transport.send([pdu.encode()], what="a rejection")
    raise AssociationRefused(reason=refusal.reason)


def accept(transport: Transport, request: Request, peer: Peer, settings: DicomSettings) -> Association:
    """Negotiate the contexts, send the A-ASSOCIATE-AC and return the association."""
    proposed = request.primitive.presentation_context_definition_list
    results, roles = contexts.negotiate(proposed, request.roles, accept_private=settings.accept_private_sop_classes)
    answer = A_ASSOCIATE()
    answer.application_context_name = _APPLICATION_CONTEXT
    answer.calling_ae_title = request.primitive.calling_ae_title
    answer.called_ae_title = request.primitive.called_ae_title
    answer.result = 0x00
    answer.result_source = 0x01
    answer.presentation_context_definition_results_list = results
    answer.user_information = [
        *user_information(settings.max_pdu_bytes),
        *([_one_at_a_time()] if request.wants_async else []),
        *roles,
        *contexts.extended_answers(request.extended),
    ]
    transport.send([A_ASSOCIATE_AC(answer).encode()], what="an acceptance")
    limits = Limits(idle_seconds=settings.idle_seconds, max_pdu_bytes=settings.max_pdu_bytes)
    return Association(
        transport=transport,
        peer=peer,
        contexts=contexts.accepted(results),
        peer_max_pdu_bytes=request.max_pdu_bytes,
        limits=limits,
    )


def user_information(max_pdu_bytes: int) -> list[Any]:
    """Return the user information items that every request and answer of ours carries (PS3.7 annex D.3.3)."""
    maximum = MaximumLengthNotification()
    maximum.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION
    return [maximum, implementation, version]


def _one_at_a_time() -> AsynchronousOperationsWindowNegotiation:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 1
    window.maximum_number_operations_performed = 1
    return window
