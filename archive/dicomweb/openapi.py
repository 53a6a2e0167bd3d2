"""The OpenAPI 3.1 description of the service, from its table of descriptions; must not describe what is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from archive.dicomweb.descriptions import DESCRIPTIONS, PATH_SCHEMAS, Described, Parameter
from archive.http.problems import MEDIA_TYPE as PROBLEM

_IN_PATH: Final = re.compile(r"\{(\w+)\}")
_ANY_REQUEST: Final = {
    400: "the request cannot be understood",
    401: "it is not known who asks",
    403: "whoever asks may not",
    406: "it cannot be given in any form that was asked for",
    503: "not now: Retry-After says when",
}
_SPECIAL: Final = {
    202: "some instances were stored, some were not",
    206: "only some of it can be given",
    404: "there is no such thing, or not for who asks",
    409: "no instance was stored",
    410: "it was destroyed lawfully",
    413: "the body is too long",
    415: "the body is in a form that is not taken",
    500: "what is stored cannot be read",
    507: "the storage is full",
}
_PROBLEM_SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_DATASET_SCHEMA: Final = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9A-F]{8}$"},
    "additionalProperties": {"type": "object", "required": ["vr"]},
}
_JSON_SCHEMAS: Final[Mapping[str, Any]] = {
    "10.6": {"type": "array", "items": {"$ref": "#/components/schemas/DataSet"}},
    "10.5": {"$ref": "#/components/schemas/DataSet"},
    "10.4": {"type": "array", "items": {"$ref": "#/components/schemas/DataSet"}},
    "8.9": {"type": "object"},
}
"""What JSON answers are, by the section that describes them."""


def document(base: str, version: str) -> dict[str, Any]:
    """Return the description; ``base`` is the URL of the service."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), described in DESCRIPTIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(path, described)
    return {
        "openapi": "3.1.0",
        "info": {"title": "drimbox DICOMweb", "version": version, "description": "DICOM PS3.18: QIDO, WADO, STOW."},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {"schemas": {"Problem": _PROBLEM_SCHEMA, "DataSet": _DATASET_SCHEMA}},
    }


def _operation(path: str, described: Described) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": PATH_SCHEMAS[name]} for name in _IN_PATH.findall(path)
    ]
    operation = {
        "operationId": described.name,
        "summary": described.told,
        "externalDocs": {"url": "https://dicom.nema.org/medical/dicom/current/output/chtml/part18/PS3.18.html"},
        "tags": [f"PS3.18 {described.section}"],
        "parameters": [*in_path, *map(_parameter, described.parameters)],
        "responses": _responses(described),
    }
    if described.takes:
        content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in described.takes}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {"name": parameter.name, "in": "query", "description": parameter.told, "schema": parameter.schema}


def _responses(described: Described) -> dict[str, Any]:
    good = {status: text for status, text in _SPECIAL.items() if status in described.statuses}
    told = {200: "done", **good, **_ANY_REQUEST}
    return {str(status): {"description": text, "content": _content(status, described)} for status, text in told.items()}


def _content(status: int, described: Described) -> dict[str, Any]:
    """Return what an answer holds; a store that failed tells its instances as one that did not."""
    problem = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if status >= 300 and not (status == 409 and described.takes):
        return problem
    schema = _JSON_SCHEMAS[described.section]
    return {media_type: {"schema": schema} if "json" in media_type else {} for media_type in described.gives}
