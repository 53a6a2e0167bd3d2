"""What a series pack says of itself, as canonical JSON; must not know where the bytes lie.

The manifest alone suffices to make the index of a lost archive again. Canonical: keys sorted, no blanks, ASCII; reading
one is writing it again and comparing, so that one manifest has one digest. It holds the identity of a patient when
``SeriesFacts.metadata`` does: never log it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

from tiering.errors import MalformedPack, PackTooLarge, UnknownPackVersion
from tiering.pack_zip import FORMAT

MAX_METADATA_BYTES: Final = 16 << 20
MAX_MEMBER_BYTES: Final = 2048
"""Twice what the longest facts of an instance can take."""
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_WORD: Final = re.compile(r"[ -~]{0,64}")
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """What a pack is about: one generation, counted from 1, of one series of one site.

    ``created_at``: aware. ``metadata``: whatever the archive needs to index the series again, as JSON has it,
    ``MAX_METADATA_BYTES`` at most. Raises ValueError for what is none of that; so do the other facts.
    """

    site: str
    study_instance_uid: str
    series_instance_uid: str
    generation: int
    created_at: datetime
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(_is_name(self.site), "site")
        _require(is_uid(self.study_instance_uid), "study_instance_uid")
        _require(is_uid(self.series_instance_uid), "series_instance_uid")
        _require(_is_count(self.generation) and self.generation > 0, "generation")
        _require(self.created_at.tzinfo is not None, "created_at")
        _require(_is_mapping(self.metadata), "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What is known of an instance before it is packed. Digests are SHA-256 in hexadecimal.

    ``header_size``: bytes of the Part 10 header (preamble and file meta group, PS3.10 section 7.1) in front of the data
    set. ``dataset_sha256``: of the data set as the pack holds it. ``received_sha256`` and
    ``received_transfer_syntax_uid``: of the data set as it was received, others when it was compressed since.
    ``pixel_sha256``: of the decoded pixels. ``derived_from``: the SOP Instance UID of the original of a lossy copy.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    header_size: int
    dataset_sha256: str
    received_sha256: str
    received_transfer_syntax_uid: str
    pixel_sha256: str | None = None
    derived_from: str | None = None
    instance_number: int | None = None

    def __post_init__(self) -> None:
        _require(is_uid(self.sop_instance_uid), "sop_instance_uid")
        for name in ("sop_class_uid", "transfer_syntax_uid", "received_transfer_syntax_uid"):
            _require(_is_word(getattr(self, name)), name)
        _require(_is_count(self.header_size), "header_size")
        _require(_is_digest(self.dataset_sha256), "dataset_sha256")
        _require(_is_digest(self.received_sha256), "received_sha256")
        _require(self.pixel_sha256 is None or _is_digest(self.pixel_sha256), "pixel_sha256")
        _require(self.derived_from is None or is_uid(self.derived_from), "derived_from")
        _require(self.instance_number is None or _is_count(abs(self.instance_number)), "instance_number")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMember(MemberFacts):
    """An instance in its pack: the bytes from ``offset`` on, ``length`` of them, are its whole Part 10 file.

    ``sha256`` and ``crc32`` are theirs, ``name`` is the file's name for those who unpack.
    """

    name: str
    offset: int
    length: int
    sha256: str
    crc32: int

    def __post_init__(self) -> None:
        MemberFacts.__post_init__(self)
        _require(_is_word(self.name), "name")
        _require(_is_count(self.offset), "offset")
        _require(_is_count(self.length) and self.length >= self.header_size, "length")
        _require(_is_digest(self.sha256), "sha256")
        _require(_is_count(self.crc32), "crc32")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A series and its instances, in the order of the pack."""

    series: SeriesFacts
    members: tuple[PackedMember, ...]

    def __post_init__(self) -> None:
        _require(len({member.sop_instance_uid for member in self.members}) == len(self.members), "members")


def is_uid(value: object) -> bool:
    """Tell whether a value is a UID (PS3.5 section 9.1; leading zeros are let through)."""
    return isinstance(value, str) and len(value) <= 64 and _UID.fullmatch(value) is not None


def manifest_limit(members: int) -> int:
    """Return how many bytes the manifest of a pack may have, which bounds what a damaged one makes us allocate."""
    return MAX_METADATA_BYTES + (members + 1) * MAX_MEMBER_BYTES


def check_series(series: SeriesFacts) -> None:
    """Raise PackTooLarge for metadata that no manifest takes, ValueError or TypeError for what JSON does not have."""
    size_bytes = len(_canonical(_series_as_dict(series)))
    if size_bytes > MAX_METADATA_BYTES:
        raise PackTooLarge(reason=f"its metadata have {size_bytes} bytes, {MAX_METADATA_BYTES} at most are taken")


def encode_manifest(series: SeriesFacts, members: Iterable[PackedMember]) -> bytes:
    """Return the manifest's bytes."""
    listed = [_as_dict(member) for member in members]
    return _canonical({"format": FORMAT, "members": listed, "series": _series_as_dict(series)})


def parse_manifest(data: bytes) -> Manifest:
    """Return what ``encode_manifest`` made ``data`` of.

    Raises UnknownPackVersion for another format, MalformedPack for anything else.
    """
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise UnknownPackVersion(found=str(content["format"])[:_SHOWN], known=FORMAT)
        series = dict(content["series"])
        series["created_at"] = datetime.fromisoformat(series["created_at"])
        members = tuple(PackedMember(**member) for member in content["members"])
        manifest = Manifest(SeriesFacts(**series), members)
        is_canonical = encode_manifest(manifest.series, members) == data
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as exc:
        raise MalformedPack(reason=f"its manifest cannot be read ({type(exc).__name__})") from exc
    if not is_canonical:
        raise MalformedPack(reason="its manifest is not in canonical form")
    return manifest


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False, sort_keys=True, separators=(",", ":")).encode("ascii")


def _series_as_dict(series: SeriesFacts) -> dict[str, Any]:
    moment = series.created_at.astimezone(UTC).isoformat(timespec="microseconds")
    return _as_dict(series) | {"created_at": moment}


def _as_dict(facts: SeriesFacts | PackedMember) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in _NAMES[type(facts)]}


_NAMES: Final[Mapping[type, Sequence[str]]] = {
    kind: [part.name for part in fields(kind)] for kind in (SeriesFacts, PackedMember)
}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _require(is_right: bool, name: str) -> None:
    if not is_right:
        raise ValueError(f"{name} is not what it must be")
