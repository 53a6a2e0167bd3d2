"""C-FIND SCP (PS3.4 annex C.4.1, PS3.7 section 9.1.2): the wire side of queries; must not know the index.

All answers are read and encoded before the first is sent: a peer that reads slowly holds bytes, never a connection
of the index. They go out many at a time.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from archive import logs
from archive.clock import monotonic
from archive.dimse import command as dimse
from archive.dimse.answers import AnswerEncoder, query_charset
from archive.dimse.association import Association, Message, Released
from archive.dimse.contexts import PATIENT_ROOT_FIND, QUERY_CLASSES
from archive.dimse.identifier import decode_identifier
from archive.dimse.status import CANCEL, PENDING, PENDING_WARNING, SUCCESS, status_of
from archive.errors import ArchiveError, InvalidIdentifier, PduError, ProtocolError, TooManyMatches
from archive.services.find import Find, Root

_log = logs.get(__name__)
_IDENTIFIER_LIMIT: Final = 4 * 1024 * 1024
_AT_ONCE: Final = 32


class _Cancelled(Exception):
    """The peer wants no more answers."""


class _End(NamedTuple):
    """The status of the last response and what it says."""

    status: int
    comment: str = ""


@dataclass(frozen=True, slots=True)
class FindHandler:
    """Answers the queries of all associations."""

    find: Find

    def handle(self, association: Association, message: Message) -> None:
        """Read the identifier, find, answer. Protocol errors leave; everything else is a status for the peer."""
        started = monotonic()
        if message.context.abstract_syntax not in QUERY_CLASSES:
            raise PduError(reason="a C-FIND request on a context that is not for queries")
        exchange = _Exchange(self.find, association, message)
        end = exchange.send(exchange.gather())
        association.tally.found += exchange.sent
        _log.info(
            "query_answered",
            query_level=exchange.level,
            answers=exchange.sent,
            status=f"{end.status:04X}",
            elapsed_ms=round((monotonic() - started) * 1000, 1),
        )


@dataclass(slots=True)
class _Exchange:
    """One query and its answers."""

    find: Find
    association: Association
    message: Message
    level: str = ""
    sent: int = 0
    pending: int = PENDING
    answers: list[bytes] = field(default_factory=list)

    def gather(self) -> _End:
        """Find and encode the answers; return how the query ends, whatever happened."""
        try:
            self._gather()
        except (ProtocolError, Released):
            raise
        except TooManyMatches as exc:
            return _failure(exc)
        except _Cancelled:
            self.answers.clear()
            return _End(CANCEL)
        except Exception as exc:
            self.answers.clear()
            return _failure(exc)
        return _End(SUCCESS)

    def _gather(self) -> None:
        context, raw = self.message.context, self._read_identifier()
        root: Root = "patient" if context.abstract_syntax == PATIENT_ROOT_FIND else "study"
        question = self.find.question(root, decode_identifier(raw, context.transfer_syntax))
        self.level = question.query.level
        ours = {"RetrieveAETitle": self.association.peer.called_ae_title}
        encoder: AnswerEncoder | None = None
        with closing(self.find.answers(question)) as answers:
            for answer in answers:
                if len(self.answers) % _AT_ONCE == 0:
                    self._raise_if_cancelled()
                if encoder is None:
                    keywords = {*question.asked, *answer, *ours}
                    charset = query_charset(raw, context.transfer_syntax)
                    encoder = AnswerEncoder(keywords, context.transfer_syntax, charset=charset)
                    self.pending = PENDING_WARNING if question.unsupported(answer) else PENDING
                self.answers.append(encoder.encode({**answer, **ours}))

    def _read_identifier(self) -> bytes:
        if not self.message.has_dataset:
            raise InvalidIdentifier(reason="there is none")
        return self.association.read_dataset(self.message, limit_bytes=_IDENTIFIER_LIMIT)

    def send(self, end: _End) -> _End:
        """Send the answers, many at a time, and the last response; return how it ended: the peer may cancel."""
        response = dimse.encode(dimse.response_to(self.message.command, self.pending, has_dataset=True))
        context_id, fragments = self.message.context.context_id, self.association.fragments
        pending = fragments(context_id, response, is_command=True)
        try:
            for start in range(0, len(self.answers), _AT_ONCE):
                self._raise_if_cancelled()
                batch = self.answers[start : start + _AT_ONCE]
                buffers = []
                for answer in batch:
                    buffers += [*pending, *fragments(context_id, answer, is_command=False)]
                self.association.send_fragments(buffers)
                self.sent += len(batch)
        except _Cancelled:
            end = _End(CANCEL)
        last = dimse.response_to(self.message.command, end.status)
        self.association.send_message(
            self.message.context, dimse.with_comment(last, end.comment) if end.comment else last
        )
        return end

    def _raise_if_cancelled(self) -> None:
        """Look, without waiting, whether the peer asked to stop (PS3.7 section 9.3.2.3)."""
        if not self.association.has_message_waiting():
            return
        command = self.association.read_message().command
        if dimse.number(command, dimse.COMMAND_FIELD) != dimse.C_CANCEL_RQ:
            raise PduError(reason="another request came before the query was answered")
        if dimse.number(command, dimse.MESSAGE_ID_RESPONDED_TO) == dimse.number(self.message.command, dimse.MESSAGE_ID):
            raise _Cancelled


def _failure(error: Exception) -> _End:
    """Log why a query ends and return what the peer is told."""
    status, comment = status_of(error)
    level = _log.warning if isinstance(error, ArchiveError) else _log.error
    level("query_failed", status=f"{status:04X}", reason=type(error).__name__, exc_info=error)
    return _End(status, comment)
