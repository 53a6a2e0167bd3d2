"""The one gateway through which stored objects are deleted; must not decide whether one may be.

Whoever comes with a ``DeleteWarrant`` decided that. Here the object itself is asked whether it is the one: all of it is
read, and one byte that is otherwise keeps it. A warrant may be used again after a crash: what is gone is gone, and its
name is made to stay away.
"""

from __future__ import annotations

import enum
import errno
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

from tiering.disk import Disk
from tiering.errors import ObjectDiffers
from tiering.landing import NOTE_SUFFIX, path_of
from tiering.warrant import DeleteWarrant, generation_of

_CHUNK_BYTES: Final = 1 << 20


class Deletion(enum.Enum):
    """What became of an object."""

    DELETED = "deleted"
    GONE = "gone"
    """It was not there any more."""
    DELETED_DAMAGED = "deleted damaged"
    """Its bytes were not those that were stored, and whoever asked accepted that."""


def delete(disk: Disk, root: Path, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
    """Delete the object that the warrant names, with the note beside it, durably; say what became of it.

    The object lies under ``root`` by its key. Memory: two chunks of 1 MiB. Raises ObjectDiffers for an object that is
    not the one of the warrant, unless ``accept_damaged``; OSError as the disk does. It stays then.
    """
    path = path_of(root, warrant.key)
    outcome = _compare(disk, path, warrant)
    if outcome is Deletion.DELETED_DAMAGED and not accept_damaged:
        raise ObjectDiffers(key=warrant.key, reason="its bytes are not those that were stored")
    disk.unlink(path.with_suffix(NOTE_SUFFIX))
    disk.unlink(path)
    # Also when there was nothing: a crash may have come between taking the name away and making that last.
    with suppress(FileNotFoundError):
        disk.sync_folder(path.parent)
    return outcome


def _compare(disk: Disk, path: Path, warrant: DeleteWarrant) -> Deletion:
    try:
        size_bytes = disk.size_bytes(path)
        is_same = _is_same(disk.read(path, chunk_bytes=_CHUNK_BYTES), size_bytes, warrant)
    except FileNotFoundError:
        return Deletion.GONE
    except OSError as exc:
        if exc.errno != errno.EIO:
            raise
        is_same = False  # the disk cannot read it any more
    return Deletion.DELETED if is_same else Deletion.DELETED_DAMAGED


def _is_same(chunks: Iterator[bytes], size_bytes: int, warrant: DeleteWarrant) -> bool:
    """Tell whether header and data set are the warrant's; its generation says where one ends and the other begins."""
    parts = warrant.generation.split(".")
    if len(parts) != 3 or not parts[1].isdecimal():
        raise ObjectDiffers(key=warrant.key, reason="the warrant names no version that there can be")
    header_size, first = int(parts[1]), next(chunks, b"")
    while len(first) < header_size and (more := next(chunks, b"")):
        first += more
    digest = hashlib.sha256()
    for chunk in chain((first[header_size:],), chunks):
        digest.update(chunk)
    generation = generation_of(first[:header_size], size_bytes)
    return generation == warrant.generation and digest.digest() == warrant.sha256
