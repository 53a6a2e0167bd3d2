"""The body of a retrieve: what counts as given, what is closed, and when the retrieve is over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from archive.dicomweb import wado
from archive.dicomweb.streaming import Multipart
from archive.dicomweb.wado import DICOM, _beginning, _Body
from archive.errors import FixityError, NotAllGiven
from archive.http.direct import FilePiece
from archive.index.records import StoredInstance
from archive.services.part10_files import Given, Part10, iter_prepared, prepare
from archive.services.retrieve import Selection
from tests.objects import ROOT
from tests.unit.services.shelf import Shelf


class Scene:
    """A retrieve of a series; ``ended``: how far it had come each time it was said to be over."""

    def __init__(self, shelf: Shelf, pool: ThreadPoolExecutor, lost: Callable[[int], bool] = lambda _: False) -> None:
        self.instances = shelf.retrieve.find(Selection("STUDY", studies=(f"{ROOT}.1",)))
        self.given = Given(self.instances)
        self.opened: list[Part10] = []
        self.ended: list[int] = []

        def prepare_one(instance: StoredInstance) -> Part10:
            if lost(self.instances.index(instance)):
                raise FixityError(key="k", reason="gone")
            self.opened.append(prepare(shelf.retrieve, instance, ("",)))
            return self.opened[-1]

        self.parts = iter_prepared(pool, prepare_one, self.given)

    def body(self, first: list[Part10], frame: Multipart | None = None) -> _Body:
        """Return the body, its first objects prepared already."""
        stack = ExitStack()
        stack.callback(lambda: self.ended.append(self.given.completed))
        stack.callback(self.parts.close)
        return _Body(first, self.parts, self.given, frame, stack)

    @property
    def is_closed(self) -> bool:
        """Tell whether no file is open any more."""
        return all(part.content._file.closed for part in self.opened)


def test_an_object_is_given_once_the_next_is_asked_for(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """Not before its bytes have gone; the retrieve is over with the last, and only once."""
    scene = Scene(shelf, pool)
    body = scene.body([], Multipart(DICOM))
    counts = []
    for piece in body:
        counts.append(scene.given.completed)
        assert isinstance(piece, FilePiece) or bytes(piece).endswith(b"--\r\n")
    body.close()
    assert (counts, scene.ended, scene.is_closed) == ([0, 1, 2, 3, 4, 5], [5], True)
    assert scene.given.size_bytes == sum(part.size_bytes for part in scene.opened)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_who_goes_away_has_what_he_took_but_the_last(shelf: Shelf, pool: ThreadPoolExecutor, taken: int) -> None:
    """What was going when the reader left is not given; everything is closed, what was prepared first included."""
    scene = Scene(shelf, pool)
    body = scene.body(_beginning(scene.parts), Multipart(DICOM))
    for _ in range(taken):
        next(body)
    body.close()
    assert (scene.ended, scene.given.completed) == ([max(0, taken - 1)], max(0, taken - 1))
    pool.shutdown(wait=True)
    assert scene.is_closed


def test_one_object_by_itself_has_no_frame(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """Its file is all there is."""
    scene = Scene(shelf, pool)
    first = next(scene.parts)
    body = scene.body([first])
    scene.parts.close()
    (piece,) = list(body)
    assert isinstance(piece, FilePiece)
    assert (piece.head, piece.content) == (first.header, first.content)
    assert (scene.given.completed, scene.ended) == (1, [1])


def test_what_fails_later_than_expected_is_no_whole_answer(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """The end is not told when something was promised that cannot be given; what was known before is no surprise."""
    scene = Scene(shelf, pool, lost=lambda number: number == 3)
    with pytest.raises(NotAllGiven):
        list(scene.body([], Multipart(DICOM)))
    assert scene.ended == [4]
    other = Scene(shelf, pool, lost=lambda number: number == 3)
    other.given.foreseen = [other.instances[3]]
    assert len(list(other.body([], Multipart(DICOM)))) == 5


def test_the_beginning_is_bounded(shelf: Shelf, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes, and by objects: files are open meanwhile; when preparing ends in an error nothing stays open."""
    monkeypatch.setattr(wado, "_FIRST_OBJECTS", 2)
    scene = Scene(shelf, pool)
    assert len(_beginning(scene.parts)) == 2
    monkeypatch.setattr(wado, "SMALL_BYTES", 1)
    assert len(_beginning(Scene(shelf, pool).parts)) == 1
    monkeypatch.undo()

    def lost(number: int) -> bool:
        if number == 2:
            raise RuntimeError("a mistake")
        return False

    broken = Scene(shelf, pool, lost=lost)
    with pytest.raises(RuntimeError):
        _beginning(broken.parts)
    pool.shutdown(wait=True)
    assert broken.is_closed
