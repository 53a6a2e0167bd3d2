"""The headers of the phantom: a hundred elements as a scanner writes them; must not draw a pixel or touch a disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME_WORD_STORAGE = "1.2.840.10008.5.1.4.1.1.7.3"
FAMILY_NAMES = ("Lefèvre", "Gonçalves", "Bénézet", "d'Hérouville", "Müller", "Noël-Château", "Garçon", "Moreau")
GIVEN_NAMES = ("Hélène", "François", "Zoé", "Jérôme", "Anaïs", "Maëlys", "André", "Chloé")
_PRIVATE_CREATOR = "DRIMBOX PHANTOM 1.0"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is imaged: one patient, one study, one series, all of it derived from a seed."""

    seed: int
    side: int = 512
    charset: str = "ISO_IR 100"

    def uid(self, *parts: object) -> str:
        """Return the UID (PS3.5 annex B.2, from a UUID) that belongs to ``parts`` of this subject."""
        text = "/".join(str(part) for part in (self.seed, self.side, *parts))
        return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"

    @property
    def study_instance_uid(self) -> str:
        """Return the UID of the only study."""
        return self.uid("study")

    @property
    def patient_id(self) -> str:
        """Return the only patient's number."""
        return f"IPP{self.seed:09d}"

    @property
    def patient_name(self) -> str:
        """Return a French name with accents."""
        return f"{FAMILY_NAMES[self.seed % 8]}^{GIVEN_NAMES[self.seed // 8 % 8]}"


def file_meta(sop_class_uid: str, sop_instance_uid: str) -> FileMetaDataset:
    """Return the file meta group (PS3.10 section 7.1) of an Explicit VR Little Endian object."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(EXPLICIT_VR_LITTLE_ENDIAN)
    meta.ImplementationClassUID = UID("2.25.30250929512436512096171240510963171")
    meta.ImplementationVersionName = "PHANTOM_1"
    return meta


def encode(ds: Dataset, meta: FileMetaDataset, pixel_bytes: int) -> bytes:
    """Return a Part 10 file up to its pixels: everything but the ``pixel_bytes`` bytes of Pixel Data (OW)."""
    ds.file_meta = meta
    target = BytesIO()
    dcmwrite(target, ds, enforce_file_format=True)
    return target.getvalue() + b"\xe0\x7f\x10\x00OW\x00\x00" + pixel_bytes.to_bytes(4, "little")


def _add_patient(ds: Dataset, subject: Subject) -> None:
    ds.SpecificCharacterSet = subject.charset
    ds.PatientName = subject.patient_name
    ds.PatientID = subject.patient_id
    ds.IssuerOfPatientID = "CHU DE TEST"
    ds.PatientBirthDate = f"19{40 + subject.seed % 50}0614"
    ds.PatientSex = "F" if subject.seed % 2 else "M"
    ds.PatientAge = f"{30 + subject.seed % 50:03d}Y"
    ds.PatientSize = "1.68"
    ds.PatientWeight = "66"
    ds.PregnancyStatus = 4
    ds.PatientComments = "Fantôme numérique, aucune personne réelle"


def _add_study(ds: Dataset, subject: Subject) -> None:
    ds.StudyInstanceUID = subject.study_instance_uid
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = f"2025{1 + subject.seed % 12:02d}17"
    ds.StudyTime = "081502.120000"
    ds.AccessionNumber = f"ACC{subject.seed:010d}"
    ds.StudyID = str(subject.seed)
    ds.StudyDescription = "TDM thoraco-abdominal injecté, contrôle à 3 mois"
    ds.ReferringPhysicianName = "Dupré^Océane^^Dr"
    ds.NameOfPhysiciansReadingStudy = "Sébastien^Éric^^Dr"
    ds.AdmittingDiagnosesDescription = "Bilan d'extension"
    ds.RequestedProcedureDescription = "Scanner thorax-abdomen-pelvis"
    ds.PerformedProcedureStepStartDate = ds.StudyDate
    ds.PerformedProcedureStepStartTime = "081455"
    ds.PerformedProcedureStepID = "PPS1"
    ds.PerformedProcedureStepDescription = "TAP injecté"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "ZBQH001", "CCAM", "Scanographie du thorax"
    ds.ProcedureCodeSequence = Sequence([code])


def _add_series(ds: Dataset, subject: Subject) -> None:
    ds.SeriesInstanceUID = subject.uid("series")
    ds.FrameOfReferenceUID = subject.uid("frame-of-reference")
    ds.Modality = "CT"
    ds.SeriesNumber = "3"
    ds.SeriesTime = "081633.500000"
    ds.SeriesDescription = "Thorax 0.6 Br36 temps artériel"
    ds.ProtocolName = "THORAX_ABDO_INJECTÉ"
    ds.BodyPartExamined = "CHEST"
    ds.PatientPosition = "HFS"
    ds.PositionReferenceIndicator = ""


def _add_equipment(ds: Dataset) -> None:
    ds.Manufacturer = "DRIMBOX PHANTOM"
    ds.ManufacturerModelName = "Fantôme 600"
    ds.InstitutionName = "Hôpital d'essai"
    ds.InstitutionAddress = "12 allée des Érables, 69000 Lyon"
    ds.InstitutionalDepartmentName = "Imagerie médicale"
    ds.StationName = "CT01"
    ds.DeviceSerialNumber = "000600"
    ds.SoftwareVersions = ["VB20A", "SP3"]
    ds.OperatorsName = "Manip^Gaëlle"
    ds.PerformingPhysicianName = "Lemaître^Benoît^^Dr"
    ds.DateOfLastCalibration = "20250901"
    ds.TimeOfLastCalibration = "063000"


def _add_exposure(ds: Dataset) -> None:
    ds.ScanOptions = "SPIRAL_CT"
    ds.KVP = "120"
    ds.DataCollectionDiameter = "500"
    ds.ReconstructionDiameter = "380"
    ds.DistanceSourceToDetector = "1085.6"
    ds.DistanceSourceToPatient = "595"
    ds.GantryDetectorTilt = "0"
    ds.TableHeight = "142.5"
    ds.RotationDirection = "CW"
    ds.ExposureTime = "500"
    ds.XRayTubeCurrent = "214"
    ds.Exposure = "107"
    ds.FilterType = "FLAT"
    ds.GeneratorPower = "26"
    ds.FocalSpots = "0.7"
    ds.ConvolutionKernel = ["Br36d", "3"]
    ds.SingleCollimationWidth = 0.6
    ds.TotalCollimationWidth = 57.6
    ds.TableSpeed = 76.8
    ds.SpiralPitchFactor = 0.8
    ds.CTDIvol = 7.21
    ds.ContrastBolusAgent = "Iodé 350 mg/mL"
    ds.ContrastBolusRoute = "IV"
    ds.ContrastBolusVolume = "90"


def _add_pixel_module(ds: Dataset, side: int) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = ds.Columns = side
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.SmallestImagePixelValue, ds.LargestImagePixelValue = 0, 4095
    ds.WindowCenter, ds.WindowWidth = ["40", "-600"], ["400", "1500"]
    ds.WindowCenterWidthExplanation = ["MÉDIASTIN", "POUMON"]
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"


def _add_private(ds: Dataset, number: int) -> None:
    block = ds.private_block(0x0019, _PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", "Réglage propriétaire")
    block.add_new(0x02, "DS", f"{number * 0.6:.1f}")
    block.add_new(0x03, "UN", bytes((number + step) % 256 for step in range(256)))
    other = ds.private_block(0x0029, _PRIVATE_CREATOR, create=True)
    other.add_new(0x10, "OB", hashlib.sha512(str(number).encode()).digest() * 16)
    other.add_new(0x11, "SH", "ÉTALON")


def _add_position(ds: Dataset, number: int, side: int) -> None:
    depth = -0.6 * number
    spacing = 380 / side
    ds.ImagePositionPatient = ["-190", "-190", f"{depth:.1f}"]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing = [f"{spacing:.6f}", f"{spacing:.6f}"]
    ds.SliceThickness = "0.6"
    ds.SliceLocation = f"{depth:.1f}"
    ds.TablePosition = depth


def _add_instance(ds: Dataset, subject: Subject, number: int) -> None:
    clock = f"0816{33 + number // 40:02d}.{number % 40 * 25000:06d}"
    ds.SOPClassUID = CT_IMAGE_STORAGE
    ds.SOPInstanceUID = subject.uid("instance", number)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
    ds.InstanceCreationDate = ds.StudyDate
    ds.InstanceCreationTime = ds.AcquisitionTime = ds.ContentTime = clock
    ds.TimezoneOffsetFromUTC = "+0100"
    ds.AcquisitionNumber = "2"
    ds.InstanceNumber = str(number)
    ds.ImageComments = ""
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = CT_IMAGE_STORAGE, subject.uid("scout")
    ds.ReferencedImageSequence = Sequence([source])


def ct_header(subject: Subject, number: int) -> bytes:
    """Return the Part 10 header of slice ``number`` (from 1) up to the pixels, which are to follow it."""
    ds = Dataset()
    _add_patient(ds, subject)
    _add_study(ds, subject)
    _add_series(ds, subject)
    _add_equipment(ds)
    _add_exposure(ds)
    _add_pixel_module(ds, subject.side)
    _add_position(ds, number, subject.side)
    _add_private(ds, number)
    _add_instance(ds, subject, number)
    return encode(ds, file_meta(CT_IMAGE_STORAGE, ds.SOPInstanceUID), subject.side * subject.side * 2)


def multi_frame_header(subject: Subject, frames: int) -> bytes:
    """Return the Part 10 header of a multi-frame object of ``frames`` frames up to its pixels (2 GiB at 4096)."""
    ds = Dataset()
    _add_patient(ds, subject)
    _add_study(ds, subject)
    _add_series(ds, subject)
    _add_equipment(ds)
    _add_pixel_module(ds, subject.side)
    ds.SOPClassUID = MULTI_FRAME_WORD_STORAGE
    ds.SOPInstanceUID = subject.uid("multi-frame", frames)
    ds.Modality = "OT"
    ds.ConversionType = "SYN"
    ds.InstanceNumber = "1"
    ds.NumberOfFrames = frames
    ds.FrameTime = "40"
    ds.FrameIncrementPointer = Tag(0x00181063)
    return encode(ds, file_meta(MULTI_FRAME_WORD_STORAGE, ds.SOPInstanceUID), frames * subject.side * subject.side * 2)
