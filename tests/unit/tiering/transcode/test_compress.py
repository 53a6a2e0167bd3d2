"""Data sets compressed without loss: the same samples, the same elements, and a description that fits them."""

from __future__ import annotations

import hashlib
import io
import threading
import tracemalloc

import imagecodecs
import numpy as np
import pytest

from tests.unit.tiering.transcode.building import (
    BIG,
    DEFLATED,
    DEFLATED_FRAMES,
    ENCODERS,
    EXPLICIT,
    IDENTITY,
    IMPLICIT,
    JPEG_SV1,
    RLE,
    UNCOMPRESSED,
    Module,
    Samples,
    converted,
    element,
    fragments,
    image,
    jpeg_lossless,
    pixels,
    rle,
    sequence,
    us,
)
from tests.unit.tiering.transcode.compressing import FREE, J2K, JPEG_LS, RPCL, SEALED, WORTH, compressed, native, smooth
from tiering.transcode import compress
from tiering.transcode.codestream import read_codestream
from tiering.transcode.syntaxes import Codec

EVERY = pytest.mark.parametrize("uid", SEALED)
GREY = smooth(3, 65, 77)
COLOUR = smooth(40, 31, 3, dtype="u1", bits=8)
SIGNED = smooth(64, 65, dtype="i2")


def codestream(data: bytes) -> bytes:
    """Return what stands in the first fragment behind an offset table of one frame."""
    at = data.index(b"\xe0\x7f\x10\x00OB") + 12 + 12
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    return data[at + 8 : at + 8 + length]


@EVERY
@pytest.mark.parametrize(
    ("samples", "stored"),
    [
        (GREY[0], 12),
        (SIGNED, 12),
        (smooth(64, 64, dtype="i2", bits=16), 16),
        (smooth(64, 64, dtype="u2", bits=16), 16),
        (smooth(63, 64, dtype="u2", bits=7), 7),
        (smooth(64, 64, dtype="u1", bits=5), 5),
        (smooth(64, 64, dtype="i1", bits=8), 8),
    ],
    ids=lambda value: value.dtype.name if isinstance(value, np.ndarray) else str(value),
)
def test_samples_of_every_width_come_back(uid: str, samples: Samples, stored: int) -> None:
    """Signed, unsigned, of few bits and of many: converting back gives the data set that was compressed."""
    dataset = native(Module(samples, bits_stored=stored, signed=samples.dtype.kind == "i"))
    result = compressed(dataset, uid=uid)
    assert result.native == dataset
    assert np.array_equal(result.found.pixel_array, samples)


@EVERY
def test_frames_are_sealed_one_by_one(uid: str) -> None:
    """Each frame is one fragment, and the Basic Offset Table points at it."""
    result = compressed(native(Module(GREY, frames=3, bits_stored=12)), uid=uid)
    value = result.found.PixelData
    table = np.frombuffer(value[8:20], "<u4")
    lengths = [int.from_bytes(value[20 + offset + 4 : 20 + offset + 8], "little") for offset in table]
    assert int.from_bytes(value[4:8], "little") == 12
    assert list(table) == [0, lengths[0] + 8, lengths[0] + lengths[1] + 16]
    assert np.array_equal(result.found.pixel_array, GREY)
    assert result.facts.frames == 3


@EVERY
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_keeps_its_interpretation(uid: str, photometric: str) -> None:
    """Inverted pictures stay inverted: their samples are what is stored."""
    found = compressed(native(Module(GREY[0], bits_stored=12, photometric=photometric)), uid=uid).found
    assert found.PhotometricInterpretation == photometric
    assert "PlanarConfiguration" not in found


@pytest.mark.parametrize(("uid", "stated"), [(RPCL, "YBR_RCT"), (J2K, "YBR_RCT"), (JPEG_LS, "RGB")])
def test_colours_say_what_the_codec_made_of_them(uid: str, stated: str) -> None:
    """RGB becomes YBR_RCT where the codestream transforms the components, and RGB again when converted back."""
    dataset = native(Module(COLOUR))
    result = compressed(dataset, uid=uid)
    assert result.found.PhotometricInterpretation == stated
    assert result.native == dataset


@EVERY
def test_luminance_and_chrominance_are_not_transformed(uid: str) -> None:
    """YBR_FULL stays YBR_FULL, sample for sample."""
    dataset = native(Module(COLOUR, photometric="YBR_FULL"))
    result = compressed(dataset, uid=uid)
    assert result.found.PhotometricInterpretation == "YBR_FULL"
    assert result.native == dataset
    if uid != JPEG_LS:
        frame = codestream(result.data)
        assert frame[frame.index(b"\xff\x52") + 8] == 0


@EVERY
def test_planes_are_put_together(uid: str) -> None:
    """Colours by plane come out by pixel, and Planar Configuration says so."""
    planes = np.ascontiguousarray(np.moveaxis(COLOUR, -1, 0))
    module = Module(COLOUR, planar=1).encode()
    result = compressed(IDENTITY + module + element(0x7FE00010, "OB", planes.tobytes()), uid=uid)
    assert result.found.PlanarConfiguration == 0
    assert result.native == native(Module(COLOUR))
    assert result.facts == compressed(native(Module(COLOUR)), uid=uid).facts


@pytest.mark.parametrize("source_uid", [UNCOMPRESSED, DEFLATED_FRAMES])
def test_planes_of_raw_frames_are_put_together(source_uid: str) -> None:
    """Frames encapsulated as they are keep their planes; compressed they do not."""
    planes = np.ascontiguousarray(np.moveaxis(COLOUR, -1, 0))
    source = IDENTITY + Module(COLOUR, planar=1).encode() + fragments([ENCODERS[source_uid](planes)])
    result = compressed(source, source_uid=source_uid, policy=FREE)
    assert result.found.PlanarConfiguration == 0
    assert result.native == native(Module(COLOUR))


def test_a_missing_planar_configuration_is_filled_in() -> None:
    """Colours that do not say how they lie get Planar Configuration 0, as colours have to."""
    assert compressed(native(Module(COLOUR, planar=None))).found.PlanarConfiguration == 0


@pytest.mark.parametrize("uid", [J2K, JPEG_LS])
def test_palette_indexes_are_carried(uid: str) -> None:
    """The indexes of a palette stay, where the standard lists palettes."""
    dataset = native(Module(GREY[0], bits_stored=12, photometric="PALETTE COLOR"))
    assert compressed(dataset, uid=uid).native == dataset


@EVERY
def test_the_rest_of_the_data_set_stays(uid: str) -> None:
    """Every element but the pixel data is byte for byte what it was, before them and behind."""
    before = IDENTITY + element(0x00281050, "DS", b"40")
    behind = element(0xFFFCFFFC, "OB", bytes(10))
    dataset = native(Module(GREY[0], bits_stored=12), before=before, behind=behind)
    result = compressed(dataset, uid=uid)
    cut = dataset.index(b"\xe0\x7f\x10\x00OW")
    assert result.data[:cut] == dataset[:cut]
    assert result.data.endswith(behind)
    assert result.found["PixelData"].VR == "OB"
    assert result.found.SOPInstanceUID == "1.2.826.0.1"


@pytest.mark.parametrize("source_uid", [IMPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("samples", [GREY[0], SIGNED, COLOUR, smooth(5, 5, dtype="u1", bits=3)])
def test_every_native_encoding_is_read(source_uid: str, samples: Samples) -> None:
    """Implicit, big endian and deflated data sets seal to what the explicit one does."""
    dataset = native(Module(samples, signed=samples.dtype.kind == "i"))
    expected = compressed(dataset, policy=FREE)
    found = compressed(converted(dataset, EXPLICIT, source_uid), source_uid=source_uid, policy=FREE)
    assert found.data == expected.data
    assert found.facts.pixel_sha256 == expected.facts.pixel_sha256


def test_words_of_two_small_samples_are_swapped() -> None:
    """Big endian OW of eight bits swaps over the edges of frames with an odd number of bytes."""
    frames = smooth(3, 33, 35, dtype="u1", bits=8)
    value = np.frombuffer(frames.tobytes() + b"\0", "<u2").byteswap().tobytes()
    module = converted(Module(frames, frames=3).encode(), EXPLICIT, BIG)
    dataset = module + element(0x7FE00010, "OW", value, order=">")
    assert np.array_equal(compressed(dataset, source_uid=BIG).found.pixel_array, frames)


@EVERY
@pytest.mark.parametrize("source_uid", [RLE, JPEG_SV1])
def test_compressed_sources_are_decoded_first(uid: str, source_uid: str) -> None:
    """Lossless sources go through their decoder, and have the digest of the native data set."""
    encode = rle if source_uid == RLE else jpeg_lossless
    noisy = image(3, 60, 60, top=4095)
    module = Module(noisy, frames=3, bits_stored=12)
    source = IDENTITY + module.encode() + fragments([encode(frame) for frame in noisy])
    result = compressed(source, uid=uid, source_uid=source_uid, policy=FREE)
    assert np.array_equal(pixels(result.native), noisy)
    assert result.facts.pixel_sha256 == hashlib.sha256(noisy.tobytes()).hexdigest()


@pytest.mark.parametrize("source_uid", [EXPLICIT, RLE])
def test_icons_become_native(source_uid: str) -> None:
    """Pixel data of a sequence item are native afterwards, whatever they were."""
    icon = image(8, 8, dtype="u1")
    content = element(0x7FE00010, "OB", icon.tobytes()) if source_uid == EXPLICIT else fragments([rle(icon)])
    before = IDENTITY + sequence(0x00880200, Module(icon).encode() + content)
    body = native(Module(GREY[0], bits_stored=12), before=before)
    if source_uid == RLE:
        body = before + Module(GREY[0], bits_stored=12).encode() + fragments([rle(GREY[0])])
    found = compressed(body, source_uid=source_uid).found
    assert found.IconImageSequence[0].PixelData == icon.tobytes()
    assert np.array_equal(found.pixel_array, GREY[0])


@EVERY
@pytest.mark.parametrize("signed", [False, True])
def test_the_codestream_agrees_with_bits_stored(uid: str, signed: bool) -> None:
    """PS3.5 8.2.4: the precision of the codestream is Bits Stored, and its sign Pixel Representation."""
    samples = SIGNED if signed else GREY[0]
    frame = codestream(compressed(native(Module(samples, bits_stored=12, signed=signed)), uid=uid).data)
    codec = Codec.JPEG_LS if uid == JPEG_LS else Codec.JPEG_2000
    assert read_codestream(codec, frame).precision == 12
    if uid != JPEG_LS:
        assert frame[42] == (0x80 if signed else 0) + 11


@pytest.mark.parametrize(("shape", "levels"), [((64, 64), 5), ((20, 3000), 5), ((2049, 2100), 6), ((1, 1), 5)])
def test_rpcl_is_what_its_transfer_syntax_asks(shape: tuple[int, int], levels: int) -> None:
    """PS3.5 10.18.1: RPCL, a TLM marker, a base resolution of at most 64; and a tile-part for each resolution."""
    frame = codestream(compressed(native(Module(smooth(*shape))), policy=FREE if shape == (1, 1) else WORTH).data)
    style = frame[frame.index(b"\xff\x52") + 4 :]
    assert style[1] == 2
    assert style[5] == levels
    assert min(shape) / 2**levels <= 64
    lengths = frame[frame.index(b"\xff\x55") :]
    assert int.from_bytes(lengths[2:4], "big") == 4 + 6 * (levels + 1)
    assert frame.count(b"\xff\x90\x00\x0a") == levels + 1


def test_facts_tell_what_was_done() -> None:
    """Sizes, ratio, digest and the two libraries are what they are."""
    result = compressed(native(Module(GREY, frames=3, bits_stored=12)))
    facts = result.facts
    assert facts.pixel_sha256 == hashlib.sha256(GREY.tobytes()).hexdigest()
    assert facts.native_bytes == facts.stored_bytes == GREY.nbytes
    assert facts.compressed_bytes == len(result.found.PixelData) - 20
    assert facts.ratio == facts.native_bytes / facts.compressed_bytes
    assert (facts.codec, facts.decoder) == ("openjph", "openjpeg")
    assert f"openjph {facts.codec_version}" == imagecodecs.htj2k_version()
    assert f"openjpeg {facts.decoder_version}" == imagecodecs.jpeg2k_version()


def test_what_lies_around_is_left_alone() -> None:
    """Reading starts where the source stands, writing where the target stands."""
    dataset = native(Module(GREY[0], bits_stored=12))
    source, target = io.BytesIO(b"head" + dataset), io.BytesIO()
    source.seek(4)
    target.write(b"meta")
    compress(source, source_uid=EXPLICIT, target=target)
    assert target.getvalue() == b"meta" + compressed(dataset).data
    assert target.tell() == len(target.getvalue())


def test_an_extended_table_points_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixel data a Basic Offset Table cannot span get an Extended one, and an empty basic one."""
    expected = compressed(native(Module(GREY, frames=3, bits_stored=12)))
    monkeypatch.setattr("tiering.transcode.encapsulate.BASIC_TABLE_LIMIT", GREY.nbytes // 2)
    result = compressed(native(Module(GREY, frames=3, bits_stored=12)))
    found = result.found
    offsets = np.frombuffer(found.ExtendedOffsetTable, "<u8")
    lengths = np.frombuffer(found.ExtendedOffsetTableLengths, "<u8")
    assert list(offsets) == [0, lengths[0] + 8, lengths[0] + lengths[1] + 16]
    assert found.PixelData[:8] == b"\xfe\xff\x00\xe0\0\0\0\0"
    assert found.PixelData[8:] == expected.found.PixelData[20:]
    assert np.array_equal(found.pixel_array, GREY)
    assert result.native == expected.native


@EVERY
def test_many_threads_may_compress(uid: str) -> None:
    """Compressing from several threads at once gives each its own right answer."""
    datasets = [native(Module(smooth(64, 64 + at), bits_stored=12)) for at in range(8)]
    expected = [compressed(dataset, uid=uid).data for dataset in datasets]
    found: dict[tuple[int, int], bytes] = {}

    def work(thread: int) -> None:
        for at, dataset in enumerate(datasets):
            found[thread, at] = compressed(dataset, uid=uid).data

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {(thread, at): expected[at] for thread in range(4) for at in range(8)}


def test_memory_is_bounded_by_a_frame() -> None:
    """Forty frames take no more memory than a few do."""
    frames = np.broadcast_to(smooth(256, 256), (40, 256, 256))
    source = io.BytesIO(native(Module(frames, frames=40)))
    target = io.BytesIO(bytes(len(source.getvalue())))
    tracemalloc.start()
    compress(source, source_uid=EXPLICIT, target=target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * frames[0].nbytes


def test_smallest_pictures_are_carried() -> None:
    """One pixel, one row and one column keep their samples when size does not matter."""
    for shape in ((1, 1), (1, 40), (40, 1)):
        samples = smooth(*shape)
        extra = {0x00281101: us(0x00281101, 1)}
        assert np.array_equal(pixels(compressed(native(Module(samples, extra=extra)), policy=FREE).native), samples)
