"""Group commit: one writer, errors where they belong, and readers that never get ahead of what was handed in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from archive.audit import Entry
from archive.errors import IndexUnavailable
from archive.index import folders, journal
from archive.index.instances import AddOutcome, find_digest
from archive.index.records import NewInstance, NewLocation
from archive.index.session import Connection, Database, IndexRefused
from archive.part10.attributes import InstanceHeader
from archive.services.committer import Committer
from tests.unit.services.rig import open_rig, sqlite_index
from tests.unit.services.shelf import NOON


def instance(number: int, *, digest: int = 1, **values: str) -> NewInstance:
    """Return the record of a landed object."""
    uid = f"2.25.{number}"
    identifiers = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": uid,
        "StudyInstanceUID": "2.25.9",
        "SeriesInstanceUID": "2.25.9.1",
    }
    return NewInstance(
        header=InstanceHeader(values={**identifiers, **values}),
        site="default",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        dataset_sha256=bytes([digest]) * 32,
        dataset_size=10,
        received_at=NOON,
        calling_ae_title="MODALITY",
        location=NewLocation("hot", f"20261123/120000-00000000/{number:06d}-{digest}", bytes(32), 600, 610),
    )


def entry(event: str = "stored", **body: str) -> Entry:
    """Return a journal entry."""
    return Entry(at=NOON, event=event, actor="MODALITY", body=body)


class Flaky(Database):
    """A SQLite index that is away when told, and counts its transactions."""

    is_away = False
    transactions = 0
    synced = 0

    @contextmanager
    def write(self, *, synced: bool) -> Iterator[Connection]:
        """Fail as a lost server does, or write."""
        if self.is_away:
            raise IndexUnavailable(reason="away")
        with super().write(synced=synced) as connection:
            yield connection
        self.transactions += 1
        self.synced += synced


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Flaky]:
    """Lend an index that can go away."""
    sqlite_index(tmp_path).close()
    index = Flaky(f"sqlite:///{tmp_path / 'index.db'}")
    yield index
    index.close()


@contextmanager
def open_committer(database: Database, *, linger_seconds: float = 0.05) -> Iterator[Committer]:
    """Lend a running committer."""
    committer = Committer(database, linger_seconds=linger_seconds)
    committer.start()
    try:
        yield committer
    finally:
        committer.close()


def stored_uids(committer: Committer, *numbers: int) -> list[bool]:
    """Tell for each instance whether a reader sees it."""
    with committer.read() as connection:
        return [find_digest(connection, f"2.25.{number}") is not None for number in numbers]


def test_a_reader_sees_all_that_was_handed_in(database: Flaky) -> None:
    """Handing in returns at once; whoever reads afterwards waits until it is committed."""
    with open_committer(database, linger_seconds=30) as committer:
        for number in range(5):
            committer.store(instance(number), entry(), lambda: None)
        assert database.transactions == 0
        assert stored_uids(committer, 0, 1, 2, 3, 4) == [True] * 5
        assert database.transactions <= 2, "what waits together is committed together"


def test_a_reader_of_objects_waits_for_no_journal(database: Flaky) -> None:
    """Who reads images journals each time: that must not keep the next one; objects and work are waited for still."""
    with open_committer(database, linger_seconds=30) as committer:
        committer.post(entry())
        with committer.read(journal=False):
            assert database.transactions == 0
        committer.store(instance(1), entry(), lambda: None)
        committer.post(entry())
        with committer.read(journal=False) as connection:
            assert find_digest(connection, "2.25.1") is not None
        done = database.transactions
        committer.post(entry(), work=lambda _: None)
        with committer.read(journal=False):
            assert database.transactions > done
        committer.post(entry())
        with committer.read() as connection:
            assert journal.head(connection)[0] == 5, "an entry for each of what was handed in"


def test_it_knows_that_objects_come_in(database: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment after each object, so that what can wait lets it pass; entries of other work do not count."""
    now = 100.0
    monkeypatch.setattr("archive.services.committer.monotonic", lambda: now)
    with open_committer(database) as committer:
        committer.record(entry())
        seen = [committer.is_receiving]
        committer.store(instance(1), entry(), lambda: None)
        seen.append(committer.is_receiving)
        now += 0.3
        assert [*seen, committer.is_receiving] == [False, True, False]


def test_a_row_follows_by_itself(database: Flaky) -> None:
    """Nobody has to read for a row to be written."""
    done = threading.Event()
    with open_committer(database, linger_seconds=0.01) as committer:
        committer.store(instance(1), entry(), done.set)
        assert done.wait(5)
        with database.read() as connection:
            assert find_digest(connection, "2.25.1") == bytes([1]) * 32


def test_the_digest_of_what_waits_is_known(database: Flaky) -> None:
    """Between hand-in and commit a duplicate can be told; after the commit the index tells."""
    with open_committer(database, linger_seconds=30) as committer:
        assert committer.find_waiting_digest("2.25.1") is None
        committer.store(instance(1, digest=7), entry(), lambda: None)
        assert committer.find_waiting_digest("2.25.1") == bytes([7]) * 32
        committer.barrier()
        assert committer.find_waiting_digest("2.25.1") is None


def test_adding_says_what_it_came_to(database: Flaky) -> None:
    """New, same bytes, other bytes; only what is new is journalled."""
    with open_committer(database) as committer:
        assert committer.add(instance(1), entry()) is AddOutcome.ADDED
        assert committer.add(instance(1), entry()) is AddOutcome.SAME
        assert committer.add(instance(1, digest=2), entry()) is AddOutcome.CONFLICT
        with committer.read() as connection:
            assert find_digest(connection, "2.25.1") == bytes([1]) * 32
    with open_rig(database_root(database)) as rig:
        assert rig.events() == ["stored"]


def database_root(database: Database) -> Path:
    """Return the folder of a SQLite index."""
    assert database._wal is not None
    return database._wal.parent


def test_the_journal_is_one_chain_whoever_writes(tmp_path: Path) -> None:
    """Entries of many threads follow each other without a gap, each with its own content."""
    with open_rig(tmp_path) as rig:

        def work(thread: int) -> None:
            for number in range(20):
                rig.committer.record(entry("tested", who=f"{thread}-{number}"))

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bodies = [row.body for row in rig.entries()]
        assert len(set(bodies)) == 80
        assert [row.sequence for row in rig.entries()] == list(range(1, 81))


def test_work_and_entry_are_one_transaction(tmp_path: Path) -> None:
    """When the work fails nothing of it remains, the entry neither, and the caller gets the error itself."""

    def half(connection: Connection) -> None:
        folders.open_folder(connection, "20261123/120000-00000000", NOON)
        raise LookupError("a mistake of ours")

    with open_rig(tmp_path) as rig:
        with pytest.raises(LookupError):
            rig.committer.record(entry(), work=half)
        assert rig.events() == []
        assert rig.unsealed() == []


def test_a_bad_job_fails_alone(database: Flaky) -> None:
    """Those that share a transaction with a job that fails are committed all the same, in their order."""

    def fail(_connection: Connection) -> None:
        raise LookupError("a mistake of ours")

    errors: list[Exception] = []

    def record_badly(committer: Committer) -> None:
        try:
            committer.record(entry("bad"), work=fail)
        except LookupError as exc:
            errors.append(exc)

    with open_committer(database, linger_seconds=0.3) as committer:
        committer.store(instance(1), entry(), lambda: None)
        thread = threading.Thread(target=record_badly, args=(committer,))
        thread.start()
        committer.store(instance(2), entry(), lambda: None)
        thread.join(10)
        assert stored_uids(committer, 1, 2) == [True, True]
        assert len(errors) == 1


def test_values_the_database_refuses_cost_the_object_its_attributes_only(
    database: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A durable object is indexed by its identifiers when the database will not have the rest, and flagged."""
    with open_committer(database) as committer:
        add = committer._writer.add

        def refusing(connection: Connection, batch: list[NewInstance]) -> list[AddOutcome]:
            if any("PatientName" in item.header.values for item in batch):
                raise IndexRefused(reason="value")
            return add(connection, batch)

        monkeypatch.setattr(committer._writer, "add", refusing)
        settled: list[int] = []
        committer.store(instance(1, PatientName="\ud800"), entry(), lambda: settled.append(1))
        committer.store(instance(2), entry(), lambda: settled.append(2))
        assert stored_uids(committer, 1, 2) == [True, True]
        assert sorted(settled) == [1, 2]
    with open_rig(database_root(database)) as rig:
        assert rig.stored_keys() == [instance(1).location.key, instance(2).location.key]


def test_an_object_the_index_never_takes_keeps_its_folder_open(
    database: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not settled, so that the next start looks at it again; the others go on."""
    with open_committer(database) as committer:
        add = committer._writer.add

        def refusing(connection: Connection, batch: list[NewInstance]) -> list[AddOutcome]:
            if any(item.header.values["SOPInstanceUID"] == "2.25.1" for item in batch):
                raise IndexRefused(reason="value")
            return add(connection, batch)

        monkeypatch.setattr(committer._writer, "add", refusing)
        settled: list[int] = []
        committer.store(instance(1), entry(), lambda: settled.append(1))
        committer.store(instance(2), entry(), lambda: settled.append(2))
        assert stored_uids(committer, 1, 2) == [False, True]
        assert settled == [2]


def test_a_uid_another_process_stored_first_keeps_its_folder_open(database: Flaky) -> None:
    """Other bytes under a UID that came in beside us are left for the next start to set aside."""
    with open_committer(database) as committer:
        committer.add(instance(1), entry())
        settled: list[int] = []
        committer.store(instance(1, digest=2), entry(), lambda: settled.append(1))
        committer.barrier()
        assert settled == []


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens by itself."""
    ticker = threading.Event()
    for _ in range(500):
        if condition():
            return
        ticker.wait(0.02)
    raise AssertionError("it did not happen within 10 s")


def fails(committer: Committer) -> bool:
    """Tell whether the committer says that the index fails."""
    try:
        committer.check()
    except IndexUnavailable:
        return True
    return False


def test_durable_objects_wait_for_an_index_that_is_away(database: Flaky) -> None:
    """While the index fails everybody is told so; what was handed in is committed, in order, once it is back."""
    with open_committer(database, linger_seconds=0.01) as committer:
        database.is_away = True
        order: list[int] = []
        for number in (1, 2):
            committer.store(instance(number), entry(), lambda number=number: order.append(number))  # type: ignore[misc]
        wait_until(lambda: fails(committer))
        with pytest.raises(IndexUnavailable, match="away"):
            committer.record(entry("asked"))
        with pytest.raises(IndexUnavailable, match="away"), committer.read():
            pass
        database.is_away = False
        wait_until(lambda: not fails(committer))
        assert stored_uids(committer, 1, 2) == [True, True]
        assert order == [1, 2]
    with open_rig(database_root(database)) as rig:
        assert rig.events() == ["stored", "stored"], "what its caller was told failed is not written behind his back"


def test_the_end_of_a_failure_is_noticed_although_nobody_hands_in(database: Flaky) -> None:
    """Senders are refused while the index fails, so the committer itself finds out that it is back."""
    with open_committer(database) as committer:
        database.is_away = True
        with pytest.raises(IndexUnavailable):
            committer.record(entry())
        assert fails(committer)
        database.is_away = False
        wait_until(lambda: not fails(committer))


def test_nobody_waits_behind_a_queue_that_cannot_move(database: Flaky) -> None:
    """However many durable objects wait for the index, a caller is told at once that it fails."""
    with open_committer(database, linger_seconds=0.01) as committer:
        database.is_away = True
        for number in range(300):
            committer.store(instance(number), entry(), lambda: None)
        outcome: list[str] = []

        def ask() -> None:
            try:
                committer.record(entry())
            except IndexUnavailable as exc:
                outcome.append(exc.fields["reason"])

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(10)
        assert outcome == ["away"]
        database.is_away = False
        wait_until(lambda: not fails(committer))
        assert all(stored_uids(committer, *range(300)))


def test_a_synced_record_covers_what_came_before(database: Flaky) -> None:
    """After record_synced all earlier hand-ins are committed, with a sync; sync alone does nothing twice."""
    with open_committer(database, linger_seconds=30) as committer:
        committer.store(instance(1), entry(), lambda: None)
        committer.record_synced(entry("sealed"))
        assert database.synced == 1
        with database.read() as connection:
            assert find_digest(connection, "2.25.1") is not None
        committer.sync()
        assert database.synced == 1
        committer.record(entry())
        committer.sync()
        committer.sync()
        assert database.synced == 2


def test_closing_commits_what_waits(database: Flaky) -> None:
    """Nothing handed in before the end is lost, and the end is synced."""
    with open_committer(database, linger_seconds=30) as committer:
        committer.store(instance(1), entry(), lambda: None)
    assert database.synced == 1
    with database.read() as connection:
        assert find_digest(connection, "2.25.1") is not None


def test_closing_while_the_index_is_away_ends(database: Flaky) -> None:
    """An index that does not answer cannot keep the archive from stopping; storage has what was acknowledged."""
    settled: list[int] = []
    committer = Committer(database)
    committer.start()
    database.is_away = True
    committer.store(instance(1), entry(), lambda: settled.append(1))
    closer = threading.Thread(target=committer.close, daemon=True)
    closer.start()
    closer.join(10)
    assert not closer.is_alive()
    assert settled == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_committer_that_dies_leaves_nobody_waiting(database: Flaky) -> None:
    """When the thread ends by our own mistake every call fails at once, for ever, instead of hanging."""
    committer = Committer(database)
    committer.start()

    def settle() -> None:
        raise SystemExit

    committer.store(instance(1), entry(), settle)
    wait_until(lambda: fails(committer))
    for call in (committer.barrier, committer.check, lambda: committer.record(entry())):
        with pytest.raises(IndexUnavailable, match="restart the archive"):
            call()
    committer.close()


def test_hand_ins_wait_when_the_queue_is_full(database: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of objects is slowed down to what the index takes, rather than filling the memory."""
    monkeypatch.setattr("archive.services.committer._MAX_WAITING", 4)
    with open_committer(database, linger_seconds=0) as committer:
        for number in range(50):
            committer.store(instance(number), entry(), lambda: None)
            assert len(committer._queue) <= 4
        assert all(stored_uids(committer, *range(50)))


def test_commits_to_postgresql_are_always_synced(database: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL may lose an unsynced commit while we go on, so there is none."""
    monkeypatch.setattr(database, "dialect", "postgresql")
    with open_committer(database) as committer:
        committer.record(entry())
        assert (database.transactions, database.synced) == (1, 1)


def test_the_same_object_twice_in_one_transaction(database: Flaky) -> None:
    """Two hand-ins of one UID that are committed together come to one row and one entry."""
    with open_committer(database, linger_seconds=0.2) as committer:
        first = instance(1)
        second = replace(first, location=replace(first.location, key="20261123/120000-00000000/000009"))
        committer.store(first, entry(), lambda: None)
        committer.store(second, entry(), lambda: None)
        committer.barrier()
    with open_rig(database_root(database)) as rig:
        assert rig.events() == ["stored"]
        assert rig.stored_keys() == [first.location.key]
