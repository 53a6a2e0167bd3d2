"""Frames and bulk data of one instance (PS3.18 sections 10.4.1.1.5 and .6); must not decode a pixel itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from archive.dicomweb.accept import MediaRange, accepted
from archive.dicomweb.streaming import Begun, Multipart, Threads, answer
from archive.dicomweb.urls import base_url
from archive.errors import BadRequest, NoSuchResource, NotAcceptable
from archive.http.access import access_of
from archive.index.records import StoredInstance
from archive.services.pictures import EXPLICIT_LITTLE, OpenObject, Pictures, check_frames
from archive.services.retrieve import conversion_errors
from archive.services.viewing import Viewing
from tiering.transcode.locate import Place, find_value
from tiering.transcode.pixels import Frames

OCTETS: Final = "application/octet-stream"
_PIXEL_DATA: Final = 0x7FE00010
_LONGEST_LIST: Final = 32 * 1024
_WINDOW_BYTES: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_JPEG: Final = "1.2.840.10008.1.2.4."
MEDIA_TYPES: Final = {
    **dict.fromkeys([_JPEG + each for each in ("50", "51", "57", "70")], "image/jpeg"),
    **dict.fromkeys([_JPEG + each for each in ("80", "81")], "image/jls"),
    **dict.fromkeys([_JPEG + each for each in ("90", "91")], "image/jp2"),
    **dict.fromkeys([_JPEG + each for each in ("201", "202", "203")], "image/jphc"),
    **dict.fromkeys([_JPEG + each for each in ("110", "111", "112")], "image/jxl"),
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""The media type of a frame in a compressed transfer syntax (PS3.18 table 8.7.3-5)."""


@dataclass(frozen=True, slots=True)
class Form:
    """In which form frames go: decoded or as stored, under which names, in a multipart or one by itself."""

    is_decoded: bool
    media_type: str
    transfer_syntax_uid: str
    is_multipart: bool

    @property
    def content_type(self) -> str:
        """Return the Content-Type of a frame."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax_uid}"


@dataclass(frozen=True, slots=True)
class FrameRequests:
    """Answers requests for frames and for bulk data."""

    viewing: Viewing
    pictures: Pictures
    threads: Threads

    def frames(self, request: Request) -> Response:
        """Answer GET .../frames/{list}."""
        return self._frames(
            request, self._instance(request, "WADO-RS frames"), read_list(request.path_params["frames"])
        )

    def bulk_data(self, request: Request) -> Response:
        """Answer GET .../bulkdata/{place}; of pixel data that are compressed: all frames."""
        path = read_path(request.path_params["place"])
        instance = self._instance(request, "WADO-RS bulk data")
        with ExitStack() as stack:
            found = stack.enter_context(self.pictures.opened(instance))
            place = _find(found, path)
            if place is not None:
                return self._value(request, found, place, stack.pop_all())
        if path != [_PIXEL_DATA]:
            raise NoSuchResource(reason="the instance has no such value")
        return self._frames(request, instance, [])

    def _instance(self, request: Request, service: str) -> StoredInstance:
        access, params = access_of(request), request.path_params
        instances = self.viewing.find(access, params["study"], params["series"], params["instance"])
        self.viewing.check_readable(instances, access)
        self.viewing.note(access, instances[0].study_instance_uid, service=service)
        return instances[0]

    def _frames(self, request: Request, instance: StoredInstance, numbers: list[int]) -> Response:
        with ExitStack() as stack:
            found = stack.enter_context(self.pictures.opened(instance))
            frames = found.frames()
            numbers = numbers or list(range(1, frames.picture.frames + 1))
            check_frames(frames, numbers)
            form = choose_form(accepted(request), found.transfer_syntax_uid, frames, len(numbers))
            making = _Making(frames, numbers, form, _location(request, instance))
            begun = Begun(making.chunks(stack.pop_all())).begin()
        return answer(begun, self.threads.making, media_type=making.media_type, headers={})

    def _value(self, request: Request, found: OpenObject, place: Place, stack: ExitStack) -> Response:
        with stack:
            start, end, status = byte_range(request.headers.get("range", ""), place.length)
            headers = {"content-length": str(end - start), "accept-ranges": "bytes"}
            if status == 206:
                headers["content-range"] = f"bytes {start}-{end - 1}/{place.length}"
            frame = Multipart(OCTETS) if _wants_multipart(accepted(request)) else None
            if frame is not None:
                del headers["content-length"]
            media_type = OCTETS if frame is None else frame.media_type
            chunks = _value_chunks(found, place.offset + start, place.offset + end, frame, stack.pop_all())
        begun = Begun(chunks).begin()
        return answer(begun, self.threads.making, media_type=media_type, status=status, headers=headers)


@dataclass(slots=True)
class _Making:
    """Makes the parts of an answer with frames."""

    frames: Frames
    numbers: Sequence[int]
    form: Form
    location: str
    multipart: Multipart | None = None

    def __post_init__(self) -> None:
        self.multipart = Multipart(self.form.media_type) if self.form.is_multipart else None

    @property
    def media_type(self) -> str:
        """Return the Content-Type of the answer."""
        return self.form.content_type if self.multipart is None else self.multipart.media_type

    def chunks(self, stack: ExitStack) -> Iterator[bytes]:
        """Yield the answer; what is on the stack is closed at its end."""
        with stack:
            for number in self.numbers:
                with conversion_errors():
                    read = self.frames.native if self.form.is_decoded else self.frames.stored
                    frame = read(number - 1)
                if self.multipart is None:
                    yield frame
                else:
                    place = f"{self.location}/frames/{number}"
                    yield self.multipart.head(self.form.content_type, content_location=place) + frame
            if self.multipart is not None:
                yield self.multipart.end()


def choose_form(ranges: Sequence[MediaRange], stored: str, frames: Frames, count: int) -> Form:
    """Return the form that is wanted most and can be given (PS3.18 section 8.7.3.3); raise NotAcceptable.

    Decoded frames are little endian, and what is compressed and is not asked for so is decoded.
    """
    compressed = MEDIA_TYPES.get(stored)
    for each in ranges:
        is_multipart = each.kind in ("multipart/related", "multipart/*", "*/*")
        if not is_multipart and count > 1:
            continue
        form = _form(each, stored, compressed, is_multipart=is_multipart)
        if form is not None and (not form.is_decoded or frames.can_decode):
            return form
    given = f"{OCTETS} or {compressed}" if compressed else OCTETS
    raise NotAcceptable(reason=f"frames of this instance are given as {given}, several as multipart/related")


def _form(each: MediaRange, stored: str, compressed: str | None, *, is_multipart: bool) -> Form | None:
    payload = "*/*" if each.kind == "multipart/*" else each.payload
    syntax = each.transfer_syntax
    if compressed is None:
        wanted = payload in (OCTETS, "*/*", "application/*") and syntax in ("", "*", EXPLICIT_LITTLE)
        return Form(True, OCTETS, EXPLICIT_LITTLE, is_multipart) if wanted else None
    if payload in (compressed, "image/*") and syntax in ("", "*", stored):
        return Form(False, compressed, stored, is_multipart)
    if payload in ("*/*", OCTETS, "application/*"):
        if syntax in ("*", stored):
            return Form(False, compressed if payload == "*/*" else OCTETS, stored, is_multipart)
        if syntax in ("", EXPLICIT_LITTLE):
            return Form(True, OCTETS, EXPLICIT_LITTLE, is_multipart)
    return None


def read_list(text: str) -> list[int]:
    """Return the numbers of frames in a path, "1,2,7"; raise BadRequest."""
    if len(text) > _LONGEST_LIST or not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", text, re.ASCII):
        raise BadRequest(reason="frames are numbers from 1 on, with commas between them")
    return [int(number) for number in text.split(",")]


def read_path(text: str) -> list[int]:
    """Return the tags and item numbers of a place, "00081140/2/00420011"; raise BadRequest."""
    parts = text.strip("/").split("/")
    for index, part in enumerate(parts):
        pattern = r"[1-9][0-9]{0,8}" if index % 2 else r"[0-9A-Fa-f]{8}"
        if not re.fullmatch(pattern, part, re.ASCII):
            raise BadRequest(reason="bulk data are named by tags with numbers of items between them")
    return [int(part) if index % 2 else int(part, 16) for index, part in enumerate(parts)]


def _find(found: OpenObject, path: list[int]) -> Place | None:
    found.file.seek(0)
    with conversion_errors():
        return find_value(found.file, source_uid=found.transfer_syntax_uid, path=path)


def _location(request: Request, instance: StoredInstance) -> str:
    study, series = instance.study_instance_uid, instance.series_instance_uid
    return f"{base_url(request)}/studies/{study}/series/{series}/instances/{instance.sop_instance_uid}"


def _wants_multipart(ranges: Sequence[MediaRange]) -> bool:
    """Tell whether a value is wanted as multipart; raise NotAcceptable when it is wanted as neither."""
    for each in ranges:
        if each.kind in (OCTETS, "*/*", "application/*"):
            return False
        if each.kind == "multipart/related" and each.payload in (OCTETS, "*/*", "application/*"):
            return True
    raise NotAcceptable(reason=f"bulk data are given as {OCTETS}")


def byte_range(text: str, length: int) -> tuple[int, int, int]:
    """Return first and last byte (exclusive) and the status; what is no range of ours means all (RFC 9110 14.2)."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or int(match[1]) >= length:
        return 0, length, 200
    end = min(int(match[2]) + 1, length) if match[2] else length
    return (int(match[1]), end, 206) if end > int(match[1]) else (0, length, 200)


def _value_chunks(
    found: OpenObject, position: int, end: int, frame: Multipart | None, stack: ExitStack
) -> Iterator[bytes]:
    with stack:
        found.file.seek(position)
        if frame is not None:
            yield frame.head(OCTETS)
        while position < end and (chunk := found.file.read(min(_WINDOW_BYTES, end - position))):
            yield chunk
            position += len(chunk)
        if frame is not None:
            yield frame.end()
