"""Bounds what a request may cost: the size and the slowness of its body, slow readers; must not know what it asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from archive.clock import monotonic
from archive.errors import BodyTooLarge, TooSlow

CROWDED: Final = "drimbox.crowded"
"""The extension of a scope that says: there are more connections than there may be, and this one has to go."""
_LEAST_BYTES_A_SECOND: Final = 4096
_DRAINED_BYTES: Final = 1024 * 1024
_DRAIN_SECONDS: Final = 2.0


def is_crowded(scope: Scope) -> bool:
    """Tell whether a request came when there were too many connections."""
    return CROWDED in scope.get("extensions", {})


@dataclass(slots=True)
class BoundedBody:
    """A request's body, bounded: call it where ASGI wants ``receive``.

    Raises BodyTooLarge beyond ``max_bytes``, TooSlow when nothing comes for ``seconds``, or when, after that time,
    less than 4 KiB came a second: a trickle is an attack, and slow lines are faster.
    """

    receive: Receive
    max_bytes: int
    seconds: float
    received: int = 0
    is_complete: bool = False
    _started: float | None = None

    async def __call__(self) -> Message:
        """Return the next message."""
        if self.is_complete:
            return await self.receive()  # that is how one waits for a disconnect: it may take as long as the answer
        message = await self._within(self.seconds)
        if message["type"] != "http.request":
            self.is_complete = True
            return message
        self._count(message)
        return message

    async def _within(self, seconds: float) -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await self.receive()
        except TimeoutError as exc:
            raise TooSlow(seconds=self.seconds, reason="the body stands still") from exc

    def _count(self, message: Message) -> None:
        now = monotonic()
        self._started = self._started or now
        self.received += len(message.get("body", b""))
        self.is_complete = not message.get("more_body", False)
        if self.received > self.max_bytes:
            raise BodyTooLarge(limit_bytes=self.max_bytes, reason="too long")
        elapsed = now - self._started
        if not self.is_complete and elapsed > self.seconds and self.received < elapsed * _LEAST_BYTES_A_SECOND:
            raise TooSlow(seconds=self.seconds, reason="the body trickles")

    async def drain(self) -> None:
        """Take a little of what still comes, so that who sends it reads the answer before the connection ends."""
        limit = self.received + _DRAINED_BYTES
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self.is_complete and self.received < limit:
                    message = await self.receive()
                    self.received += len(message.get("body", b""))
                    self.is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        except TimeoutError:
            return


@dataclass(slots=True)
class BoundedAnswer:
    """An answer whose reader has to go on reading: call it where ASGI wants ``send``; raises TooSlow."""

    send: Send
    seconds: float
    status: int = 0
    sent: int = 0
    is_over: bool = False

    async def __call__(self, message: Message) -> None:
        """Send a message once the one before has gone out."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.sent += len(message.get("body", b""))
            self.is_over = not message.get("more_body", False)
        try:
            async with asyncio.timeout(self.seconds):
                await self.send(message)
        except TimeoutError as exc:
            raise TooSlow(seconds=self.seconds, reason="the answer is not read") from exc
