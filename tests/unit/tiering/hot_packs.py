"""Makes hot packs of data sets as the archive seals them, and reads lossy ones with other libraries; has no test."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests.objects import changed, ct_dataset, dataset_bytes
from tests.phantoms import slice_of
from tiering.errors import CannotCompress
from tiering.lossy_rules import LossyRules
from tiering.lossy_series import LossyMaking, MadeSeries, NewHeader, copy_uid, make_lossy
from tiering.lossy_source import HotPackFile
from tiering.lossy_tables import load_gates, load_rules
from tiering.pack import MemberFacts, PackWriter, SeriesFacts, read_manifest
from tiering.transcode import compress

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
SEALED = "1.2.840.10008.1.2.4.202"


def image(number: int, samples: NDArray[Any] | None = None, **values: Any) -> Dataset:
    """Return a signed 12-bit CT of a chest, or what ``values`` make of it."""
    pixels = slice_of(number) if samples is None else samples
    ds = changed(ct_dataset(number), {"StudyDate": "20200302"})
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.BitsStored = 12 if pixels.dtype.itemsize == 2 else 8
    ds.HighBit = ds.BitsStored - 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.BodyPartExamined = "1", "0", "CHEST"
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def hot_pack(images: Sequence[Dataset], *, key: str = "hot", sealed: bool = True, **facts: Any) -> HotPackFile:
    """Return a pack of images, compressed without loss when ``sealed``, open."""
    target = io.BytesIO()
    series = SeriesFacts(
        site="main",
        study_instance_uid="2.25.7",
        series_instance_uid="2.25.7.1",
        generation=1,
        created_at=NOON,
        metadata={"received_sizes": {ds.SOPInstanceUID: len(_native(ds)) for ds in images}},
    )
    writer = PackWriter(target, series=series)
    for ds in images:
        _add(writer, ds, sealed=sealed, facts=facts)
    writer.finish()
    return opened(target.getvalue(), key)


def opened(data: bytes, key: str = "hot") -> HotPackFile:
    """Return a pack, open."""
    manifest = read_manifest(lambda start, length: data[start : start + length], len(data))
    return HotPackFile(key, manifest, cast(BinaryIO, io.BytesIO(data)))


def encapsulated(ds: Dataset, transfer_syntax_uid: str, frames: Sequence[bytes]) -> Dataset:
    """Return an image as it comes compressed."""
    ds.PixelData = encapsulate(list(frames))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    return ds


def _native(ds: Dataset) -> bytes:
    return dataset_bytes(ds, ds.file_meta.TransferSyntaxUID)


def _add(writer: PackWriter, ds: Dataset, *, sealed: bool, facts: Mapping[str, Any]) -> None:
    native, received = _native(ds), str(ds.file_meta.TransferSyntaxUID)
    content, syntax, pixels = native, received, None
    if sealed:
        target = io.BytesIO()
        with suppress(CannotCompress):  # it is packed as it came then
            file = cast(BinaryIO, io.BytesIO(native))
            pixels = compress(file, source_uid=received, target=cast(BinaryIO, target)).pixel_sha256
            content, syntax = target.getvalue(), SEALED
    header = part10_header(ds.SOPClassUID, ds.SOPInstanceUID, syntax)
    member = MemberFacts(
        sop_instance_uid=ds.SOPInstanceUID,
        sop_class_uid=ds.SOPClassUID,
        transfer_syntax_uid=syntax,
        header_size=len(header),
        dataset_sha256=hashlib.sha256(content).hexdigest(),
        received_sha256=hashlib.sha256(native).hexdigest(),
        received_transfer_syntax_uid=received,
        pixel_sha256=pixels,
        instance_number=int(ds.InstanceNumber),
    )
    writer.add(replace(member, **facts), lambda: [header + content])


def part10_header(sop_class_uid: str, uid: str, syntax: str) -> bytes:
    """Return a Part 10 header that says what other tools ask for."""
    elements = b"".join(
        tag + vr + len(value).to_bytes(2, "little") + value
        for tag, vr, value in (
            (b"\x02\x00\x02\x00", b"UI", _even(sop_class_uid)),
            (b"\x02\x00\x03\x00", b"UI", _even(uid)),
            (b"\x02\x00\x10\x00", b"UI", _even(syntax)),
        )
    )
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(elements).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + elements


def _even(text: str) -> bytes:
    data = text.encode("ascii")
    return data + b"\0" * (len(data) % 2)


def making(rules: LossyRules | None = None, **values: Any) -> LossyMaking:
    """Return how lossy packs are made here."""

    def header(original: bytes, new: NewHeader) -> bytes:
        sop_class = original.partition(b"\x02\x00\x02\x00UI")[2]
        length = int.from_bytes(sop_class[:2], "little")
        return part10_header(
            sop_class[2 : 2 + length].rstrip(b"\0").decode(), new.sop_instance_uid, new.transfer_syntax_uid
        )

    known: dict[str, Any] = {"make_header": header, "new_uid": copy_uid, "now": lambda: NOON, **values}
    return LossyMaking(rules or load_rules(), load_gates(), **known)


def lossy(folder: Path, *packs: HotPackFile, **values: Any) -> MadeSeries:
    """Make the lossy packs of a series."""
    return make_lossy(packs, folder, making(**values))


def copies(path: Path) -> list[Dataset]:
    """Unpack a lossy pack with another program's eyes; return its images, in order."""
    with zipfile.ZipFile(path) as pack:
        assert pack.testzip() is None
        names = [name for name in pack.namelist() if name.endswith(".dcm")]
        return [dcmread(io.BytesIO(pack.read(name))) for name in names]


def difference(original: Dataset, copy: Dataset) -> NDArray[np.int64]:
    """Return how far each sample of a copy is from its original."""
    found: NDArray[np.int64] = copy.pixel_array.astype("i8") - original.pixel_array.astype("i8")
    return found
