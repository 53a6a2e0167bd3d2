"""Storage commitment on a real index and real files: what is proven, what is kept, when and how reports go out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest

from archive.audit import verify
from archive.errors import DestinationUnreachable, IndexUnavailable
from archive.index import commitments as table, journal
from archive.index.instances import set_location_state
from archive.index.records import Commitment
from archive.services.commitment import (
    CLASS_CONFLICT,
    GRACE,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    CommitmentReport,
    CommitmentReporter,
    CommitmentRequest,
    Commitments,
    Interrupted,
    Reference,
    retry_after,
)
from tests.objects import CT_IMAGE, ROOT, ct_dataset
from tests.unit.services.shelf import NOON, Shelf, open_shelf

STORED = tuple(Reference(CT_IMAGE, f"{ROOT}.1.1.{number}") for number in (1, 2, 3))


@dataclass
class Post:
    """A courier that notes what it delivers and fails as it is told to."""

    known: set[str] = field(default_factory=lambda: {"MODALITY"})
    fails: dict[str, Exception] = field(default_factory=dict)
    delivered: list[CommitmentReport] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    interrupted: int = 0

    def knows(self, ae_title: str) -> bool:
        return ae_title in self.known

    def deliver(self, ae_title: str, report: CommitmentReport) -> None:
        self.tried.append(ae_title)
        if ae_title in self.fails:
            raise self.fails[ae_title]
        self.delivered.append(report)

    def interrupt(self) -> None:
        self.interrupted += 1


@dataclass
class Desk:
    """Everything a test of commitment handles."""

    shelf: Shelf
    commitments: Commitments
    post: Post
    paths: list[Path]

    @property
    def reporter(self) -> CommitmentReporter:
        """Return a reporter as a new process has it."""
        return CommitmentReporter(self.commitments, self.post)

    def accept(self, uid: str = "1.9", *, ae_title: str = "MODALITY", here: bool = False) -> int:
        """Keep a request for the three stored objects."""
        return self.commitments.accept(request(*STORED, uid=uid, ae_title=ae_title), reporting_here=here)

    def verify(self, *references: Reference) -> CommitmentReport:
        """Check without interruption."""
        return self.commitments.verify(request(*references), is_interrupted=lambda: False)

    def row(self, commitment_id: int) -> Commitment:
        """Return what the index keeps."""
        with self.shelf.committer.read() as connection:
            found = table.find(connection, commitment_id)
        assert found is not None
        return found

    def journal(self) -> list[str]:
        """Return the bodies of the ``committed`` entries, the chain proven."""
        with self.shelf.committer.read() as connection:
            rows = list(journal.iter_entries(connection))
        verify(rows)
        return [row.body for row in rows if row.event == "committed"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Three stored CT images and nothing asked yet."""
    with open_shelf(tmp_path) as shelf:
        paths = [shelf.put(ct_dataset(number)) for number in (1, 2, 3)]
        yield Desk(shelf, Commitments(shelf.retrieve, shelf.committer, shelf.clock), Post(), paths)


def request(*references: Reference, uid: str = "1.9", ae_title: str = "MODALITY") -> CommitmentRequest:
    """Return a request."""
    return CommitmentRequest(uid, ae_title, "DRIMBOX", references)


# ---- proof -----------------------------------------------------------------------------------------------------------


def test_objects_that_are_whole_are_committed(desk: Desk) -> None:
    """Stored, of the class named, byte for byte: committed, in the order asked."""
    report = desk.verify(*reversed(STORED))
    assert report == CommitmentReport("1.9", "DRIMBOX", tuple(reversed(STORED)), ())


def test_each_failure_has_its_reason(desk: Desk) -> None:
    """Unknown, of another class, damaged, missing: the reasons of PS3.3, and the good one is still committed."""
    desk.shelf.put(ct_dataset(4))
    _flip_last_byte(desk.paths[1])
    desk.paths[2].unlink()
    unknown, other_class = Reference(CT_IMAGE, "1.2.3.4"), Reference("1.2.840.10008.5.1.4.1.1.4", f"{ROOT}.1.1.4")
    report = desk.verify(STORED[0], STORED[1], STORED[2], unknown, other_class)
    assert report.committed == (STORED[0],)
    assert dict(report.failed) == {
        STORED[1]: PROCESSING_FAILURE,
        STORED[2]: PROCESSING_FAILURE,
        unknown: NO_SUCH_INSTANCE,
        other_class: CLASS_CONFLICT,
    }


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_not_committed(desk: Desk, change: int) -> None:
    """Cut short or grown: it is not the object received."""
    content = desk.paths[0].read_bytes()
    desk.paths[0].write_bytes(content[:-1] if change < 0 else content + b"\0")
    assert dict(desk.verify(STORED[0]).failed) == {STORED[0]: PROCESSING_FAILURE}


@pytest.mark.parametrize("state", ["missing", "damaged"])
def test_a_copy_known_to_be_bad_is_not_committed(desk: Desk, state: str) -> None:
    """What the fixity check found counts, whatever the file looks like now."""
    key = "20261123/shelf/000001"
    desk.shelf.committer.record(work=lambda connection: set_location_state(connection, key, state))
    assert dict(desk.verify(*STORED).failed) == {STORED[0]: PROCESSING_FAILURE}


def test_every_byte_is_read_each_time(desk: Desk) -> None:
    """A byte that flips between two requests is noticed by the second: nothing is remembered."""
    assert desk.verify(STORED[0]).failed == ()
    _flip_last_byte(desk.paths[0])
    assert desk.verify(STORED[0]).failed == ((STORED[0], PROCESSING_FAILURE),)


def test_objects_of_several_mebibytes_are_proven_to_their_end(desk: Desk) -> None:
    """A flipped byte in the last of several chunks is found."""
    ds = ct_dataset(5, PixelData=bytes(3 * 1024 * 1024 + 10))
    path = desk.shelf.put(ds)
    large = Reference(CT_IMAGE, ds.SOPInstanceUID)
    assert desk.verify(large).committed == (large,)
    _flip_last_byte(path)
    assert desk.verify(large).committed == ()


def test_more_objects_than_one_look_up_takes_keep_their_order(desk: Desk) -> None:
    """Requests are looked up in parts; the report has each object once, where it was asked."""
    unknown = tuple(Reference(CT_IMAGE, f"1.2.{number}") for number in range(600))
    report = desk.verify(*unknown[:300], STORED[0], *unknown[300:], STORED[1])
    assert report.committed == (STORED[0], STORED[1])
    assert tuple(reference for reference, _ in report.failed) == unknown


def test_the_same_object_twice_is_answered_twice(desk: Desk) -> None:
    """A peer that repeats itself gets as many answers as it asked questions."""
    assert desk.verify(STORED[0], STORED[0]).committed == (STORED[0], STORED[0])


def test_checking_stops_between_objects_and_inside_large_ones(desk: Desk) -> None:
    """Whoever checks can be called away before any object, and before any mebibyte of one."""
    desk.shelf.put(ct_dataset(5, PixelData=bytes(4 * 1024 * 1024)))
    references = (STORED[0], Reference(CT_IMAGE, f"{ROOT}.1.1.5"))
    for patience in range(6):
        with pytest.raises(Interrupted):
            desk.commitments.verify(request(*references), is_interrupted=iter([*[False] * patience, True]).__next__)
    desk.commitments.verify(request(*references), is_interrupted=iter([False] * 6).__next__)


def _flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# ---- keeping ---------------------------------------------------------------------------------------------------------


def test_a_request_is_kept_word_for_word(desk: Desk) -> None:
    """What the index gives back is what was asked, by whom, of whom."""
    commitment_id = desk.accept("1.77")
    assert CommitmentRequest.of(desk.row(commitment_id)) == request(*STORED, uid="1.77")
    assert desk.row(commitment_id).reported_at is None


def test_a_request_is_on_disk_before_it_is_acknowledged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeping a request is a synced commit: no power cut forgets it."""

    def fail(*_: object, **__: object) -> None:
        raise IndexUnavailable(reason="not synced")

    monkeypatch.setattr(desk.shelf.committer, "record_synced", fail)
    with pytest.raises(IndexUnavailable):
        desk.accept()
    assert desk.commitments.due() == []


def test_the_association_of_a_request_has_a_time_of_grace(desk: Desk) -> None:
    """A request that its association reports is the reporter's only when that took too long."""
    desk.accept("1.1", here=True)
    desk.accept("1.2", here=False)
    assert [row.transaction_uid for row in desk.commitments.due()] == ["1.2"]
    desk.shelf.clock.now += GRACE
    assert {row.transaction_uid for row in desk.commitments.due()} == {"1.1", "1.2"}


def test_what_an_association_works_on_is_not_due(desk: Desk) -> None:
    """However long an association checks, the reporter does not do the same work beside it."""
    first, second = desk.accept("1.1"), desk.accept("1.2")
    with desk.commitments.held(first):
        assert [row.commitment_id for row in desk.commitments.due()] == [second]
    assert len(desk.commitments.due()) == 2


def test_a_delivered_report_closes_the_request_and_is_journalled(desk: Desk) -> None:
    """Counts and transaction go to the journal; the request is never due again."""
    commitment_id = desk.accept()
    report = CommitmentReport("1.9", "DRIMBOX", STORED[:2], ((STORED[2], PROCESSING_FAILURE),))
    desk.commitments.delivered(commitment_id, "MODALITY", report)
    assert desk.row(commitment_id).reported_at == NOON
    assert desk.commitments.due() == []
    assert desk.journal() == ['{"committed":2,"failed":1,"report":"delivered","transaction_uid":"1.9"}']


# ---- reporting -------------------------------------------------------------------------------------------------------


def test_a_sweep_delivers_everything_that_is_due(desk: Desk) -> None:
    """However many wait, one sweep tries them all, oldest first."""
    for number in range(7):
        desk.accept(f"1.{number}")
    assert desk.reporter.sweep() == 7
    assert [report.transaction_uid for report in desk.post.delivered] == [f"1.{number}" for number in range(7)]
    assert all(report.committed == STORED for report in desk.post.delivered)
    assert len(desk.journal()) == 7


def test_a_report_that_fails_is_tried_again_later_and_later(desk: Desk) -> None:
    """Half a minute, a minute, two…: each failure doubles the wait, and success ends it."""
    commitment_id, reporter = desk.accept(), desk.reporter
    desk.post.fails["MODALITY"] = DestinationUnreachable(ae_title="MODALITY", reason="refused")
    for expected in (30, 60, 120):
        assert reporter.sweep() == 0
        assert desk.row(commitment_id).next_attempt_at - desk.shelf.clock() == timedelta(seconds=expected)
        desk.shelf.clock.advance(seconds=expected)
    desk.post.fails.clear()
    assert reporter.sweep() == 1
    assert desk.row(commitment_id).reported_at is not None


def test_waits_between_attempts_have_an_upper_limit() -> None:
    """A peer that is away for days is tried every hour."""
    waits = [retry_after(attempts).total_seconds() for attempts in range(200)]
    assert waits[:3] == [30, 60, 120]
    assert max(waits) == 3600 and waits[-1] == 3600
    assert waits == sorted(waits)


@pytest.mark.parametrize("error", [RuntimeError("a mistake of ours"), IndexUnavailable(reason="stopped")])
def test_one_report_that_cannot_be_made_does_not_stop_the_others(desk: Desk, error: Exception) -> None:
    """Whatever goes wrong with one peer, the next one's report goes out in the same sweep."""
    desk.accept("1.1", ae_title="BROKEN")
    desk.accept("1.2")
    desk.post.known.add("BROKEN")
    desk.post.fails["BROKEN"] = error
    assert desk.reporter.sweep() == 1
    assert [report.transaction_uid for report in desk.post.delivered] == ["1.2"]


def test_a_peer_that_fails_is_tried_once_a_sweep(desk: Desk) -> None:
    """A hundred reports for a host that is down cost one time-out, not a hundred."""
    ids = [desk.accept(f"1.{number}") for number in range(5)]
    desk.post.fails["MODALITY"] = DestinationUnreachable(ae_title="MODALITY", reason="no answer in time")
    assert desk.reporter.sweep() == 0
    assert desk.post.tried == ["MODALITY"]
    assert all(desk.row(one).next_attempt_at > desk.shelf.clock() for one in ids)


def test_bytes_are_not_read_again_for_each_attempt(desk: Desk) -> None:
    """A peer that is away does not cost the storage a full read every hour; a new process proves anew."""
    desk.accept()
    desk.post.fails["MODALITY"] = DestinationUnreachable(ae_title="MODALITY", reason="refused")
    reporter = desk.reporter
    reporter.sweep()
    _flip_last_byte(desk.paths[0])
    desk.post.fails.clear()
    desk.shelf.clock.advance(hours=1)
    reporter.sweep()
    desk.accept()
    desk.reporter.sweep()
    assert [len(report.failed) for report in desk.post.delivered] == [0, 1]


def test_requests_survive_the_process(desk: Desk) -> None:
    """A reporter that starts later finds what an earlier one left, without being told."""
    desk.accept("1.1", here=True)
    desk.shelf.clock.advance(seconds=60)
    assert desk.reporter.sweep() == 1
    assert desk.post.delivered[0].transaction_uid == "1.1"


def test_a_peer_without_an_address_is_journalled_once_and_kept(desk: Desk) -> None:
    """Nobody knows where to report to: the journal says so once, the request stays, and an address later serves it."""
    commitment_id, reporter = desk.accept(ae_title="STRANGER"), desk.reporter
    for _ in range(3):
        assert reporter.sweep() == 0
        desk.shelf.clock.advance(hours=1)
    assert desk.journal() == ['{"report":"undeliverable","transaction_uid":"1.9"}']
    assert desk.row(commitment_id).reported_at is None
    desk.post.known.add("STRANGER")
    assert reporter.sweep() == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_after_a_week_a_request_rests(desk: Desk, is_known: bool) -> None:
    """The archive gives up, journals it, and keeps the request where the operator can see it."""
    commitment_id = desk.accept()
    if is_known:
        desk.post.fails["MODALITY"] = DestinationUnreachable(ae_title="MODALITY", reason="refused")
    else:
        desk.post.known.clear()
    desk.shelf.clock.advance(days=8)
    assert desk.reporter.sweep() == 0
    desk.shelf.clock.advance(days=3000)
    assert desk.commitments.due() == []
    assert desk.row(commitment_id).reported_at is None
    assert desk.journal() == ['{"report":"undeliverable","transaction_uid":"1.9"}']


# ---- the thread ------------------------------------------------------------------------------------------------------


def test_the_thread_delivers_when_woken_and_ends_when_stopped(desk: Desk) -> None:
    """Woken, it looks at once; stopped, it is gone and cuts what it was sending."""
    reporter = desk.reporter
    reporter.start()
    desk.accept()
    reporter.wake()
    _wait_until(lambda: len(desk.post.delivered) == 1)
    reporter.stop()
    assert desk.post.interrupted == 1
    assert "commitment-reporter" not in {thread.name for thread in threading.enumerate()}


def test_the_thread_outlives_an_index_that_is_down(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that fails is logged; the next one works."""
    failures = iter([IndexUnavailable(reason="stopped"), RuntimeError("a mistake of ours")])
    original = Commitments.due

    def due(self: Commitments) -> list[Commitment]:
        for error in failures:
            raise error
        return original(self)

    monkeypatch.setattr(Commitments, "due", due)
    desk.accept()
    reporter = desk.reporter
    reporter.start()

    def has_delivered() -> bool:
        reporter.wake()
        return bool(desk.post.delivered)

    _wait_until(has_delivered)
    reporter.stop()


def test_stopping_interrupts_a_long_check(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for many objects does not hold up the end of the process; it stays for the next one."""
    commitment_id, entered = desk.accept(), threading.Event()
    original = Commitments._failure

    def slow(self: Commitments, *arguments: object) -> int | None:
        entered.set()
        sleep(0.2)
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Commitments, "_failure", slow)
    reporter = desk.reporter
    reporter.start()
    reporter.wake()
    assert entered.wait(5)
    started = monotonic()
    reporter.stop()
    assert monotonic() - started < 2
    assert desk.post.delivered == []
    assert desk.row(commitment_id).reported_at is None


def test_stopping_a_reporter_that_never_started_is_harmless(desk: Desk) -> None:
    """A start that failed half-way stops what it has."""
    desk.reporter.stop()
    assert desk.post.interrupted == 1


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 10
    while not condition():
        assert monotonic() < deadline, "it did not happen in time"
        sleep(0.01)
