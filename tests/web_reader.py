"""A reader of DICOMweb on plain httpx, with its own reading of multipart; must not import the archive."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydicom import Dataset, dcmread

from tests.archive_process import ArchiveProcess

HTTP = """
[http]
port = 0
[[http.clients]]
name = "reader"
addresses = ["127.0.0.1/32"]
roles = ["radiologist"]
"""
"""Settings of an archive that lets readers on this machine in."""
DICOM = 'multipart/related; type="application/dicom"'
AS_STORED = f"{DICOM}; transfer-syntax=*"
OCTETS = 'multipart/related; type="application/octet-stream"'


@dataclass
class Reader:
    """Somebody who reads from an archive's DICOMweb service."""

    archive: ArchiveProcess
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    @property
    def url(self) -> str:
        """Return the URL of the service."""
        return f"http://{self.archive.host}:{self.archive.http_port}/dicom-web"

    def get(self, path: str, accept: str = "*/*", status: int = 200, **headers: str) -> httpx.Response:
        """Get something, in a form; the status has to be the one expected; headers by names with underscores."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        url = path if path.startswith("http") else self.url + path
        found = self.client.get(url, headers={"accept": accept, **told})
        assert found.status_code == status, f"{path}: {found.status_code} {found.text[:500]}"
        return found

    def parts(self, path: str, accept: str = DICOM, status: int = 200) -> list[tuple[str, bytes]]:
        """Return Content-Type and body of each part of a multipart answer."""
        return parts_of(self.get(path, accept, status))

    def objects(self, path: str, accept: str = DICOM, status: int = 200) -> dict[str, Dataset]:
        """Return the objects of an answer by SOP Instance UID."""
        found = [dcmread(io.BytesIO(body)) for _, body in self.parts(path, accept, status)]
        return {str(ds.SOPInstanceUID): ds for ds in found}

    def metadata(self, path: str) -> list[dict[str, Any]]:
        """Return the metadata of a study, a series or an instance."""
        found: list[dict[str, Any]] = self.get(f"{path}/metadata", "application/dicom+json").json()
        return found

    def problem(self, path: str, accept: str, status: int) -> str:
        """Return the words of a problem; it has to be told as RFC 9457 wants it."""
        found = self.get(path, accept, status)
        assert found.headers["content-type"] == "application/problem+json"
        told = found.json()
        assert (told["status"], "title" in told) == (status, True)
        return str(told["detail"])


def parts_of(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Take a multipart answer apart, byte for byte (RFC 2046 section 5.1.1)."""
    kind = answer.headers["content-type"]
    boundary = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    body = answer.content
    assert kind.startswith("multipart/related; type=")
    assert body.startswith(boundary) and body.endswith(boundary + b"--\r\n")
    found = []
    for piece in body.split(b"\r\n" + boundary)[:-1]:
        head, _, content = piece.removeprefix(boundary).removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        found.append((headers["Content-Type"], content))
    return found


def place(ds: Dataset, *, level: str = "instance") -> str:
    """Return the path of an object, of its series or of its study."""
    path = f"/studies/{ds.StudyInstanceUID}"
    if level in ("series", "instance"):
        path += f"/series/{ds.SeriesInstanceUID}"
    return f"{path}/instances/{ds.SOPInstanceUID}" if level == "instance" else path
