"""How the bytes of a data set are read: exactly, forward, and in bounded memory when deflated."""

from __future__ import annotations

import io
import zlib

import pytest

from tests.unit.tiering.transcode.building import raw_deflate
from tiering.errors import ConversionTooLarge, MalformedDataset
from tiering.transcode import source as source_module
from tiering.transcode.source import CHUNK_BYTES, InflatingSource, Source

TEXT = bytes(range(256)) * 20


def a_source(deflated: bool, data: bytes = TEXT) -> Source:
    """Return a source of `data`, stored as it is or deflated."""
    return InflatingSource(io.BytesIO(raw_deflate(data))) if deflated else Source(io.BytesIO(data))


BOTH = pytest.mark.parametrize("deflated", [False, True], ids=["stored", "deflated"])


@BOTH
def test_reading_goes_on_where_it_stopped(deflated: bool) -> None:
    """Reads return consecutive bytes and count the position."""
    source = a_source(deflated)
    assert source.read(10) + source.read(300) == TEXT[:310]
    assert source.position == 310


@BOTH
def test_peeking_does_not_move(deflated: bool) -> None:
    """A peek returns what the next read will return, and less at the end."""
    source = a_source(deflated)
    source.seek(len(TEXT) - 4)
    assert source.peek(3) == TEXT[-4:-1]
    assert source.peek(100) == TEXT[-4:]
    assert source.position == len(TEXT) - 4
    assert source.read(4) == TEXT[-4:]


@BOTH
def test_the_rest_is_only_told_near_the_end(deflated: bool) -> None:
    """What is left comes back once it is less than asked for, and is still there to read."""
    source = a_source(deflated)
    assert source.find_rest(8) is None
    source.seek(len(TEXT) - 8)
    assert source.find_rest(8) is None
    source.read(1)
    assert source.find_rest(8) == TEXT[-7:]
    assert source.read(7) == TEXT[-7:]
    assert source.find_rest(8) == b""
    assert source.peek(1) == b""


@BOTH
def test_a_short_read_is_an_error(deflated: bool) -> None:
    """Reading beyond the end raises, telling where, and returns nothing."""
    source = a_source(deflated)
    source.seek(len(TEXT) - 2)
    with pytest.raises(MalformedDataset) as caught:
        source.read(3)
    assert caught.value.fields["offset"] == len(TEXT) - 2


@BOTH
def test_seeking_skips(deflated: bool) -> None:
    """Going forward leaves out what is between."""
    source = a_source(deflated)
    source.read(1)
    source.seek(1000)
    assert source.read(8) == TEXT[1000:1008]


def test_positions_count_from_where_the_file_stood() -> None:
    """A data set behind a header starts at position 0."""
    file = io.BytesIO(b"header" + TEXT)
    file.seek(6)
    source = Source(file)
    assert source.position == 0
    source.seek(5)
    assert source.read(2) == TEXT[5:7]
    source.seek(0)
    assert source.read(2) == TEXT[:2]
    source.check_reach(len(TEXT))
    with pytest.raises(MalformedDataset):
        source.check_reach(len(TEXT) + 1)


def test_a_stored_source_knows_its_reach() -> None:
    """A position behind the last byte is refused before anything is read, the one just behind it is not."""
    source = a_source(False)
    source.check_reach(len(TEXT))
    with pytest.raises(MalformedDataset):
        source.check_reach(len(TEXT) + 1)
    with pytest.raises(MalformedDataset):
        source.seek(len(TEXT) + 1)


def test_seeking_beyond_deflated_bytes_is_an_error() -> None:
    """What a deflated data set holds is only known at its end: going further raises there."""
    with pytest.raises(MalformedDataset):
        a_source(True).seek(len(TEXT) + 1)


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_cut_deflated_bytes_are_noticed(cut: int) -> None:
    """A deflated data set whose last bytes are missing never reads as a shorter one."""
    packed = raw_deflate(TEXT)
    source = InflatingSource(io.BytesIO(packed[: len(packed) - cut]))
    with pytest.raises(MalformedDataset, match="end too early"):
        source.seek(len(TEXT) + 1)


def test_damaged_deflated_bytes_are_noticed() -> None:
    """Bytes that are not raw deflate raise MalformedDataset, not an error of zlib."""
    with pytest.raises(MalformedDataset, match="damaged"):
        InflatingSource(io.BytesIO(zlib.compress(TEXT))).read(1)


def test_padding_behind_deflated_bytes_is_ignored() -> None:
    """What follows the end of the deflated stream is not part of the data set."""
    source = InflatingSource(io.BytesIO(raw_deflate(TEXT) + b"\0\0\0"))
    assert source.read(len(TEXT)) == TEXT
    assert source.find_rest(1) == b""


def test_highly_deflated_bytes_come_out_whole() -> None:
    """Output that waits inside zlib after the last input byte is not lost."""
    zeros = bytes(5 * CHUNK_BYTES + 3)
    source = InflatingSource(io.BytesIO(raw_deflate(zeros)))
    count = 0
    while source.find_rest(1) is None:
        count += len(source.read(min(CHUNK_BYTES, len(zeros) - count)))
    assert count == len(zeros)


def test_a_deflated_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set that inflates beyond the limit stops there."""
    monkeypatch.setattr(source_module, "INFLATED_BYTES_LIMIT", 2 * CHUNK_BYTES)
    source = InflatingSource(io.BytesIO(raw_deflate(bytes(4 * CHUNK_BYTES))))
    with pytest.raises(ConversionTooLarge):
        source.seek(4 * CHUNK_BYTES)
    assert source.position <= 2 * CHUNK_BYTES
