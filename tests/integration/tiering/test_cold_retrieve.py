"""A retrieve with a cold tier: which copy is given, what happens when one cannot be read, what the journal hears."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate

from archive.dimse import command as dimse
from archive.dimse.association import Context
from archive.dimse.get import GetHandler
from archive.dimse.move import MoveHandler
from archive.errors import FixityError, IndexUnavailable, InstanceNotFound
from archive.index.find import Query, run_query
from archive.index.statements import Statement
from archive.services import retrieve as module
from archive.services.committer import Committer
from archive.services.recall import Recall
from tests.integration.disposal.conftest import OLGA, Office, nothing, study_uid
from tests.integration.tiering.plain_lossy import PlainLossy
from tests.integration.tiering.reading import Reading, open_reading
from tests.integration.tiering.test_cold_destruction import ready
from tests.objects import ROOT, ct_dataset, dataset_bytes
from tests.unit.dimse.retrieving import CT, EXPLICIT, GET, IMPLICIT, Asked, Serving, connected, open_warehouse
from tests.unit.dimse.test_move import MOVE, connect
from tests.unit.tiering.transcode.building import HTJ2K_LOSSY, J2K_LOSSY, Samples, read
from tiering.errors import StoreUnavailable
from tiering.transcode import irreversible, jpeg2000
from tiering.transcode.irreversible import SampleFormat

HTJ2K = "1.2.840.10008.1.2.4.202"


@pytest.fixture
def reading(office: Office, tmp_path: Path) -> Iterator[Reading]:
    """Lend an archive with a cold store."""
    with open_reading(office, tmp_path / "cache") as found:
        yield found


def get(reading: Reading, study: int = 1, contexts: Sequence[Context] = (GET, CT)) -> Asked:
    """Run one C-GET of a study to its end and return what the requester saw."""
    with connected(contexts) as (association, client):
        serving = Serving(association, GetHandler(reading.retrieve).handle)
        client.ask(dimse.C_GET_RQ, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study_uid(study)})
        asked = client.converse()
        assert serving.join() is None
        return asked


def availability(reading: Reading, study: int = 1) -> str:
    """Return what C-FIND says of a study."""
    keys = {"StudyInstanceUID": study_uid(study), "InstanceAvailability": ""}
    with reading.office.rig.committer.read() as connection:
        (row,) = run_query(connection, Query("study", "STUDY", keys))
    return row["InstanceAvailability"]


def spoil(reading: Reading, number: int) -> None:
    """Change a byte of a member of the only cold pack."""
    (key,) = reading.side.cold_keys()
    data = bytearray(b"".join(reading.store.read(key)))
    data[reading.wanted()[number].end - 1] ^= 1
    reading.store.damage(key, bytes(data))


# ---- which copy ----------------------------------------------------------------------------------------------------


def test_the_hot_copy_is_given_as_long_as_there_is_one(reading: Reading) -> None:
    """During the grace period nothing is read from the cold store, and the study is ONLINE; then it is NEARLINE."""
    reading.side.sealed(1)
    before = reading.read_all()
    assert availability(reading) == "ONLINE"
    reading.side.migrate()
    reading.store.reads.clear()
    assert (reading.read_all(), reading.store.reads, availability(reading)) == (before, [], "ONLINE")
    reading.side.trim()
    assert availability(reading) == "NEARLINE"
    assert reading.read_all() == before


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_hot_pack_that_cannot_be_read_is_replaced_by_the_cold_one(reading: Reading, damage: str) -> None:
    """The index says hot and the file is not there, or not all of it: the cold copy is given."""
    reading.side.sealed(1)
    before = reading.read_all()
    reading.side.migrate()
    path = reading.office.rig.root / reading.side.hot_packs()[0]
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:100])
    assert reading.read_all() == before


def test_a_hot_copy_that_fails_while_it_is_read_is_replaced(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file opens and its bytes cannot be read: the sub-operation is completed from the cold copy."""
    reading.side.sealed(1)
    before = reading.read_all()
    with reading.side.office.rig.committer.read() as connection:
        hot = {key for (key,) in Statement("SELECT key FROM location").run(connection)}
    reading.side.migrate()
    real = module.ObjectBytes.read_into
    failed: list[str] = []

    def read_into(self: module.ObjectBytes, view: memoryview, position: int) -> None:
        if self._key in hot:
            failed.append(self._key)
            raise FixityError(key=self._key, reason="Input/output error")
        real(self, view, position)

    monkeypatch.setattr(module.ObjectBytes, "read_into", read_into)
    asked = get(reading)
    assert (asked.final[dimse.STATUS], asked.objects) == (0x0000, before)
    assert len(failed) == 3


def test_a_cold_store_that_is_down_does_not_matter_while_there_is_a_hot_copy(reading: Reading) -> None:
    """Nobody notices during the grace period."""
    reading.side.sealed(1)
    before = reading.read_all()
    reading.side.migrate()
    reading.store.down = StoreUnavailable(reason="no route")
    assert reading.read_all() == before


def test_lossy_copies_come_back_as_they_were_made(reading: Reading) -> None:
    """The bytes of a lossy copy are given under its own UID, asked for by study or by its old UID."""
    reading.side.lossy = PlainLossy(reading.side.stores)
    reading.side.sealed(1, instances=2)
    reading.side.migrate()
    assert len(reading.read_all()) == 2
    assert get(reading).counts == (None, 2, 0, 0)


def test_the_context_is_that_of_the_copy_that_is_given(reading: Reading) -> None:
    """The hot copy was to be given as it is and cannot be read: the cold one, in another syntax, goes on its own."""
    reading.side.sealed(1)
    before = reading.read_all()
    reading.side.migrate()
    (reading.office.rig.root / reading.side.hot_packs()[0]).unlink()
    with reading.office.rig.database.write(synced=False) as connection:
        Statement("UPDATE location SET transfer_syntax_uid = ? WHERE tier = 'hot'").run(connection, (HTJ2K,))
    lossless = Context(5, CT.abstract_syntax, HTJ2K, True, False)
    asked = get(reading, contexts=(GET, CT, lossless))
    assert asked.objects == before
    assert asked.final[dimse.STATUS] == 0x0000


@pytest.mark.parametrize("stored", [HTJ2K_LOSSY, J2K_LOSSY])
@pytest.mark.parametrize("accepted", ["the same", EXPLICIT, IMPLICIT])
def test_lossy_copies_are_given_as_they_are_or_decoded(reading: Reading, stored: str, accepted: str) -> None:
    """What is stored in .203 or .91 leaves cold storage untouched where the peer takes it, else decoded."""
    codec = irreversible if stored == HTJ2K_LOSSY else jpeg2000
    accepted = stored if accepted == "the same" else accepted
    raw, samples = lossy_image(codec)
    office = reading.office
    reception = office.rig.begin(f"{ROOT}.1.1.1", syntax=stored)
    office.rig.pour(raw, reception)
    reception.commit()
    reading.side.sealed()
    reading.side.migrate()
    reading.side.trim()
    (data,) = get(reading, contexts=(GET, Context(3, CT.abstract_syntax, accepted, True, False))).objects.values()
    if accepted == stored:
        assert data == raw
    else:
        ds = dcmread(io.BytesIO(data), force=True) if accepted == IMPLICIT else read(data, accepted)
        found = np.frombuffer(ds.PixelData, "<u2").reshape(64, 64).astype(int)
        # FFmpeg and OpenJPEG, which serves readers, may round otherwise
        assert np.abs(found - samples).max() <= (codec is jpeg2000)
    assert reading.store.reads


def lossy_image(codec: ModuleType) -> tuple[bytes, Samples]:
    """Return a CT image compressed with loss, and what it decodes to."""
    layout = SampleFormat(16, 12, False)
    rows, columns = np.mgrid[0:64, 0:64]
    frame = codec.encode((1000 + 500 * np.sin(rows / 5) + 300 * np.cos(columns / 9)).astype("<u2"), 8.0, layout)
    ds = ct_dataset(1, StudyDate="20000302", PatientBirthDate="19500714", Rows=64, Columns=64)
    ds.add_new("PixelData", "OB", encapsulate([frame]))
    ds["PixelData"].is_undefined_length = True
    return dataset_bytes(ds), codec.decode(frame, layout)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_damaged_cold_copy_fails_alone_and_is_journalled(reading: Reading) -> None:
    """One sub-operation fails, the others go on; index and journal have the copy as damaged, once."""
    before = reading.go_cold(1)
    spoil(reading, 1)
    asked = get(reading)
    assert asked.final[dimse.STATUS] == 0xB000
    assert asked.counts == (None, 2, 1, 0)
    assert asked.failed_uids == [list(before)[1]]
    (body,) = reading.bodies("damaged")
    assert json.loads(body) == {"key": reading_key(reading, 1), "sop_instance_uid": list(before)[1]}
    assert availability(reading) == "UNAVAILABLE"
    with pytest.raises(InstanceNotFound):
        reading.retrieve.open(reading.instances()[1])
    get(reading)
    assert len(reading.bodies("damaged")) == 1


def reading_key(reading: Reading, number: int) -> str:
    """Return the key of a cold copy."""
    return reading.instances()[number].locations[0].key


def test_damage_that_cannot_be_journalled_is_still_damage(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index does not answer at that moment: the requester hears of the damage all the same."""
    reading.go_cold(1)
    spoil(reading, 0)
    instance = reading.instances()[0]

    def fail(*_: object, **__: object) -> None:
        raise IndexUnavailable(reason="down")

    monkeypatch.setattr(Committer, "record", fail)
    with pytest.raises(FixityError, match="other bytes"):
        reading.retrieve.open(instance)


def test_a_store_that_is_down_fails_the_suboperations_and_no_more(reading: Reading) -> None:
    """Everything failed: A702 with the reason; the association goes on, and its next request gets a hot study."""
    reading.go_cold(1)
    reading.office.store(2)
    reading.store.down = StoreUnavailable(reason="no route")
    handler = GetHandler(reading.retrieve)
    with connected((GET, CT)) as (association, client):
        for study, status, completed in ((1, 0xA702, 0), (2, 0x0000, 2)):
            serving = Serving(association, handler.handle)
            client.asked = Asked()
            client.ask(dimse.C_GET_RQ, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study_uid(study)})
            final = client.converse().final
            assert serving.join() is None
            assert (final[dimse.STATUS], final[dimse.COMPLETED]) == (status, completed)
            if study == 1:
                assert "no route" in str(final[dimse.ERROR_COMMENT])
    assert reading.bodies("damaged") == []


def test_what_nobody_takes_is_not_fetched(reading: Reading) -> None:
    """Objects that the association has no context for cost no request to the cold store."""
    reading.go_cold(1)
    other = Context(3, "1.2.840.10008.5.1.4.1.1.4", EXPLICIT, True, False)
    assert get(reading, contexts=(GET, other)).final[dimse.STATUS] == 0xA702
    assert reading.store.reads == []


def test_nothing_is_read_ahead_once_the_requester_is_gone(reading: Reading) -> None:
    """The association breaks in the middle: what was announced is released, and the archive goes on."""
    before = reading.go_cold(1, instances=6)
    with connected((GET, CT)) as (association, client):
        serving = Serving(association, GetHandler(reading.retrieve).handle)
        client.ask(dimse.C_GET_RQ, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study_uid(1)})
        client.association.read_message()
        client.association.transport.close()
        assert serving.join() is not None
    assert reading.reader._plans == []
    assert reading.read_all() == before


def test_a_move_asks_in_the_name_of_its_requester(reading: Reading) -> None:
    """C-MOVE of a study that is frozen: A702, the thaw asked for by who asked, not by where it was to go."""
    reading.go_cold(1)
    reading.store.freeze()
    office = reading.office
    reading.recall = Recall(office.rig.committer, reading.store, office.clock, wait=timedelta())
    with open_warehouse() as warehouse, connected((MOVE,)) as (association, client):
        handler = MoveHandler(reading.retrieve, {"WAREHOUSE": warehouse.destination}, connect)
        serving = Serving(association, handler.handle)
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study_uid(1)}
        client.ask(dimse.C_MOVE_RQ, keys, destination="WAREHOUSE")
        final = client.converse().final
        assert serving.join() is None
    assert (final[dimse.STATUS], final[dimse.FAILED]) == (0xA702, 3)
    assert "thaw" in str(final[dimse.ERROR_COMMENT])
    (row,) = [row for row in office.journal() if row.event == "recalled"]
    assert row.actor == "WORKSTATION"


def test_what_is_destroyed_leaves_the_cache_too(reading: Reading, tmp_path: Path) -> None:
    """A study that was read lately is eliminated: nothing of it stays on the local disk when that is certified."""
    reading.go_cold(1)
    reading.read_all()
    cache = reading.reader.cache
    assert len(list(cache.folder.iterdir())) == 3
    reading.office.sweep()
    list_id = ready(reading.side)
    stores = replace(reading.side.stores, cache=cache.folder)
    destruction = replace(reading.office.destruction(), stores=stores)
    report = destruction.destroy(list_id, who=OLGA, progress=nothing)
    assert (report.left, list(cache.folder.iterdir())) == ([], [])
    assert report.certificate is not None
