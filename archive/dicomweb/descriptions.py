"""What each resource of the service takes and gives, in words and schemas; must not answer a request.

One table, from which both descriptions of the service follow: OpenAPI and the capabilities of PS3.18 section 8.9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from archive.dicomweb.json_model import MEDIA_TYPE as DICOM_JSON

Json = Mapping[str, Any]
WADL: Final = "application/vnd.sun.wadl+xml"
UID: Final[Json] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
PATH_SCHEMAS: Final[Mapping[str, Json]] = {
    "study": UID,
    "series": UID,
    "instance": UID,
    "frames": {"type": "string", "pattern": "^[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*$", "maxLength": 700},
    "place": {"type": "string", "pattern": "^[0-9A-F]{8}$"},
}
"""What stands in a path: UIDs, a list of frame numbers from 1 on, the place of a value as metadata tells it."""

_STUDY: Final = "/studies/{study}"
_SERIES: Final = f"{_STUDY}/series/{{series}}"
_INSTANCE: Final = f"{_SERIES}/instances/{{instance}}"
_FRAMES: Final = f"{_INSTANCE}/frames/{{frames}}"
_JSON: Final = (DICOM_JSON, "application/json")
_OBJECTS: Final = ('multipart/related; type="application/dicom"',)
_PICTURES: Final = ("image/jpeg", "image/png")
_ALBUM: Final = tuple(f'multipart/related; type="{each}"' for each in _PICTURES)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter and the JSON schema of its value."""

    name: str
    told: str
    schema: Json


@dataclass(frozen=True, slots=True)
class Described:
    """One method of one resource: its section in PS3.18, what it is for, takes and gives.

    ``statuses`` are those beside 200 and beside the ones that any request may be answered with.
    """

    name: str
    section: str
    told: str
    gives: Sequence[str] = ()
    takes: Sequence[str] = ()
    parameters: Sequence[Parameter] = ()
    statuses: Sequence[int] = ()


_ATTRIBUTE: Final[Json] = {"type": "string", "maxLength": 64}
_DATE: Final[Json] = {"type": "string", "pattern": "^[0-9]{8}(-([0-9]{8})?)?$"}
_OCTETS: Final = "application/octet-stream"
_PAGING: Final = (
    Parameter("limit", "the largest number of answers", {"type": "integer", "minimum": 1}),
    Parameter("offset", "how many answers to pass over", {"type": "integer", "minimum": 0}),
    Parameter("fuzzymatching", "match the beginnings of words of names", {"type": "string", "enum": ["true", "false"]}),
    Parameter("includefield", "attributes to return: keywords or tags, with commas, or all", {"type": "string"}),
)
_KEYS: Final = (
    Parameter("PatientName", "with * and ? as wildcards; case and accents do not count", _ATTRIBUTE),
    Parameter("PatientID", "with * and ? as wildcards", _ATTRIBUTE),
    Parameter("StudyDate", "YYYYMMDD, or a range with a dash", _DATE),
    Parameter("AccessionNumber", "with * and ? as wildcards", _ATTRIBUTE),
    Parameter("ModalitiesInStudy", "one of these, with commas", {"type": "string", "pattern": "^[A-Z]{2,16}$"}),
)
_SEARCH: Final = (*_PAGING, *_KEYS)
_RENDER: Final = (
    Parameter("window", "centre,width,function (linear, linear-exact, sigmoid)", {"type": "string"}),
    Parameter(
        "viewport",
        "width,height in pixels to fit into, then x,y,width,height of the part of the image to draw, in its pixels; "
        "each of these four may be empty, and a negative width or height mirrors",
        {"type": "string"},
    ),
    Parameter("quality", "of a JPEG", {"type": "integer", "minimum": 1, "maximum": 100}),
)
_SEARCH_WORDS: Final = "Any attribute is a key, by keyword or by tag; newest arrivals come first."


def _search(name: str, told: str) -> Described:
    return Described(name, "10.6", f"{told} {_SEARCH_WORDS}", gives=_JSON, parameters=_SEARCH)


def _store(name: str, told: str) -> Described:
    takes = ('multipart/related; type="application/dicom"', "application/dicom")
    return Described(name, "10.5", told, gives=_JSON, takes=takes, statuses=(202, 409, 413, 415, 507))


def _retrieve(name: str, told: str, gives: Sequence[str], *parameters: Parameter) -> Described:
    return Described(name, "10.4", told, gives=gives, parameters=parameters, statuses=(206, 404, 410, 500))


DESCRIPTIONS: Final[Mapping[tuple[str, str], Described]] = {
    ("GET", "/studies"): _search("searchStudies", "Find studies."),
    ("GET", "/series"): _search("searchAllSeries", "Find series of any study."),
    ("GET", f"{_STUDY}/series"): _search("searchSeries", "Find series of a study."),
    ("GET", "/instances"): _search("searchAllInstances", "Find instances of any study."),
    ("GET", f"{_STUDY}/instances"): _search("searchInstances", "Find instances of a study."),
    ("GET", f"{_SERIES}/instances"): _search("searchInstancesOfSeries", "Find instances of a series."),
    ("POST", "/studies"): _store("store", "Store instances: Part 10 files, durable once the answer names them."),
    ("POST", _STUDY): _store("storeInStudy", "Store instances of this study alone."),
    ("GET", _STUDY): _retrieve("retrieveStudy", "All instances of a study.", _OBJECTS),
    ("GET", _SERIES): _retrieve("retrieveSeries", "All instances of a series.", _OBJECTS),
    ("GET", _INSTANCE): _retrieve("retrieveInstance", "One instance.", (*_OBJECTS, "application/dicom")),
    ("GET", f"{_STUDY}/metadata"): _retrieve("studyMetadata", "All but bulk data, of a study.", _JSON),
    ("GET", f"{_SERIES}/metadata"): _retrieve("seriesMetadata", "All but bulk data, of a series.", _JSON),
    ("GET", f"{_INSTANCE}/metadata"): _retrieve("instanceMetadata", "All but bulk data, of an instance.", _JSON),
    ("GET", f"{_STUDY}/thumbnail"): _retrieve("studyThumbnail", "A small picture.", _PICTURES, *_RENDER),
    ("GET", f"{_SERIES}/thumbnail"): _retrieve("seriesThumbnail", "A small picture.", _PICTURES, *_RENDER),
    ("GET", f"{_INSTANCE}/thumbnail"): _retrieve("instanceThumbnail", "A small picture.", _PICTURES, *_RENDER),
    ("GET", f"{_FRAMES}/thumbnail"): _retrieve("frameThumbnail", "A small picture.", _PICTURES, *_RENDER),
    ("GET", f"{_STUDY}/rendered"): _retrieve("renderStudy", "Every frame of a study, drawn.", _ALBUM, *_RENDER),
    ("GET", f"{_SERIES}/rendered"): _retrieve("renderSeries", "Every frame of a series, drawn.", _ALBUM, *_RENDER),
    ("GET", f"{_INSTANCE}/rendered"): _retrieve(
        "renderInstance", "The first frame, drawn; as multipart every frame.", (*_PICTURES, *_ALBUM), *_RENDER
    ),
    ("GET", f"{_FRAMES}/rendered"): _retrieve("renderFrames", "Frames, drawn.", (*_PICTURES, *_ALBUM), *_RENDER),
    ("GET", _FRAMES): _retrieve(
        "retrieveFrames", "Frames, decoded or as stored.", (f'multipart/related; type="{_OCTETS}"',)
    ),
    ("GET", f"{_INSTANCE}/bulkdata/{{place}}"): _retrieve(
        "retrieveBulkData",
        "One long value.",
        (_OCTETS, f'multipart/related; type="{_OCTETS}"'),
    ),
    ("GET", "/openapi.json"): Described("openapi", "8.9", "This description.", gives=("application/json",)),
    ("OPTIONS", "/"): Described("capabilities", "8.9", "What the service does.", gives=(WADL, "application/json")),
}
"""Every method of every resource, by its path below the service's own."""
