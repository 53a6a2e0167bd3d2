"""Framing: whole messages come out, however the bytes come in and whatever lies between."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, strategies as st

from archive.errors import FeedBroken, MessageTooLong
from archive.hl7.mllp import Deframer, frame

CONTENT = st.binary(max_size=60).filter(lambda raw: b"\x0b" not in raw and b"\x1c" not in raw)
GARBAGE = st.binary(max_size=20).filter(lambda raw: b"\x0b" not in raw)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut data at the given places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(st.tuples(GARBAGE, CONTENT), max_size=6), GARBAGE, st.lists(st.integers(0, 1000), max_size=12))
def test_messages_come_out_whole(parts: list[tuple[bytes, bytes]], rest: bytes, cuts: list[int]) -> None:
    """However a stream is cut, its messages come out in order, and every byte between them is counted."""
    stream = b"".join(garbage + frame(content) for garbage, content in parts) + rest
    deframer = Deframer(1000)
    found = [message for chunk in chunks(stream, cuts) for message in deframer.feed(chunk)]
    assert found == [content for _, content in parts]
    assert deframer.garbage_bytes == sum(len(garbage) for garbage, _ in parts) + len(rest)
    assert deframer.dropped_frames == 0 and not deframer.is_inside


@example(b"\x00\x0b\x0b", [2])
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_no_bytes_surprise_it(stream: bytes, cuts: list[int]) -> None:
    """Whatever comes, it comes out the same however it is cut, and a good message after it is not lost."""
    whole, cut = Deframer(1000), Deframer(1000)
    expected = list(whole.feed(stream + frame(b"good")))
    assert [message for chunk in chunks(stream + frame(b"good"), cuts) for message in cut.feed(chunk)] == expected
    assert expected[-1] == b"good"
    assert (whole.dropped_frames, whole.garbage_bytes) == (cut.dropped_frames, cut.garbage_bytes)


def test_half_written_message_is_dropped_and_counted() -> None:
    """A message cut off by a new one, or by the end of the connection, is dropped and counted; the next one is kept."""
    deframer = Deframer(1000)
    assert list(deframer.feed(b"\x0bMSH|half" + frame(b"whole"))) == [b"whole"]
    assert deframer.dropped_frames == 1
    assert list(deframer.feed(b"\x0bMSH|half")) == []
    deframer.close()
    assert list(Deframer(9).feed(b"\x0b\x0b\x0bx\x1c\r")) == [b"x"]
    assert deframer.dropped_frames == 2 and deframer.begun == b""


def test_an_end_needs_both_bytes() -> None:
    """FS alone does not end a message: a segment may not hold it, but losing the rest would be worse."""
    assert list(Deframer(1000).feed(b"\x0ba\x1cb\x1c\r")) == [b"a\x1cb"]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_too_long_a_message_is_refused_early(step: int) -> None:
    """A message beyond the limit is refused once it is known, its beginning at hand; those before it were given."""
    deframer = Deframer(100)
    stream = frame(b"x" * 100) + b"\x0b" + b"y" * 500
    found: list[bytes] = []
    with pytest.raises(MessageTooLong):
        for start in range(0, len(stream), step):
            for message in deframer.feed(stream[start : start + step]):
                found.append(message)
    assert found == [b"x" * 100]
    assert deframer.begun.startswith(b"yyy") and len(deframer.begun) <= 102 + step


def test_garbage_is_bounded_between_messages_only() -> None:
    """Too much nonsense ends the connection; a line end after each message never adds up to it."""
    deframer = Deframer(100)
    for _ in range(300):
        assert list(deframer.feed(frame(b"m") + b"\n")) == [b"m"]
    assert deframer.garbage_bytes == 300
    with pytest.raises(FeedBroken, match="belong to no message"):
        list(deframer.feed(b"G" * 101))
