"""Lets ingest go first: while objects come in, reading has a thread at a time and rests between; must not know what.

Fifty viewers cost a modality that sends most of its speed otherwise: its objects wait for the interpreter behind every
request of theirs. Nobody who reads is refused, and nobody waits longer than all others take once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archive.clock import monotonic

EXTENSION: Final = "drimbox.turn"
_RESTS: Final = 3.0
"""How long is rested after a turn, in times of the turn."""
_LONGEST_REST_SECONDS: Final = 0.05
_MANY: Final = 16
"""So many who wait are many: with fewer the rests are shorter, for one viewer's few connections hardly hurt anybody."""
_LONGEST_TURN_SECONDS: Final = 0.25
_READING: Final = ("GET", "HEAD")


@dataclass(slots=True)
class Turns:
    """Gives turns in the order of asking: one at a time while ``is_busy``, to whoever asks while it is not.

    For one event loop. After a turn many others wait ``_RESTS`` times as long as it took.
    """

    is_busy: Callable[[], bool]
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _running: int = 0
    _rest: asyncio.TimerHandle | None = None

    @property
    def is_waited_for(self) -> bool:
        """Tell whether somebody waits for a turn; from any thread."""
        return bool(self._waiting)

    async def take(self) -> None:
        """Wait for a turn."""
        if not self.is_busy() or not (self._running or self._rest or self._waiting):
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(0.0)
            raise

    def give_back(self, seconds: float) -> None:
        """End a turn that took so long."""
        self._running -= 1
        if self._waiting and self.is_busy():
            if self._rest is None:
                rest = min(_RESTS * seconds, _LONGEST_REST_SECONDS) * min(1.0, len(self._waiting) / _MANY)
                self._rest = asyncio.get_running_loop().call_later(rest, self._rested)
        elif self._rest is None:
            self._next()

    def _rested(self) -> None:
        self._rest = None
        self._next()

    def _next(self) -> None:
        """Let the next one in, or all who wait when it is quiet."""
        is_busy = self.is_busy()
        while self._waiting and not (is_busy and self._running):
            turn = self._waiting.popleft()
            if not turn.done():
                self._running += 1
                turn.set_result(None)


class Turn:
    """The turn of one request, which may be given back and taken again.

    It ends by itself after a while: whoever waits for a cold store keeps nobody from reading.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._since = 0.0
        self._end: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Wait for it, unless it is held."""
        if self._end is None:
            await self._turns.take()
            self._since = monotonic()
            self._end = asyncio.get_running_loop().call_later(_LONGEST_TURN_SECONDS, self.over)

    def over(self) -> None:
        """Give it back, if it is held."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
            self._turns.give_back(monotonic() - self._since)

    async def again(self) -> None:
        """Let the others go first."""
        self.over()
        await self.take()


def turn_of(scope: Scope) -> Turn:
    """Return the turn of a request; where nobody takes turns, one that is always there."""
    turn: Turn | None = scope.get("extensions", {}).get(EXTENSION)
    return turn or Turn(Turns(lambda: False))


@dataclass(frozen=True, slots=True)
class ReadingInTurn:
    """An ASGI application whose requests that only read have to wait for their turn.

    It is over when the body of the answer begins; an answer that is made meanwhile has it for as long as it works.
    """

    application: ASGIApp
    turns: Turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] not in _READING:
            await self.application(scope, receive, send)
            return
        turn = Turn(self.turns)

        async def send_in_turn(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                turn.over()
            await send(message)

        await turn.take()
        try:
            extensions = {**scope.get("extensions", {}), EXTENSION: turn}
            await self.application({**scope, "extensions": extensions}, receive, send_in_turn)
        finally:
            turn.over()
