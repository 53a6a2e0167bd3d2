"""The settings of the cold tier: off by default, refused when not complete, no secret in what is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.config.samples import EVERY_SETTING, Load, named, reason, refusal

S3 = '[cold]\nstore = "s3"\nendpoint_url = "https://s3.example"\nbucket = "cold"\ncredentials = "s3.toml"\n'


def test_there_is_no_cold_tier_by_default(load: Load) -> None:
    """Nothing goes cold, nothing is made lossy, nothing is fetched, unless it is asked for."""
    settings = load("")
    assert not settings.cold.is_there
    assert not settings.migration.enabled
    assert not settings.lossy.enabled
    assert settings.recall.prefetch_priors == 0


def test_files_of_the_cold_tier_lie_in_the_home(load: Load, tmp_path: Path) -> None:
    """Relative paths start at the home, like all others."""
    settings = load(S3 + 'key_ring = "keys/ring.json"\nca_file = "/etc/ca.pem"\n', home=tmp_path)
    assert settings.cold.credentials == tmp_path / "s3.toml"
    assert settings.cold.key_ring == tmp_path / "keys" / "ring.json"
    assert settings.cold.ca_file == Path("/etc/ca.pem")
    assert load('[cold]\nstore = "folder"\nfolder = "cold"\n', home=tmp_path).cold.folder == tmp_path / "cold"
    assert (settings.cache_folder, settings.scratch_folder) == (tmp_path / "cache", tmp_path / "scratch")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[cold]\nstore = "folder"\n', "folder is needed"),
        ('[cold]\nstore = "s3"\n', "endpoint_url is needed"),
        (S3.replace('bucket = "cold"\n', ""), "bucket is needed"),
        (S3.replace('credentials = "s3.toml"\n', ""), "credentials is needed"),
        ('[cold]\nstore = "folder"\nfolder = "c"\nobject_lock = true\n', "store is not s3"),
        (S3 + 'encryption = "aws:kms"\n', "kms_key is needed"),
    ],
)
def test_what_is_not_complete_is_refused(load: Load, text: str, why: str) -> None:
    """The setting that is missing is named."""
    assert why in reason(refusal(load, text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (S3.replace("https://s3.example", "s3.example"), "cold.endpoint_url"),
        ('[cold]\nstore = "tape"\n', "cold.store"),
        ("[cold]\npart_mib = 1\n", "cold.part_mib"),
        ("[cold]\nbandwidth_mib = -1\n", "cold.bandwidth_mib"),
        ("[cold]\nsecret_key = 'x'\n", "cold.secret_key"),
        ("[recall]\nthreads = 0\n", "recall.threads"),
        ("[recall]\ncache_gib = -1\n", "recall.cache_gib"),
        ("[migration]\ngrace_days = 0\n", "migration.grace_days"),
        ("[migration]\ncpu_share = 0\n", "migration.cpu_share"),
        ("[migration]\ncpu_share = 101\n", "migration.cpu_share"),
        ('[migration]\nwindow = "20-6"\n', "migration.window"),
        ('[migration]\nnever_modalities = ["mg"]\n', "migration.never_modalities.1"),
        ("[migration]\nprices = { hot = -1 }\n", "migration.prices.hot"),
        ('[lossy]\ntable = "mine"\n', "lossy.table"),
        ("[lossy]\ncaps = { CT = 1.0 }\n", "lossy.caps.CT"),
        ("[lossy]\nthreads = 0\n", "lossy.threads"),
    ],
)
def test_a_value_that_cannot_be_is_refused(load: Load, text: str, name: str) -> None:
    """The setting is named, with its section."""
    assert named(refusal(load, text)).startswith(name.rpartition(".")[0] if name[-1].isdigit() else name)


def test_a_time_zone_that_does_not_exist_is_refused(load: Load) -> None:
    """A window in a zone that nobody knows would never open, or always."""
    error = refusal(load, '[migration]\nwindow = "20:00-06:00"\ntime_zone = "Europe/Atlantis"\n')
    assert "no time zone 'Europe/Atlantis'" in reason(error)


def test_no_secret_of_the_cold_tier_is_shown(load: Load) -> None:
    """Neither the key of the store's encryption nor the password of the workflows' database."""
    shown = json.dumps(load(EVERY_SETTING).masked())
    assert "drimbox-cold" in shown
    assert "hunter2" not in shown


def test_workflows_lie_beside_the_index_unless_told(load: Load, tmp_path: Path) -> None:
    """SQLite in the home, or the database that is named."""
    assert load("", home=tmp_path).workflows_url == f"sqlite:///{tmp_path}/workflows.db"
    assert load('[migration]\nworkflows_url = "postgresql://db/w"\n').workflows_url == "postgresql://db/w"


@pytest.mark.parametrize(
    "url", ["https://key:hush@s3.example", "https://hush@s3.example", "http://hush:@127.0.0.1:7480"]
)
def test_an_endpoint_holds_no_secret(load: Load, url: str) -> None:
    """A password in the address would be shown with it: it is refused, and not quoted."""
    error = refusal(load, S3.replace("https://s3.example", url))
    assert named(error) == "cold.endpoint_url"
    assert "cold.credentials" in reason(error)
    assert "hush" not in error.message


@pytest.mark.parametrize("prefix", ["chu", "/chu/", "../x/", "a b/", "chu//"])
def test_a_prefix_is_a_folder(load: Load, prefix: str) -> None:
    """It ends with a slash, or it would be that of others too."""
    assert named(refusal(load, S3 + f'prefix = "{prefix}"\n')) == "cold.prefix"


@pytest.mark.parametrize(
    ("url", "more", "is_warned"),
    [
        ("http://s3.example:7480", "", True),
        ("https://s3.example", "", False),
        ("http://127.0.0.1:7480", "", False),
        ("http://[::1]:7480", "", False),
        ("http://s3.example:7480", 'key_ring = "ring.json"\n', False),
    ],
)
def test_images_in_the_clear_are_warned_of(load: Load, url: str, more: str, is_warned: bool) -> None:
    """Over a network, without TLS and without a key ring, whoever listens sees patients' images."""
    warnings = load(S3.replace("https://s3.example", url) + more).warnings
    assert any("in the clear" in warning for warning in warnings) is is_warned
