"""One message from bytes to answer, when the archive can keep it and when it cannot."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from archive import logs
from archive.errors import MessageTooLong
from archive.hl7 import receiver as receiver_module
from archive.hl7.receiver import Receiver
from archive.hl7.translate import Establishment
from archive.services.hl7 import Feed
from archive.services.ledger import Ledger, LedgerFiles
from tests.unit.hl7.making import adt, sample
from tests.unit.services.rig import sqlite_index
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk


def make(home: Path, ledger: Path) -> Receiver:
    """Make a receiver on an empty index."""
    database, clock = sqlite_index(home), Clock()
    feed = Feed(Ledger(LedgerFiles(OsDisk(), ledger), database, clock), database)
    return Receiver(feed, lambda _names: Establishment("CHU"), clock)


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    """A receiver that works."""
    return make(tmp_path / "home", tmp_path / "ledger")


@pytest.fixture
def log() -> io.StringIO:
    """What is logged, at the most talkative level."""
    stream = io.StringIO()
    logs.configure("debug", "json", stream=stream)
    return stream


def msa(answers: list[bytes]) -> tuple[str, str]:
    """Return MSA-1 of the only answer, and the code of ERR-3."""
    (answer,) = answers
    segments = {line[:3]: line.split("|") for line in answer.decode("latin-1").split("\r")}
    return segments["MSA"][1], segments.get("ERR", [""] * 4)[3].partition("^")[0]


def test_kept_then_answered(receiver: Receiver, log: io.StringIO) -> None:
    """AA comes with the message in the ledger under the number that is logged."""
    assert msa(receiver.handle(sample("a01_admission"), "192.0.2.9")) == ("AA", "")
    record = json.loads(log.getvalue())
    assert (record["event"], record["outcome"], record["type"]) == ("hl7_message_kept", "accepted", "ADT^A01")
    assert receiver.feed.get(record["number"]).message == sample("a01_admission")


def test_storage_that_fails_is_answered_ae_and_nothing_is_kept(tmp_path: Path, log: io.StringIO) -> None:
    """When the ledger cannot be written the sender is told to send again; later the same message is taken."""
    blocked = tmp_path / "ledger"
    blocked.write_text("in the way")
    receiver = make(tmp_path / "home", blocked)
    assert msa(receiver.handle(sample("a01_admission"), "192.0.2.9")) == ("AE", "207")
    assert "hl7_message_not_kept" in log.getvalue() and receiver.feed.latest(5) == []
    blocked.unlink()
    assert msa(receiver.handle(sample("a01_admission"), "192.0.2.9")) == ("AA", "")


def test_index_that_is_gone_is_answered_ae(receiver: Receiver, tmp_path: Path, log: io.StringIO) -> None:
    """When the index database does not answer the sender is told to send again."""
    receiver.feed.database.close()
    for file in (tmp_path / "home").glob("index.db*"):
        file.unlink()
    (tmp_path / "home" / "index.db").mkdir()
    assert msa(receiver.handle(sample("a01_admission"), "192.0.2.9")) == ("AE", "207")
    assert "hl7_message_not_kept" in log.getvalue()


def test_a_bug_in_reading_costs_one_answer(
    receiver: Receiver, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that finds a bug is kept as refused and answered AE; what it said is not in the log."""

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("PAT-TROIS")

    with monkeypatch.context() as patched:
        patched.setattr(receiver_module, "translate", broken)
        assert msa(receiver.handle(adt("A01"), "192.0.2.9")) == ("AE", "207")
    assert "hl7_reading_failed" in log.getvalue() and "PAT-TROIS" not in log.getvalue()
    assert [each.outcome for each in receiver.feed.iter_refused()] == ["refused"]
    assert msa(receiver.handle(adt("A01"), "192.0.2.9")) == ("AA", "")
    assert list(receiver.feed.iter_refused()) == []


def test_a_fact_that_cannot_be_is_refused(receiver: Receiver) -> None:
    """What the facts do not take refuses the message, which is kept."""
    raw = adt("A31").replace(b"000003", b"9" * 200)
    assert msa(receiver.handle(raw, "192.0.2.9"))[0] == "AE"
    assert [each.message for each in receiver.feed.iter_refused()] == [raw]


def test_the_beginning_of_too_long_a_message_is_kept(receiver: Receiver) -> None:
    """A message without end is answered AR under its own control id, and its first 64 KiB are kept."""
    begun = adt("A01", control="LONG") + b"x" * 200_000
    answers = receiver.handle_too_long(begun, MessageTooLong(limit_bytes=100_000), "192.0.2.9")
    assert msa(answers) == ("AR", "100") and b"|LONG\r" in answers[0]
    (kept,) = receiver.feed.iter_refused()
    assert kept.message == begun[:65536]
