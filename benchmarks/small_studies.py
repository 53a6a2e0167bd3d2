"""Studies of an object a modality, without pixels, made from what a search told of them; must not measure anything.

A peer is filled with them to be searched: with fewer objects a study than the archive has, which is to its advantage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, RawDataStorage

from benchmarks.peers import Endpoint
from benchmarks.web import body_of, connected

_AT_ONCE: Final = 100
_KEPT: Final = (
    *("00080020", "00080030", "00080050", "00081030"),  # StudyDate, StudyTime, AccessionNumber, StudyDescription
    *("00100010", "00100020", "00100030", "00100040"),  # PatientName, PatientID, PatientBirthDate, PatientSex
    *("0020000D", "00200010"),  # StudyInstanceUID, StudyID
)
_MODALITIES: Final = "00080061"


def fill(endpoint: Endpoint, studies: Sequence[Mapping[str, Any]]) -> None:
    """Store an object for each modality of each study, told as DICOM JSON, by STOW-RS."""
    with connected(endpoint) as web:
        for start in range(0, len(studies), _AT_ONCE):
            some = studies[start : start + _AT_ONCE]
            web.store(body_of(_object(study, number) for study in some for number in range(_modalities(study))))


def _modalities(study: Mapping[str, Any]) -> int:
    return len(study[_MODALITIES]["Value"])


def _object(study: Mapping[str, Any], number: int) -> bytes:
    dataset = Dataset.from_json({tag: study[tag] for tag in _KEPT if tag in study})
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.Modality = study[_MODALITIES]["Value"][number]
    dataset.SOPClassUID = RawDataStorage
    dataset.SeriesInstanceUID = f"{dataset.StudyInstanceUID}.{number}"
    dataset.SOPInstanceUID = f"{dataset.StudyInstanceUID}.{number}.1"
    dataset.SeriesNumber, dataset.InstanceNumber = number + 1, 1
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
