"""What has to be known to reach one bucket; must not read a file, an environment or anything else that is hidden."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tiering.stores.base import check_prefix

MIB: Final = 1 << 20
SMALLEST_PART_BYTES: Final = 5 * MIB
MOST_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class S3Settings:
    """One bucket at one endpoint, and how objects are to be kept there.

    ``prefix``: what stands before every key in the bucket, which may have others' objects in it; no key of ours has it.
    ``is_path_style``: the bucket is named in the path and not in the host's name, as Ceph and most others want it.
    ``ca_file``: whom to trust instead of the system's authorities. ``storage_class`` and ``server_side_encryption``
    (``AES256`` or ``aws:kms``, with ``kms_key_id``): None for the bucket's own. What was asked for and not done is an
    error. ``cold_classes``: the storage classes whose objects must be thawed, by ``thaw_tier``; none on Ceph, where a
    class is only a name. Objects of more than ``multipart_bytes`` are sent in parts of ``part_bytes``, so many at once;
    these lie in memory. ``sends_checksums``: SHA-256 goes along for the endpoint to check; every one can check the
    signature, which covers the SHA-256 of what is sent.
    """

    endpoint_url: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    prefix: str = ""
    region: str = "us-east-1"
    is_path_style: bool = True
    ca_file: str | None = None
    storage_class: str | None = None
    cold_classes: frozenset[str] = frozenset({"GLACIER", "DEEP_ARCHIVE"})
    thaw_tier: str = "Standard"
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    sends_checksums: bool = True
    multipart_bytes: int = 8 * MIB
    part_bytes: int = 16 * MIB
    parts_at_once: int = 3
    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    connections: int = 16

    def __post_init__(self) -> None:
        if check_prefix(self.prefix) and not self.prefix.endswith("/"):
            raise ValueError("a prefix ends with /, or it would be that of other keys too")
        if self.part_bytes < SMALLEST_PART_BYTES:
            raise ValueError(f"a part has {SMALLEST_PART_BYTES} bytes or more")

    def part_bytes_of(self, size_bytes: int) -> int:
        """Return how long the parts of an object are to be, so that they are not too many."""
        return max(self.part_bytes, -(-size_bytes // MOST_PARTS))
