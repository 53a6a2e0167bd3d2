"""What a retrieve selects, how an object's bytes are given back, what the journal says of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from archive.errors import ColdStoreDown, FixityError, InstanceNotFound, InvalidIdentifier, RetrieveError
from archive.index.instances import set_location_state
from archive.index.records import StoredInstance
from archive.services.retrieve import Retrieved, Root, Selection, StoredObject, can_give, selection_of
from tests.objects import ROOT, ct_dataset, dataset_bytes
from tests.unit.services.shelf import NOON, Shelf, open_shelf

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG_LS = "1.2.840.10008.1.2.4.80"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An empty shelf."""
    with open_shelf(tmp_path) as shelf:
        yield shelf


def put(shelf: Shelf, *places: tuple[int, int, int], **overrides: object) -> None:
    """Put images at (study, series, number) on the shelf."""
    for study, series, number in places:
        shelf.put(ct_dataset(number, study=study, series=series, **overrides))


def found(shelf: Shelf, selection: Selection) -> list[str]:
    """Return the places a selection finds, as study.series.number, in the order found."""
    return [instance.sop_instance_uid.removeprefix(f"{ROOT}.") for instance in shelf.retrieve.find(selection)]


# ---- what an identifier selects ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "identifier", "selection"),
    [
        (
            "patient",
            {"QueryRetrieveLevel": "PATIENT", "PatientID": "PID1", "IssuerOfPatientID": "CHU"},
            Selection("PATIENT", patient_id="PID1", issuer_of_patient_id="CHU"),
        ),
        (
            "patient",
            {"QueryRetrieveLevel": "STUDY", "PatientID": "PID1", "StudyInstanceUID": "1.2\\1.3"},
            Selection("STUDY", patient_id="PID1", studies=("1.2", "1.3")),
        ),
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2"}, Selection("STUDY", studies=("1.2",))),
        (
            "study",
            {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"},
            Selection("SERIES", studies=("1.2",), series=("1.2.3",)),
        ),
        (
            "study",
            {
                "QueryRetrieveLevel": "IMAGE",
                "StudyInstanceUID": "1.2",
                "SeriesInstanceUID": "1.2.3",
                "SOPInstanceUID": "1.4\\1.5",
            },
            Selection("IMAGE", studies=("1.2",), series=("1.2.3",), instances=("1.4", "1.5")),
        ),
    ],
)
def test_an_identifier_selects_by_unique_keys(root: Root, identifier: dict[str, str], selection: Selection) -> None:
    """Level by level, the unique keys of an identifier say what is meant."""
    assert selection_of(identifier, root=root) == selection


def test_upper_keys_may_be_missing() -> None:
    """A relational retrieve names instances, or series, and nothing above them."""
    assert selection_of({"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.4"}, root="patient") == Selection(
        "IMAGE", instances=("1.4",)
    )
    assert selection_of(
        {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.2.3", "StudyInstanceUID": ""}, root="study"
    ) == Selection("SERIES", series=("1.2.3",))


def test_lower_keys_do_not_narrow() -> None:
    """The level says what is meant: keys below it are not looked at."""
    identifier = {
        "QueryRetrieveLevel": "STUDY",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "9.9",
        "SOPInstanceUID": "x",
    }
    assert selection_of(identifier, root="study") == Selection("STUDY", studies=("1.2",))


def test_study_root_does_not_look_at_the_patient() -> None:
    """In the study root a PatientID is an attribute of the study, not a unique key."""
    identifier = {
        "QueryRetrieveLevel": "STUDY",
        "StudyInstanceUID": "1.2",
        "PatientID": "PID9",
        "IssuerOfPatientID": "X",
    }
    assert selection_of(identifier, root="study") == Selection("STUDY", studies=("1.2",))


def test_a_list_names_each_once() -> None:
    """Repeated values count once, empty ones not at all; the order stays; the level may be in lower case."""
    identifier = {"QueryRetrieveLevel": "image", "SOPInstanceUID": "1.5\\1.4\\\\1.5\\1.4 "}
    assert selection_of(identifier, root="study").instances == ("1.5", "1.4")


@pytest.mark.parametrize(
    ("root", "identifier", "reason"),
    [
        ("study", {"StudyInstanceUID": "1.2"}, "level"),
        ("study", {"QueryRetrieveLevel": "EXAM", "StudyInstanceUID": "1.2"}, "level"),
        ("study", {"QueryRetrieveLevel": "PATIENT", "PatientID": "PID1"}, "level"),
        ("patient", {"QueryRetrieveLevel": "PATIENT", "PatientID": ""}, "unique key"),
        ("patient", {"QueryRetrieveLevel": "PATIENT", "IssuerOfPatientID": "CHU"}, "unique key"),
        ("patient", {"QueryRetrieveLevel": "STUDY", "PatientID": "PID1"}, "unique key"),
        ("study", {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2"}, "unique key"),
        ("study", {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "\\"}, "unique key"),
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "*"}, "list of UIDs"),
        ("study", {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.2\\1.2?"}, "list of UIDs"),
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1." + "2" * 70}, "list of UIDs"),
    ],
)
def test_an_identifier_that_selects_nothing_clear_is_invalid(
    root: Root, identifier: dict[str, str], reason: str
) -> None:
    """No level, a level the root does not have, no unique key, wildcards: InvalidIdentifier says which."""
    with pytest.raises(InvalidIdentifier, match=reason):
        selection_of(identifier, root=root)


# ---- which instances -----------------------------------------------------------------------------------------------


def test_each_level_finds_its_instances_in_order(shelf: Shelf) -> None:
    """A patient's, a study's, a series' instances, and single ones, by series and instance number."""
    put(shelf, (1, 2, 10), (1, 2, 9), (1, 1, 2), (1, 1, 1), (2, 1, 1))
    put(shelf, (3, 1, 1), PatientID="PID1")
    assert found(shelf, Selection("PATIENT", patient_id="PID1")) == ["1.1.1", "1.1.2", "1.2.9", "1.2.10", "3.1.1"]
    assert found(shelf, Selection("STUDY", studies=(f"{ROOT}.1",))) == ["1.1.1", "1.1.2", "1.2.9", "1.2.10"]
    assert found(shelf, Selection("SERIES", series=(f"{ROOT}.1.2",))) == ["1.2.9", "1.2.10"]
    assert found(shelf, Selection("IMAGE", instances=(f"{ROOT}.2.1.1", f"{ROOT}.1.2.9"))) == ["1.2.9", "2.1.1"]


def test_lists_find_them_all(shelf: Shelf) -> None:
    """Several studies, or series of several studies, come together."""
    put(shelf, (1, 1, 1), (2, 1, 1), (3, 1, 1))
    assert found(shelf, Selection("STUDY", studies=(f"{ROOT}.3", f"{ROOT}.1"))) == ["1.1.1", "3.1.1"]
    assert found(shelf, Selection("SERIES", series=(f"{ROOT}.2.1", f"{ROOT}.3.1"))) == ["2.1.1", "3.1.1"]


def test_a_long_list_is_no_limit(shelf: Shelf) -> None:
    """A thousand instances asked for one by one are all found."""
    put(shelf, (1, 1, 1), (1, 1, 999))
    asked = tuple(f"{ROOT}.1.1.{number}" for number in range(1, 1001))
    assert found(shelf, Selection("IMAGE", instances=asked)) == ["1.1.1", "1.1.999"]


def test_upper_keys_given_must_fit(shelf: Shelf) -> None:
    """An instance asked for under another study or patient is not found."""
    put(shelf, (1, 1, 1))
    wanted = Selection("IMAGE", instances=(f"{ROOT}.1.1.1",))
    assert found(shelf, wanted) == ["1.1.1"]
    assert found(shelf, replace(wanted, patient_id="PID1", studies=(f"{ROOT}.1",))) == ["1.1.1"]
    assert found(shelf, replace(wanted, studies=(f"{ROOT}.2",))) == []
    assert found(shelf, replace(wanted, series=(f"{ROOT}.1.2",))) == []
    assert found(shelf, replace(wanted, patient_id="PID2")) == []


@pytest.mark.parametrize("issuer", ["", "CHU"])
def test_a_patient_id_is_no_pattern(shelf: Shelf, issuer: str) -> None:
    """A star is a star: it must not give every patient of the archive away."""
    put(shelf, (1, 1, 1), IssuerOfPatientID="CHU")
    put(shelf, (2, 1, 1), PatientID="P*", IssuerOfPatientID="CHU")
    assert found(shelf, Selection("PATIENT", patient_id="*", issuer_of_patient_id=issuer)) == []
    assert found(shelf, Selection("PATIENT", patient_id="P*", issuer_of_patient_id=issuer)) == ["2.1.1"]
    assert found(shelf, Selection("PATIENT", patient_id="P?D1", issuer_of_patient_id=issuer)) == []
    assert found(shelf, Selection("PATIENT", patient_id="P*", issuer_of_patient_id="*")) == []


def test_the_issuer_tells_patients_apart(shelf: Shelf) -> None:
    """The same PatientID of two issuers is two patients; without an issuer both are meant."""
    put(shelf, (1, 1, 1), PatientID="7", IssuerOfPatientID="CHU")
    put(shelf, (2, 1, 1), PatientID="7", IssuerOfPatientID="CLINIC")
    assert found(shelf, Selection("PATIENT", patient_id="7", issuer_of_patient_id="CHU")) == ["1.1.1"]
    assert found(shelf, Selection("PATIENT", patient_id="7", issuer_of_patient_id="CLINIC")) == ["2.1.1"]
    assert found(shelf, Selection("PATIENT", patient_id="7")) == ["1.1.1", "2.1.1"]
    study = Selection("STUDY", patient_id="7", issuer_of_patient_id="CHU", studies=(f"{ROOT}.2",))
    assert found(shelf, study) == []


def test_nothing_stored_nothing_found(shelf: Shelf) -> None:
    """An empty archive answers with an empty list."""
    assert shelf.retrieve.find(Selection("STUDY", studies=("1.2.3",))) == []


# ---- the bytes -----------------------------------------------------------------------------------------------------


def stored(shelf: Shelf, number: int = 1) -> StoredInstance:
    """Return the index's record of an image of the first series."""
    (instance,) = shelf.retrieve.find(Selection("IMAGE", instances=(f"{ROOT}.1.1.{number}",)))
    return instance


def test_the_bytes_are_the_bytes(shelf: Shelf) -> None:
    """Any part of the data set can be read, from any position, exactly as it was stored."""
    ds = ct_dataset(1)
    shelf.put(ds)
    raw = dataset_bytes(ds)
    where = shelf.retrieve.open(stored(shelf))
    assert (where.dataset_size, where.transfer_syntax_uid) == (len(raw), EXPLICIT)
    content = shelf.retrieve.read(where)
    assert content.size_bytes == len(raw)
    for start, count in ((0, len(raw)), (10, 100), (len(raw) - 1, 1), (5, 0)):
        view = memoryview(bytearray(count))
        content.read_into(view, start)
        assert bytes(view) == raw[start : start + count]
    content.close()


def test_reading_past_the_end_is_a_fixity_error(shelf: Shelf) -> None:
    """Fewer bytes than there should be are never passed off as all of them."""
    shelf.put(ct_dataset(1))
    content = shelf.retrieve.read(shelf.retrieve.open(stored(shelf)))
    with pytest.raises(FixityError, match="shorter"):
        content.read_into(memoryview(bytearray(10)), content.size_bytes - 5)
    content.close()


def test_a_disk_error_is_a_fixity_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk raises while reading leaves as FixityError with the object's key."""
    shelf.put(ct_dataset(1))
    where = shelf.retrieve.open(stored(shelf))
    content = shelf.retrieve.read(where)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(FixityError, match="Input/output error") as caught:
        content.read_into(memoryview(bytearray(10)), 0)
    assert caught.value.fields["key"] == where.key
    content.close()


def test_a_missing_file_is_a_fixity_error(shelf: Shelf) -> None:
    """A file that is gone is told when the object is opened, or when it is read just after."""
    path = shelf.put(ct_dataset(1))
    where = shelf.retrieve.open(stored(shelf))
    path.unlink()
    with pytest.raises(FixityError, match="No such file"):
        shelf.retrieve.open(stored(shelf))
    with pytest.raises(FixityError, match="No such file"):
        shelf.retrieve.read(where)


@pytest.mark.parametrize("change", [-1, 1, -700])
def test_a_file_of_another_size_is_a_fixity_error(shelf: Shelf, change: int) -> None:
    """A file cut short or grown is not what was stored."""
    path = shelf.put(ct_dataset(1))
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(FixityError, match="bytes"):
        shelf.retrieve.open(stored(shelf))


@pytest.mark.parametrize("state", ["missing", "damaged"])
def test_a_copy_known_to_be_bad_is_not_given(shelf: Shelf, state: str) -> None:
    """A copy the fixity check has found missing or damaged is not opened."""
    shelf.put(ct_dataset(1))
    key = stored(shelf).locations[0].key
    shelf.committer.record(work=lambda connection: set_location_state(connection, key, state) and None)
    with pytest.raises(InstanceNotFound):
        shelf.retrieve.open(stored(shelf))


def test_the_first_good_copy_is_given(shelf: Shelf) -> None:
    """Of several copies a bad one is passed over, and one in a cold store that is not there any more."""
    shelf.put(ct_dataset(1))
    instance = stored(shelf)
    (good,) = instance.locations
    others = (replace(good, state="damaged", key="a/b/c"), replace(good, tier="cold", key="d"))
    assert shelf.retrieve.open(replace(instance, locations=(*others, good))).key == good.key
    with pytest.raises(ColdStoreDown, match="no cold store"):
        shelf.retrieve.open(replace(instance, locations=others))
    with pytest.raises(InstanceNotFound):
        shelf.retrieve.open(replace(instance, locations=others[:1]))


def test_every_copy_is_offered_in_turn(shelf: Shelf) -> None:
    """Who finds that a copy cannot be read after all is given the next one; the end tells what may go away."""
    shelf.put(ct_dataset(1))
    shelf.put(ct_dataset(2))
    instance = stored(shelf)
    (good,), (second,) = instance.locations, stored(shelf, 2).locations
    lost = replace(good, key="20261123/shelf/999999")
    found = list(shelf.retrieve.each(replace(instance, locations=(good, lost, second))))
    assert [each.key for each in found] == [good.key, second.key]
    cold = replace(good, tier="cold", key="d")
    offered = shelf.retrieve.each(replace(instance, locations=(good, cold)))
    assert next(offered).key == good.key
    with pytest.raises(ColdStoreDown):
        next(offered)
    with pytest.raises(ColdStoreDown):
        shelf.retrieve.open(replace(instance, locations=(lost, cold)))


def test_a_key_that_leads_elsewhere_is_not_followed(shelf: Shelf) -> None:
    """A key of the index that would leave the hot folder is a FixityError, not another file."""
    shelf.put(ct_dataset(1))
    instance = stored(shelf)
    wrong = replace(instance.locations[0], key="../../etc/passwd")
    with pytest.raises(FixityError):
        shelf.retrieve.open(replace(instance, locations=(wrong,)))


# ---- conversion ----------------------------------------------------------------------------------------------------


def converted(shelf: Shelf, where: StoredObject, syntax: str) -> bytes:
    """Return a data set in another transfer syntax."""
    content = shelf.retrieve.convert(where, syntax)
    view = memoryview(bytearray(content.size_bytes))
    content.read_into(view, 0)
    content.close()
    return bytes(view)


def test_a_conversion_keeps_the_values(shelf: Shelf) -> None:
    """The same data set in implicit little endian, whatever lies in front of it in the file."""
    ds = ct_dataset(1)
    shelf.put(ds)
    raw = converted(shelf, shelf.retrieve.open(stored(shelf)), IMPLICIT)
    read: Dataset = read_dataset(BytesIO(raw), True, True)
    assert read == ds


def test_a_conversion_leaves_no_file(shelf: Shelf) -> None:
    """The converted bytes lie in a file without a name, which is gone once it is closed."""
    shelf.put(ct_dataset(1))
    before = sorted(shelf.root.rglob("*"))
    content = shelf.retrieve.convert(shelf.retrieve.open(stored(shelf)), IMPLICIT)
    assert sorted(shelf.root.rglob("*")) == before
    content.close()
    assert sorted(shelf.root.rglob("*")) == before


def test_what_cannot_be_converted_is_a_retrieve_error(shelf: Shelf) -> None:
    """An object that is not what its syntax promises, or a syntax nobody converts to, leaves as RetrieveError."""
    shelf.put(ct_dataset(1, PixelData=bytes(10)))
    where = shelf.retrieve.open(stored(shelf))
    before = len(os.listdir("/proc/self/fd"))
    for wrong, syntax in ((replace(where, transfer_syntax_uid=JPEG_LS), EXPLICIT), (where, JPEG_LS)):
        with pytest.raises(RetrieveError):
            shelf.retrieve.convert(wrong, syntax)
    assert len(os.listdir("/proc/self/fd")) == before, "a file was left open"


@pytest.mark.parametrize("scratch", ["gone", "file"])
def test_a_scratch_folder_that_fails_is_a_retrieve_error(shelf: Shelf, tmp_path: Path, scratch: str) -> None:
    """When there is no place to convert in, the object fails and says why."""
    shelf.put(ct_dataset(1))
    (tmp_path / "file").write_bytes(b"")
    retrieve = replace(shelf.retrieve, scratch=tmp_path / scratch)
    with pytest.raises(RetrieveError, match="directory"):
        retrieve.convert(retrieve.open(stored(shelf)), IMPLICIT)


def test_what_can_be_given() -> None:
    """The stored syntax always, native ones from any that is decoded, compressed ones never."""
    assert can_give("1.2.3.4", "1.2.3.4")
    assert can_give(JPEG_LS, EXPLICIT)
    assert can_give(EXPLICIT, IMPLICIT)
    assert not can_give(EXPLICIT, JPEG_LS)
    assert not can_give("1.2.3.4", EXPLICIT)


# ---- the journal ---------------------------------------------------------------------------------------------------


def test_the_journal_names_studies_once_and_no_patient(shelf: Shelf) -> None:
    """An entry has who, what, where to and how many: each study once, and nothing of a patient."""
    put(shelf, (1, 1, 1), (1, 1, 2), (2, 1, 1))
    instances = shelf.retrieve.find(Selection("STUDY", studies=(f"{ROOT}.1", f"{ROOT}.2")))
    shelf.retrieve.record(
        Retrieved("C-MOVE", "WORKSTATION", "PACS", instances, completed=1, failed=1, warning=1, remaining=0)
    )
    with shelf.committer.read() as connection:
        row = connection.exec_driver_sql("SELECT at, actor, body FROM audit WHERE event = 'retrieved'").one()
    assert (row[0], row[1]) == ("2026-11-23T12:00:00.000000Z", "WORKSTATION")
    assert shelf.clock.now == NOON
    assert json.loads(row[2]) == {
        "service": "C-MOVE",
        "destination": "PACS",
        "study_instance_uids": [f"{ROOT}.1", f"{ROOT}.2"],
        "instances": 3,
        "completed": 1,
        "failed": 1,
        "warning": 1,
        "remaining": 0,
    }
