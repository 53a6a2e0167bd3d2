"""An archive with its HTTP port open, and clients at four addresses; must not know what is asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from tests.archive_process import ArchiveProcess, running_archive
from tests.objects import part10_bytes

RADIOLOGIST, CABINET, ARCHIVIST, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"
"""Addresses of this machine: a radiologist of every site, one of the site cabinet, who sees no image, nobody."""

SITES = """
default_site = "hopital"
[[sites]]
name = "hopital"
[[sites]]
name = "cabinet"
regime = "private"
kind = "practice"
calling_ae_titles = ["CABINET1"]
"""
CLIENTS = """
[[http.clients]]
name = "poste-1"
addresses = ["127.0.0.1"]
roles = ["radiologist"]
[[http.clients]]
name = "cabinet-1"
addresses = ["127.0.0.2"]
roles = ["radiologist"]
sites = ["cabinet"]
[[http.clients]]
name = "archives"
addresses = ["127.0.0.3"]
roles = ["archivist"]
"""
BOUNDARY = "-=tests=-"
STOW = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


@contextmanager
def web_archive(home: Path, *, settings: str = "", log: str = "info") -> Iterator[ArchiveProcess]:
    """Run an archive with its port open; ``settings`` are lines of the section [http], ``log`` the level."""
    config = f'{SITES}\n[log]\nlevel = "{log}"\n[http]\nport = 0\n{settings}\n{CLIENTS}'
    with running_archive(home, config=config) as archive:
        yield archive


def url_of(archive: ArchiveProcess) -> str:
    """Return the URL of its DICOMweb service."""
    return f"http://127.0.0.1:{archive.http_port}/dicom-web"


@contextmanager
def client_at(archive: ArchiveProcess, address: str = RADIOLOGIST) -> Iterator[httpx.Client]:
    """Lend a client that asks from an address."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(transport=transport, base_url=url_of(archive), timeout=60) as client:
        yield client


def dicomweb_client(archive: ArchiveProcess) -> DICOMwebClient:
    """Return the independent DICOMweb client, asking as the radiologist."""
    return DICOMwebClient(url_of(archive))


def multipart(objects: Iterable[Dataset | bytes], *, headers: str = "Content-Type: application/dicom") -> bytes:
    """Return the body of a STOW-RS request: data sets as Part 10 files, bytes as they are."""
    parts = [part10_bytes(each) if isinstance(each, Dataset) else each for each in objects]
    head = f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def stow(client: httpx.Client, *objects: Dataset | bytes, study: str = "") -> httpx.Response:
    """Send objects to the service, or to a study of it."""
    path = f"/studies/{study}" if study else "/studies"
    return client.post(path, content=multipart(objects), headers={"Content-Type": STOW})
