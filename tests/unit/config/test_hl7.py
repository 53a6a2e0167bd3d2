"""Settings of the HL7 feed: off by default, limits, TLS, and which site a message belongs to."""

from __future__ import annotations

import pytest

from archive.config import Settings
from tests.unit.config.samples import EVERY_SETTING, Load, named, reason, refusal


def test_it_is_off_by_default(load: Load) -> None:
    """Without a port there is no HL7 listener, and a port alone listens on this machine only."""
    assert Settings().hl7.port is None
    assert load("[hl7]\nport = 0").hl7.host == "127.0.0.1"


def test_every_setting(load: Load) -> None:
    """Each setting of the section has the value that was given."""
    hl7 = load(EVERY_SETTING).hl7
    assert (hl7.host, hl7.port, hl7.max_message_kib, hl7.max_connections) == ("::1", 2575, 64, 4)
    assert (hl7.message_seconds, hl7.idle_seconds, [str(each) for each in hl7.addresses]) == (2, 60, ["10.2.0.0/16"])


def test_port_from_the_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port can be given as a variable."""
    monkeypatch.setenv("DRIMBOX_HL7__PORT", "2575")
    assert load("").hl7.port == 2575


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[hl7]\nport = 70000", "hl7.port"),
        ("[hl7]\nmax_message_kib = 1", "hl7.max_message_kib"),
        ("[hl7]\nidle_seconds = 0", "hl7.idle_seconds"),
        ('[hl7]\naddresses = ["nowhere"]', "hl7.addresses.0"),
        ("[hl7]\nprot = 1", "hl7.prot"),
        ("[hl7]\ntls = true", "hl7"),
    ],
)
def test_wrong_values_are_named(load: Load, text: str, name: str) -> None:
    """A wrong value, an unknown key, and TLS without certificates are refused under their names."""
    assert named(refusal(load, text)) == name


def test_tls_says_what_it_needs(load: Load) -> None:
    """TLS needs the files of [dicom.tls]."""
    assert "[dicom.tls]" in reason(refusal(load, "[hl7]\ntls = true"))


@pytest.mark.parametrize(
    ("names", "site"),
    [
        ([("GAM", "CHU-X")], "CHU"),
        ([("GAM", "HOP-Y")], "CHU"),
        ([("DPI", "HOP-Y")], "Clinique Sainte-Anne"),
        ([("DPI", "HOP-Y"), ("DRIMBOX", "CHU-X")], "CHU"),
        ([], "Clinique Sainte-Anne"),
    ],
)
def test_the_site_of_a_message(load: Load, names: list[tuple[str, str]], site: str) -> None:
    """Facility, or application and facility; the sender before the receiver; nobody's are the default site's."""
    assert load(EVERY_SETTING).site_of_feed(names).name == site


def test_a_facility_belongs_to_one_site(load: Load) -> None:
    """The same facility at two sites is refused."""
    text = '[[sites]]\nname = "A"\nhl7_facilities = ["X"]\n[[sites]]\nname = "B"\nhl7_facilities = ["X"]\n'
    assert "'X' is given twice" in reason(refusal(load, f'default_site = "A"\n{text}'))
