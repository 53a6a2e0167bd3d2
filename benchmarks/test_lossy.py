"""Benchmarks of lossy migration: a sealed CT to a proven cold pack, beside OpenJPEG's bare encoder; ratios by modality.

``DRIMBOX_BENCH_IMAGES`` names a folder of real images for the ratios; without it pydicom's own files are taken.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any, BinaryIO, Final, cast

import pydicom
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from archive.clock import monotonic, utc_now
from archive.part10.meta import Provenance, build_header
from archive.services.lossy_members import derived_header
from benchmarks.conftest import Record, Size
from benchmarks.phantom import cached_series
from benchmarks.processes import memory, peak_rss, reset_peak
from benchmarks.results import OURS, Figure, Target
from benchmarks.rounds import Benchmark
from tiering.disk import OsDisk
from tiering.errors import TranscodeError
from tiering.lossy_series import LossyCodec, LossyMaking, NewHeader, copy_uid, make_lossy
from tiering.lossy_source import HotPackFile, read_series
from tiering.lossy_tables import load_gates, load_rules
from tiering.pack import MemberFacts, PackWriter, SeriesFacts, read_manifest, verify_pack
from tiering.stores.base import digest_of
from tiering.stores.filesystem import FileStore
from tiering.transcode import compress, jpeg2000

_OPENJPEG: Final = "openjpeg"
_TARGETS: Final = (Target(25.0, 60.0), Target(1.0, 3.0, against=_OPENJPEG))
_MEMORY: Final = (Target(96.0, 48.0),)
_SEALED: Final = "1.2.840.10008.1.2.4.202"
_LEVEL_STEP: Final = 0.1
_FEW: Final = 60
_MIB: Final = 1 << 20


@dataclass
class _Series:
    """One series in a hot pack, and the room for what becomes of it."""

    pack: Path
    workspace: Path
    frames: list[NDArray[Any]] = field(default_factory=list)
    bits_stored: int = 16
    packs: int = 0

    @contextmanager
    def opened(self) -> Iterator[HotPackFile]:
        """Lend the hot pack."""
        with self.pack.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            manifest = read_manifest(lambda start, length: _range(file, start, length), size)
            yield HotPackFile("hot", manifest, cast(BinaryIO, file))

    def migrate(self, threads: int = 1, codec: LossyCodec = "htj2k") -> None:
        """Compress with loss, prove every frame, pack, put into a store and read it back to its end."""
        store = FileStore.create(OsDisk(), self.workspace / "cold")
        with self.opened() as hot, tempfile.TemporaryDirectory(dir=self.workspace) as folder:
            (made,) = make_lossy([hot], Path(folder), _making(threads, codec)).packs
            size, digest = made.facts.size_bytes, bytes.fromhex(made.facts.sha256)
            key = f"bench/{self.packs}.zip"
            with made.path.open("rb") as file:
                store.put(key, cast(Any, file), size_bytes=size, sha256=digest)
            assert digest_of(store.read(key)) == (size, digest)
        self.packs += 1

    def judge(self) -> dict[str, Any]:
        """Compress once; return the evidence, the pack proven to its last byte."""
        with self.opened() as hot, tempfile.TemporaryDirectory(dir=self.workspace) as folder:
            made = make_lossy([hot], Path(folder), _making())
            for pack in made.packs:
                with pack.path.open("rb") as file:
                    verify_pack(cast(BinaryIO, file), sha256=pack.facts.sha256)
        body: dict[str, Any] = json.loads(made.evidence["hot"])
        return body

    def level_for(self, ratio: float) -> float:
        """Return the PSNR (dB) with which OpenJPEG compresses the middle frame about so far: it is told no ratio."""
        frame = self.frames[len(self.frames) // 2]
        low, high = 10.0, 120.0
        while high - low > _LEVEL_STEP:
            middle = (low + high) / 2
            is_too_small = frame.nbytes / len(self._written(frame, middle)) > ratio
            low, high = (middle, high) if is_too_small else (low, middle)
        return high

    def encode_bare(self, level: float) -> float:
        """Have OpenJPEG write each frame, and look at none of them; return the ratio."""
        coded = sum(len(self._written(frame, level)) for frame in self.frames)
        return sum(frame.nbytes for frame in self.frames) / coded

    def _written(self, frame: NDArray[Any], level: float) -> bytes:
        return jpeg2000.write(frame, level, bits_stored=self.bits_stored, is_rgb=False)


def _making(threads: int = 1, codec: LossyCodec = "htj2k") -> LossyMaking:
    return LossyMaking(load_rules(), load_gates(), _header, copy_uid, utc_now, threads=threads, codec=codec)


def _range(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _header(original: bytes, new: NewHeader) -> bytes:
    return derived_header(original, **new._asdict())


def _hot_pack(files: Sequence[Path], workspace: Path, *, has_frames: bool = False) -> _Series:
    """Seal the files of a series into a pack, as the archive does."""
    path = Path(tempfile.mkdtemp(dir=workspace)) / "hot.zip"
    with path.open("wb") as target:
        writer = PackWriter(target, series=_facts(files[0]))
        for number, file in enumerate(files, start=1):
            _add(writer, file, number)
        writer.finish()
    series = _Series(path, workspace)
    if has_frames:
        with series.opened() as hot:
            found = read_series([hot])
            series.frames = [found[index].copy() for index in range(len(found))]
            series.bits_stored = found.layout.bits_stored if found.layout else 16
    return series


def _facts(file: Path) -> SeriesFacts:
    ds = dcmread(file, stop_before_pixels=True)
    return SeriesFacts(
        site="bench",
        study_instance_uid=ds.StudyInstanceUID,
        series_instance_uid=ds.SeriesInstanceUID,
        generation=1,
        created_at=utc_now(),
    )


def _add(writer: PackWriter, file: Path, number: int) -> None:
    ds = dcmread(file, stop_before_pixels=True)
    received = str(ds.file_meta.TransferSyntaxUID)
    whole = file.read_bytes()
    native = whole[144 + int.from_bytes(whole[140:144], "little") :]  # behind the file meta group (PS3.10 7.1)
    content, syntax, pixels = native, received, None
    with suppress(TranscodeError):
        target = io.BytesIO()
        source = cast(BinaryIO, io.BytesIO(native))
        pixels = compress(source, source_uid=received, target=cast(BinaryIO, target)).pixel_sha256
        content, syntax = target.getvalue(), _SEALED
    digest = hashlib.sha256(content)
    names = ("BENCH", "DRIMBOX", "127.0.0.1", "bench")
    provenance = Provenance(ds.SOPClassUID, ds.SOPInstanceUID, syntax, *names, utc_now())
    header = build_header(provenance, dataset_sha256=digest.digest(), dataset_size=len(content))
    facts = MemberFacts(
        sop_instance_uid=ds.SOPInstanceUID,
        sop_class_uid=ds.SOPClassUID,
        transfer_syntax_uid=syntax,
        header_size=len(header),
        dataset_sha256=digest.hexdigest(),
        received_sha256=hashlib.sha256(native).hexdigest(),
        received_transfer_syntax_uid=received,
        pixel_sha256=pixels,
        instance_number=number,
    )
    writer.add(facts, lambda: [header + content])


def _phantom(size: Size, workspace: Path) -> tuple[_Series, float]:
    """Return a CT in a hot pack, and how many megabytes of pixels it has."""
    source, shown = cached_series(size.slices)
    series = _hot_pack(sorted(source.rglob("*.dcm")), workspace, has_frames=True)
    return series, len(series.frames) * shown.side**2 * 2 / 1e6


def test_lossy_migration(benchmark: Benchmark, record: Record, size: Size, workspace: Path) -> None:
    """Each frame searched, decoded by another library, measured, packed, put, read back: 25 MB of pixels a second."""
    series, megabytes = _phantom(size, workspace)
    ratio = series.judge()["ratio"]
    level = series.level_for(ratio)  # outside of what is timed
    ours: list[float] = []
    theirs: list[float] = []
    both: list[float] = []

    def bare() -> None:
        theirs.append(_speed(megabytes, lambda: series.encode_bare(level)))
        both.append(_speed(megabytes, lambda: series.migrate(threads=2)))

    def migrate() -> None:
        ours.append(_speed(megabytes, series.migrate))

    rounds = 3 if size.full else 1
    benchmark.pedantic(migrate, setup=bare, teardown=lambda: None, rounds=rounds, iterations=1)
    title = "Lossy migration of a 512² CT, all checks included"
    values = {OURS: ours, _OPENJPEG: theirs, "two threads": both, "as JPEG 2000": [_as_jpeg2000(size, workspace)]}
    used = process_time()
    details = {
        "ratio": series.judge()["ratio"],
        "of processor time": round(megabytes / (process_time() - used), 1),
        "ratio of OpenJPEG": round(series.encode_bare(level), 2),
    }
    record(Figure("lossy", title, "MB/s", values, _TARGETS, higher_is_better=True, details=details))


def _as_jpeg2000(size: Size, workspace: Path) -> float:
    """Return how fast the first slices migrate as JPEG 2000, all checks included, in MB/s."""
    source, shown = cached_series(size.slices)
    files = sorted(source.rglob("*.dcm"))[:_FEW]
    series = _hot_pack(files, Path(tempfile.mkdtemp(dir=workspace)))
    return _speed(len(files) * shown.side**2 * 2 / 1e6, lambda: series.migrate(codec="jpeg2000"))


def _speed(megabytes: float, work: Any) -> float:
    started = monotonic()
    work()
    return megabytes / (monotonic() - started)


def test_lossy_memory(benchmark: Benchmark, record: Record, size: Size, workspace: Path) -> None:
    """A series of any length is compressed in the memory of a few frames."""
    files = sorted(cached_series(size.slices)[0].rglob("*.dcm"))
    series = _hot_pack(files, workspace)
    _hot_pack(files[:2], workspace).judge()  # loads what the first series loads
    pid, rises = os.getpid(), list[float]()

    def migrate() -> None:
        before = memory(pid).rss
        reset_peak(pid)
        series.migrate()
        rises.append(max(peak_rss(pid) - before, 0) / _MIB)

    benchmark.pedantic(migrate, setup=lambda: None, teardown=lambda: None, rounds=1, iterations=1)
    title = "Memory of lossy migration above its start"
    record(Figure("lossy-memory", title, "MiB", {OURS: rises}, _MEMORY, higher_is_better=False))


def _real_series() -> Iterator[tuple[str, list[Path]]]:
    """Yield the modality and the files of every series in the folder of real images."""
    root = Path(os.environ.get("DRIMBOX_BENCH_IMAGES", Path(pydicom.__file__).parent / "data" / "test_files"))
    found: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for path in sorted(root.rglob("*")):
        ds = _identified(path)
        if ds is not None:
            found[str(ds.get("Modality", "")), str(ds.SeriesInstanceUID)][str(ds.SOPInstanceUID)] = path
    for (modality, _), files in sorted(found.items()):
        yield modality, list(files.values())


def _identified(path: Path) -> Dataset | None:
    """Return the identity of a file that can be packed, None for any other."""
    if not path.is_file():
        return None
    with suppress(InvalidDicomError, OSError, ValueError, AttributeError, NotImplementedError, TypeError):
        ds = dcmread(path, stop_before_pixels=True)
        with path.open("rb") as file:
            is_plain = file.read(144)[128:140] == b"DICM\x02\0\0\0UL\x04\0"
        if is_plain and all((ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SOPClassUID)):
            return ds if "TransferSyntaxUID" in ds.file_meta else None
    return None


@dataclass
class _Ratios:
    """What became of the series of one modality; bytes are of lossy series alone."""

    raw: int = 0
    coded: int = 0
    lossy: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def add(self, body: dict[str, Any]) -> None:
        """Count one series."""
        if not body["lossy"]:
            self.why["; ".join(body["reasons"]) if body["cap"] is None else body["why"]] += 1
            return
        self.lossy += 1
        self.raw += body["raw_bytes"]
        self.coded += body["coded_bytes"]


def test_ratios(benchmark: Benchmark, record: Record, workspace: Path) -> None:
    """What real images shrink to under the default rules, by modality, and why others stay."""
    by_modality: dict[str, _Ratios] = defaultdict(_Ratios)

    def run() -> None:
        for modality, files in _real_series():
            with suppress(ValueError):  # identifiers that no pack takes
                by_modality[modality].add(_hot_pack(files, workspace).judge())

    benchmark.pedantic(run, setup=lambda: None, teardown=lambda: None, rounds=1, iterations=1)
    for modality, found in sorted(by_modality.items()):
        if found.lossy:
            details = {"series": found.lossy, "lossless": dict(found.why.most_common(5))}
            title = f"Lossy ratio of real {modality}"
            ratio = {OURS: [found.raw / found.coded]}
            record(Figure(f"lossy-ratio-{modality}", title, ": 1", ratio, details=details))
    assert any(found.lossy for found in by_modality.values())
