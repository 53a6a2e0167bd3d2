"""Opens associations to other application entities (PS3.8 sections 7.1 and 9.3.2); must not send a message on one.

Writing the request and reading the answer is pynetdicom's; whatever goes wrong before the association stands leaves as
DestinationUnreachable, so that callers need no other word for it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from archive.dimse.acceptor import user_information
from archive.dimse.association import Association, Context, Limits, Peer
from archive.dimse.transport import PlainTransport, TlsTransport, Transport
from archive.errors import DestinationUnreachable, PduError, ProtocolError

MAX_PROPOSALS: Final = 128
"""Presentation contexts of one association: their identifiers are the odd numbers of a byte (PS3.8 table 9-13)."""

_ACCEPTED: Final = 0x02
_REJECTED: Final = 0x03
_ABORTED: Final = 0x07
_ANSWER_LIMIT: Final = 1024 * 1024
_APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
_Item = TypeVar("_Item")

_ABORT: Final = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Destination:
    """An application entity associations can be opened to; ``tls`` is None for a plain connection."""

    ae_title: str
    host: str
    port: int
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose; ``as_scp`` proposes to act as SCP for it (PS3.7 annex D.3.3.4)."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    as_scp: bool = False


Connect = Callable[[Destination, Sequence[Proposal]], Association]
"""``request_association`` with the archive's own title and timers filled in."""


def request_association(
    destination: Destination,
    proposals: Sequence[Proposal],
    *,
    calling_ae_title: str,
    limits: Limits,
    connect_seconds: float,
    io_seconds: float,
) -> Association:
    """Return an established association; raise DestinationUnreachable.

    ``connect_seconds`` bounds the connection and each address of the host, ``io_seconds`` the answer. Contexts the
    peer did not accept are not in the association's; there may be none at all.
    """
    assert 0 < len(proposals) <= MAX_PROPOSALS, "an association has 1 to 128 presentation contexts"
    request = _request(destination, proposals, calling_ae_title, limits)
    transport, address = _connect(destination, connect_seconds, io_seconds)
    try:
        transport.send([request], what="an association request")
        answer = _read_answer(transport)
        return Association(
            transport=transport,
            peer=Peer(calling_ae_title, destination.ae_title, address),
            contexts=_accepted(proposals, answer),
            peer_max_pdu_bytes=_max_pdu_bytes(answer),
            limits=limits,
        )
    except (ProtocolError, _Refused) as exc:
        transport.close()
        raise DestinationUnreachable(ae_title=destination.ae_title, reason=str(exc).rstrip(".")) from exc


class _Refused(Exception):
    """The peer answered, and the answer is no."""


def _connect(destination: Destination, connect_seconds: float, io_seconds: float) -> tuple[Transport, str]:
    """Return an open connection and the peer's address."""
    try:
        connection = socket.create_connection((destination.host, destination.port), connect_seconds)
    except OSError as exc:
        raise DestinationUnreachable(ae_title=destination.ae_title, reason=_words(exc)) from exc
    try:
        address = str(connection.getpeername()[0])
        if destination.tls is None:
            return PlainTransport(connection, io_seconds=io_seconds), address
        secured = destination.tls.wrap_socket(connection, server_hostname=destination.host)
        return TlsTransport(secured, io_seconds=io_seconds), address
    except (OSError, ValueError) as exc:
        connection.close()
        raise DestinationUnreachable(ae_title=destination.ae_title, reason=_words(exc)) from exc


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _contexts(proposals: Sequence[Proposal]) -> list[PresentationContext]:
    offered = []
    for index, proposal in enumerate(proposals):
        context = PresentationContext()
        context.context_id = 2 * index + 1
        context.abstract_syntax = proposal.abstract_syntax
        for syntax in proposal.transfer_syntaxes:
            context.add_transfer_syntax(syntax)
        offered.append(context)
    return offered


def _request(destination: Destination, proposals: Sequence[Proposal], calling_ae_title: str, limits: Limits) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.calling_ae_title = calling_ae_title
    primitive.called_ae_title = destination.ae_title
    primitive.presentation_context_definition_list = _contexts(proposals)
    roles = {proposal.abstract_syntax for proposal in proposals if proposal.as_scp}
    primitive.user_information = [*user_information(limits.max_pdu_bytes), *map(_scp_role, sorted(roles))]
    return A_ASSOCIATE_RQ(primitive).encode()


def _scp_role(abstract_syntax: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = abstract_syntax
    role.scu_role, role.scp_role = False, True
    return role


def _read_answer(transport: Transport) -> A_ASSOCIATE:
    """Return the acceptance; raise _Refused for any other answer, PduError for what is none."""
    head = bytearray(6)
    transport.receive(memoryview(head), what="an association answer")
    length = int.from_bytes(head[2:6], "big")
    if head[0] not in (_ACCEPTED, _REJECTED, _ABORTED) or length > _ANSWER_LIMIT:
        transport.send([_ABORT], what="an abort")
        raise PduError(reason="no answer to an association request")
    body = bytearray(length)
    transport.receive(memoryview(body), what="an association answer")
    if head[0] == _ABORTED:
        raise _Refused("aborted by the peer")
    return _parse_answer(bytes(head + body), is_rejection=head[0] == _REJECTED)


def _parse_answer(raw: bytes, *, is_rejection: bool) -> A_ASSOCIATE:
    try:
        if is_rejection:
            rejection = A_ASSOCIATE_RJ()
            rejection.decode(raw)
            reason = rejection.reason_str
        else:
            acceptance = A_ASSOCIATE_AC()
            acceptance.decode(raw)
            answer = acceptance.to_primitive()
            if not answer.presentation_context_definition_results_list:
                raise ValueError("an acceptance answers at least one context")
            return answer
    except Exception as exc:  # the parser meets hostile bytes: any failure of it is the peer's
        raise PduError(reason="the association answer cannot be parsed") from exc
    raise _Refused(f"rejected: {reason.lower()}")


def _accepted(proposals: Sequence[Proposal], answer: A_ASSOCIATE) -> dict[int, Context]:
    """Return what both sides agreed on, by identifier; a syntax nobody proposed is no agreement."""
    roles = {str(role.sop_class_uid): bool(role.scp_role) for role in _items(answer, SCP_SCU_RoleSelectionNegotiation)}
    accepted = {}
    for result in answer.presentation_context_definition_results_list:
        context_id = int(result.context_id or 0)
        syntax = str(result.transfer_syntax[0]) if result.transfer_syntax else ""
        proposal = proposals[context_id // 2] if context_id % 2 and context_id // 2 < len(proposals) else None
        if result.result == 0 and proposal is not None and syntax in proposal.transfer_syntaxes:
            as_scp = proposal.as_scp and roles.get(proposal.abstract_syntax, False)
            accepted[context_id] = Context(context_id, proposal.abstract_syntax, syntax, not as_scp, as_scp)
    return accepted


def _max_pdu_bytes(answer: A_ASSOCIATE) -> int:
    """Return the peer's maximum PDU length, 0 when it has none."""
    return next((int(item.maximum_length_received or 0) for item in _items(answer, MaximumLengthNotification)), 0)


def _items(answer: A_ASSOCIATE, kind: type[_Item]) -> Iterator[_Item]:
    return (item for item in answer.user_information if isinstance(item, kind))
