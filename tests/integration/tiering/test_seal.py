"""Sealing: a quiet study becomes packs that stand in for the received files, and nothing is lost on the way."""

from __future__ import annotations

import io
import subprocess
from datetime import timedelta
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from archive.index import packs
from archive.index.session import Database
from archive.index.statements import Statement
from archive.services.compression import compression
from archive.services.fixity import Fixity
from archive.services.ingest import Outcome
from archive.services.rebuild import Rebuild
from archive.services.remains import PACK, iter_remains
from archive.services.retrieve import Retrieve, Selection
from archive.services.seal import Sealer, SealReport
from archive.services.trim import Trimmer, TrimReport
from tests.integration.disposal.conftest import ANNE, OLGA, Office, nothing, study_uid
from tests.integration.index.making import change, value
from tests.objects import changed, ct_dataset
from tiering.landing import iter_packs

QUIET = timedelta(hours=1)
GRACE = timedelta(hours=24)


def sealer(office: Office, codec: str = "none") -> Sealer:
    """Return what seals an archive."""
    return Sealer(office.rig.committer, office.stores, office.clock, QUIET, compression(codec))


def seal(office: Office, *, hours: float = 2) -> SealReport:
    """Seal after some time has passed."""
    office.clock.advance(hours=hours)
    return sealer(office).run()


def trim(office: Office, *, hours: float = 25) -> TrimReport:
    """Trim after some time has passed."""
    office.clock.advance(hours=hours)
    return Trimmer(office.rig.committer, office.stores, office.clock, GRACE).run()


def received(office: Office) -> list[str]:
    """Return the received files on disk."""
    return [path for path in office.files() if path.startswith("hot/2")]


def pack_keys(office: Office) -> list[str]:
    """Return the packs on disk."""
    return list(iter_packs(office.rig.disk, office.rig.hot))


def given(office: Office, study: int) -> dict[str, bytes]:
    """Return the data sets of a study as they are given back."""
    retrieve = Retrieve(office.rig.committer, office.clock, office.rig.hot, office.rig.hot)
    return {
        instance.sop_instance_uid: bytes(_all(retrieve, instance))
        for instance in retrieve.find(Selection("STUDY", studies=(study_uid(study),)))
    }


def _all(retrieve: Retrieve, instance: object) -> memoryview:
    content = retrieve.read(retrieve.open(instance))  # type: ignore[arg-type]
    view = memoryview(bytearray(content.size_bytes))
    content.read_into(view, 0)
    content.close()
    return view


def verify(office: Office) -> tuple[int, list[str], list[str]]:
    """Read every copy again."""
    report = Fixity(office.rig.committer, office.rig.disk, office.rig.hot, office.clock).verify(nothing)
    return report.checked, list(report.damaged), list(report.missing)


def test_a_quiet_study_is_sealed_and_given_back_to_the_byte(office: Office) -> None:
    """Its series is one pack that any unzip opens, every data set comes back as it was, and verify reads the pack."""
    office.store(1, instances=3)
    before = given(office, 1)
    report = seal(office)
    assert (report.studies, report.packs, report.instances, report.left) == (1, 1, 3, [])
    (key,) = pack_keys(office)
    tested = subprocess.run(["unzip", "-t", office.rig.hot / "packs" / key], capture_output=True, check=False)
    assert tested.returncode == 0, tested.stdout
    assert given(office, 1) == before
    assert verify(office) == (3, [], [])
    assert value(office.ledger.database, "SELECT COUNT(*) FROM location WHERE pack_fk IS NULL") == 0
    assert seal(office).studies == 0


def test_received_files_go_after_the_grace_period(office: Office) -> None:
    """They stay beside the pack for a day, and go after the copy in the pack was read again; nothing is missing."""
    office.store(1, instances=3)
    before = given(office, 1)
    seal(office)
    assert trim(office, hours=1).trimmed == 0
    assert len(received(office)) == 3
    report = trim(office)
    assert (report.trimmed, report.left) == (3, [])
    assert received(office) == []
    assert given(office, 1) == before
    assert verify(office) == (3, [], [])
    assert office.journal()[-2].event == "trimmed"


def test_a_study_that_still_grows_is_left(office: Office) -> None:
    """Nothing is sealed until nothing came for the quiet time."""
    office.store(1)
    assert seal(office, hours=0.5).studies == 0
    assert seal(office, hours=0.6).studies == 1


def test_late_instances_make_a_new_generation(office: Office) -> None:
    """What comes for a sealed series is kept, given back, and packed apart; the first pack is not touched."""
    office.store(1, instances=2)
    seal(office)
    first = {key: (office.rig.hot / "packs" / key).read_bytes() for key in pack_keys(office)}
    office.rig.send(ct_dataset(7, study=1, StudyDate="20000302", PatientBirthDate="19500714"))
    office.rig.committer.barrier()
    assert len(given(office, 1)) == 3
    seal(office)
    assert [key.rpartition("/")[2][:6] for key in pack_keys(office)] == ["000001", "000002"]
    assert all((office.rig.hot / "packs" / key).read_bytes() == data for key, data in first.items())
    assert len(given(office, 1)) == 3


def test_the_same_object_sent_again_is_known(office: Office) -> None:
    """A sealed object that is sent again is a duplicate, as before; other bytes go to quarantine."""
    office.store(1, instances=1)
    seal(office)
    trim(office)
    again = ct_dataset(1, study=1, StudyDate="20000302", PatientBirthDate="19500714")
    assert office.rig.send(again) is Outcome.ALREADY_STORED


def test_a_damaged_received_file_is_left_where_it_is(office: Office) -> None:
    """What is not what was received is neither packed nor deleted; the rest of its series is sealed."""
    office.store(1, instances=3)
    path = office.rig.root / received(office)[1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    report = seal(office)
    assert (report.instances, len(report.left)) == (2, 1)
    assert "drimbox verify" in report.left[0][1]
    trim(office)
    assert [office.rig.root / each for each in received(office)] == [path]


def test_another_whole_object_under_its_key_is_left(office: Office) -> None:
    """A file that is sound in itself and not the one of the index is neither packed nor deleted."""
    office.store(1, instances=2)
    first, second = (office.rig.root / path for path in received(office))
    second.write_bytes(first.read_bytes())
    report = seal(office)
    assert (report.instances, len(report.left)) == (1, 1)
    office.days(1)
    trim(office, hours=2)
    assert [office.rig.root / path for path in received(office)] == [second]


def test_a_damaged_pack_keeps_the_received_files(office: Office) -> None:
    """Trimming reads the copy in the pack again: one other byte, and the received file stays."""
    office.store(1, instances=2)
    seal(office)
    (key,) = pack_keys(office)
    path = office.rig.hot / "packs" / key
    data = bytearray(path.read_bytes())
    data[2500] ^= 1
    path.write_bytes(data)
    report = trim(office)
    assert (report.trimmed, len(report.left)) == (1, 1)
    assert len(received(office)) == 1


def test_another_sealer_that_was_faster_leaves_one_pack(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two on one series: the second one's pack is let go of, nothing is lost."""
    office.store(1, instances=2)
    before = given(office, 1)
    office.clock.advance(hours=2)
    real, done = Sealer._stand_in, list[bool]()

    def overtaken(self: Sealer, *arguments: object) -> None:
        if not done:
            done.append(True)
            sealer(office).run()
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Sealer, "_stand_in", overtaken)
    assert sealer(office).run().left == []
    assert len(pack_keys(office)) == 1
    assert given(office, 1) == before
    assert verify(office) == (2, [], [])


def test_a_sealed_study_is_destroyed_whole(office: Office) -> None:
    """Pack, received files that wait to be trimmed, and rows: all of it goes, and the certificate names it."""
    office.store(9, exam_on="20200101")
    list_id = office.ready(1)
    seal(office)
    office.disposals.cancel(list_id, "sealed since", who=ANNE)
    again = office.propose().head.list_id
    office.approve(again)
    office.days(30)
    report = office.destroy(again)
    assert (report.studies, report.instances, report.deleted, report.left) == (1, 2, 3, [])
    assert len(pack_keys(office)) == 1
    assert len(received(office)) == 2
    assert value(office.ledger.database, "SELECT COUNT(*) FROM pack") == 1
    assert value(office.ledger.database, "SELECT COUNT(*) FROM trim") == 2
    assert len(given(office, 9)) == 2


@pytest.mark.parametrize("is_trimmed", [True, False])
def test_the_index_is_rebuilt_from_packs(office: Office, url: str, is_trimmed: bool) -> None:
    """From packs, and from received files beside them: the same instances, and what lies twice waits to be trimmed."""
    office.store(1, instances=3)
    before = given(office, 1)
    seal(office)
    if is_trimmed:
        trim(office)
    office.rig.committer.barrier()
    rebuild = Rebuild(office.rig.disk, office.rig.hot, office.rig.kept, office.clock, ledger=office.ledger.files)
    report = rebuild.run(url, nothing)
    assert (report.instances, report.problems) == (3, ())
    fresh = Database(url)
    with fresh.read() as connection:
        assert len(packs.loose(connection, study_uid(1))) == 0
        waiting = packs.trims(connection, office.clock() + GRACE, "", 100)
    assert len(waiting) == (0 if is_trimmed else 3)
    assert value(fresh, "SELECT COUNT(*) FROM location") == 3
    assert value(fresh, "SELECT COUNT(*) FROM instance WHERE dataset_size > 0") == 3
    fresh.close()
    assert given(office, 1) == before


def test_a_pack_that_was_changed_is_not_indexed(office: Office, url: str) -> None:
    """Rebuilding proves a pack by its digests; a changed one is told and stays where it is."""
    office.store(1, instances=2)
    seal(office)
    trim(office)
    (key,) = pack_keys(office)
    path = office.rig.hot / "packs" / key
    data = bytearray(path.read_bytes())
    data[1500] ^= 1
    path.write_bytes(data)
    rebuild = Rebuild(office.rig.disk, office.rig.hot, office.rig.kept, office.clock, ledger=office.ledger.files)
    report = rebuild.run(url, nothing)
    assert report.instances == 0
    assert len(report.problems) == 1 and report.problems[0].startswith("packs/")
    assert path.exists()


SYNTAXES = {
    "htj2k": "1.2.840.10008.1.2.4.202",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
}


def ct(number: int, **values: object) -> Dataset:
    """Return a CT image that is worth compressing."""
    rows, columns = np.mgrid[0:128, 0:128]
    pixels = (1000 + 400 * np.sin(rows / 9 + number) + 300 * np.cos(columns / 7)).astype("<u2")
    ds = changed(ct_dataset(number), {"StudyDate": "20000302", "Rows": 128, "Columns": 128, "BitsStored": 12, **values})
    ds.add_new("PixelData", "OW", pixels.tobytes())
    return ds


@pytest.mark.parametrize("codec", SYNTAXES)
def test_sealed_images_are_smaller_and_the_same(office: Office, codec: str) -> None:
    """The codec's in the pack, the pixels that were received out of it, and the duplicate check as before."""
    for number in (1, 2, 3):
        office.rig.send(ct(number))
    office.rig.committer.barrier()
    office.clock.advance(hours=2)
    report = sealer(office, codec).run()
    assert (report.compressed, report.left) == (3, [])
    assert report.packed_bytes < report.received_bytes / 2
    trim(office)
    retrieve = Retrieve(office.rig.committer, office.clock, office.rig.hot, office.rig.hot)
    for instance in retrieve.find(Selection("STUDY", studies=(study_uid(1),))):
        stored = retrieve.open(instance)
        assert stored.transfer_syntax_uid == instance.given_syntax_uid == SYNTAXES[codec]
        content = retrieve.convert(stored, ExplicitVRLittleEndian)
        data = bytearray(content.size_bytes)
        content.read_into(memoryview(data), 0)
        content.close()
        number = int(instance.sop_instance_uid.rpartition(".")[2])
        found = dcmread(io.BytesIO(data), force=True)
        assert found.PixelData == ct(number).PixelData
        assert found.SOPInstanceUID == instance.sop_instance_uid
    assert verify(office) == (3, [], [])
    assert office.rig.send(ct(2)) is Outcome.ALREADY_STORED


def test_what_arrived_lossy_stays_as_it_came(office: Office) -> None:
    """An image that says it was lossy is packed byte for byte."""
    office.rig.send(ct(1, LossyImageCompression="01"))
    office.rig.committer.barrier()
    before = given(office, 1)
    office.clock.advance(hours=2)
    report = sealer(office, "htj2k").run()
    assert (report.instances, report.compressed) == (1, 0)
    assert given(office, 1) == before


ENCODERS = {
    "htj2k": (imagecodecs, "htj2k_encode"),
    "jpeg2000": (imagecodecs, "jpeg2k_encode"),
    "jpeg-ls": (jpeg_ls, "encode_buffer"),
}


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_codec_that_returns_garbage_changes_nothing(
    office: Office, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that does not decode to the same samples stays as it was received."""
    office.rig.send(ct(1))
    office.rig.committer.barrier()
    before = given(office, 1)
    module, name = ENCODERS[codec]
    real = getattr(module, name)

    def wrong(pixels: Any, *arguments: Any, **named: Any) -> object:
        spoilt = bytes([pixels[0] ^ 1]) + pixels[1:] if isinstance(pixels, bytes) else pixels ^ 1
        return real(spoilt, *arguments, **named)

    monkeypatch.setattr(module, name, wrong)
    office.clock.advance(hours=2)
    report = sealer(office, codec).run()
    assert (report.instances, report.compressed) == (1, 0)
    assert given(office, 1) == before


def test_a_destroyed_pack_that_came_back_is_found_and_deleted(office: Office) -> None:
    """A pack of a destroyed study, restored from an old backup, is not taken in, and goes as remains."""
    office.store(1)
    seal(office)
    office.days(1)
    trim(office, hours=1)
    list_id = office.propose().head.list_id
    office.approve(list_id)
    office.days(30)
    (key,) = pack_keys(office)
    path = office.rig.hot / "packs" / key
    data = path.read_bytes()
    office.destroy(list_id)
    path.write_bytes(data)
    office.rig.adopt()
    assert given(office, 1) == {}
    with office.ledger.database.read() as connection:
        found = list(iter_remains(office.stores, connection))
    assert [(each.store, each.key) for each in found] == [(PACK, key)]
    done = office.destruction().destroy_remains(found, who=OLGA, progress=nothing)
    assert (done.deleted, done.left) == (1, [])
    assert pack_keys(office) == []


def test_an_old_index_takes_packs_in_at_the_start(office: Office) -> None:
    """Packs that the index does not know, because it was restored from before, are indexed; nothing is missing."""
    office.store(1, instances=3)
    before = given(office, 1)
    with office.ledger.database.read() as connection:
        rows = [tuple(row) for row in Statement(f"SELECT {_OLD} FROM location").rows(connection)]
    seal(office)
    trim(office)
    change(office.ledger.database, "DELETE FROM location")
    change(office.ledger.database, "DELETE FROM pack")
    for row in rows:
        change(office.ledger.database, f"INSERT INTO location ({_OLD}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    report = office.rig.adopt()
    assert report.packs == 1
    assert given(office, 1) == before
    assert trim(office).left == []
    assert verify(office) == (3, [], [])


_OLD = "instance_fk, tier, key, sha256, header_size, size_bytes, state"
