"""Certificates: signed in one form, and proven without an archive."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from archive.errors import CertificateInvalid, ConfigError
from archive.services.certificates import Signer, key_of, verify
from tiering.disk import OsDisk

BODY: dict[str, Any] = {"list_id": "D-2026-0001", "site": {"name": "Hôpital"}, "studies": [{"sop": "1.2.3"}]}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """Lend the key of an archive."""
    return Signer(OsDisk(), tmp_path / "keys" / "key.pem")


def test_what_was_signed_is_proven(signer: Signer) -> None:
    """A certificate gives its body back, proven by the archive's public key; signing again gives the same bytes."""
    data = signer.sign(BODY)
    assert verify(data) == BODY
    assert verify(data, public_key=signer.public_key().upper() + "\n") == BODY
    assert (signer.sign(BODY), key_of(data)) == (data, signer.public_key())


def test_the_key_is_its_owners_alone(signer: Signer) -> None:
    """The key file is made once, readable by its owner only, in a folder of its owner."""
    public = signer.public_key()
    assert stat.S_IMODE(signer.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(signer.path.parent.stat().st_mode) == 0o700
    assert Signer(OsDisk(), signer.path).public_key() == public


CERTIFICATE = b""


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_one_other_byte_proves_nothing(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whichever byte is changed, added or taken away, white space too, the certificate is refused."""
    global CERTIFICATE  # noqa: PLW0603  one key for all examples
    if not CERTIFICATE:
        CERTIFICATE = Signer(OsDisk(), tmp_path_factory.mktemp("keys") / "key.pem").sign(BODY)
    at = data.draw(st.integers(0, len(CERTIFICATE) - 1))
    how = data.draw(st.sampled_from(("change", "add", "drop")))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != CERTIFICATE[at]))
    kept = CERTIFICATE[at:] if how == "add" else CERTIFICATE[at + 1 :]
    altered = CERTIFICATE[:at] + (b"" if how == "drop" else bytes([byte])) + kept
    if altered == CERTIFICATE:
        return
    with pytest.raises(CertificateInvalid):
        verify(altered)


@pytest.mark.parametrize("field", ["public_key", "signature"])
def test_a_capital_digit_is_another_byte(signer: Signer, field: str) -> None:
    """Hexadecimal digits have one form: the same number in capitals was changed since."""
    document = json.loads(signer.sign(BODY))
    document[field] = document[field].upper()
    with pytest.raises(CertificateInvalid, match="something in it was changed"):
        verify((json.dumps(document, sort_keys=True, indent=1) + "\n").encode())


def test_another_key_does_not_do(signer: Signer, tmp_path: Path) -> None:
    """A certificate signed with another key is sound in itself, and refused by whoever knows the archive's."""
    other = Signer(OsDisk(), tmp_path / "other" / "key.pem")
    forged = other.sign(BODY)
    assert verify(forged) == BODY
    with pytest.raises(CertificateInvalid, match="another key"):
        verify(forged, public_key=signer.public_key())
    document = json.loads(forged) | {"public_key": signer.public_key()}
    with pytest.raises(CertificateInvalid, match="signature"):
        verify((json.dumps(document, sort_keys=True, indent=1) + "\n").encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b'{"format": 1}'])
def test_what_is_no_certificate_is_told_so(data: bytes) -> None:
    """Any other file is a clear refusal, not a bug."""
    with pytest.raises(CertificateInvalid, match="no destruction certificate"):
        verify(data)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_broken_key_file_is_told_and_kept(signer: Signer, content: bytes) -> None:
    """A key file that is none stops the signing and is not replaced: the old certificates need its key."""
    signer.path.parent.mkdir()
    signer.path.write_bytes(content)
    with pytest.raises(ConfigError, match="restore it from the backup"):
        signer.sign(BODY)
    assert signer.path.read_bytes() == content
