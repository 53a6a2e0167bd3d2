"""Asks the archive, as any workstation would, for stored series and notes how long it took; must not look at an image.

No person sees anything: the journal names the actor ``probe``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from archive.audit import Body, Entry
from archive.clock import Clock
from archive.index import probes
from archive.index.instances import iter_instances
from archive.index.probes import Probed
from archive.index.records import StoredInstance
from archive.index.session import Connection
from archive.services.committer import Committer
from archive.services.measuring import PROBE

_PLACES: Final = 4
_KEPT: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a request: times in seconds since it was sent; ``problem`` is empty when everything came."""

    first_seconds: float
    whole_seconds: float
    instances: int
    size_bytes: int
    problem: str = ""


Fetch = Callable[[Sequence[StoredInstance]], Fetched]
"""Asks for the series of some instances; what goes wrong is in the answer."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Measures one series for each tier and site that has any; ``chance`` chooses which."""

    committer: Committer
    clock: Clock
    fetch: Fetch
    tiers: Sequence[str]
    chance: random.Random = field(default_factory=random.Random)

    def run(self) -> list[Probed]:
        """Measure once. Raises IndexUnavailable."""
        with self.committer.read() as connection:
            sites = probes.sites(connection)
        found = (self._measure(tier, site) for tier in self.tiers for site in sites)
        return [each for each in found if each is not None]

    def _measure(self, tier: str, site: str) -> Probed | None:
        with self.committer.read() as connection:
            chosen = probes.pick(connection, tier, site, [self.chance.random() for _ in range(_PLACES)] + [0.0])
            if chosen is None:
                return None
            instances = list(iter_instances(connection, study=chosen[0], series=chosen[1]))
        if not instances:
            return None
        now, fetched = self.clock(), self.fetch(instances)
        probed = Probed(
            at=now,
            tier=tier,
            site=site,
            instances=fetched.instances,
            size_bytes=fetched.size_bytes,
            first_ms=round(fetched.first_seconds * 1000),
            whole_ms=round(fetched.whole_seconds * 1000),
            problem=fetched.problem,
        )
        self._keep(probed)
        return probed

    def _keep(self, probed: Probed) -> None:
        def work(connection: Connection) -> None:
            probes.add(connection, probed)
            probes.forget_before(connection, probed.at - _KEPT)

        body: Body = {
            "tier": probed.tier,
            "site": probed.site,
            "instances": probed.instances,
            "first_ms": probed.first_ms,
            "whole_ms": probed.whole_ms,
            "problem": probed.problem,
        }
        self.committer.record(Entry(probed.at, "probed", PROBE, body), work=work)
