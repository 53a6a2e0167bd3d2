"""A gateway that dies, stalls, lies or loses its answers: what was promised holds all the same."""

from __future__ import annotations

import io
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.ceph import Ceph, NewBucket
from tests.fault_proxy import Answer, FaultProxy, Relay, Request, change, cut, flip, new_proxy, refuse, spoil
from tests.integration.stores.conftest import encrypting, no_sleep
from tests.integration.stores.making import KEY, LARGE, SMALL, get, put, sha256, warrant
from tests.integration.stores.test_s3 import THREE_PARTS, uploads, versions
from tiering.deletion import Deletion
from tiering.errors import (
    ChecksumMismatch,
    NotThawed,
    ObjectDiffers,
    ObjectNotFound,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from tiering.stores.base import Availability
from tiering.stores.retrying import Backoff, RetryingStore
from tiering.stores.s3.bucket import Bucket, open_bucket
from tiering.stores.s3.settings import MIB
from tiering.stores.s3.store import S3Store

WHOLE, PART, COMPLETE = r"PUT /[^?]*$", r"PUT .*partNumber=2", r"POST .*uploadId="
HEAD, GET, DELETE = r"^HEAD /[^/]*/.", r"^GET /[^/]*/.", r"^DELETE /[^/]*/."


@pytest.fixture
def mortal(ceph: Ceph) -> Iterator[Ceph]:
    """Lend the cluster to a test that kills its gateway: whatever came of the test, the next one finds it running."""
    yield ceph
    ceph.start_gateway()


@pytest.fixture
def proxy(ceph: Ceph) -> Iterator[FaultProxy]:
    """Lend a proxy before the gateway."""
    with new_proxy(ceph.port) as proxy:
        yield proxy


@pytest.fixture(params=["plain", "locked"])
def bucket(new_bucket: NewBucket, proxy: FaultProxy, request: pytest.FixtureRequest) -> Bucket:
    """Lend a bucket of each kind, behind the proxy."""
    return open_bucket(replace(new_bucket(request.param), endpoint_url=proxy.endpoint_url))


@pytest.fixture
def plain(new_bucket: NewBucket, proxy: FaultProxy) -> Bucket:
    """Lend a bucket without versions, behind the proxy."""
    return open_bucket(replace(new_bucket("plain"), endpoint_url=proxy.endpoint_url))


def retrying(bucket: Bucket) -> RetryingStore:
    """Return the bucket's store, which tries again at once."""
    return RetryingStore(S3Store(bucket), Backoff(no_sleep, random.Random(1).random, attempts=3))


@pytest.mark.parametrize(
    ("data", "request_"), [(SMALL, WHOLE), (THREE_PARTS, COMPLETE), (THREE_PARTS, PART)], ids=["whole", "end", "part"]
)
def test_a_put_whose_answer_was_lost_is_repeated(bucket: Bucket, proxy: FaultProxy, data: bytes, request_: str) -> None:
    """The answer is lost: the caller is told to try again, and then finds one object and no upload."""
    proxy.inject(request_, proxy.lose)
    with pytest.raises(StoreUnavailable):
        put(S3Store(bucket), data)
    assert proxy.faults == []
    stored = put(S3Store(bucket), data)
    assert stored == S3Store(bucket).find(KEY)
    assert get(S3Store(bucket)) == data
    assert len(versions(bucket)) == 1
    assert uploads(bucket) == []


def test_a_deletion_whose_answer_was_lost_is_repeated(bucket: Bucket, proxy: FaultProxy) -> None:
    """The object is gone, and asking again says so."""
    order = warrant(put(S3Store(bucket)))
    proxy.inject(DELETE, proxy.lose)
    assert retrying(bucket).delete(order) is Deletion.GONE
    assert versions(bucket) == []


@pytest.mark.parametrize("data", [SMALL, THREE_PARTS], ids=len)
@pytest.mark.parametrize("fault", ["503", "500", "drop", "spoil"])
def test_a_put_goes_through_in_the_end(plain: Bucket, proxy: FaultProxy, data: bytes, fault: str) -> None:
    """Bad answers, no answer, bytes altered on the way: a put that is repeated stores the right bytes."""
    faults = {"503": refuse(503, "SlowDown"), "500": refuse(500, "InternalError"), "drop": proxy.drop, "spoil": spoil}
    proxy.inject(WHOLE if data is SMALL else PART, faults[fault], faults[fault])
    stored = put(retrying(plain), data)
    assert proxy.faults == []
    assert stored.sha256 == sha256(data)
    assert get(S3Store(plain)) == data
    assert uploads(plain) == []


@pytest.mark.parametrize(("data", "request_"), [(SMALL, WHOLE), (THREE_PARTS, PART)], ids=["whole", "part"])
def test_altered_bytes_are_never_stored(bucket: Bucket, proxy: FaultProxy, data: bytes, request_: str) -> None:
    """The gateway itself notices a byte that was altered on the way to it, and the key stays free."""
    proxy.inject(request_, spoil)
    with pytest.raises(StoreUnavailable, match="SHA256"):
        put(S3Store(bucket), data)
    assert S3Store(bucket).find(KEY) is None


def test_an_error_in_a_good_answer_is_an_error(plain: Bucket, proxy: FaultProxy) -> None:
    """S3 may answer 200 to the end of an upload and tell the failure in the body."""
    proxy.inject(COMPLETE, refuse(200, "InternalError"))
    with pytest.raises(StoreUnavailable):
        put(S3Store(plain), THREE_PARTS)
    assert S3Store(plain).find(KEY) is None


def test_an_acknowledgement_is_not_believed(plain: Bucket, proxy: FaultProxy) -> None:
    """A gateway that acknowledges what it has not stored is found out."""
    proxy.inject(WHOLE, lambda _request, _relay: Answer(200, {"ETag": '"made up"'}))
    with pytest.raises(StoreUnavailable, match="is not there"):
        put(S3Store(plain))


def test_a_size_is_not_believed(plain: Bucket, proxy: FaultProxy) -> None:
    """An object that the gateway says is shorter than what was sent is found out."""
    proxy.inject(HEAD, proxy.relay_only, change(lambda answer: answer.headers.update({"Content-Length": "3"})))
    with pytest.raises(ChecksumMismatch, match="3 of 18"):
        put(S3Store(plain))


def test_a_cleaning_that_fails_hides_nothing(plain: Bucket, proxy: FaultProxy) -> None:
    """When ending the upload fails too, the first failure is told, and the upload is ended later."""
    proxy.inject(PART, refuse(507, "QuotaExceeded"))
    proxy.inject(DELETE, proxy.drop)
    with pytest.raises(StoreFull):
        put(S3Store(plain), THREE_PARTS)
    (left,) = uploads(plain)
    assert S3Store(plain).abandon_uploads(left["Initiated"] + timedelta(seconds=1)) == 1
    assert uploads(plain) == []


@pytest.mark.parametrize("data", [SMALL, THREE_PARTS], ids=len)
def test_a_key_that_leads_nowhere_for_a_moment(bucket: Bucket, proxy: FaultProxy, data: bytes) -> None:
    """While Ceph takes a version back it may say that the key has nothing: a put finds the first version all the same.

    Without versions it says so, to be asked again, and does not believe that the object went.
    """
    first = put(S3Store(bucket), data)
    seen = [proxy.relay_only] if data is THREE_PARTS else []
    proxy.inject(HEAD, refuse(404, "NoSuchKey"), *seen, refuse(404, "NoSuchKey"))
    if first.generation.startswith("version:"):
        assert put(S3Store(bucket), data) == first
    else:
        with pytest.raises(StoreUnavailable):
            put(S3Store(bucket), data)
    assert proxy.faults == []
    assert put(S3Store(bucket), data) == first
    assert len(versions(bucket)) == 1


def test_a_put_killed_before_it_took_itself_back(new_bucket: NewBucket, proxy: FaultProxy) -> None:
    """A second version that a killed put has left goes with the next put, and does not outlive the first one."""
    bucket = open_bucket(replace(new_bucket("locked"), endpoint_url=proxy.endpoint_url))
    first = put(S3Store(bucket))
    proxy.inject(HEAD, refuse(404, "NoSuchKey"))
    proxy.inject(r"GET .*versions", proxy.drop)  # this is where it is killed
    with pytest.raises(StoreUnavailable):
        put(S3Store(bucket))
    assert len(versions(bucket)) == 2
    assert put(S3Store(bucket)) == first
    assert S3Store(bucket).delete(warrant(first)) is Deletion.DELETED
    assert versions(bucket) == []


def test_parts_go_side_by_side(plain: Bucket, proxy: FaultProxy) -> None:
    """The second part is sent before the first one is acknowledged."""
    both = threading.Barrier(2)

    def meet(request: Request, relay: Relay) -> Answer:
        both.wait(60)
        return relay(request)

    proxy.inject("partNumber=1", meet)
    proxy.inject("partNumber=2", meet)
    put(S3Store(plain), THREE_PARTS)
    assert proxy.faults == []
    assert get(S3Store(plain)) == THREE_PARTS


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_is_read_than_is_sent_at_once(plain: Bucket, proxy: FaultProxy, at_once: int) -> None:
    """While a part is on its way the source is not read further than the parts that go beside it."""
    store = S3Store(Bucket(plain.client, replace(plain.settings, parts_at_once=at_once)))
    source, ahead = io.BytesIO(THREE_PARTS), []

    def note(request: Request, relay: Relay) -> Answer:
        number = int(re.findall(r"partNumber=(\d)", request.path)[0])
        answer = relay(request)
        ahead.append(source.tell() - (number - 1) * plain.settings.part_bytes)
        return answer

    proxy.inject("partNumber=", note, note, note)
    store.put(KEY, source, size_bytes=len(THREE_PARTS), sha256=sha256(THREE_PARTS))
    assert len(ahead) == 3
    assert max(ahead) <= at_once * plain.settings.part_bytes
    assert get(store) == THREE_PARTS


def test_an_upload_ends_after_its_parts(plain: Bucket, proxy: FaultProxy) -> None:
    """When one part fails, the upload is ended once the others are there: none comes later and stays for ever."""
    failed, ended = threading.Event(), []

    def fail(_request: Request, _relay: Relay) -> Answer:
        failed.set()
        return Answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")

    def come_late(request: Request, relay: Relay) -> Answer:
        failed.wait(60)
        time.sleep(0.2)
        answer = relay(request)
        ended.append([request.method for request in proxy.requests].count("DELETE"))
        return answer

    proxy.inject("partNumber=1", fail)
    proxy.inject("partNumber=2", come_late)
    with pytest.raises(StoreRefused, match="AccessDenied"):
        put(S3Store(plain), THREE_PARTS)
    assert ended == [0]
    assert proxy.requests[-1].method == "DELETE"
    assert uploads(plain) == []


class KillsGateway(io.BytesIO):
    """A source during whose reading, behind its first part, the gateway is killed."""

    def __init__(self, data: bytes, ceph: Ceph) -> None:
        super().__init__(data)
        self.ceph = ceph
        self.kills = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read; kill once."""
        if self.tell() >= 6 * MIB and not self.kills:
            self.kills += 1
            self.ceph.kill_gateway()
        return super().read(size)


@pytest.mark.parametrize("kind", ["plain", "locked"])
def test_a_gateway_killed_between_parts(mortal: Ceph, new_bucket: NewBucket, kind: str) -> None:
    """Killed in the middle of an upload and started again: nothing is there in between, then the whole object is."""
    bucket = open_bucket(new_bucket(kind))
    source = KillsGateway(THREE_PARTS, mortal)
    seen = []

    def start_again(_seconds: float) -> None:
        mortal.start_gateway()
        seen.append((S3Store(bucket).find(KEY), len(uploads(bucket))))

    store = RetryingStore(S3Store(bucket), Backoff(start_again, lambda: 1.0))
    stored = store.put(KEY, source, size_bytes=len(THREE_PARTS), sha256=sha256(THREE_PARTS))
    assert (source.kills, seen) == (1, [(None, 1)])
    assert stored == S3Store(bucket).find(KEY)
    assert get(store) == THREE_PARTS
    (left,) = uploads(bucket)
    assert S3Store(bucket).abandon_uploads(left["Initiated"] + timedelta(seconds=1)) == 1
    assert get(store) == THREE_PARTS


def test_no_gateway_at_all(mortal: Ceph, new_bucket: NewBucket) -> None:
    """While the gateway is away every call says that it may come back, and what was stored is there afterwards."""
    store = S3Store(open_bucket(new_bucket("plain")))
    order = warrant(put(store))
    mortal.kill_gateway()
    calls: list[Callable[[], object]] = [
        lambda: put(store, key="other"),
        lambda: store.find(KEY),
        lambda: get(store),
        lambda: list(store.iter_keys()),
        lambda: store.delete(order),
        lambda: store.availability(KEY),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert caught.value.retryable
    mortal.start_gateway()
    assert get(store) == SMALL


def test_a_slow_gateway_is_given_up(new_bucket: NewBucket, proxy: FaultProxy) -> None:
    """A gateway that says nothing is left after the time that the settings give it, and asked again."""
    settings = replace(new_bucket("plain"), endpoint_url=proxy.endpoint_url, read_seconds=0.5)
    bucket = open_bucket(settings)
    proxy.inject(WHOLE, proxy.stall)
    with pytest.raises(StoreUnavailable, match="ReadTimeout"):
        put(S3Store(bucket))
    proxy.inject(GET, proxy.stall)
    put(retrying(bucket))
    assert get_all(retrying(bucket)) == SMALL
    assert proxy.faults == []


def get_all(store: RetryingStore) -> bytes:
    """Read all of an object through a store that tries again."""
    return b"".join(store.read(KEY))


def test_a_read_goes_on_where_it_was_cut(plain: Bucket, proxy: FaultProxy) -> None:
    """A connection that ends in the middle of an object is taken up behind the last byte that came."""
    put(S3Store(plain), LARGE)
    proxy.inject(GET, change(cut), change(cut))
    with pytest.raises(StoreUnavailable):
        get(S3Store(plain))
    proxy.requests.clear()
    assert get_all(retrying(plain)) == LARGE
    first, second = [request.headers.get("Range") for request in proxy.requests if request.method == "GET"]
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").rstrip("-")) >= 1 << 20


def test_other_bytes_are_noticed_where_they_are_sealed(plain: Bucket, proxy: FaultProxy) -> None:
    """A byte altered on the way back passes a plain read, whose caller compares digests, and no encrypted one."""
    store = S3Store(plain)
    put(store)
    proxy.inject(GET, change(flip))
    assert sha256(get(store)) != sha256(SMALL)
    sealed = encrypting(store)
    put(sealed, LARGE, "sealed")
    for _ in range(2):  # the header, then the chunks
        proxy.inject(GET, *([proxy.relay_only] * _), change(flip))
        with pytest.raises(ChecksumMismatch, match="sealed"):
            get(sealed, "sealed")
    assert get(sealed, "sealed") == LARGE


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "InternalError", StoreUnavailable),
        (503, "SlowDown", StoreUnavailable),
        (503, "ServiceUnavailable", StoreUnavailable),
        (502, "", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (409, "ConditionalRequestConflict", StoreUnavailable),
        (400, "RequestTimeout", StoreUnavailable),
        (404, "NoSuchKey", ObjectNotFound),
        (404, "NoSuchBucket", StoreRefused),
        (403, "AccessDenied", StoreRefused),
        (403, "RequestTimeTooSkewed", StoreRefused),
        (403, "InvalidObjectState", NotThawed),
        (501, "NotImplemented", StoreRefused),
        (507, "InsufficientStorage", StoreFull),
        (403, "QuotaExceeded", StoreFull),
    ],
)
def test_every_answer_has_its_error(
    plain: Bucket, proxy: FaultProxy, status: int, code: str, expected: type[StoreError]
) -> None:
    """Each answer of an endpoint is the error of the contract that tells the caller what to do."""
    put(S3Store(plain))
    proxy.inject(GET, refuse(status, code))
    with pytest.raises(StoreError) as caught:
        get(S3Store(plain))
    assert type(caught.value) is expected
    assert caught.value.__cause__ is not None


# ---- what is asked of the endpoint ---------------------------------------------------------------------------------


def test_only_new_objects_are_asked_for(plain: Bucket, proxy: FaultProxy) -> None:
    """Every request that makes an object carries the condition, and the digest for whoever can check it."""
    put(S3Store(plain))
    put(S3Store(plain), THREE_PARTS, "large")
    made = [request for request in proxy.requests if "partNumber" not in request.path and request.method != "HEAD"]
    conditions = [request.headers.get("If-None-Match") for request in made if not request.path.endswith("?uploads")]
    assert conditions == ["*", "*"]
    sent = [request for request in proxy.requests if request.method == "PUT"]
    assert len(sent) == 4
    for request in sent:
        assert request.headers["X-Amz-Content-SHA256"] == sha256(request.body).hex()
        assert "x-amz-checksum-sha256" in {name.lower() for name in request.headers}


def test_a_deletion_without_versions_names_the_tag(plain: Bucket, proxy: FaultProxy) -> None:
    """Without versions the deletion carries the entity tag; an endpoint that says it is another's keeps the object."""
    store = S3Store(plain)
    order = warrant(put(store))
    proxy.inject(DELETE, refuse(412, "PreconditionFailed"))
    with pytest.raises(ObjectDiffers, match="another object"):
        store.delete(order)
    assert store.delete(order) is Deletion.DELETED
    tags = [request.headers.get("If-Match") for request in proxy.requests if request.method == "DELETE"]
    assert tags == [f'"{order.generation.removeprefix("etag:").partition(".")[0]}"'] * 2


# ---- cold objects, as S3 answers for them: Ceph thaws nothing ------------------------------------------------------


def cold(restore: str | None = None) -> Callable[[Answer], None]:
    """Return what makes an answer that of an object in a class that must be thawed."""

    def alter(answer: Answer) -> None:
        answer.headers["x-amz-storage-class"] = "GLACIER"
        if restore is not None:
            answer.headers["x-amz-restore"] = restore

    return alter


@pytest.mark.parametrize(
    ("restore", "expected"),
    [
        (None, Availability.COLD),
        ('ongoing-request="true"', Availability.WARMING),
        ('ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"', Availability.WARM),
    ],
)
def test_a_thaw_has_its_states(plain: Bucket, proxy: FaultProxy, restore: str | None, expected: Availability) -> None:
    """Class and restore header tell cold, warming and warm apart; only what is cold is asked for."""
    store = S3Store(plain)
    put(store)
    proxy.inject(HEAD, *[change(cold(restore))] * 2)
    proxy.inject(r"POST .*\?restore", lambda _request, _relay: Answer(202, {}))
    assert store.availability(KEY) is expected
    store.request_thaw([KEY], 3)
    asked = [request.body for request in proxy.requests if "restore" in request.path]
    assert len(asked) == (expected is Availability.COLD)
    assert all(b"<Days>3</Days>" in body and b"<Tier>Standard</Tier>" in body for body in asked)


def test_a_thaw_asked_for_twice_is_one(plain: Bucket, proxy: FaultProxy) -> None:
    """When somebody else asked for the same thaw a moment before, asking again finds it under way."""
    put(S3Store(plain))
    proxy.inject(HEAD, change(cold()), change(cold('ongoing-request="true"')))
    proxy.inject(r"POST .*\?restore", refuse(409, "RestoreAlreadyInProgress"))
    retrying(plain).request_thaw([KEY], 3)
    assert proxy.faults == []
