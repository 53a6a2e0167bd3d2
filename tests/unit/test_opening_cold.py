"""Opening the cold store: of the kind that is set, without reaching it; what it needs is checked, and never shown."""

from __future__ import annotations

import io
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from archive.config_tiering import ColdSettings
from archive.errors import ConfigError
from archive.opening_cold import _s3_settings, cold_check_of, create_folder, open_cold_store
from tiering.disk import OsDisk
from tiering.errors import ObjectNotFound, StoreRefused, StoreUnavailable
from tiering.stores.base import ObjectStore, StoredObject
from tiering.stores.encrypting import EncryptingStore
from tiering.stores.keyring import KeyRing

KEY = "site/study/series/1.zip"


def folder_settings(root: Path, **more: object) -> ColdSettings:
    """Return the settings of a store in a folder."""
    return ColdSettings.model_validate({"store": "folder", "folder": root / "cold", "attempts": 1, **more})


def s3_settings(root: Path, text: str = 'access_key = "a"\nsecret_key = "hush"\n', mode: int = 0o600) -> ColdSettings:
    """Return the settings of a bucket that nobody has."""
    path = root / "s3.toml"
    path.write_text(text)
    path.chmod(mode)
    where = {"endpoint_url": "http://127.0.0.1:9", "bucket": "none", "credentials": path}
    return ColdSettings.model_validate({"store": "s3", "attempts": 1, **where})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MutableMapping[str, Any]]]:
    """Lend what is logged, whoever configured logs before."""
    monkeypatch.setattr("archive.opening_cold._log", structlog.get_logger())
    with capture_logs() as events:
        yield events


def put(store: ObjectStore, data: bytes = b"123") -> StoredObject:
    """Put an object."""
    return store.put(KEY, io.BytesIO(data), size_bytes=len(data), sha256=sha256(data).digest())


def opened(settings: ColdSettings) -> ObjectStore:
    """Return the store of settings that name one."""
    found = open_cold_store(settings, OsDisk())
    assert found is not None
    return found.store


def test_no_store_is_no_store() -> None:
    """Without one there is no cold tier."""
    assert open_cold_store(ColdSettings(), OsDisk()) is None


def test_a_folder_has_to_be_made_a_store_first(tmp_path: Path) -> None:
    """A share that is not mounted looks like an empty folder: nothing is written there."""
    settings = folder_settings(tmp_path)
    store = opened(settings)
    with pytest.raises(StoreUnavailable, match="not mounted"):
        put(store)
    create_folder(settings, OsDisk())
    create_folder(settings, OsDisk())
    put(store)
    assert store.read_range(KEY, 0, 3) == b"123"


def test_only_a_folder_can_be_made(tmp_path: Path) -> None:
    """A bucket is made by whoever provides it."""
    with pytest.raises(ConfigError, match="bucket is its provider's"):
        create_folder(s3_settings(tmp_path), OsDisk())


def test_a_bucket_is_not_reached_when_it_is_opened(tmp_path: Path) -> None:
    """A store that is down keeps nothing from starting; it is told when it is used."""
    found = open_cold_store(s3_settings(tmp_path), OsDisk())
    assert found is not None
    assert found.holds is None
    assert found.end_uploads is not None
    with pytest.raises(StoreUnavailable):
        found.store.find(KEY)
    with pytest.raises(StoreUnavailable):
        found.end_uploads(datetime(2026, 1, 1, tzinfo=UTC))


def test_holds_are_for_buckets_that_lock(tmp_path: Path) -> None:
    """With object_lock the store is asked to hold objects."""
    settings = s3_settings(tmp_path).model_copy(update={"object_lock": True})
    found = open_cold_store(settings, OsDisk())
    assert found is not None
    assert found.holds is not None


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ('access_key = "a"\nsecret_key = "hush"\n', 0o644, "chmod 600"),
        ('access_key = "a"\n', 0o600, "no TOML file"),
        ("not toml, hush", 0o600, "no TOML file"),
        ('access_key = "a"\nsecret_key = 17\n', 0o600, "no TOML file"),
        ('access_key = ""\nsecret_key = "hush"\n', 0o600, "no TOML file"),
    ],
)
def test_credentials_that_cannot_be_used_are_told(
    tmp_path: Path, told: list[MutableMapping[str, Any]], text: str, mode: int, why: str
) -> None:
    """Readable by others, or not what they should be; what is in them is never shown."""
    store = opened(s3_settings(tmp_path, text, mode))
    with pytest.raises(StoreRefused, match=why) as caught:
        store.find(KEY)
    assert "hush" not in str(caught.value) + str(told)
    assert "cold_store_not_usable" in str(told)


def test_missing_credentials_are_told(tmp_path: Path, told: list[MutableMapping[str, Any]]) -> None:
    """The file is named, at the start and by every call, until it is there: nothing else waits for it."""
    settings = s3_settings(tmp_path)
    text = (tmp_path / "s3.toml").read_text()
    (tmp_path / "s3.toml").unlink()
    store = opened(settings)
    assert "s3.toml" in str(told)
    for _ in range(2):
        with pytest.raises(StoreRefused, match=r"s3\.toml: No such file"):
            store.find(KEY)
    s3_settings(tmp_path, text)
    with pytest.raises(StoreUnavailable):
        store.find(KEY)


def test_a_key_ring_encrypts_what_leaves(tmp_path: Path) -> None:
    """The bytes in the folder are not those that were put; without the ring nothing opens."""
    ring = tmp_path / "ring.json"
    KeyRing.generate("1").save(OsDisk(), ring)
    settings = folder_settings(tmp_path, key_ring=ring)
    create_folder(settings, OsDisk())
    store = opened(settings)
    assert isinstance(store, EncryptingStore)
    put(store, b"patient" * 100)
    assert store.read_range(KEY, 0, 7) == b"patient"
    (file,) = [path for path in (tmp_path / "cold").rglob("*zip*") if path.is_file()]
    assert b"patient" not in file.read_bytes()


@pytest.mark.parametrize(
    ("mode", "text", "why"), [(0o644, None, "chmod 600"), (0o600, "hush", "no key ring"), (0o600, "", "no key ring")]
)
def test_a_key_ring_that_cannot_be_used_is_told(
    tmp_path: Path, told: list[MutableMapping[str, Any]], mode: int, text: str | None, why: str
) -> None:
    """Open to others, or no ring: told at the start, and nothing leaves unencrypted."""
    ring = tmp_path / "ring.json"
    KeyRing.generate("1").save(OsDisk(), ring)
    if text is not None:
        ring.write_text(text)
    ring.chmod(mode)
    settings = folder_settings(tmp_path, key_ring=ring)
    create_folder(settings, OsDisk())
    store = opened(settings)
    assert "cold_store_not_usable" in str(told)
    with pytest.raises(StoreRefused, match=why):
        put(store)
    assert list(store.iter_keys()) == []
    assert "hush" not in str(told)


def test_a_new_key_is_known_at_once(tmp_path: Path) -> None:
    """A key that another process turned to is used without a start, and what it encrypted can be read."""
    ring = tmp_path / "ring.json"
    KeyRing.generate("1").save(OsDisk(), ring)
    settings = folder_settings(tmp_path, key_ring=ring)
    create_folder(settings, OsDisk())
    store = opened(settings)
    put(store)
    KeyRing.load(ring).with_key("2").save(OsDisk(), ring)
    other = opened(settings)
    other.put("other", io.BytesIO(b"456"), size_bytes=3, sha256=sha256(b"456").digest())
    assert store.read_range("other", 0, 3) == b"456"
    assert store.read_range(KEY, 0, 3) == b"123"


def test_a_bucket_is_opened_as_the_settings_have_it(tmp_path: Path) -> None:
    """Every setting reaches the bucket; no more than one part lies in memory."""
    more = {"prefix": "chu/", "storage_class": "IA", "encryption": "aws:kms", "kms_key": "k", "part_mib": 32}
    where = s3_settings(tmp_path).model_dump() | more | {"path_style": False, "region": "fr-1", "ca_file": "/ca.pem"}
    found = _s3_settings(ColdSettings.model_validate(where))
    assert (found.prefix, found.storage_class, found.region, found.is_path_style) == ("chu/", "IA", "fr-1", False)
    assert (found.server_side_encryption, found.kms_key_id, found.ca_file) == ("aws:kms", "k", "/ca.pem")
    assert found.part_bytes == found.multipart_bytes == 32 << 20
    assert (found.access_key, found.secret_key) == ("a", "hush")


def test_failures_are_told_to_the_log(tmp_path: Path, told: list[MutableMapping[str, Any]]) -> None:
    """A call that failed is in the log, by its kind; one that found nothing is not."""
    settings = folder_settings(tmp_path)
    store = opened(settings)
    with pytest.raises(StoreUnavailable):
        store.find(KEY)
    assert "cold_store_call_failed" in str(told)
    told.clear()
    create_folder(settings, OsDisk())
    with pytest.raises(ObjectNotFound):
        store.availability(KEY)
    assert told == []


def test_the_check_is_of_the_store_of_the_settings(tmp_path: Path) -> None:
    """What is checked is what the archive would use, encryption included; without a store there is nothing to check."""
    ring = tmp_path / "ring.json"
    KeyRing.generate("1").save(OsDisk(), ring)
    settings = folder_settings(tmp_path, key_ring=ring)
    create_folder(settings, OsDisk())
    report = cold_check_of(settings, OsDisk()).run()
    assert report.missing == ()
    assert "encrypted here (AES-256-GCM)" in [finding.detail for finding in report.findings]
    with pytest.raises(ConfigError, match="no cold tier"):
        cold_check_of(ColdSettings(), OsDisk())
