"""Data sets for the tests of conversion, built byte by byte or from samples; holds no test."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info

from tiering.transcode import convert
from tiering.transcode.vr import LONG_VRS

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_12 = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
J2K = "1.2.840.10008.1.2.4.90"
J2K_LOSSY = "1.2.840.10008.1.2.4.91"
JXL = "1.2.840.10008.1.2.4.110"
JXL_JPEG = "1.2.840.10008.1.2.4.111"
HTJ2K = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSY = "1.2.840.10008.1.2.4.203"
RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG)
UNDEFINED = 0xFFFFFFFF
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"

Samples = NDArray[Any]


def tag_bytes(tag: int, order: str = "<") -> bytes:
    """Return a tag as it is written."""
    return struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)


def element(tag: int, vr: str, value: bytes, *, length: int | None = None, order: str = "<") -> bytes:
    """Return an element in explicit VR, with another length than its own when one is given."""
    length = len(value) if length is None else length
    layout = "2s2xI" if vr in LONG_VRS else "2sH"
    return tag_bytes(tag, order) + struct.pack(order + layout, vr.encode(), length) + value


def implicit(tag: int, value: bytes, *, length: int | None = None) -> bytes:
    """Return an element in implicit VR."""
    return tag_bytes(tag) + struct.pack("<I", len(value) if length is None else length) + value


def item(content: bytes, *, defined: bool = False, order: str = "<") -> bytes:
    """Return a sequence item."""
    if defined:
        return tag_bytes(0xFFFEE000, order) + struct.pack(order + "I", len(content)) + content
    return tag_bytes(0xFFFEE000, order) + b"\xff" * 4 + content + tag_bytes(0xFFFEE00D, order) + bytes(4)


def sequence(tag: int, *items: bytes, defined: bool = False, vr: str = "SQ", order: str = "<") -> bytes:
    """Return a sequence of items in explicit VR."""
    content = b"".join(item(one, defined=defined, order=order) for one in items)
    if defined:
        return element(tag, vr, content, order=order)
    return element(tag, vr, content, length=UNDEFINED, order=order) + tag_bytes(0xFFFEE0DD, order) + bytes(4)


SEQUENCE_END = tag_bytes(0xFFFEE0DD) + bytes(4)


def fragments(pieces: Iterable[bytes], *, offsets: Sequence[int] = ()) -> bytes:
    """Return pixel data encapsulated as fragments of even length, behind an offset table."""
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    items = b"".join(item(piece + bytes(len(piece) % 2), defined=True) for piece in (table, *pieces))
    return element(0x7FE00010, "OB", items + SEQUENCE_END, length=UNDEFINED)


def us(tag: int, number: int, order: str = "<") -> bytes:
    """Return an element of VR US."""
    return element(tag, "US", struct.pack(order + "H", number), order=order)


@dataclass
class Module:
    """An Image Pixel module; `photometric` and the sizes follow the samples unless they are given."""

    samples: Samples
    frames: int = 1
    bits_stored: int = 0
    signed: bool = False
    photometric: str = ""
    bits_allocated: int = 0
    planar: int | None = 0
    extra: dict[int, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the module's elements in explicit VR little endian, by ascending tag."""
        shape = self.samples.shape[1:] if self.frames > 1 else self.samples.shape
        colours = shape[2] if len(shape) == 3 else 1
        allocated = self.bits_allocated or self.samples.dtype.itemsize * 8
        stored = self.bits_stored or allocated
        photometric = self.photometric or ("RGB" if colours == 3 else "MONOCHROME2")
        elements = {
            0x00280002: us(0x00280002, colours),
            0x00280004: element(0x00280004, "CS", photometric.encode().ljust(len(photometric) + len(photometric) % 2)),
            0x00280010: us(0x00280010, shape[0]),
            0x00280011: us(0x00280011, shape[1]),
            0x00280100: us(0x00280100, allocated),
            0x00280101: us(0x00280101, stored),
            0x00280102: us(0x00280102, stored - 1),
            0x00280103: us(0x00280103, int(self.signed)),
        }
        if colours > 1 and self.planar is not None:
            elements[0x00280006] = us(0x00280006, self.planar)
        if self.frames > 1:
            elements[0x00280008] = element(0x00280008, "IS", str(self.frames).encode().rjust(2))
        elements |= self.extra
        return b"".join(elements[tag] for tag in sorted(elements))


IDENTITY = element(0x00080018, "UI", b"1.2.826.0.1\0") + element(0x00100010, "PN", b"DUPONT^Zo\xe9")


def compressed(module: Module, pieces: Iterable[bytes], *, offsets: Sequence[int] = ()) -> bytes:
    """Return a data set with encapsulated pixel data."""
    return IDENTITY + module.encode() + fragments(pieces, offsets=offsets)


def converted(dataset: bytes, source_uid: str, target_uid: str = EXPLICIT) -> bytes:
    """Return a data set in another transfer syntax."""
    target = io.BytesIO()
    convert(io.BytesIO(dataset), source_uid=source_uid, target_uid=target_uid, target=target)
    return target.getvalue()


def read(dataset: bytes, uid: str = EXPLICIT) -> Dataset:
    """Return what an independent reader, pydicom, makes of a data set."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(uid)
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2")
    file = io.BytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(DicomIO(file), meta)
    file.write(dataset)
    file.seek(0)
    return pydicom.dcmread(file)


def pixels(dataset: bytes, uid: str = EXPLICIT) -> Samples:
    """Return the samples pydicom finds in a data set."""
    return read(dataset, uid).pixel_array


def shipped(name: str) -> tuple[bytes, str]:
    """Return the data set and the transfer syntax of one of pydicom's own files."""
    with (SHIPPED / name).open("rb") as file:
        meta = pydicom.filereader.read_file_meta_info(file.name)
        end = 144 + int(meta[0x00020000].value)
        file.seek(end)
        return file.read(), str(meta.TransferSyntaxUID)


def raw_deflate(data: bytes) -> bytes:
    """Deflate as PS3.5 A.5 wants it: no header, even length."""
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(data) + deflater.flush()
    return packed + bytes(len(packed) % 2)


def rle(frame: Samples) -> bytes:
    """Encode one frame as RLE (PS3.5 annex G)."""
    planes = frame.reshape(-1, frame.shape[2]).T if frame.ndim == 3 else frame.reshape(1, -1)
    segments = []
    for plane in planes:
        by_byte = plane.astype(plane.dtype.newbyteorder(">")).view("u1").reshape(plane.size, -1)
        segments += [bytes(imagecodecs.packbits_encode(by_byte[:, at].tobytes())) for at in range(by_byte.shape[1])]
    return join_segments(segments)


def join_segments(segments: Sequence[bytes]) -> bytes:
    """Return RLE segments behind their header, each padded to even length."""
    even = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = [64 + sum(len(one) for one in even[:at]) for at in range(len(even))]
    return struct.pack("<16L", len(even), *offsets, *[0] * (15 - len(even))) + b"".join(even)


def jpeg_lossless(frame: Samples, predictor: int = 1, bits: int | None = None) -> bytes:
    """Encode one frame as lossless JPEG."""
    colours = "RGB" if frame.ndim == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(
            frame,
            lossless=True,
            predictor=predictor,
            bitspersample=bits or frame.dtype.itemsize * 8,
            colorspace=colours,
            outcolorspace=colours,
        )
    )


def j2k(frame: Samples, bits: int | None = None) -> bytes:
    """Encode one frame as lossless JPEG 2000, a bare codestream."""
    return bytes(
        imagecodecs.jpeg2k_encode(frame, level=0, codecformat="j2k", reversible=True, bitspersample=bits, mct=False)
    )


def jxl(frame: Samples, bits: int | None = None) -> bytes:
    """Encode one frame as lossless JPEG XL."""
    return bytes(imagecodecs.jpegxl_encode(frame, lossless=True, bitspersample=bits, effort=3, numthreads=1))


ENCODERS: dict[str, Callable[[Samples], bytes]] = {
    UNCOMPRESSED: lambda frame: frame.astype(frame.dtype.newbyteorder("<")).tobytes(),
    DEFLATED_FRAMES: lambda frame: raw_deflate(frame.astype(frame.dtype.newbyteorder("<")).tobytes()),
    RLE: rle,
    JPEG_SV1: jpeg_lossless,
    JPEG_LOSSLESS: lambda frame: jpeg_lossless(frame, predictor=6),
    JPEG_LS: lambda frame: bytes(imagecodecs.jpegls_encode(frame)),
    J2K: j2k,
    HTJ2K: lambda frame: bytes(imagecodecs.htj2k_encode(frame, reversible=True)),
    JXL: jxl,
}
"""Lossless encoders by transfer syntax, for unsigned samples of 8 or 16 bits."""


def image(*shape: int, dtype: str = "u2", top: int | None = None, seed: int = 1) -> Samples:
    """Return a smooth picture with noise, from the lowest to the highest value (`top` when given)."""
    kind = np.iinfo(dtype)
    top = kind.max if top is None else top
    noise = np.random.default_rng(seed).integers(0, 16, shape)
    ramp = np.linspace(kind.min, top - 16, int(np.prod(shape))).reshape(shape)
    samples = (ramp + noise).astype(dtype)
    samples.flat[0], samples.flat[-1] = kind.min, top
    return samples
