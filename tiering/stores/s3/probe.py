"""What a bucket is and how it keeps an object, as the endpoint tells when it is asked; must not change what is there.

For whoever sets up a store. The store itself relies on none of it: it looks at every answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tiering.errors import KeyTaken, StoreError, StoreRefused
from tiering.stores.s3.bucket import Bucket
from tiering.stores.s3.faults import told

_ONLY_NEW: Final = {"IfNoneMatch": "*"}
_STANDARD: Final = "STANDARD"


@dataclass(frozen=True, slots=True)
class Kept:
    """How an object lies: its class, how it is encrypted at rest (``AES256``, ``aws:kms``; None: it is not told)."""

    storage_class: str
    encryption: str | None


@dataclass(frozen=True, slots=True)
class Refusals:
    """Whether ``If-None-Match: *`` keeps a key that is taken: from an object in one request, and from one in parts."""

    whole: bool
    in_parts: bool


@dataclass(frozen=True, slots=True)
class S3Probe:
    """Asks about one bucket. Every method raises StoreError as the endpoint answers."""

    bucket: Bucket

    def has_versions(self) -> bool:
        """Tell whether the bucket keeps versions."""
        self.bucket.check()
        with told(self.bucket.name):
            answer = self.bucket.client.get_bucket_versioning(Bucket=self.bucket.name)
        return bool(answer.get("Status") == "Enabled")

    def has_object_lock(self) -> bool:
        """Tell whether objects of the bucket can be held and retained."""
        self.bucket.check()
        try:
            with told(self.bucket.name):
                answer = self.bucket.client.get_object_lock_configuration(Bucket=self.bucket.name)
        except StoreRefused as exc:
            if "AccessDenied" in exc.message:
                raise
            return False
        except StoreError as exc:
            if exc.retryable:
                raise
            return False  # 404: there is no configuration
        return bool(answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled")

    def kept(self, key: str) -> Kept:
        """Tell how an object lies. Raises ObjectNotFound."""
        answer = self.bucket.get_head(key).answer
        return Kept(answer.get("StorageClass") or _STANDARD, answer.get("ServerSideEncryption"))

    def refusals(self, key: str) -> Refusals:
        """Put an object in its own place, on the condition that the place is free; tell whether that is refused.

        Where it is not, its bytes and metadata are what they were; the generation may be another, and there may be
        versions more, which the next put of the object takes back. For a small object of one's own: all of it is read.
        """
        with told(key):
            found = self.bucket.client.get_object(**self.bucket.at(key))
            body, kept = found["Body"].read(), {"Metadata": found["Metadata"]}
        client, at = self.bucket.client, self.bucket.at(key)
        return Refusals(
            self._is_refused(key, lambda: client.put_object(**at, Body=body, **kept, **_ONLY_NEW)),
            self._is_refused(key, lambda: self._put_in_parts(key, body, kept)),
        )

    def _put_in_parts(self, key: str, body: bytes, kept: dict[str, Any]) -> None:
        client, at = self.bucket.client, self.bucket.at(key)
        upload = {"UploadId": client.create_multipart_upload(**at, **kept)["UploadId"]}
        try:
            part = client.upload_part(**at, **upload, PartNumber=1, Body=body)
            parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            client.complete_multipart_upload(**at, **upload, MultipartUpload=parts, **_ONLY_NEW)
        except BaseException:
            client.abort_multipart_upload(**at, **upload)
            raise

    def _is_refused(self, key: str, put: Callable[[], object]) -> bool:
        try:
            with told(key):
                put()
        except KeyTaken:
            return True
        return False
