"""IOCM's rejection note, the object that tells other systems a study's images are gone; must not name the patient.

IHE RAD TF-2 4.66 (Imaging Object Change Management): a Key Object Selection Document (PS3.3 A.35.4, template TID 2010)
titled (113039, DCM, "Data Retention Policy Expired"), in a series of its own of the study it speaks of. Equal arguments
are equal bytes: a note sent again after a crash is the same object.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID, uuid5

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from archive.part10.meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION

_NAMESPACE: Final = UUID(int=int(IMPLEMENTATION_CLASS_UID.removeprefix("2.25.")))
_EXPIRED: Final = ("113039", "Data Retention Policy Expired")
_DESCRIPTION: Final = ("113012", "Key Object Description")


@dataclass(frozen=True, slots=True, order=True)
class RejectedInstance:
    """One instance that is no longer kept."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def rejection_note(
    study_instance_uid: str,
    patient_id: str,
    instances: Sequence[RejectedInstance],
    *,
    list_id: str,
    at: datetime,
    ae_title: str,
) -> bytes:
    """Return the note as a whole Part 10 file in Explicit VR Little Endian.

    ``at`` is aware: it is written with its own offset. Neither the order nor a repetition among ``instances`` matters;
    ValueError when there is none, since a note that rejects nothing is no note.
    """
    if not instances or at.tzinfo is None:
        raise ValueError("a rejection note is about one instance or more, and its time is aware")
    rejected = sorted(set(instances))
    sop_instance_uid = _uid("instance", study_instance_uid, list_id)
    ds = Dataset()
    _fill(
        ds,
        SOPClassUID=KeyObjectSelectionDocumentStorage,
        SOPInstanceUID=sop_instance_uid,
        StudyInstanceUID=study_instance_uid,
        SeriesInstanceUID=_uid("series", study_instance_uid, list_id),
        PatientID=patient_id,
        SeriesNumber="1",
        InstanceNumber="1",
        Modality="KO",
        Manufacturer="drimbox-archive",
        SeriesDescription=_EXPIRED[1],
        ContentDate=f"{at:%Y%m%d}",
        ContentTime=f"{at:%H%M%S.%f}",
        TimezoneOffsetFromUTC=f"{at:%z}"[:5],
        CurrentRequestedProcedureEvidenceSequence=[_evidence(study_instance_uid, rejected)],
    )
    if not (patient_id + list_id).isascii():
        _fill(ds, SpecificCharacterSet="ISO_IR 192")
    _fill(ds, **dict.fromkeys(_EMPTY, None))
    _fill(ds, **_content(rejected, list_id))
    return _part10(ds, ae_title)


_EMPTY: Final = (
    *("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "ReferencedPerformedProcedureStepSequence"),
)
"""Type 2: they must be there, and we say nothing in them."""


def _content(rejected: Iterable[RejectedInstance], list_id: str) -> dict[str, Any]:
    """Return the root of the content tree, TID 2010: why, for whom to read, and every instance."""
    why = _item(
        RelationshipType="CONTAINS",
        ValueType="TEXT",
        ConceptNameCodeSequence=[_code(*_DESCRIPTION)],
        TextValue=f"Bordereau {list_id}",
    )
    return {
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": [_code(*_EXPIRED)],
        "ContinuityOfContent": "SEPARATE",
        "ContentTemplateSequence": [_item(MappingResource="DCMR", TemplateIdentifier="2010")],
        "ContentSequence": [why, *map(_reference, rejected)],
    }


def _reference(instance: RejectedInstance) -> Dataset:
    return _item(
        RelationshipType="CONTAINS",
        ValueType=_value_type(instance.sop_class_uid),
        ReferencedSOPSequence=[_sop(instance)],
    )


def _value_type(sop_class_uid: str) -> str:
    """Return what a reference to an instance of this class is in a content tree; COMPOSITE is true of any."""
    name = UID(sop_class_uid, config.IGNORE).name
    if name.endswith("Waveform Storage"):
        return "WAVEFORM"
    return "IMAGE" if "Image Storage" in name else "COMPOSITE"


def _evidence(study_instance_uid: str, rejected: Iterable[RejectedInstance]) -> Dataset:
    by_series = groupby(rejected, key=lambda instance: instance.series_instance_uid)
    series = [_item(SeriesInstanceUID=uid, ReferencedSOPSequence=list(map(_sop, group))) for uid, group in by_series]
    return _item(StudyInstanceUID=study_instance_uid, ReferencedSeriesSequence=series)


def _sop(instance: RejectedInstance) -> Dataset:
    return _item(ReferencedSOPClassUID=instance.sop_class_uid, ReferencedSOPInstanceUID=instance.sop_instance_uid)


def _code(value: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)


def _item(**values: Any) -> Dataset:
    ds = Dataset()
    _fill(ds, **values)
    return ds


def _fill(ds: Dataset, **values: Any) -> None:
    # Unchecked: identifiers are repeated as the images have them, and real devices send 1.02.3 and long patient IDs.
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        ds.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))


def _uid(what: str, study_instance_uid: str, list_id: str) -> str:
    return f"2.25.{uuid5(_NAMESPACE, f'{what} {study_instance_uid} {list_id}').int}"


def _part10(ds: Dataset, ae_title: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = KeyObjectSelectionDocumentStorage
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    meta.SourceApplicationEntityTitle = ae_title
    ds.file_meta = meta
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()
