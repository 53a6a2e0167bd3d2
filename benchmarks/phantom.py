"""A seeded CT phantom, realistic enough to compress like a CT; must not resemble any real person.

``python -m benchmarks.phantom --out DIR [--slices 600] [--seed 1] [--side 512] [--frames 4096]``
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.phantom_header import Subject, ct_header, multi_frame_header

Plane = NDArray[np.float32]
VERSION = 1  # part of the cache's name: raise it when the phantom's bytes change
SMALL_SIDE = 136  # 136 * 136 * 2 bytes and the header make 40 kB
_DISTINCT_FRAMES = 64
_NOISE_HU = 27.0


@dataclass(frozen=True, slots=True)
class Ellipse:
    """One organ cut by a slice: centre and half axes in parts of the image's side, value in Hounsfield units."""

    x: float
    y: float
    width: float
    height: float
    value: float


def _organs(z: float) -> Iterator[Ellipse]:
    """Yield the organs of the slice at ``z`` (0 shoulders, 1 pelvis), painted in this order."""
    breath = 0.5 + 0.5 * np.cos(np.pi * z)
    girth = 0.36 + 0.05 * np.sin(2.3 * z + 0.4)
    yield Ellipse(0.5, 0.5, girth + 0.03, 0.28, -105)
    yield Ellipse(0.5, 0.5, girth, 0.25, 48)
    lung = max(0.0, 0.17 * np.sin(np.pi * min(1.0, 0.1 + z * 1.3)))
    for side in (-1, 1):
        yield Ellipse(0.5 + side * 0.18, 0.48, 0.85 * lung, 1.15 * lung, -845)
    yield Ellipse(0.53 + 0.03 * z, 0.43, 0.04 + 0.06 * np.sin(np.pi * z), 0.05 + 0.06 * breath, 62)
    yield Ellipse(0.38, 0.46, 0.15 * max(0.0, z - 0.35), 0.2 * max(0.0, z - 0.35), 105)
    yield Ellipse(0.64, 0.45, 0.09 * max(0.0, z - 0.45), 0.12 * max(0.0, z - 0.45), 120)
    yield Ellipse(0.48, 0.62, 0.022, 0.023, 290)
    yield Ellipse(0.5, 0.67, 0.05, 0.045, 620)
    yield Ellipse(0.5, 0.67, 0.041, 0.036, 230)
    yield Ellipse(0.5, 0.725, 0.015, 0.013, 25)
    yield Ellipse(0.5, 0.76, 0.012, 0.03, 540)


def _ribs(z: float, girth: float = 0.345) -> Iterator[Ellipse]:
    """Yield the ribs, which slope and so walk round the chest from slice to slice."""
    for number in range(12):
        angle = 2 * np.pi * (number / 12 + 0.35 * z)
        reach = 0.5 + girth * np.cos(angle), 0.5 + 0.225 * np.sin(angle)
        yield Ellipse(*reach, 0.022, 0.011, 700)
        yield Ellipse(*reach, 0.015, 0.006, 320)


def _vessels(seed: int, z: float, count: int = 160) -> Iterator[Ellipse]:
    """Yield the lung's vessels: tubes that drift through the slices, each visible for a part of them."""
    rng = np.random.default_rng([seed, 0x7E55E1])
    table = rng.random((count, 6))
    for start, x, y, slope, size, turn in table:
        along = z - start
        if abs(along) < 0.12:
            side = 0.32 if turn < 0.5 else 0.68
            radius = 0.002 + 0.006 * size
            across = side + 0.18 * (x - 0.5) + (slope - 0.5) * along
            yield Ellipse(across, 0.36 + 0.24 * y + (turn - 0.5) * along, radius, radius, 40)


def _paint(image: Plane, organ: Ellipse) -> None:
    """Blend ``organ`` into ``image`` with an edge two pixels wide, working in its bounding box only."""
    side = image.shape[0]
    centre_x, centre_y = organ.x * side, organ.y * side
    half_x, half_y = organ.width * side, organ.height * side
    if min(half_x, half_y) < 0.5:
        return
    rows = np.arange(max(0, int(centre_y - half_y) - 2), min(side, int(centre_y + half_y) + 3), dtype=np.float32)
    columns = np.arange(max(0, int(centre_x - half_x) - 2), min(side, int(centre_x + half_x) + 3), dtype=np.float32)
    if not rows.size or not columns.size:
        return
    distance = ((rows - centre_y) / half_y)[:, None] ** 2 + ((columns - centre_x) / half_x)[None, :] ** 2
    weight = np.clip((1 - distance) * (min(half_x, half_y) / 4) + 0.5, 0, 1)
    box = image[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    box += weight * (organ.value - box)


def _smooth(plane: Plane) -> Plane:
    """Return ``plane`` filtered with 1-2-1 in both directions, edges wrapped."""
    once = 0.5 * plane + 0.25 * (np.roll(plane, 1, 0) + np.roll(plane, -1, 0))
    return np.asarray(0.5 * once + 0.25 * (np.roll(once, 1, 1) + np.roll(once, -1, 1)), dtype=np.float32)


def scanner_noise(rng: np.random.Generator, side: int) -> Plane:
    """Return noise of unit deviation with the grain of a reconstructed slice: neighbours resemble each other."""
    white = rng.standard_normal((side, side), dtype=np.float32)
    grain = white + 1.4 * _smooth(white)
    return np.asarray(grain / grain.std(), dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _geometry(side: int) -> tuple[NDArray[np.bool_], Plane]:
    """Return which pixels lie in the field of view, and how much noise each bears (most at the centre)."""
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / (side / 2)
    radius = axis[:, None] ** 2 + axis[None, :] ** 2
    return radius <= 1, np.asarray(_NOISE_HU * (1.25 - 0.7 * np.minimum(radius, 1)), dtype=np.float32)


def slice_pixels(seed: int, z: float, number: int, side: int = 512) -> NDArray[np.uint16]:
    """Return one slice as stored values (Hounsfield + 1024, 12 bits), the same for the same arguments."""
    image = np.full((side, side), -1000, dtype=np.float32)
    for organ in (*_organs(z), *_ribs(z), *_vessels(seed, z)):
        _paint(image, organ)
    _paint(image, Ellipse(0.5, 0.83, 0.3, 0.012, -350))
    inside, strength = _geometry(side)
    image = _smooth(image) + scanner_noise(np.random.default_rng([seed, number]), side) * strength
    stored = np.clip(np.rint(image + 1024), 0, 4095)
    return np.where(inside, stored, 0).astype(np.uint16)


def write_series(folder: Path, subject: Subject, slices: int) -> None:
    """Write ``slices`` Part 10 files, named so that their order by name is the order of the slices."""
    for number in range(1, slices + 1):
        pixels = slice_pixels(subject.seed, number / slices, number, subject.side)
        content = ct_header(subject, number) + pixels.astype("<u2").tobytes()
        (folder / f"IM{number:05d}.dcm").write_bytes(content)


def write_multi_frame(folder: Path, subject: Subject, frames: int) -> None:
    """Write one object of ``frames`` frames without ever holding more than a few; no two frames are alike."""
    base = [slice_pixels(subject.seed, i / _DISTINCT_FRAMES, i, subject.side) for i in range(_DISTINCT_FRAMES)]
    with (folder / "multi-frame.dcm").open("wb") as target:
        target.write(multi_frame_header(subject, frames))
        for number in range(frames):
            frame = np.roll(base[number % _DISTINCT_FRAMES], 3 * (number // _DISTINCT_FRAMES), 1)
            frame[0, :2] = divmod(number, 4096)
            target.write(frame.astype("<u2").tobytes())


def _cached(name: str, write: Callable[[Path], None]) -> Path:
    """Return the folder ``name`` of the cache, written once by ``write`` and then only read."""
    root = Path(os.environ.get("DRIMBOX_PHANTOM_CACHE", Path(tempfile.gettempdir()) / "drimbox-phantom"))
    folder = root / f"v{VERSION}-{name}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=root, prefix=".unfinished-"))
        try:
            write(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def cached_series(slices: int, *, seed: int = 1, side: int = 512) -> tuple[Path, Subject]:
    """Return the folder of a series of ``slices`` slices, and whom it shows."""
    subject = Subject(seed=seed, side=side)
    return _cached(f"ct-{slices}x{side}-{seed}", lambda folder: write_series(folder, subject, slices)), subject


def cached_small(count: int, *, seed: int = 2) -> tuple[Path, Subject]:
    """Return the folder of ``count`` objects of 40 kB, and whom they show."""
    return cached_series(count, seed=seed, side=SMALL_SIDE)


def cached_multi_frame(frames: int, *, seed: int = 3) -> tuple[Path, Subject]:
    """Return the folder of one multi-frame object of ``frames`` half-MiB frames, and whom it shows."""
    subject = Subject(seed=seed)
    return _cached(f"mf-{frames}-{seed}", lambda folder: write_multi_frame(folder, subject, frames)), subject


def main() -> None:
    """Write one series, or one multi-frame object, into a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phantom", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--frames", type=int, default=0, help="write one object of that many frames instead")
    wanted = parser.parse_args()
    subject = Subject(seed=wanted.seed, side=wanted.side)
    wanted.out.mkdir(parents=True, exist_ok=True)
    if wanted.frames:
        write_multi_frame(wanted.out, subject, wanted.frames)
    else:
        write_series(wanted.out, subject, wanted.slices)


if __name__ == "__main__":
    main()
