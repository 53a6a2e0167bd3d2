"""Broken data sets: refused with a TranscodeError, whatever is broken, and never given back by half in silence."""

from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    ENCODERS,
    EXPLICIT,
    IMPLICIT,
    J2K,
    JPEG,
    JPEG_LS,
    JPEG_SV1,
    NATIVE,
    RLE,
    Module,
    compressed,
    converted,
    element,
    fragments,
    image,
    jpeg_lossless,
    raw_deflate,
    sequence,
    shipped,
    us,
)
from tiering.errors import (
    CodecFailed,
    ConversionTooLarge,
    MalformedDataset,
    PixelMismatch,
    TieringError,
    TranscodeError,
    UnsupportedConversion,
)
from tiering.transcode import convert

GREY = image(2, 16, 24, top=4095)
WHOLE = {uid: compressed(Module(GREY, frames=2), [encode(frame) for frame in GREY]) for uid, encode in ENCODERS.items()}
NATIVE_DATA = Module(GREY, frames=2).encode() + element(0x7FE00010, "OW", GREY.tobytes())


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("1.2.840.10008.1.2.4.102", EXPLICIT),
        ("1.2.840.10008.1.2.4.94", EXPLICIT),
        (EXPLICIT, J2K),
        (J2K, J2K),
        ("", ""),
    ],
)
def test_what_cannot_be_converted_is_told_at_once(source: str, target: str) -> None:
    """Video, referenced pixels and compressed targets raise before a byte is read or written."""
    out = io.BytesIO()
    with pytest.raises(UnsupportedConversion) as caught:
        convert(io.BytesIO(b"not looked at"), source_uid=source, target_uid=target, target=out)
    assert (caught.value.fields["source_uid"], caught.value.fields["target_uid"]) == (source, target)
    assert out.getvalue() == b""


@pytest.mark.parametrize("uid", WHOLE)
def test_a_cut_data_set_is_refused_wherever_it_is_cut(uid: str) -> None:
    """No prefix of a compressed data set passes, but one that ends between two elements."""
    data = WHOLE[uid]
    for end in range(1, len(data), 37):
        try:
            converted(data[:end], uid)
        except TranscodeError:
            continue
        assert b"\xe0\x7f\x10\x00" not in data[:end]


@pytest.mark.parametrize("uid", WHOLE)
def test_a_missing_frame_is_noticed(uid: str) -> None:
    """Two frames described and one there, or three: both are refused."""
    frame = ENCODERS[uid](GREY[0])
    for count in (1, 3):
        if count == 3 and uid not in (JPEG_SV1, JPEG_LS, J2K):
            continue
        with pytest.raises(PixelMismatch):
            converted(compressed(Module(GREY, frames=2), [frame] * count), uid)


@pytest.mark.parametrize("uid", NATIVE)
def test_compressed_pixels_in_a_native_syntax_are_refused(uid: str) -> None:
    """A data set that hides fragments behind a native transfer syntax is not passed on as native."""
    data = WHOLE[RLE]
    if uid == DEFLATED:
        data = raw_deflate(data)
    with pytest.raises(TranscodeError):
        converted(data, uid, EXPLICIT if uid != EXPLICIT else IMPLICIT)


def test_pixel_data_too_short_to_be_native_are_refused() -> None:
    """A bare codestream in place of fragments is neither native nor encapsulated."""
    data = Module(GREY[0]).encode() + element(0x7FE00010, "OB", b"\xff\xd8 a bare JPEG \xff\xd9")
    with pytest.raises(PixelMismatch, match="neither encapsulated nor"):
        converted(data, JPEG)


def test_pixels_without_description_are_refused() -> None:
    """Fragments in a data set without Rows cannot be unpacked."""
    with pytest.raises(PixelMismatch, match="absent"):
        converted(fragments([jpeg_lossless(GREY[0])]), JPEG_SV1)


def test_a_broken_icon_breaks_the_conversion() -> None:
    """An icon that does not decode is not dropped."""
    icon = sequence(0x00880200, Module(GREY[0]).encode() + fragments([b"\xff\xd8broken\xff\xd9"]))
    data = Module(GREY[0]).encode() + icon + fragments([jpeg_lossless(GREY[0])])
    with pytest.raises(CodecFailed):
        converted(data, JPEG_SV1)


def test_the_frame_that_fails_is_named() -> None:
    """A failure in the second frame says so."""
    pieces = [ENCODERS[JPEG_LS](GREY[0]), b"\xff\xd8\xff\xf7broken\xff\xd9"]
    with pytest.raises(CodecFailed) as caught:
        converted(compressed(Module(GREY, frames=2), pieces), JPEG_LS)
    assert caught.value.fields["frame"] == 1


def test_a_description_of_terabytes_is_refused() -> None:
    """Sizes that fit no memory or no element end before anything is allocated."""
    data = bytearray(WHOLE[RLE])
    at = data.index(us(0x00280010, 16))
    data[at + 8 : at + 10] = b"\xff\xff"
    at = data.index(us(0x00280011, 24))
    data[at + 8 : at + 10] = b"\xff\xff"
    with pytest.raises(ConversionTooLarge):
        converted(bytes(data), RLE)


def test_no_message_holds_a_value() -> None:
    """What is told of a broken data set names positions and sizes, never what stands in it."""
    secret = element(0x00100010, "PN", b"DUPONT^ZOE")
    for broken in (secret[:-3], secret + element(0x00081140, "SQ", secret), secret + WHOLE[RLE][:-9]):
        with pytest.raises(TranscodeError) as caught:
            converted(broken, RLE)
        assert "DUPONT" not in str(caught.value)
        assert "DUPONT" not in repr(caught.value.fields)


class FullDisk(io.RawIOBase):
    """A target that cannot take what it is given."""

    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_not_the_data_set_s_fault() -> None:
    """Errors of the files pass through as they are: they say nothing of the data set."""
    with pytest.raises(OSError, match="No space"):
        convert(io.BytesIO(NATIVE_DATA), source_uid=EXPLICIT, target_uid=IMPLICIT, target=FullDisk())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["MR_truncated.dcm", "rtplan_truncated.dcm"])
def test_shipped_truncated_files_are_refused(name: str) -> None:
    """Real files whose end is missing raise MalformedDataset."""
    data, uid = shipped(name)
    with pytest.raises(MalformedDataset):
        converted(data, uid, BIG)


def test_a_shipped_damaged_codestream_is_refused() -> None:
    """A JPEG 2000 file whose header was overwritten raises and allocates nothing."""
    data, uid = shipped("JPEG2000-embedded-sequence-delimiter.dcm")
    with pytest.raises(TranscodeError):
        converted(data, uid)


EVERY = {**WHOLE, EXPLICIT: NATIVE_DATA, **{uid: converted(NATIVE_DATA, EXPLICIT, uid) for uid in (IMPLICIT, BIG)}}
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.sampled_from(["set", "cut", "add"])), max_size=6)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(EVERY)), st.sampled_from(NATIVE), CHANGES, st.booleans())
def test_nothing_but_transcode_errors(uid: str, target: str, changes: list[tuple[float, int, str]], head: bool) -> None:
    """Bytes changed, cut out or added anywhere either convert or raise a TranscodeError."""
    data = bytearray(EVERY[uid])
    for place, byte, change in changes:
        at = min(int(place * (200 if head else len(data))), len(data))
        if change == "set":
            data[at : at + 1] = bytes((byte,))
        elif change == "cut":
            del data[at : at + 1 + byte % 8]
        else:
            data[at:at] = bytes((byte,)) * 2
    try:
        converted(bytes(data), uid, target)
    except TieringError as exc:
        assert isinstance(exc, TranscodeError)
