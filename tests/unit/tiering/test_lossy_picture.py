"""The picture shows a frame and its worst place in three panels of bounded size; the difference is what differs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.phantoms import slice_of
from tiering.lossy_picture import LIMIT_BYTES, Shown, draw
from tiering.quality import measure

HEAD, GAP, SIDE = 44, 8, 512


def picture(original: NDArray[Any], copy: NDArray[Any], **shown: Any) -> NDArray[np.uint8]:
    """Draw; return the picture's pixels."""
    said = Shown(window=None, frame="1 / 1", ratio=7.3, metrics=measure(original, copy), unit="HU")
    png = draw(original, copy, replace(said, **shown))
    assert len(png) <= LIMIT_BYTES
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image)


def rows(pixels: NDArray[np.uint8], side: int = SIDE) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Return the panels of both rows, of a picture whose upper panels are squares of a side."""
    left = [GAP + number * (side + GAP) for number in range(3)]
    upper = [pixels[HEAD : HEAD + side, start : start + side] for start in left]
    below = HEAD + side + GAP
    return upper, [pixels[below:-GAP, start : start + 256] for start in left]


def changed(samples: NDArray[Any], row: int, column: int, by: int = 7) -> NDArray[Any]:
    """Return a frame that differs in one pixel."""
    copy = samples.copy()
    copy[row, column] += by
    return copy


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (16, 16), (128, 128), (512, 512), (2000, 1700), (90, 3000)])
def test_it_fits_whatever_the_size(shape: tuple[int, int]) -> None:
    """Small frames, large ones, flat and upright: bounded in bytes and in pixels."""
    samples = np.random.default_rng(1).integers(-1000, 3000, shape).astype("i2")
    pixels = picture(samples, samples + np.int16(1))
    assert pixels.shape[1] <= 3 * (SIDE + GAP) + GAP
    assert pixels.shape[0] <= HEAD + SIDE + 256 + 2 * GAP


def test_the_same_frame_has_no_difference() -> None:
    """Where nothing differs all is grey; the copy looks like the original."""
    samples = slice_of(1, size=256)
    (first, second, third), (near, other, _) = rows(picture(samples, samples.copy()))
    assert (first == second).all()
    assert (near == other).all()
    assert np.median(third) == 128


def test_the_largest_difference_is_white_and_enlarged() -> None:
    """Where it is in the frame, and in the middle of the lower row, each pixel a square of four."""
    samples = slice_of(1, size=512, noise=0)
    (_, _, third), (_, _, near) = rows(picture(samples, changed(samples, 300, 200)))
    assert third[300, 200] == 255
    assert (near == 255).sum() == 16
    assert near[32 * 4, 32 * 4] == 255


@pytest.mark.parametrize("place", [(0, 0), (511, 511), (0, 511), (511, 3)])
def test_the_enlarged_place_stays_inside(place: tuple[int, int]) -> None:
    """An error in a corner is shown too."""
    samples = slice_of(1, size=512, noise=0)
    (_, _, third), (_, _, near) = rows(picture(samples, changed(samples, *place, by=-9)))
    assert (near == 1).sum() == 16
    assert third.shape == (512, 512)


def test_small_frames_are_enlarged_by_whole_numbers() -> None:
    """No pixel is made up, and none is lost."""
    samples = (np.arange(64 * 64).reshape(64, 64) % 251).astype("u1")
    (first, _, _), _ = rows(picture(samples, samples, window=(127.5, 255.0)))
    assert (first[5::8, 5::8][:, 9:50] == samples[:, 9:50]).all()


def test_the_window_is_the_one_of_the_data_set() -> None:
    """Centre and width say what is black and what is white."""
    samples = np.full((512, 512), 40, "i2")
    samples[:, 256:] = 240
    (first, _, _), _ = rows(picture(samples, samples, window=(140.0, 200.0)))
    assert (first[300, 10], first[300, 500]) == (0, 255)


def test_an_inverted_frame_is_shown_as_it_is_looked_at() -> None:
    """MONOCHROME1: the highest value is black."""
    samples = np.full((512, 512), 40, "i2")
    samples[:, 256:] = 240
    (first, _, _), _ = rows(picture(samples, samples, window=(140.0, 200.0), is_inverted=True))
    assert (first[300, 10], first[300, 500]) == (255, 0)


def test_without_a_window_nearly_all_is_shown() -> None:
    """One bright pixel does not make all others black; a constant frame can be drawn."""
    samples = slice_of(1, size=512)
    samples[0, 0] = 30000
    (first, _, _), _ = rows(picture(samples, samples))
    assert first.std() > 20
    flat = np.zeros((64, 64), "u2")
    assert picture(flat, flat).size


def test_colours_are_shown_as_they_are() -> None:
    """Red is red."""
    samples = np.zeros((512, 512, 3), "u1")
    samples[..., 0] = 200
    (first, _, third), _ = rows(picture(samples, samples))
    assert first[300, 300].tolist() == [200, 0, 0]
    assert third[300, 300].tolist() == [128, 128, 128]


def test_it_says_how_much_the_difference_is_stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factor is of steps of the display: seven values of a window of 255 become 127 steps, eighteen times more."""
    written: list[str] = []
    from PIL.ImageDraw import ImageDraw

    monkeypatch.setattr(ImageDraw, "text", lambda _pen, _place, text, **_: written.append(text))
    samples = slice_of(1, size=64, noise=0)
    picture(samples, changed(samples, 9, 9), window=(100.0, 255.0))
    assert written[:4] == ["Original", "1 / 1", "Copie / copy", "7.3 : 1"]
    assert written[4] == "Difference x 18.1"
    assert written[5].startswith("max 7 HU  PSNR ")
