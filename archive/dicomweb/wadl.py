"""The capabilities of the service as WADL (PS3.18 section 8.9), from its table; must not describe what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree as Xml

from archive.dicomweb.descriptions import DESCRIPTIONS, Described

_NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"


def wadl(base: str) -> bytes:
    """Return the document; ``base`` is the URL of the service."""
    application = Xml.Element("application", {"xmlns": _NAMESPACE})
    resources = Xml.SubElement(application, "resources", {"base": f"{base}/"})
    by_path: dict[str, dict[str, Described]] = {}
    for (method, path), described in DESCRIPTIONS.items():
        by_path.setdefault(path, {})[method] = described
    for path, methods in by_path.items():
        _add_resource(resources, path, methods)
    written: bytes = Xml.tostring(application, encoding="utf-8", xml_declaration=True)
    return written


def _add_resource(resources: Xml.Element, path: str, methods: Mapping[str, Described]) -> None:
    resource = Xml.SubElement(resources, "resource", {"path": path.lstrip("/")})
    for name, described in methods.items():
        method = Xml.SubElement(resource, "method", {"name": name, "id": described.name})
        request = Xml.SubElement(method, "request")
        for parameter in described.parameters:
            Xml.SubElement(request, "param", {"name": parameter.name, "style": "query"})
        for media_type in described.takes:
            Xml.SubElement(request, "representation", {"mediaType": media_type})
        response = Xml.SubElement(method, "response", {"status": "200"})
        for media_type in described.gives:
            Xml.SubElement(response, "representation", {"mediaType": media_type})
