"""Settings: what they may be, and in which words the others are refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from pydantic import ValidationError

from archive.config import (
    DicomSettings,
    PeerSettings,
    Settings,
    StorageSettings,
)
from tests.unit.config.samples import EVERY_SETTING, Load, named, reason, refusal


class TestRefusals:
    """Wrong values, each with the setting's name and what to do."""

    @pytest.mark.parametrize(
        ("text", "name", "words"),
        [
            ("prot = 1", "prot", "there is no such setting"),
            ("[dicom]\nprot = 1", "dicom.prot", "did you mean port?"),
            ("[dicom.tls]\ncertificat = 'x'", "dicom.tls.certificat", "did you mean certificate?"),
            ("[[dicom.peers]]\nae_title='A'\nadress=['x']", "dicom.peers.0.adress", "did you mean addresses?"),
            ("[[sites]]\nname='A'\nregimes='x'", "sites.0.regimes", "did you mean regime?"),
            ("[dicom]\nport = 65536", "dicom.port", "65535"),
            ("[dicom]\nport = -1", "dicom.port", "greater than or equal to 0"),
            ("[dicom]\nport = 'x'", "dicom.port", "integer"),
            ("[dicom]\nhost = ''", "dicom.host", "at least 1 character"),
            ("[dicom]\nae_title = 'SEVENTEEN_LETTERS'", "dicom.ae_title", "not an AE title"),
            ("[dicom]\nextra_ae_titles = ['A\\B']", "dicom.extra_ae_titles.0", "not an AE title"),
            ("[dicom]\nmax_pdu_bytes = 100", "dicom.max_pdu_bytes", "4096"),
            ("[dicom]\nmax_associations = 0", "dicom.max_associations", "greater than or equal to 1"),
            ("[dicom]\nidle_seconds = 0", "dicom.idle_seconds", "greater than 0"),
            ("[dicom]\nidle_seconds = inf", "dicom.idle_seconds", "finite"),
            ("[dicom]\nfind_limit = 0", "dicom.find_limit", "greater than or equal to 1"),
            ("[storage]\nmin_free_mib = -5", "storage.min_free_mib", "greater than or equal to 0"),
            ("[index]\nurl = 'mysql://h/db'", "index.url", "sqlite:///PATH or postgresql://"),
            ("[index]\nurl = 'postgresql://h'", "index.url", "postgresql://USER"),
            ("[index]\nurl = 'sqlite:///'", "index.url", "sqlite:///PATH"),
            ("[log]\nlevel = 'loud'", "log.level", "'debug', 'info', 'warning' or 'error'"),
            ("[log]\nformat = 'xml'", "log.format", "'json' or 'console'"),
            ("dicom = 3", "dicom", "valid dictionary"),
            ("home = 3", "home", "path"),
        ],
    )
    def test_wrong_setting_is_named(self, load: Load, text: str, name: str, words: str) -> None:
        """A wrong or unknown setting is refused under its dotted name, in words that help."""
        overrides = {"home": None} if name == "home" else {}
        error = refusal(load, text, **overrides)
        assert named(error) == name
        assert words in reason(error)
        assert error.exit_code == 11

    def test_all_wrong_settings_are_told_at_once(self, load: Load) -> None:
        """One message tells every wrong setting, so that an operator corrects the file once."""
        message = refusal(load, "[dicom]\nport = -1\nprot = 2\n[log]\nlevel = 'x'\n").message
        assert message.startswith("Setting dicom.port is wrong: ")
        assert "; dicom.prot: " in message and "; log.level: " in message
        assert message.endswith(". Correct it in drimbox.toml or the environment.")

    def test_settings_cannot_be_changed(self, load: Load) -> None:
        """Settings, and every section of them, are frozen."""
        settings = load("")
        with pytest.raises(ValidationError):
            settings.home = Path("/")  # type: ignore[misc]
        with pytest.raises(ValidationError):
            settings.dicom.port = 1  # type: ignore[misc]


class TestPeers:
    """[[dicom.peers]]."""

    def test_unknown_peer_is_none(self, load: Load) -> None:
        """An AE title that is not listed is nobody we know, and titles match in case."""
        settings = load(EVERY_SETTING)
        assert settings.find_peer("NOBODY") is None
        assert settings.find_peer("console") is None

    def test_peer_without_port_is_no_destination(self) -> None:
        """A peer that only calls in has neither host nor port."""
        assert not PeerSettings(ae_title="CT1").is_destination

    @pytest.mark.parametrize("half", ["host = 'h'", "port = 104"])
    def test_half_an_address_is_refused(self, load: Load, half: str) -> None:
        """A host without a port, or a port without a host, is a mistake."""
        error = refusal(load, f"[[dicom.peers]]\nae_title = 'A'\n{half}\n")
        assert named(error) == "dicom.peers.0" and "host and port go together" in reason(error)

    def test_port_zero_is_no_destination_port(self, load: Load) -> None:
        """A destination cannot listen on port 0."""
        assert named(refusal(load, "[[dicom.peers]]\nae_title='A'\nhost='h'\nport=0\n")) == "dicom.peers.0.port"

    def test_same_peer_twice_is_refused(self, load: Load) -> None:
        """Two entries of one AE title, padding apart, would leave open which one holds."""
        error = refusal(load, "[[dicom.peers]]\nae_title='A'\n[[dicom.peers]]\nae_title='A '\n")
        assert named(error) == "dicom.peers" and "'A' is given twice" in reason(error)

    @pytest.mark.parametrize("address", ["10.0.0.1/8", "300.1.1.1", "host.example", "10.0.0.0/33"])
    def test_what_is_no_network_is_refused(self, load: Load, address: str) -> None:
        """Names, impossible addresses and blocks with host bits are refused with an example of what is right."""
        error = refusal(load, f"[[dicom.peers]]\nae_title='A'\naddresses=['{address}']\n")
        assert named(error) == "dicom.peers.0.addresses.0"
        assert f"{address} is not an address or a CIDR block such as 10.1.0.0/16" in reason(error)

    def test_ipv6_block_is_a_network(self) -> None:
        """IPv6 blocks are taken."""
        peer = PeerSettings.model_validate({"ae_title": "A", "addresses": ["fd00::/8"]})
        assert ipaddress.ip_address("fd12::1") in peer.addresses[0]

    @pytest.mark.parametrize("fingerprint", ["", "abc", "g" * 64, "a" * 63])
    def test_wrong_fingerprint_is_refused(self, load: Load, fingerprint: str) -> None:
        """A fingerprint is 64 hexadecimal digits."""
        error = refusal(load, f"[[dicom.peers]]\nae_title='A'\ncertificate_sha256='{fingerprint}'\n")
        assert "64 hexadecimal digits" in reason(error)


class TestTls:
    """[dicom.tls]."""

    def write(self, tmp_path: Path, *names: str) -> None:
        """Make empty files in the home."""
        (tmp_path / "home").mkdir(exist_ok=True)
        for name in names:
            (tmp_path / "home" / name).touch()

    def test_listener_with_its_files(self, load: Load, tmp_path: Path) -> None:
        """With a port, certificate and key are found in the home and given as absolute paths."""
        self.write(tmp_path, "a.crt", "a.key")
        tls = load("[dicom.tls]\nport=2762\ncertificate='a.crt'\nkey='a.key'\n").dicom.tls
        assert (tls.certificate, tls.key) == (tmp_path / "home" / "a.crt", tmp_path / "home" / "a.key")
        assert tls.profile == "bcp195" and tls.client_certificate == "none"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("key='a.key'", "certificate is needed when port is set"),
            ("certificate='a.crt'", "key is needed when port is set"),
            ("certificate='gone.crt'\nkey='a.key'", "certificate: there is no file"),
            ("certificate='a.crt'\nkey='a.key'\nclient_certificate='required'", "ca is needed"),
            ("certificate='a.crt'\nkey='a.key'\nclient_certificate='optional'\nca='gone'", "ca: there is no file"),
        ],
    )
    def test_missing_file_is_told_at_start(self, load: Load, tmp_path: Path, text: str, words: str) -> None:
        """A file the listener needs and that is not there is found when settings are read, not at the first call."""
        self.write(tmp_path, "a.crt", "a.key")
        error = refusal(load, f"[dicom.tls]\nport=2762\n{text}\n")
        assert named(error) == "dicom.tls" and words in reason(error)

    def test_files_do_not_matter_while_it_is_off(self, load: Load) -> None:
        """Without a port there is no second listener and nothing is looked for."""
        assert load("[dicom.tls]\ncertificate='gone.crt'\n").dicom.tls.port is None

    def test_unknown_profile_is_refused(self, load: Load) -> None:
        """Only the profiles of PS3.15 that we hold can be named."""
        assert named(refusal(load, "[dicom.tls]\nprofile='none'\n")) == "dicom.tls.profile"


def test_sections_given_as_objects_are_kept(tmp_path: Path) -> None:
    """Settings made in code from section objects are those objects."""
    dicom = DicomSettings(port=0, artim_seconds=0.2)
    settings = Settings(home=tmp_path, dicom=dicom, storage=StorageSettings(min_free_mib=0))
    assert settings.dicom == dicom
    assert settings.storage.min_free_mib == 0 and settings.hot_folder == tmp_path / "hot"
