"""Pictures for the eye, value by value: windows, tables, palettes, colours, padding, size and format."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from archive.errors import NoSuchRegion, RetrieveError
from archive.services.display import GreyDisplay, Lut, Palette, Window, grey_display, palette_of, pixel_aspect
from archive.services.rendering import (
    Look,
    Picture8,
    Region,
    colour_picture,
    encoded,
    grey_picture,
    palette_picture,
    windowed,
)

RAMP = np.arange(-1024, 3072, dtype="i2").reshape(64, 64)


def linear(values: np.ndarray[tuple[int, ...], np.dtype[np.int16]], centre: float, width: float) -> Picture8:
    """Return values through a linear window as PS3.3 C.11.2.1.2.1 writes it, pixel by pixel."""
    found = []
    for value in values.ravel().tolist():
        if value <= centre - 0.5 - (width - 1) / 2:
            found.append(0.0)
        elif value > centre - 0.5 + (width - 1) / 2:
            found.append(255.0)
        else:
            found.append(((value - (centre - 0.5)) / (width - 1) + 0.5) * 255)
    grey_values: Picture8 = np.rint(np.array(found)).astype("u1").reshape(values.shape)
    return grey_values


def near(one: Picture8, other: Picture8) -> bool:
    """Tell whether two pictures differ by one step at most."""
    return one.shape == other.shape and int(np.abs(one.astype(int) - other.astype(int)).max()) <= 1


@pytest.mark.parametrize(("centre", "width"), [(40, 400), (-600, 1500), (0.5, 2), (100, 1)])
def test_a_linear_window_is_that_of_the_standard(centre: float, width: float) -> None:
    """Also with a width of one, which is a threshold."""
    assert near(grey_picture(RAMP, GreyDisplay(window=Window(centre, width))), linear(RAMP, centre, max(width, 1.0001)))


def test_other_functions() -> None:
    """LINEAR_EXACT is half grey at its centre, SIGMOID too, and never quite ends."""
    values = np.array([[0.0, 50.0, 100.0, 1e6]])
    assert windowed(values, Window(50, 100, "LINEAR_EXACT")).tolist() == [[0, 128, 255, 255]]
    assert windowed(values, Window(50, 100, "SIGMOID")).tolist() == [[30, 128, 225, 255]]


def test_rescale_comes_before_the_window() -> None:
    """A window is about Hounsfield units, not stored values."""
    stored = (RAMP + 1024).astype("u2")
    display = GreyDisplay(slope=1.0, intercept=-1024.0, window=Window(40, 400))
    assert np.array_equal(grey_picture(stored, display), grey_picture(RAMP, GreyDisplay(window=Window(40, 400))))


def test_the_window_asked_for_takes_the_place_of_the_own_one() -> None:
    """Window and VOI LUT of the object step back."""
    lut = Lut(np.zeros(4, "i8"), 0, 8)
    for display in (GreyDisplay(window=Window(0, 1)), GreyDisplay(voi_lut=lut)):
        shown = grey_picture(RAMP, display, Window(40, 400))
        assert np.array_equal(shown, grey_picture(RAMP, GreyDisplay(window=Window(40, 400))))


def test_monochrome1_is_inverted_and_padding_is_black() -> None:
    """The lowest value of MONOCHROME1 is white; what is outside of the image is black all the same."""
    samples = np.array([[-2000, 0, 100, 200]], "i2")
    display = GreyDisplay(window=Window(100, 200), is_inverted=True, padding=(-2000, -1999))
    assert grey_picture(samples, display).tolist() == [[0, 255, 127, 0]]


def test_without_a_window_the_middle_of_the_values_is_shown() -> None:
    """Outliers and padding do not darken the picture; one value alone is a picture too."""
    samples = np.tile(np.arange(100, 200, dtype="i4"), (100, 1))
    samples[0, 0], samples[1, :] = 1 << 20, -9999
    shown = grey_picture(samples, GreyDisplay(padding=(-9999, -9999)))
    assert shown[50, 0] <= 1 and shown[50, -1] >= 254 and shown[0, 0] == 255
    assert not shown[1].any()
    assert grey_picture(np.full((4, 4), 7, "u1"), GreyDisplay()).shape == (4, 4)
    assert not grey_picture(np.full((4, 4), 7, "u1"), GreyDisplay(padding=(7, 7))).any()


def test_tables_map_and_end_where_they_end() -> None:
    """Modality and VOI LUT: values below the first entry are the first's, those beyond the last are the last's."""
    lut = Lut(np.array([0, 1000, 4095]), 10, 12)
    samples = np.array([[0, 10, 11, 12, 99]], "u2")
    assert grey_picture(samples, GreyDisplay(voi_lut=lut)).tolist() == [[0, 0, 62, 255, 255]]
    shown = grey_picture(samples, GreyDisplay(modality_lut=lut, window=Window(2048, 4096)))
    assert shown.tolist() == [[0, 0, 62, 255, 255]]


def test_palettes_and_colours() -> None:
    """A palette of 16 bits shows its upper eight; YBR becomes RGB; more than eight bits are scaled down."""
    palette = Palette([Lut(np.array([0, 65535]) if plane != 1 else np.array([0x1234, 0]), 0, 16) for plane in range(3)])
    assert palette_picture(np.array([[0, 1]], "u1"), palette).tolist() == [[[0, 0x12, 0], [255, 0, 255]]]
    ybr = np.array([[[76, 85, 255], [255, 128, 128], [0, 128, 128]]], "u1")
    assert near(colour_picture(ybr, "YBR_FULL", 8), np.array([[[254, 0, 0], [255, 255, 255], [0, 0, 0]]], "u1"))
    assert colour_picture(ybr.astype("u2") << 8, "RGB", 16).tolist() == ybr.tolist()


def opened(data: bytes) -> Image.Image:
    """Read a picture."""
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        (None, 1.0, (60, 40)),
        ((30, 30), 1.0, (30, 20)),
        ((120, 200), 1.0, (120, 80)),
        (None, 2.0, (60, 80)),
        ((1, 1), 1.0, (1, 1)),
    ],
)
def test_a_picture_fits_its_viewport(size: tuple[int, int] | None, aspect: float, expected: tuple[int, int]) -> None:
    """Its proportions stay, those of pixels that are no squares too."""
    picture = np.zeros((40, 60), "u1")
    assert opened(encoded(picture, Look(size=size), aspect=aspect)).size == expected


SQUARES: Picture8 = np.arange(24 * 10, dtype="u1").reshape(10, 24)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (Region(), SQUARES),
        (Region(4, 2), SQUARES[2:, 4:]),
        (Region(4, 2, 6, 3), SQUARES[2:5, 4:10]),
        (Region(4, 2, -6, 3), SQUARES[2:5, 4:10][:, ::-1]),
        (Region(4, 2, 6, -3), SQUARES[2:5, 4:10][::-1]),
        (Region(width=-24, height=-10), SQUARES[::-1, ::-1]),
        (Region(18, 0, 6, 10), SQUARES[:, 18:]),
        (Region(3.5, 2.4, 5.9, 3.2), SQUARES[2:6, 4:9]),
        (Region(3.1, 4.2, 0.2, 0.1), SQUARES[4:5, 3:4]),
        (Region(23.8, 9.9), SQUARES[9:, 23:]),
        (Region(0.1, 0.1, 23.9, 9.9), SQUARES),
    ],
)
def test_a_region_is_cut_from_the_image(region: Region, expected: Picture8) -> None:
    """In its pixels, to the edge where no size is said, to the nearest pixel, mirrored where a size is negative."""
    assert np.array_equal(region.cut(SQUARES), expected)
    coloured = np.stack([SQUARES] * 3, axis=-1)
    assert np.array_equal(region.cut(coloured), np.stack([expected] * 3, axis=-1))
    drawn = np.asarray(opened(encoded(SQUARES, Look("image/png", region=region))))
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize(
    "region", [Region(24), Region(0, 10), Region(20, 0, 5), Region(0, 8, None, -3), Region(0, 0, 24.01)]
)
def test_a_region_that_reaches_beyond_the_image_is_refused(region: Region) -> None:
    """It is never moved nor made smaller: who counts pixels on the picture would count others than they think."""
    with pytest.raises(NoSuchRegion, match="24 columns and 10 rows"):
        region.cut(SQUARES)


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [(None, 1.0, (12, 5)), ((24, 24), 1.0, (24, 10)), ((6, 6), 1.0, (6, 2)), ((24, 24), 2.0, (24, 20))],
)
def test_a_region_fits_the_viewport(size: tuple[int, int] | None, aspect: float, expected: tuple[int, int]) -> None:
    """As a whole image would, its own proportions kept."""
    look = Look(size=size, region=Region(2, 3, 12, 5))
    assert opened(encoded(SQUARES, look, aspect=aspect)).size == expected


def test_a_region_is_cut_before_it_is_scaled() -> None:
    """Nothing of what is around it is in its picture, however much it is enlarged."""
    picture = np.full((10, 24), 200, "u1")
    picture[3:8, 2:14] = 50
    look = Look("image/png", size=(120, 120), region=Region(2, 3, 12, 5))
    assert set(np.asarray(opened(encoded(picture, look))).ravel().tolist()) == {50}


@pytest.mark.parametrize(("media_type", "form"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_formats(media_type: Literal["image/png", "image/jpeg"], form: str) -> None:
    """PNG loses nothing; JPEG of lower quality is shorter; grey stays one channel."""
    picture = np.random.default_rng(1).integers(0, 255, (64, 64), "u1")
    found = opened(encoded(picture, Look(media_type)))
    assert (found.format, found.mode) == (form, "L")
    if form == "PNG":
        assert np.array_equal(np.asarray(found), picture)
    else:
        assert len(encoded(picture, Look(media_type, quality=20))) < len(encoded(picture, Look(media_type, quality=95)))


# ---- what an object says -----------------------------------------------------------------------------------------


def grey(**values: object) -> Dataset:
    """Return the attributes of a signed 12-bit image."""
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.PixelRepresentation = 16, 12, 1
    for keyword, value in values.items():
        if isinstance(value, bytes):  # as it may stand in a file
            tag = Tag(tag_for_keyword(keyword) or 0)
            ds[tag] = RawDataElement(tag, dictionary_VR(tag)[:2], len(value), value, 0, False, True)
        else:
            setattr(ds, keyword, value)
    return ds


def test_display_of_a_plain_image() -> None:
    """The first of several windows counts; padding is signed as the pixels are."""
    ds = grey(RescaleSlope="2", RescaleIntercept="-10", WindowCenter=["40", "600"], WindowWidth=["400", "1500"])
    ds.add_new(0x00280120, "US", 63536)
    ds.add_new(0x00280121, "US", 63538)
    found = grey_display(ds, 0)
    assert (found.slope, found.intercept, found.padding) == (2.0, -10.0, (-2000, -1998))
    assert found.window == Window(40, 400)
    assert grey_display(grey(PhotometricInterpretation="MONOCHROME1"), 0).is_inverted


def test_functional_groups_say_it_for_each_frame() -> None:
    """The frame's own group counts before the shared one, and that before the object."""

    def group(centre: float) -> Dataset:
        voi, outer = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = centre, 100
        outer.FrameVOILUTSequence = [voi]
        return outer

    slope, shared = Dataset(), group(1)
    slope.RescaleSlope, slope.RescaleIntercept = 3, 4
    shared.PixelValueTransformationSequence = [slope]
    ds = grey(SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[group(2), Dataset()])
    assert [grey_display(ds, frame).window for frame in (0, 1, 2)] == [Window(2, 100), Window(1, 100), Window(1, 100)]
    assert grey_display(ds, 0).slope == 3.0


@pytest.mark.parametrize(
    "values",
    [
        {"WindowCenter": b"x ", "WindowWidth": b"y "},
        {"WindowCenter": "1", "WindowWidth": "0"},
        {"WindowCenter": [], "WindowWidth": []},
        {"RescaleSlope": "0"},
        {"RescaleSlope": ""},
        {"VOILUTSequence": [Dataset()]},
        {"PixelPaddingValue": ""},
    ],
)
def test_what_is_said_wrongly_is_not_said(values: dict[str, object]) -> None:
    """Broken values leave the picture as if they were not there."""
    assert grey_display(grey(**values), 0) == GreyDisplay()


def lut_item(table: bytes, descriptor: list[int], vr: str = "OW") -> Dataset:
    """Return a look-up table."""
    ds = Dataset()
    ds.add_new(0x00283002, "US", descriptor)
    ds.add_new(0x00283006, vr, table)
    return ds


def test_tables_of_an_object() -> None:
    """A VOI LUT in words; one that says 16 bits and means 8; a first value that is negative."""
    words = np.array([0, 128, 255], "<u2").tobytes()
    lut = grey_display(grey(VOILUTSequence=[lut_item(words, [3, 5, 8])]), 0).voi_lut
    assert lut is not None and (lut.table.tolist(), lut.first, lut.bits) == ([0, 128, 255], 5, 8)
    lut = grey_display(grey(ModalityLUTSequence=[lut_item(words, [3, 5, 16])]), 0).modality_lut
    assert lut is not None and lut.bits == 8


def palette_dataset(data: list[bytes], descriptor: list[int], *, is_segmented: bool = False) -> Dataset:
    """Return an object with a palette."""
    ds = Dataset()
    for plane, table in enumerate(data):
        ds.add_new(0x00281101 + plane, "US", descriptor)
        ds.add_new((0x00281221 if is_segmented else 0x00281201) + plane, "OW", table)
    return ds


def test_palettes_of_an_object() -> None:
    """Words; bytes; segments that are copied, drawn as a line and repeated; no palette at all."""
    words = np.array([0, 0x8000, 0xFFFF, 0xFFFF], "<u2").tobytes()
    (red, *_) = palette_of(palette_dataset([words] * 3, [4, 0, 16])).luts
    assert red.scaled(np.array([0, 1, 2, 9])).tolist() == [0, 128, 255, 255]
    (red, *_) = palette_of(palette_dataset([bytes([0, 7, 9, 255])] * 3, [4, 0, 8])).luts
    assert red.table.tolist() == [0, 7, 9, 255]
    segments = np.array([0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0], "<u2").tobytes()
    (red, *_) = palette_of(palette_dataset([segments] * 3, [8, 0, 16], is_segmented=True)).luts
    assert red.table.tolist() == [10, 20, 30, 40, 50, 60, 10, 20]
    with pytest.raises(RetrieveError):
        palette_of(Dataset())
    with pytest.raises(RetrieveError):
        palette_of(palette_dataset([np.array([7, 7, 7], "<u2").tobytes()] * 3, [4, 0, 16], is_segmented=True))


@pytest.mark.parametrize(
    ("values", "aspect"),
    [
        ({}, 1.0),
        ({"PixelAspectRatio": ["2", "1"]}, 2.0),
        ({"PixelSpacing": ["0.5", "1"]}, 0.5),
        ({"PixelSpacing": ["0.5", "0"]}, 1.0),
        ({"PixelSpacing": ["1e9", "1"]}, 1.0),
        ({"PixelSpacing": b"x\\1 ", "ImagerPixelSpacing": ["3", "1"]}, 3.0),
    ],
)
def test_pixels_need_not_be_squares(values: dict[str, object], aspect: float) -> None:
    """Ratio or spacing say how high a pixel is; nonsense says nothing."""
    assert pixel_aspect(grey(**values)) == aspect
