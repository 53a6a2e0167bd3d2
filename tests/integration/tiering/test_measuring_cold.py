"""What is given from the cold store is measured as cold, and chosen for the cold probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archive.index import probes
from archive.services.measuring import COLD, FIRST, HOT, WHOLE, Meter
from tests.integration.disposal.conftest import Office, study_uid
from tests.integration.tiering.reading import Reading, given_by, open_reading
from tiering.errors import StoreUnavailable


@pytest.fixture
def reading(office: Office, tmp_path: Path) -> Iterator[Reading]:
    """Lend an archive with two studies, the first of them cold."""
    with open_reading(office, tmp_path / "cache") as found:
        found.side.sealed(1, 2)
        found.side.migrate(1)
        found.side.trim()
        yield found


def test_tiers_are_measured_apart(reading: Reading) -> None:
    """A cold study is not expected to be as quick as a hot one, and neither hides the other."""
    meter = Meter()
    for study in (1, 2, 2):
        given_by(replace(reading.retrieve, meter=meter), study)
    assert meter.kept() == {
        (FIRST, COLD): (1, 1),
        (WHOLE, COLD): (1, 1),
        (FIRST, HOT): (2, 2),
        (WHOLE, HOT): (2, 2),
    }


def test_a_cold_store_that_is_down_breaks_the_promise(reading: Reading) -> None:
    """Of the cold tier."""
    meter, retrieve = Meter(), reading.retrieve
    reading.store.down = StoreUnavailable(store="cold", reason="down")
    instances = reading.instances(1)
    with replace(retrieve, meter=meter).ahead(instances, by="STATION") as lent:
        for each in instances:
            with pytest.raises(Exception, match="down"):
                lent.open(each)
    assert meter.kept() == {(FIRST, COLD): (0, 1), (WHOLE, COLD): (0, 1)}


def test_the_probe_finds_a_series_of_each_tier(reading: Reading) -> None:
    """A study that has both copies is hot, since that is the one that is given."""
    with reading.office.rig.committer.read() as connection:
        (site,) = probes.sites(connection)
        picked = {tier: probes.pick(connection, tier, site, [0.0]) for tier in ("hot", "cold")}
        assert probes.pick(connection, "cold", "elsewhere", [0.0]) is None
    assert {tier: found and found[0] for tier, found in picked.items()} == {"hot": study_uid(2), "cold": study_uid(1)}
    reading.side.migrate(2)
    with reading.office.rig.committer.read() as connection:
        for fraction in (0.0, 0.5, 1.0):
            found = probes.pick(connection, "cold", site, [fraction, 0.0])
            assert found is not None and found[0] == study_uid(1)
