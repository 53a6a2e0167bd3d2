"""From a hot pack to a lossy one: what is proven on the way, and that a fault anywhere leaves nothing that stands."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from pydicom import Dataset

from tests.phantoms import slice_of
from tests.unit.tiering.hot_packs import copies, hot_pack, image, lossy, making, opened, part10_header
from tests.unit.tiering.transcode.building import RLE
from tiering import lossy_pack, lossy_picture, lossy_series, lossy_source
from tiering.errors import CodecFailed, PackMismatch, PixelMismatch
from tiering.lossy import CodecPair
from tiering.lossy_series import LossyMaking, MadeSeries, NewHeader, make_lossy
from tiering.lossy_source import HotPackFile, read_series
from tiering.lossy_spool import Spool
from tiering.pack import verify_pack
from tiering.transcode import codecs as decoders, derive as deriving
from tiering.transcode.irreversible import SampleFormat


def body_of(made: MadeSeries, key: str = "hot") -> dict[str, Any]:
    """Return the evidence of a pack."""
    found: dict[str, Any] = json.loads(made.evidence[key])
    return found


def stays(folder: Path, made: MadeSeries) -> str:
    """Return why a series stays lossless; nothing of it may lie anywhere."""
    assert made.packs == ()
    assert list(folder.iterdir()) == []
    body = body_of(made)
    assert not body["lossy"]
    return str(body["why"])


def with_codec(monkeypatch: pytest.MonkeyPatch, change: Callable[[CodecPair], CodecPair]) -> None:
    """Have the codecs go wrong."""
    right = lossy_series.htj2k_pair
    monkeypatch.setattr(lossy_series, "htj2k_pair", lambda layout: change(right(layout)))


def many(number: int = 7) -> Dataset:
    """Return a picture of six frames."""
    frames = np.stack([slice_of(frame) for frame in range(1, 7)])
    ds = image(number, frames[0], NumberOfFrames=6, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")
    ds.PixelData = frames.astype("<i2").tobytes()
    return ds


# ---- what is proven ------------------------------------------------------------------------------------------------


def test_every_part_of_a_hot_pack_is_proven_before_it_is_believed(tmp_path: Path) -> None:
    """Whatever bit of a member flips, in its header, its attributes or its pixels: an error, and nothing is written."""
    good = hot_pack([image(1), image(2)])
    good.file.seek(0)
    data = good.file.read()
    member = good.manifest.members[1]
    for place in (140, member.header_size + 10, member.length // 2, member.length - 9):
        rotten = bytearray(data)
        rotten[member.offset + place] ^= 1
        broken = HotPackFile("hot", good.manifest, cast(BinaryIO, io.BytesIO(bytes(rotten))))
        with pytest.raises(PackMismatch, match=member.name):
            lossy(tmp_path, broken)
        assert list(tmp_path.iterdir()) == []


def test_a_pack_that_is_cut_is_an_error(tmp_path: Path) -> None:
    """A short read is no shorter member."""
    good = hot_pack([image(1)])
    good.file.seek(0)
    data = good.file.read()[: good.manifest.members[0].offset + 500]
    with pytest.raises(PackMismatch):
        lossy(tmp_path, HotPackFile("hot", good.manifest, cast(BinaryIO, io.BytesIO(data))))


@pytest.mark.parametrize("make", [lambda: image(1), many], ids=["one frame", "many frames"])
def test_an_original_decoded_otherwise_than_it_was_sealed_stays(tmp_path: Path, make: Callable[[], Dataset]) -> None:
    """The pack is whole, the digest of its pixels is not what the decoder finds: no copy of such a frame."""
    pack = hot_pack([make()], pixel_sha256="ab" * 32)
    assert "not decoded to what was sealed" in stays(tmp_path, lossy(tmp_path, pack))


def test_a_decoder_of_originals_that_is_wrong_in_one_pixel_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sample of one frame: the digest of the sealed pixels tells."""
    right = decoders.unpack_known_frame

    def wrong(*words: Any) -> bytes:
        native = bytearray(right(*words))
        native[5000] ^= 1
        return bytes(native)

    monkeypatch.setattr(lossy_source, "unpack_known_frame", wrong)
    for number, ds in enumerate((image(1), many())):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert "not decoded to what was sealed" in stays(folder, lossy(folder, hot_pack([ds])))


def test_an_original_that_cannot_be_decoded_stays(tmp_path: Path) -> None:
    """It was received so, and goes cold so; the reason is told."""
    from tests.unit.tiering.hot_packs import encapsulated

    ds = encapsulated(image(1), RLE, [b"\x07\0\0\0" + bytes(80)])
    assert "RLE" in stays(tmp_path, lossy(tmp_path, hot_pack([ds], sealed=False)))


def test_samples_above_bits_stored_keep_a_series_lossless(tmp_path: Path) -> None:
    """An overlay in the unused bits would be lost: the frame is named."""
    samples = slice_of(1).astype("i4") + 2048
    samples[3, 3] |= 0x8000
    ds = image(1, samples.astype("u2"))
    assert stays(tmp_path, lossy(tmp_path, hot_pack([ds], sealed=False))).startswith("frame 1: ")


@pytest.mark.parametrize("make", [lambda: image(1), many], ids=["one frame", "many frames"])
def test_the_manifest_has_the_digest_of_the_copy_as_it_decodes(tmp_path: Path, make: Callable[[], Dataset]) -> None:
    """What the second decoder found is what the pack says of the pixels."""
    made = lossy(tmp_path, hot_pack([make()]))
    with made.packs[0].path.open("rb") as file:
        (member,) = verify_pack(file, sha256=made.packs[0].facts.sha256).members
    import hashlib

    (copy,) = copies(made.packs[0].path)
    assert member.pixel_sha256 == hashlib.sha256(copy.pixel_array.tobytes()).hexdigest()


def test_a_second_decoding_that_differs_keeps_a_series_lossless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that changes its mind after the search is not believed."""
    right, is_drawn = lossy_picture.draw, False

    def draw(*words: Any) -> bytes:
        nonlocal is_drawn
        is_drawn = True
        return right(*words)

    def change(pair: CodecPair) -> CodecPair:
        return replace(pair, decode=lambda frame: pair.decode(frame) + np.int16(is_drawn))

    with_codec(monkeypatch, change)
    monkeypatch.setattr(lossy_series, "draw", draw)
    assert "does not decode to what was measured" in stays(tmp_path, lossy(tmp_path, hot_pack([many()])))


def test_a_frame_that_changes_in_the_spool_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is packed is what was measured, or nothing."""
    right = Spool.keep
    monkeypatch.setattr(Spool, "keep", lambda spool, index, frame: right(spool, index, frame[:-9] + b"\0" + frame[-8:]))
    assert "not the one that was measured" in stays(tmp_path, lossy(tmp_path, hot_pack([image(1), image(2)])))


@pytest.mark.parametrize("fault", ["frames", "cut", "flag"])
def test_a_copy_that_does_not_hold_its_frames_is_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The new data set is read as any reader does, before it goes into the pack."""
    right = deriving.derive

    def wrong(*words: Any, target: BinaryIO, **named: Any) -> None:
        whole = io.BytesIO()
        right(*words, target=cast(BinaryIO, whole), **named)
        data = whole.getvalue()
        if fault == "frames":
            data = data.replace(b"\xff\x93", b"\xff\x92")
        elif fault == "cut":
            data = data[:-40]
        else:
            data = data.replace(b"\x28\x00\x10\x21CS\x02\x0001", b"\x28\x00\x10\x21CS\x02\x0000")
        target.write(data)

    monkeypatch.setattr(lossy_pack, "derive", wrong)
    assert stays(tmp_path, lossy(tmp_path, hot_pack([image(1), image(2)])))


def test_codecs_that_return_garbage_leave_it_lossless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoder or decoder, from the start or from some frame on."""
    for name, change in {
        "encoder": lambda pair: replace(pair, encode=lambda *_: b"\xff\x4f\xff\x51" + bytes(900)),
        "decoder": lambda pair: replace(pair, decode=lambda frame: np.zeros_like(pair.decode(frame))),
        "shape": lambda pair: replace(pair, decode=lambda frame: pair.decode(frame)[:-1]),
    }.items():
        with monkeypatch.context() as patch:
            with_codec(patch, change)
            folder = tmp_path / name
            folder.mkdir()
            stays(folder, lossy(folder, hot_pack([image(1), image(2)])))


def test_one_bad_frame_of_the_second_pack_leaves_both_lossless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the first pack stands either."""

    def change(pair: CodecPair) -> CodecPair:
        def decode(frame: bytes) -> Any:
            samples = pair.decode(frame).copy()
            samples[9, 9] += 300 * (samples[:8, :8].mean() > 1500)
            return samples

        return replace(pair, decode=decode)

    with_codec(monkeypatch, change)
    marked = slice_of(4)
    marked[:12, :12] = 2000
    made = lossy(tmp_path, hot_pack([image(1), image(2)], key="a"), hot_pack([image(3), image(4, marked)], key="b"))
    assert stays(tmp_path, MadeSeries(made.packs, {"hot": made.evidence["b"]})).startswith("frame 4: ")
    assert made.evidence["a"] == made.evidence["b"]


# ---- disks that fail -----------------------------------------------------------------------------------------------


class _Full(io.FileIO):
    """A file on a disk that is full after some bytes."""

    def __init__(self, path: Path, room: int) -> None:
        super().__init__(path, "wb")
        self._room = room

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("room", [0, 100, 9000, 30000])
def test_a_full_target_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """The error of the disk comes out; packs that were finished before it are gone too."""
    right, number = Path.open, 0

    def open_(path: Path, mode: str = "r", *words: Any, **named: Any) -> Any:
        nonlocal number
        if mode != "wb":
            return right(path, mode, *words, **named)
        number += 1
        return _Full(path, room) if number == 2 else right(path, mode, *words, **named)

    monkeypatch.setattr(Path, "open", open_)
    first, second = hot_pack([image(1), image(2)], key="a"), hot_pack([image(3)], key="b")
    with pytest.raises(OSError, match="No space"):
        lossy(tmp_path, first, second)
    assert list(tmp_path.iterdir()) == []


def test_a_full_spool_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search needs room too."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "keep", full)
    with pytest.raises(OSError, match="No space"):
        lossy(tmp_path, hot_pack([image(1)]))
    assert list(tmp_path.iterdir()) == []


def test_a_hot_pack_that_goes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """No lossless verdict is made of an error of the disk."""
    pack = hot_pack([image(1), image(2)])
    right, reads = pack.read_at, 0

    def read_at(offset: int, count: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads > 12:
            raise OSError(errno.EIO, "Input/output error")
        return right(offset, count)

    pack.read_at = read_at  # type: ignore[method-assign]
    with pytest.raises(OSError, match="Input/output"):
        lossy(tmp_path, pack)
    assert list(tmp_path.iterdir()) == []


# ---- the parts -----------------------------------------------------------------------------------------------------


def test_the_header_of_a_copy_is_made_of_its_originals(tmp_path: Path) -> None:
    """Whoever makes it gets the original's header, byte for byte, and what the copy's has to say."""
    asked: list[tuple[bytes, NewHeader]] = []

    def header(original: bytes, new: NewHeader) -> bytes:
        asked.append((original, new))
        return part10_header("1.2.840.10008.5.1.4.1.1.2", new.sop_instance_uid, new.transfer_syntax_uid)

    pack = hot_pack([image(1), image(2)])
    made = lossy(tmp_path, pack, make_header=header)
    for (original, new), was, member in zip(asked, pack.manifest.members, made.packs[0].facts.members, strict=True):
        assert original == part10_header(was.sop_class_uid, was.sop_instance_uid, was.transfer_syntax_uid)
        assert new.dataset_sha256.hex() == member.dataset_sha256
        assert new.dataset_size == member.length - member.header_size
        assert (member.derived_from, member.received_sha256) == (was.sop_instance_uid, was.received_sha256)
        assert member.received_transfer_syntax_uid == was.received_transfer_syntax_uid


def test_the_received_size_is_known_without_being_written_down(tmp_path: Path) -> None:
    """An instance that is packed as it was received has its size in the pack itself."""
    pack = hot_pack([image(1)], sealed=False)
    bare = replace(pack.manifest, series=replace(pack.manifest.series, metadata={}))
    made = lossy(tmp_path, HotPackFile("hot", bare, pack.file))
    with made.packs[0].path.open("rb") as file:
        sizes = verify_pack(file).series.metadata["received_sizes"]
    (member,) = pack.manifest.members
    assert list(sizes.values()) == [member.length - member.header_size]


def test_a_frame_belongs_to_one_member() -> None:
    """By its number in the series, across instances of many frames and across packs."""
    source = read_series([hot_pack([image(1), many()], key="a"), hot_pack([image(2)], key="b")])
    assert [len(each.frames) for each in source.members] == [1, 6, 1]
    assert len(source) == 8
    owners = [source.member_of(frame).member.sop_instance_uid for frame in range(8)]
    assert owners == [
        ds.SOPInstanceUID for ds, count in ((image(1), 1), (many(), 6), (image(2), 1)) for _ in range(count)
    ]
    for frame, number in enumerate((1, 1, 2, 3, 4, 5, 6, 2)):
        assert (source[frame] == slice_of(number)).all()


def test_parts_of_a_pack_are_files(tmp_path: Path) -> None:
    """Any thread may read any part, from any place, and never beyond it."""
    pack = hot_pack([image(1), image(2)])
    member = pack.manifest.members[0]
    part = pack.dataset(member)
    whole = part.read()
    assert len(whole) == member.length - member.header_size
    other = pack.dataset(pack.manifest.members[1])
    part.seek(100)
    assert other.read(10) == pack.dataset(pack.manifest.members[1]).read(10)
    assert part.read(10) == whole[100:110]
    assert part.seek(-5, io.SEEK_END) == len(whole) - 5
    assert part.read() == whole[-5:]
    assert part.read(1) == b""
    part.seek(3)
    assert part.seek(2, io.SEEK_CUR) == 5
    assert part.tell() == 5


def test_the_spool_gives_the_last_frame_of_each_number(tmp_path: Path) -> None:
    """And refuses one with another digest than is asked for."""
    import hashlib

    with (tmp_path / "spool").open("w+b") as file:
        spool = Spool(file)
        for index, frame in ((0, b"one"), (1, b"two"), (0, b"three")):
            spool.keep(index, frame)
        assert (spool.length(0), spool.length(1)) == (5, 3)
        assert spool.read(0, hashlib.sha256(b"three").hexdigest()) == b"three"
        assert spool.read(1, hashlib.sha256(b"two").hexdigest()) == b"two"
        with pytest.raises(PixelMismatch, match="not the one"):
            spool.read(0, hashlib.sha256(b"one").hexdigest())


def test_a_series_without_a_gate_stays(tmp_path: Path) -> None:
    """A cap alone lets nothing through."""
    usual = making()
    bare = LossyMaking(usual.rules, replace(usual.gates, gates={}), usual.make_header, usual.new_uid, usual.now)
    assert stays(tmp_path, make_lossy([hot_pack([image(1)])], tmp_path, bare)) == "its modality has no gate"


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [True, False])
def test_known_frames_are_decoded_as_unknown_ones(bits: int, signed: bool) -> None:
    """OpenJPH and OpenJPEG agree on every sealed frame, whatever its bits and sign."""
    low = -(1 << bits - 1) if signed else 0
    kind = f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    ramp = np.linspace(low, low + (1 << bits) - 1, 61 * 77).round()
    samples = ramp.reshape(61, 77).astype(kind)
    ds = image(1, samples, BitsStored=bits, HighBit=bits - 1, Modality="MR")
    source = read_series([hot_pack([ds])])
    (member,) = source.members
    assert member.is_known
    assert member.layout == SampleFormat(8 if bits == 8 else 16, bits, signed, 1, "MONOCHROME2")
    assert (source[0] == samples).all()
    unknown = replace(member, member=replace(member.member, pixel_sha256=None))
    assert (unknown.read(0) == source[0]).all()


def test_a_known_frame_that_is_damaged_is_refused() -> None:
    """As by the other decoder: an error, never other samples without a word."""
    source = read_series([hot_pack([image(1)])])
    (member,) = source.members
    with pytest.raises(CodecFailed):
        decoders.unpack_known_frame(member.picture, b"\xff\x4f\xff\x51\0\x2f" + bytes(45) + b"\xff\x50", 0)


def test_opened_packs_have_their_key() -> None:
    """The evidence is filed under it."""
    pack = hot_pack([image(1)], key="some")
    pack.file.seek(0)
    assert opened(pack.file.read(), "other").key == "other"
    assert pack.key == "some"
