"""Packs that were altered, cut, forged or never packs: each is refused, none makes the reader allocate much."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.unit.tiering.packing import SERIES, Forgery, Ranges, hexdigest, pack
from tiering.errors import MalformedPack, PackError, PackMismatch, UnknownPackVersion
from tiering.pack import read_manifest, verify_pack
from tiering.pack_manifest import encode_manifest
from tiering.pack_zip import FORMAT, MAX_MEMBERS, TAIL_BYTES

FILES = b"first instance", b"second", b""
GOOD, WRITTEN = pack(*FILES)


def read(data: bytes) -> None:
    """Read the manifest of a pack."""
    read_manifest(Ranges(data), len(data))


def verify(data: bytes, sha256: str | None = None) -> None:
    """Verify a pack."""
    verify_pack(io.BytesIO(data), sha256=sha256)


@pytest.mark.parametrize("change", [1, 0x20, 0x80, 0xFF])
def test_a_byte_altered_anywhere(change: int) -> None:
    """Whichever byte of a pack is another, in a member, a header, the padding or the end, verifying finds it."""
    for place in range(len(GOOD)):
        altered = bytearray(GOOD)
        altered[place] ^= change
        with pytest.raises(PackError):
            verify(bytes(altered))


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.data())
def test_bytes_altered_in_any_pack(files: list[bytes], data: st.DataObject) -> None:
    """Any run of other bytes is found without a digest of the whole, which finds it too."""
    good, written = pack(*files)
    start = data.draw(st.integers(0, len(good) - 1))
    run = data.draw(st.binary(min_size=1, max_size=len(good) - start))
    altered = good[:start] + run + good[start + len(run) :]
    if altered != good:
        with pytest.raises(PackError):
            verify(altered)
        with pytest.raises(PackError):
            verify(altered, written.sha256)


def test_a_pack_cut_anywhere() -> None:
    """Wherever a pack ends early, reading its manifest says that it is not whole."""
    for size in range(len(GOOD)):
        with pytest.raises(MalformedPack):
            read(GOOD[:size])


@pytest.mark.parametrize("more", [b"\0", b"x" * 70_000, GOOD], ids=["byte", "much", "pack"])
def test_a_pack_with_more_around_it(more: bytes) -> None:
    """Bytes in front of a pack or behind it do not belong to it, though many an unzip would bear with them."""
    for data in (more + GOOD, GOOD + more):
        with pytest.raises(MalformedPack):
            read(data)


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Whatever bytes there are, alone or before the end of a pack, they are refused and nothing else happens."""
    for forged in (data, data + GOOD[-TAIL_BYTES:], data + GOOD[-108:]):
        with pytest.raises(PackError):
            read(forged)


def test_another_zip() -> None:
    """A ZIP file of somebody else is no pack."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as other:
        other.writestr("000001.dcm", b"abc")
    with pytest.raises(MalformedPack, match="another file"):
        read(file.getvalue())


class TestVersions:
    """Formats to come."""

    def test_at_the_end(self) -> None:
        """A pack whose last line names a later format is refused by that name."""
        with pytest.raises(UnknownPackVersion, match=r"has the format drimbox-series-pack/2.* reads .*/1"):
            read(GOOD.replace(b"drimbox-series-pack/1 ", b"drimbox-series-pack/2 "))

    def test_in_the_manifest(self) -> None:
        """So is one whose manifest does."""
        manifest = encode_manifest(SERIES, WRITTEN.members).replace(FORMAT.encode(), b"drimbox-series-pack/7")
        with pytest.raises(UnknownPackVersion, match="drimbox-series-pack/7"):
            read(Forgery.of(*FILES, manifest=manifest).data)


class TestForgedEnds:
    """End records that lie."""

    def test_the_forger_can_make_a_right_pack(self) -> None:
        """What the next tests change is a right pack before they do."""
        assert Forgery.of(*FILES).data == GOOD

    @pytest.mark.parametrize(
        "changes",
        [
            {"count": 0},
            {"count": 1},
            {"count": 3},
            {"count": 5},
            {"count": 0xFFFF},
            {"count": MAX_MEMBERS + 2},
            {"count": 2**63},
            {"offset": 0},
            {"offset": 2**63},
            {"size_bytes": 0},
            {"size_bytes": 0xFFFFFFFE},
            {"size_bytes": 2**63},
        ],
        ids=str,
    )
    def test_counts_sizes_and_places(self, changes: dict[str, int]) -> None:
        """A directory that is elsewhere, larger, or of other members than there are is refused unread."""
        with pytest.raises(MalformedPack):
            read(Forgery.of(*FILES).with_end(**changes).data)

    def test_numbers_whose_sum_is_too_large(self) -> None:
        """A place and a size that only just fit 64 bits are refused as any other."""
        forged = Forgery.of(*FILES).with_end(offset=2**62, size_bytes=2**61).data
        numbers = struct.pack("<2Q", 2**61, 2**62)
        assert numbers in forged
        with pytest.raises(MalformedPack, match="contradict"):
            read(forged.replace(numbers, b"\xff" * 16))

    def test_a_pack_without_an_instance(self) -> None:
        """A pack of a manifest alone, or of nothing at all, is refused: a series has instances."""
        alone = Forgery.containing([], encode_manifest(SERIES, []))
        with pytest.raises(MalformedPack, match="it has 1 members"):
            read(alone.data)
        nothing = replace(alone, body=b"", entries=(), end=replace(alone.end, count=0, offset=0, size_bytes=0))
        with pytest.raises(MalformedPack, match="it has 0 members"):
            read(nothing.data)

    def test_a_huge_count_in_a_huge_object(self) -> None:
        """An object that is said to be enormous, with an enormous directory, costs one small read."""
        end = replace(Forgery.of(*FILES).end, count=2**40, offset=10, size_bytes=2**50).encoded()
        asked: list[int] = []

        def enormous(offset: int, length: int) -> bytes:
            asked.append(length)
            return bytes(length - len(end)) + end

        with pytest.raises(MalformedPack, match=f"it has {2**40} members"):
            read_manifest(enormous, 10 + 2**50 + len(end))
        assert asked == [65536]

    def test_a_large_directory_of_few_members(self) -> None:
        """A directory larger than its members need is not fetched."""
        end = replace(Forgery.of(*FILES).end, count=5, offset=10, size_bytes=2**50).encoded()
        with pytest.raises(MalformedPack, match="larger than its members need"):
            read_manifest(lambda _, length: bytes(length - len(end)) + end, 10 + 2**50 + len(end))

    def test_a_manifest_of_another_digest(self) -> None:
        """The last line of a pack vouches for the manifest."""
        with pytest.raises(PackMismatch, match=r"manifest\.json has another digest"):
            read(Forgery.of(*FILES).with_end(manifest_sha256=hexdigest(b"")).data)


class TestForgedDirectories:
    """Directories that lie."""

    @pytest.mark.parametrize(
        ("place", "changes"),
        [
            (1, {"name": "../etc/shadow"}),
            (1, {"name": "/000002.dcm"}),
            (1, {"name": "000001.dcm"}),
            (1, {"name": "000003.dcm"}),
            (1, {"name": "manifest.json"}),
            (3, {"name": "000004.dcm"}),
            (3, {"name": "manifest.JSON"}),
            (1, {"header_offset": 0}),
            (1, {"header_offset": 64}),
            (1, {"header_offset": 2**40}),
            (1, {"header_offset": 2**64 - 1}),
            (0, {"size_bytes": 15}),
            (0, {"size_bytes": 13}),
            (0, {"size_bytes": 2**40}),
            (0, {"size_bytes": 2**64 - 1}),
            (2, {"size_bytes": 0xFFFFFFFF}),
            (3, {"size_bytes": 0}),
            (3, {"size_bytes": 2**40}),
            (0, {"crc32": 7}),
            (3, {"crc32": 7}),
        ],
        ids=str,
    )
    def test_names_places_and_sizes(self, place: int, changes: dict[str, Any]) -> None:
        """Names that climb or repeat, members that overlap, reach too far or leave gaps are refused."""
        with pytest.raises(PackError):
            read(Forgery.of(*FILES).with_entry(place, **changes).data)

    def test_overlapping_members(self) -> None:
        """Two entries for the same bytes, as a zip bomb has them, are refused by name."""
        forged = Forgery.of(*FILES)
        first = forged.entries[0]
        same = {"header_offset": 0, "size_bytes": first.size_bytes, "crc32": first.crc32}
        with pytest.raises(MalformedPack, match="entry 2 of its directory"):
            read(forged.with_entry(1, **same).data)

    def test_more_behind_the_last_entry(self) -> None:
        """A directory with bytes behind its last entry is refused."""
        forged = Forgery.of(*FILES)
        end = replace(forged.end, size_bytes=forged.end.size_bytes + 4)
        data = forged.data.removesuffix(forged.end.encoded()) + b"more" + end.encoded()
        with pytest.raises(MalformedPack):
            read(data)

    def test_a_gap_before_the_directory(self) -> None:
        """Bytes that belong to no member are refused."""
        forged = Forgery.of(*FILES)
        with pytest.raises(MalformedPack, match="do not fill it"):
            read(replace(forged, body=forged.body + b"gap").with_end(offset=forged.end.offset + 3).data)

    def test_an_enormous_manifest(self) -> None:
        """A manifest beyond what its members can need is not fetched."""
        forged = Forgery.of(*FILES).with_entry(3, size_bytes=2**40)
        forged = forged.with_end(offset=forged.entries[3].end)
        tail = forged.data.removeprefix(forged.body)
        asked: list[int] = []

        def sparse(offset: int, length: int) -> bytes:
            asked.append(length)
            return (bytes(length) + tail)[-length:]

        with pytest.raises(MalformedPack, match=f"its manifest has {2**40} bytes"):
            read_manifest(sparse, forged.end.offset + len(tail))
        assert asked == [65536]


class TestForgedManifests:
    """Manifests whose digest is right and whose content is not."""

    @pytest.mark.parametrize(
        "overrides", [{"offset": 0}, {"length": 13}, {"length": 2**62}, {"crc32": 1}, {"name": "other.dcm"}], ids=str
    )
    def test_other_members_than_the_directory(self, overrides: dict[str, Any]) -> None:
        """A manifest that places or names a member as the directory does not is refused."""
        with pytest.raises(MalformedPack, match="different members"):
            read(Forgery.of(*FILES, **overrides).data)

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"sha256": "0" * 64}, r"000001\.dcm has another digest"),
            ({"dataset_sha256": "0" * 64}, r"000001\.dcm has a data set with another digest"),
            ({"header_size": 3}, r"000001\.dcm has a data set with another digest"),
        ],
    )
    def test_other_digests_than_the_bytes(self, overrides: dict[str, Any], message: str) -> None:
        """A manifest that promises other bytes reads well and does not verify."""
        forged = Forgery.of(*FILES, **overrides).data
        read(forged)
        with pytest.raises(PackMismatch, match=message):
            verify(forged)

    def test_another_crc_than_the_bytes(self) -> None:
        """A CRC-32 on which all agree but the bytes would stop an unzip: it does not verify."""
        forged = Forgery.of(*FILES, crc32=7).with_entry(0, crc32=7).data
        read(forged)
        with pytest.raises(PackMismatch, match=r"000001\.dcm has another digest"):
            verify(forged)

    def test_members_left_out(self) -> None:
        """A member of the directory that the manifest does not have is refused."""
        manifest = encode_manifest(SERIES, WRITTEN.members[:-1])
        with pytest.raises(MalformedPack, match="different members"):
            read(Forgery.of(*FILES, manifest=manifest).data)

    @pytest.mark.parametrize("manifest", [b"", b"{}", b"[" * 100_000, b"\xff", b"null", b'{"format":"\xc3\xa9"}'])
    def test_what_is_no_manifest(self, manifest: bytes) -> None:
        """Whatever the manifest is instead, the pack is refused."""
        with pytest.raises(PackError):
            read(Forgery.of(*FILES, manifest=manifest).data)


class TestReadingThatFails:
    """A store that gives other bytes than it should."""

    def test_too_few_bytes(self) -> None:
        """A range that comes back shorter is told from a pack that is wrong."""
        with pytest.raises(MalformedPack, match=r"bytes came instead of \d+ at \d+"):
            read_manifest(lambda offset, length: GOOD[offset : offset + length - 1], len(GOOD))

    def test_a_failing_store(self) -> None:
        """What the store raises comes through as it is."""

        def fails(offset: int, length: int) -> bytes:
            raise ConnectionError("away")

        with pytest.raises(ConnectionError, match="away"):
            read_manifest(fails, len(GOOD))

    def test_another_digest_of_the_whole(self) -> None:
        """A pack that is right in itself is not the one that was asked for."""
        verify(GOOD, WRITTEN.sha256)
        with pytest.raises(PackMismatch, match="pack has another digest"):
            verify(GOOD, hexdigest(b""))

    @pytest.mark.parametrize("change", [lambda data: data[:-1] + b"x", lambda data: data + b"x", lambda _: b""])
    def test_a_file_that_changes(self, change: Callable[[bytes], bytes]) -> None:
        """A file that is another one when its members are read is found out at its end."""

        class Changing(io.BytesIO):
            def seek(self, offset: int, whence: int = 0) -> int:
                if (offset, whence) == (0, 0):
                    changed = change(self.getvalue())
                    self.truncate(0)
                    super().seek(0)
                    self.write(changed)
                return super().seek(offset, whence)

        with pytest.raises(PackError):
            verify_pack(Changing(pack(b"x" * 70_000)[0]))


def test_little_memory() -> None:
    """Refusing a pack of hostile numbers takes no more memory than reading its end."""
    forged = Forgery.of(*FILES).with_entry(0, size_bytes=2**50).data
    tracemalloc.start()
    try:
        with pytest.raises(MalformedPack):
            read(forged)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
