"""What a bucket tells of itself, on Ceph's own gateway, and that asking changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.ceph import COLD_CLASS, KMS_KEY, Ceph, NewBucket
from tests.fault_proxy import FaultProxy, new_proxy, refuse
from tests.integration.stores.making import KEY, SMALL, get, put, sha256
from tests.integration.stores.test_s3 import uploads, versions
from tiering.errors import ObjectNotFound, StoreRefused, StoreUnavailable
from tiering.stores.s3.bucket import open_bucket
from tiering.stores.s3.probe import Kept, Refusals, S3Probe
from tiering.stores.s3.store import S3Store


@pytest.fixture
def proxy(ceph: Ceph) -> Iterator[FaultProxy]:
    """Lend a proxy before the gateway."""
    with new_proxy(ceph.port) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("kind", "has_versions", "has_object_lock"),
    [("plain", False, False), ("versioned", True, False), ("locked", True, True)],
)
def test_versions_and_object_lock_are_told(
    new_bucket: NewBucket, kind: str, has_versions: bool, has_object_lock: bool
) -> None:
    """Each kind of bucket is told from the others."""
    probe = S3Probe(open_bucket(new_bucket(kind)))
    assert (probe.has_versions(), probe.has_object_lock()) == (has_versions, has_object_lock)


def test_a_missing_bucket_has_nothing(new_bucket: NewBucket) -> None:
    """No bucket is an error, not a bucket without versions."""
    probe = S3Probe(open_bucket(replace(new_bucket("plain"), bucket="nowhere")))
    for ask in (probe.has_versions, probe.has_object_lock):
        with pytest.raises(StoreRefused, match="nowhere"):
            ask()


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (503, "SlowDown")])
def test_who_may_not_ask_is_not_told_no(new_bucket: NewBucket, proxy: FaultProxy, status: int, code: str) -> None:
    """An account that may not ask, or a busy endpoint, is an error, not a bucket without Object Lock."""
    probe = S3Probe(open_bucket(replace(new_bucket("locked"), endpoint_url=proxy.endpoint_url)))
    proxy.inject(r"GET .*object-lock", refuse(status, code))
    with pytest.raises((StoreRefused, StoreUnavailable), match=code):
        probe.has_object_lock()
    assert probe.has_object_lock()


def test_how_an_object_lies_is_told(new_bucket: NewBucket) -> None:
    """Class and encryption are the object's own; one that is not there has neither."""
    plain = new_bucket("plain")
    asked = replace(plain, storage_class=COLD_CLASS, server_side_encryption="aws:kms", kms_key_id=KMS_KEY)
    put(S3Store(open_bucket(plain)))
    put(S3Store(open_bucket(asked)), key="other")
    probe = S3Probe(open_bucket(plain))
    assert probe.kept(KEY) == Kept("STANDARD", None)
    assert probe.kept("other") == Kept(COLD_CLASS, "aws:kms")
    with pytest.raises(ObjectNotFound):
        probe.kept("absent")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("plain", Refusals(whole=True, in_parts=False)), ("locked", Refusals(whole=False, in_parts=False))],
)
def test_what_is_refused_is_told_and_nothing_changes(new_bucket: NewBucket, kind: str, expected: Refusals) -> None:
    """Ceph's gateway minds the condition for an object in one request without versions alone; the object stays."""
    bucket = open_bucket(new_bucket(kind))
    store = S3Store(bucket)
    first = put(store)
    assert S3Probe(bucket).refusals(KEY) == expected
    assert get(store) == SMALL
    assert uploads(bucket) == []
    again = put(store)
    assert again.sha256 == sha256(SMALL)
    assert len(versions(bucket)) == 1
    assert kind == "plain" or again == first


def test_an_endpoint_that_refuses_all_is_told(new_bucket: NewBucket, proxy: FaultProxy) -> None:
    """Where both are refused, as S3 itself does, both are told, and the upload is ended."""
    bucket = open_bucket(replace(new_bucket("plain"), endpoint_url=proxy.endpoint_url))
    put(S3Store(bucket))
    proxy.inject(r"POST .*uploadId=", refuse(412, "PreconditionFailed"))
    assert S3Probe(bucket).refusals(KEY) == Refusals(whole=True, in_parts=True)
    assert uploads(bucket) == []
