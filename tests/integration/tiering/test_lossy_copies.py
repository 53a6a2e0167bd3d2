"""The real compression on a real archive: from a push to lossy copies, their evidence, and who names them."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from archive.errors import MigrationRefused
from archive.index.instances import iter_instances
from archive.services.cold_reader import ColdReader
from archive.services.evidence import EvidenceRoom
from archive.services.lossy_copies import LossyCopier
from archive.services.read_cache import ReadCache
from tests.integration.disposal.conftest import Office, sop_uid, study_uid
from tests.integration.tiering.cold_side import ColdSide
from tests.integration.tiering.reading import read_all
from tests.objects import changed, ct_dataset
from tests.phantoms import slice_of
from tests.unit.tiering.hot_packs import part10_header
from tiering.lossy_rules import SiteRules
from tiering.lossy_series import LossyCodec, copy_uid
from tiering.lossy_tables import load_rules
from tiering.stores.memory import MemoryStore

HTJ2K, JPEG_2000 = "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.91"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"


def ct(number: int, study: int = 1, **values: object) -> Dataset:
    """Return a slice that can be compressed with loss."""
    attributes = {"StudyDate": "20000302", "PatientBirthDate": "19500714", **values}
    ds = changed(ct_dataset(number, study=study), attributes)
    samples = slice_of(number)
    ds.Rows, ds.Columns = samples.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.BodyPartExamined = "1", "0", "CHEST"
    ds.PixelData = samples.astype("<i2").tobytes()
    return ds


def key_objects(*uids: str) -> Dataset:
    """Return a document of the study that names images."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = KEY_OBJECTS, f"{study_uid(1)}.9.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid(1), f"{study_uid(1)}.9"
    ds.PatientID, ds.Modality, ds.StudyDate = "PID1", "KO", "20000302"
    ds.PatientBirthDate = "19500714"
    items = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
        items.append(item)
    ds.ContentSequence = Sequence(items)
    return ds


@pytest.fixture
def side(office: Office) -> ColdSide:
    """Lend an archive that makes lossy copies by the shipped rules."""
    return with_rules(office)


def with_rules(office: Office, *, codec: LossyCodec = "htj2k", **site: object) -> ColdSide:
    """Return an archive that makes lossy copies, with what a site adds to the rules."""
    rules = load_rules("drg", SiteRules(**site))  # type: ignore[arg-type]
    side = ColdSide(office)
    side.lossy = LossyCopier(office.rig.committer, side.stores, office.clock, lambda _site: rules, codec=codec)
    return side


def send(office: Office, *images: Dataset) -> None:
    """Store images."""
    for ds in images:
        office.rig.send(ds, sop_class=ds.SOPClassUID)
    office.rig.committer.barrier()


@pytest.mark.parametrize(("codec", "syntax", "rounding"), [("htj2k", HTJ2K, 0), ("jpeg2000", JPEG_2000, 1)])
def test_images_go_cold_lossy_and_come_back_near_enough(
    office: Office, tmp_path: Path, codec: LossyCodec, syntax: str, rounding: int
) -> None:
    """Under UIDs made of the old ones, by either codec, no pixel further away than the evidence says, to a rounding."""
    side = with_rules(office, codec=codec)
    images = [ct(number) for number in (1, 2, 3)]
    send(side.office, *images)
    side.sealed()
    assert side.migrator.migrate(study_uid(1)) == {"packs": 1, "lossy": 1}
    (evidence,) = EvidenceRoom(side.office.rig.committer, side.cold).of_study(study_uid(1))
    said = {each["derived_from"]: each for each in evidence.body["instances"]}
    assert evidence.body["transfer_syntax_uid"] == syntax
    with closing(ColdReader(side.cold, ReadCache(tmp_path / "cache", 1 << 28))) as reader:
        found = read_all(side.office, reader)
    for ds in images:
        told = said[ds.SOPInstanceUID]
        assert told["sop_instance_uid"] == copy_uid(ds.SOPInstanceUID, told["received_sha256"])
        header = part10_header(ds.SOPClassUID, told["sop_instance_uid"], syntax)
        copy = dcmread(io.BytesIO(header + found[told["sop_instance_uid"]]))
        error = np.abs(copy.pixel_array.astype(int) - slice_of(int(ds.InstanceNumber)).astype(int)).max()
        assert 0 < told["frames"][0]["max_abs_error"] <= 40
        assert abs(error - told["frames"][0]["max_abs_error"]) <= rounding
        assert copy.LossyImageCompression == "01"


def test_the_picture_lies_in_the_pack(side: ColdSide) -> None:
    """It is drawn when the copy is made, and there for as long as the pack is."""
    send(side.office, ct(1), ct(2))
    side.sealed()
    side.migrate()
    side.trim()
    room = EvidenceRoom(side.office.rig.committer, side.cold)
    (evidence,) = room.of_study(study_uid(1))
    picture = room.picture(evidence.pack_key)
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    assert room.picture("no/such/pack/1.zip") is None
    assert EvidenceRoom(side.office.rig.committer).picture(evidence.pack_key) is None


def test_whoever_names_replaced_images_is_listed(side: ColdSide) -> None:
    """A key object document keeps its bytes; the evidence says that it names old UIDs, and how many."""
    send(side.office, ct(1), ct(2), key_objects(sop_uid(1, 1), "2.25.999"))
    side.sealed()
    assert side.migrator.migrate(study_uid(1)) == {"packs": 2, "lossy": 1}
    found = EvidenceRoom(side.office.rig.committer).of_study(study_uid(1))
    bodies = {each.series_instance_uid: each.body for each in found}
    lossy = bodies[f"{study_uid(1)}.1"]
    assert lossy["referenced_by"] == [
        {"sop_instance_uid": f"{study_uid(1)}.9.1", "sop_class_uid": KEY_OBJECTS, "instances": 1}
    ]
    assert not bodies[f"{study_uid(1)}.9"]["lossy"]


@pytest.mark.parametrize("site", [{"never_modalities": frozenset({"CT"})}, {"never_body_parts": frozenset({"CHEST"})}])
def test_what_a_site_forbids_goes_cold_lossless(office: Office, site: dict[str, Any]) -> None:
    """The cold pack is the hot one, and the evidence says who forbade it."""
    side = with_rules(office, **site)
    send(office, ct(1), ct(2))
    side.sealed()
    assert side.migrator.migrate(study_uid(1)) == {"packs": 1, "lossy": 0}
    (evidence,) = EvidenceRoom(office.rig.committer).of_study(study_uid(1))
    assert any("site" in reason for reason in evidence.body["reasons"])
    with office.rig.committer.read() as connection:
        assert [each.sop_instance_uid for each in iter_instances(connection, study=study_uid(1))] == [
            sop_uid(1, 1),
            sop_uid(2, 1),
        ]


def test_a_study_that_was_never_tried_has_no_evidence(side: ColdSide) -> None:
    """It is told, and not taken for proof."""
    send(side.office, ct(1))
    with pytest.raises(MigrationRefused, match="no evidence"):
        EvidenceRoom(side.office.rig.committer).of_study(study_uid(1))


def test_a_hot_pack_that_rots_is_never_compressed(side: ColdSide) -> None:
    """The flipped bit is seen before anything is put; the study stays as it is, and is told."""
    send(side.office, ct(1), ct(2))
    side.sealed()
    path = side.office.rig.root / side.hot_packs()[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(Exception, match=r"not|digest"):
        side.migrate()
    assert isinstance(side.cold, MemoryStore)
    assert side.cold_keys() == []
