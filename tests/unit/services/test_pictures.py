"""Frames and pictures of stored objects: found, refused with words that help, drawn so many at a time."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

from archive.errors import FixityError, NoSuchFrame, NotAnImage, RetrieveError
from archive.index.records import StoredInstance
from archive.services import pictures
from archive.services.pictures import Pictures, check_frames
from archive.services.rendering import Look, Picture8, encoded
from archive.services.retrieve import Selection
from tests.objects import ROOT, changed, ct_dataset
from tests.unit.services.shelf import Shelf, open_shelf

PNG = Look("image/png")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An empty shelf."""
    with open_shelf(tmp_path) as shelf:
        yield shelf


def stored(shelf: Shelf, ds: Dataset) -> StoredInstance:
    """Store an object; return it as the index has it."""
    shelf.put(ds)
    (found,) = shelf.retrieve.find(Selection("IMAGE", instances=(ds.SOPInstanceUID,)))
    return found


def shown(shelf: Shelf, instance: StoredInstance, number: int | None = 1) -> Picture8:
    """Return a picture's grey values."""
    return np.asarray(Image.open(io.BytesIO(Pictures(shelf.retrieve).rendered(instance, number, PNG))))


def three_frames(number: int = 1) -> Dataset:
    """Return an image of three frames, each of one value, with a window that shows the values as they are."""
    ds = changed(ct_dataset(number), {"NumberOfFrames": 3, "WindowCenter": "128", "WindowWidth": "256"})
    ds.add_new("PixelData", "OW", b"".join(np.full((16, 16), value, "<u2").tobytes() for value in (10, 20, 30)))
    return ds


def test_the_frame_that_is_asked_for_is_drawn(shelf: Shelf) -> None:
    """Frames count from 1; none in particular is the one in the middle."""
    instance = stored(shelf, three_frames())
    assert [int(shown(shelf, instance, number)[0, 0]) for number in (1, 2, 3, None)] == [10, 20, 30, 20]
    for number in (0, 4):
        with pytest.raises(NoSuchFrame):
            shown(shelf, instance, number)
    with Pictures(shelf.retrieve).opened(instance) as found:
        check_frames(found.frames(), [3, 1])
        with pytest.raises(NoSuchFrame):
            check_frames(found.frames(), [1, 4])


def test_frames_are_drawn_as_they_are_asked_for(shelf: Shelf) -> None:
    """All of an object, or those that are named; the same pictures as each by itself; the file is closed at its end."""
    instance, drawn = stored(shelf, three_frames()), Pictures(shelf.retrieve)
    alone = [(number, drawn.rendered(instance, number, PNG)) for number in (1, 2, 3)]
    assert list(drawn.iter_rendered(shelf.retrieve.open(instance), (), PNG)) == alone
    assert list(drawn.iter_rendered(shelf.retrieve.open(instance), (3, 1), PNG)) == [alone[2], alone[0]]
    with pytest.raises(NoSuchFrame):
        next(drawn.iter_rendered(shelf.retrieve.open(instance), (1, 4), PNG))
    going = drawn.iter_rendered(shelf.retrieve.open(instance), (), PNG)
    assert next(going) == alone[0]
    assert drawn.turns.acquire(blocking=False)
    drawn.turns.release()
    going.close()
    assert list(going) == []


def test_what_is_no_image_says_so(shelf: Shelf) -> None:
    """An object without pixel data, and one whose transfer syntax nobody knows."""
    with pytest.raises(NotAnImage, match="no pixel data"):
        shown(shelf, stored(shelf, ct_dataset(1, PixelData=None)))
    instance = stored(shelf, ct_dataset(2))
    with Pictures(shelf.retrieve).opened(instance) as found, pytest.raises(NotAnImage, match=r"1\.2\.3"):
        pictures.OpenObject(found.file, "1.2.3").frames()


def test_pixels_that_are_not_there_are_an_error_of_the_object(shelf: Shelf) -> None:
    """Fewer bytes than the description says, and a file that is gone."""
    with pytest.raises(RetrieveError, match="bytes of pixel data"):
        shown(shelf, stored(shelf, changed(ct_dataset(1), {"Rows": 400})))
    path = shelf.put(ct_dataset(2))
    (instance,) = shelf.retrieve.find(Selection("IMAGE", instances=(f"{ROOT}.1.1.2",)))
    path.unlink()
    with pytest.raises(FixityError):
        shown(shelf, instance)


def test_so_many_are_drawn_at_a_time(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask: the others wait for their turn, and all are served."""
    instance, drawn = stored(shelf, three_frames()), Pictures(shelf.retrieve, threading.Semaphore(2))
    now, most, lock = [0], [0], threading.Lock()

    def slowly(picture: Picture8, look: Look, *, aspect: float) -> bytes:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.01)
        with lock:
            now[0] -= 1
        return encoded(picture, look, aspect=aspect)

    monkeypatch.setattr(pictures, "encoded", slowly)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: drawn.rendered(instance, number, PNG), [1, 2, 3] * 6))
    assert len(found) == 18
    assert most[0] <= 2
