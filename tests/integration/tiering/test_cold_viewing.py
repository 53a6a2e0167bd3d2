"""What a viewer is told of a study that has to thaw: at once, when to come back, and that it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.requests import Request

from archive.dicomweb.streaming import Threads
from archive.dicomweb.wado_rendered import Renderings
from archive.errors import NotReadableYet
from archive.http.access import set_person
from archive.http.problems import problem_of
from archive.services.accesses import Access
from archive.services.part10_files import prepare
from archive.services.people import Person
from archive.services.pictures import Pictures
from archive.services.recall import Recall
from archive.services.thaw_times import thaw_time
from archive.services.viewing import Viewing
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.tiering.reading import Reading, open_reading

ROSE = Access(Person("rose", "Rose Leblanc", frozenset({"radiologist"})), "192.0.2.9")


@pytest.fixture
def reading(office: Office, tmp_path: Path) -> Iterator[Reading]:
    """Lend an archive with a frozen study."""
    with open_reading(office, tmp_path / "cache") as reading:
        reading.go_cold(1)
        reading.store.freeze()
        time = thaw_time("GLACIER", "Standard")
        assert time is not None
        reading.recall = Recall(office.rig.committer, reading.store, office.clock, wait=timedelta(), time=time)
        yield reading


def test_who_looks_is_told_when_to_come_back(reading: Reading) -> None:
    """The thaw is asked for in their name, nothing is read, and the seconds that it takes at least are told."""
    viewing = Viewing(reading.retrieve)
    instances = viewing.find(ROSE, study_uid(1))
    with pytest.raises(NotReadableYet) as caught:
        viewing.check_readable(instances, ROSE)
    assert caught.value.fields["retry_after_seconds"] > 60
    assert reading.store.reads == []
    assert len(reading.store.thaws) == 1
    assert reading.office.journal()[-1].actor == "rose"
    reading.office.clock.advance(minutes=30)
    with pytest.raises(NotReadableYet) as later:
        viewing.check_readable(instances, ROSE)
    assert later.value.fields["retry_after_seconds"] < caught.value.fields["retry_after_seconds"]


def test_nobody_waits_for_a_thaw(reading: Reading) -> None:
    """An object that has to thaw fails at once, every one of its study, and asks for it once."""
    retrieve = reading.retrieve
    instances = Viewing(retrieve).find(ROSE, study_uid(1))
    with retrieve.ahead(instances, by="rose") as ahead:
        for instance in instances:
            with pytest.raises(NotReadableYet):
                prepare(ahead, instance, ("",))
    assert len(reading.store.thaws) == 1


def test_where_nothing_thaws_nothing_is_asked(reading: Reading) -> None:
    """A store without such a class costs no request before it is read."""
    assert reading.recall is not None
    reading.recall = replace(reading.recall, time=None)
    viewing = Viewing(reading.retrieve)
    reading.store.looks = 0
    viewing.check_readable(viewing.find(ROSE, study_uid(1)), ROSE)
    assert reading.store.looks == 0


def asked(level: str) -> Request:
    """Return ROSE's request for the pictures of a study or of its series."""
    params = {"study": study_uid(1)} | ({} if level == "study" else {"series": f"{study_uid(1)}.1"})
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "server": ("archive", 80),
        "query_string": b"",
        "headers": [(b"accept", b"image/png")],
        "path_params": params,
        "client": (ROSE.address, 1),
    }
    set_person(scope, ROSE.person)
    return Request(scope)


@pytest.fixture
def renderings(reading: Reading) -> Iterator[Renderings]:
    """Lend what draws the study."""
    threads = Threads()
    yield Renderings(Viewing(reading.retrieve), Pictures(reading.retrieve), threads)
    threads.stop()


@pytest.mark.parametrize("level", ["study", "series"])
def test_who_wants_pictures_is_told_when_to_come_back(reading: Reading, renderings: Renderings, level: str) -> None:
    """Of a study or series that has to thaw none is drawn: the thaw is asked for, nothing read, nobody has looked."""
    with pytest.raises(NotReadableYet) as caught:
        renderings.rendered(asked(level))
    told = problem_of(caught.value)
    assert (told.status, int(told.headers["Retry-After"]) > 60) == (503, True)
    assert (reading.store.reads, len(reading.store.thaws)) == ([], 1)
    assert reading.bodies("viewed") == []


def test_pictures_of_a_study_that_fell_asleep_are_not_begun(reading: Reading, renderings: Renderings) -> None:
    """Where that is only found out when it is opened, the answer is the same: there is no picture of it yet."""
    assert reading.recall is not None
    viewing = Viewing(replace(reading.retrieve, recall=None))
    with pytest.raises(NotReadableYet):
        replace(renderings, viewing=viewing).rendered(asked("study"))
    assert len(reading.bodies("viewed")) == 1
