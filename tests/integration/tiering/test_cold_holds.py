"""Holds mirrored to the cold store: it keeps what we keep, lets go when we do, and a failure is made up for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from archive.services.cold_holds import HoldMirror, MirrorReport
from archive.services.holds import Holds, NewHold
from tests.integration.disposal.conftest import ANNE, OLGA, WAITING_DAYS, Office, nothing, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.proving import count, events
from tiering.errors import ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from tiering.stores.memory import MemoryStore


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with three studies in both tiers."""
    side = ColdSide(office)
    side.sealed(1, 2, 3, instances=1)
    for study in (1, 2, 3):
        side.migrate(study)
    return side


def store_of(side: ColdSide) -> MemoryStore:
    """Return the cold store, which can hold."""
    assert isinstance(side.cold, MemoryStore)
    return side.cold


def mirror(side: ColdSide, studies: Collection[str] | None = None) -> MirrorReport:
    """Mirror the holds."""
    return HoldMirror(side.office.rig.committer, store_of(side), side.office.clock).run(studies)


def held(side: ColdSide) -> list[int]:
    """Return the studies that the store keeps."""
    store = store_of(side)
    return [
        study
        for study in (1, 2, 3)
        for key in side.cold_keys()
        if f"/{study_uid(study)}/" in key and store.is_held(key)
    ]


def test_what_is_on_hold_is_held(side: ColdSide) -> None:
    """By study and by patient; what is not on hold is not; again there is nothing to do."""
    side.office.hold(1)
    wanted = NewHold("default", "a judge asks", "TGI", "12", patient_ids=("PID3",))
    Holds(side.office.ledger).place(wanted, actor="anne", sites=None)
    report = mirror(side)
    assert (report.held, report.released, report.left) == (2, 0, [])
    assert held(side) == [1, 3]
    assert count(side, "pack", "held_at IS NOT NULL") == 2
    before = len(events(side))
    assert mirror(side) == MirrorReport()
    assert len(events(side)) == before


def test_a_hold_that_is_lifted_is_released(side: ColdSide) -> None:
    """Unless another one holds the study still."""
    first, second = side.office.hold(1), side.office.hold(1)
    mirror(side)
    holds = Holds(side.office.ledger)
    holds.lift(first, reason="over", actor="anne", sites=None)
    assert mirror(side).released == 0
    holds.lift(second, reason="over", actor="anne", sites=None)
    assert mirror(side).released == 1
    assert held(side) == []
    assert count(side, "pack", "held_at IS NOT NULL") == 0


def test_hot_packs_are_nobodys_business(side: ColdSide) -> None:
    """Only cold packs are mirrored: the store has no others."""
    side.office.hold(2)
    mirror(side)
    assert count(side, "pack", "held_at IS NOT NULL AND tier = 'hot'") == 0


def test_some_studies_can_be_mirrored_at_once(side: ColdSide) -> None:
    """Those of a hold that was just placed, and no others."""
    side.office.hold(1)
    side.office.hold(2)
    assert mirror(side, [study_uid(2)]).held == 1
    assert held(side) == [2]


def test_pages_are_gone_through_to_the_end(side: ColdSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are."""
    monkeypatch.setattr("archive.services.cold_holds._PAGE", 1)
    for study in (1, 2, 3):
        side.office.hold(study)
    assert mirror(side).held == 3


def test_a_store_that_cannot_hold_is_left_alone(side: ColdSide) -> None:
    """No Object Lock: nothing to do, nothing told, the hold is in force all the same."""
    side.office.hold(1)
    assert HoldMirror(side.office.rig.committer, None, side.office.clock).run() == MirrorReport()
    assert held(side) == []


class Failing:
    """Holds of a store that fails the calls it is told to."""

    def __init__(self, store: MemoryStore, *errors: StoreError | None) -> None:
        self._store, self._errors = store, list(errors)

    def set_hold(self, key: str) -> None:
        """Fail or hold."""
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        self._store.set_hold(key)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.mark.parametrize("error", [StoreUnavailable(reason="no route"), StoreRefused(reason="AccessDenied")])
def test_a_store_that_fails_is_tried_again(side: ColdSide, error: StoreError) -> None:
    """What it took counts, the rest is told and left for the next run."""
    for study in (1, 2, 3):
        side.office.hold(study)
    failing = Failing(store_of(side), None, error)
    report = HoldMirror(side.office.rig.committer, failing, side.office.clock).run()  # type: ignore[arg-type]
    assert (report.held, len(report.left)) == (1, 1)
    assert error.message in report.left[0][1]
    assert count(side, "pack", "held_at IS NOT NULL") == 1
    assert mirror(side).held == 2
    assert held(side) == [1, 2, 3]


def test_an_object_that_is_missing_does_not_stop_the_others(side: ColdSide) -> None:
    """It is told each time; verify finds it too."""
    for study in (1, 2):
        side.office.hold(study)
    failing = Failing(store_of(side), ObjectNotFound(key="k"))
    report = HoldMirror(side.office.rig.committer, failing, side.office.clock).run()  # type: ignore[arg-type]
    assert (report.held, len(report.left)) == (1, 1)


# ---- elimination -----------------------------------------------------------------------------------------------------


def ready(side: ColdSide) -> str:
    """Bring all studies on an approved list."""
    side.office.sweep()
    made = side.office.disposals.propose("default", who=ANNE)
    assert made.list_id is not None
    side.office.approve(made.list_id)
    side.office.days(WAITING_DAYS)
    return made.list_id


def test_our_own_hold_does_not_keep_what_may_go(side: ColdSide) -> None:
    """Lifted, and destroyed before the mirror ran: the store lets go of it, since nothing holds the study any more."""
    number = side.office.hold(1)
    mirror(side)
    Holds(side.office.ledger).lift(number, reason="over", actor="anne", sites=None)
    stores = replace(side.stores, cold_holds=store_of(side))
    report = replace(side.office.destruction(), stores=stores).destroy(ready(side), who=OLGA, progress=nothing)
    assert (report.left, side.cold_keys()) == ([], [])
    assert report.certificate is not None


def test_somebody_elses_hold_keeps_it(side: ColdSide) -> None:
    """Set at the store by whoever has its keys: the copy stays, is told with what to do, and nothing is certified."""
    (key,) = (key for key in side.cold_keys() if f"/{study_uid(1)}/" in key)
    store_of(side).set_hold(key)
    stores = replace(side.stores, cold_holds=store_of(side))
    destruction, list_id = replace(side.office.destruction(), stores=stores), ready(side)
    report = destruction.destroy(list_id, who=OLGA, progress=nothing)
    assert report.certificate is None
    ((where, reason),) = report.left
    assert where == f"cold/{key}"
    assert "release it" in reason
    store_of(side).release_hold(key)
    assert destruction.destroy(list_id, who=OLGA, progress=nothing).certificate is not None


def test_a_put_that_comes_after_the_deletion_does_not_stay(side: ColdSide) -> None:
    """A migration under way puts its pack once the list was destroyed: it stands in for nothing and is discarded."""
    side.sealed(4, instances=1)
    migrator = side.migrator
    (series,) = migrator.series_of(study_uid(4))
    migrator.prepare(study_uid(4), series)
    (key,) = (key for key in side.cold_keys() if f"/{study_uid(4)}/" in key)
    late = store_of(side)._objects[key]
    report = replace(side.office.destruction(), stores=side.stores).destroy(ready(side), who=OLGA, progress=nothing)
    assert (report.left, side.cold_keys()) == ([], [])
    store_of(side)._objects[key] = late
    assert side.clean(days=3).discarded == 1
    assert side.cold_keys() == []
    assert count(side, "upload") == 0
