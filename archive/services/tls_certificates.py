"""In which state a TLS certificate is on a day, and which warning that is worth: pure; must not read a file or a clock.

"Certificate" alone is, elsewhere in this product, the proof that a disposal list was destroyed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

Chain = Literal["complete", "incomplete", "self-signed", "unknown"]
Role = Literal["server", "intermediate", "authority"]
_DAY: Final = timedelta(days=1)


class State(enum.Enum):
    """How a certificate stands; the later, the more urgent."""

    VALID = "valid"
    WARNING = "warning"
    NOT_YET_VALID = "not yet valid"
    UNREADABLE = "unreadable"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Place:
    """Where certificates are: a file (or a folder of them), or a server that is asked.

    ``use`` is what the site needs it for. ``authorities``: PEM files of who may have signed it, beside the system's.
    """

    use: str
    file: Path | None = None
    endpoint: tuple[str, int] | None = None
    authorities: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """Return the path, or HOST:PORT."""
        if self.endpoint is None:
            return str(self.file)
        host, port = self.endpoint
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself; ``sha256`` is its fingerprint in hexadecimal, names are as in RFC 4514."""

    role: Role
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in a place: a certificate with the state of its chain, or the problem that kept it from sight."""

    place: Place
    certificate: Certificate | None = None
    chain: Chain = "unknown"
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """A certificate, or a place without one, on a day; ``within_days`` is the warning limit that was passed."""

    use: str
    place: str
    role: str
    subject: str
    issuer: str
    not_before: datetime | None
    not_after: datetime | None
    days_left: int | None
    chain: Chain
    state: State
    within_days: int | None
    problem: str
    sha256: str

    @property
    def grade(self) -> str:
        """Return which warning this is, empty for none: each is given once."""
        if self.state is State.VALID:
            return ""
        return str(self.within_days) if self.state is State.WARNING else self.state.value

    @property
    def known_as(self) -> str:
        """Return what warnings remember it by: the certificate wherever it lies, or the place without one."""
        return f"certificate {self.sha256}" if self.sha256 else f"place {self.place}"


def judge(seen: Seen, now: datetime, warn_days: Sequence[int]) -> Watched:
    """Return how what was seen stands at ``now``. A certificate is expired from the second of its end on (RFC 5280)."""
    found, place = seen.certificate, seen.place
    state, within = (State.UNREADABLE, None) if found is None else _state(found, now, warn_days)
    return Watched(
        use=place.use,
        place=place.name,
        role=found.role if found else "",
        subject=found.subject if found else "",
        issuer=found.issuer if found else "",
        not_before=found.not_before if found else None,
        not_after=found.not_after if found else None,
        days_left=(found.not_after - now) // _DAY if found else None,
        chain=seen.chain,
        state=state,
        within_days=within,
        problem=seen.problem,
        sha256=found.sha256 if found else "",
    )


def _state(found: Certificate, now: datetime, warn_days: Sequence[int]) -> tuple[State, int | None]:
    if now > found.not_after:
        return State.EXPIRED, None
    if now < found.not_before:
        return State.NOT_YET_VALID, None
    passed = [days for days in warn_days if found.not_after - now <= timedelta(days=days)]
    return (State.WARNING, min(passed)) if passed else (State.VALID, None)


def worst(watched: Iterable[Watched]) -> State:
    """Return the most urgent state."""
    order = list(State)
    return max((each.state for each in watched), key=order.index, default=State.VALID)
