"""Warnings are given once on each channel, over restarts, and again where they did not arrive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from archive.errors import NoticeNotSent
from archive.services.certificate_watch import CertificateWarnings
from archive.services.notice_words import Text
from archive.services.notices import Notice, Notices
from archive.services.tls_certificates import Place, Seen, Watched, judge
from retention_rules.explain import Language
from tests.unit.services.rig import Rig, open_rig
from tests.unit.services.test_tls_certificates import CERTIFICATE, END

TEXTS: dict[Language, Text] = {
    "fr": Text("Le certificat TLS (HL7) expire dans 3 jours"),
    "en": Text("TLS certificate (HL7) expires in 3 days"),
}
NOTICE = Notice("certificate x", "15", "certificate", TEXTS)


@dataclass
class Channel:
    """A channel that notes what it is given, or is down."""

    is_down: bool = False
    given: list[Notice] = field(default_factory=list)

    def __call__(self, notice: Notice, at: datetime) -> None:
        if self.is_down:
            raise NoticeNotSent(reason="down")
        self.given.append(notice)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Lend an empty archive."""
    with open_rig(tmp_path / "home") as lent:
        yield lent


def notices(rig: Rig, **channels: Channel) -> Notices:
    """Return what a start of the archive makes."""
    return Notices(rig.committer, rig.clock, channels)


def test_a_warning_is_given_once_on_each_channel(rig: Rig) -> None:
    """Over restarts; the journal has it as well, in English as all that is in it."""
    mail, webhook = Channel(), Channel()
    for _ in range(3):
        notices(rig, mail=mail, webhook=webhook).tell(NOTICE)
    assert (mail.given, webhook.given, rig.events()) == ([NOTICE], [NOTICE], ["warned"])
    assert json.loads(rig.entries()[0].body)["title"] == "TLS certificate (HL7) expires in 3 days"


def test_another_grade_is_another_warning(rig: Rig) -> None:
    """Sixty days, fifteen, expired: three mails."""
    mail = Channel()
    for grade in ("60", "15", "expired", "expired"):
        notices(rig, mail=mail).tell(replace(NOTICE, grade=grade))
    assert [each.grade for each in mail.given] == ["60", "15", "expired"]


def test_a_channel_that_is_down_gets_it_later(rig: Rig) -> None:
    """The others are not given it again meanwhile."""
    mail, webhook = Channel(is_down=True), Channel()
    notices(rig, mail=mail, webhook=webhook).tell(NOTICE)
    mail.is_down = False
    for _ in range(2):
        notices(rig, mail=mail, webhook=webhook).tell(NOTICE)
    assert (mail.given, webhook.given, rig.events()) == ([NOTICE], [NOTICE], ["warned"])


def test_what_was_over_is_news_again(rig: Rig) -> None:
    """A file that could be read in between."""
    mail = Channel()
    for _ in range(2):
        notices(rig, mail=mail).tell(NOTICE)
        notices(rig, mail=mail).settle(NOTICE.subject)
    assert len(mail.given) == 2


def watched(before_end: timedelta, *, use: str = "HL7", sha256: str = CERTIFICATE.sha256) -> Watched:
    """Return a certificate so long before its end."""
    seen = Seen(Place(use, Path("/etc/tls.pem")), replace(CERTIFICATE, sha256=sha256))
    return judge(seen, END - before_end, (60, 15))


def test_the_life_of_a_certificate(rig: Rig) -> None:
    """Silence, sixty days, fifteen, the end; and silence again for the one that replaces it."""
    mail = Channel()
    warnings = CertificateWarnings(notices(rig, mail=mail))
    for days in (90, 60, 30, 15, 3, -1, -2):
        found = watched(timedelta(days=days))
        warnings.run([found, replace(found, use="DICOM TLS")])
    warnings.run([watched(timedelta(days=300), sha256="cd" * 32)])
    assert [each.grade for each in mail.given] == ["60", "15", "expired"]
    assert all("HL7, DICOM TLS" in text.title for each in mail.given for text in each.texts.values())


def test_a_file_that_cannot_be_read_is_told_each_time_it_gets_lost(rig: Rig) -> None:
    """Once while it lasts."""
    mail = Channel()
    warnings, lost = (
        CertificateWarnings(notices(rig, mail=mail)),
        judge(Seen(Place("HL7", Path("/etc/tls.pem")), problem="Permission denied"), END, (60,)),
    )
    for found in (lost, lost, watched(timedelta(days=90)), lost):
        warnings.run([found])
    assert [each.grade for each in mail.given] == ["unreadable", "unreadable"]
