"""One compressed frame to samples or native bytes; must not know where frames are nor write them.

One decoder a family, all from imagecodecs, whose functions release the interpreter and keep no state, so that any
number of threads may decode at once. JPEG: libjpeg-turbo, JPEG-LS: CharLS, JPEG 2000 and HTJ2K: OpenJPEG, JPEG XL:
libjxl. OpenJPH, faster for HTJ2K, is for frames whose samples are known by a digest: imagecodecs takes its samples
without clamping them, and a lossy frame then wraps from white to black.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tiering.errors import CodecFailed, PixelMismatch
from tiering.transcode.codestream import Codestream, read_codestream
from tiering.transcode.picture import Picture
from tiering.transcode.syntaxes import Codec

Samples = NDArray[Any]

_RLE_HEADER: Final = struct.Struct("<16L")
_RLE_SEGMENTS: Final = 15
FAULTS: Final = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError, struct.error, zlib.error)
"""What codecs raise, and what reading damaged bytes does."""
_LIBRARIES: Final[Mapping[Codec, Any]] = {
    Codec.JPEG: imagecodecs.JPEG8,
    Codec.JPEG_LOSSLESS: imagecodecs.JPEG8,
    Codec.JPEG_LS: imagecodecs.JPEGLS,
    Codec.JPEG_2000: imagecodecs.JPEG2K,
    Codec.JPEG_XL: imagecodecs.JPEGXL,
    Codec.JPEG_XL_RECOMPRESSED: imagecodecs.JPEGXL,
    Codec.RLE: imagecodecs.PACKBITS,
}


def is_available(codec: Codec) -> bool:
    """Return whether this build of imagecodecs has the codec's library."""
    return bool(_LIBRARIES[codec].available) if codec in _LIBRARIES else True


def unpack_frame(picture: Picture, frame: bytes, index: int) -> bytes:
    """Return one frame as native little-endian bytes, colour-by-pixel, samples in their allocated width.

    Single bits (Bits Allocated 1) come packed, the last byte filled with zeros. Raises CodecFailed when the codec
    refuses the frame, PixelMismatch when the frame is not what `picture` says.
    """
    try:
        native = _unpack(picture, frame)
    except FAULTS as exc:
        raise CodecFailed(codec=picture.codec.value, frame=index, reason=str(exc)) from exc
    if len(native) != (picture.frame_bits + 7) // 8:
        raise PixelMismatch(reason=f"frame {index} decodes to {len(native)} bytes, not {picture.frame_bits // 8}")
    return native


def unpack_known_frame(picture: Picture, frame: bytes, index: int) -> bytes:
    """Return what `unpack_frame` does, in half the time for HTJ2K; the caller has a digest to compare it with."""
    try:
        if picture.codec is not Codec.JPEG_2000 or not _is_high_throughput(frame):
            return unpack_frame(picture, frame, index)
        head = read_codestream(picture.codec, frame)
        _check_size(picture, head)
        return to_native(picture, imagecodecs.htj2k_decode(frame, planar=False), head.precision)
    except FAULTS as exc:
        raise CodecFailed(codec="HTJ2K", frame=index, reason=str(exc)) from exc


def _is_high_throughput(frame: bytes) -> bool:
    """Return whether a bare codestream says, by CAP behind SIZ (ISO 15444-15 A.2), that its blocks are HTJ2K's."""
    behind = 4 + int.from_bytes(frame[4:6], "big")
    return frame.startswith(b"\xff\x4f\xff\x51") and frame[behind : behind + 2] == b"\xff\x50"


def _unpack(picture: Picture, frame: bytes) -> bytes:
    if picture.codec is Codec.UNCOMPRESSED:
        return _trimmed(picture, frame)
    if picture.codec is Codec.DEFLATED_FRAME:
        limit = picture.frame_bits // 8 + 3
        return _trimmed(picture, zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, limit))
    if picture.codec is Codec.RLE:
        return _unpack_rle(picture, frame)
    head = read_codestream(picture.codec, frame)
    _check_size(picture, head)
    return to_native(picture, _decode(picture, head, frame), head.precision or picture.bits_stored)


def _trimmed(picture: Picture, data: bytes) -> bytes:
    """Return `data` without the byte that made its length even."""
    expected = (picture.frame_bits + 7) // 8
    return data[:expected] if len(data) == expected + 1 else data


def _check_size(picture: Picture, head: Codestream) -> None:
    """Raise PixelMismatch when the frame is not of the size its data set says, before anything is allocated."""
    if (head.rows, head.columns) != (picture.rows, picture.columns):
        raise PixelMismatch(reason=f"{picture.columns}x{picture.rows} described, {head.columns}x{head.rows} encoded")
    if head.samples not in (0, picture.samples):
        raise PixelMismatch(reason=f"{picture.samples} samples described, {head.samples} encoded")
    if head.precision > picture.bits_allocated:
        raise PixelMismatch(reason=f"{picture.bits_allocated} bits allocated, {head.precision} encoded")


def _decode(picture: Picture, head: Codestream, frame: bytes) -> Samples:
    """Return the samples of a frame: rows, columns and, when there are several, samples."""
    if picture.codec is Codec.JPEG_2000:
        return imagecodecs.jpeg2k_decode(frame[head.start :], planar=False, numthreads=1)
    if picture.codec is Codec.JPEG_LS:
        return imagecodecs.jpegls_decode(frame)
    if picture.codec in (Codec.JPEG_XL, Codec.JPEG_XL_RECOMPRESSED):
        return imagecodecs.jpegxl_decode(frame, keeporientation=True, numthreads=1)
    return _decode_jpeg(picture, head, frame)


def _decode_jpeg(picture: Picture, head: Codestream, frame: bytes) -> Samples:
    """Decode with no colour transform, but lossy YBR to RGB.

    The codestream is believed before the data set: files that say RGB and hold YBR are common.
    """
    if picture.samples == 1:
        return imagecodecs.jpeg8_decode(frame)
    if picture.samples != 3:
        raise PixelMismatch(reason=f"JPEG with {picture.samples} samples per pixel")
    encoded = head.colour or ("YBR" if picture.photometric.startswith("YBR") else "RGB")
    transform = picture.lossy_colour and encoded == "YBR"
    return imagecodecs.jpeg8_decode(frame, colorspace="YCBCR" if transform else "RGB", outcolorspace="RGB")


def to_native(picture: Picture, samples: Samples, precision: int) -> bytes:
    """Return decoded samples as native bytes: `precision` bits are meant, filled up to Bits Allocated.

    JPEG and JPEG-LS cannot say that samples are signed, and JPEG 2000 may say it wrongly (PS3.5 8.2.4): the data
    set's Pixel Representation decides. Signed samples are sign-extended, unsigned ones filled with zeros.
    """
    expected = (picture.rows, picture.columns) + ((picture.samples,) if picture.samples > 1 else ())
    if samples.shape != expected or samples.dtype.kind not in "iu":
        raise PixelMismatch(reason=f"{samples.dtype} samples of shape {samples.shape} decoded, not {expected}")
    if picture.bits_allocated == 1:
        return np.packbits(samples.ravel() != 0, bitorder="little").tobytes()
    if samples.dtype.itemsize * 8 > picture.bits_allocated:
        raise PixelMismatch(reason=f"{picture.bits_allocated} bits allocated, {samples.dtype} decoded")
    container = np.dtype(f"<{'i' if picture.signed else 'u'}{picture.bits_allocated // 8}")
    native = samples.astype(container, order="C", copy=False)
    spare = picture.bits_allocated - precision
    if spare and (picture.signed or samples.dtype.kind == "i"):
        native = (native << spare) >> spare
    return native.astype(container, copy=False).tobytes()


def _unpack_rle(picture: Picture, frame: bytes) -> bytes:
    """Decode one RLE frame (PS3.5 annex G): for each sample a segment for each byte, the most significant first."""
    plane_bits = picture.rows * picture.columns * min(picture.bits_allocated, 8)
    width = (picture.bits_allocated + 7) // 8
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    if count != picture.samples * width or count > _RLE_SEGMENTS:
        raise PixelMismatch(reason=f"{picture.samples * width} RLE segments described, {count} encoded")
    native = np.empty(((plane_bits + 7) // 8, picture.samples, width), "u1")
    ends = [*offsets[1:count], len(frame)]
    for segment in range(count):
        plane = _unpack_bits(frame[offsets[segment] : ends[segment]], len(native))
        native[:, segment // width, width - 1 - segment % width] = np.frombuffer(plane, "u1")
    return native.tobytes()


def _unpack_bits(segment: bytes, size: int) -> bytes:
    """Return the first `size` bytes of a PackBits segment; what follows them is padding, whatever it looks like."""
    try:
        plane = bytes(imagecodecs.packbits_decode(segment))
    except imagecodecs.PackbitsError:
        plane = _unpack_bits_up_to(segment, size)
    if len(plane) < size:
        raise PixelMismatch(reason=f"an RLE segment holds {len(plane)} bytes, not {size}")
    return plane[:size]


def _unpack_bits_up_to(segment: bytes, size: int) -> bytes:
    """Decode no further than needed (PS3.5 G.3.2): padding that looks like a cut run makes the library refuse all."""
    plane = bytearray()
    position = 0
    while len(plane) < size and position < len(segment):
        head = segment[position]
        if head < 128:
            plane += segment[position + 1 : position + 2 + head]
            position += 2 + head
        else:
            plane += segment[position + 1 : position + 2] * (257 - head if head > 128 else 0)
            position += 2 if head > 128 else 1
    return bytes(plane)
