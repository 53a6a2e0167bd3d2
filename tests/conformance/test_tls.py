"""DICOM over TLS with DCMTK as the peer: profiles, client certificates, and peers bound to theirs."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.archive_process import ArchiveProcess, running_archive
from tests.authority import Authority
from tests.dcmtk import run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """One authority a test."""
    return Authority(tmp_path / "pki")


def _config(authority: Authority, *, client: str, profile: str = "bcp195", peers: str = "") -> str:
    certificate, key, _ = authority.issue("archive")
    return f"""
[dicom.tls]
port = 0
certificate = "{certificate}"
key = "{key}"
ca = "{authority.ca}"
client_certificate = "{client}"
profile = "{profile}"
{peers}
"""


def _echo(archive: ArchiveProcess, *options: str | Path, calling: str = "ECHOSCU") -> int:
    arguments = [*options, "-aet", calling, "-aec", archive.ae_title, archive.host, str(archive.tls_port)]
    return run("echoscu", *arguments).returncode


def test_an_anonymous_client_is_served_over_tls(tmp_path: Path, authority: Authority) -> None:
    """DCMTK without a certificate verifies ours and gets its echo; the plain port still works beside it."""
    with running_archive(tmp_path / "home", config=_config(authority, client="none")) as archive:
        assert archive.tls_port not in (0, archive.port)
        assert _echo(archive, "+tla", "+cf", authority.ca) == 0
        plain = run("echoscu", "-aec", archive.ae_title, archive.host, str(archive.port))
        assert plain.returncode == 0


def test_a_client_without_a_certificate_is_refused_where_one_is_required(tmp_path: Path, authority: Authority) -> None:
    """Required means required: our authority's certificate gets in, none or a stranger's does not."""
    ours = authority.issue("scanner")
    stranger = Authority(tmp_path / "stranger").issue("scanner")
    with running_archive(tmp_path / "home", config=_config(authority, client="required")) as archive:
        assert _echo(archive, "+tls", ours[1], ours[0], "+cf", authority.ca) == 0
        assert _echo(archive, "+tla", "+cf", authority.ca) != 0
        assert _echo(archive, "+tls", stranger[1], stranger[0], "+cf", authority.ca) != 0


def test_a_peer_is_bound_to_its_certificate(tmp_path: Path, authority: Authority) -> None:
    """An AE title bound to a fingerprint is let in with that certificate alone."""
    right, wrong = authority.issue("right"), authority.issue("wrong")
    peers = f"""
[[dicom.peers]]
ae_title = "SCANNER"
certificate_sha256 = "{right[2]}"
"""
    config = _config(authority, client="required", peers=peers)
    with running_archive(tmp_path / "home", config=config) as archive:
        assert _echo(archive, "+tls", right[1], right[0], "+cf", authority.ca, calling="SCANNER") == 0
        assert _echo(archive, "+tls", wrong[1], wrong[0], "+cf", authority.ca, calling="SCANNER") != 0


@pytest.mark.parametrize("profile", ["bcp195", "extended"])
def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path, authority: Authority, profile: str) -> None:
    """TLS 1.2 with an AEAD suite is accepted, CBC suites are not, whatever the profile (PS3.15 B.9, B.11)."""
    import socket

    config = _config(authority, client="none", profile=profile)
    with running_archive(tmp_path / "home", config=config) as archive:
        for ciphers, accepted in (("ECDHE-ECDSA-AES128-GCM-SHA256", True), ("ECDHE-ECDSA-AES128-SHA256", False)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(authority.ca)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
            with socket.create_connection((archive.host, archive.tls_port)) as raw:
                try:
                    context.wrap_socket(raw).close()
                    done = True
                except (ssl.SSLError, ConnectionError):
                    done = False
            assert done is accepted


def test_plain_dicom_on_the_tls_port_is_cut_off(tmp_path: Path, authority: Authority) -> None:
    """A peer that does not speak TLS gets nowhere, and the next one is served."""
    with running_archive(tmp_path / "home", config=_config(authority, client="none")) as archive:
        assert run("echoscu", "-aec", "DRIMBOX", archive.host, str(archive.tls_port)).returncode != 0
        assert _echo(archive, "+tla", "+cf", authority.ca) == 0
