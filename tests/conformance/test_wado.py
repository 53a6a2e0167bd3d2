"""WADO-RS of a served archive: objects, metadata, bulk data, who may see what, who goes away, and fifty at once."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread

from tests.archive_process import ArchiveProcess, running_archive
from tests.conformance.test_elimination import Desk
from tests.dcmtk import storescu
from tests.objects import ROOT, changed, ct_dataset, dataset_bytes, part10_bytes
from tests.web_reader import AS_STORED, DICOM, HTTP, OCTETS, Reader, parts_of, place

STUDY, SERIES = f"/studies/{ROOT}.1", f"/studies/{ROOT}.1/series/{ROOT}.1.1"
LARGE = 900
IMAGES = 6
CONFIG = f"""default_site = "CHU"
{HTTP}
[[http.clients]]
name = "clinic"
addresses = ["127.0.0.2/32"]
roles = ["referring_physician"]
sites = ["Clinique"]
[[sites]]
name = "CHU"
[[sites]]
name = "Clinique"
"""


@dataclass
class Ward:
    """A running archive with studies, and who reads them; ``sent``: the objects of the first study by UID."""

    reader: Reader
    sent: dict[str, Dataset]

    @property
    def archive(self) -> ArchiveProcess:
        """Return the archive."""
        return self.reader.archive

    def journal(self, event: str, reason: str, entries: int = 1) -> list[tuple[str, dict[str, Any]]]:
        """Return actor and body of the journal's entries of one kind that give this reason, once there are so many."""
        deadline = time.monotonic() + 20
        query = "SELECT actor, body FROM audit WHERE event = ? ORDER BY sequence"
        while time.monotonic() < deadline:
            with closing(sqlite3.connect(f"file:{self.archive.home / 'index.db'}?mode=ro", uri=True)) as index:
                told = [(actor, json.loads(body)) for actor, body in index.execute(query, (event,))]
            found = [(actor, body) for actor, body in told if body.get("reason") == reason]
            if len(found) >= entries:
                return found
            time.sleep(0.02)
        raise AssertionError(f"the journal has no {entries} entries {event} for {reason}")


def large(number: int) -> Dataset:
    """Return an image of 900 x 900."""
    ds = changed(ct_dataset(number, study=2), {"Rows": LARGE, "Columns": LARGE})
    ds.add_new("PixelData", "OW", os.urandom(1 << 10) * (2 * LARGE * LARGE >> 10) + bytes(2 * LARGE * LARGE % 1024))
    return ds


def document() -> Dataset:
    """Return an object with values that are long, one of them in an item, and no pixels."""
    item = Dataset()
    item.add_new(0x00420011, "OB", bytes(range(256)) * 10)
    ds = ct_dataset(50, series=2)
    del ds.PixelData
    ds.add_new(0x00091001, "OB", bytes(range(256)) * 9)
    ds.add_new(0x00081140, "SQ", [Dataset(), item])
    return ds


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Lend a running archive with two studies."""
    root = tmp_path_factory.mktemp("wado")
    folder = root / "sent"
    folder.mkdir()
    small = [*(ct_dataset(number) for number in range(1, IMAGES + 1)), document()]
    for number, ds in enumerate([*small, *map(large, range(1, 31))]):
        (folder / f"{number:03}.dcm").write_bytes(part10_bytes(ds))
    with running_archive(root / "home", config=CONFIG) as archive:
        pushed = storescu(archive, "+sd", folder)
        assert pushed.returncode == 0, pushed.stderr
        yield Ward(Reader(archive), {str(ds.SOPInstanceUID): ds for ds in small})


# ---- objects ---------------------------------------------------------------------------------------------------------


def test_a_study_comes_byte_for_byte(ward: Ward) -> None:
    """Every object of a study, a series, an instance; data sets as they were sent, behind a header of our own."""
    for path, count in ((STUDY, IMAGES + 1), (SERIES, IMAGES), (place(ward.sent[f"{ROOT}.1.1.3"]), 1)):
        parts = ward.reader.parts(path)
        assert len(parts) == count
        for kind, body in parts:
            assert kind == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
            ds = dcmread(io.BytesIO(body))
            sent = dataset_bytes(ward.sent[ds.SOPInstanceUID])
            assert body.endswith(sent)
            assert len(body) - len(sent) < 400
            assert b"DRIMBOX" not in body[: -len(sent)].replace(b"DRIMBOX_0_1", b"")


def test_instances_come_in_the_order_of_their_numbers(ward: Ward) -> None:
    """Series by series, as a retrieve over DICOM gives them; the length of a long answer is told where it is known."""
    assert list(ward.reader.objects(SERIES)) == [f"{ROOT}.1.1.{number}" for number in range(1, IMAGES + 1)]
    answer = ward.reader.get(f"/studies/{ROOT}.2", AS_STORED)
    assert int(answer.headers["content-length"]) == len(answer.content)
    deflated = ward.reader.objects(f"/studies/{ROOT}.2", f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.1.99")
    assert len(deflated) == 30


def test_an_instance_may_come_by_itself(ward: Ward) -> None:
    """As application/dicom, without a multipart around it."""
    sent = ward.sent[f"{ROOT}.1.1.2"]
    answer = ward.reader.get(place(sent), "application/dicom")
    assert answer.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert dcmread(io.BytesIO(answer.content)) == sent


@pytest.mark.parametrize(
    ("path", "accept", "status", "words"),
    [
        (STUDY, "application/json", 406, "multipart/related"),
        (STUDY, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.50", 406, "1.2.840.10008.1.2.1"),
        (STUDY, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2", 406, ""),
        (f"{STUDY}/metadata", 'multipart/related; type="application/dicom+xml"', 406, "application/dicom+json"),
        (f"{SERIES}/instances/{ROOT}.1.1.1/rendered", "image/gif", 406, "image/jpeg"),
        (f"{SERIES}/instances/{ROOT}.1.1.1/frames/1", "image/jp2", 406, "octet-stream"),
        ("/studies/1.2.3", DICOM, 404, "no study"),
        (f"{STUDY}/series/1.2.3", DICOM, 404, ""),
        (f"{SERIES}/instances/1.2.3", DICOM, 404, ""),
        (f"{STUDY}/series/1.2.3/metadata", "*/*", 404, ""),
        ("/studies/..%2fetc", DICOM, 404, ""),
        ("/studies/abc", DICOM, 400, "UID"),
        (f"{SERIES}/instances/{ROOT}.1.1.1/frames/2", "*/*", 404, "has 1"),
        (f"{SERIES}/instances/{ROOT}.1.1.1/frames/0", "*/*", 400, ""),
        (f"{SERIES}/instances/{ROOT}.1.1.1/bulkdata/00091001", "*/*", 404, ""),
        (f"{SERIES}/instances/{ROOT}.1.1.1/bulkdata/..%2f..%2fx", "*/*", 400, ""),
        (f"{STUDY}/series/{ROOT}.1.2/instances/{ROOT}.1.2.50/rendered", "*/*", 406, "pixel data"),
        (f"{STUDY}/series/{ROOT}.1.2/instances/{ROOT}.1.2.50/frames/1", "*/*", 406, "pixel data"),
        (f"{STUDY}/series/{ROOT}.1.2/rendered", "*/*", 406, "pixel data"),
        (f"{STUDY}/rendered", "image/gif", 406, "image/png"),
        (f"{STUDY}/series/1.2.3/rendered", "*/*", 404, ""),
        ("/studies/1.2.3/rendered", "*/*", 404, "no study"),
        ("/studies/abc/rendered", "*/*", 400, "UID"),
    ],
)
def test_what_cannot_be_given_is_a_problem(ward: Ward, path: str, accept: str, status: int, words: str) -> None:
    """Each with its status and words that help, as problem+json."""
    assert words in ward.reader.problem(path, accept, status)


def test_the_package_dicomweb_client_reads_it(ward: Ward) -> None:
    """Another's client finds, retrieves, reads metadata, frames, bulk data and pictures."""
    client = DICOMwebClient(ward.reader.url)
    uids = (f"{ROOT}.1", f"{ROOT}.1.1")
    (found,) = client.search_for_studies(search_filters={"StudyInstanceUID": f"{ROOT}.1"})
    assert found["0020000D"]["Value"] == [f"{ROOT}.1"]
    assert {ds.SOPInstanceUID: ds for ds in client.retrieve_study(f"{ROOT}.1")} == ward.sent
    assert len(client.retrieve_series(*uids)) == IMAGES
    assert client.retrieve_instance(*uids, f"{ROOT}.1.1.1") == ward.sent[f"{ROOT}.1.1.1"]
    metadata = [Dataset.from_json(each) for each in client.retrieve_series_metadata(*uids)]
    assert [ds.InstanceNumber for ds in metadata] == list(range(1, IMAGES + 1))
    assert metadata[0].PatientName == "MOREAU^Hélène"
    (frame,) = client.retrieve_instance_frames(*uids, f"{ROOT}.1.1.1", [1])
    assert frame == ward.sent[f"{ROOT}.1.1.1"].PixelData
    told = client.retrieve_instance_metadata(f"{ROOT}.1", f"{ROOT}.1.2", f"{ROOT}.1.2.50")
    (value,) = client.retrieve_bulkdata(told["00091001"]["BulkDataURI"])
    assert value == ward.sent[f"{ROOT}.1.2.50"][0x00091001].value
    shown = client.retrieve_instance_rendered(*uids, f"{ROOT}.1.1.1", media_types=("image/png",))
    assert shown.startswith(b"\x89PNG")


# ---- metadata and bulk data ------------------------------------------------------------------------------------------


def test_metadata_say_everything_but_the_bulk(ward: Ward) -> None:
    """All elements of every instance of a study; what is long is where its BulkDataURI says."""
    told = ward.reader.metadata(STUDY)
    assert len(told) == len(ward.sent)
    for each in told:
        sent = ward.sent[each["00080018"]["Value"][0]]
        assert each.keys() - {"00083002"} == {f"{element.tag:08X}" for element in sent}
        assert each["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
        assert each["00100010"]["Value"] == [{"Alphabetic": "MOREAU^Hélène"}]
    uri = told[0]["7FE00010"]["BulkDataURI"]
    assert uri == f"{ward.reader.url}{SERIES}/instances/{told[0]['00080018']['Value'][0]}/bulkdata/7FE00010"
    assert ward.reader.get(uri).content == ward.sent[told[0]["00080018"]["Value"][0]].PixelData


def test_metadata_are_the_same_at_every_level_and_packed(ward: Ward) -> None:
    """Study, series, instance; again from what is kept; as gzip where that is accepted; each under its own address."""
    series, instance = ward.reader.metadata(SERIES), ward.reader.metadata(f"{SERIES}/instances/{ROOT}.1.1.1")
    assert series == ward.reader.metadata(STUDY)[:IMAGES]
    assert instance == series[:1]
    path = f"{ward.reader.url}{SERIES}/metadata"
    with ward.reader.client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed)) == series
    other = httpx.get(path.replace("127.0.0.1", "localhost")).text
    assert "http://localhost:" in other and "http://127.0.0.1" not in other
    assert len(list((ward.archive.home / "cache" / "metadata").iterdir())) == 2


def test_bulk_data_come_whole_or_in_part(ward: Ward) -> None:
    """By themselves, as multipart, a range of them, and those inside items."""
    sent = ward.sent[f"{ROOT}.1.2.50"]
    value, path = sent[0x00091001].value, f"{place(sent)}/bulkdata/00091001"
    assert ward.reader.get(path, "application/octet-stream").content == value
    assert ward.reader.parts(path, OCTETS) == [("application/octet-stream", value)]
    part = ward.reader.get(path, status=206, range="bytes=100-199")
    assert (part.content, part.headers["content-range"]) == (value[100:200], f"bytes 100-199/{len(value)}")
    nested = ward.reader.get(f"{place(sent)}/bulkdata/00081140/2/00420011").content
    assert nested == sent[0x00081140].value[1][0x00420011].value
    image = ward.sent[f"{ROOT}.1.1.1"]
    assert ward.reader.get(f"{place(image)}/bulkdata/7FE00010").content == image.PixelData


# ---- who -------------------------------------------------------------------------------------------------------------


def test_a_study_of_another_site_is_not_there(ward: Ward) -> None:
    """Neither its objects, nor metadata, frames, pictures nor bulk data; the words do not tell why."""
    instance = f"{SERIES}/instances/{ROOT}.1.1.1"
    paths = [STUDY, f"{SERIES}/metadata", f"{instance}/metadata", f"{instance}/frames/1", f"{instance}/rendered"]
    paths += [f"{STUDY}/thumbnail", f"{instance}/bulkdata/7FE00010", f"{STUDY}/rendered", f"{SERIES}/rendered"]
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as client:
        for path in paths:
            answer = client.get(ward.reader.url + path)
            assert (answer.status_code, "no study" in answer.text) == (404, True), path
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.3")) as client:
        assert {client.get(ward.reader.url + path).status_code for path in paths} == {401}


def test_everything_seen_is_in_the_journal(ward: Ward) -> None:
    """Objects each time, the rest once for a while: who, by which right, from where and why."""
    reason = "second%20opinion"
    instance = f"{SERIES}/instances/{ROOT}.1.1.2"
    ward.reader.get(instance, DICOM, access_reason=reason)
    for path in ("frames/1", "frames/1", "rendered", "metadata", "thumbnail", "bulkdata/7FE00010"):
        ward.reader.get(f"{instance}/{path}", access_reason=reason)
    ((actor, body),) = ward.journal("retrieved", "second opinion")
    assert actor == "reader"
    expected = {
        "service": "WADO-RS",
        "destination": "127.0.0.1",
        "study_instance_uids": [f"{ROOT}.1"],
        "instances": 1,
        "completed": 1,
        "failed": 0,
        "warning": 0,
        "remaining": 0,
        "roles": ["radiologist"],
        "via": "address",
        "address": "127.0.0.1",
        "reason": "second opinion",
    }
    assert expected.items() <= body.items()
    services = [body["service"] for _, body in ward.journal("viewed", "second opinion", 5)]
    assert services == [f"WADO-RS {kind}" for kind in ("frames", "rendered", "metadata", "thumbnail", "bulk data")]
    assert "MOREAU" not in ward.archive.log()


def test_a_study_is_drawn_but_for_what_has_no_pixels(ward: Ward) -> None:
    """206 with the images alone, 200 where there is nothing else; who looked is in the journal, once for a while."""
    for path, status in ((STUDY, 206), (SERIES, 200), (f"/studies/{ROOT}.2", 200)):
        answer = ward.reader.get(f"{path}/rendered?viewport=64,64", status=status, access_reason="album")
        parts = parts_of(answer)
        assert [kind for kind, _ in parts] == ["image/jpeg"] * (30 if path.endswith(".2") else IMAGES)
    looked = [body for _, body in ward.journal("viewed", "album", 2)]
    assert [(body["service"], body["study_instance_uid"]) for body in looked] == [
        ("WADO-RS rendered", f"{ROOT}.1"),
        ("WADO-RS rendered", f"{ROOT}.2"),
    ]
    assert {(tuple(body["roles"]), body["address"]) for body in looked} == {(("radiologist",), "127.0.0.1")}


# ---- when things go wrong --------------------------------------------------------------------------------------------


def open_files(archive: ArchiveProcess) -> int:
    """Return how many files of its home the archive has open for reading objects."""
    folder = Path(f"/proc/{archive.pid}/fd")
    found = []
    for entry in folder.iterdir():
        try:
            found.append(os.readlink(entry))
        except OSError:
            continue
    return sum(1 for target in found if target.endswith(".dcm"))


def test_a_reader_that_goes_away_costs_nothing(ward: Ward) -> None:
    """In the middle of a study: nothing more is read, files are closed, the journal says how far it came."""
    leave_within(ward, f"/studies/{ROOT}.2", DICOM)
    ((_, body),) = ward.journal("retrieved", "gone")
    assert 1 <= body["completed"] < 30
    assert body["completed"] + body["remaining"] == 30
    wait_until_closed(ward)
    assert len(ward.reader.objects(STUDY)) == IMAGES + 1


def leave_within(ward: Ward, path: str, accept: str) -> None:
    """Go away when 3 MiB of an answer have come."""
    with socket.create_connection((ward.archive.host, ward.archive.http_port)) as connection:
        request = f"GET /dicom-web{path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nAccess-Reason: gone\r\n\r\n"
        connection.sendall(request.encode())
        received = 0
        while received < 3 << 20:
            received += len(connection.recv(1 << 16))


def wait_until_closed(ward: Ward) -> None:
    """Wait until no object is open."""
    deadline = time.monotonic() + 10
    while open_files(ward.archive):
        assert time.monotonic() < deadline


def test_nothing_is_drawn_for_a_reader_that_goes_away(ward: Ward) -> None:
    """In the middle of a study of pictures: files are closed, and others are served."""
    leave_within(ward, f"/studies/{ROOT}.2/rendered?quality=100", "image/jpeg")
    wait_until_closed(ward)
    assert len(ward.reader.parts(f"{SERIES}/rendered", 'multipart/related; type="image/png"')) == IMAGES
    answer = ward.reader.client.head(f"{ward.reader.url}/studies/{ROOT}.2/rendered?quality=100")
    assert (answer.status_code, answer.content) == (200, b"")
    wait_until_closed(ward)


def test_a_head_request_reads_nothing(ward: Ward) -> None:
    """It has the headers of the answer and no body."""
    answer = ward.reader.client.head(f"{ward.reader.url}/studies/{ROOT}.2", headers={"accept": AS_STORED})
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 30 * 2 * LARGE * LARGE


def test_fifty_readers_at_once_are_all_served(ward: Ward) -> None:
    """Whole studies, metadata, frames and pictures for fifty readers at the same time: no request fails."""
    gate = threading.Barrier(50)
    big = f"/studies/{ROOT}.2/series/{ROOT}.2.1"

    def read(number: int) -> bool:
        with httpx.Client(timeout=120) as client:
            reader = Reader(ward.archive, client)
            gate.wait(60)
            if number % 5 == 0:
                return len(reader.parts(f"/studies/{ROOT}.2", AS_STORED)) == 30
            instance = f"{big}/instances/{ROOT}.2.1.{number % 30 + 1}"
            reader.get(f"{big}/metadata")
            reader.get(f"{instance}/frames/1", OCTETS)
            return reader.get(f"{instance}/rendered").headers["content-type"] == "image/jpeg"

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(read, range(50)))


def test_what_is_lost_is_left_out_and_told(tmp_path: Path) -> None:
    """Noticed before anything is sent, or known to the index: 206. Noticed later: the answer is cut, never short."""
    folder = tmp_path / "sent"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ct_dataset(number)))
        (folder / f"large-{number}.dcm").write_bytes(part10_bytes(large(number)))
    with running_archive(tmp_path / "home", config=HTTP) as archive:
        assert storescu(archive, "+sd", folder).returncode == 0
        reader = Reader(archive)
        assert len(reader.metadata(STUDY)) == 3
        for uid in (f"{ROOT}.1.1.2", f"{ROOT}.2.1.3"):
            archive.file_of(uid).unlink()
        there = {f"{ROOT}.1.1.1", f"{ROOT}.1.1.3"}
        assert set(reader.objects(STUDY, status=206)) == there
        reader.problem(f"{SERIES}/instances/{ROOT}.1.1.2", DICOM, 500)
        pictures = "rendered?quality=100"
        for path, accept in ((f"/studies/{ROOT}.2", DICOM), (f"/studies/{ROOT}.2/{pictures}", "image/jpeg")):
            with pytest.raises(httpx.RemoteProtocolError):
                reader.get(path, accept)
        assert len(reader.parts(f"{STUDY}/{pictures}", "image/jpeg", status=206)) == 2
        reader.problem(f"{SERIES}/instances/{ROOT}.1.1.2/rendered", "image/jpeg", 500)
        archive.stop()
        Desk(archive).drimbox("verify", status=17)
        archive.start()
        reader = Reader(archive)
        assert set(reader.objects(STUDY, status=206)) == there
        assert set(reader.objects(f"/studies/{ROOT}.2", status=206)) == {f"{ROOT}.2.1.1", f"{ROOT}.2.1.2"}
        for path in (STUDY, f"/studies/{ROOT}.2"):
            assert len(reader.parts(f"{path}/{pictures}", "image/jpeg", status=206)) == 2
        assert [each["00080018"]["Value"][0] for each in reader.metadata(STUDY)] == [
            f"{ROOT}.1.1.{number}" for number in (1, 2, 3)
        ]
        reader.problem(f"{SERIES}/instances/{ROOT}.1.1.2", DICOM, 404)
