"""Looks after the TLS certificates of a site and warns before they end; must not read one, nor know a mail.

An expired certificate stops a site at once: modalities, the hospital's feed, the cold store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from archive.services.notice_words import certificate_text, in_each
from archive.services.notices import Notice, Notices
from archive.services.tls_certificates import Place, Seen, Watched, judge

Look = Callable[[Place], Sequence[Seen]]
"""Returns what is in a place; what cannot be read is something seen, never an exception."""


@dataclass(frozen=True, slots=True)
class CertificateWatch:
    """Judges every certificate of some places; ``warn_days`` before the end it is time to act."""

    places: Sequence[Place]
    look: Look
    warn_days: Sequence[int]

    def report(self, now: datetime) -> list[Watched]:
        """Return every certificate as of ``now``, in the order of the places."""
        return [judge(seen, now, self.warn_days) for place in self.places for seen in self.look(place)]


@dataclass(frozen=True, slots=True)
class CertificateWarnings:
    """Gives each warning once."""

    notices: Notices

    def run(self, watched: Iterable[Watched]) -> None:
        """Warn of what passed a limit since the last time. Raises IndexUnavailable."""
        grouped: dict[str, list[Watched]] = {}
        for each in watched:
            if each.sha256:
                self.notices.settle(f"place {each.place}")  # it can be read again: the next failure is news
            if each.grade:
                grouped.setdefault(each.known_as, []).append(each)
        for group in grouped.values():
            self.notices.tell(notice_of(group))


def notice_of(group: Sequence[Watched]) -> Notice:
    """Return the warning for one certificate, which may lie in several places."""
    first = group[0]
    return Notice(
        subject=first.known_as,
        grade=first.grade,
        kind="certificate",
        texts=in_each(lambda language: certificate_text(group, language)),
        fields={
            "state": first.state.value,
            "uses": ", ".join(dict.fromkeys(each.use for each in group)),
            "places": [each.place for each in group],
            "days_left": first.days_left,
            "sha256": first.sha256,
            "problem": first.problem,
        },
    )
