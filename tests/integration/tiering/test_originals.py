"""Originals that lossy copies replaced: counted and proven for as long as a rollback can give them again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest

from archive.services.arrival_watch import ArrivalWatch
from archive.services.drops import DropRules
from archive.services.fixity import Fixity
from archive.services.reports import VerifyReport
from archive.services.status import Status
from archive.services.turns import Budget
from tests.integration.disposal.conftest import Office, nothing
from tests.integration.index.making import value
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.plain_lossy import PlainLossy
from tests.integration.tiering.proving import count, events, flip_file, verify_hot

IMAGES = 3


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive with one study in lossy copies, its originals in a hot pack that is in its grace."""
    side = ColdSide(office)
    side = replace(side, lossy=PlainLossy(side.stores))
    side.sealed(1, instances=IMAGES)
    side.migrate()
    return side


def some(side: ColdSide, start: int, percent: float = 34.0) -> VerifyReport:
    """Verify some of the hot copies; of originals those behind one of their number."""
    rig = side.office.rig
    fixity = Fixity(rig.committer, rig.disk, rig.hot, side.office.clock, Budget(percent), lambda _of: start)
    return fixity.verify(nothing)


def test_they_are_read_until_they_are_gone(side: ColdSide) -> None:
    """Those of a study whose copies the index has as cold; after the grace there is nothing to read."""
    report = verify_hot(side)
    assert (report.checked, report.originals, report.damaged, report.missing) == (IMAGES, IMAGES, (), ())
    side.trim()
    report = verify_hot(side)
    assert (report.checked, report.originals) == (0, 0)


def test_one_that_rots_is_told_each_time(side: ColdSide) -> None:
    """The report and the journal name it: the lossy copy is all there is, whatever a rollback says."""
    (pack,) = side.hot_packs()
    flip_file(side, pack, 2500)
    for times in (1, 2):
        report = verify_hot(side)
        assert (report.checked, len(report.damaged), report.holds) == (IMAGES, 1, False)
        assert events(side).count("damaged") == times
    assert count(side, "location", "state <> 'present'") == 0


def test_a_pack_that_is_not_there_is_missed(side: ColdSide) -> None:
    """Each of its originals is."""
    (pack,) = side.hot_packs()
    (side.office.rig.root / pack).unlink()
    assert len(verify_hot(side).missing) == IMAGES


def test_a_share_of_them_begins_anywhere(side: ColdSide) -> None:
    """Behind the last come the first, and none is read twice; from another start it is others."""
    (pack,) = side.hot_packs()
    flip_file(side, pack, 2500)
    found = [some(side, start) for start in range(IMAGES)]
    assert [report.checked for report in found] == [2, 2, 2]
    assert sum(len(report.damaged) for report in found) == 2, "each is read from two of three starts"


def test_they_take_room_that_is_told(side: ColdSide) -> None:
    """The status counts them, and says how much of all it is."""
    rig = side.office.rig
    clock = side.office.clock
    watch = ArrivalWatch(rig.database, DropRules(min_expected=1), UTC)
    report = Status(rig.database, rig.disk, rig.root, rig.hot, "", arrivals=watch, clock=clock).report()
    retired = value(rig.database, "SELECT SUM(size_bytes) FROM retired")
    assert report.retired_bytes == retired
    assert report.size_bytes == report.cold_bytes + report.retired_bytes
