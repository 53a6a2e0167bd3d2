"""Stored objects as files that leave: which transfer syntax, which bytes, how far ahead, and what is closed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from archive.errors import FixityError, SyntaxNotAccepted
from archive.index.records import StoredInstance
from archive.services import part10_files
from archive.services.part10_files import (
    AS_STORED,
    Given,
    Part10,
    cannot_be_given,
    choose_syntax,
    iter_prepared,
    known_size,
    prepare,
)
from archive.services.retrieve import Selection
from tests.objects import ROOT, ct_dataset
from tests.unit.services.shelf import Shelf, open_shelf

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
    assert choose_syntax(stored, accepted) == chosen


@pytest.mark.parametrize(("stored", "accepted"), [(HTJ2K, [JPEG]), (EXPLICIT, [JPEG, IMPLICIT]), (MPEG, [EXPLICIT])])
def test_nothing_fits(stored: str, accepted: list[str]) -> None:
    """Nothing is compressed for who asks; implicit VR and big endian are not for the web."""
    with pytest.raises(SyntaxNotAccepted):
        choose_syntax(stored, accepted)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A shelf with a series of five images."""
    with open_shelf(tmp_path) as shelf:
        for number in range(1, 6):
            shelf.put(ct_dataset(number))
        yield shelf


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Two threads."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def instances(shelf: Shelf) -> list[StoredInstance]:
    """Return the instances of the series."""
    return shelf.retrieve.find(Selection("STUDY", studies=(f"{ROOT}.1",)))


@pytest.mark.parametrize("window", [100, 1 << 20])
def test_a_file_leaves_whole_and_in_parts(shelf: Shelf, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out in parts is a Part 10 file of the object that says nothing of where it came from."""
    monkeypatch.setattr(part10_files, "WINDOW_BYTES", window)
    (first, *_) = instances(shelf)
    part = prepare(shelf.retrieve, first, [""])
    chunks = [bytes(chunk) for chunk in part.chunks(b"before")]
    data = b"".join(chunks)
    assert data.startswith(b"before")
    assert len(data) - 6 == part.size_bytes == known_size(first, [""])
    assert max(map(len, chunks)) <= window + len(part.header) + 6
    ds = dcmread(BytesIO(data[6:]))
    assert (ds.SOPInstanceUID, ds.PixelData) == (first.sop_instance_uid, ct_dataset(1).PixelData)
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert not {"SourceApplicationEntityTitle", "PrivateInformation"} & set(ds.file_meta.dir())


def test_what_is_converted_has_no_known_size(shelf: Shelf) -> None:
    """A deflated file is as long as it comes out, and nobody knows before."""
    (first, *_) = instances(shelf)
    assert known_size(first, [DEFLATED]) is None
    part = prepare(shelf.retrieve, first, [DEFLATED])
    ds = dcmread(BytesIO(b"".join(part.chunks())))
    assert (ds.file_meta.TransferSyntaxUID, ds.PixelData) == (DEFLATED, ct_dataset(1).PixelData)


def test_what_is_known_not_to_be_given_is_told_beforehand(shelf: Shelf) -> None:
    """No copy, or no accepted form of it."""
    (first, *_) = instances(shelf)
    assert not cannot_be_given(first, [""])
    assert cannot_be_given(first, [JPEG])
    assert cannot_be_given(StoredInstance(1, "1", "2", "3", "4", EXPLICIT, bytes(32), 9, ()), [""])


def test_objects_are_prepared_ahead_and_in_order(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """Two are being prepared while one is read, never more; what cannot be given is accounted for and left out."""
    wanted = instances(shelf)
    given, started = Given(wanted), []

    def prepare_one(instance: StoredInstance) -> Part10:
        started.append(instance.sop_instance_uid)
        if instance is wanted[2]:
            raise FixityError(key="k", reason="gone")
        return prepare(shelf.retrieve, instance, [""])

    came: list[StoredInstance] = []
    for part in iter_prepared(pool, prepare_one, given, ahead=2):
        assert len(started) <= len(came) + len(given.failed) + 3
        came.append(part.instance)
        part.content.close()
    assert came == [each for each in wanted if each is not wanted[2]]
    assert given.failed == [wanted[2]]
    assert isinstance(given.first_error, FixityError)
    assert (given.remaining, given.surprises) == (4, 1)
    given.foreseen = [wanted[2]]
    assert given.surprises == 0


def test_what_was_prepared_for_nobody_is_closed(shelf: Shelf, pool: ThreadPoolExecutor) -> None:
    """Who goes away in the middle leaves no file open, not even one that is just being opened."""
    opened: list[Part10] = []
    gate = threading.Event()

    def prepare_one(instance: StoredInstance) -> Part10:
        if opened:
            gate.wait(10)
        opened.append(prepare(shelf.retrieve, instance, [""]))
        return opened[-1]

    parts = iter_prepared(pool, prepare_one, Given(instances(shelf)))
    next(parts).content.close()
    parts.close()  # type: ignore[attr-defined]
    gate.set()
    pool.shutdown(wait=True)
    assert len(opened) <= 3
    assert all(part.content._file.closed for part in opened)
