"""The rejection note: what IOCM asks for is in it, read back by pydicom and by DCMTK; nobody is named."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydicom import dcmread
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import FileDataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    GeneralECGWaveformStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)

from archive.part10.meta import IMPLEMENTATION_CLASS_UID
from archive.services.rejection_note import RejectedInstance, rejection_note
from tests.dcmtk import run

STUDY = "1.2.840.113619.2.55.3.2831183621.884"
AT = datetime(2026, 6, 2, 23, 5, 7, 250_000, tzinfo=timezone(timedelta(hours=2)))

NEWER_THAN_DCMTK = {
    "1.2.840.10008.5.1.4.1.1.6.3",
    "1.2.840.10008.5.1.4.1.1.9.1.4",
    "1.2.840.10008.5.1.4.1.1.77.1.8",
    "1.2.840.10008.5.1.4.1.1.77.1.9",
    "1.2.840.10008.5.1.4.1.1.481.23",
    "1.2.840.10008.5.1.4.1.1.481.24",
}
"""Image and waveform classes that DCMTK 3.6.7, of 2022, has not heard of: it refuses them as such."""


def instance(number: int, *, series: int = 1, sop_class: str = CTImageStorage) -> RejectedInstance:
    """Return one instance, a CT image unless told otherwise."""
    return RejectedInstance(f"{STUDY}.{series}", sop_class, f"{STUDY}.{series}.{number}")


def note(*instances: RejectedInstance, **changes: Any) -> bytes:
    """Return a note about these instances, or about one."""
    usual: dict[str, Any] = {"list_id": "2026-0007", "at": AT, "ae_title": "DRIMBOX"}
    patient_id = changes.pop("patient_id", "IPP00001")
    return rejection_note(changes.pop("study", STUDY), patient_id, instances or (instance(1),), **{**usual, **changes})


def read(data: bytes) -> FileDataset:
    """Read a note as any receiver may."""
    return dcmread(io.BytesIO(data))


def evidence(ds: FileDataset) -> dict[str, list[tuple[str, str]]]:
    """Return the instances of the evidence, class and UID, by series."""
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == ds.StudyInstanceUID
    return {
        series.SeriesInstanceUID: [
            (sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID) for sop in series.ReferencedSOPSequence
        ]
        for series in study.ReferencedSeriesSequence
    }


def content(ds: FileDataset) -> list[tuple[str, str, str]]:
    """Return the references of the content tree: value type, class and UID."""
    return [
        (item.ValueType, sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID)
        for item in ds.ContentSequence
        if item.ValueType != "TEXT"
        for sop in item.ReferencedSOPSequence
    ]


def dumped(folder: Path, data: bytes, name: str = "dsrdump") -> str:
    """Return what a tool of DCMTK prints about a note; one it refuses fails the test."""
    path = folder / "note.dcm"
    path.write_bytes(data)
    done = run(name, path)
    assert done.returncode == 0, done.stderr
    assert "E: " not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_note_is_a_key_object_selection_in_the_study() -> None:
    """The note is a KO object of the study it speaks of, in a series of its own, of the given moment."""
    ds = read(note())
    assert ds.SOPClassUID == KeyObjectSelectionDocumentStorage and ds.Modality == "KO"
    assert ds.StudyInstanceUID == STUDY and ds.PatientID == "IPP00001"
    assert len({ds.SOPInstanceUID, ds.SeriesInstanceUID, STUDY, f"{STUDY}.1"}) == 4
    assert (ds.ContentDate, ds.ContentTime, ds.TimezoneOffsetFromUTC) == ("20260602", "230507.250000", "+0200")
    assert ds.Manufacturer == "drimbox-archive" and (ds.SeriesNumber, ds.InstanceNumber) == (1, 1)


def test_note_says_that_the_retention_period_is_over() -> None:
    """The title is (113039, DCM), the template TID 2010, and the list's number can be read by a person."""
    ds = read(note())
    (title,), (template,) = ds.ConceptNameCodeSequence, ds.ContentTemplateSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113039", "DCM")
    assert title.CodeMeaning == "Data Retention Policy Expired"
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "2010")
    assert (ds.ValueType, ds.ContinuityOfContent) == ("CONTAINER", "SEPARATE")
    (text,) = [item for item in ds.ContentSequence if item.ValueType == "TEXT"]
    assert text.TextValue == "Bordereau 2026-0007" and text.ConceptNameCodeSequence[0].CodeValue == "113012"
    assert {item.RelationshipType for item in ds.ContentSequence} == {"CONTAINS"}


def test_note_names_nobody() -> None:
    """Name, birth date, sex and the study's own data are there as type 2 asks, and empty."""
    ds = read(note())
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"):
        assert keyword in ds and not ds[keyword].value
    for keyword in ("ReferringPhysicianName", "StudyID", "ReferencedPerformedProcedureStepSequence"):
        assert keyword in ds and not ds[keyword].value


def test_file_is_whole() -> None:
    """The bytes are a Part 10 file in Explicit VR Little Endian whose header says which program wrote it."""
    data = note()
    meta = read(data).file_meta
    assert data[128:132] == b"DICM"
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.MediaStorageSOPClassUID == KeyObjectSelectionDocumentStorage
    assert meta.MediaStorageSOPInstanceUID == read(data).SOPInstanceUID
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.SourceApplicationEntityTitle == "DRIMBOX"


def test_references_are_of_the_type_of_their_class() -> None:
    """Images, waveforms and everything else are referenced as what they are; a private class is COMPOSITE."""
    classes = {
        CTImageStorage: "IMAGE",
        GeneralECGWaveformStorage: "WAVEFORM",
        BasicTextSRStorage: "COMPOSITE",
        GrayscaleSoftcopyPresentationStateStorage: "COMPOSITE",
        "1.3.46.670589.5.0.1.1": "COMPOSITE",
    }
    ds = read(note(*(instance(at, sop_class=uid) for at, uid in enumerate(classes))))
    assert {sop_class: value_type for value_type, sop_class, _ in content(ds)} == classes


def test_uids_are_those_of_the_list_and_the_study() -> None:
    """The same list and study have the same UIDs whenever the note is written; another list or study has others."""
    first, again = read(note()), read(note(at=AT + timedelta(days=1), ae_title="OTHER"))
    others = [read(note(list_id="2026-0008")), read(note(study=f"{STUDY}.9"))]
    uids = [(ds.SOPInstanceUID, ds.SeriesInstanceUID) for ds in (first, again, *others)]
    assert uids[0] == uids[1]
    assert len({uid for pair in uids for uid in pair}) == 6
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for pair in uids for uid in pair)
    # Written down: notes already sent must be recognised by every later version of this code.
    assert first.SOPInstanceUID == "2.25.286124746111976587256454614545964550301"
    assert first.SeriesInstanceUID == "2.25.174347227448166461881393442561081753223"


@pytest.mark.parametrize(
    ("changes", "charset"),
    [({}, None), ({"patient_id": "IPP-É1"}, "ISO_IR 192"), ({"list_id": "Hôpital-7"}, "ISO_IR 192")],
)
def test_character_set_is_declared_where_it_is_needed(changes: dict[str, str], charset: str | None) -> None:
    """Text outside ASCII is UTF-8 and says so; a note in ASCII needs no character set."""
    ds = read(note(**changes))
    assert ds.get("SpecificCharacterSet") == charset
    assert ds.PatientID == changes.get("patient_id", "IPP00001")
    assert ds.ContentSequence[0].TextValue == f"Bordereau {changes.get('list_id', '2026-0007')}"


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_odd_identifiers_are_repeated_as_they_are() -> None:
    """UIDs with leading zeros and patient IDs that are too long come from real devices: the note says what they say."""
    odd = RejectedInstance("1.02.3", "1.2.840.10008.5.1.4.1.1.02", "1.2.003")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = note(odd, patient_id="A" * 70, study="1.2.04")
    ds = read(data)
    assert (ds.PatientID, ds.StudyInstanceUID) == ("A" * 70, "1.2.04")
    assert evidence(ds) == {"1.02.3": [("1.2.840.10008.5.1.4.1.1.02", "1.2.003")]}


@pytest.mark.parametrize(("instances", "at"), [((), AT), ((instance(1),), AT.replace(tzinfo=None))])
def test_note_about_nothing_or_of_no_moment_is_refused(instances: Sequence[RejectedInstance], at: datetime) -> None:
    """There is no note without an instance, and none whose time could be any."""
    with pytest.raises(ValueError, match="rejection note"):
        rejection_note(STUDY, "IPP00001", instances, list_id="1", at=at, ae_title="DRIMBOX")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            instance,
            st.integers(1, 30),
            series=st.integers(1, 5),
            sop_class=st.sampled_from([CTImageStorage, BasicTextSRStorage, GeneralECGWaveformStorage]),
        ),
        min_size=1,
        max_size=40,
        unique_by=lambda each: each.sop_instance_uid,
    ),
    st.randoms(use_true_random=False),
)
def test_every_instance_is_in_the_evidence_and_in_the_tree(instances: list[RejectedInstance], random: Any) -> None:
    """All instances, each once, are grouped by series and referenced; their order and repetition change no byte."""
    data = note(*instances)
    ds = read(data)
    wanted: dict[str, set[tuple[str, str]]] = {}
    for each in instances:
        wanted.setdefault(each.series_instance_uid, set()).add((each.sop_class_uid, each.sop_instance_uid))
    assert {series: set(sops) for series, sops in evidence(ds).items()} == wanted
    references = [(sop_class, uid) for _, sop_class, uid in content(ds)]
    assert len(references) == sum(map(len, evidence(ds).values())) == len(instances)
    assert set(references) == set().union(*wanted.values())
    assert note(*random.sample(instances, len(instances)), instances[0]) == data


def test_dcmtk_reads_the_tree(tmp_path: Path) -> None:
    """DCMTK's reader of structured reports takes the note for a key object selection of that title."""
    said = dumped(tmp_path, note(instance(1), instance(2, sop_class=BasicTextSRStorage), patient_id="IPP-É1"))
    assert "Key Object Selection Document" in said
    assert 'CONTAINER:(,,"Data Retention Policy Expired")=SEPARATE' in said
    assert '<contains TEXT:(,,"Key Object Description")="Bordereau 2026-0007">' in said
    assert "<contains IMAGE:" in said and "<contains COMPOSITE:" in said


def test_dcmtk_takes_a_reference_of_every_class(tmp_path: Path) -> None:
    """Instances of every storage class of the standard that DCMTK knows can be in one note."""
    classes = [
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and uid.startswith("1.2.840.10008.5.1.4.1.1.")
    ]
    assert len(classes) > 150
    known = [instance(at, sop_class=uid) for at, uid in enumerate(classes) if uid not in NEWER_THAN_DCMTK]
    assert dumped(tmp_path, note(*known)).count("<contains ") == len(known) + 1


def test_dcmtk_finds_no_fault_in_the_bytes(tmp_path: Path) -> None:
    """DCMTK's parser reads every element of a large note and warns of none."""
    said = dumped(tmp_path, note(*(instance(at, series=at % 7) for at in range(500))), "dcmdump")
    assert "W: " not in said and said.count("=CTImageStorage") == 1000


def test_equal_notes_are_equal_bytes() -> None:
    """A note written again for the same moment is the same file, so that sending it twice does no harm."""
    assert note() == note() != note(at=AT.astimezone(UTC))
