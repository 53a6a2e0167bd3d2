"""Metadata of studies, series and instances (PS3.18 section 10.4.1.1.2): JSON without bulk data; must not keep it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from archive.dicomweb import accept, json_model
from archive.dicomweb.json_dataset import to_json
from archive.dicomweb.streaming import Begun, Chunks, Threads, answer
from archive.dicomweb.urls import base_url
from archive.errors import FixityError, InstanceNotFound
from archive.http.access import access_of
from archive.index.records import StoredInstance
from archive.services.pictures import OpenObject, opened
from archive.services.retrieve import Retrieve, StoredObject
from archive.services.series_metadata import SeriesMetadata
from archive.services.viewing import Viewing

SERVICE: Final = "WADO-RS metadata"
_BASE: Final = "\x01"
"""Stands for the service's address in what is kept; in JSON no text can hold the bytes that ``_KEPT`` are."""
_KEPT: Final = b'"BulkDataURI":"\\u0001'
_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class Metadata:
    """Answers requests for metadata."""

    viewing: Viewing
    kept: SeriesMetadata
    threads: Threads

    def retrieve(self, request: Request) -> Response:
        """Answer GET .../metadata of a study, a series or an instance."""
        media_type = accept.choose(request, (json_model.MEDIA_TYPE, "application/json"))
        access, params = access_of(request), request.path_params
        study, series = params["study"], params.get("series", "")
        if "instance" in params:
            instances = self.viewing.find(access, study, series, params["instance"])
            self.viewing.check_readable(instances, access)
            told: Iterator[bytes] = iter([_alone(self.viewing.retrieve, instances[0])])
        else:
            study = self.viewing.admit(access, study)
            told = self.kept.of_study(study, series, by=access.person.name)
        body: Chunks = _based(_joined(told), base_url(request))
        self.viewing.note(access, study, service=SERVICE)
        headers = {"vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            body = _gzipped(body)
        return answer(Begun(body).begin(), self.threads.making, media_type=media_type, headers=headers)


def describe(instance: StoredInstance, stored: StoredObject | None, retrieve: Retrieve) -> bytes:
    """Return the metadata of an instance as one JSON object, from its bytes, or from the index alone."""
    known = _known(instance)
    if stored is None:
        return json_model.dumps(known)
    known["00083002"] = {"vr": "UI", "Value": [stored.transfer_syntax_uid]}
    base = f"{_BASE}/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
    with opened(retrieve, stored) as found:
        return _told(found, f"{base}/instances/{instance.sop_instance_uid}/bulkdata/", known)


def _told(found: OpenObject, base: str, known: dict[str, Any]) -> bytes:
    return to_json(found.file, source_uid=found.transfer_syntax_uid, bulk_base=base, known=known)


def _known(instance: StoredInstance) -> dict[str, Any]:
    values = {
        "00080016": instance.sop_class_uid,
        "00080018": instance.sop_instance_uid,
        "0020000D": instance.study_instance_uid,
        "0020000E": instance.series_instance_uid,
    }
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in values.items()}


def _alone(retrieve: Retrieve, instance: StoredInstance) -> bytes:
    try:
        stored = retrieve.open(instance)
    except (FixityError, InstanceNotFound):
        return json_model.array([describe(instance, None, retrieve)])
    return json_model.array([describe(instance, stored, retrieve)])


def _joined(arrays: Iterator[bytes]) -> Chunks:
    """Yield JSON arrays as one."""
    before = b"["
    for each in arrays:
        yield before + each[1:-1]
        before = b","
    yield b"]"


def _based(chunks: Chunks, base: str) -> Chunks:
    told = b'"BulkDataURI":"' + base.encode()
    for chunk in chunks:
        yield bytes(chunk).replace(_KEPT, told)


def _gzipped(chunks: Chunks) -> Chunks:
    packer = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | 16)
    for chunk in chunks:
        packed = packer.compress(chunk)
        if packed:
            yield packed
    yield packer.flush()
