"""The descriptions of the service, and the service against them: fuzzed with schemathesis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from archive.dicomweb.descriptions import DESCRIPTIONS
from tests.archive_process import ArchiveProcess
from tests.objects import ROOT, ct_dataset
from tests.web import ARCHIVIST, client_at, stow, url_of, web_archive

UIDS = {"study": f"{ROOT}.1", "series": f"{ROOT}.1.1", "instance": f"{ROOT}.1.1.1"}
STORED = {**UIDS, "frames": "1", "place": "7FE00010"}
EXAMPLES = 6
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """An archive with one series of two images."""
    with web_archive(tmp_path_factory.mktemp("described") / "home", settings="max_requests = 200") as running:
        with client_at(running) as client:
            assert stow(client, ct_dataset(1), ct_dataset(2)).status_code == 200
        yield running


@pytest.fixture(scope="module")
def described(archive: ArchiveProcess) -> Any:
    """Return the description as schemathesis reads it: a broken one fails here."""
    return schemathesis.openapi.from_url(f"{url_of(archive)}/openapi.json")


@schemathesis.serializer("application/dicom", 'multipart/related; type="application/dicom"')
def as_it_is(context: Any, value: Any) -> bytes:
    """Send what is made up for a body as it is: no part, no boundary, no DICOM."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Let every second request be about what is stored: random UIDs alone would never get beyond 404."""
    if path_parameters and len(str(path_parameters)) % 2:
        return {name: STORED.get(name, value) for name, value in path_parameters.items()}
    return path_parameters


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), sorted(DESCRIPTIONS))
def test_whatever_is_asked(described: Any, method: str, path: str, mode: GenerationMode) -> None:
    """Random and broken requests to every operation are answered as the description says, none by an error of ours."""

    @given(described[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing can be wrong with a request that has nothing in it"


def test_capabilities(archive: ArchiveProcess) -> None:
    """OPTIONS of the service gives its capabilities as WADL, or as OpenAPI, with the address it was asked at."""
    with client_at(archive) as client:
        response = client.options("/")
        assert response.headers["content-type"] == "application/vnd.sun.wadl+xml"
        told = Xml.fromstring(response.content)
        names = {"w": "http://wadl.dev.java.net/2009/02"}
        assert told.find("w:resources", names).attrib["base"] == f"{url_of(archive)}/"  # type: ignore[union-attr]
        paths = [resource.attrib["path"] for resource in told.iterfind(".//w:resource", names)]
        assert {"studies", "studies/{study}/series/{series}/metadata"} <= {*paths}
        document = client.options("/", headers={"Accept": "application/json"}).json()
        assert document == client.get("/openapi.json").json()
        assert document["openapi"].startswith("3.1")
        assert client.options("/", headers={"Accept": "text/html"}).status_code == 406
    with client_at(archive, ARCHIVIST) as client:
        assert client.get("/openapi.json").status_code == 403
