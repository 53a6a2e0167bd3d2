"""What requests for objects, frames, bulk data and pictures are understood as."""

from __future__ import annotations

import io

import pytest
from starlette.requests import Request

from archive.dicomweb.accept import parse_accept
from archive.dicomweb.wado import wanted_syntaxes
from archive.dicomweb.wado_frames import OCTETS, Form, byte_range, choose_form, read_list, read_path
from archive.dicomweb.wado_rendered import picture_form, read_look
from archive.errors import BadRequest, NotAcceptable
from archive.services.display import Window
from archive.services.rendering import Look, Region
from tests.unit.tiering.transcode.building import ENCODERS, EXPLICIT, JPEG_LS, Module, compressed, element, image
from tiering.transcode.pixels import Frames, find_frames

GREY = image(2, 6, 7, top=4000)


def frames_of(dataset: bytes, uid: str) -> Frames:
    """Return the frames of a data set."""
    found = find_frames(io.BytesIO(dataset), source_uid=uid)
    assert found is not None
    return found


NATIVE = frames_of(Module(GREY, frames=2).encode() + element(0x7FE00010, "OW", GREY.tobytes()), EXPLICIT)
PACKED = frames_of(compressed(Module(GREY, frames=2), [ENCODERS[JPEG_LS](frame) for frame in GREY]), JPEG_LS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/*", (False, ("",))),
        ('multipart/related; type="application/dicom"', (False, ("",))),
        ("multipart/related; type=application/dicom; transfer-syntax=*", (False, ("*",))),
        (
            "multipart/related; type=application/dicom; transfer-syntax=1.2;q=0.9;boundary=x, "
            "multipart/related; type=application/dicom; transfer-syntax=1.3;q=0.5, application/json",
            (False, ("1.2", "1.3")),
        ),
        ("application/dicom; transfer-syntax=1.2", (True, ("1.2",))),
        ("image/jpeg, multipart/*", (False, ("",))),
    ],
)
def test_objects_are_wanted_in_transfer_syntaxes(text: str, expected: tuple[bool, tuple[str, ...]]) -> None:
    """In the order of who asks; one file by itself where an instance is asked for as application/dicom."""
    assert wanted_syntaxes(parse_accept(text), is_instance=True) == expected


@pytest.mark.parametrize("text", ["application/json", 'multipart/related; type="application/octet-stream"', "image/*"])
def test_objects_are_given_as_objects_only(text: str) -> None:
    """Nothing else is offered, and several objects never as one file."""
    with pytest.raises(NotAcceptable):
        wanted_syntaxes(parse_accept(text), is_instance=True)
    with pytest.raises(NotAcceptable):
        wanted_syntaxes(parse_accept("application/dicom"), is_instance=False)


def decoded(*, is_multipart: bool = True) -> Form:
    """Return the form of decoded frames."""
    return Form(True, OCTETS, EXPLICIT, is_multipart)


@pytest.mark.parametrize(
    ("text", "frames", "stored", "form"),
    [
        ("*/*", NATIVE, EXPLICIT, decoded()),
        ("*/*", PACKED, JPEG_LS, decoded()),
        ("multipart/related; type=application/octet-stream", PACKED, JPEG_LS, decoded()),
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            PACKED,
            JPEG_LS,
            Form(False, OCTETS, JPEG_LS, True),
        ),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", NATIVE, EXPLICIT, decoded()),
        ("multipart/related; type=image/jls", PACKED, JPEG_LS, Form(False, "image/jls", JPEG_LS, True)),
        ("multipart/related; transfer-syntax=*", PACKED, JPEG_LS, Form(False, "image/jls", JPEG_LS, True)),
        (
            f"multipart/related; type=image/jls; transfer-syntax={JPEG_LS}",
            PACKED,
            JPEG_LS,
            Form(False, "image/jls", JPEG_LS, True),
        ),
        ("image/jls", PACKED, JPEG_LS, Form(False, "image/jls", JPEG_LS, False)),
        ("image/*", PACKED, JPEG_LS, Form(False, "image/jls", JPEG_LS, False)),
        ("application/octet-stream", PACKED, JPEG_LS, decoded(is_multipart=False)),
        (
            "multipart/related; type=image/jp2, multipart/related; type=application/octet-stream;q=0.1",
            PACKED,
            JPEG_LS,
            decoded(),
        ),
    ],
)
def test_frames_go_in_the_form_wanted_most(text: str, frames: Frames, stored: str, form: Form) -> None:
    """As stored when that is asked for, else decoded; never encoded anew."""
    assert choose_form(parse_accept(text), stored, frames, 1) == form


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("image/png", 1),
        ("multipart/related; type=image/jp2", 1),
        ("multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.90", 1),
        ("application/octet-stream", 2),
        ("image/jls", 2),
    ],
)
def test_other_forms_are_not_given(text: str, count: int) -> None:
    """What would have to be encoded, and several frames without a multipart around them."""
    with pytest.raises(NotAcceptable):
        choose_form(parse_accept(text), JPEG_LS, PACKED, count)


def test_lists_of_frames() -> None:
    """Numbers from 1 on, in any order, again if they are asked for again."""
    assert read_list("3,1,3") == [3, 1, 3]
    for text in ("", "0", "1,", "1,,2", "a", "-1", "1.5", "1 ,2", "9" * 12, "1," * 20_000 + "1"):
        with pytest.raises(BadRequest):
            read_list(text)


def test_places_of_bulk_data() -> None:
    """Tags with items between them."""
    assert read_path("7FE00010") == [0x7FE00010]
    assert read_path("00081140/2/00420011/") == [0x00081140, 2, 0x00420011]
    for text in ("", "7FE0001", "00081140/0/00420011", "00081140/x/00420011", "../etc/passwd", "00081140//00420011"):
        with pytest.raises(BadRequest):
            read_path(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 100, 200)),
        ("bytes=0-9", (0, 10, 206)),
        ("bytes=90-", (90, 100, 206)),
        ("bytes=90-900", (90, 100, 206)),
        ("bytes=100-", (0, 100, 200)),
        ("bytes=9-3", (0, 100, 200)),
        ("bytes=0-1,5-6", (0, 100, 200)),
        ("lines=1-2", (0, 100, 200)),
    ],
)
def test_ranges(text: str, expected: tuple[int, int, int]) -> None:
    """One range is followed; anything else means all of it, which is always allowed."""
    assert byte_range(text, 100) == expected


def asked(query: str, accept: str = "image/png") -> Request:
    """Return a request for a picture."""
    return Request({"type": "http", "query_string": query.encode(), "headers": [(b"accept", accept.encode())]})


def test_looks() -> None:
    """Window, viewport and quality say how a picture is wanted; the rest is default."""
    assert read_look(asked("")) == Look("image/png")
    assert read_look(asked("", "*/*")).media_type == "image/jpeg"
    look = read_look(asked("window=40,400,sigmoid&viewport=100,50&quality=7&annotation=patient"))
    assert look == Look("image/png", Window(40, 400, "SIGMOID"), (100, 50), 7)


@pytest.mark.parametrize(
    "query",
    [
        "window=1",
        "window=a,b,linear",
        "window=1,2,cubic",
        "window=1,0,linear",
        "window=nan,1,linear",
        "viewport=10",
        "viewport=",
        "viewport=,",
        "viewport=10,",
        "viewport=1.5,5",
        "viewport=-5,5",
        "viewport=,,1,1,1,1",
        "viewport=5,5,1,1,1,1,1",
        "viewport=5,5,-1,0",
        "viewport=5,5,0,-0.5",
        "viewport=5,5,0,0,0,5",
        "viewport=5,5,0,0,5,-0",
        "viewport=5,5,a",
        "viewport=5,5,1e1",
        "viewport=5,5,nan",
        "viewport=5,5,inf",
        "viewport=5,5,1_0",
        "viewport=5,5,%D9%A1",
        "viewport=5,5,9999999",
        "viewport=0,5",
        "viewport=99999,5",
        "viewport=a,b",
        "quality=0",
        "quality=101",
        "quality=x",
    ],
)
def test_what_makes_no_look_is_refused(query: str) -> None:
    """Nonsense is told, not guessed at."""
    with pytest.raises(BadRequest):
        read_look(asked(query))


@pytest.mark.parametrize(
    ("viewport", "size", "region"),
    [
        ("100,50", (100, 50), None),
        ("100,50,", (100, 50), None),
        ("100,50,,,,", (100, 50), None),
        ("100,50,3", (100, 50), Region(left=3)),
        ("100,50,,4", (100, 50), Region(top=4)),
        ("100,50,,,20,10", (100, 50), Region(width=20, height=10)),
        ("100,50,1,2,20", (100, 50), Region(1, 2, 20)),
        ("100,50, 1.5,2.25,-20.5,-10", (100, 50), Region(1.5, 2.25, -20.5, -10)),
        ("100,50,0,0,,-10", (100, 50), Region(height=-10)),
    ],
)
def test_viewports(viewport: str, size: tuple[int, int], region: Region | None) -> None:
    """The part of the image may be left away, as a whole or value by value; without any it is all of it."""
    assert read_look(asked(f"viewport={viewport}")) == Look("image/png", size=size, region=region)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", ("image/jpeg", False)),
        ("image/*", ("image/jpeg", False)),
        ("image/png", ("image/png", False)),
        ("image/gif, image/png;q=0.5", ("image/png", False)),
        ("multipart/*", ("image/jpeg", True)),
        ("multipart/related", ("image/jpeg", True)),
        ('multipart/related; type="image/*"', ("image/jpeg", True)),
        ('multipart/related; type="image/png"', ("image/png", True)),
        ("multipart/related; type=image/gif, multipart/related; type=image/PNG", ("image/png", True)),
        ("multipart/related; type=image/png;q=0.2, image/jpeg;q=0.3", ("image/jpeg", False)),
    ],
)
def test_forms_of_pictures(accept: str, expected: tuple[str, bool]) -> None:
    """The form that is wanted most of those that there are, with a multipart around it where that is asked for."""
    assert picture_form(asked("", accept)) == expected


@pytest.mark.parametrize(
    "accept",
    ["image/gif", "video/mp4", "application/dicom", 'multipart/related; type="application/dicom"', "multipart/mixed"],
)
def test_other_forms_of_pictures_are_not_given(accept: str) -> None:
    """Whoever asks is told which there are."""
    with pytest.raises(NotAcceptable, match=r"image/jpeg, image/png.*multipart/related"):
        picture_form(asked("", accept))


def test_other_pictures_are_not_drawn() -> None:
    """Neither GIF nor TIFF."""
    with pytest.raises(NotAcceptable):
        read_look(asked("", "image/gif"))
