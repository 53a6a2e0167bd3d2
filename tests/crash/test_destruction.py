"""The power goes at any moment of a destruction: it is finished afterwards, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archive.index.session import Database
from archive.services.certificates import verify
from tests.crash.forgetful_disk import ForgetfulDisk, PowerCut
from tests.integration.disposal.conftest import Office, open_office, sop_uid
from tests.unit.services.rig import empty_index
from tests.unit.services.shelf import Clock
from tiering.disk import Disk


@contextmanager
def opened(root: Path, clock: Clock, disk: Disk) -> Iterator[Office]:
    """Open the archive of a home as a start does: what the ledger has and the index has not is applied."""
    database = Database(f"sqlite:///{root / 'index.db'}")
    try:
        for office in open_office(database, clock, root, disk):
            office.ledger.catch_up()
            yield office
    finally:
        database.close()


@pytest.fixture
def clock() -> Clock:
    """Lend a clock that stands still until it is moved."""
    return Clock()


def prepare(root: Path, clock: Clock) -> tuple[ForgetfulDisk, str]:
    """Make a home with a study to destroy and one to keep; return its disk and the list."""
    root.mkdir()
    (root / "index.db").write_bytes(empty_index())
    disk = ForgetfulDisk(root)
    with opened(root, clock, disk) as office:
        office.store(9, exam_on="20200101")
        list_id = office.ready(1)
    return disk, list_id


def objects(disk: ForgetfulDisk) -> dict[str, bytes]:
    """Return the stored objects on a disk."""
    return {path: data for path, data in disk.files().items() if path.startswith("hot/")}


@pytest.mark.parametrize("survives", [True, False], ids=["all kept", "all lost"])
def test_a_power_cut_at_any_call(tmp_path: Path, clock: Clock, survives: bool) -> None:
    """Whether what was not synced survived or not: destroying again ends with one act, one certificate, no copy."""
    disk, list_id = prepare(tmp_path / "whole", clock)
    start = len(disk.calls)
    with opened(tmp_path / "whole", clock, disk) as office:
        office.destroy(list_id)
    count = len(disk.calls) - start
    assert count > 15, "the whole destruction must be walked through"
    assert len(objects(disk)) == 2
    for number in range(1, count + 1):
        root, moment = tmp_path / str(number), Clock()
        disk, list_id = prepare(root, moment)
        before = objects(disk)
        disk.cut_at = len(disk.calls) + number
        with pytest.raises(PowerCut), opened(root, moment, disk) as office:
            office.destroy(list_id)
        back = disk.after_power_cut(lambda: survives)
        with opened(root, moment, back) as office:
            if office.disposals.show(list_id).head.state != "destroyed":
                office.destroy(list_id)
            assert office.disposals.show(list_id).head.state == "destroyed"
            verify(office.destruction().certificate(list_id))
            assert office.rig.find(sop_uid(1, 9)) is not None
            assert office.rig.find(sop_uid(1, 1)) is None
            kinds = [event.kind for event in office.ledger.files.iter_events()]
            assert (kinds.count("studies_destroyed"), kinds.count("disposal_certified")) == (1, 1)
        left = objects(back)
        assert len(left) == 2
        assert left.items() <= before.items()
        assert objects(back.after_power_cut(lambda: True)) == left
