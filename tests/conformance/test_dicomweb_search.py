"""QIDO-RS against a served archive, with the dicomweb-client package and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.archive_process import ArchiveProcess
from tests.objects import ROOT, ct_dataset
from tests.web import ARCHIVIST, CABINET, STRANGER, client_at, dicomweb_client, stow, url_of, web_archive

STUDIES = 5


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """Five studies of the hospital, with two series of two images each, and one of the practice."""
    with web_archive(tmp_path_factory.mktemp("search") / "home", settings="query_limit = 4") as running:
        names = ("MOREAU^Hélène", "MOREL^Jean Paul", "DUPONT^Ève", "LE GALL^Anne-Marie", "O'BRIEN^Kim")
        objects = [
            ct_dataset(number, study=study, series=series, PatientName=names[study - 1], StudyDate=f"2024010{study}")
            for study in range(1, STUDIES + 1)
            for series in (1, 2)
            for number in (1, 2)
        ]
        objects.append(ct_dataset(study=1, series=3, Modality="SR"))
        with client_at(running) as client:
            for each in objects:  # one by one: what comes in one request is made durable side by side, in any order
                assert stow(client, each).status_code == 200
        with client_at(running, CABINET) as client:
            assert stow(client, ct_dataset(study=9, PatientName="MOREAU^Paul")).status_code == 200
        yield running


@pytest.fixture
def client(archive: ArchiveProcess) -> Iterator[httpx.Client]:
    """Ask as the radiologist."""
    with client_at(archive) as found:
        yield found


def value(model: dict[str, Any], tag: str) -> Any:
    """Return the first value of an attribute."""
    return model[tag]["Value"][0]


def studies(client: httpx.Client, query: str = "") -> list[str]:
    """Return the numbers of the studies a query finds."""
    response = client.get(f"/studies?{query}")
    assert response.status_code == 200, response.text
    return [value(found, "0020000D").removeprefix(f"{ROOT}.") for found in response.json()]


def test_the_levels_with_an_independent_client(archive: ArchiveProcess) -> None:
    """Studies, the series of one, the instances of one series: an independent client walks down, and gets counts."""
    client = dicomweb_client(archive)
    (study,) = client.search_for_studies(search_filters={"PatientName": "dupont*"})
    uid = value(study, "0020000D")
    assert value(study, "00201206") == 2
    assert value(study, "00201208") == 4
    assert value(study, "00080061") == "CT"
    series = client.search_for_series(uid)
    assert sorted(value(each, "00200011") for each in series) == [1, 2]
    instances = client.search_for_instances(uid, value(series[0], "0020000E"))
    assert sorted(value(each, "00200013") for each in instances) == [1, 2]
    assert len(client.search_for_instances(uid)) == 4


def test_an_answer_says_where_to_retrieve(archive: ArchiveProcess, client: httpx.Client) -> None:
    """RetrieveURL is the address of what was found, as this client reaches the service, at each level."""
    base = f"{url_of(archive)}/studies/{ROOT}.2"
    found = client.get(f"/instances?SOPInstanceUID={ROOT}.2.1.2").json()
    assert [value(each, "00081190") for each in found] == [f"{base}/series/{ROOT}.2.1/instances/{ROOT}.2.1.2"]
    assert (
        value(client.get(f"/series?SeriesInstanceUID={ROOT}.2.1").json()[0], "00081190") == f"{base}/series/{ROOT}.2.1"
    )
    assert value(client.get(f"/studies?StudyInstanceUID={ROOT}.2").json()[0], "00081190") == base
    assert value(found[0], "00080056") == "ONLINE"
    # This client leaves the port out of its Host header; the address is still right.
    (study,) = dicomweb_client(archive).search_for_studies(search_filters={"StudyInstanceUID": f"{ROOT}.2"})
    assert value(study, "00081190") == base


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PatientName=more*", ["9", "2", "1"]),
        ("PatientName=MOREAU^Hélène", ["1"]),
        ("00100010=moreau^helene", ["1"]),
        ("StudyDate=20240102-20240103", ["3", "2"]),
        ("StudyDate=20240104-", ["9", "5", "4"]),
        ("StudyDate=20240103", ["3"]),
        ("ModalitiesInStudy=SR", ["1"]),
        ("ModalitiesInStudy=SR,MR", ["1"]),
        (f"StudyInstanceUID={ROOT}.1,{ROOT}.4", ["4", "1"]),
        (f"StudyInstanceUID={ROOT}.1&0020000D={ROOT}.4", ["4", "1"]),
        ("AccessionNumber=ACC3", ["3"]),
        ("PatientID=nobody", []),
        ("fuzzymatching=true&PatientName=hel mor", ["1"]),
        ("fuzzymatching=true&PatientName=paul", ["9", "2"]),
        ("fuzzymatching=true&PatientName=gall mari", ["4"]),
        ("fuzzymatching=true&PatientName=brien", ["5"]),
        ("fuzzymatching=true&PatientName=elene", []),
        ("fuzzymatching=false&PatientName=paul", []),
    ],
)
def test_matching(client: httpx.Client, query: str, found: list[str]) -> None:
    """Names without case and accents, ranges of dates, modalities, lists of UIDs, words of names when asked fuzzily."""
    assert studies(client, query) == found


def test_pages(client: httpx.Client) -> None:
    """Pages of any size come to the same list, newest arrivals first; behind the last there is nothing."""
    whole = ["9", "5", "4", "3", "2", "1"]
    assert [uid for offset in range(0, 8, 2) for uid in studies(client, f"limit=2&offset={offset}")] == whole
    assert studies(client, "limit=1") == ["9"]
    assert studies(client, "offset=6") == []


def test_the_largest_page_is_told(client: httpx.Client) -> None:
    """Without a limit as many come as the site allows, and a warning says that there are more (PS3.18 8.3.4.4)."""
    response = client.get("/studies")
    assert len(response.json()) == 4
    assert response.headers["warning"].startswith(f"299 {client.base_url}".rstrip("/"))
    assert "Additional results" in response.headers["warning"]
    assert "warning" not in client.get("/studies?PatientID=PID1").headers


def test_nothing_found_is_an_empty_list(client: httpx.Client) -> None:
    """A search without results is answered 200 with an empty array (CP-2473)."""
    response = client.get("/studies?PatientID=nobody")
    assert (response.status_code, response.json()) == (200, [])
    assert response.headers["content-type"] == "application/dicom+json"


def test_fields_that_are_asked_for(client: httpx.Client) -> None:
    """Optional attributes come when asked for, and all of them with ``all``."""
    plain = client.get("/studies?limit=1").json()[0]
    assert "00081030" not in plain
    asked = client.get("/studies?limit=1&includefield=StudyDescription,00080062").json()[0]
    assert value(asked, "00081030") == "SCANNER THORACIQUE"
    assert "00080062" in asked
    everything = client.get("/series?limit=1&includefield=all").json()[0]
    assert {"00081030", "0008103E", "00100010", "00080070"} <= {*everything}


def test_ways_of_matching_that_are_not_there(client: httpx.Client) -> None:
    """Empty values are not matched, and a warning says so; several values are, whether asked for or not."""
    response = client.get("/studies?limit=1&emptyvaluematching=true&multiplevaluematching=true")
    assert response.status_code == 200
    assert "Empty Value Matching has not been performed" in response.headers["warning"]
    assert "warning" not in client.get("/studies?limit=1&emptyvaluematching=false").headers


def test_more_than_the_site_gives(client: httpx.Client) -> None:
    """A limit above the site's gets the site's largest page, and the warning."""
    response = client.get("/studies?limit=100")
    assert len(response.json()) == 4
    assert "Additional results" in response.headers["warning"]
    assert "warning" not in client.get("/studies?limit=2").headers


def test_what_is_not_matched_is_told(client: httpx.Client) -> None:
    """An attribute the index does not have leaves nothing out, and a warning says so."""
    response = client.get("/studies?00180060=120&limit=2")
    assert len(response.json()) == 2
    assert "KVP" in response.headers["warning"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=x",
        "limit=1&limit=2",
        "offset=-1",
        "fuzzymatching=maybe",
        "Nonsense=1",
        "StudyDate=yesterday",
        "accept=nonsense",
        "includefield=0010",
    ],
)
def test_bad_queries(client: httpx.Client, query: str) -> None:
    """What cannot be understood is refused with a problem that says which part, and repeats no value."""
    response = client.get(f"/studies?{query}")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]
    assert "yesterday" not in response.text


def test_forms_of_the_answer(client: httpx.Client) -> None:
    """JSON under both its names; XML is refused with what there is instead."""
    found = client.get("/studies?limit=1", headers={"Accept": "application/json"})
    assert found.headers["content-type"] == "application/json"
    refused = client.get("/studies", headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    assert refused.status_code == 406
    assert "application/dicom+json" in refused.json()["detail"]


def test_a_path_that_is_no_uid(client: httpx.Client) -> None:
    """Whatever else stands where a UID should is a bad request, dots and slashes too."""
    for path in ("/studies/DUPONT/series", "/studies/..%2f..%2fetc/series", "/studies/1..2/instances"):
        assert client.get(path).status_code in (400, 404)
    assert client.get("/nothing").status_code == 404
    assert client.delete("/studies").status_code == 405


def test_a_site_sees_its_own_studies(archive: ArchiveProcess) -> None:
    """Whoever is of one site finds its studies alone, at every level, whatever is asked and however it is paged."""
    with client_at(archive, CABINET) as client:
        assert studies(client) == ["9"]
        assert studies(client, "offset=1") == []
        assert studies(client, f"StudyInstanceUID={ROOT}.1,{ROOT}.9") == ["9"]
        assert studies(client, "PatientName=*") == ["9"]
        assert client.get(f"/studies/{ROOT}.1/series").json() == []
        assert client.get(f"/studies/{ROOT}.1/instances").json() == []
        assert client.get(f"/studies/{ROOT}.1/series/{ROOT}.1.1/instances").json() == []
        assert len(client.get("/series").json()) == len(client.get("/instances").json()) == 1
        assert "NumberOfPatientRelated" not in client.get("/studies?includefield=all").text


def test_who_may_not_look(archive: ArchiveProcess) -> None:
    """An address nobody knows is told to sign in, a role that sees no image is refused."""
    with client_at(archive, STRANGER) as client:
        response = client.get("/studies")
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
    with client_at(archive, ARCHIVIST) as client:
        assert client.get("/studies").status_code == 403


def test_who_asked_is_in_the_journal_and_what_for_is_not(archive: ArchiveProcess) -> None:
    """Person, roles, address, reason and attributes of a query are journalled; its values are nowhere, not in a log."""
    with client_at(archive) as client:
        reason = {"Access-Reason": "urgence%20n%C2%B07"}
        assert client.get(f"/studies/{ROOT}.1/series?PatientName=CANARI", headers=reason).status_code == 200
    query = "SELECT actor, body FROM audit WHERE event = 'queried' AND body LIKE '%urgence%'"
    actor, body = archive.index_row(query)
    told = json.loads(body)
    assert actor == "poste-1"
    assert told["roles"] == ["radiologist"]
    assert (told["address"], told["via"], told["reason"]) == ("127.0.0.1", "address", "urgence n°7")
    assert told["study_instance_uids"] == [f"{ROOT}.1"]
    assert told["keywords"] == ["PatientName", "StudyInstanceUID"]
    assert "CANARI" not in body
    assert "CANARI" not in archive.log()
    assert "PatientName" not in archive.log()


def test_a_study_without_a_modality_does_not_say_that_it_has_an_empty_one(client: httpx.Client) -> None:
    """The viewer's list of studies reads the values of this attribute wherever it is, and shows none without them."""
    uid = f"{ROOT}.77"
    without = ct_dataset(study=77, Modality="", PatientName="AUCUNE", StudyDate="19900101")
    assert stow(client, without).status_code == 200
    (found,) = client.get(f"/studies?StudyInstanceUID={uid}&includefield=00080060").json()
    assert value(found, "0020000D") == uid
    assert "00080061" not in found and found["00080050"]["vr"] == "SH"
    assert value(client.get(f"/studies?StudyInstanceUID={ROOT}.2").json()[0], "00080061") == "CT"
