"""Makes small valid DICOM objects for tests; must not read anything from disk."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ROOT = "2.25.1234567890"


def ct_dataset(number: int = 1, *, study: int = 1, series: int = 1, **overrides: object) -> Dataset:
    """Return a CT image of 16x16 pixels; ``overrides`` are keyword=value, None removes the attribute."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CT_IMAGE
    ds.SOPInstanceUID = f"{ROOT}.{study}.{series}.{number}"
    ds.StudyDate, ds.StudyTime = "20240115", "101500"
    ds.AccessionNumber = f"ACC{study}"
    ds.Modality = "CT"
    ds.StudyDescription = "SCANNER THORACIQUE"
    ds.SeriesDescription = "PARENCHYME"
    ds.PatientName = "MOREAU^Hélène"
    ds.PatientID = f"PID{study}"
    ds.PatientBirthDate, ds.PatientSex = "19600301", "F"
    ds.StudyInstanceUID = f"{ROOT}.{study}"
    ds.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    ds.StudyID = str(study)
    ds.SeriesNumber, ds.InstanceNumber = series, number
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.add_new("PixelData", "OW", bytes((number + i) % 251 for i in range(512)))
    return changed(ds, overrides)


def changed(ds: Dataset, overrides: Mapping[str, object]) -> Dataset:
    """Set attributes by keyword, remove those that are None, and return the data set."""
    for keyword, value in overrides.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def dataset_bytes(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return the data set alone, without file meta, in an uncompressed transfer syntax."""
    syntax = UID(transfer_syntax)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(buffer, ds)
    return buffer.getvalue()


def part10_bytes(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return a Part 10 file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def write_series(folder: Path, count: int, *, study: int = 1, series: int = 1) -> list[Path]:
    """Write ``count`` CT images as Part 10 files and return their paths in instance order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(1, count + 1):
        path = folder / f"{study}-{series}-{number:05d}.dcm"
        path.write_bytes(part10_bytes(ct_dataset(number, study=study, series=series)))
        paths.append(path)
    return paths
