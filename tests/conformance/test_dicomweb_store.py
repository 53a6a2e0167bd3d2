"""STOW-RS against a served archive: what is stored, what is not and why, and bodies that mean harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from tests.archive_process import ArchiveProcess
from tests.objects import ROOT, ct_dataset, dataset_bytes, part10_bytes
from tests.raw_scu import open_scu
from tests.web import (
    ARCHIVIST,
    BOUNDARY,
    CABINET,
    STOW,
    STRANGER,
    client_at,
    dicomweb_client,
    multipart,
    stow,
    url_of,
    web_archive,
)

FAILED, STORED, OTHERS = "00081198", "00081199", "0008119A"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """One archive for the whole module; bodies of 8 MiB at most."""
    with web_archive(tmp_path_factory.mktemp("stow") / "home", settings="max_body_mib = 8") as running:
        yield running


@pytest.fixture
def client(archive: ArchiveProcess) -> Iterator[httpx.Client]:
    """Send as the radiologist."""
    with client_at(archive) as found:
        yield found


def reasons(response: httpx.Response) -> dict[str, int]:
    """Return the failure reason of each instance that was not stored, by its UID, "" where it has none."""
    items = [item for tag in (FAILED, OTHERS) for item in response.json().get(tag, {}).get("Value", [])]
    return {item["00081155"]["Value"][0] if "00081155" in item else "": item["00081197"]["Value"][0] for item in items}


def stored(response: httpx.Response) -> list[str]:
    """Return the UIDs of the instances that were stored."""
    items = response.json().get(STORED, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def test_an_independent_client_stores(archive: ArchiveProcess) -> None:
    """What dicomweb-client sends is stored and told in a Store Instances Response with its addresses."""
    sent = [dcmread(BytesIO(part10_bytes(ct_dataset(number, study=10)))) for number in (1, 2)]
    told = dicomweb_client(archive).store_instances(sent)
    assert len(told.ReferencedSOPSequence) == 2
    assert told.RetrieveURL == f"{url_of(archive)}/studies/{ROOT}.10"
    item = told.ReferencedSOPSequence[1]
    assert item.ReferencedSOPInstanceUID == f"{ROOT}.10.1.2"
    assert item.RetrieveURL == f"{url_of(archive)}/studies/{ROOT}.10/series/{ROOT}.10.1/instances/{ROOT}.10.1.2"
    assert not hasattr(told, "FailedSOPSequence")


def test_a_study_of_another_site_is_closed(archive: ArchiveProcess, client: httpx.Client) -> None:
    """Whoever acts for one site adds nothing to a study of another: refused (0x0124), and nothing of it is kept."""
    assert stow(client, ct_dataset(1, study=25)).status_code == 200
    assert len(client.get(f"/studies/{ROOT}.25/instances").json()) == 1
    with client_at(archive, CABINET) as cabinet:
        response = stow(cabinet, ct_dataset(2, study=25), ct_dataset(1, study=26))
        assert (response.status_code, stored(response)) == (202, [f"{ROOT}.26.1.1"])
        assert reasons(response) == {f"{ROOT}.25.1.2": 0x0124}
    assert len(client.get(f"/studies/{ROOT}.25/instances").json()) == 1
    assert stow(client, ct_dataset(2, study=26)).status_code == 200


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm", "image_dfl.dcm", "rtplan.dcm"])
def test_every_transfer_syntax_as_it_comes(archive: ArchiveProcess, client: httpx.Client, name: str) -> None:
    """A data set is kept byte for byte in whatever transfer syntax it comes, deflated and encapsulated ones too."""
    sent = Path(str(get_testdata_file(name))).read_bytes()
    uid = dcmread(str(get_testdata_file(name)), stop_before_pixels=True).SOPInstanceUID
    response = stow(client, sent)
    assert (response.status_code, stored(response)) == (200, [uid])
    meta = 132 + 12 + int.from_bytes(sent[140:144], "little")
    assert archive.file_of(uid).read_bytes().endswith(sent[meta:])


def test_it_is_the_same_ingest_as_c_store(archive: ArchiveProcess, client: httpx.Client) -> None:
    """What came by C-STORE is known here, the same bytes are well received again, others are a conflict; and back."""
    first, second = ct_dataset(study=11), ct_dataset(2, study=11)
    with open_scu(archive) as scu:
        assert scu.store(first.SOPInstanceUID, dataset_bytes(first))[0] == 0
        assert stow(client, first, second).status_code == 200
        assert scu.store(second.SOPInstanceUID, dataset_bytes(second))[0] == 0
    other = ct_dataset(study=11, StudyID="other")
    response = stow(client, other)
    assert (response.status_code, reasons(response)) == (409, {f"{ROOT}.11.1.1": 0x0111})


def test_some_stored_some_not(client: httpx.Client) -> None:
    """One bad instance costs itself alone: 202, and each failure with its reason."""
    directory = ct_dataset(3, study=12, SOPClassUID="1.2.840.10008.1.3.10")
    homeless = ct_dataset(4, study=12, StudyInstanceUID=None)
    response = stow(client, ct_dataset(1, study=12), b"no DICOM at all", directory, homeless, ct_dataset(2, study=12))
    assert response.status_code == 202
    assert stored(response) == [f"{ROOT}.12.1.1", f"{ROOT}.12.1.2"]
    assert reasons(response) == {"": 0xC000, f"{ROOT}.12.1.3": 0x0122, f"{ROOT}.12.1.4": 0xC000}


def test_a_study_takes_its_own_instances_alone(client: httpx.Client) -> None:
    """Sent to a study, an instance of another is refused (0xA900); nothing of it is found afterwards."""
    response = stow(client, ct_dataset(study=13), ct_dataset(study=14), study=f"{ROOT}.13")
    assert (response.status_code, stored(response)) == (202, [f"{ROOT}.13.1.1"])
    assert reasons(response) == {f"{ROOT}.14.1.1": 0xA900}
    assert client.get(f"/studies?StudyInstanceUID={ROOT}.14").json() == []
    assert stow(client, ct_dataset(study=13), study="DUPONT").status_code == 400


def test_a_single_instance_without_multipart(client: httpx.Client) -> None:
    """A body that is one Part 10 file is taken as it is."""
    body = part10_bytes(ct_dataset(study=15))
    response = client.post("/studies", content=body, headers={"Content-Type": "application/dicom"})
    assert (response.status_code, stored(response)) == (200, [f"{ROOT}.15.1.1"])


def test_a_large_object_streams(client: httpx.Client) -> None:
    """An object of several MiB, far more than what is kept in memory of it, comes whole in small pieces."""
    ds = ct_dataset(study=16, Rows=1024, Columns=2048)
    ds.PixelData = bytes(range(256)) * (2 * 1024 * 2048 // 256)
    body = multipart([ds])
    pieces = (body[start : start + 10_007] for start in range(0, len(body), 10_007))
    response = client.post("/studies", content=pieces, headers={"Content-Type": STOW})
    assert (response.status_code, stored(response)) == (200, [f"{ROOT}.16.1.1"])


def test_what_was_stored_is_found_at_once(client: httpx.Client) -> None:
    """An answer of 200 means durable and findable: the next query has it."""
    for number in range(1, 6):
        assert stow(client, ct_dataset(number, study=17)).status_code == 200
        assert len(client.get(f"/studies/{ROOT}.17/instances").json()) == number


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (STOW, b"", 400),
        (STOW, b"--other\r\n\r\nabc\r\n--other--", 400),
        (STOW, f"--{BOUNDARY}\r\n\r\nabc".encode(), 400),
        (STOW, f"--{BOUNDARY}--".encode(), 400),
        (STOW, f"--{BOUNDARY}\r\nX: {'y' * 20_000}\r\n\r\nabc\r\n--{BOUNDARY}--".encode(), 400),
        (STOW, f"--{BOUNDARY}\r\n\r\n\r\n".encode() * 10_001, 400),
        (STOW, multipart([b"x"], headers="Content-Type: image/jpeg"), 409),
        (STOW, multipart([b"\0" * 128 + b"DICM"]), 409),
        (STOW, multipart([b"\0" * 300_000]), 409),
        ('multipart/related; type="application/dicom"', multipart([b"x"]), 400),
        ('multipart/related; type="application/dicom"; boundary=""', multipart([b"x"]), 400),
        ('multipart/related; type="application/dicom+json"; boundary=B', b"--B--", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=B', b"--B--", 415),
        ("multipart/form-data; boundary=B", b"--B--", 415),
        ("application/dicom+json", b"[]", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("nonsense", b"", 400),
        ("", b"", 400),
    ],
)
def test_bodies_that_make_no_sense(client: httpx.Client, content_type: str, body: bytes, status: int) -> None:
    """A body that is none of ours is refused with words, and nothing is stored of it."""
    response = client.post("/studies", content=body, headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    if status != 409:
        assert response.headers["content-type"] == "application/problem+json"


def test_a_truncated_body_keeps_what_was_whole(client: httpx.Client) -> None:
    """Instances that were whole are stored and told, the one that breaks off is not."""
    body = multipart([ct_dataset(1, study=18), ct_dataset(2, study=18)])
    response = client.post("/studies", content=body[:-200], headers={"Content-Type": STOW})
    assert (response.status_code, stored(response)) == (202, [f"{ROOT}.18.1.1"])
    assert reasons(response) == {"": 0xC000}
    assert len(client.get(f"/studies/{ROOT}.18/instances").json()) == 1


def test_a_cut_data_set_is_refused(client: httpx.Client) -> None:
    """A Part 10 file that ends before its pixel data do is not taken for whole."""
    response = stow(client, part10_bytes(ct_dataset(study=19))[:-100])
    assert (response.status_code, reasons(response)) == (409, {f"{ROOT}.19.1.1": 0xC000})


def test_too_long_a_body_is_refused(client: httpx.Client) -> None:
    """Beyond the site's limit a body is cut off, whether it says its length or not."""
    body = multipart([bytes(9 * 1024 * 1024)])
    for content in (body, iter([body])):
        response = client.post("/studies", content=content, headers={"Content-Type": STOW})
        assert response.status_code == 413
        assert "8388608" in response.json()["detail"]


def test_a_compressed_body_is_refused(client: httpx.Client) -> None:
    """No body is inflated: a few bytes could become gigabytes."""
    response = client.post("/studies", content=b"x", headers={"Content-Type": STOW, "Content-Encoding": "gzip"})
    assert response.status_code == 415


def test_names_in_a_part_lead_nowhere(archive: ArchiveProcess, client: httpx.Client) -> None:
    """File names and locations that a part gives itself are not looked at, wherever they point to."""
    headers = (
        "Content-Type: application/dicom\r\nContent-Location: ../../../../etc/passwd\r\n"
        'Content-Disposition: attachment; filename="../../x.dcm"'
    )
    body = multipart([ct_dataset(study=20)], headers=headers)
    response = client.post("/studies", content=body, headers={"Content-Type": STOW})
    assert stored(response) == [f"{ROOT}.20.1.1"]
    hot = (archive.home / "hot").resolve()
    assert archive.file_of(f"{ROOT}.20.1.1").resolve().is_relative_to(hot)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_uid_that_is_none_is_refused(client: httpx.Client) -> None:
    """A SOP Instance UID is digits and dots: what else somebody writes there is neither stored nor repeated."""
    response = stow(client, ct_dataset(study=21, SOPInstanceUID="../../../DUPONT"))
    assert (response.status_code, reasons(response)) == (409, {"": 0xC000})
    assert "DUPONT" not in response.text


def test_who_may_send(archive: ArchiveProcess) -> None:
    """Unknown addresses and roles that do not send are refused before anything is stored."""
    for address, status in ((STRANGER, 401), (ARCHIVIST, 403)):
        with client_at(archive, address) as client:
            assert stow(client, ct_dataset(study=22)).status_code == status
    with client_at(archive) as client:
        assert client.get(f"/studies?StudyInstanceUID={ROOT}.22").json() == []


def test_what_somebody_sends_belongs_to_their_site(archive: ArchiveProcess, client: httpx.Client) -> None:
    """A sender of one site stores for it, another for the default site; the journal says who sent."""
    with client_at(archive, CABINET) as cabinet:
        assert stow(cabinet, ct_dataset(study=23)).status_code == 200
        assert stow(client, ct_dataset(study=24)).status_code == 200
        found = cabinet.get(f"/studies?StudyInstanceUID={ROOT}.23,{ROOT}.24").json()
    assert [item["0020000D"]["Value"][0] for item in found] == [f"{ROOT}.23"]
    actor, body = archive.index_row(
        "SELECT actor, body FROM audit WHERE event = 'sent' AND body LIKE ?", f"%{ROOT}.23%"
    )
    told = json.loads(body)
    assert (actor, told["address"], told["stored"], told["failed"]) == ("cabinet-1", "127.0.0.2", 1, 0)


def test_after_an_answer_a_power_cut_takes_nothing(tmp_path: Path) -> None:
    """What was answered 200 is there again after the process is killed at once."""
    home = tmp_path / "home"
    objects: list[Dataset | bytes] = [ct_dataset(number) for number in range(1, 21)]
    with web_archive(home) as archive:
        with client_at(archive) as client:
            assert stow(client, *objects).status_code == 200
        archive.kill()
    with web_archive(home) as archive, client_at(archive) as client:
        assert len(client.get(f"/studies/{ROOT}.1/instances").json()) == 20
