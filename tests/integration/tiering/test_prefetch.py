"""Prefetching: a new study warms the cache with its patient's cold priors, as many as the policy says and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.errors import IndexUnavailable
from archive.index import thaws
from archive.services import prefetch
from archive.services.prefetch import Prefetcher, PrefetchPolicy
from archive.services.recall import Recall
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.index.making import change
from tests.integration.tiering.reading import Reading, open_reading
from tests.objects import changed, ct_dataset
from tiering.errors import StoreUnavailable

SAME = "PID1"


@pytest.fixture
def reading(office: Office, tmp_path: Path) -> Iterator[Reading]:
    """Lend an archive with a cold store and what asks for thaws."""
    with open_reading(office, tmp_path / "cache") as found:
        found.recall = Recall(office.rig.committer, found.store, office.clock, wait=timedelta())
        yield found


def go_cold(reading: Reading, *studies: tuple[int, str, str]) -> None:
    """Make cold studies of (number, exam date, modality), of one patient."""
    for study, exam_on, modality in studies:
        reading.office.store(study, 2, exam_on, PatientID=SAME, Modality=modality)
    reading.side.sealed()
    for study, _, _ in studies:
        reading.side.migrate(study)
    reading.side.trim()
    reading.store.reads.clear()


def come(reading: Reading, study: int, *, patient: str | None = SAME, modality: str = "CT") -> None:
    """Have a new study come."""
    ds = changed(ct_dataset(1, study=study), {"PatientID": patient, "Modality": modality, "StudyDate": "20261126"})
    reading.office.rig.send(ds)


def prefetcher(
    reading: Reading, priors: int = 1, *, same_modality: bool = False, poll_seconds: float = 0
) -> Prefetcher:
    """Return a prefetcher that has had its first look."""
    assert reading.recall is not None
    policy = PrefetchPolicy(priors, same_modality)
    found = Prefetcher(reading.reader, reading.recall, policy, pause_seconds=0.01, poll_seconds=poll_seconds)
    found._turn()
    return found


def turns(found: Prefetcher, count: int = 12) -> None:
    """Let it do all there is to do."""
    for _ in range(count):
        found._turn()


def warm(reading: Reading, *studies: int) -> list[int]:
    """Return which of these studies lie in the cache as a whole."""
    cache = reading.reader.cache
    return [study for study in studies if all(cache.has(each.location.key) for each in reading.wanted(study))]


def test_the_most_recent_priors_of_the_patient_are_fetched(reading: Reading) -> None:
    """Two of three cold priors, the most recent ones, and nobody else's; a retrieve then asks the store for nothing."""
    go_cold(reading, (1, "20000302", "CT"), (2, "20020302", "CT"), (3, "20010302", "CT"))
    found = prefetcher(reading, 2)
    come(reading, 9)
    turns(found)
    assert warm(reading, 1, 2, 3) == [2, 3]
    reading.store.reads.clear()
    assert len(reading.read_all(2)) == 2
    assert reading.store.reads == []


def test_another_patient_is_no_reason(reading: Reading) -> None:
    """A study of somebody else, or of nobody in particular, fetches nothing."""
    go_cold(reading, (1, "20000302", "CT"))
    found = prefetcher(reading, 5)
    come(reading, 8, patient="PID8")
    come(reading, 9, patient="")
    turns(found)
    assert reading.store.reads == []


def test_only_the_same_modality_when_that_is_wanted(reading: Reading) -> None:
    """A new CT brings the older CT and not the more recent MR."""
    go_cold(reading, (1, "20000302", "CT"), (2, "20020302", "MR"))
    found = prefetcher(reading, 5, same_modality=True)
    come(reading, 9)
    turns(found)
    assert warm(reading, 1, 2) == [1]


def test_what_is_hot_is_not_fetched(reading: Reading) -> None:
    """A prior that still has its hot pack is no cold one."""
    reading.office.store(1, 2, PatientID=SAME)
    reading.side.sealed()
    reading.side.migrate(1)
    reading.store.reads.clear()
    found = prefetcher(reading, 5)
    come(reading, 9)
    turns(found)
    assert reading.store.reads == []


def test_studies_that_were_there_are_no_news(reading: Reading) -> None:
    """A start fetches nothing, and off means off."""
    go_cold(reading, (1, "20000302", "CT"))
    come(reading, 8)
    turns(prefetcher(reading, 5))
    off = prefetcher(reading, 0)
    come(reading, 9)
    turns(off)
    assert reading.store.reads == []


def test_a_prior_that_has_to_thaw_is_fetched_once_it_has(reading: Reading) -> None:
    """The thaw is asked for in the archive's name; when it is done the prior is fetched."""
    go_cold(reading, (1, "20000302", "CT"))
    reading.store.freeze()
    found = prefetcher(reading, 1)
    come(reading, 9)
    turns(found)
    assert warm(reading, 1) == []
    with reading.office.rig.committer.read() as connection:
        (thaw,) = thaws.of_study(connection, study_uid(1))
    assert thaw.requested_by == "drimbox"
    assert len(reading.store.thaws) == 1
    reading.store.finish_thaws()
    turns(found)
    assert warm(reading, 1) == [1]


def test_a_study_too_large_for_the_cache_is_fetched_in_part(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one prior no more than a quarter of the cache: it must not push everybody else's images out."""
    go_cold(reading, (1, "20000302", "CT"), (2, "20000303", "CT"))
    reading.reader.cache.limit_bytes = 4 * reading.wanted(1)[0].location.size_bytes
    monkeypatch.setattr(prefetch, "_RANGE_BYTES", 1)
    found = prefetcher(reading, 2)
    come(reading, 9)
    turns(found)
    assert len(reading.store.reads) == 2


def test_a_store_that_is_down_is_no_reason_to_stop(reading: Reading) -> None:
    """One prior is not fetched; the next new study's is, and nothing is said of the copies."""
    go_cold(reading, (1, "20000302", "CT"))
    found = prefetcher(reading, 1, poll_seconds=3600)
    reading.store.down = StoreUnavailable(reason="no route")
    come(reading, 8)
    turns(found)
    assert warm(reading, 1) == []
    reading.store.down = None
    come(reading, 9)
    turns(found)
    assert warm(reading, 1) == [1]
    assert reading.bodies("damaged") == []


def test_a_pack_that_is_gone_is_no_reason_to_stop(reading: Reading) -> None:
    """What cannot be fetched is left to whoever retrieves it."""
    go_cold(reading, (1, "20000302", "CT"), (2, "20000303", "CT"))
    reading.store.lose(reading.wanted(2)[0].location.pack_key or "")
    found = prefetcher(reading, 2)
    come(reading, 9)
    turns(found)
    assert warm(reading, 1) == [1]


def test_the_thread_works_and_ends(reading: Reading) -> None:
    """Started, it fetches by itself; stopped, it is gone, also while it fetches."""
    go_cold(reading, (1, "20000302", "CT"))
    assert reading.recall is not None
    policy = PrefetchPolicy(1)
    found = Prefetcher(reading.reader, reading.recall, policy, pause_seconds=0.01, poll_seconds=3600)
    found.start()
    wait_until(lambda: found._last_study is not None)
    come(reading, 9)
    wait_until(lambda: warm(reading, 1) == [1])
    found.stop()
    assert not any(thread.name == "prefetcher" for thread in threading.enumerate())


def test_an_index_that_fails_does_not_end_it(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread outlives an index that does not answer for a moment."""
    go_cold(reading, (1, "20000302", "CT"))
    assert reading.recall is not None
    failures: list[int] = []
    real = thaws.newest_study

    def newest(connection: object) -> int:
        if not failures:
            failures.append(1)
            raise IndexUnavailable(reason="down")
        return real(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(thaws, "newest_study", newest)
    found = Prefetcher(reading.reader, reading.recall, PrefetchPolicy(1), pause_seconds=0.01, poll_seconds=3600)
    found.start()
    wait_until(lambda: found._last_study is not None)
    found.stop()
    assert failures == [1]


def test_it_has_the_cache_give_way(reading: Reading) -> None:
    """A disk that fills up takes room back from the cache, also when nobody reads."""
    go_cold(reading, (1, "20000302", "CT"))
    reading.read_all()
    assert warm(reading, 1) == [1]
    found = prefetcher(reading, 0)
    reading.reader.cache.min_free_bytes = 1 << 60
    found._turn()
    assert reading.reader.cache.size_bytes == 0


def test_what_the_index_forgot_leaves_the_cache(reading: Reading) -> None:
    """A study that was destroyed while it was fetched does not stay on the local disk."""
    go_cold(reading, (1, "20000302", "CT"), (2, "20000303", "CT"))
    for study in (1, 2):
        reading.read_all(study)
    change(reading.office.rig.database, "DELETE FROM pack WHERE study_instance_uid = ?", (study_uid(1),))
    assert reading.reader.cache.size_bytes > 0
    size = reading.reader.cache.size_bytes
    prefetcher(reading, 0)
    assert reading.reader.cache.size_bytes == size // 2
    assert warm(reading, 2) == [2]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return when something is so; fail when it does not come to it."""
    for _ in range(2000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to it")


def test_the_time_of_a_recall_can_be_changed(reading: Reading) -> None:
    """What prefetches asks through the recall of the archive: its days are asked for."""
    go_cold(reading, (1, "20000302", "CT"))
    assert reading.recall is not None
    reading.recall = replace(reading.recall, days=3)
    reading.store.freeze()
    found = prefetcher(reading, 1)
    come(reading, 9)
    turns(found)
    assert '"days":3' in reading.bodies("recalled")[0]
