"""What the benchmarks' client asks and how it judges the answers, against a scripted peer; must not measure time."""

from __future__ import annotations

import hashlib
import os

import pytest

from benchmarks import probe, wire
from benchmarks.peers import Endpoint
from benchmarks.probe import ProbeError
from tests.unit.benchmarks.scripted import RELEASED, accept, message, pdu_of, scripted

_PENDING: dict[int, int | str] = {wire.COMMAND_FIELD: wire.FIND_RSP, wire.STATUS: 0xFF00}
_FOUND_ALL: dict[int, int | str] = {wire.COMMAND_FIELD: wire.FIND_RSP, wire.STATUS: 0}
_GOT_ALL: dict[int, int | str] = {wire.COMMAND_FIELD: wire.GET_RSP, wire.STATUS: 0}


def _endpoint(address: tuple[str, int]) -> Endpoint:
    return Endpoint(*address, "DRIMBOX", os.getpid())


def _answer(**values: str) -> bytes:
    tags = {"study": (probe.STUDY_UID, "UI"), "count": (probe.STUDY_INSTANCES, "IS")}
    return wire.encode_identifier({tags[name][0]: (tags[name][1], value) for name, value in values.items()})


def _store(number: int, data: bytes, context_id: int = 3) -> bytes:
    command: dict[int, int | str] = {
        wire.COMMAND_FIELD: wire.STORE_RQ,
        wire.MESSAGE_ID: number,
        wire.AFFECTED_SOP_CLASS: wire.CT_IMAGE_STORAGE,
        wire.AFFECTED_SOP_INSTANCE: f"1.2.{number}",
    }
    return message(context_id, command, data)


def _command(pdu: bytes) -> dict[int, int | str]:
    """Return the command in the first fragment of ``pdu``."""
    length = int.from_bytes(pdu[6:10], "big") - 2
    return wire.decode_command(pdu[12 : 12 + length])


def test_count_comes_from_the_study() -> None:
    """The number of a study's instances is read from the answer's Number of Study Related Instances."""
    answers = message(1, _PENDING, _answer(study="1.2.3", count="600")) + message(1, _FOUND_ALL)
    with scripted(accept({1: 0}), b"", answers, RELEASED) as (address, received):
        assert probe.count_instances(_endpoint(address), "1.2.3") == 600
    assert _command(received[1])[wire.COMMAND_FIELD] == wire.FIND_RQ
    assert b"1.2.3" in received[2]


def test_unknown_study_has_no_instances() -> None:
    """A study that is not found counts as nothing."""
    with scripted(accept({1: 0}), b"", message(1, _FOUND_ALL), RELEASED) as (address, _):
        assert probe.count_instances(_endpoint(address), "1.2.3") == 0


def test_failed_query_is_an_error() -> None:
    """A query that ends with a failure is no measurement."""
    failed: dict[int, int | str] = {**_FOUND_ALL, wire.STATUS: 0xA700}
    with (
        scripted(accept({1: 0}), b"", message(1, failed)) as (address, _),
        pytest.raises(ProbeError, match="0xa700"),
        probe.open_find(_endpoint(address)) as association,
    ):
        probe.find_studies(association, {})


def test_first_image_cancels_the_rest() -> None:
    """After the first image the rest is cancelled, and every sub-operation already on its way answered."""
    replies = (
        accept({1: 0, 3: 0}),
        b"",
        _store(1, bytes(4096)),
        _store(2, bytes(4096)),
        b"",
        message(1, {**_GOT_ALL, wire.STATUS: 0xFE00}),
        RELEASED,
    )
    with scripted(*replies) as (address, received):
        assert probe.first_image_seconds(_endpoint(address), "1.2.3") >= 0
    fields = [_command(pdu)[wire.COMMAND_FIELD] for pdu in (received[1], *received[3:6])]
    assert fields == [wire.GET_RQ, wire.CANCEL_RQ, wire.STORE_RSP, wire.STORE_RSP]
    assert _command(received[3])[wire.REPLIED_MESSAGE_ID] == _command(received[1])[wire.MESSAGE_ID]


def test_first_image_that_is_none_is_an_error() -> None:
    """A C-GET that ends at once is not a very fast first image."""
    with (
        scripted(accept({1: 0, 3: 0}), message(1, _GOT_ALL)) as (address, _),
        pytest.raises(ProbeError, match="no image"),
    ):
        probe.first_image_seconds(_endpoint(address), "1.2.3")


def test_whole_study_is_counted_and_hashed() -> None:
    """A C-GET counts objects and bytes, answers each, and hashes the last data set."""
    replies = (accept({1: 0, 3: 0}), b"", _store(1, b"first!"), _store(2, b"second"), message(1, _GOT_ALL), RELEASED)
    with scripted(*replies) as (address, received):
        answer = probe.get_study(_endpoint(address), "1.2.3", digest=True)
    assert (answer.objects, answer.size_bytes) == (2, 12)
    assert answer.sha256 == hashlib.sha256(b"second").hexdigest()
    assert [_command(pdu)[wire.REPLIED_MESSAGE_ID] for pdu in received[3:5]] == [1, 2]


def test_incomplete_study_is_an_error() -> None:
    """A C-GET with failed sub-operations is no measurement."""
    replies = (accept({1: 0, 3: 0}), b"", message(1, {**_GOT_ALL, wire.STATUS: 0xB000}), RELEASED)
    with scripted(*replies) as (address, _), pytest.raises(ProbeError, match="0xb000 after 0 objects"):
        probe.get_study(_endpoint(address), "1.2.3")


def test_echo_must_succeed() -> None:
    """An idle association is one that has verified; a failed C-ECHO is an error."""
    answer: dict[int, int | str] = {wire.COMMAND_FIELD: wire.ECHO_RSP, wire.STATUS: 0}
    with scripted(accept({1: 0}), message(1, answer), RELEASED) as (address, received):
        probe.open_echo(_endpoint(address)).release()
    assert received[2] == pdu_of(5, bytes(4))
    with (
        scripted(accept({1: 0}), message(1, {**answer, wire.STATUS: 0x0122})) as (address, _),
        pytest.raises(ProbeError, match="C-ECHO"),
    ):
        probe.open_echo(_endpoint(address))
