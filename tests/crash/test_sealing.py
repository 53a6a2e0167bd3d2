"""The power goes at any moment of sealing and trimming: no image is lost or altered, and the work is finished after."""

from __future__ import annotations

import errno
from datetime import timedelta
from pathlib import Path

import pytest

from archive.services.retrieve import Retrieve, Selection
from archive.services.seal import Sealer
from archive.services.trim import Trimmer
from tests.crash.forgetful_disk import ForgetfulDisk, PowerCut
from tests.crash.test_destruction import opened
from tests.integration.disposal.conftest import Office, study_uid
from tests.unit.services.rig import empty_index
from tests.unit.services.shelf import Clock


def prepare(root: Path, clock: Clock) -> ForgetfulDisk:
    """Make a home with a quiet study; return its disk."""
    root.mkdir()
    (root / "index.db").write_bytes(empty_index())
    disk = ForgetfulDisk(root)
    with opened(root, clock, disk) as office:
        office.store(1, instances=2)
        office.rig.ingest.close()
    clock.advance(hours=2)
    return disk


def work(office: Office) -> None:
    """Seal and trim everything, without waiting for a grace period."""
    committer, stores, clock = office.rig.committer, office.stores, office.clock
    Sealer(committer, stores, clock, timedelta(hours=1)).run()
    clock.advance(seconds=1)
    Trimmer(committer, stores, clock, timedelta()).run()


def held(office: Office, disk: ForgetfulDisk) -> dict[str, bytes]:
    """Return the data sets of the study as the index finds them on the disk."""
    retrieve = Retrieve(office.rig.committer, office.clock, office.rig.hot, office.rig.hot)
    found = {}
    for instance in retrieve.find(Selection("STUDY", studies=(study_uid(1),))):
        copy = instance.readable
        assert copy is not None
        key = f"hot/{copy.key}.dcm" if copy.pack_key is None else f"hot/packs/{copy.pack_key}"
        start = copy.start + copy.header_size
        found[instance.sop_instance_uid] = disk.files()[key][start : copy.start + copy.size_bytes]
    return found


@pytest.mark.parametrize("survives", [True, False], ids=["all kept", "all lost"])
def test_a_power_cut_at_any_call(tmp_path: Path, survives: bool) -> None:
    """Cut, started again, sealed and trimmed again: the same data sets, in one pack, and no received file left."""
    clock = Clock()
    disk = prepare(tmp_path / "whole", clock)
    start = len(disk.calls)
    with opened(tmp_path / "whole", clock, disk) as office:
        wanted = held(office, disk)
        work(office)
        assert held(office, disk) == wanted
    count = len(disk.calls) - start
    assert count > 20, "sealing and trimming must be walked through"
    for number in range(1, count + 1):
        root, moment = tmp_path / str(number), Clock()
        disk = prepare(root, moment)
        disk.cut_at = len(disk.calls) + number
        with pytest.raises(PowerCut), opened(root, moment, disk) as office:
            work(office)
            raise PowerCut("after all of it")
        back = disk.after_power_cut(lambda: survives)
        with opened(root, moment, back) as office:
            office.rig.adopt()
            assert held(office, back) == wanted
            work(office)
            assert held(office, back) == wanted
            files = [path for path in back.files() if path.startswith("hot/2") and path.endswith(".dcm")]
            assert files == []
            assert len([path for path in back.files() if path.startswith("hot/packs/")]) == 1


def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """No room for the pack: the series is told and left, and sealed once there is room again."""
    clock = Clock()
    disk = prepare(tmp_path / "home", clock)
    with opened(tmp_path / "home", clock, disk) as office:
        wanted = held(office, disk)
        disk.capacity_bytes = disk.used_bytes + 100
        sealer = Sealer(office.rig.committer, office.stores, office.clock, timedelta(hours=1))
        report = sealer.run()
        assert (report.packs, len(report.left)) == (0, 1)
        assert "No space left" in report.left[0][1]
        assert held(office, disk) == wanted
        assert disk.open_handles <= 1, "the unfinished pack is let go of"
        disk.capacity_bytes = 1 << 40
        assert sealer.run().packs == 1
        assert held(office, disk) == wanted


@pytest.mark.parametrize("number", range(1, 40))
def test_a_disk_that_fails_once_loses_nothing(tmp_path: Path, number: int) -> None:
    """Whichever call fails with an input or output error: told, nothing lost, and the next run finishes."""
    clock = Clock()
    disk = prepare(tmp_path / "home", clock)
    with opened(tmp_path / "home", clock, disk) as office:
        wanted = held(office, disk)
        disk.fail_at[len(disk.calls) + number] = errno.EIO
        work(office)
        assert held(office, disk) == wanted
        clock.advance(seconds=1)
        work(office)
        assert held(office, disk) == wanted
    with opened(tmp_path / "home", clock, disk) as office:
        office.rig.adopt()
        work(office)
        assert held(office, disk) == wanted
        assert [path for path in disk.files() if path.startswith("hot/2") and path.endswith(".dcm")] == []
