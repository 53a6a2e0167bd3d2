"""A configuration that gives every setting, and how tests look at refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from archive.config import Settings
from archive.errors import ConfigError

Load = Callable[..., Settings]

EVERY_SETTING = """
default_site = "Clinique Sainte-Anne"

[dicom]
host = "0.0.0.0"
port = 104
ae_title = "PACS"
extra_ae_titles = ["PACS_OLD"]
check_called_ae_title = false
accept_unknown_peers = false
accept_private_sop_classes = false
max_pdu_bytes = 131072
max_associations = 64
max_associations_per_peer = 8
artim_seconds = 2.5
idle_seconds = 60
pdu_seconds = 5
find_limit = 500

[[dicom.peers]]
ae_title = "CONSOLE"
host = "console.example"
port = 4242
addresses = ["10.1.0.0/16", "192.168.7.4"]
certificate_sha256 = "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99"
tls = true
commitment_same_association = false

[hl7]
host = "::1"
port = 2575
addresses = ["10.2.0.0/16"]
max_message_kib = 64
max_connections = 4
message_seconds = 2
idle_seconds = 60

[storage]
hot = "fast"
quarantine = "/srv/quarantine"
min_free_mib = 1024
direct_io = false

[sealing]
enabled = true
quiet_minutes = 30
grace_hours = 48
codec = "none"

[disposal]
waiting_days = 60

[cold]
store = "s3"
folder = "cold"
endpoint_url = "https://s3.example:7480"
region = "fr-1"
bucket = "drimbox-cold"
prefix = "chu/"
credentials = "keys/s3.toml"
ca_file = "tls/s3.pem"
path_style = false
storage_class = "STANDARD_IA"
encryption = "aws:kms"
kms_key = "hunter2"
key_ring = "keys/ring.json"
object_lock = true
part_mib = 32
transfers = 2
bandwidth_mib = 40.5
attempts = 3

[recall]
cache_gib = 2.5
threads = 4
wait_seconds = 5
thaw_days = 3
prefetch_priors = 2
prefetch_same_modality = false

[migration]
enabled = true
grace_days = 90
window = "20:00-06:00"
weekdays = ["sat", "sun"]
time_zone = "Europe/Brussels"
cpu_share = 25
attempts = 2
concurrency = 1
extra_days = 365
min_study_mib = 1.5
never_modalities = ["MG"]
held = "cold_lossless"
prices = { hot = 0.1, folder = 0.02 }
workflows_url = "postgresql://archive:hunter2@db.example:5432/workflows"

[[migration.rules]]
site = "CHU"
modalities = ["XA", "RF"]
extra_days = 730
never = true
lossless = true

[lossy]
enabled = true
table = "car"
keep_uids = true
never_modalities = ["US"]
never_body_parts = ["HEAD"]
never_image_types = ["LOCALIZER"]
caps = { CT = 6.0 }
threads = 2

[certificates]
files = ["tls/other.pem", "/etc/pki/site"]
endpoints = ["ris.example:443", "[2001:db8::1]:2762"]
warn_days = [15, 90, 30]
check_hours = 1
timeout_seconds = 3

[notify]
language = "en"

[notify.mail]
host = "mail.example"
port = 465
security = "tls"
user = "drimbox"
password_file = "keys/mail"
ca_file = "tls/mail.pem"
sender = "drimbox@chu.example"
recipients = ["pacs@chu.example", "night@chu.example"]

[notify.webhook]
url = "https://hooks.example/drimbox"
token_file = "keys/hook"
ca_file = "tls/hooks.pem"

[arrivals]
drop_percent = 25
weeks = 6
min_expected = 10
time_zone = "Europe/Brussels"

[probe]
every_minutes = 30
tiers = ["hot"]

[tracing]
endpoint = "http://collector.example:4318"
percent = 12.5

[index]
url = "postgresql://archive:hunter2@db.example:5432/archive"

[log]
level = "debug"
format = "console"

[[sites]]
name = "CHU"
finess = "970000006"
calling_ae_titles = ["CT1", "MR1"]
hl7_facilities = ["CHU-X", "GAM|HOP-Y"]
ipp_authorities = ["CHU-X"]
retention_years = 30
reading = "statute"

[[sites]]
name = "Clinique Sainte-Anne"
kind = "private_clinic"

[[sites]]
name = "Cabinet Nord"
regime = "private"
kind = "practice"
calling_ae_titles = ["US1"]
"""


def refusal(load: Load, text: str = "", **overrides: object) -> ConfigError:
    """Return the error that loading ``text`` raises."""
    with pytest.raises(ConfigError) as caught:
        load(text, **overrides)
    return caught.value


def named(error: ConfigError) -> str:
    """Return the name of the setting an error is about."""
    return str(error.fields["name"])


def reason(error: ConfigError) -> str:
    """Return what an error says is wrong."""
    return str(error.fields["reason"])
