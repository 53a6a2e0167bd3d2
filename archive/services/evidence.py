"""What proves a study's cold copies: the stored evidence, and the picture its pack carries; must not judge it again."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from archive.errors import MigrationRefused
from archive.index import cold
from archive.services.committer import Committer
from tiering.pack import read_manifest
from tiering.stores.base import ObjectStore


@dataclass(frozen=True, slots=True)
class PackEvidence:
    """The evidence of one cold pack; ``body`` is what ``tiering.lossy_evidence`` made."""

    pack_key: str
    series_instance_uid: str
    made_at: datetime
    body: Mapping[str, Any]


class NewestEvidence(NamedTuple):
    """A pack that evidence was made of; ``made_at`` as it is stored."""

    study_instance_uid: str
    series_instance_uid: str
    pack_key: str
    made_at: str


@dataclass(frozen=True, slots=True)
class EvidenceRoom:
    """Looks up evidence; the pictures lie in the cold packs themselves."""

    committer: Committer
    store: ObjectStore | None = None

    def of_study(self, study_uid: str) -> Sequence[PackEvidence]:
        """Return the evidence of all cold packs of a study. Raises MigrationRefused when there is none."""
        with self.committer.read() as connection:
            rows = cold.evidence_of(connection, study_uid)
        if not rows:
            raise MigrationRefused(study=study_uid, reason="it has no evidence: none of it was made lossy, or tried")
        return [PackEvidence(row.pack_key, row.series_instance_uid, row.made_at, json.loads(row.body)) for row in rows]

    def has(self, study_uid: str) -> bool:
        """Tell whether a study has any."""
        with self.committer.read() as connection:
            return cold.has_evidence(connection, study_uid)

    def newest(self, offset: int, limit: int) -> Sequence[NewestEvidence]:
        """Return what was made last, newest first; without what it says."""
        with self.committer.read() as connection:
            return [NewestEvidence(*row) for row in cold.newest_evidence(connection, limit, offset)]

    def picture(self, pack_key: str) -> bytes | None:
        """Return the PNG that a lossy pack carries: original, cold copy, difference. Raises StoreError, PackError."""
        with self.committer.read() as connection:
            row = cold.find_pack(connection, pack_key)
        if row is None or self.store is None:
            return None
        manifest = read_manifest(partial(self.store.read_range, pack_key), row.size_bytes)
        text = manifest.series.metadata.get("picture_png")
        return base64.b64decode(text) if isinstance(text, str) else None
