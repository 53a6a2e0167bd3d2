"""The frames of stored objects for who looks: as stored, decoded, or drawn for the eye; must not know HTTP."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from archive.errors import NoSuchFrame, NotAnImage, RetrieveError
from archive.index.records import StoredInstance
from archive.services.display import grey_display, palette_of, pixel_aspect
from archive.services.rendering import Look, Picture8, colour_picture, encoded, grey_picture, palette_picture
from archive.services.retrieve import Retrieve, StoredObject, conversion_errors
from tiering.transcode.pixels import Frames, find_frames
from tiering.transcode.syntaxes import SOURCES

EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_PIXELS: Final = 0x7FE00008


Numbered = Generator[tuple[int, bytes], None, None]
"""Numbers of frames and their pictures."""


@dataclass(frozen=True, slots=True)
class OpenObject:
    """A stored data set, open for reading at its start, in a transfer syntax that is not deflated."""

    file: BinaryIO
    transfer_syntax_uid: str

    def attributes(self) -> Dataset:
        """Return the elements before the pixel data."""
        encoding = SOURCES[self.transfer_syntax_uid].encoding if self.transfer_syntax_uid in SOURCES else None
        implicit, big = (encoding.implicit, encoding.big) if encoding is not None else (False, False)
        self.file.seek(0)
        ds: Dataset = read_dataset(self.file, implicit, not big, stop_when=lambda tag, _vr, _length: tag >= _PIXELS)
        return ds

    def frames(self) -> Frames:
        """Return the frames. Raises NotAnImage, RetrieveError."""
        self.file.seek(0)
        if self.transfer_syntax_uid not in SOURCES:
            raise NotAnImage(reason=f"frames of transfer syntax {self.transfer_syntax_uid} are not told apart")
        with conversion_errors():
            found = find_frames(self.file, source_uid=self.transfer_syntax_uid)
        if found is None:
            raise NotAnImage(reason="there are no pixel data")
        return found


def check_frames(frames: Frames, numbers: Sequence[int]) -> None:
    """Raise NoSuchFrame unless all of these frames, counted from 1, are there."""
    for number in numbers:
        if not 1 <= number <= frames.picture.frames:
            raise NoSuchFrame(frame=number, frames=frames.picture.frames, reason="no such frame")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of what is stored; safe to call from any thread.

    As many are drawn at a time as there are processors: more would not be there sooner, and take their memory.
    """

    retrieve: Retrieve
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(os.cpu_count() or 1))

    @contextmanager
    def opened(self, instance: StoredInstance) -> Iterator[OpenObject]:
        """Lend an object, from the first of its copies that opens. Raises RetrieveError."""
        with self.retrieve.ahead([instance], by="drimbox") as retrieve:
            stored = retrieve.open(instance)
        with opened(self.retrieve, stored) as found:
            yield found

    def rendered(self, instance: StoredInstance, number: int | None, look: Look) -> bytes:
        """Return a frame, counted from 1, as a picture; None: the middle one, which shows most.

        Raises NotAnImage, NoSuchFrame, NoSuchRegion, RetrieveError.
        """
        with self.opened(instance) as found, self.turns:
            ds, frames = found.attributes(), found.frames()
            number = (frames.picture.frames + 1) // 2 if number is None else number
            check_frames(frames, [number])
            return _drawn(ds, frames, number, look)

    def iter_rendered(self, stored: StoredObject, numbers: Sequence[int], look: Look) -> Numbered:
        """Yield frames of an object, counted from 1, and their pictures, each drawn once it is asked for.

        Without ``numbers`` these are all of its frames. Raises what ``rendered`` does; close it.
        """
        with opened(self.retrieve, stored) as found:
            with self.turns:
                ds, frames = found.attributes(), found.frames()
            numbers = numbers or range(1, frames.picture.frames + 1)
            check_frames(frames, numbers)
            for number in numbers:
                with self.turns:
                    picture = _drawn(ds, frames, number, look)
                yield number, picture


@contextmanager
def opened(retrieve: Retrieve, stored: StoredObject) -> Iterator[OpenObject]:
    """Lend the data set of a copy as a file, inflated where it is deflated. Raises RetrieveError."""
    is_deflated = stored.transfer_syntax_uid == _DEFLATED
    content = retrieve.convert(stored, EXPLICIT_LITTLE) if is_deflated else retrieve.read(stored)
    try:
        with content.as_file() as file:
            yield OpenObject(file, EXPLICIT_LITTLE if is_deflated else stored.transfer_syntax_uid)
    except OSError as exc:
        raise RetrieveError(reason=exc.strerror or type(exc).__name__) from exc
    finally:
        content.close()


def _drawn(ds: Dataset, frames: Frames, number: int, look: Look) -> bytes:
    return encoded(draw(ds, frames, number - 1, look), look, aspect=pixel_aspect(ds))


def draw(ds: Dataset, frames: Frames, index: int, look: Look) -> Picture8:
    """Return a frame, counted from 0, for the eye. Raises NotAnImage, RetrieveError."""
    picture = frames.picture
    with conversion_errors():
        samples = frames.samples(index)
    photometric = picture.native_photometric
    if photometric == "PALETTE COLOR":
        return palette_picture(samples, palette_of(ds))
    if samples.ndim == 3:
        return colour_picture(samples, photometric, picture.bits_stored)
    if picture.bits_allocated == 1:
        return (samples * np.uint8(255)).astype("u1")
    return grey_picture(samples, grey_display(ds, index), look.window)
