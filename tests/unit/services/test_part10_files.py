"""Stored objects as files that leave: which transfer syntax, which bytes, how far ahead, and what is closed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from io import BytesIO

import pytest
from pydicom import dcmread

from archive.errors import ColdStoreDown, FixityError, NotReadableYet, SyntaxNotAccepted
from archive.index.records import StoredInstance
from archive.services.part10_files import (
    AS_STORED,
    Given,
    Part10,
    Sharing,
    cannot_be_given,
    choose_syntax,
    is_quick,
    iter_prepared,
    known_size,
    prepare,
)
from archive.services.retrieve import Selection
from tests.objects import ROOT, ct_dataset
from tests.unit.services.shelf import Shelf

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
JPEG, JPEG_LS, HTJ2K, HTJ2K_LOSSY = (f"1.2.840.10008.1.2.4.{each}" for each in (50, 80, 202, 203))
MPEG = "1.2.840.10008.1.2.4.102"
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.mark.parametrize(
    ("stored", "accepted", "chosen"),
    [
        (EXPLICIT, [""], EXPLICIT),
        (IMPLICIT, [""], EXPLICIT),
        (HTJ2K, [""], EXPLICIT),
        (JPEG_LS, [""], EXPLICIT),
        (JPEG, [""], JPEG),
        (HTJ2K_LOSSY, [""], HTJ2K_LOSSY),
        (MPEG, [""], MPEG),
        (HTJ2K, [AS_STORED], HTJ2K),
        (IMPLICIT, [AS_STORED], EXPLICIT),
        (BIG, [AS_STORED], EXPLICIT),
        (JPEG, [EXPLICIT], EXPLICIT),
        (HTJ2K, [JPEG, JPEG_LS, EXPLICIT], EXPLICIT),
        (JPEG_LS, [JPEG, JPEG_LS, EXPLICIT], JPEG_LS),
        (HTJ2K, [JPEG, AS_STORED], HTJ2K),
        (HTJ2K, [DEFLATED], DEFLATED),
        (HTJ2K, [JPEG, ""], EXPLICIT),
    ],
)
def test_the_best_accepted_syntax_that_can_be_given(stored: str, accepted: list[str], chosen: str) -> None:
    """In the order of who asks; what is compressed with loss stays so unless a native syntax is asked for."""
    assert choose_syntax(stored, tuple(accepted)) == chosen


@pytest.mark.parametrize(("stored", "accepted"), [(HTJ2K, (JPEG,)), (EXPLICIT, [JPEG, IMPLICIT]), (MPEG, [EXPLICIT])])
def test_nothing_fits(stored: str, accepted: list[str]) -> None:
    """Nothing is compressed for who asks; implicit VR and big endian are not for the web."""
    with pytest.raises(SyntaxNotAccepted):
        choose_syntax(stored, tuple(accepted))


def instances(shelf: Shelf) -> list[StoredInstance]:
    """Return the instances of the series."""
    return shelf.retrieve.find(Selection("STUDY", studies=(f"{ROOT}.1",)))


def read_whole(part: Part10) -> bytes:
    """Return the file of an object, and close it."""
    data = bytearray(part.content.size_bytes)
    with closing(part.content):
        part.content.read_into(memoryview(data), 0)
    return part.header + data


def test_a_file_leaves_whole(shelf: Shelf) -> None:
    """What comes out is a Part 10 file of the object that says nothing of where it came from."""
    (first, *_) = instances(shelf)
    part = prepare(shelf.retrieve, first, ("",))
    data = read_whole(part)
    assert len(data) == part.size_bytes == known_size(first, ("",))
    ds = dcmread(BytesIO(data))
    assert (ds.SOPInstanceUID, ds.PixelData) == (first.sop_instance_uid, ct_dataset(1).PixelData)
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert not {"SourceApplicationEntityTitle", "PrivateInformation"} & set(ds.file_meta.dir())


def test_what_is_converted_has_no_known_size(shelf: Shelf) -> None:
    """A deflated file is as long as it comes out, and nobody knows before."""
    (first, *_) = instances(shelf)
    assert known_size(first, (DEFLATED,)) is None
    part = prepare(shelf.retrieve, first, (DEFLATED,))
    ds = dcmread(BytesIO(read_whole(part)))
    assert (ds.file_meta.TransferSyntaxUID, ds.PixelData) == (DEFLATED, ct_dataset(1).PixelData)


def test_what_is_known_not_to_be_given_is_told_beforehand(shelf: Shelf) -> None:
    """No copy, or no accepted form of it."""
    (first, *_) = instances(shelf)
    assert not cannot_be_given(first, ("",))
    assert cannot_be_given(first, (JPEG,))
    assert cannot_be_given(StoredInstance(1, "1", "2", "3", "4", EXPLICIT, bytes(32), 9, ()), ("",))


def test_objects_are_prepared_ahead_and_in_order(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """Two are being prepared while one is read, never more; what cannot be given is accounted for and left out."""
    wanted = instances(shelf)
    given, started = Given(wanted), []

    def prepare_one(instance: StoredInstance) -> Part10:
        started.append(instance.sop_instance_uid)
        if instance is wanted[2]:
            raise FixityError(key="k", reason="gone")
        return prepare(shelf.retrieve, instance, ("",))

    came: list[StoredInstance] = []
    for part in iter_prepared(pool, prepare_one, given):
        assert len(started) <= len(came) + len(given.failed) + 3
        came.append(part.instance)
        part.content.close()
    assert came == [each for each in wanted if each is not wanted[2]]
    assert given.failed == [wanted[2]]
    assert isinstance(given.first_error, FixityError)
    assert (given.remaining, given.surprises) == (4, 1)
    given.foreseen = [wanted[2]]
    assert given.surprises == 0


@pytest.mark.parametrize("together", [1, 2, 9])
def test_what_was_prepared_for_nobody_is_closed(shelf: Shelf, pool: ThreadPoolExecutor, together: int) -> None:
    """Who goes away in the middle leaves no file open, not even one that is just being opened."""
    opened: list[Part10] = []
    gate, wanted = threading.Event(), instances(shelf)

    def prepare_one(instance: StoredInstance) -> Part10:
        if instance is not wanted[0]:
            gate.wait(10)
        opened.append(prepare(shelf.retrieve, instance, ("",)))
        return opened[-1]

    parts = iter_prepared(pool, prepare_one, Given(wanted), quick=lambda _: True, together=together)
    next(parts).content.close()
    parts.close()
    gate.set()
    pool.shutdown(wait=True)
    assert len(opened) <= 1 + 2 * together
    assert all(part.content._file.closed for part in opened)


def test_what_is_in_memory_is_opened_together_by_who_asks(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """No thread is needed for it, the first waits for no other, and no more files are open than said."""
    wanted = instances(shelf)
    given, opened = Given(wanted), []

    def prepare_one(instance: StoredInstance) -> Part10:
        assert threading.current_thread() is threading.main_thread()
        opened.append(prepare(shelf.retrieve, instance, ("",)))
        opened[-1].content.load()
        return opened[-1]

    at_once = []
    for part in iter_prepared(pool, prepare_one, given, quick=lambda _: True, together=3):
        at_once.append(sum(not each.content._file.closed for each in opened))
        part.content.close()
    assert at_once == [1, 3, 2, 1, 1]
    assert all(part.content._file.closed for part in opened)


def test_what_only_has_to_be_opened_is_opened_together_and_loaded(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """In threads once one was not in memory; one that cannot be loaded is told, closed and left out."""
    wanted = instances(shelf)
    given, by, opened, loaded = Given(wanted), [], [], []

    def prepare_one(instance: StoredInstance) -> Part10:
        by.append(threading.current_thread())
        part = prepare(shelf.retrieve, instance, ("",))
        opened.append(part)
        part.content.load = lambda: load(part)  # type: ignore[method-assign]
        return part

    def load(part: Part10) -> bool:
        if part.instance is wanted[3]:
            raise FixityError(key="k", reason="the disk")
        loaded.append(part.instance)
        return True

    assert is_quick(wanted[0], ("",))
    assert not is_quick(wanted[0], (DEFLATED,))
    assert not is_quick(StoredInstance(1, "1", "2", "3", "4", EXPLICIT, bytes(32), 9, ()), ("",))
    came = []
    for part in iter_prepared(pool, prepare_one, given, quick=lambda each: is_quick(each, ("",)), together=3):
        came.append(part.instance)
        part.content.close()
    assert came == [each for each in wanted if each is not wanted[3]]
    assert sorted(each.instance_id for each in loaded) == [each.instance_id for each in came]
    assert given.failed == [wanted[3]]
    assert by.count(threading.current_thread()) == 1 + 3 < len(by)
    assert all(part.content._file.closed for part in opened)


def test_an_object_is_loaded_when_it_is_not_in_memory(shelf: Shelf) -> None:
    """After loading it is there; an object that is shorter than it should be is found out."""
    (first, *_) = instances(shelf)
    content = prepare(shelf.retrieve, first, ("",)).content
    with closing(content):
        content.load()
        assert content.is_in_memory()
        assert not content.load()


def test_open_files_are_shared() -> None:
    """Many who read at once have few files open each, and one at least."""
    sharing = Sharing(files=64)
    with ExitStack() as stack:
        shares = [stack.enter_context(sharing.share()) for _ in range(100)]
        assert (shares[0], shares[1], shares[3], shares[99]) == (32, 32, 16, 1)
    with sharing.share() as alone:
        assert alone == 32


def test_the_error_that_is_told_is_one_that_may_go_away(shelf: Shelf) -> None:
    """The first of these, else the first of all: who asks is to come back where that helps."""
    (first, second, third, *_) = instances(shelf)
    given = Given([first, second, third])
    lost, down, later = FixityError(key="k", reason="-"), ColdStoreDown(reason="-"), NotReadableYet(reason="-")
    for instance, error, told in ((first, lost, lost), (second, down, down), (third, later, down)):
        given.fail(instance, error)
        assert given.first_error is told
    assert given.surprises == 3
