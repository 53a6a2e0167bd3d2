"""Certificates read from files of every kind, and their chains."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, strategies as st

from archive.monitoring.x509 import look_at_file
from archive.services.tls_certificates import Place, Seen
from tests.pki import FAR_AWAY, Issued, issue

ROOT = issue("Root", is_authority=True)
MIDDLE = issue("Middle", ROOT, is_authority=True)
LEAF = issue("pacs.example", MIDDLE)


def written(path: Path, *parts: Issued | bytes) -> Path:
    """Write certificates and other things into one file."""
    path.write_bytes(b"".join(part if isinstance(part, bytes) else part.pem for part in parts))
    return path


def look(path: Path, *authorities: Path) -> list[Seen]:
    """Look at a file."""
    return list(look_at_file(Place("test", path, authorities=authorities)))


def test_a_certificate_says_what_it_is(tmp_path: Path) -> None:
    """Names, days, fingerprint, role."""
    (seen,) = look(written(tmp_path / "a.pem", LEAF))
    assert seen.certificate is not None
    assert (seen.certificate.subject, seen.certificate.issuer) == ("CN=pacs.example", "CN=Middle")
    assert (seen.certificate.not_after, seen.certificate.role) == (FAR_AWAY, "server")
    assert len(seen.certificate.sha256) == 64


def test_every_certificate_of_a_file_is_looked_at(tmp_path: Path) -> None:
    """An intermediate that ends before the others stops a site just as well; keys and text between do not matter."""
    path = written(tmp_path / "a.pem", b"# chain\n", LEAF, LEAF.key_pem, MIDDLE, ROOT)
    assert [seen.certificate and seen.certificate.role for seen in look(path)] == [
        "server",
        "intermediate",
        "authority",
    ]


@pytest.mark.parametrize(
    ("parts", "known", "chain"),
    [
        ((LEAF,), (), "incomplete"),
        ((LEAF,), (ROOT,), "incomplete"),
        ((LEAF, MIDDLE), (), "incomplete"),
        ((LEAF, MIDDLE), (ROOT,), "complete"),
        ((LEAF, ROOT, MIDDLE), (), "complete"),
        ((LEAF,), (MIDDLE,), "complete"),
        ((ROOT,), (), "self-signed"),
        ((LEAF, issue("Middle", is_authority=True)), (), "incomplete"),
    ],
)
def test_a_chain_is_followed_to_an_authority(
    tmp_path: Path, parts: tuple[Issued, ...], known: tuple[Issued, ...], chain: str
) -> None:
    """Through what lies beside it, in any order, by signature and not by name alone."""
    first = look(written(tmp_path / "a.pem", *parts), written(tmp_path / "ca.pem", *known))[0]
    assert first.chain == chain


def test_der_is_read_too(tmp_path: Path) -> None:
    """As Windows writes it."""
    (seen,) = look(written(tmp_path / "a.der", LEAF.der))
    assert seen.certificate is not None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no certificate is in this file"),
        (LEAF.key_pem, "no certificate is in this file"),
        (b"hello", "the certificate in it is malformed"),
        (LEAF.pem[:200], "the certificate in it is malformed"),
        (LEAF.pem.replace(b"MII", b"!!!"), "the certificate in it is malformed"),
        (LEAF.der[:-1], "the certificate in it is malformed"),
        (b"\x30\x82\xff\xff" + bytes(64), "the certificate in it is malformed"),
    ],
)
def test_what_is_no_certificate_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    """And never an exception."""
    (seen,) = look(written(tmp_path / "a.pem", content))
    assert (seen.certificate, seen.problem) == (None, problem)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing file, and authorities that are missing beside one that is there."""
    assert [seen.problem for seen in look(tmp_path / "a.pem")] == ["No such file or directory"]
    (seen,) = look(written(tmp_path / "b.pem", LEAF), tmp_path / "ca.pem")
    assert (seen.problem, seen.chain) == ("", "incomplete")


def test_a_folder_is_looked_through(tmp_path: Path) -> None:
    """Certificates by the names they have; keys beside them are no findings, a broken certificate is one."""
    written(tmp_path / "a.pem", LEAF)
    written(tmp_path / "b.CRT", ROOT)
    written(tmp_path / "key.pem", LEAF.key_pem)
    written(tmp_path / "notes.txt", b"hello")
    written(tmp_path / "c.cer", b"hello")
    found = look(tmp_path)
    assert [(Path(seen.place.name).name, seen.certificate is None) for seen in found] == [
        *(("a.pem", False), ("b.CRT", False), ("c.cer", True)),
    ]


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    """Whoever named it expects something there."""
    assert [seen.problem for seen in look(tmp_path)] == ["no certificate is in this folder"]


@given(st.binary(max_size=400))
def test_any_bytes_are_something_seen(data: bytes) -> None:
    """Whatever lies in a file, there is one finding at least and no exception."""
    with TemporaryDirectory() as folder:
        assert look(written(Path(folder, "a.pem"), data))


@given(st.integers(0, len(LEAF.der) - 1), st.integers(1, 255))
def test_a_damaged_certificate_is_read_or_told(place: int, change: int) -> None:
    """One byte that is another: what it says may be wrong, what the chain says is not."""
    damaged = bytearray(LEAF.der)
    damaged[place] ^= change
    with TemporaryDirectory() as folder:
        ca = written(Path(folder, "ca.pem"), MIDDLE)
        (seen,) = look(written(Path(folder, "a.der"), bytes(damaged)), ca)
    assert seen.chain != "complete"
    assert bool(seen.problem) is (seen.certificate is None)


@given(st.text(min_size=1, max_size=40))
def test_a_name_may_be_anything(name: str) -> None:
    """Other people's certificates call themselves as they like."""
    with suppress(ValueError):
        made = issue(name)
        with TemporaryDirectory() as folder:
            (seen,) = look(written(Path(folder, "a.pem"), made))
        assert seen.certificate is not None and seen.chain == "self-signed"
