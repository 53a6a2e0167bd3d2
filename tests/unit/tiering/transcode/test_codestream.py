"""What is read of a compressed frame before a codec sees it."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.tiering.transcode.building import image, j2k, jpeg_lossless, jxl
from tiering.transcode.codestream import Codestream, has_start_marker, read_codestream, starts_frame
from tiering.transcode.syntaxes import Codec

GREY = image(19, 31, top=4095)
COLOUR = image(24, 40, 3, dtype="u1")
MARKED = [codec for codec in Codec if has_start_marker(codec)]


def jpeg(*, components: bytes, applications: bytes = b"") -> bytes:
    """Return the skeleton of a JPEG: its markers without any data."""
    header = struct.pack(">BHHB", 8, 24, 40, len(components) // 3) + components
    frame_header = b"\xff\xc0" + struct.pack(">H", len(header) + 2) + header
    return b"\xff\xd8" + applications + frame_header + b"\xff\xda\x00\x02\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    """Return one JPEG marker segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


YBR = b"\1\x22\0\2\x11\1\3\x11\1"
PLAIN = b"\1\x11\0\2\x11\0\3\x11\0"
NAMED = b"R\x11\0G\x11\0B\x11\0"
JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
ADOBE_RGB = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
ADOBE_YBR = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")


@pytest.mark.parametrize(
    ("codec", "frame"),
    [
        (Codec.JPEG_LOSSLESS, jpeg_lossless(GREY, bits=12)),
        (Codec.JPEG, bytes(imagecodecs.jpeg8_encode(GREY, bitspersample=12))),
        (Codec.JPEG_2000, j2k(GREY, bits=12)),
        (Codec.JPEG_2000, bytes(imagecodecs.jpeg2k_encode(GREY, level=0, codecformat="jp2", bitspersample=12))),
    ],
    ids=["JPEG lossless", "JPEG extended", "JPEG 2000", "JP2"],
)
def test_a_grey_frame_tells_size_and_precision(codec: Codec, frame: bytes) -> None:
    """Rows, columns, one sample and 12 bits are read from each format's header."""
    head = read_codestream(codec, frame)
    assert (head.rows, head.columns, head.samples, head.precision) == (19, 31, 1, 12)


@pytest.mark.parametrize(
    ("codec", "frame"),
    [
        (Codec.JPEG, bytes(imagecodecs.jpeg8_encode(COLOUR))),
        (Codec.JPEG_LS, bytes(imagecodecs.jpegls_encode(COLOUR))),
        (Codec.JPEG_2000, j2k(COLOUR)),
        (Codec.JPEG_2000, bytes(imagecodecs.htj2k_encode(COLOUR, reversible=True))),
    ],
    ids=["JPEG", "JPEG-LS", "JPEG 2000", "HTJ2K"],
)
def test_a_colour_frame_tells_its_samples(codec: Codec, frame: bytes) -> None:
    """Three samples of 8 bits are read from each format's header."""
    head = read_codestream(codec, frame)
    assert (head.rows, head.columns, head.samples, head.precision) == (24, 40, 3, 8)


@pytest.mark.parametrize("shape", [(8, 8), (24, 40), (31, 19), (300, 400), (128, 256), (9, 2000), (1, 1), (160, 90)])
@pytest.mark.parametrize("container", [False, True])
def test_a_jpeg_xl_frame_tells_its_size(shape: tuple[int, int], container: bool) -> None:
    """Small, large and fixed-ratio sizes are read, from a bare codestream and from a container."""
    frame = bytes(imagecodecs.jpegxl_encode(image(*shape, dtype="u1"), lossless=True, usecontainer=container))
    head = read_codestream(Codec.JPEG_XL, frame)
    assert (head.rows, head.columns) == shape
    assert (head.samples, head.precision) == (0, 0)


def test_a_jp2_wrapper_is_left_behind() -> None:
    """The codestream of a JP2 file starts behind its boxes; what follows there decodes to the same samples."""
    wrapped = bytes(imagecodecs.jpeg2k_encode(COLOUR, level=0, codecformat="jp2", reversible=True, mct=False))
    head = read_codestream(Codec.JPEG_2000, wrapped)
    assert head.start > 0
    assert np.array_equal(imagecodecs.jpeg2k_decode(wrapped[head.start :]), COLOUR)
    assert read_codestream(Codec.JPEG_2000, j2k(COLOUR)).start == 0


@pytest.mark.parametrize(
    ("frame", "colour"),
    [
        (jpeg(components=PLAIN), ""),
        (jpeg(components=YBR), "YBR"),
        (jpeg(components=NAMED), "RGB"),
        (jpeg(components=PLAIN, applications=JFIF), "YBR"),
        (jpeg(components=NAMED, applications=JFIF), "RGB"),
        (jpeg(components=PLAIN, applications=ADOBE_RGB), "RGB"),
        (jpeg(components=PLAIN, applications=ADOBE_YBR), "YBR"),
        (jpeg(components=YBR, applications=ADOBE_RGB), "YBR"),
        (jpeg(components=PLAIN, applications=segment(0xEE, b"Adobe\0\x64\0\0\0")), ""),
        (jpeg(components=PLAIN, applications=segment(0xE0, b"AVI1\0\0")), ""),
        (jpeg(components=PLAIN, applications=segment(0xE5, b"JFIF\0\1")), ""),
        (jpeg(components=PLAIN, applications=segment(0xE5, b"Adobe\0\x64\0\0\0\0\1")), ""),
        (jpeg(components=PLAIN, applications=segment(0xE1, b"Exif\0\0") + b"\xff\xff" + JFIF[1:]), "YBR"),
    ],
)
def test_a_jpeg_tells_its_colours(frame: bytes, colour: str) -> None:
    """Component names, subsampling, JFIF and Adobe markers tell RGB from YBR; without them nothing does."""
    assert read_codestream(Codec.JPEG, frame) == Codestream(24, 40, 3, 8, colour=colour)


NOT_FRAMES = {
    "empty": (Codec.JPEG, b""),
    "no start of image": (Codec.JPEG, jpeg(components=PLAIN)[2:]),
    "no end of image": (Codec.JPEG_LOSSLESS, jpeg_lossless(GREY)[:-4]),
    "no frame header": (Codec.JPEG_LS, b"\xff\xd8\xff\xda\x00\x02\xff\xd9"),
    "short frame header": (Codec.JPEG, b"\xff\xd8" + segment(0xC0, b"\x08\0\x08\0\x08\3\1") + b"\xff\xd9"),
    "tiny frame header": (Codec.JPEG, b"\xff\xd8" + segment(0xC0, b"\x08") + b"\xff\xd9"),
    "no JPEG 2000": (Codec.JPEG_2000, b"\0" * 100),
    "cut size marker": (Codec.JPEG_2000, j2k(GREY)[:40]),
    "no JPEG XL": (Codec.JPEG_XL, b"\0" * 100),
    "JPEG XL container without codestream": (Codec.JPEG_XL, b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40)),
}


@pytest.mark.parametrize(("codec", "frame"), NOT_FRAMES.values(), ids=NOT_FRAMES)
def test_what_is_no_frame_is_refused(codec: Codec, frame: bytes) -> None:
    """A header that is missing, cut or contradicts itself raises ValueError."""
    with pytest.raises(ValueError, match=r"\w"):
        read_codestream(codec, frame)


@pytest.mark.parametrize("field", [36, 37, 38])
def test_unequal_components_are_refused(field: int) -> None:
    """JPEG 2000 components of different precision or size have no native form (PS3.5 8.2.4)."""
    frame = bytearray(j2k(COLOUR))
    frame[6 + field] += 1
    with pytest.raises(ValueError, match="differ"):
        read_codestream(Codec.JPEG_2000, bytes(frame))


@pytest.mark.parametrize(
    ("codec", "frame"),
    [
        (Codec.JPEG, jpeg(components=PLAIN)),
        (Codec.JPEG_LS, bytes(imagecodecs.jpegls_encode(GREY))),
        (Codec.JPEG_2000, j2k(GREY)),
        (Codec.JPEG_2000, bytes(imagecodecs.jpeg2k_encode(GREY, level=0, codecformat="jp2"))),
        (Codec.JPEG_XL, jxl(GREY)),
    ],
)
def test_the_first_bytes_tell_a_frame(codec: Codec, frame: bytes) -> None:
    """A fragment that starts a frame is known from one that goes on with it."""
    assert starts_frame(codec, frame[:12])
    assert not starts_frame(codec, frame[16:28])


def test_run_lengths_have_no_marker() -> None:
    """RLE and deflated frames cannot be told from the middle of one."""
    assert set(Codec) - set(MARKED) == {Codec.RLE, Codec.DEFLATED_FRAME, Codec.UNCOMPRESSED}


@given(st.sampled_from(MARKED), st.binary(max_size=120), st.integers(0, 3))
def test_any_bytes_are_a_header_or_a_value_error(codec: Codec, noise: bytes, start: int) -> None:
    """No bytes, a right start or not, make the reader fail in another way or tell a negative size of JPEG."""
    starts = [b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a"]
    try:
        head = read_codestream(codec, starts[start] + noise)
    except ValueError:
        return
    assert head.samples >= 0
    assert 0 <= head.precision <= 255
