"""Gives warnings to people, each once on each channel, over restarts; must not know what a mail or a webhook is.

What could not be delivered is tried again the next time. The journal is the first channel: it is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from archive import logs
from archive.audit import Entry
from archive.clock import Clock
from archive.errors import NoticeNotSent
from archive.index import notices
from archive.services.committer import Committer
from archive.services.notice_words import Text
from retention_rules.explain import Language

JOURNAL: Final = "journal"
_KEPT: Final = timedelta(days=4 * 365)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """One warning. ``subject`` and ``grade`` together are given once; ``fields`` are for machines.

    ``texts`` say it in every language: a channel takes the one of its readers. Nothing in it may name a patient: it
    leaves the site.
    """

    subject: str
    grade: str
    kind: str
    texts: Mapping[Language, Text]
    fields: Mapping[str, str | int | list[str] | None] = field(default_factory=dict)


Channel = Callable[[Notice, datetime], None]
"""Delivers a warning or raises NoticeNotSent."""


@dataclass(frozen=True, slots=True)
class Notices:
    """Tells and remembers; ``channels`` by the names under which it is remembered."""

    committer: Committer
    clock: Clock
    channels: Mapping[str, Channel] = field(default_factory=dict)

    def tell(self, notice: Notice) -> None:
        """Give a warning on every channel that has not had it. Raises IndexUnavailable."""
        with self.committer.read() as connection:
            told = notices.channels(connection, notice.subject, notice.grade)
        if JOURNAL not in told:
            self._journal(notice)
        for name, channel in self.channels.items():
            if name not in told:
                self._send(notice, name, channel)

    def settle(self, subject: str) -> None:
        """Let what was told of a subject be told again: it was over in between."""
        with self.committer.read() as connection:
            is_known = bool(notices.grades(connection, subject))
        if is_known:
            self.committer.record(work=lambda connection: notices.forget(connection, subject))

    def _journal(self, notice: Notice) -> None:
        now = self.clock()
        title = notice.texts["en"].title  # the journal and the log speak English throughout
        _log.warning("warning_given", kind=notice.kind, grade=notice.grade, reason=title)
        body = {"kind": notice.kind, "subject": notice.subject, "grade": notice.grade, "title": title}

        def work(connection: notices.Connection) -> None:
            notices.mark(connection, notice.subject, notice.grade, JOURNAL, now)
            notices.forget_before(connection, now - _KEPT)

        self.committer.record(Entry(now, "warned", "drimbox", body), work=work)

    def _send(self, notice: Notice, name: str, channel: Channel) -> None:
        now = self.clock()
        try:
            channel(notice, now)
        except NoticeNotSent as exc:
            _log.error("warning_not_delivered", channel=name, kind=notice.kind, exc_info=exc)
            return
        mark = (notice.subject, notice.grade, name, now)
        self.committer.record(work=lambda connection: notices.mark(connection, *mark))
