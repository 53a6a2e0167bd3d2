"""``drimbox cold``: a store in a folder, one in a bucket of Ceph, keys; what an operator reads and how it ends."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archive.cli import root
from tests.ceph import COLD_CLASS, KMS_KEY, Ceph, NewBucket
from tests.integration.stores.test_s3 import uploads, versions
from tiering.stores.keyring import KeyRing
from tiering.stores.s3.bucket import open_bucket
from tiering.stores.s3.settings import S3Settings

Drimbox = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def drimbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Drimbox:
    """Give a function that runs a command on a home that has settings and nothing else."""
    for name in os.environ:
        if name.upper().startswith("DRIMBOX_"):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("DRIMBOX_HOME", str(tmp_path / "home"))
    return lambda *words: CliRunner().invoke(root, words, prog_name="drimbox")


def configure(text: str) -> None:
    """Write the settings of the cold store."""
    Path("drimbox.toml").write_text(f"[cold]\n{text}")


def configure_bucket(bucket: S3Settings, more: str = "", secret_key: str | None = None) -> None:
    """Write the settings of a bucket, and the file of its keys."""
    keys = Path("s3.toml")
    keys.write_text(f'access_key = "{bucket.access_key}"\nsecret_key = "{secret_key or bucket.secret_key}"\n')
    keys.chmod(0o600)
    where = f'store = "s3"\nendpoint_url = "{bucket.endpoint_url}"\nbucket = "{bucket.bucket}"\n'
    configure(where + 'credentials = "s3.toml"\n' + more)


def outcomes(result: Result) -> dict[str, str]:
    """Return what a check in JSON found, by name."""
    return {each["name"]: each["outcome"] for each in json.loads(result.stdout)["report"]["findings"]}


# ---- a folder --------------------------------------------------------------------------------------------------------


def test_a_folder_is_made_and_passes(drimbox: Drimbox) -> None:
    """Made once, harmless again; the check passes, measures, and leaves nothing."""
    configure('store = "folder"\nfolder = "cold"\n')
    assert drimbox("cold", "create").exit_code == drimbox("cold", "create").exit_code == 0
    result = drimbox("cold", "check")
    assert result.exit_code == 0, result.output
    assert "MB/s" in result.stdout
    assert result.stderr == ""
    assert [path.name for path in Path("cold").rglob("*") if path.is_file()] == ["drimbox-store"]


def test_a_share_that_is_not_mounted_is_told(drimbox: Drimbox) -> None:
    """An empty folder is no store: the check says what to do, and writes nothing there."""
    configure('store = "folder"\nfolder = "cold"\n')
    Path("cold").mkdir()
    result = drimbox("cold", "check")
    assert result.exit_code == 34
    assert "mount the share; if the folder is new, run drimbox cold create" in result.stdout
    assert list(Path("cold").iterdir()) == []


def test_a_folder_with_other_files_is_not_made_a_store(drimbox: Drimbox) -> None:
    """A folder that is somebody else's stays as it is."""
    configure('store = "folder"\nfolder = "cold"\n')
    Path("cold").mkdir()
    (Path("cold") / "thesis.doc").touch()
    result = drimbox("cold", "create")
    assert result.exit_code == 11
    assert "not empty" in result.stderr
    assert [path.name for path in Path("cold").iterdir()] == ["thesis.doc"]


def test_without_a_store_there_is_nothing_to_check(drimbox: Drimbox) -> None:
    """The setting to change is named."""
    result = drimbox("cold", "check")
    assert (result.exit_code, "cold.store" in result.stderr) == (11, True)


# ---- a bucket --------------------------------------------------------------------------------------------------------


def test_a_bucket_with_all_there_is_passes(drimbox: Drimbox, new_bucket: NewBucket) -> None:
    """Versions, Object Lock, class, encryption at both ends, a prefix: each is tried, and nothing is left."""
    bucket = new_bucket("locked")
    asked = f'storage_class = "{COLD_CLASS}"\nencryption = "aws:kms"\nkms_key = "{KMS_KEY}"\nkey_ring = "ring.json"\n'
    configure_bucket(bucket, asked + 'object_lock = true\nprefix = "chu/"\n')
    assert drimbox("cold", "new-key-ring", "ring.json").exit_code == 0
    result = drimbox("cold", "check", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert json.loads(result.stdout)["missing"] == []
    assert set(outcomes(result).values()) == {"works"}
    assert versions(open_bucket(bucket)) == []
    assert uploads(open_bucket(bucket)) == []


def test_a_bucket_with_nothing_is_advised(drimbox: Drimbox, new_bucket: NewBucket) -> None:
    """Without versions and encryption the archive works; that it would be better with them is told."""
    bucket = new_bucket("plain")
    configure_bucket(bucket)
    result = drimbox("cold", "check", "--json")
    assert result.exit_code == 0, result.output
    advice = [name for name, outcome in outcomes(result).items() if outcome == "advice"]
    assert advice == ["conditional put", "versions", "encryption"]
    assert versions(open_bucket(bucket)) == []


def test_object_lock_that_is_not_there_is_missing(drimbox: Drimbox, new_bucket: NewBucket) -> None:
    """Asked for in the settings, not there in the bucket: the command fails and says what to do."""
    configure_bucket(new_bucket("versioned"), "object_lock = true\n")
    result = drimbox("cold", "check")
    assert result.exit_code == 34
    assert "make one with it, or set cold.object_lock = false" in result.stdout
    assert "relies on (Object Lock)" in result.stderr


def test_encryption_that_is_not_done_is_missing(drimbox: Drimbox, new_bucket: NewBucket) -> None:
    """An endpoint that takes no notice of the encryption asked for is found out; what was put is gone."""
    bucket = new_bucket("plain")
    configure_bucket(bucket, 'encryption = "AES256"\n')
    result = drimbox("cold", "check")
    assert result.exit_code == 34
    assert "have the store's encryption set up" in result.stdout
    assert versions(open_bucket(bucket)) == []


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_wrong_keys_are_told_without_showing_them(drimbox: Drimbox, new_bucket: NewBucket, flags: list[str]) -> None:
    """Which file is wrong is said; neither key is in any output."""
    bucket = new_bucket("plain")
    configure_bucket(bucket, secret_key="hush-hush")
    result = drimbox("cold", "check", *flags)
    assert result.exit_code == 34
    assert "the access key or its secret is wrong" in result.stdout
    assert "hush-hush" not in result.output
    assert "hush-hush" not in drimbox("config", "check", *flags).output


def test_a_missing_bucket_is_told(drimbox: Drimbox, new_bucket: NewBucket) -> None:
    """A bucket that is not there has to be made."""
    configure_bucket(replace(new_bucket("plain"), bucket="nowhere"))
    result = drimbox("cold", "check")
    assert result.exit_code == 34
    assert "make the bucket" in result.stdout


def policy(bucket: str, *, without: str = "") -> str:
    """Return the policy that docs/cold.md shows, for another account of Ceph's and a bucket of this name."""
    text = (ROOT / "docs/cold.md").read_text(encoding="utf-8")
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.S)[0].replace("drimbox-cold", bucket))
    for statement in shown["Statement"]:
        statement["Principal"] = {"AWS": ["arn:aws:iam:::user/archive"]}
        statement["Action"] = [action for action in statement["Action"] if action != without]
    return json.dumps(shown)


@pytest.fixture(scope="session")
def account(ceph: Ceph) -> tuple[str, str]:
    """Lend the keys of an account that owns nothing."""
    keys = ("archive-access", "archive-secret")
    ceph.administer("user", "create", "--uid", "archive", "--display-name", "a", *_options(*keys))
    return keys


def _options(access_key: str, secret_key: str) -> tuple[str, ...]:
    return "--access-key", access_key, "--secret-key", secret_key


@pytest.mark.parametrize(
    ("without", "missing"),
    [("", []), ("s3:DeleteObjectVersion", ["conditional put", "deletion"]), ("s3:PutObject", ["put"])],
)
def test_the_policy_shown_is_enough(
    drimbox: Drimbox,
    ceph: Ceph,
    new_bucket: NewBucket,
    account: tuple[str, str],
    without: str,
    missing: list[str],
) -> None:
    """An account with the policy of the manual passes the whole check; with less of it the check says what fails."""
    bucket = new_bucket("locked")
    ceph.client().put_bucket_policy(Bucket=bucket.bucket, Policy=policy(bucket.bucket, without=without))
    configure_bucket(replace(bucket, access_key=account[0], secret_key=account[1]), "object_lock = true\n")
    result = drimbox("cold", "check", "--json")
    assert json.loads(result.stdout)["missing"] == missing
    assert result.exit_code == (34 if missing else 0)
    assert bool(versions(open_bucket(bucket))) is ("deletion" in missing)


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_ring_is_made_for_its_owner_alone(drimbox: Drimbox) -> None:
    """One key, named by the day or as asked, in a file that nobody else reads, and is never shown."""
    result = drimbox("cold", "new-key-ring", "ring.json", "--key-id", "first")
    assert result.exit_code == 0
    ring = KeyRing.load(Path("ring.json"))
    assert (ring.active, list(ring.keys)) == ("first", ["first"])
    assert stat.S_IMODE(Path("ring.json").stat().st_mode) == 0o600
    assert json.loads(Path("ring.json").read_text())["keys"]["first"] not in result.output
    assert drimbox("cold", "new-key-ring", "other.json").exit_code == 0
    assert KeyRing.load(Path("other.json")).active[:2] == "20"


def test_a_key_ring_is_never_replaced(drimbox: Drimbox) -> None:
    """A ring that is there stays: what it encrypted would be lost."""
    drimbox("cold", "new-key-ring", "ring.json", "--key-id", "first")
    before = Path("ring.json").read_bytes()
    result = drimbox("cold", "new-key-ring", "ring.json", "--key-id", "second")
    assert result.exit_code == 2
    assert "rotate-key" in result.stderr
    assert drimbox("cold", "new-key-ring", "nowhere/ring.json").exit_code == 2
    assert Path("ring.json").read_bytes() == before


def test_a_rotation_keeps_every_key_and_the_owner(drimbox: Drimbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key is active, the old one stays; a ring made by root for the archive's account stays that account's."""
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _handle, user, group: owners.append((user, group)))
    drimbox("cold", "new-key-ring", "ring.json", "--key-id", "first")
    first = KeyRing.load(Path("ring.json")).keys["first"]
    assert drimbox("cold", "rotate-key", "ring.json", "--key-id", "second").exit_code == 0
    ring = KeyRing.load(Path("ring.json"))
    assert (ring.active, sorted(ring.keys), ring.keys["first"]) == ("second", ["first", "second"], first)
    assert owners == [(Path("ring.json").stat().st_uid, Path("ring.json").stat().st_gid)]


def test_a_name_is_used_once(drimbox: Drimbox) -> None:
    """A second key of the same name is refused, and the ring stays as it is."""
    drimbox("cold", "new-key-ring", "ring.json", "--key-id", "first")
    before = Path("ring.json").read_bytes()
    result = drimbox("cold", "rotate-key", "ring.json", "--key-id", "first")
    assert result.exit_code == 34
    assert "has a key first already" in result.stderr
    assert Path("ring.json").read_bytes() == before


def test_what_was_put_before_a_rotation_passes_after_it(drimbox: Drimbox) -> None:
    """A store in a folder goes on with the new key."""
    configure('store = "folder"\nfolder = "cold"\nkey_ring = "ring.json"\n')
    drimbox("cold", "new-key-ring", "ring.json", "--key-id", "first")
    drimbox("cold", "create")
    assert drimbox("cold", "check").exit_code == 0
    drimbox("cold", "rotate-key", "ring.json", "--key-id", "second")
    assert drimbox("cold", "check").exit_code == 0
    Path("ring.json").chmod(0o640)
    result = drimbox("cold", "check")
    assert (result.exit_code, "chmod 600" in result.stdout) == (34, True)
