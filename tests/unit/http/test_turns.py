"""Ingest goes first: how many read at a time while objects come in, in which order, and that nobody waits for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from starlette.types import Message, Receive, Scope, Send

from archive.http import turns as module
from archive.http.turns import ReadingInTurn, Turn, Turns, turn_of


class Day:
    """Whether objects come in, and what has been read meanwhile."""

    def __init__(self, *, is_busy: bool = True) -> None:
        self.is_busy = is_busy
        self.turns = Turns(lambda: self.is_busy)
        self.reading = 0
        self.most = 0
        self.order: list[int] = []

    async def read(self, number: int, seconds: float = 0.002) -> None:
        """Read something in a turn of its own."""
        turn = Turn(self.turns)
        await turn.take()
        self.order.append(number)
        self.reading += 1
        self.most = max(self.most, self.reading)
        await asyncio.sleep(seconds)
        self.reading -= 1
        turn.over()


async def gathered(*work: Coroutine[object, object, None]) -> None:
    """Do all of it at once, within reason."""
    async with asyncio.timeout(20):
        await asyncio.gather(*work)


@pytest.mark.parametrize(("readers", "rests"), [(40, 2.0), (4, 0.0)])
def test_one_reads_at_a_time_while_objects_come_in(readers: int, rests: float) -> None:
    """In the order of asking; where many read, with rests between that are longer than the turns."""
    day = Day()

    async def scene() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await gathered(*(day.read(number) for number in range(readers)))
        return loop.time() - began

    elapsed = asyncio.run(scene())
    assert (day.most, day.order) == (1, list(range(readers)))
    assert elapsed > readers * 0.002 * (1 + rests)


def test_all_read_at_once_when_nothing_comes_in() -> None:
    """And all who wait are let in when it ends."""
    day = Day(is_busy=False)
    asyncio.run(gathered(*(day.read(number) for number in range(12))))
    assert day.most == 12
    other = Day()

    async def quiet_soon() -> None:
        await asyncio.sleep(0.01)
        other.is_busy = False

    asyncio.run(gathered(quiet_soon(), *(other.read(number) for number in range(60))))
    assert other.most > 1
    assert sorted(other.order) == list(range(60))


def test_a_turn_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes long, for a cold store, keeps the others for a moment only."""
    monkeypatch.setattr(module, "_LONGEST_TURN_SECONDS", 0.01)
    day = Day()

    async def scene() -> None:
        async with asyncio.timeout(20):
            slow = asyncio.create_task(day.read(0, seconds=9))
            await asyncio.sleep(0)
            told = [day.turns.is_waited_for]
            other = asyncio.create_task(day.read(1))
            await asyncio.sleep(0)
            told.append(day.turns.is_waited_for)
            await other
            assert [*told, day.turns.is_waited_for] == [False, True, False]
            slow.cancel()

    asyncio.run(scene())
    assert day.order == [0, 1]


def test_who_leaves_while_waiting_keeps_nobody_from_reading() -> None:
    """Neither before the turn has come, nor just when it has."""
    day = Day()

    async def scene() -> None:
        async with asyncio.timeout(20):
            first = asyncio.create_task(day.read(0, seconds=0.02))
            await asyncio.sleep(0)
            leaving = [asyncio.create_task(day.read(number)) for number in (1, 2)]
            staying = asyncio.create_task(day.read(3))
            await asyncio.sleep(0)
            leaving[0].cancel()
            await first
            day.turns._rested()
            leaving[1].cancel()
            await staying

    asyncio.run(scene())
    assert (day.order[0], day.order[-1]) == (0, 3)
    assert day.turns._running == 0


def answering(*messages: Message, during: Callable[[Scope], Coroutine[object, object, None]]) -> ReadingInTurn:
    """Return an application whose requests take turns."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await during(scope)
        for message in messages:
            await send(message)

    return ReadingInTurn(application, Turns(lambda: True))


def test_a_request_that_reads_has_a_turn_until_its_body_begins() -> None:
    """And one that stores is not asked to wait; a turn may be passed on in the middle of an answer."""
    held: list[int] = []

    async def during(scope: Scope) -> None:
        held.append(application.turns._running)
        await turn_of(scope).again()

    application = answering({"type": "http.response.start"}, {"type": "http.response.body"}, during=during)

    async def send(message: Message) -> None:
        held.append(application.turns._running)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    for method in ("GET", "POST"):
        asyncio.run(application({"type": "http", "method": method}, receive, send))
    assert held == [1, 1, 0, 0, 0, 0]
