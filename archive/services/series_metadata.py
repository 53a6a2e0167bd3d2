"""The metadata of a series, described once and kept as bytes; must not know their form, nor who may see them.

An entry belongs to one state of its series (``SeriesContent.generation``): when instances come, go or become others, a
new one is made. Entries may be deleted at any time. What is destroyed leaves none: see ``Stores.forget_studies``, and
here what is described while its study is being destroyed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from archive import logs
from archive.errors import FixityError, InstanceNotFound
from archive.index.contents import SeriesContent, contents, site_of
from archive.index.records import StoredInstance
from archive.services.committer import Committer
from archive.services.read_cache import ReadCache, forget_pack
from archive.services.remains import METADATA
from archive.services.retrieve import Retrieve, Selection, StoredObject

LIMIT_BYTES: Final = 1 << 30
_DIGEST_BYTES: Final = 32
_log = logs.get(__name__)

Describe = Callable[[StoredInstance, StoredObject | None], bytes]
"""Returns what is told of an instance: from its bytes, which are to be closed, or (None) from the index alone."""
Join = Callable[[list[bytes]], bytes]


@dataclass(slots=True)
class SeriesMetadata:
    """Describes series and keeps what was said; safe to call from any thread.

    The file of an entry: the digest of the rest, the Study Instance UID and a line's end, and what ``join`` made of the
    descriptions of all instances.
    """

    retrieve: Retrieve
    cache: ReadCache
    describe: Describe
    join: Join
    _busy: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of_study(self, study: str, series: str = "", *, by: str) -> Iterator[bytes]:
        """Yield the metadata of the series of a study, or of one of them; ``by``: in whose name cold ones are read.

        Raises InstanceNotFound when there is none, ColdStoreDown, NotReadableYet.
        """
        found = self._contents(study, series)
        if not found:
            raise InstanceNotFound()
        for each in found:
            yield self._of_series(study, each, by)

    def _contents(self, study: str, series: str = "") -> list[SeriesContent]:
        with self.retrieve.committer.read() as connection:
            return contents(connection, study, series)

    def _of_series(self, study: str, series: SeriesContent, by: str) -> bytes:
        key = f"{study}/{series.series_instance_uid}-{series.generation}"
        known = self._find(key)
        if known is not None:
            return known
        with self._alone(key):
            return self._find(key) or self._made(study, series, key, by)

    def _find(self, key: str) -> bytes | None:
        read: list[bytes] = []

        def is_whole(file: BinaryIO) -> bool:
            read.append(file.read())
            return sha256(read[0][_DIGEST_BYTES:]).digest() == read[0][:_DIGEST_BYTES]

        file = self.cache.find(key, is_whole)
        if file is None:
            return None
        file.close()
        return read[0][read[0].index(b"\n", _DIGEST_BYTES) + 1 :]

    def _made(self, study: str, series: SeriesContent, key: str, by: str) -> bytes:
        uid = series.series_instance_uid
        instances = self.retrieve.find(Selection("SERIES", studies=(study,), series=(uid,)))
        told, is_complete = [], True
        with self.retrieve.ahead(instances, by=by) as retrieve:
            for instance in instances:
                try:
                    told.append(self.describe(instance, retrieve.open(instance)))
                except (FixityError, InstanceNotFound) as exc:
                    _log.warning("instance_not_described", sop_instance_uid=instance.sop_instance_uid, exc_info=exc)
                    told.append(self.describe(instance, None))
                    is_complete = False
        joined = self.join(told)
        if is_complete:
            self._keep(study, series, key, joined)
        return joined

    def _keep(self, study: str, series: SeriesContent, key: str, joined: bytes) -> None:
        """Keep an entry, unless its series is not what was described any more, or not here: then nothing may stay."""
        body = study.encode() + b"\n" + joined
        with suppress(OSError):
            file = self.cache.new_file(_DIGEST_BYTES + len(body))
            with file:
                file.write(sha256(body).digest() + body)
                self.cache.keep(key, file, _DIGEST_BYTES + len(body))
        if series not in self._contents(study, series.series_instance_uid):
            forget_pack(self.cache.folder, study)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Have an entry made once, however many ask for it."""
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            yield
        with self._lock:
            self._busy.pop(key, None)

    def sweep(self) -> int:
        """Let the entries go of studies that are not here; return how many. A crash may have left some."""
        return sweep(self.cache.folder, self.retrieve.committer)


def sweep(folder: Path, committer: Committer) -> int:
    """Delete the entries in ``folder`` of studies that the index does not know; return how many."""
    gone = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):
            with path.open("rb") as file:
                study = file.read(_DIGEST_BYTES + 65)[_DIGEST_BYTES:].partition(b"\n")[0].decode("ascii", "replace")
            with committer.database.read() as connection:
                is_here = site_of(connection, study) is not None
            if not is_here:
                path.unlink()
                gone += 1
    return gone


def metadata_cache(cache_folder: Path, min_free_bytes: int) -> ReadCache:
    """Return the cache of metadata inside the folder of the read cache."""
    return ReadCache(cache_folder / METADATA, LIMIT_BYTES, min_free_bytes)
