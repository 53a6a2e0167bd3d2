"""Tries a cold store: all that the archive relies on, with objects of its own; must not touch another.

Each thing is a finding; one that goes wrong does not keep the others from being tried, as long as an object can be put.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final, Protocol

from archive.services.destroy import discard_cold
from archive.services.remains import Stores
from tiering.deletion import Deletion
from tiering.disk import OsDisk
from tiering.errors import (
    KeyTaken,
    ObjectDiffers,
    ObjectHeld,
    ObjectNotFound,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from tiering.stores.base import Availability, ObjectHolds, ObjectStore, StoredObject, digest_of

FOLDER: Final = "drimbox-check/"
_LARGE_BYTES: Final = 16 << 20
_SMALL_BYTES: Final = 4096
_RANGE: Final = (1_000_003, 50_000)


class Outcome(StrEnum):
    """What came of one trial."""

    WORKS = "works"
    MISSING = "missing"
    """The archive relies on it, or the settings ask for it."""
    ADVICE = "advice"
    """The archive does without; it would be better with."""
    UNUSED = "not used"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a store does or does not do, and what there is to say or do about it."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class ColdReport:
    """What a trial came to; speeds in megabytes a second of one object of so many bytes, None when it did not pass."""

    findings: tuple[Finding, ...]
    size_bytes: int
    put_mb_s: float | None
    read_mb_s: float | None

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the names of what the archive relies on and does not find."""
        return tuple(finding.name for finding in self.findings if finding.outcome is Outcome.MISSING)

    def check(self) -> None:
        """Raise StoreRefused when something is missing."""
        if self.missing:
            raise StoreRefused(reason=f"it does not do what the archive relies on ({', '.join(self.missing)})")


class KeptLike(Protocol):
    """How an object lies: its storage class, how it is encrypted at rest (None: it is not told)."""

    @property
    def storage_class(self) -> str: ...

    @property
    def encryption(self) -> str | None: ...


class RefusalsLike(Protocol):
    """Whether the endpoint itself refuses what would take a taken key: in one request, in parts."""

    @property
    def whole(self) -> bool: ...

    @property
    def in_parts(self) -> bool: ...


class Endpoint(Protocol):
    """What a bucket tells of itself; every method raises StoreError. ``tiering.stores.s3.probe`` asks."""

    def has_versions(self) -> bool:
        """Tell whether the bucket keeps versions."""

    def has_object_lock(self) -> bool:
        """Tell whether objects can be held."""

    def kept(self, key: str) -> KeptLike:
        """Tell how an object lies."""

    def refusals(self, key: str) -> RefusalsLike:
        """Put an object in its own place, and tell whether that is refused."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the settings ask of the store, None for nothing."""

    storage_class: str | None = None
    encryption: str | None = None
    is_encrypted_here: bool = False


@dataclass(slots=True)
class _Object:
    key: str
    data: bytes

    @property
    def sha256(self) -> bytes:
        return sha256(self.data).digest()

    def put(self, store: ObjectStore) -> StoredObject:
        return store.put(self.key, io.BytesIO(self.data), size_bytes=len(self.data), sha256=self.sha256)


class _Unfit(Exception):
    """A trial that did not come out as it should."""


@dataclass(slots=True)
class ColdCheck:
    """Tries one store; ``monotonic`` returns seconds from any zero.

    ``holds``: there when the settings ask for Object Lock. ``find_endpoint``: None for a folder.
    """

    store: ObjectStore
    monotonic: Callable[[], float]
    holds: ObjectHolds | None = None
    find_endpoint: Callable[[], Endpoint] | None = None
    asked: Asked = field(default_factory=Asked)
    _findings: list[Finding] = field(default_factory=list)
    _seconds: dict[str, float] = field(default_factory=dict)
    _large: _Object = field(init=False)
    _small: _Object = field(init=False)

    def run(self) -> ColdReport:
        """Put two objects and do with them all that the archive does; they are gone at the end, whatever happened.

        About 16 MiB go there and back. An object that could not be deleted is told of under ``deletion``.
        """
        name = os.urandom(8).hex()
        self._large = _Object(f"{FOLDER}{name}", os.urandom(_LARGE_BYTES))
        self._small = _Object(f"{FOLDER}{name}-s", os.urandom(_SMALL_BYTES))
        self._findings, self._seconds = [], {}
        try:
            if self._try("put", self._put):
                for title, trial in self._trials():
                    self._try(title, trial)
        finally:
            for each in (self._large, self._small):
                with suppress(StoreError):
                    self._discard(each, accept_damaged=True)
        return ColdReport(tuple(self._findings), _LARGE_BYTES, self._speed("put"), self._speed("read"))

    def _trials(self) -> Iterator[tuple[str, Callable[[], Finding | str]]]:
        """Yield what is tried, the deletion last."""
        yield "read back", self._read_back
        yield "range", self._range
        yield "put again", self._put_again
        yield "overwrite", self._overwrite
        yield "conditional put", self._conditional_put
        yield "listing", self._listing
        yield "versions", self._versions
        yield "Object Lock", self._object_lock
        yield "encryption", self._encryption
        yield "storage class", self._storage_class
        yield "other warrant", self._other_warrant
        yield "deletion", self._deletion

    def _try(self, name: str, trial: Callable[[], Finding | str]) -> bool:
        try:
            found = trial()
        except (StoreError, _Unfit) as exc:
            words = str(exc) if isinstance(exc, _Unfit) else f"{exc.message.rstrip('.')}{hint(exc)}"
            found = Finding(name, Outcome.MISSING, words)
        self._findings.append(found if isinstance(found, Finding) else Finding(name, Outcome.WORKS, found))
        return self._findings[-1].outcome is not Outcome.MISSING

    # ---- trials ------------------------------------------------------------------------------------------------------

    def _put(self) -> str:
        self._small.put(self.store)  # the first call pays for what is set up once
        start = self.monotonic()
        self._large.put(self.store)
        self._seconds["put"] = self.monotonic() - start
        return f"{_LARGE_BYTES >> 20} MiB at {self._speed('put'):.0f} MB/s"

    def _read_back(self) -> str:
        start = self.monotonic()
        found = digest_of(self.store.read(self._large.key))
        self._seconds["read"] = self.monotonic() - start
        _require(found == (_LARGE_BYTES, self._large.sha256), "other bytes come back than were put")
        return f"the same bytes, at {self._speed('read'):.0f} MB/s"

    def _range(self) -> str:
        offset, length = _RANGE
        data = self.store.read_range(self._large.key, offset, length)
        _require(data == self._large.data[offset : offset + length], "a range is not what was put there")
        return "as it was put"

    def _put_again(self) -> str:
        found = self.store.find(self._small.key)
        _require(found is not None, "what was put is not found")
        assert found is not None
        _require(self._small.put(self.store).generation == found.generation, "the same object became another one")
        return "it stays the one object it was"

    def _overwrite(self) -> str:
        with suppress(KeyTaken):
            _Object(self._small.key, b"other bytes").put(self.store)
            raise _Unfit("another object under the same key is not refused: what is stored could be replaced")
        return "another object under the same key is refused"

    def _conditional_put(self) -> Finding | str:
        if self.find_endpoint is None:
            return "a name that is taken is refused by the file system"
        endpoint = self.find_endpoint()
        refusals = endpoint.refusals(self._small.key)
        self._small.put(self.store)  # takes back what was not refused
        if refusals.whole and refusals.in_parts:
            return "the endpoint refuses a key that is taken (If-None-Match)"
        where = "objects in parts" if refusals.whole else "objects"
        if _answer(endpoint.has_versions):
            return f"If-None-Match is passed over for {where}; the first version keeps the key"
        words = f"If-None-Match is passed over for {where}: turn versions on, and the first one keeps the key"
        return Finding("conditional put", Outcome.ADVICE, words)

    def _listing(self) -> str:
        _require(self._large.key in self._keys(), "the listing does not name an object that is there")
        return "names what is there"

    def _versions(self) -> Finding | str:
        if self.find_endpoint is None:
            return Finding("versions", Outcome.UNUSED, "a folder has none")
        found = _answer(self.find_endpoint().has_versions)
        if found:
            return "on: a deletion names the version it deletes"
        if found is None:
            return Finding("versions", Outcome.ADVICE, "the account may not ask: see the policy in docs/cold.md")
        return Finding("versions", Outcome.ADVICE, "off: turn them on for the bucket, and end older ones by a rule")

    def _object_lock(self) -> Finding | str:
        has_it = None if self.find_endpoint is None else _answer(self.find_endpoint().has_object_lock)
        if self.holds is None:
            more = "; the bucket has it: set cold.object_lock = true to have holds kept there too" if has_it else ""
            return Finding("Object Lock", Outcome.UNUSED, f"not asked for{more}")
        words = "the bucket was made without Object Lock: make one with it, or set cold.object_lock = false"
        _require(has_it is not False, words)  # who may not ask tries
        self.holds.set_hold(self._small.key)
        try:
            _require(self.holds.is_held(self._small.key), "a hold that was set is not there")
            with suppress(ObjectHeld):
                self._discard(self._small)
                raise _Unfit("a held object was deleted")
        finally:
            with suppress(ObjectNotFound):
                self.holds.release_hold(self._small.key)
        return "a hold keeps an object until it is released"

    def _encryption(self) -> Finding | str:
        here = "encrypted here (AES-256-GCM)" if self.asked.is_encrypted_here else ""
        found = None if self.find_endpoint is None else self.find_endpoint().kept(self._small.key).encryption
        if self.asked.encryption is not None:
            words = f"{self.asked.encryption} was asked for, the store says {found or 'nothing'}"
            _require(found == self.asked.encryption, words)
        at_rest = f"{found} at rest" if found else ""
        if here or at_rest:
            return ", ".join(filter(None, (here, at_rest)))
        words = "none that the archive knows of: set cold.key_ring or cold.encryption, or encrypt the disks"
        return Finding("encryption", Outcome.ADVICE, words)

    def _storage_class(self) -> Finding | str:
        if self.find_endpoint is None:
            return Finding("storage class", Outcome.UNUSED, "a folder has none")
        found, wanted = self.find_endpoint().kept(self._large.key).storage_class, self.asked.storage_class
        _require(wanted in (None, found), f"{wanted} was asked for, the object lies in {found}")
        is_online = self.store.availability(self._large.key) is Availability.ONLINE
        _require(is_online, f"objects of {found} must thaw, and a pack has to be read back: choose another class")
        return found

    def _other_warrant(self) -> str:
        with suppress(ObjectDiffers):
            self._discard(_Object(self._small.key, b"other bytes"))
            raise _Unfit("an object was deleted though it was not the one that was meant")
        _require(self.store.find(self._small.key) is not None, "an object went though its deletion was refused")
        return "a deletion that means another object is refused"

    def _deletion(self) -> str:
        for each in (self._large, self._small):
            _require(self._discard(each) is not Deletion.GONE, "an object was gone before it was deleted")
            _require(self.store.find(each.key) is None, "an object that was deleted is still there")
            _require(self._discard(each) is Deletion.GONE, "an object that was deleted came back")
        _require(self._large.key not in self._keys(), "the listing names an object that was deleted")
        return "gone afterwards"

    # ---- the rest ----------------------------------------------------------------------------------------------------

    def _keys(self) -> set[str]:
        return set(self.store.iter_keys(FOLDER))

    def _discard(self, each: _Object, *, accept_damaged: bool = False) -> Deletion:
        return discard_cold(Stores(OsDisk(), {}, self.store), each.key, each.sha256, accept_damaged=accept_damaged)

    def _speed(self, name: str) -> float | None:
        seconds = self._seconds.get(name)
        return None if seconds is None else round(_LARGE_BYTES / 1e6 / max(seconds, 1e-6), 1)


_HINTS: Final = {
    "not mounted": "mount the share; if the folder is new, run drimbox cold create once",
    "there is no bucket": "make the bucket: see docs/cold.md",
    "NoSuchBucket": "make the bucket: see docs/cold.md",
    "AccessDenied": "the account may not do this: see the policy in docs/cold.md",
    "Forbidden": "the account may not do this, or the access key is wrong: see the policy in docs/cold.md",
    "403 (403)": "the access key or its secret is wrong, or the account may not do this",
    "SignatureDoesNotMatch": "the secret key in the file of cold.credentials is wrong",
    "InvalidAccessKeyId": "the access key in the file of cold.credentials is wrong",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "SSLError": "the certificate of the endpoint is not trusted: set cold.ca_file",
    "EndpointConnectionError": "nothing answers at cold.endpoint_url: look at the address and the firewall",
    "Timeout": "no answer from cold.endpoint_url in time: look at the network",
    "did not encrypt": "correct cold.encryption, or have the store's encryption set up",
    "InvalidStorageClass": "the store has no such class: correct cold.storage_class",
}


def hint(error: StoreError) -> str:
    """Return what to do about an error, to stand behind its message; nothing when nobody knows."""
    found = next((words for part, words in _HINTS.items() if part in error.message), None)
    if found is None and isinstance(error, StoreUnavailable):
        found = "try again later"
    return "" if found is None else f": {found}"


def _answer(ask: Callable[[], bool]) -> bool | None:
    """Return an endpoint's answer; None where the account may not ask, which is no fault of the store's."""
    try:
        return ask()
    except StoreRefused:
        return None


def _require(is_right: bool, words: str) -> None:
    if not is_right:
        raise _Unfit(words)
