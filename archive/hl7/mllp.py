"""Cuts a stream of bytes into HL7 messages (MLLP release 1: VT, message, FS, CR); must not read what they say.

What lies between two frames is dropped and counted. A frame that a new one begins within, or that the connection ends
within, was never whole: it is dropped and counted too, and since nobody acknowledged it, its sender sends it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from archive.errors import FeedBroken, MessageTooLong

START: Final = b"\x0b"
END: Final = b"\x1c\r"


def frame(message: bytes) -> bytes:
    """Return a message in its frame."""
    return START + message + END


@dataclass(slots=True)
class Deframer:
    """Takes bytes as they come and gives whole messages; memory is bounded by ``limit_bytes`` and one chunk."""

    limit_bytes: int
    garbage_bytes: int = 0
    dropped_frames: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _is_inside: bool = False
    _searched: int = 0
    _skipped: int = 0

    @property
    def is_inside(self) -> bool:
        """Tell whether a message has begun and not ended."""
        return self._is_inside

    @property
    def begun(self) -> bytes:
        """Return what has come of the message that has not ended."""
        return bytes(self._buffer) if self._is_inside else b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that ``data`` completes, in order; raise MessageTooLong or FeedBroken.

        After either the connection must be closed: where the next frame begins cannot be trusted.
        """
        self._buffer += data
        while self._is_inside or self._find_start():
            message = self._find_end()
            if message is None:
                return
            yield message

    def close(self) -> None:
        """Say that nothing more comes."""
        self.dropped_frames += self._is_inside
        self._is_inside = False
        self._buffer.clear()

    def _find_start(self) -> bool:
        at = self._buffer.find(START)
        skipped = len(self._buffer) if at < 0 else at
        self.garbage_bytes += skipped
        self._skipped += skipped
        del self._buffer[: skipped + (at >= 0)]
        self._is_inside, self._searched = at >= 0, 0
        if self._skipped > self.limit_bytes:
            raise FeedBroken(reason=f"more than {self.limit_bytes} bytes came that belong to no message")
        self._skipped = 0 if self._is_inside else self._skipped
        return self._is_inside

    def _find_end(self) -> bytes | None:
        end = self._buffer.find(END, max(0, self._searched - 1))
        where = (self._searched, end if end >= 0 else len(self._buffer))
        begun_again = self._buffer.count(START, *where)
        if begun_again:
            # Frames within a frame: each was cut off, by a sender that began again.
            self.dropped_frames += begun_again
            del self._buffer[: self._buffer.rfind(START, *where) + 1]
            self._searched = 0
            end = self._buffer.find(END)
        # Without an end yet, what came last may be the first byte of one.
        if (end if end >= 0 else len(self._buffer) - len(END) + 1) > self.limit_bytes:
            raise MessageTooLong(limit_bytes=self.limit_bytes)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        message = bytes(self._buffer[:end])
        del self._buffer[: end + len(END)]
        self._is_inside = False
        return message
