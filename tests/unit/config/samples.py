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
