"""Who looks, from where and why, as the journal tells it; must not know HTTP or DICOM on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archive.audit import Body, Entry
from archive.clock import Clock
from archive.services.committer import Committer
from archive.services.people import Person


@dataclass(frozen=True, slots=True)
class Access:
    """A person who looks: from which address, and why if they said so."""

    person: Person
    address: str
    reason: str = ""

    def body(self) -> Body:
        """Return what the journal keeps beside the actor's name."""
        told: Body = {
            "full_name": self.person.full_name,
            "roles": sorted(self.person.roles),
            "via": self.person.via,
            "address": self.address,
        }
        return {**told, "reason": self.reason} if self.reason else told


@dataclass(frozen=True, slots=True)
class AskedFor:
    """A query, as the journal keeps it: its keywords, never their values, which may name a patient."""

    service: str
    level: str
    keywords: Sequence[str]
    study_instance_uids: Sequence[str]
    answers: int


@dataclass(frozen=True, slots=True)
class AccessJournal:
    """Writes down who asked for what."""

    committer: Committer
    clock: Clock

    def asked(self, access: Access, asked: AskedFor) -> None:
        """Journal a query; it is written with what comes next, nobody waits for it."""
        body: Body = {
            **access.body(),
            "service": asked.service,
            "level": asked.level,
            "keywords": sorted(asked.keywords),
            "study_instance_uids": list(asked.study_instance_uids),
            "answers": asked.answers,
        }
        self.committer.post(Entry(self.clock(), "queried", access.person.name, body))
