"""Trying a cold store: what it does is told, thing by thing, and nothing of the trial is left."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from archive.services.cold_check import FOLDER, Asked, ColdCheck, ColdReport, Finding, Outcome, hint
from tiering.deletion import Deletion
from tiering.errors import (
    NotThawed,
    ObjectNotFound,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from tiering.stores.base import ObjectHolds, Source, StoredObject
from tiering.stores.memory import MemoryStore
from tiering.warrant import DeleteWarrant

ALL = (
    "put",
    "read back",
    "range",
    "put again",
    "overwrite",
    "conditional put",
    "listing",
    "versions",
    "Object Lock",
    "encryption",
    "storage class",
    "other warrant",
    "deletion",
)


@dataclass(frozen=True)
class Kept:
    """How an object lies."""

    storage_class: str = "STANDARD"
    encryption: str | None = None


@dataclass(frozen=True)
class Refusals:
    """What the endpoint refuses."""

    whole: bool = True
    in_parts: bool = True


@dataclass
class Bucket:
    """An endpoint that tells what a test has it tell."""

    versions: bool = True
    object_lock: bool = False
    how: Kept = Kept()
    refused: Refusals = Refusals()

    def has_versions(self) -> bool:
        """Tell."""
        return self.versions

    def has_object_lock(self) -> bool:
        """Tell."""
        return self.object_lock

    def kept(self, _key: str) -> Kept:
        """Tell."""
        return self.how

    def refusals(self, _key: str) -> Refusals:
        """Tell."""
        return self.refused


def check(
    store: MemoryStore,
    bucket: Bucket | None = None,
    asked: Asked | None = None,
    *,
    holds: ObjectHolds | None = None,
) -> ColdReport:
    """Try a store with a clock that goes on by a quarter of a second a look."""
    ticks = count()
    find = None if bucket is None else lambda: bucket
    return ColdCheck(store, lambda: next(ticks) / 4, holds, find, asked or Asked()).run()


def finding(report: ColdReport, name: str) -> Finding:
    """Return what was found of one thing."""
    (found,) = [each for each in report.findings if each.name == name]
    return found


def test_a_good_store_passes() -> None:
    """All is tried, the speeds are those of the clock, and both objects are gone."""
    store = MemoryStore()
    report = check(store)
    assert tuple(each.name for each in report.findings) == ALL
    assert report.missing == ()
    report.check()
    assert (report.size_bytes, report.put_mb_s, report.read_mb_s) == (16 << 20, 67.1, 67.1)
    assert finding(report, "put").detail == "16 MiB at 67 MB/s"
    assert list(store.iter_keys()) == []


def test_a_trial_touches_nothing_else() -> None:
    """What lies in the store already is what it was."""
    store = MemoryStore()
    stored = store.put("site/1/2/3.zip", io.BytesIO(b""), size_bytes=0, sha256=_EMPTY)
    seen: list[str] = []
    store.put = _noting(store, seen)  # type: ignore[method-assign]
    check(store)
    assert store.find("site/1/2/3.zip") == stored
    assert all(key.startswith(FOLDER) for key in seen)


_EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def _noting(store: MemoryStore, seen: list[str]) -> Any:
    real = store.put

    def put(key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        seen.append(key)
        return real(key, source, size_bytes=size_bytes, sha256=sha256)

    return put


# ---- what goes wrong -------------------------------------------------------------------------------------------------


class Overwriting(MemoryStore):
    """Lets another object take a key."""

    def put(self, key: str, source: Source, *, size_bytes: int, sha256: bytes) -> StoredObject:
        """Forget what was there."""
        self._objects.pop(key, None)
        return super().put(key, source, size_bytes=size_bytes, sha256=sha256)


class Forgetting(MemoryStore):
    """Does not list what it has."""

    def iter_keys(self, prefix: str = "", *, after: str = "") -> Iterator[str]:
        """List nothing."""
        return iter(())


class Altering(MemoryStore):
    """Gives other bytes."""

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Give the same number of other bytes."""
        return (bytes(len(chunk)) for chunk in super().read(key, offset=offset, length=length))


class Careless(MemoryStore):
    """Deletes whatever lies under a key."""

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Compare nothing."""
        return super().delete(warrant, accept_damaged=True)


class Keeping(MemoryStore):
    """Says that something was deleted, and keeps it."""

    is_honest = False

    def delete(self, warrant: DeleteWarrant, *, accept_damaged: bool = False) -> Deletion:
        """Delete nothing."""
        return super().delete(warrant, accept_damaged=accept_damaged) if self.is_honest else Deletion.DELETED


class HoldingNothing(MemoryStore):
    """Takes a hold and does not keep it."""

    def set_hold(self, key: str) -> None:
        """Do nothing."""

    def is_held(self, key: str) -> bool:
        """Say that it is."""
        return True


@pytest.mark.parametrize(
    ("store", "missing", "why"),
    [
        (Overwriting(), ("put again", "overwrite", "other warrant", "deletion"), "not refused"),
        (Forgetting(), ("listing",), "does not name an object that is there"),
        (Altering(), ("read back", "range"), "other bytes come back"),
        (Careless(), ("other warrant", "deletion"), "not the one that was meant"),
        (Keeping(), ("other warrant", "deletion"), "still there"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MemoryStore) else "",
)
def test_what_a_store_does_wrong_is_told(store: MemoryStore, missing: tuple[str, ...], why: str) -> None:
    """Each thing that cannot be relied on is named, and the rest is tried all the same."""
    report = check(store)
    assert set(report.missing) == {*missing} | {*report.missing} & {"deletion"}
    assert why in " ".join(each.detail for each in report.findings)
    assert len(report.findings) == len(ALL)
    with pytest.raises(StoreRefused, match=missing[0]) as caught:
        report.check()
    assert caught.value.exit_code == 34


@pytest.mark.parametrize("store", [Overwriting(), Forgetting(), Altering(), Careless()])
def test_nothing_is_left_of_a_trial_that_failed(store: MemoryStore) -> None:
    """Both objects are gone, whatever else the store does."""
    check(store)
    assert list(MemoryStore.iter_keys(store)) == []


def test_without_a_put_nothing_else_is_tried() -> None:
    """The store's own words come out, with what to do."""
    store = MemoryStore()
    store.faults.before.append(StoreRefused(reason="NoSuchBucket (404)"))
    report = check(store)
    assert [each.name for each in report.findings] == ["put"]
    assert finding(report, "put").detail == (
        "The object store refuses: NoSuchBucket (404): make the bucket: see docs/cold.md"
    )
    assert report.put_mb_s is None
    assert report.read_mb_s is None


def test_a_call_that_fails_is_one_finding() -> None:
    """A failure in the middle is told where it was, and the rest goes on."""
    store = MemoryStore()
    store.faults.breaks += [20 << 20, 20 << 20, 1 << 20]  # two puts go through, the read breaks off
    report = check(store)
    assert report.missing == ("read back",)
    assert "broke off" in finding(report, "read back").detail


# ---- what a bucket tells ---------------------------------------------------------------------------------------------


def test_a_bucket_without_versions_is_advised() -> None:
    """Versions are advice: the archive does without."""
    report = check(MemoryStore(), Bucket(versions=False))
    assert finding(report, "versions").outcome is Outcome.ADVICE
    assert report.missing == ()
    assert finding(check(MemoryStore(), Bucket()), "versions").outcome is Outcome.WORKS
    assert finding(check(MemoryStore()), "versions").outcome is Outcome.UNUSED


@pytest.mark.parametrize(
    ("versions", "refusals", "outcome", "words"),
    [
        (False, Refusals(), Outcome.WORKS, "refuses a key that is taken"),
        (False, Refusals(in_parts=False), Outcome.ADVICE, "for objects in parts: turn versions on"),
        (False, Refusals(whole=False, in_parts=False), Outcome.ADVICE, "for objects: turn versions on"),
        (True, Refusals(whole=False, in_parts=False), Outcome.WORKS, "the first version keeps the key"),
    ],
)
def test_how_a_taken_key_is_kept_is_told(versions: bool, refusals: Refusals, outcome: Outcome, words: str) -> None:
    """The endpoint refuses, or its versions decide, or there is a moment left: that is advice."""
    found = finding(check(MemoryStore(), Bucket(versions=versions, refused=refusals)), "conditional put")
    assert found.outcome is outcome
    assert words in found.detail


@pytest.mark.parametrize(
    ("asked", "kept", "outcome", "words"),
    [
        (Asked(), Kept(), Outcome.ADVICE, "set cold.key_ring or cold.encryption"),
        (Asked(), Kept(encryption="AES256"), Outcome.WORKS, "AES256 at rest"),
        (Asked(encryption="aws:kms"), Kept(encryption="aws:kms"), Outcome.WORKS, "aws:kms at rest"),
        (Asked(encryption="aws:kms"), Kept(encryption="AES256"), Outcome.MISSING, "the store says AES256"),
        (Asked(encryption="AES256"), Kept(), Outcome.MISSING, "the store says nothing"),
        (Asked(is_encrypted_here=True), Kept(), Outcome.WORKS, "encrypted here (AES-256-GCM)"),
    ],
)
def test_encryption_is_what_was_asked_for(asked: Asked, kept: Kept, outcome: Outcome, words: str) -> None:
    """What was asked for and not done is missing; none at all is told."""
    found = finding(check(MemoryStore(), Bucket(how=kept), asked), "encryption")
    assert found.outcome is outcome
    assert words in found.detail


def test_a_storage_class_is_what_was_asked_for() -> None:
    """Another class than the settings' is missing; without a wish any will do."""
    cold = Kept("COLD")
    assert finding(check(MemoryStore(), Bucket(how=cold)), "storage class").detail == "COLD"
    assert check(MemoryStore(), Bucket(how=cold), Asked("COLD")).missing == ()
    report = check(MemoryStore(), Bucket(), Asked("COLD"))
    assert report.missing == ("storage class",)
    assert "COLD was asked for, the object lies in STANDARD" in finding(report, "storage class").detail


def test_a_class_that_must_thaw_is_missing() -> None:
    """A pack is read back before it stands in: a class that gives nothing at once cannot be the one."""
    store = MemoryStore(is_cold=True)
    report = check(store, Bucket(how=Kept("GLACIER")))
    assert {"read back", "storage class"} <= set(report.missing)
    assert "choose another class" in finding(report, "storage class").detail
    assert list(store.iter_keys()) == []


class Silent(Bucket):
    """A bucket that tells an account nothing about itself."""

    def has_versions(self) -> bool:
        """Refuse."""
        raise StoreRefused(reason="AccessDenied (403)")

    def has_object_lock(self) -> bool:
        """Refuse."""
        raise StoreRefused(reason="AccessDenied (403)")


def test_who_may_not_ask_is_advised() -> None:
    """An account that may not ask about the bucket is no fault of the store's; holds are tried all the same."""
    store = MemoryStore()
    report = check(store, Silent(refused=Refusals(in_parts=False)), holds=store)
    assert report.missing == ()
    assert "may not ask" in finding(report, "versions").detail
    assert finding(report, "Object Lock").outcome is Outcome.WORKS
    assert finding(check(store, Silent()), "Object Lock").detail == "not asked for"


# ---- holds -----------------------------------------------------------------------------------------------------------


def test_holds_are_tried_when_they_are_asked_for() -> None:
    """A held object stays, and goes once it is released."""
    store = MemoryStore()
    report = check(store, Bucket(object_lock=True), holds=store)
    assert finding(report, "Object Lock").outcome is Outcome.WORKS
    assert list(store.iter_keys()) == []


def test_a_hold_that_holds_nothing_is_found_out() -> None:
    """A store that lets a held object go cannot be relied on."""
    store = HoldingNothing()
    report = check(store, Bucket(object_lock=True), holds=store)
    assert "Object Lock" in report.missing
    assert "a held object was deleted" in finding(report, "Object Lock").detail


def test_a_bucket_without_object_lock_is_told() -> None:
    """Asked for and not there: what to do is said, and no hold is left."""
    store = MemoryStore()
    report = check(store, Bucket(), holds=store)
    assert report.missing == ("Object Lock",)
    assert "cold.object_lock = false" in finding(report, "Object Lock").detail


def test_object_lock_that_is_not_used_is_told() -> None:
    """A bucket that has it may as well be asked to use it."""
    found = finding(check(MemoryStore(), Bucket(object_lock=True)), "Object Lock")
    assert found.outcome is Outcome.UNUSED
    assert "set cold.object_lock = true" in found.detail


# ---- what to do ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreUnavailable(reason="the folder x is no store, or its disk is not mounted"), "drimbox cold create"),
        (StoreRefused(reason="there is no bucket x"), "make the bucket"),
        (StoreRefused(reason="AccessDenied (403)"), "policy"),
        (StoreRefused(reason="SignatureDoesNotMatch (403)"), "secret key"),
        (StoreRefused(reason="RequestTimeTooSkewed (403)"), "clock"),
        (StoreUnavailable(reason="SSLError"), "cold.ca_file"),
        (StoreUnavailable(reason="EndpointConnectionError"), "cold.endpoint_url"),
        (StoreUnavailable(reason="ConnectTimeoutError"), "network"),
        (StoreUnavailable(reason="SlowDown (503)"), "try again later"),
    ],
)
def test_what_to_do_is_told(error: StoreUnavailable | StoreRefused, words: str) -> None:
    """What an operator can do about a failure stands behind it."""
    assert words in hint(error)


@pytest.mark.parametrize("error", [StoreFull(reason="quota"), ObjectNotFound(key="k"), NotThawed(key="k")])
def test_nothing_is_made_up(error: StoreFull | ObjectNotFound | NotThawed) -> None:
    """Where nobody knows what to do, nothing is said."""
    assert hint(error) == ""
