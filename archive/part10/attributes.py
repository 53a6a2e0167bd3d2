"""The indexed attributes of each level, from which columns and scan follow; must not import anything of the product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])(?!Ds$)")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One indexed DICOM attribute: ``tag`` is 0xggggeeee, ``vr`` the value representation of PS3.6."""

    tag: int
    keyword: str
    vr: str

    @property
    def column(self) -> str:
        """Return the keyword in snake_case, the name of the column that holds the attribute."""
        return snake_case(self.keyword)


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """What was read from one data set: ``values`` maps keyword to decoded text, absent when the element is empty.

    Several values are joined by a backslash. ``flags`` is sorted: ``charset`` (a text was guessed), ``vr`` (odd VR
    or length), ``tags`` (order or repetition), ``fallback`` (read the slow way), ``truncated`` (the data set ends
    inside an element), ``truncated_scan`` (the head ended before the last indexed attribute).
    """

    values: Mapping[str, str]
    flags: tuple[str, ...] = ()


def snake_case(keyword: str) -> str:
    """Return a DICOM keyword as a column name: ``SOPInstanceUID`` becomes ``sop_instance_uid``."""
    return _WORD_START.sub("_", keyword).lower()


PATIENT: tuple[Attribute, ...] = (
    Attribute(0x00100010, "PatientName", "PN"),
    Attribute(0x00100020, "PatientID", "LO"),
    Attribute(0x00100021, "IssuerOfPatientID", "LO"),
    Attribute(0x00100022, "TypeOfPatientID", "CS"),
    Attribute(0x00100030, "PatientBirthDate", "DA"),
    Attribute(0x00100032, "PatientBirthTime", "TM"),
    Attribute(0x00100040, "PatientSex", "CS"),
    Attribute(0x00101000, "OtherPatientIDs", "LO"),
)

STUDY: tuple[Attribute, ...] = (
    Attribute(0x00080020, "StudyDate", "DA"),
    Attribute(0x00080030, "StudyTime", "TM"),
    Attribute(0x00080050, "AccessionNumber", "SH"),
    Attribute(0x00080090, "ReferringPhysicianName", "PN"),
    Attribute(0x00081030, "StudyDescription", "LO"),
    Attribute(0x00081060, "NameOfPhysiciansReadingStudy", "PN"),
    Attribute(0x00081080, "AdmittingDiagnosesDescription", "LO"),
    Attribute(0x00101010, "PatientAge", "AS"),
    Attribute(0x00101020, "PatientSize", "DS"),
    Attribute(0x00101030, "PatientWeight", "DS"),
    Attribute(0x0020000D, "StudyInstanceUID", "UI"),
    Attribute(0x00200010, "StudyID", "SH"),
)

SERIES: tuple[Attribute, ...] = (
    Attribute(0x00080021, "SeriesDate", "DA"),
    Attribute(0x00080031, "SeriesTime", "TM"),
    Attribute(0x00080060, "Modality", "CS"),
    Attribute(0x00080070, "Manufacturer", "LO"),
    Attribute(0x00080080, "InstitutionName", "LO"),
    Attribute(0x00081010, "StationName", "SH"),
    Attribute(0x0008103E, "SeriesDescription", "LO"),
    Attribute(0x00081040, "InstitutionalDepartmentName", "LO"),
    Attribute(0x00081050, "PerformingPhysicianName", "PN"),
    Attribute(0x00081070, "OperatorsName", "PN"),
    Attribute(0x00081090, "ManufacturerModelName", "LO"),
    Attribute(0x00180015, "BodyPartExamined", "CS"),
    Attribute(0x00181030, "ProtocolName", "LO"),
    Attribute(0x00185100, "PatientPosition", "CS"),
    Attribute(0x0020000E, "SeriesInstanceUID", "UI"),
    Attribute(0x00200011, "SeriesNumber", "IS"),
    Attribute(0x00200052, "FrameOfReferenceUID", "UI"),
    Attribute(0x00200060, "Laterality", "CS"),
    Attribute(0x00400244, "PerformedProcedureStepStartDate", "DA"),
    Attribute(0x00400245, "PerformedProcedureStepStartTime", "TM"),
    Attribute(0x00400253, "PerformedProcedureStepID", "SH"),
    Attribute(0x00400254, "PerformedProcedureStepDescription", "LO"),
)

INSTANCE: tuple[Attribute, ...] = (
    Attribute(0x00080005, "SpecificCharacterSet", "CS"),
    Attribute(0x00080008, "ImageType", "CS"),
    Attribute(0x00080016, "SOPClassUID", "UI"),
    Attribute(0x00080018, "SOPInstanceUID", "UI"),
    Attribute(0x00080022, "AcquisitionDate", "DA"),
    Attribute(0x00080023, "ContentDate", "DA"),
    Attribute(0x00080032, "AcquisitionTime", "TM"),
    Attribute(0x00080033, "ContentTime", "TM"),
    Attribute(0x00080201, "TimezoneOffsetFromUTC", "SH"),
    Attribute(0x00200012, "AcquisitionNumber", "IS"),
    Attribute(0x00200013, "InstanceNumber", "IS"),
    Attribute(0x00280002, "SamplesPerPixel", "US"),
    Attribute(0x00280004, "PhotometricInterpretation", "CS"),
    Attribute(0x00280008, "NumberOfFrames", "IS"),
    Attribute(0x00280010, "Rows", "US"),
    Attribute(0x00280011, "Columns", "US"),
    Attribute(0x00280100, "BitsAllocated", "US"),
    Attribute(0x00280101, "BitsStored", "US"),
    Attribute(0x00282110, "LossyImageCompression", "CS"),
    Attribute(0x0040A491, "CompletionFlag", "CS"),
    Attribute(0x0040A493, "VerificationFlag", "CS"),
    Attribute(0x00700080, "ContentLabel", "CS"),
    Attribute(0x00700081, "ContentDescription", "LO"),
    Attribute(0x00700082, "PresentationCreationDate", "DA"),
)

ISSUER_QUALIFIERS_TAG = 0x00100024
"""IssuerOfPatientIDQualifiersSequence: only the Universal Entity ID of its first item is kept (INS, PS3.3 10.14)."""

ISSUER_UNIVERSAL_ID = "IssuerOfPatientIDUniversalEntityID"
"""The key of that Universal Entity ID in InstanceHeader.values; not a DICOM keyword, so not an Attribute."""
