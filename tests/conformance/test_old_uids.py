"""Old UIDs as DCMTK's tools and a modality see them: lossy copies took the place of what they once sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from archive.index import successors
from archive.index.session import Database
from archive.index.statements import Statement
from archive.index.successors import Successor
from archive.services.lossy_members import derived_header
from tests.archive_process import ArchiveProcess, running_archive
from tests.conformance.test_commitment import Modality
from tests.conformance.test_elimination import Desk
from tests.conformance.test_find import find
from tests.conformance.test_retrieve import counts, getscu, keys, movescu
from tests.dcmtk import free_port, storescp, storescu
from tests.objects import ROOT, changed, ct_dataset, dataset_bytes, part10_bytes
from tests.postgres import new_server

STUDY, SERIES = f"{ROOT}.1", f"{ROOT}.1.1"
OLD = [f"{SERIES}.{number}" for number in (1, 2, 3, 4)]
NEW = [f"{OLD[0]}.99", f"{OLD[1]}.99", OLD[2], OLD[3]]
"""The first two are copies with UIDs of their own, the third one that kept it; the fourth was never replaced."""

_WAS = Statement(
    "SELECT location.id, location.key, instance.transfer_syntax_uid, instance.dataset_sha256, dataset_size "
    "FROM instance JOIN location ON instance_fk = instance.id WHERE sop_instance_uid = ?"
)
_TAKE_ON = Statement(
    "UPDATE instance SET sop_instance_uid = ?, dataset_sha256 = ?, dataset_size = ? WHERE sop_instance_uid = ?"
)
_MOVE = Statement("UPDATE location SET key = ?, sha256 = ?, header_size = ?, size_bytes = ? WHERE id = ?")


@dataclass(frozen=True)
class Ward:
    """A running archive with four images of which three are lossy copies by now, and where it sends them."""

    archive: ArchiveProcess
    station: Path

    def files(self) -> int:
        """Return how many objects lie in hot folder and quarantine."""
        return len(list(self.archive.home.rglob("*.dcm")))


def copy(number: int) -> Dataset:
    """Return the lossy copy of an image."""
    values: dict[str, object] = {"SOPInstanceUID": NEW[number - 1], "ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}
    return changed(ct_dataset(number), {**values, "LossyImageCompression": "01", "PixelData": bytes(512)})


def take_place(home: Path, database: Database, number: int) -> None:
    """Let a copy take the place of an image, in storage and in the index; the received file goes."""
    old, new, content = OLD[number - 1], NEW[number - 1], dataset_bytes(copy(number))
    digest = sha256(content).digest()
    with database.write(synced=True) as connection:
        found = _WAS.one(connection, (old,))
        assert found is not None
        row, key, syntax, was, size = found
        received = home / "hot" / f"{key}.dcm"
        header = derived_header(
            received.read_bytes()[:4096],
            sop_instance_uid=new,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            dataset_sha256=digest,
            dataset_size=len(content),
        )
        there = f"{key[:-6]}{900 + number:06d}"
        (home / "hot" / f"{there}.dcm").write_bytes(header + content)
        received.unlink()
        _TAKE_ON.run(connection, (new, digest, len(content), old))
        _MOVE.run(connection, (there, sha256(header).digest(), len(header), len(header) + len(content), row))
        successors.add(connection, [Successor(old, new, STUDY, syntax, bytes(was), size)])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Lend the archive on SQLite, and on PostgreSQL."""
    root = tmp_path_factory.mktemp("old")
    if request.param == "sqlite":
        yield from open_ward(root, f"sqlite:///{root / 'home' / 'index.db'}")
        return
    with new_server() as server:
        yield from open_ward(root, server.create_database())


def open_ward(root: Path, url: str) -> Iterator[Ward]:
    """Push four images, replace three of them."""
    with storescp(root / "station") as port:
        config = f'[index]\nurl = "{url}"\n'
        for name, at in (("STATION", port), ("MODALITY", free_port())):
            config += f'[[dicom.peers]]\nae_title = "{name}"\nhost = "127.0.0.1"\nport = {at}\n'
        with running_archive(root / "home", config=config) as archive:
            pushed = storescu(archive, *write(root / "sent", *(ct_dataset(number) for number in (1, 2, 3, 4))))
            assert pushed.returncode == 0, pushed.stderr
            assert len(find(archive, "QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={STUDY}").datasets) == 4
            database = Database(url)
            for number in (1, 2, 3):
                take_place(archive.home, database, number)
            database.close()
            yield Ward(archive, root / "station")


def write(folder: Path, *objects: Dataset) -> list[Path]:
    """Write objects as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.dcm" for number, _ in enumerate(objects)]
    for path, ds in zip(paths, objects, strict=True):
        path.write_bytes(part10_bytes(ds))
    return paths


def given(folder: Path) -> list[str]:
    """Return the UIDs of the objects in a folder, which is emptied; each must be what it says it is."""
    found = {path: dcmread(path) for path in folder.iterdir()}
    for path, ds in found.items():
        assert ds.PixelData == (bytes(512) if ds.get("LossyImageCompression") == "01" else ct_dataset(4).PixelData)
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        path.unlink()
    return sorted(str(ds.SOPInstanceUID) for ds in found.values())


ASKED = [
    (OLD[0], [NEW[0]]),
    (NEW[0], [NEW[0]]),
    (OLD[2], [OLD[2]]),
    (f"{OLD[0]}\\{NEW[0]}", [NEW[0]]),
    ("\\".join(OLD), sorted(NEW)),
    (f"{OLD[0]}.1", []),
]
"""What is asked for, and what is answered."""


@pytest.mark.parametrize(("asked", "expected"), ASKED)
def test_findscu_finds_the_copies(ward: Ward, asked: str, expected: list[str]) -> None:
    """Hierarchical and relational; the answers name the copies, and say what they are."""
    for above in ([f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={SERIES}"], []):
        wanted = [f"SOPInstanceUID={asked}", "ImageType", "LossyImageCompression", *above]
        answer = find(ward.archive, "QueryRetrieveLevel=IMAGE", *wanted)
        assert answer.values("SOPInstanceUID") == expected
        for ds in answer.datasets:
            is_copy = ds.SOPInstanceUID != OLD[3]
            assert (ds.ImageType[0], ds.LossyImageCompression) == (("DERIVED", "01") if is_copy else ("ORIGINAL", ""))


@pytest.mark.parametrize("level", ["STUDY", "SERIES"])
def test_findscu_above_the_images(ward: Ward, level: str) -> None:
    """The UID of an instance is no key there, old or new; the counts are those from before."""
    for uid in (OLD[0], NEW[0]):
        counted = f"NumberOf{level.title()}RelatedInstances"
        answer = find(
            ward.archive, f"QueryRetrieveLevel={level}", f"StudyInstanceUID={STUDY}", f"SOPInstanceUID={uid}", counted
        )
        (ds,) = answer.datasets
        assert (int(ds[counted].value), ds.get("SOPInstanceUID", "")) == (4, "")


@pytest.mark.parametrize(("asked", "expected"), ASKED)
def test_getscu_gets_the_copies(ward: Ward, tmp_path: Path, asked: str, expected: list[str]) -> None:
    """Under the UID that the object has, whichever was asked for, once."""
    for number, above in enumerate(({"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}, {})):
        result = getscu(ward.archive, tmp_path / str(number), "-S", *keys("IMAGE", **above, SOPInstanceUID=asked))
        assert result.returncode == 0, result.stderr
        assert given(tmp_path / str(number)) == expected


@pytest.mark.parametrize(("asked", "expected"), ASKED)
def test_movescu_moves_the_copies(ward: Ward, asked: str, expected: list[str]) -> None:
    """The same to a destination; the counts are of what was sent."""
    result = movescu(ward.archive, "STATION", "-S", *keys("IMAGE", StudyInstanceUID=STUDY, SOPInstanceUID=asked))
    assert result.returncode == 0, result.stderr
    assert counts(result).get("Completed", 0) == len(expected)
    assert given(ward.station) == expected


def test_the_whole_study_is_given_as_it_is(ward: Ward, tmp_path: Path) -> None:
    """Four images, each once."""
    assert getscu(ward.archive, tmp_path / "got", "-S", *keys("STUDY", StudyInstanceUID=STUDY)).returncode == 0
    assert given(tmp_path / "got") == sorted(NEW)


def test_originals_and_copies_that_come_again_are_known(ward: Ward, tmp_path: Path) -> None:
    """The modality sends once more what it sent, a PACS sends back what it got: success, and nothing is stored."""
    before = ward.files()
    originals = write(tmp_path / "originals", *(ct_dataset(number) for number in (1, 2, 3, 4)))
    copies = write(tmp_path / "copies", *(copy(number) for number in (1, 2, 3)))
    for paths in (originals, copies):
        pushed = storescu(ward.archive, *paths)
        assert pushed.returncode == 0, pushed.stderr
    desk = Desk(ward.archive)
    report = json.loads(desk.drimbox("import", str(tmp_path / "originals"), str(tmp_path / "copies"), "--json"))
    assert (report["duplicates"], report["stored"], report["conflicts"]) == (7, 0, 0)
    assert ward.files() == before


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("is_copy", [False, True])
def test_other_bytes_under_either_uid_are_a_conflict(ward: Ward, tmp_path: Path, number: int, is_copy: bool) -> None:
    """0x0111, the newcomer is in quarantine, what is stored stays."""
    before = ward.files()
    ds = copy(number) if is_copy else ct_dataset(number)
    ds.StudyDescription = f"ANOTHER {is_copy}"
    pushed = storescu(ward.archive, "-d", *write(tmp_path, ds))
    assert "0x0111" in pushed.stdout + pushed.stderr
    assert ward.files() == before + 1
    answer = find(ward.archive, "QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={STUDY}")
    assert answer.values("SOPInstanceUID") == sorted(NEW)


def test_commitment_of_an_old_uid(ward: Ward) -> None:
    """Committed by its copy; the report names what was asked for. What was never there fails as ever."""
    modality = Modality()
    asked = [*OLD, NEW[0], f"{OLD[0]}.1"]
    with modality.connected(ward.archive) as association:
        status, _ = modality.ask(association, asked)
        assert status == 0x0000
        report = modality.report()
    assert list(report.committed) == asked[:-1]
    assert report.failed == {f"{OLD[0]}.1": 0x0112}
