"""What became of the instances of a STOW-RS request, as its answer tells it (PS3.18 annex I.2); must not store any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from archive import errors
from archive.dicomweb.json_model import dumps

_REASONS: Final[Mapping[type[BaseException], int]] = {
    Exception: 0x0110,
    errors.IngestError: 0xC000,
    errors.InvalidUid: 0xC000,
    errors.BadRequest: 0xC000,
    errors.UnsupportedMedia: 0xC000,
    errors.SopClassMismatch: 0xA900,
    errors.SopInstanceMismatch: 0xA900,
    errors.StudyMismatch: 0xA900,
    errors.ConflictingInstance: 0x0111,
    errors.DestroyedInstance: 0x0124,
    errors.NotAllowed: 0x0124,
    errors.SopClassNotStored: 0x0122,
    errors.Unavailable: 0xA700,
}
"""Failure Reasons (PS3.18 table I.2-2, PS3.7 annex C), the same as the statuses of C-STORE."""


def failure_reason(error: BaseException) -> int:
    """Return the Failure Reason of an error: that of the nearest class up its tree."""
    return next(_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS)


@dataclass(frozen=True, slots=True)
class Named:
    """An instance by its SOP class, its UID and, once it is read, its study's; "" for what it does not say."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""


@dataclass(slots=True)
class StoreReport:
    """The instances of one request; ``base`` is the URL of the service."""

    base: str
    stored: list[Named] = field(default_factory=list)
    failed: list[tuple[Named, int]] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Return 200 when all were stored, 202 when some were, 409 when none was (table 10.5.3-1)."""
        if not self.failed:
            return 200
        return 202 if self.stored else 409

    @property
    def studies(self) -> list[str]:
        """Return the studies in which something was stored."""
        return list(dict.fromkeys(named.study_instance_uid for named in self.stored))

    def fail(self, named: Named, error: BaseException) -> None:
        """Note that an instance was not stored."""
        self.failed.append((named, failure_reason(error)))

    def json(self) -> bytes:
        """Return the Store Instances Response Module as a data set in JSON."""
        told: dict[str, Any] = {}
        if len(self.studies) == 1:
            told["00081190"] = _element("UR", f"{self.base}/studies/{self.studies[0]}")
        _add(told, "00081198", [_failed(named, reason) for named, reason in self.failed if named.sop_instance_uid])
        _add(told, "00081199", [self._referenced(named) for named in self.stored])
        others = [reason for named, reason in self.failed if not named.sop_instance_uid]
        _add(told, "0008119A", [{"00081197": _element("US", reason)} for reason in others])
        return dumps(told)

    def _referenced(self, named: Named) -> dict[str, Any]:
        study = f"{self.base}/studies/{named.study_instance_uid}"
        url = f"{study}/series/{named.series_instance_uid}/instances/{named.sop_instance_uid}"
        return {**_reference(named), "00081190": _element("UR", url)}


def _failed(named: Named, reason: int) -> dict[str, Any]:
    return {**_reference(named), "00081197": _element("US", reason)}


def _reference(named: Named) -> dict[str, Any]:
    return {"00081150": _element("UI", named.sop_class_uid), "00081155": _element("UI", named.sop_instance_uid)}


def _add(told: dict[str, Any], tag: str, items: list[dict[str, Any]]) -> None:
    if items:
        told[tag] = {"vr": "SQ", "Value": items}


def _element(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value != "" else {"vr": vr}
