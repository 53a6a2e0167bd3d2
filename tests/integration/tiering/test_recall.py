"""Thaws: asked for all at once and noted first, looked after until they are done, waited for only a little."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archive.errors import ColdStoreDown, NoSuchStudy, NotReadableYet
from archive.index import thaws
from archive.index.thaws import Thaw
from archive.services.recall import Patience, Recall
from archive.services.thaw_times import thaw_time
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.tiering.reading import Reading, open_reading
from tests.objects import ct_dataset
from tiering.errors import StoreUnavailable
from tiering.stores.base import Availability


@pytest.fixture
def reading(office: Office, tmp_path: Path) -> Iterator[Reading]:
    """Lend an archive with a cold store and what asks for thaws."""
    with open_reading(office, tmp_path / "cache") as found:
        found.recall = Recall(office.rig.committer, found.store, office.clock, wait=timedelta(seconds=10))
        yield found


def recall_of(reading: Reading) -> Recall:
    """Return what asks for thaws."""
    assert reading.recall is not None
    return reading.recall


def frozen(reading: Reading, *studies: int, instances: int = 2) -> Recall:
    """Make studies cold ones that have to thaw."""
    reading.go_cold(*studies, instances=instances)
    reading.store.freeze()
    return recall_of(reading)


def waiting(reading: Reading) -> list[Thaw]:
    """Return the thaws that are noted."""
    with reading.office.rig.committer.read() as connection:
        return thaws.page(connection, "", 100)


def test_a_study_is_asked_for_at_once_and_noted(reading: Reading) -> None:
    """All its packs go in one call, in somebody's name; the journal has who, which study, how much and for how long."""
    reading.office.rig.send(ct_dataset(1, study=2, series=2, StudyDate="20000302", PatientBirthDate="19500714"))
    recall = frozen(reading, 1, 2)
    status = recall.request(study_uid(2), by="olga")
    assert (status.packs, status.readable, status.waiting, status.cold) == (2, 0, 2, 0)
    assert len(reading.store.thaws) == 1
    assert sorted(each.pack_key for each in waiting(reading)) == reading.store.thaws[0]
    assert {(each.study_instance_uid, each.requested_by) for each in waiting(reading)} == {(study_uid(2), "olga")}
    (body,) = reading.bodies("recalled")
    told = json.loads(body)
    assert (told["study_instance_uid"], told["packs"], told["days"]) == (study_uid(2), 2, 7)
    assert told["size_bytes"] == status.size_bytes > 0


def test_asking_again_asks_for_nothing_new(reading: Reading) -> None:
    """A study that thaws is not asked for twice, and keeps the moment at which it was asked for first."""
    recall = frozen(reading, 1)
    first = recall.request(study_uid(1), by="olga")
    reading.office.clock.advance(hours=1)
    assert recall.request(study_uid(1), by="anne") == first
    assert len(reading.store.thaws) == 1
    assert len(reading.bodies("recalled")) == 1


def test_a_thaw_that_is_done_is_forgotten(reading: Reading) -> None:
    """Polling leaves alone what thaws and forgets what is done, which is journalled; then all of it can be read."""
    recall = frozen(reading, 1, 2)
    before = recall.request(study_uid(1), by="olga")
    assert not before.is_readable
    assert (recall.poll().waiting, len(waiting(reading))) == (1, 1)
    reading.store.finish_thaws()
    report = recall.poll()
    assert (report.done, report.waiting, report.studies) == (1, 0, {study_uid(1)})
    assert waiting(reading) == []
    assert recall.status(study_uid(1)).is_readable
    (body,) = reading.bodies("thawed")
    assert json.loads(body) == {"packs": 1, "study_instance_uid": study_uid(1)}
    assert recall.poll().done == 0


def test_what_froze_again_is_asked_for_again(reading: Reading) -> None:
    """A thaw that ran out before anybody looked, or that the store forgot, is asked for again."""
    recall = frozen(reading, 1)
    recall.request(study_uid(1), by="olga")
    reading.store.freeze()
    assert (recall.poll().waiting, len(reading.store.thaws)) == (1, 2)
    reading.store.finish_thaws()
    assert recall.poll().done == 1


def test_a_store_that_is_down_is_asked_later(reading: Reading) -> None:
    """The wish is noted before the store is asked: down at that moment, the next poll asks."""
    recall = frozen(reading, 1)
    looked = reading.store.request_thaw

    def fail(*_: object) -> None:
        raise StoreUnavailable(reason="no route")

    reading.store.request_thaw = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(ColdStoreDown, match="no route"):
        recall.request(study_uid(1), by="olga")
    assert len(waiting(reading)) == 1
    with pytest.raises(ColdStoreDown):
        recall.poll()
    reading.store.request_thaw = looked  # type: ignore[method-assign]
    assert recall.poll().waiting == 1
    reading.store.finish_thaws()
    assert recall.poll().done == 1


def test_a_pack_that_is_gone_keeps_nothing_waiting(reading: Reading) -> None:
    """One that is not in the store is counted as missing; what is waited for goes on without it."""
    recall = frozen(reading, 1, 2)
    recall.request(study_uid(1), by="olga")
    recall.request(study_uid(2), by="olga")
    reading.store.lose(waiting(reading)[0].pack_key)
    report = recall.poll()
    assert (report.missing, report.waiting) == (1, 1)
    status = recall.status(study_uid(1))
    assert (status.missing, status.is_readable) == (1, False)


def test_a_study_without_cold_packs_can_be_read(reading: Reading) -> None:
    """A hot study has nothing to thaw; one that is not there is told."""
    reading.side.sealed(1)
    recall = recall_of(reading)
    status = recall.request(study_uid(1), by="olga")
    assert (status.packs, status.is_readable, status.expected_at) == (0, True, None)
    with pytest.raises(NoSuchStudy):
        recall.request("1.2.3", by="olga")
    with pytest.raises(NoSuchStudy):
        recall.status("1.2.3")


def test_the_time_is_an_estimate_from_when_it_was_asked_for(reading: Reading) -> None:
    """The last pack is expected so long after it was asked for, as its class takes; without a class nothing is said."""
    recall = frozen(reading, 1)
    assert recall.request(study_uid(1), by="olga").expected_at is None
    asked_at = reading.office.clock()
    slow = replace(recall, time=thaw_time("GLACIER"))
    reading.office.clock.advance(hours=1)
    status = slow.status(study_uid(1))
    assert (status.requested_at, status.expected_at) == (asked_at, asked_at + timedelta(hours=5))
    assert slow.expectation(waiting(reading)[0].pack_key) == timedelta(hours=2)
    assert slow.expectation("never asked for") == timedelta(hours=3)
    reading.office.clock.advance(hours=9)
    assert slow.expectation(waiting(reading)[0].pack_key) == timedelta()


# ---- a retrieve that meets what is frozen --------------------------------------------------------------------------


def patience_of(reading: Reading, recall: Recall, *, thaw_after: int | None) -> tuple[Patience, list[float]]:
    """Return patience whose time only passes in its own sleep; the thaw is done after so many sleeps."""
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        now[0] += seconds
        slept.append(seconds)
        if len(slept) == thaw_after:
            reading.store.finish_thaws()

    keys = [each.location.pack_key or "" for each in reading.wanted()]
    return Patience(recall, keys, "STATION", lambda: now[0], sleep), slept


def test_a_retrieve_waits_for_a_thaw_that_is_done_in_time(reading: Reading) -> None:
    """It asks in the name of who retrieves, waits, and gives the right bytes."""
    before = reading.go_cold(1)
    reading.store.freeze()
    recall = recall_of(reading)
    patience, slept = patience_of(reading, recall, thaw_after=2)
    retrieve = replace(reading.retrieve, patience=patience)
    stored = retrieve.open(reading.instances()[0])
    content = retrieve.read(stored)
    view = memoryview(bytearray(content.size_bytes))
    content.read_into(view, 0)
    content.close()
    assert bytes(view) == before[stored.instance.sop_instance_uid]
    assert len(slept) == 2
    assert waiting(reading)[0].requested_by == "STATION"


def test_a_retrieve_waits_once_and_not_for_each_image(reading: Reading) -> None:
    """When the time is over every further image of the pack fails at once, without the store being asked."""
    recall = frozen(reading, 1, instances=4)
    patience, slept = patience_of(reading, recall, thaw_after=None)
    retrieve = replace(reading.retrieve, patience=patience)
    for number, each in enumerate(reading.instances()):
        with pytest.raises(NotReadableYet, match="a thaw was asked for"):
            retrieve.open(each)
        if number == 0:
            looks = reading.store.looks
            reading.store.reads.clear()
    assert sum(slept) == pytest.approx(10)
    assert (reading.store.looks, reading.store.reads) == (looks, [])
    assert len(reading.store.thaws) == 1


def test_what_cannot_thaw_in_time_is_not_waited_for(reading: Reading) -> None:
    """A class that takes hours is asked for, and the retrieve told at once how long it takes."""
    recall = replace(frozen(reading, 1), time=thaw_time("DEEP_ARCHIVE"))
    patience, slept = patience_of(reading, recall, thaw_after=None)
    with pytest.raises(NotReadableYet, match="up to 12 h"):
        patience.wait_for(reading.wanted()[0].location.pack_key or "")
    assert slept == []
    assert len(waiting(reading)) == 1


def test_no_patience_still_asks(reading: Reading) -> None:
    """With a wait of nothing the thaw is asked for all the same, for the next retrieve."""
    recall = replace(frozen(reading, 1), wait=timedelta())
    patience, slept = patience_of(reading, recall, thaw_after=None)
    with pytest.raises(NotReadableYet):
        patience.wait_for(reading.wanted()[0].location.pack_key or "")
    assert (slept, len(waiting(reading))) == ([], 1)


def test_all_packs_of_a_retrieve_thaw_together(reading: Reading) -> None:
    """The first image that is frozen has all packs of the retrieve asked for, in one call."""
    recall = replace(frozen(reading, 1, 2), wait=timedelta())
    reading.recall = recall
    instances = [*reading.instances(1), *reading.instances(2)]
    with reading.retrieve.ahead(instances, by="STATION") as retrieve, pytest.raises(NotReadableYet):
        retrieve.open(instances[0])
    assert len(reading.store.thaws) == 1
    assert {each.study_instance_uid for each in waiting(reading)} == {study_uid(1), study_uid(2)}


def test_who_only_looks_asks_for_nothing(reading: Reading) -> None:
    """Opening without announcing, as a storage commitment does, is told what is frozen and thaws nothing."""
    frozen(reading, 1)
    with pytest.raises(NotReadableYet):
        reading.retrieve.open(reading.instances()[0])
    assert reading.store.thaws == []


def test_a_thaw_that_is_under_way_is_not_paid_for_twice(reading: Reading) -> None:
    """A retrieve that meets a pack somebody asked for already waits for that thaw."""
    recall = frozen(reading, 1)
    recall.request(study_uid(1), by="olga")
    patience, _ = patience_of(reading, recall, thaw_after=1)
    patience.wait_for(reading.wanted()[0].location.pack_key or "")
    assert len(reading.store.thaws) == 1
    assert reading.store.availability(reading.wanted()[0].location.pack_key or "") is Availability.WARM
