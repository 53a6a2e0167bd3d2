"""Cold studies in Ceph's S3 gateway as DCMTK's getscu, movescu and findscu see them, and what happens when it fails."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from tests.archive_process import ArchiveProcess, running_archive
from tests.ceph import Ceph, NewBucket
from tests.conformance.test_elimination import Desk
from tests.dcmtk import run, storescp, storescu
from tests.fault_proxy import FaultProxy, change, cut, flip, new_proxy, refuse
from tests.objects import ROOT, changed, ct_dataset, part10_bytes
from tiering.stores.s3.settings import S3Settings

IMAGES = 8
MEMBER = r"^GET /[^?]*\.zip"
CONFIG = """
[sealing]
quiet_minutes = 0
grace_hours = 0
[cold]
store = "s3"
endpoint_url = "{endpoint}"
bucket = "{bucket}"
credentials = "{credentials}"
attempts = 2
[[dicom.peers]]
ae_title = "STATION"
host = "127.0.0.1"
port = {port}
"""


@dataclass
class Hospital:
    """A running archive whose cold store is Ceph behind a proxy, a station, and two studies, the first of them cold."""

    desk: Desk
    proxy: FaultProxy
    station: Path
    sent: dict[str, Dataset]
    folder: Path
    visits: int = 0

    @property
    def archive(self) -> ArchiveProcess:
        """Return the archive."""
        return self.desk.archive

    def new_folder(self) -> Path:
        """Return an empty folder."""
        self.visits += 1
        folder = self.folder / f"visit-{self.visits}"
        folder.mkdir()
        return folder

    def get(self, study: int = 1) -> tuple[subprocess.CompletedProcess[str], dict[str, Dataset]]:
        """Retrieve a study with getscu; return how it ended and what came."""
        folder = self.new_folder()
        done = run("getscu", "-v", "-S", "-od", folder, *self._keys(study))
        return done, {ds.SOPInstanceUID: ds for ds in map(dcmread, sorted(folder.iterdir()))}

    def move(self, study: int = 1) -> subprocess.CompletedProcess[str]:
        """Have a study sent to the station with movescu."""
        return run("movescu", "-d", "-S", "-aem", "STATION", *self._keys(study))

    def availability(self, study: int = 1) -> str:
        """Return what findscu is told of a study."""
        folder = self.new_folder()
        run("findscu", "-S", "-X", "-od", folder, "-k", "InstanceAvailability", *self._keys(study))
        (answer,) = folder.glob("rsp*.dcm")
        return str(dcmread(answer, force=True).InstanceAvailability)

    def _keys(self, study: int) -> tuple[str, ...]:
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ROOT}.{study}")
        return (*keys, "-aec", self.archive.ae_title, self.archive.host, str(self.archive.port))

    def empty_cache(self) -> None:
        """Take the entries of the read cache away, which anybody may at any time."""
        for path in (self.archive.home / "cache").iterdir():
            if path.is_file():
                path.unlink()

    def is_same(self, got: Mapping[str, Dataset]) -> bool:
        """Tell whether all images came with the pixels that were sent."""
        return got.keys() == self.sent.keys() and all(
            ds.PixelData == self.sent[uid].PixelData for uid, ds in got.items()
        )


def image(number: int, study: int = 1) -> Dataset:
    """Return a CT image of 2020 of 128 x 128 with some noise."""
    rows, columns = np.mgrid[0:128, 0:128]
    noise = np.random.default_rng(number).integers(0, 8, (128, 128))
    ds = changed(ct_dataset(number, study=study), {"StudyDate": "20200302", "PatientBirthDate": "19500714"})
    ds.Rows = ds.Columns = 128
    samples = 1000 + 400 * np.sin(rows / 9 + number) + 300 * np.cos(columns / 7) + noise
    ds.add_new("PixelData", "OW", samples.astype("<u2").tobytes())
    return ds


def write(folder: Path, study: int, images: int) -> dict[str, Dataset]:
    """Write a study as files; return its data sets by UID."""
    folder.mkdir()
    found = {}
    for number in range(1, images + 1):
        ds = image(number, study)
        (folder / f"{number}.dcm").write_bytes(part10_bytes(ds))
        found[str(ds.SOPInstanceUID)] = ds
    return found


def write_keys(bucket: S3Settings, path: Path) -> Path:
    """Write the file of a bucket's keys."""
    path.write_text(f'access_key = "{bucket.access_key}"\nsecret_key = "{bucket.secret_key}"\n')
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def hospital(ceph: Ceph, new_bucket: NewBucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Lend an archive with a study in Ceph alone and a hot one."""
    root = tmp_path_factory.mktemp("cold")
    bucket = new_bucket("locked")
    keys = write_keys(bucket, root / "keys.toml")
    station = root / "station"
    with new_proxy(ceph.port) as proxy, storescp(station) as port:
        config = CONFIG.format(endpoint=proxy.endpoint_url, bucket=bucket.bucket, credentials=keys, port=port)
        with running_archive(root / "home", config=config) as archive:
            desk = Desk(archive)
            desk.people(f"sqlite:///{archive.home / 'index.db'}")
            sent = write(root / "cold", 1, IMAGES)
            assert storescu(archive, "+sd", root / "cold").returncode == 0
            go_cold(desk)
            write(root / "hot", 2, 2)
            assert storescu(archive, "+sd", root / "hot").returncode == 0
            yield Hospital(desk, proxy, station, sent, root)


def go_cold(desk: Desk) -> None:
    """Assess, seal, trim and migrate what there is; then let hot packs go, as after the grace period."""
    desk.drimbox("retention", "sweep", "--apply", "--as", "olga")
    for step in ("seal", "trim", "migrate"):
        desk.drimbox("tier", step, "--apply", "--as", "olga")
    for path in (desk.archive.home / "hot" / "packs").rglob("*.zip"):
        path.unlink()
    with closing(sqlite3.connect(desk.archive.home / "index.db")) as index, index:
        assert index.execute("DELETE FROM location WHERE tier = 'hot'").rowcount == IMAGES
        index.execute("DELETE FROM pack WHERE tier = 'hot'")


@pytest.fixture
def cold(hospital: Hospital) -> Hospital:
    """Lend the archive with an empty cache, and nothing that is to fail."""
    hospital.proxy.faults.clear()
    hospital.proxy.requests.clear()
    hospital.empty_cache()
    return hospital


def member_reads(hospital: Hospital) -> int:
    """Return how many ranges of packs were asked for."""
    return sum(bool(re.match(MEMBER, str(request))) for request in hospital.proxy.requests)


def test_getscu_has_all_of_it_in_few_requests(cold: Hospital) -> None:
    """A study in Ceph is NEARLINE and comes back in Explicit VR Little Endian with every pixel; then from the cache."""
    assert (cold.availability(1), cold.availability(2)) == ("NEARLINE", "ONLINE")
    done, got = cold.get()
    assert done.returncode == 0, done.stderr
    assert cold.is_same(got)
    assert {ds.file_meta.TransferSyntaxUID for ds in got.values()} == {"1.2.840.10008.1.2.1"}
    assert 1 <= member_reads(cold) <= 3
    cold.proxy.requests.clear()
    cold.proxy.inject("", *[cold.proxy.drop] * 50)
    _, again = cold.get()
    assert cold.is_same(again)
    assert cold.proxy.requests == []


def test_movescu_sends_it_where_it_is_wanted(cold: Hospital) -> None:
    """C-MOVE of a cold study just works."""
    for path in cold.station.iterdir():
        path.unlink()
    done = cold.move()
    assert done.returncode == 0, done.stdout + done.stderr
    arrived = {str(ds.SOPInstanceUID): ds for ds in map(dcmread, cold.station.iterdir())}
    assert cold.is_same(arrived)


def test_a_store_that_is_down_fails_the_study_and_nothing_else(cold: Hospital) -> None:
    """No answer from Ceph: 0xA702 and why, for every image; a hot study is given meanwhile; later the cold one too."""
    cold.proxy.inject("", *[cold.proxy.drop] * 500)
    done, got = cold.get()
    assert got == {}
    assert "OutOfResourcesSubOperations" in done.stdout + done.stderr
    moved = cold.move()
    told = moved.stdout + moved.stderr
    assert "0xa702" in told
    assert "The cold store does not give it now" in told
    assert f"Failed Suboperations          : {IMAGES}" in told
    assert len(cold.get(2)[1]) == 2
    cold.proxy.faults.clear()
    assert wait_for_the_store(cold)


def wait_for_the_store(hospital: Hospital) -> bool:
    """Tell whether the study comes once the store has been left alone long enough."""
    for _ in range(20):
        if hospital.is_same(hospital.get()[1]):
            return True
        threading.Event().wait(0.5)
    return False


@pytest.mark.parametrize("fault", ["503", "wrong byte", "cut in the middle", "lost answer"])
def test_one_fault_is_not_noticed(cold: Hospital, fault: str) -> None:
    """A range that fails once, or comes with another byte, is asked for again: every pixel is right."""
    faults = {
        "503": refuse(503, "SlowDown"),
        "wrong byte": change(flip),
        "cut in the middle": change(cut),
        "lost answer": cold.proxy.lose,
    }
    cold.proxy.inject(MEMBER, faults[fault])
    done, got = cold.get()
    assert done.returncode == 0, done.stderr
    assert cold.is_same(got)
    assert cold.proxy.faults == []


def test_a_killed_archive_leaves_nothing_half(cold: Hospital) -> None:
    """SIGKILL while images are fetched: the next start sweeps the cache, and every pixel is right."""
    cold.proxy.inject(MEMBER, cold.proxy.relay_only, cold.proxy.stall, cold.proxy.stall)
    retrieving = threading.Thread(target=cold.get)
    retrieving.start()
    for _ in range(500):
        if member_reads(cold) >= 2:
            break
        threading.Event().wait(0.02)
    cache = cold.archive.home / "cache"
    (cache / ".incoming-0123456789abcdef").write_bytes(b"half of a member")
    cold.archive.kill()
    retrieving.join()
    cold.proxy.faults.clear()
    cold.archive.start()
    assert not list(cache.glob(".incoming-*"))
    assert cold.is_same(cold.get()[1])


def test_what_has_not_to_thaw_is_told(cold: Hospital) -> None:
    """drimbox tier recall finds that a study in a bucket of Ceph can be read at once."""
    told = json.loads(cold.desk.drimbox("tier", "recall", f"{ROOT}.1", "--json"))
    (study,) = told["studies"]
    assert (study["packs"], study["readable"], study["waiting"]) == (1, 1, 0)
    asked = cold.desk.drimbox("tier", "recall", f"{ROOT}.1", f"{ROOT}.2", "--wait", "--as", "olga")
    assert "readable:  1" in asked
    assert "there is no study" in cold.desk.drimbox("tier", "recall", "1.2.3", status=26).lower()


def test_what_comes_wrong_again_and_again_is_damaged(cold: Hospital) -> None:
    """Images that come wrong twice fail alone; index and journal say so, and no wrong pixel is ever given."""
    cold.proxy.inject(MEMBER, *[change(flip)] * 500)
    _, got = cold.get()
    cold.proxy.faults.clear()
    assert all(ds.PixelData == cold.sent[uid].PixelData for uid, ds in got.items())
    entries = json.loads(cold.desk.drimbox("audit", "list", "--event", "damaged", "--json"))
    assert {entry["body"]["sop_instance_uid"] for entry in entries} == cold.sent.keys() - got.keys()
    assert f"{ROOT}.1.1.1" not in got
    assert cold.availability(1) == "UNAVAILABLE"
