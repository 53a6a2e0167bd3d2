"""Legal holds and retention of a bucket with Object Lock; must not shorten a retention or get round one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tiering.stores.base import check_key
from tiering.stores.s3.bucket import Bucket, Head
from tiering.stores.s3.faults import told

_MODE: Final = "GOVERNANCE"
"""Nobody deletes in passing; whom the bucket's owner gives that right can, so that a court's order can be followed."""


@dataclass(frozen=True, slots=True)
class S3Holds:
    """Holds the versions that the keys name now. Raises StoreRefused for a bucket without Object Lock."""

    bucket: Bucket

    def set_hold(self, key: str) -> None:
        """Turn the legal hold on."""
        self._turn(key, "ON")

    def release_hold(self, key: str) -> None:
        """Turn it off."""
        self._turn(key, "OFF")

    def is_held(self, key: str) -> bool:
        """Ask for the object's head."""
        return self._head(key).is_held

    def retain_until(self, key: str, until: datetime) -> None:
        """Set the retention, unless there is a longer one."""
        head = self._head(key)
        if head.retained_until is None or head.retained_until < until:
            retention = {"Mode": _MODE, "RetainUntilDate": until}
            with told(key):
                self.bucket.client.put_object_retention(**self.bucket.at(key, head.version), Retention=retention)

    def _turn(self, key: str, status: str) -> None:
        head = self._head(key)
        with told(key):
            self.bucket.client.put_object_legal_hold(**self.bucket.at(key, head.version), LegalHold={"Status": status})

    def _head(self, key: str) -> Head:
        return self.bucket.get_head(check_key(key))
