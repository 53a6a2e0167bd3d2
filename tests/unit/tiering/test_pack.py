"""Writing a series pack, reading it back and naming it: whatever goes in comes out, for us and for any unzip."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file

import tiering.pack
from tests.unit.tiering.packing import NOON, SERIES, Ranges, facts, hexdigest, pack, pieces, taken_out
from tiering.errors import PackMismatch, PackTooLarge
from tiering.pack import Manifest, PackWriter, SeriesFacts, pack_key, read_manifest, verify_pack
from tiering.pack_manifest import MAX_METADATA_BYTES
from tiering.pack_zip import FORMAT

FILES = st.lists(st.binary(max_size=300), min_size=1, max_size=6)
REAL = "CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtplan.dcm", "SC_rgb_rle_2frame.dcm", "reportsi.dcm"
MIB = 1 << 20


def archivers() -> list[list[str]]:
    """Return the commands that test an archive, as far as they are installed; unzip always is (``./run test``)."""
    seven = next(filter(None, map(shutil.which, ("7z", "7zz", "7za"))), None)
    return [["unzip", "-tq"], *([[seven, "t"]] if seven else [])]


def test_what_any_unzip_needs(tmp_path: Path) -> None:
    """Info-ZIP and, where there is one, 7-Zip find no fault in a pack, and give the instances back."""
    data, _ = pack(b"first", b"", b"x" * 5000)
    path = tmp_path / "pack.zip"
    path.write_bytes(data)
    for command in archivers():
        done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    subprocess.run(["unzip", "-q", path, "-d", tmp_path / "out"], check=True)
    found = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert found.pop("manifest.json").startswith(b'{"format":"drimbox-series-pack/1"')
    assert found == {"000001.dcm": b"first", "000002.dcm": b"", "000003.dcm": b"x" * 5000}


@given(FILES)
def test_python_opens_it(files: list[bytes]) -> None:
    """Python's zipfile gives back every instance in order, then the manifest, all stored, without data descriptors."""
    data, _ = pack(*files)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert [opened.read(info) for info in opened.infolist()[:-1]] == files
        assert opened.namelist() == [f"{number:06d}.dcm" for number in range(1, len(files) + 1)] + ["manifest.json"]
        assert {(info.compress_type, info.flag_bits) for info in opened.infolist()} == {(zipfile.ZIP_STORED, 0)}
        assert opened.comment.startswith(FORMAT.encode())


@given(FILES)
def test_what_goes_in_comes_out(files: list[bytes]) -> None:
    """The manifest read back is what was written, and the range of each member is its whole file."""
    data, written = pack(*files)
    manifest = read_manifest(Ranges(data), len(data))
    assert manifest == Manifest(SERIES, written.members)
    assert [taken_out(data, member) for member in manifest.members] == files
    assert [member.sha256 for member in manifest.members] == [hexdigest(file) for file in files]
    assert all(member.offset % 64 == 0 for member in manifest.members)
    assert verify_pack(io.BytesIO(data), sha256=written.sha256) == manifest


@given(FILES)
def test_the_facts_of_a_pack_are_its_own(files: list[bytes]) -> None:
    """Size and digest are those of the bytes, and the same series packed again is the same bytes."""
    data, written = pack(*files)
    assert (written.size_bytes, written.sha256) == (len(data), hexdigest(data))
    assert pack(*files)[0] == data


def test_real_objects(tmp_path: Path) -> None:
    """Objects of many kinds come out of their pack as they went in, and are read from there as DICOM."""
    paths = [Path(str(get_testdata_file(name, download=False))) for name in REAL]
    with (tmp_path / "pack.zip").open("w+b") as file:
        writer = PackWriter(file, series=SERIES)
        for number, path in enumerate(paths, start=1):
            head = dcmread(path, stop_before_pixels=True)
            size = 144 + head.file_meta["FileMetaInformationGroupLength"].value
            known = facts(number, path.read_bytes(), header_size=size, sop_instance_uid=str(head.SOPInstanceUID))
            writer.add(known, pieces(path.read_bytes(), 1000))
        written = writer.finish()
        manifest = verify_pack(file, sha256=written.sha256)
        for member, path in zip(manifest.members, paths, strict=True):
            file.seek(member.offset)
            data = file.read(member.length)
            assert data == path.read_bytes()
            assert dcmread(io.BytesIO(data)).SOPInstanceUID == member.sop_instance_uid


class TestReadingTheManifest:
    """How much of a pack is read to know what is in it."""

    @pytest.mark.parametrize(("count", "reads"), [(1, 1), (40, 1), (200, 2), (2000, 3)])
    def test_few_reads(self, count: int, reads: int) -> None:
        """One read for a small series, two for a common one, three for a large one: none of an instance."""
        data, written = pack(*[b"x" * 1000] * count)
        ranges = Ranges(data)
        assert len(read_manifest(ranges, len(data)).members) == count
        assert len(ranges.asked) == reads
        last = written.members[-1]
        assert all(offset > last.offset for offset, _ in ranges.asked[1:])

    def test_each_byte_is_read_once(self) -> None:
        """The first read is 64 KiB at most; the next ones take what it did not have."""
        data, _ = pack(*[b""] * 2000)
        ranges = Ranges(data)
        read_manifest(ranges, len(data))
        tail, directory, manifest = ranges.asked
        assert tail == (len(data) - 65536, 65536)
        assert directory[0] + directory[1] < len(data)
        assert manifest[0] + manifest[1] == directory[0]


class TestWriting:
    """What the writer takes, and what it refuses."""

    def test_needs_no_way_back(self) -> None:
        """A file that cannot seek, tell or read is enough: every byte is written once, in order."""

        class Pipe:
            def __init__(self) -> None:
                self.data = bytearray()

            def write(self, data: bytes) -> int:
                self.data += data
                return len(data)

        pipe: Any = Pipe()
        writer = PackWriter(pipe, series=SERIES)
        writer.add(facts(1, b"abc"), pieces(b"abc"))
        writer.finish()
        assert bytes(pipe.data) == pack_of_one(b"abc")

    def test_goes_on_after_a_short_write(self) -> None:
        """A raw file that takes fewer bytes than it was given gets the rest."""

        class Narrow(io.BytesIO):
            def write(self, data: Any) -> int:
                return super().write(memoryview(data)[:7])

        file = Narrow()
        writer = PackWriter(file, series=SERIES)
        writer.add(facts(1, b"abcdefghijk"), pieces(b"abcdefghijk"))
        assert writer.finish().sha256 == hexdigest(file.getvalue())
        assert file.getvalue() == pack_of_one(b"abcdefghijk")

    def test_memory_does_not_grow_with_the_object(self, tmp_path: Path) -> None:
        """An instance of 64 MiB is packed and verified with a few chunks in memory."""
        source = tmp_path / "object"
        source.write_bytes(bytes(range(64)) * MIB)

        def chunks() -> Iterator[bytes]:
            with source.open("rb", buffering=0) as file:
                while chunk := file.read(MIB):
                    yield chunk

        known = replace(facts(1, b""), dataset_sha256=hashlib.file_digest(source.open("rb"), "sha256").hexdigest())
        with (tmp_path / "pack.zip").open("w+b") as file:
            tracemalloc.start()
            try:
                writer = PackWriter(file, series=SERIES)
                writer.add(known, chunks)
                verify_pack(file, sha256=writer.finish().sha256)
                assert tracemalloc.get_traced_memory()[1] < 8 * MIB
            finally:
                tracemalloc.stop()

    def test_one_piece_is_read_once(self) -> None:
        """What fits a chunk is not asked for a second time."""
        calls = []

        def chunks() -> list[bytes]:
            calls.append(1)
            return [b"x" * 1000]

        writer = PackWriter(io.BytesIO(), series=SERIES)
        writer.add(facts(1, b"x" * 1000), chunks)
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ([b"ab", b"cd"], [b"ab", b"cd!"]),
            ([b"ab", b"cd"], [b"ab"]),
            ([b"ab", b"cd"], [b"ab", b"cx"]),
            ([b"\x9d\x0a", b"\xd9\x6d"], [b""]),  # both have the CRC-32 0
        ],
        ids=["longer", "shorter", "other", "of the same CRC-32"],
    )
    def test_bytes_that_change_while_they_are_packed(self, first: list[bytes], second: list[bytes]) -> None:
        """An object that is read differently the second time stops the pack: its header would lie."""
        readings = iter([first, second])
        writer = PackWriter(io.BytesIO(), series=SERIES)
        with pytest.raises(PackMismatch, match=r"000001\.dcm changed while it was packed"):
            writer.add(facts(1, b"".join(first)), lambda: next(readings))
        with pytest.raises(ValueError, match="nothing more"):
            writer.finish()

    def test_takes_nothing_after_an_error(self) -> None:
        """When the object cannot be read half-way, neither another instance nor an end makes a pack of it."""

        def broken() -> Iterator[bytes]:
            yield b"abc"
            raise OSError("the disk is gone")

        writer = PackWriter(io.BytesIO(), series=SERIES)
        with pytest.raises(OSError, match="the disk is gone"):
            writer.add(facts(1, b"abc"), broken)
        with pytest.raises(ValueError, match="nothing more"):
            writer.add(facts(2, b"abc"), pieces(b"abc"))

    def test_takes_nothing_after_the_end(self) -> None:
        """A finished pack is finished."""
        writer = PackWriter(io.BytesIO(), series=SERIES)
        writer.add(facts(1, b"abc"), pieces(b"abc"))
        writer.finish()
        with pytest.raises(ValueError, match="nothing more"):
            writer.add(facts(2, b"abc"), pieces(b"abc"))
        with pytest.raises(ValueError, match="nothing more"):
            writer.finish()

    def test_refuses_an_instance_twice(self) -> None:
        """An instance stands once in a pack; the pack goes on without the second."""
        writer = PackWriter(io.BytesIO(), series=SERIES)
        writer.add(facts(1, b"abc"), pieces(b"abc"))
        with pytest.raises(ValueError, match="in the pack already"):
            writer.add(facts(1, b"abd"), pieces(b"abd"))
        assert len(writer.finish().members) == 1

    def test_refuses_an_empty_series(self) -> None:
        """A pack without an instance is nobody's."""
        with pytest.raises(ValueError, match="at least one"):
            PackWriter(io.BytesIO(), series=SERIES).finish()

    def test_refuses_a_header_larger_than_its_file(self) -> None:
        """The data set cannot begin behind the end of the file."""
        writer = PackWriter(io.BytesIO(), series=SERIES)
        with pytest.raises(ValueError, match="length"):
            writer.add(facts(1, b"abc", header_size=4), pieces(b"abc"))

    @pytest.mark.parametrize("metadata", [{"a": b"bytes"}, {"a": float("nan")}, {"a": {1, 2}}])
    def test_refuses_metadata_that_json_does_not_have(self, metadata: dict[str, Any]) -> None:
        """What the manifest could not hold is refused before a byte is written."""
        file = io.BytesIO()
        with pytest.raises((TypeError, ValueError)):
            PackWriter(file, series=replace(SERIES, metadata=metadata))
        assert file.getvalue() == b""

    def test_refuses_metadata_without_end(self) -> None:
        """A manifest that would not be read back is not begun; the largest metadata are read back."""
        text = "x" * (MAX_METADATA_BYTES - 1000)
        data, _ = pack(b"abc", series=replace(SERIES, metadata={"a": text}))
        assert read_manifest(Ranges(data), len(data)).series.metadata == {"a": text}
        with pytest.raises(PackTooLarge, match="metadata"):
            PackWriter(io.BytesIO(), series=replace(SERIES, metadata={"a": "x" * MAX_METADATA_BYTES}))

    def test_refuses_a_series_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """More instances than a reader takes are not packed."""
        monkeypatch.setattr(tiering.pack, "MAX_MEMBERS", 2)
        writer = PackWriter(io.BytesIO(), series=SERIES)
        for number in (1, 2):
            writer.add(facts(number, b"abc"), pieces(b"abc"))
        with pytest.raises(PackTooLarge, match="more than 2 instances"):
            writer.add(facts(3, b"abc"), pieces(b"abc"))


def pack_of_one(data: bytes) -> bytes:
    """Return a pack of one instance without a header."""
    file = io.BytesIO()
    writer = PackWriter(file, series=SERIES)
    writer.add(facts(1, data), lambda: [data])
    writer.finish()
    return file.getvalue()


class TestKeys:
    """Names of packs."""

    def test_a_key_tells_site_study_series_and_generation(self) -> None:
        """The name is made of what identifies the pack, and a suffix."""
        assert pack_key("main", "1.2", "1.2.3", 4, suffix="0a1b2c") == "main/1.2/1.2.3/000004-0a1b2c.zip"

    @pytest.mark.parametrize("site", ["Clinique Saint-Jean / Nord", "..", "é" * 64, "a/b", "a\\b", "~", "-a", "x" * 65])
    def test_any_site_makes_one_segment(self, site: str) -> None:
        """A site may be called anything: the name stays one short segment that neither climbs nor surprises a store."""
        segment = pack_key(site, "1.2", "1.3", 1, suffix="abcd").removesuffix("/1.2/1.3/000001-abcd.zip")
        assert len(segment) <= 64
        assert segment.replace(".", "-").replace("-", "").replace("_", "").isalnum() and segment[0].isalnum()
        assert segment.isascii()

    @given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
    def test_two_sites_never_share_a_key(self, one: str, other: str) -> None:
        """Sites whose names differ in any character have different keys."""
        keys = {pack_key(site, "1.2", "1.3", 1, suffix="abcd") for site in (one, other)}
        assert len(keys) == len({one, other})

    @pytest.mark.parametrize(
        "changed",
        [
            {"study_instance_uid": "1/2"},
            {"study_instance_uid": ".."},
            {"series_instance_uid": ""},
            {"series_instance_uid": "1." * 32 + "1"},
            {"generation": 0},
            {"suffix": "abc"},
            {"suffix": "ABCD"},
            {"suffix": "../x"},
        ],
    )
    def test_refuses_what_names_nothing(self, changed: dict[str, Any]) -> None:
        """A key that would climb, or might be taken twice, is not made."""
        parts: dict[str, Any] = {
            "study_instance_uid": "1.2",
            "series_instance_uid": "1.3",
            "generation": 1,
            "suffix": "abcd",
        }
        with pytest.raises(ValueError, match="a pack is named by"):
            pack_key("main", **(parts | changed))


def test_the_metadata_come_back() -> None:
    """Whatever JSON has, the manifest brings back, accents and all."""
    metadata = {"patient": {"name": "MOREAU^Hélène", "ids": ["1", None, 2.5, True]}, "\ud800": ""}
    series = SeriesFacts(
        site="Hôpital Nord",
        study_instance_uid="1.2",
        series_instance_uid="1.3",
        generation=12,
        created_at=NOON,
        metadata=metadata,
    )
    data, _ = pack(b"abc", series=series)
    assert read_manifest(Ranges(data), len(data)).series == series
