"""Answers with several pictures: what is in them and in which order, what is left out, and what is drawn when."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

from archive.dicomweb import streaming, wado_album
from archive.dicomweb.streaming import Begun
from archive.dicomweb.wado_album import Album
from archive.errors import FixityError, NoSuchFrame, NoSuchRegion, NotAllGiven, NotAnImage
from archive.index.records import StoredInstance
from archive.services import pictures
from archive.services.pictures import Pictures
from archive.services.rendering import Look, Picture8, Region, encoded
from archive.services.retrieve import Selection
from tests.objects import ROOT, changed, ct_dataset
from tests.unit.services.shelf import Shelf, open_shelf

PNG = Look("image/png")
DOSE, REPORT = "1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.88.11"
BASE = "http://archive/dicom-web"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An empty shelf."""
    with open_shelf(tmp_path) as shelf:
        yield shelf


def flat(number: int, *values: int, **overrides: object) -> Dataset:
    """Return an image with a frame a value, all of that value, which its window shows as it is."""
    ds = changed(ct_dataset(number), {"NumberOfFrames": len(values), "WindowCenter": "128", "WindowWidth": "256"})
    ds.add_new("PixelData", "OW", b"".join(np.full((16, 16), value, "<u2").tobytes() for value in values))
    return changed(ds, overrides)


def report(number: int) -> Dataset:
    """Return an object that has no pixel data, and a class that never has."""
    return changed(ct_dataset(number, PixelData=None), {"SOPClassUID": REPORT})


def album(shelf: Shelf, *numbers: int, look: Look = PNG) -> Album:
    """Return an album of everything on the shelf."""
    return Album(Pictures(shelf.retrieve), everything(shelf), numbers, look, BASE)


def everything(shelf: Shelf) -> list[StoredInstance]:
    """Return all instances by number."""
    return shelf.retrieve.find(Selection("STUDY", studies=(f"{ROOT}.1",)))


def begin(shelf: Shelf, found: Album) -> Begun:
    """Begin an album."""
    return found.begin(ExitStack(), shelf.retrieve)


def shown(found: Album, body: bytes) -> list[tuple[str, int]]:
    """Return where each picture is from and its first value, as Python's own reader of messages finds them."""
    message = message_from_bytes(f"Content-Type: {found.media_type}\r\n\r\n".encode() + body)
    told = []
    for part in message.walk():
        if not part.is_multipart():
            assert part.get_content_type() == found.look.media_type
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            told.append((part["Content-Location"], int(np.asarray(Image.open(io.BytesIO(data)))[0, 0])))
    return told


def at(number: int, frame: int) -> str:
    """Return where a frame is found by itself."""
    return f"{BASE}/studies/{ROOT}.1/series/{ROOT}.1.1/instances/{ROOT}.1.1.{number}/frames/{frame}/rendered"


def open_files(shelf: Shelf) -> int:
    """Return how many files of a shelf are open."""
    folder = Path("/proc/self/fd")
    links = [os.readlink(each) for each in folder.iterdir() if each.is_symlink()]
    return sum(link.startswith(f"{shelf.root}/2026") for link in links)


def test_every_frame_is_a_picture_of_its_own(shelf: Shelf) -> None:
    """By number of the instance, then of the frame, each with the address under which it is alone."""
    for ds in (flat(3, 30), flat(1, 10), flat(2, 20, 21, 22)):
        shelf.put(ds)
    found = album(shelf)
    begun = begin(shelf, found)
    assert (found.status, begun.is_complete) == (200, True)
    expected = [(at(1, 1), 10), (at(2, 1), 20), (at(2, 2), 21), (at(2, 3), 22), (at(3, 1), 30)]
    assert shown(found, b"".join(begun)) == expected


def test_frames_that_are_named_are_drawn_alone(shelf: Shelf) -> None:
    """In the order in which they are named; one that is not there is an error."""
    shelf.put(flat(1, 10, 11, 12))
    found = album(shelf, 3, 1)
    assert shown(found, b"".join(begin(shelf, found))) == [(at(1, 3), 12), (at(1, 1), 10)]
    with pytest.raises(NoSuchFrame):
        begin(shelf, album(shelf, 1, 4))


def test_what_cannot_be_drawn_is_left_out_and_told(shelf: Shelf) -> None:
    """What has no pixels, what is too short, and a file that is gone, among others that are drawn."""
    shelf.put(report(1))
    shelf.put(flat(2, 20))
    shelf.put(flat(3, 30, Rows=400))
    shelf.put(flat(4, 40)).unlink()
    shelf.put(flat(5, 50))
    found = album(shelf)
    body = b"".join(begin(shelf, found))
    assert found.status == 206
    assert shown(found, body) == [(at(2, 1), 20), (at(5, 1), 50)]
    assert (found.given.completed, len(found.given.failed), found.given.surprises) == (2, 3, 0)
    assert isinstance(found.given.first_error, NotAnImage)


def test_an_album_without_a_picture_is_an_error(shelf: Shelf) -> None:
    """It is that of the first object, as if it had been asked for alone, and nothing stays open."""
    shelf.put(report(1))
    shelf.put(flat(2, 20)).unlink()
    with pytest.raises(NotAnImage, match="no pixel data"):
        begin(shelf, album(shelf))
    assert open_files(shelf) == 0


def test_a_region_that_no_image_has_is_an_error(shelf: Shelf) -> None:
    """The words tell how large the first one is."""
    shelf.put(flat(1, 10))
    with pytest.raises(NoSuchRegion, match="16 columns and 16 rows"):
        begin(shelf, album(shelf, look=Look("image/png", region=Region(left=16))))


def test_the_parts_that_have_a_region_are_cut(shelf: Shelf) -> None:
    """What is too small for it is left out."""
    shelf.put(flat(1, 10))
    wide = changed(ct_dataset(2), {"Columns": 32, "WindowCenter": "128", "WindowWidth": "256"})
    wide.add_new("PixelData", "OW", np.tile(np.arange(32, dtype="<u2"), 16).tobytes())
    shelf.put(wide)
    found = album(shelf, look=Look("image/png", region=Region(left=20, width=-10)))
    assert shown(found, b"".join(begin(shelf, found))) == [(at(2, 1), 29)]
    assert found.status == 206


def test_pictures_are_drawn_one_by_one(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """None before the one before it is taken, and nothing stays open when nobody takes more."""
    drawn: list[int] = []

    def counted(picture: Picture8, look: Look, *, aspect: float) -> bytes:
        drawn.append(int(picture[0, 0]))
        return encoded(picture, look, aspect=aspect)

    monkeypatch.setattr(pictures, "encoded", counted)
    monkeypatch.setattr(streaming, "SMALL_BYTES", 1)
    shelf.put(flat(1, 10, 11))
    shelf.put(flat(2, 20))
    found, closed = album(shelf), list[bool]()
    with ExitStack() as stack:
        stack.callback(closed.append, True)
        begun = found.begin(stack.pop_all(), shelf.retrieve)
    assert (drawn, begun.is_complete, closed) == ([10], False, [])
    next(begun)
    next(begun)
    assert drawn == [10, 11]
    assert open_files(shelf) > 0
    begun.close()
    assert (drawn, open_files(shelf), closed) == ([10, 11], 0, [True])


def test_so_many_pictures_are_drawn_before_the_status_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are: nobody waits for thousands."""
    monkeypatch.setattr(wado_album, "_FIRST_PICTURES", 2)
    for number in (1, 2, 3, 4):
        shelf.put(flat(number, number))
    found = album(shelf)
    begun = begin(shelf, found)
    assert (len(begun.first), begun.is_complete) == (2, False)
    assert [value for _, value in shown(found, b"".join(begun))] == [1, 2, 3, 4]


def test_what_comes_later_is_looked_at_before_the_status_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report far behind makes it 206 and cuts nothing; what is no image by its class may have pixels all the same."""
    monkeypatch.setattr(streaming, "SMALL_BYTES", 1)
    shelf.put(flat(1, 10))
    shelf.put(flat(2, 20, SOPClassUID=DOSE))
    found = album(shelf)
    assert [value for _, value in shown(found, b"".join(begin(shelf, found)))] == [10, 20]
    assert found.status == 200
    shelf.put(report(3))
    shelf.put(flat(4, 40))
    found = album(shelf)
    begun = begin(shelf, found)
    assert (found.status, begun.is_complete) == (206, False)
    assert [value for _, value in shown(found, b"".join(begun))] == [10, 20, 40]


def test_what_the_index_knows_is_foreseen(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without a copy, and one in a transfer syntax whose frames cannot be told apart, such as video."""
    monkeypatch.setattr(streaming, "SMALL_BYTES", 1)
    for number in (1, 2, 3):
        shelf.put(flat(number, number))
    first, second, third = everything(shelf)
    video = replace(third, transfer_syntax_uid="1.2.840.10008.1.2.4.100")
    found = Album(Pictures(shelf.retrieve), [first, replace(second, locations=()), video], (), PNG, BASE)
    begun = begin(shelf, found)
    assert (found.status, [each.instance_id for each in found.given.foreseen]) == (
        206,
        [second.instance_id, third.instance_id],
    )
    assert [value for _, value in shown(found, b"".join(begun))] == [1]


def test_a_surprise_cuts_the_answer_at_its_end(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others come, and then no end: 200 was told, and half an answer never looks whole."""
    monkeypatch.setattr(streaming, "SMALL_BYTES", 1)
    files = [shelf.put(flat(number, number)) for number in (1, 2, 3, 4)]
    found = album(shelf)
    begun, chunks = begin(shelf, found), []
    files[1].unlink()
    files[2].unlink()
    with pytest.raises(NotAllGiven) as caught:
        while True:
            chunks.append(bytes(next(begun)))
    assert (found.status, caught.value.fields["failed"]) == (200, 2)
    assert isinstance(found.given.first_error, FixityError)
    body = b"".join(chunks)
    assert body.count(b"Content-Location") == 2 and at(4, 1).encode() in body
    assert not body.endswith(b"--\r\n")


def test_an_image_that_breaks_off_is_told_too(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that were drawn stay, the rest of it is missing, other images follow, and the answer is cut."""
    monkeypatch.setattr(streaming, "SMALL_BYTES", 1)
    large = flat(1, 10, 11, 12, Rows=256, Columns=256)
    large.add_new("PixelData", "OW", large.PixelData[:2] * (3 << 16))
    path = shelf.put(large)
    shelf.put(flat(2, 20))
    found = album(shelf)
    begun, chunks = begin(shelf, found), []
    os.truncate(path, path.stat().st_size // 4)
    with pytest.raises(NotAllGiven):
        while True:
            chunks.append(bytes(next(begun)))
    assert [value for _, value in shown(found, b"".join(chunks))] == [10, 20]
    assert (found.given.completed, found.given.surprises, open_files(shelf)) == (1, 1, 0)


def test_every_album_has_a_boundary_of_its_own(shelf: Shelf) -> None:
    """What was drawn for one reader cannot be taken for the end of what another one gets."""
    shelf.put(flat(1, 10))
    one, other = album(shelf), album(shelf)
    assert one.media_type != other.media_type
    assert shown(one, b"".join(begin(shelf, one))) == shown(other, b"".join(begin(shelf, other)))
