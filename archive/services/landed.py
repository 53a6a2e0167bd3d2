"""Reads a stored object back and proves its bytes; must not write, nor decide what becomes of a broken one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from archive.errors import FixityError
from archive.index.records import NewInstance
from archive.part10.meta import StoredHeader, parse_header
from archive.part10.scan import scan_header
from archive.services.arrival import CHUNK_BYTES, check_identity, new_instance
from tiering.disk import Disk


@dataclass(frozen=True, slots=True)
class Landed:
    """A file of ours: what its header says, the header's own bytes and the first bytes of the data set."""

    stored: StoredHeader
    file_header: bytes
    head: bytes

    def instance(self, key: str) -> NewInstance:
        """Return what the index holds of it: the same that ``Ingest`` wrote, or would have written.

        Raises UnreadableDataset, MissingIdentifier, InvalidUid, SopClassMismatch, SopInstanceMismatch.
        """
        stored, provenance = self.stored, self.stored.provenance
        size = stored.dataset_size
        syntax = provenance.transfer_syntax_uid
        header = scan_header(self.head, syntax, complete=size <= len(self.head), size_bytes=size)
        check_identity(header, provenance)
        dataset = (stored.dataset_sha256, stored.dataset_size)
        return new_instance(provenance, header, key, self.file_header, dataset)


def read_landed(disk: Disk, path: Path, *, key: str, whole: bool = True) -> Landed:
    """Read the file of ``key``; with ``whole`` to its end, and prove it by its digest, else by its size alone.

    Memory: 1 MiB or two. Raises UnreadableDataset when the header is not ours or damaged, FixityError when the data
    set is not what the header vouches for, OSError as the disk does.
    """
    chunks = disk.read(path, chunk_bytes=CHUNK_BYTES)
    first = next(chunks, b"")
    stored = parse_header(first)
    dataset = _Dataset(first[stored.header_size :])
    dataset.read(chunks if whole else islice(chunks, 1))
    size = dataset.size_bytes if whole else disk.size_bytes(path) - stored.header_size
    if size != stored.dataset_size:
        raise FixityError(key=key, reason=f"{size} bytes instead of {stored.dataset_size}")
    if whole and dataset.digest != stored.dataset_sha256:
        raise FixityError(key=key, reason="the digest is another")
    return Landed(stored, first[: stored.header_size], bytes(dataset.head))


class _Dataset:
    """A data set as it is read: digest, size and first bytes."""

    def __init__(self, start: bytes) -> None:
        self._hash = hashlib.sha256(start)
        self.size_bytes = len(start)
        self.head = bytearray(start)

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    def read(self, chunks: Iterator[bytes]) -> None:
        for chunk in chunks:
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
            self.head += chunk[: CHUNK_BYTES - len(self.head)]
