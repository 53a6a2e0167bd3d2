"""Takes one message from the wire to the ledger and back as an answer; must not know the connection it came by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from archive import logs
from archive.clock import Clock
from archive.errors import ArchiveError, MessageRefused, MessageTooLong
from archive.hl7 import acknowledgement
from archive.hl7.messages import INTERNAL, SEGMENT_SEQUENCE, Header, parse, read_header, refused
from archive.hl7.translate import ChooseSite, check_clock, translate, why_nothing
from archive.services.hl7 import Arrived, Feed, Kept, Reading

_log = logs.get(__name__)
_CODE: Final = re.compile(r"[A-Z]{3}|[A-Z][0-9]{2}")
_KEPT_OF_TOO_LONG: Final = 64 * 1024


def read(raw: bytes, choose_site: ChooseSite, now: datetime) -> Reading:
    """Return what a message says, or why it is refused; never raises."""
    try:
        message = parse(raw)
        statement = translate(message, choose_site)
        if statement is not None:
            check_clock(statement, now.date() + timedelta(days=1))
        return Reading(statement, "" if statement is not None else why_nothing(message))
    except MessageRefused as exc:
        return Reading(detail=_detail(exc), error=exc)
    except Exception as exc:
        # An edge: one message that finds a bug must not end the feed. It is kept, refused, and can be replayed.
        _log.error("hl7_reading_failed", exc_info=exc)
        error = refused("reading it failed: report this", code=INTERNAL)
        return Reading(detail=_detail(error), error=error)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Keeps messages and answers them."""

    feed: Feed
    choose_site: ChooseSite
    clock: Clock

    def handle(self, raw: bytes, peer_address: str) -> list[bytes]:
        """Return the answers to a message, once it is durable."""
        return self._keep(raw, read(raw, self.choose_site, self.clock()), peer_address)

    def handle_too_long(self, begun: bytes, error: MessageTooLong, peer_address: str) -> list[bytes]:
        """Return the answers to a message that did not end within the limit; its beginning is kept."""
        reason = refused(f"it is longer than {error.fields['limit_bytes']} bytes", code=SEGMENT_SEQUENCE, rejects=True)
        return self._keep(begun[:_KEPT_OF_TOO_LONG], Reading(detail=_detail(reason), error=reason), peer_address)

    def _keep(self, raw: bytes, reading: Reading, peer_address: str) -> list[bytes]:
        header = read_header(raw)
        kind = _kind(header)
        try:
            kept = self.feed.keep(Arrived(raw, header.first(10), kind, peer_address), reading)
        except (ArchiveError, OSError) as exc:
            _log.error("hl7_message_not_kept", type=kind, exc_info=exc)
            error = refused("the archive cannot keep it now, send it again", code=INTERNAL)
            return acknowledgement.answers(header, error, self.clock())
        return self._answers(header, kept, reading.error, kind)

    def _answers(self, header: Header, kept: Kept, error: MessageRefused | None, kind: str) -> list[bytes]:
        said = {"number": kept.number, "type": kind, "outcome": kept.outcome, "detail": kept.detail}
        if kept.outcome == "refused":
            error = error or refused(kept.detail, code=INTERNAL)
            _log.warning("hl7_message_refused", **said)
        else:
            _log.info("hl7_message_kept", is_repeated=not kept.is_new, **said)
            error = None
        return acknowledgement.answers(header, error, self.clock())


def _detail(error: MessageRefused) -> str:
    location = error.fields["location"]
    return f"{error.fields['reason']} ({location})" if location else str(error.fields["reason"])


def _kind(header: Header) -> str:
    """Return ``ADT^A01`` of MSH-9, with nothing in it that could be a name."""
    parts = [*header.raw(9).split(header.encoding[0]), ""][:2]
    return "^".join(part if _CODE.fullmatch(part) else "" for part in parts).strip("^")
