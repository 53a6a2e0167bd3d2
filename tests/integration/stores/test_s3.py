"""What only a bucket has: parts, versions, holds, classes, encryption at rest, on Ceph's own gateway."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.ceph import COLD_CLASS, KMS_KEY, Ceph, NewBucket
from tests.integration.stores.making import KEY, LARGE, SMALL, Broken, get, put, sha256, warrant
from tiering.deletion import Deletion
from tiering.errors import InvalidKey, KeyTaken, ObjectDiffers, ObjectHeld, ObjectNotFound, StoreFull, StoreRefused
from tiering.stores.s3.bucket import Bucket, open_bucket, open_session
from tiering.stores.s3.holds import S3Holds
from tiering.stores.s3.settings import MIB, S3Settings
from tiering.stores.s3.store import S3Store
from tiering.stores.s3.uploads import _joined

THREE_PARTS = LARGE * 6
_QUOTA_SECONDS = 30


@pytest.fixture
def plain(new_bucket: NewBucket) -> Bucket:
    """Lend a bucket without versions."""
    return open_bucket(new_bucket("plain"))


@pytest.fixture
def locked(new_bucket: NewBucket) -> Bucket:
    """Lend a bucket with versions and Object Lock."""
    return open_bucket(new_bucket("locked"))


def versions(bucket: Bucket) -> list[str]:
    """Return the ids of all versions in a bucket."""
    listed = bucket.client.list_object_versions(Bucket=bucket.name)
    return [each["VersionId"] for each in listed.get("Versions", ())]


def uploads(bucket: Bucket) -> list[Any]:
    """Return the uploads in parts that have not ended."""
    return list(bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ()))


def test_secrets_are_not_shown(plain: Bucket) -> None:
    """The settings, as a log would have them, name the bucket and no secret."""
    settings = replace(plain.settings, session_token="the token")
    assert settings.bucket in repr(settings)
    assert settings.secret_key not in repr(settings)
    assert "the token" not in repr(settings)


def test_parts_are_large_enough_and_few_enough() -> None:
    """A part is never smaller than S3 takes, and an object never has more parts than it takes."""
    settings = S3Settings("https://s3", "bucket", "access", "secret")
    assert settings.part_bytes_of(1) == 16 * MIB
    huge = 1 << 40
    assert huge / settings.part_bytes_of(huge) <= 10_000
    with pytest.raises(ValueError, match="a part has"):
        replace(settings, part_bytes=MIB)


@pytest.mark.parametrize("lengths", [[], [0], [3], [4], [5], [9], [1, 1, 1, 1], [3, 3, 3], [4, 8, 1], [20, 1]])
def test_parts_are_cut_from_chunks_of_any_size(lengths: list[int]) -> None:
    """Every part but the last has the size, none is empty, and together they are what came."""
    chunks = [bytes(range(length)) for length in lengths]
    parts = list(_joined(iter(chunks), 4))
    assert b"".join(parts) == b"".join(chunks)
    assert all(len(part) == 4 for part in parts[:-1])
    assert all(1 <= len(part) <= 4 for part in parts)


@pytest.mark.parametrize("sends_checksums", [True, False])
def test_a_large_object_goes_in_parts(new_bucket: NewBucket, *, sends_checksums: bool) -> None:
    """An object of several parts is whole, carries its digest, and leaves no upload behind."""
    bucket = open_bucket(replace(new_bucket("plain"), sends_checksums=sends_checksums))
    store = S3Store(bucket)
    stored = put(store, THREE_PARTS)
    assert stored.sha256 == sha256(THREE_PARTS)
    assert stored.generation.endswith(f"-3.{len(THREE_PARTS)}")
    assert get(store) == THREE_PARTS
    assert uploads(bucket) == []


def test_a_failed_upload_is_ended(plain: Bucket) -> None:
    """A source that breaks in the second part leaves no object and no upload."""
    with pytest.raises(OSError, match="the source broke"):
        S3Store(plain).put(
            KEY,
            Broken(THREE_PARTS, 6 * MIB),
            size_bytes=len(THREE_PARTS),
            sha256=sha256(THREE_PARTS),
        )
    assert uploads(plain) == []
    assert S3Store(plain).find(KEY) is None


def test_forgotten_uploads_are_ended(plain: Bucket) -> None:
    """Uploads from before a moment are ended, later ones go on."""
    plain.client.create_multipart_upload(Bucket=plain.name, Key=KEY)
    (upload,) = uploads(plain)
    store = S3Store(plain)
    assert store.abandon_uploads(upload["Initiated"]) == 0
    assert store.abandon_uploads(upload["Initiated"] + timedelta(seconds=1)) == 1
    assert uploads(plain) == []


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
def test_a_version_that_comes_second_goes(locked: Bucket, data: bytes) -> None:
    """Where the endpoint makes a second version of a taken key, that version is taken back."""
    first = put(S3Store(locked))
    bucket = _blind(locked)
    with pytest.raises(KeyTaken):
        put(S3Store(bucket), data + b"other")
    assert [f"version:{each}" for each in versions(locked)] == [first.generation]
    assert put(S3Store(_blind(locked))) == first
    assert [f"version:{each}" for each in versions(locked)] == [first.generation]


def _blind(bucket: Bucket) -> Bucket:
    """Return the bucket with a client that, like one that asks too early, first finds every key free."""
    heads = iter([True])

    class Client:
        def __getattr__(self, name: str) -> Any:
            return getattr(bucket.client, name)

        def head_object(self, **arguments: Any) -> Any:
            if next(heads, False):
                arguments["Key"] = "nothing-here"
            return bucket.client.head_object(**arguments)

    return Bucket(Client(), bucket.settings)


def test_a_put_that_finds_itself_is_done(plain: Bucket) -> None:
    """A put that is told the key is taken looks who has it: its own bytes, sent before an answer was lost, will do."""
    first = put(S3Store(plain))
    assert put(S3Store(_blind(plain))) == first
    with pytest.raises(KeyTaken):
        put(S3Store(_blind(plain)), b"other")
    assert get(S3Store(plain)) == SMALL


class Overtaken(io.BytesIO):
    """A source during whose reading somebody else takes the key."""

    def __init__(self, data: bytes, store: S3Store) -> None:
        super().__init__(data)
        self.store: S3Store | None = store

    def read(self, size: int | None = -1, /) -> bytes:
        """Read; let the other one in once."""
        store, self.store = self.store, None
        if store is not None:
            put(store)
        return super().read(size)


def test_a_key_taken_meanwhile_is_not_overwritten(plain: Bucket) -> None:
    """Parts are not put together when the key was taken while they were sent, whatever the endpoint would do."""
    store = S3Store(plain)
    with pytest.raises(KeyTaken):
        store.put(KEY, Overtaken(LARGE, store), size_bytes=len(LARGE), sha256=sha256(LARGE))
    assert get(store) == SMALL
    assert uploads(plain) == []


def test_only_our_own_version_is_taken_back(locked: Bucket) -> None:
    """A later version that somebody else made is no object of ours, and is not ours to delete."""
    first = put(S3Store(locked))
    locked.client.put_object(Bucket=locked.name, Key=KEY, Body=b"foreign")
    assert put(S3Store(locked)) == first
    with pytest.raises(KeyTaken):
        put(S3Store(locked), b"foreign")
    assert len(versions(locked)) == 2


def test_a_key_used_before_stays_used(locked: Bucket) -> None:
    """A key whose object somebody hid behind a delete marker is taken, and nothing is added to it."""
    first = put(S3Store(locked))
    locked.client.delete_object(Bucket=locked.name, Key=KEY)
    assert S3Store(locked).find(KEY) is None
    for data in (b"other", SMALL):
        with pytest.raises(KeyTaken):
            put(S3Store(locked), data)
    assert [f"version:{each}" for each in versions(locked)] == [first.generation]


def test_a_deletion_reaches_behind_a_marker(locked: Bucket) -> None:
    """The version that the warrant names goes, although somebody hid it behind a delete marker."""
    order = warrant(put(S3Store(locked)))
    locked.client.delete_object(Bucket=locked.name, Key=KEY)
    assert S3Store(locked).delete(order) is Deletion.DELETED
    assert versions(locked) == []
    assert S3Store(locked).delete(order) is Deletion.GONE


def test_a_deletion_names_its_version(locked: Bucket) -> None:
    """Deleting leaves no marker and no version; another version under the key is not the warrant's."""
    store = S3Store(locked)
    order = warrant(put(store))
    assert store.delete(order) is Deletion.DELETED
    assert "DeleteMarkers" not in locked.client.list_object_versions(Bucket=locked.name)
    put(store, b"other")
    with pytest.raises(ObjectDiffers, match=KEY):
        store.delete(order)
    assert get(store) == b"other"


def test_a_missing_bucket_is_no_empty_bucket(plain: Bucket) -> None:
    """Without the bucket nothing is called gone or absent: that would certify a destruction that never was."""
    order = warrant(put(S3Store(plain)))
    store = S3Store(open_bucket(replace(plain.settings, bucket="nowhere")))
    for call in (
        lambda: store.delete(order),
        lambda: store.find(KEY),
        lambda: put(store),
        lambda: list(store.iter_keys()),
        lambda: list(store.read(KEY)),
        lambda: store.availability(KEY),
    ):
        with pytest.raises(StoreRefused, match=r"nowhere|NoSuchBucket"):
            call()


def test_wrong_credentials_are_refused(plain: Bucket) -> None:
    """An endpoint that does not know us refuses; that is not worth another attempt."""
    store = S3Store(open_bucket(replace(plain.settings, secret_key="wrong")))
    for call in (lambda: put(store), lambda: store.find(KEY), lambda: get(store), lambda: list(store.iter_keys())):
        with pytest.raises(StoreRefused, match=r"403|Signature") as caught:
            call()
        assert "wrong" not in str(caught.value)
        assert not caught.value.retryable


def test_only_the_settings_say_who_asks(plain: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Profiles, keys, tokens and authorities of whoever starts the archive change nothing, not even when broken."""
    (tmp_path / "config").write_text("[default]\nregion = nowhere\n[profile hospital]\n")
    variables = ("PROFILE hospital", "ACCESS_KEY_ID other", "SESSION_TOKEN other", "CA_BUNDLE gone", "REGION nowhere")
    for name, value in (each.split() for each in variables):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    open_session.cache_clear()
    bucket = open_bucket(plain.settings)
    put(S3Store(bucket))
    assert bucket.client.meta.region_name == plain.settings.region
    monkeypatch.setenv("AWS_PROFILE", "gone")
    open_session.cache_clear()
    assert get(S3Store(open_bucket(plain.settings))) == SMALL


def test_a_foreign_object_has_no_digest(plain: Bucket) -> None:
    """An object that somebody else put there is found without digest, keeps its key, and no warrant fits it."""
    plain.client.put_object(Bucket=plain.name, Key=KEY, Body=SMALL, Metadata={"sha256": "not hexadecimal"})
    store = S3Store(plain)
    found = store.find(KEY)
    assert found is not None
    assert found.sha256 is None
    with pytest.raises(KeyTaken):
        put(store)
    with pytest.raises(ObjectDiffers):
        store.delete(warrant(found))


def test_a_listing_has_more_than_one_page(plain: Bucket) -> None:
    """A listing goes on behind its first thousand keys."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: plain.client.put_object(**plain.at(f"k/{number}"), Body=b""), range(1001)))
    listed = list(S3Store(plain).iter_keys("k/"))
    assert sorted(listed) == sorted(f"k/{number}" for number in range(1001))
    assert list(S3Store(plain).iter_keys("k/", after=listed[998])) == listed[999:]


def test_a_prefix_keeps_others_apart(locked: Bucket) -> None:
    """Archives that share a bucket see neither the objects nor the uploads of each other, nor take their keys."""
    theirs = Bucket(locked.client, replace(locked.settings, prefix="other/"))
    ours = Bucket(locked.client, replace(locked.settings, prefix="chu/"))
    put(S3Store(theirs), b"theirs")
    stored = put(S3Store(ours))
    locked.client.create_multipart_upload(**theirs.at("parts"))
    assert (list(S3Store(ours).iter_keys()), list(S3Store(theirs).iter_keys())) == ([KEY], [KEY])
    assert sorted(S3Store(locked).iter_keys()) == [f"chu/{KEY}", f"other/{KEY}"]
    assert list(S3Store(ours).iter_keys(after=KEY)) == []
    assert S3Store(ours).abandon_uploads(datetime(2099, 1, 1, tzinfo=UTC)) == 0
    assert S3Store(ours).delete(warrant(stored)) is Deletion.DELETED
    assert get(S3Store(theirs)) == b"theirs"
    assert S3Store(theirs).abandon_uploads(datetime(2099, 1, 1, tzinfo=UTC)) == 1


@pytest.mark.parametrize(("prefix", "error"), [("chu", ValueError), ("a b/", InvalidKey)])
def test_a_prefix_is_a_folder(prefix: str, error: type[Exception]) -> None:
    """A prefix that is not closed would be that of others too."""
    with pytest.raises(error):
        S3Settings("https://s3", "bucket", "access", "secret", prefix=prefix)


# ---- holds ---------------------------------------------------------------------------------------------------------


def test_a_held_object_stays(locked: Bucket) -> None:
    """A legal hold keeps an object from every deletion until it is released."""
    store, holds = S3Store(locked), S3Holds(locked)
    order = warrant(put(store))
    assert not holds.is_held(KEY)
    holds.set_hold(KEY)
    holds.set_hold(KEY)
    assert holds.is_held(KEY)
    for accept_damaged in (False, True):
        with pytest.raises(ObjectHeld, match=KEY):
            store.delete(order, accept_damaged=accept_damaged)
    assert get(store) == SMALL
    holds.release_hold(KEY)
    assert store.delete(order) is Deletion.DELETED


def test_a_retained_object_stays(locked: Bucket) -> None:
    """A retention keeps an object until its end, and may be made longer, never shorter."""
    store, holds = S3Store(locked), S3Holds(locked)
    order = warrant(put(store))
    later = datetime(2099, 1, 1, tzinfo=UTC)
    holds.retain_until(KEY, later)
    holds.retain_until(KEY, datetime(2098, 1, 1, tzinfo=UTC))
    with pytest.raises(ObjectHeld, match="2099"):
        store.delete(order)
    assert get(store) == SMALL


@pytest.mark.parametrize(
    "call",
    [
        lambda holds, key: holds.set_hold(key),
        lambda holds, key: holds.release_hold(key),
        lambda holds, key: holds.retain_until(key, datetime(2099, 1, 1, tzinfo=UTC)),
    ],
)
def test_holds_need_a_bucket_that_has_them(plain: Bucket, call: Callable[[S3Holds, str], None]) -> None:
    """A bucket without Object Lock refuses aloud instead of holding nothing; so does an object that is not there."""
    put(S3Store(plain))
    with pytest.raises(StoreRefused):
        call(S3Holds(plain), KEY)
    with pytest.raises(ObjectNotFound):
        call(S3Holds(plain), "absent")


# ---- how objects are kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
def test_class_and_encryption_are_as_asked(new_bucket: NewBucket, data: bytes) -> None:
    """An object lies in the storage class and under the key of the key service that the settings name."""
    settings = replace(
        new_bucket("plain"), storage_class=COLD_CLASS, server_side_encryption="aws:kms", kms_key_id=KMS_KEY
    )
    bucket = open_bucket(settings)
    put(S3Store(bucket), data)
    answer = bucket.client.head_object(Bucket=bucket.name, Key=KEY)
    assert (answer["StorageClass"], answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == (
        COLD_CLASS,
        "aws:kms",
        KMS_KEY,
    )
    assert get(S3Store(bucket)) == data


def test_encryption_that_was_not_done_is_an_error(new_bucket: NewBucket) -> None:
    """An endpoint that takes no notice of the encryption we ask for is found out, every time."""
    store = S3Store(open_bucket(replace(new_bucket("plain"), server_side_encryption="AES256")))
    for _ in range(2):
        with pytest.raises(StoreRefused, match="did not encrypt"):
            put(store)


def test_a_full_store_says_so(ceph: Ceph, plain: Bucket) -> None:
    """A quota that is used up is StoreFull, and what is there stays readable."""
    store = S3Store(plain)
    put(store)
    ceph.administer("quota", "set", "--quota-scope", "bucket", "--bucket", plain.name, "--max-objects", "1")
    ceph.administer("quota", "enable", "--quota-scope", "bucket", "--bucket", plain.name)
    with pytest.raises(StoreFull, match="QuotaExceeded") as caught:
        for number in range(_QUOTA_SECONDS):  # the gateway hears of it when it hears of it
            put(store, key=f"another-{number}")
            time.sleep(1)
    assert not caught.value.retryable
    assert get(store) == SMALL
