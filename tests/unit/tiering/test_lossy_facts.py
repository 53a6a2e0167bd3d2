"""What data sets say that decides about loss: one instance is enough, at whatever depth the standard allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.objects import dataset_bytes
from tests.unit.tiering.hot_packs import hot_pack, image
from tiering.errors import TieringError
from tiering.lossy_facts import Gathered, Statements, padding_of, slopes_of
from tiering.lossy_rules import SeriesFacts, SiteRules, may_be_lossy
from tiering.lossy_source import read_series
from tiering.lossy_tables import load_rules
from tiering.quality import PaddingRange
from tiering.transcode.picture import Picture
from tiering.transcode.source import Source
from tiering.transcode.stored import read_stored

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", ImplicitVRLittleEndian, ExplicitVRBigEndian


def facts_of(*images: Dataset, **values: Any) -> SeriesFacts:
    """Return the facts of a series that is packed as it came."""
    return read_series([hot_pack(images, sealed=False, **values)]).facts


def with_sequence(keyword: str, *items: Dataset) -> Dataset:
    """Return an image with a sequence."""
    ds = image(1)
    setattr(ds, keyword, Sequence(items))
    return ds


def item(**values: Any) -> Dataset:
    """Return a sequence item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def functional(shared: Dataset | None = None, *frames: Dataset) -> Dataset:
    """Return an image with functional groups."""
    ds = image(1)
    ds.SharedFunctionalGroupsSequence = Sequence([shared or Dataset()])
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return ds


def said_by(ds: Dataset, syntax: str = EXPLICIT) -> tuple[Statements, Picture]:
    """Return what one data set says, and its picture."""
    import io
    from typing import BinaryIO, cast

    said = Statements()
    source = Source(cast(BinaryIO, io.BytesIO(dataset_bytes(ds, syntax))))
    _, facts = read_stored(source, syntax, said.see)
    assert facts.picture is not None
    return said, facts.picture


def test_a_ct_is_what_it_says() -> None:
    """Modality, SOP class, bits, colours, body and Image Type are those of the data sets; nothing stands in the way."""
    found = facts_of(image(1, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]), image(2, ImageType=["DERIVED", "SECONDARY"]))
    assert (found.modality, found.body_part) == ("CT", "CHEST")
    assert found.sop_class_uids == {"1.2.840.10008.5.1.4.1.1.2"}
    assert (found.bits_allocated, found.bits_stored, found.samples, found.is_signed) == (16, 12, 1, True)
    assert found.photometrics == {"MONOCHROME2"}
    assert found.image_types == {"ORIGINAL", "PRIMARY", "AXIAL", "DERIVED", "SECONDARY"}
    assert not (found.is_already_lossy or found.is_quantitative or found.has_palette or found.has_float_pixels)
    assert found.obstacles == ()
    assert may_be_lossy(found, load_rules()).allowed


def test_sealed_colours_are_those_of_the_decoded_frames() -> None:
    """A hot pack says YBR_RCT of what was RGB: the rules are asked about RGB."""
    import numpy as np

    colours = np.random.default_rng(1).integers(0, 255, (40, 50, 3)).astype("u1") // 16 * 3
    ds = image(1, colours, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert read_series([hot_pack([ds])]).facts.photometrics == {"RGB"}


ROOT: dict[str, Callable[[], Dataset]] = {
    "at the root": lambda: with_sequence("RealWorldValueMappingSequence", item(RealWorldValueSlope=1.0)),
    "for all frames": lambda: functional(item(RealWorldValueMappingSequence=Sequence([item()]))),
    "for one frame": lambda: functional(None, item(), item(RealWorldValueMappingSequence=Sequence([item()]))),
    "a unit": lambda: image(1, RescaleType="HU_MOD"),
    "a unit of one frame": lambda: functional(
        None, item(PixelValueTransformationSequence=Sequence([item(RescaleType="MGML")]))
    ),
    "counts": lambda: image(1, Units="BQML"),
}


@pytest.mark.parametrize("make", ROOT.values(), ids=ROOT)
def test_measured_values_are_seen_wherever_they_are(make: Callable[[], Dataset]) -> None:
    """Real world values and units other than the modality's, at the root and in functional groups."""
    assert facts_of(image(2), make()).is_quantitative


@pytest.mark.parametrize(
    ("modality", "unit", "is_measured"),
    [("CT", "HU", False), ("MR", "HU", True), ("CT", "US", False), ("MR", "normalized", False), ("CR", "OD", False)],
)
def test_a_modality_has_its_own_unit(modality: str, unit: str, is_measured: bool) -> None:
    """Hounsfield units are a CT's, optical densities a CR's; elsewhere they are measurements."""
    assert facts_of(image(1, Modality=modality, RescaleType=unit)).is_quantitative is is_measured


LOSSY: dict[str, Callable[[], Dataset]] = {
    "flag": lambda: image(1, LossyImageCompression="01"),
    "ratio": lambda: image(1, LossyImageCompressionRatio="8"),
    "method": lambda: image(1, LossyImageCompressionMethod="ISO_10918_1"),
}


@pytest.mark.parametrize("make", LOSSY.values(), ids=LOSSY)
def test_what_was_lossy_is_lossy(make: Callable[[], Dataset]) -> None:
    """By any of the three elements that say so."""
    assert facts_of(image(2), make()).is_already_lossy


def test_00_is_not_lossy() -> None:
    """The flag's other value says nothing against it."""
    assert not facts_of(image(1, LossyImageCompression="00")).is_already_lossy


@pytest.mark.parametrize("number", [50, 51, 53, 55, 81, 91, 93, 102, 111, 112, 203])
def test_a_syntax_that_may_have_lost_is_lossy(number: int) -> None:
    """By the transfer syntax it came in, sealed or not."""
    uid = f"1.2.840.10008.1.2.4.{number}"
    assert facts_of(image(1), received_transfer_syntax_uid=uid).is_already_lossy


def test_a_copy_of_a_copy_is_not_made() -> None:
    """What was derived from another instance here is lossy, whatever it says."""
    assert facts_of(image(1), derived_from="1.2.3").is_already_lossy


def test_frame_types_and_components_count_as_image_types() -> None:
    """A velocity map or a phase inside functional groups forbids loss as it does in Image Type."""
    group = item(MRImageFrameTypeSequence=Sequence([item(FrameType=["ORIGINAL", "PRIMARY", "VELOCITY"])]))
    assert "VELOCITY" in facts_of(functional(None, group)).image_types
    component = item(MRImageFrameTypeSequence=Sequence([item(ComplexImageComponent="PHASE")]))
    assert "PHASE" in facts_of(functional(component)).image_types
    assert not may_be_lossy(facts_of(image(1, ComplexImageComponent="REAL")), load_rules()).allowed


@pytest.mark.parametrize("keyword", ["RedPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData"])
def test_a_palette_is_seen_and_an_icon_has_none(keyword: str) -> None:
    """A table of colours forbids loss; that of an icon is the icon's own."""
    values: dict[str, Any] = {keyword: b"\0\0"}
    assert facts_of(image(1, **values)).has_palette
    icon = item(PhotometricInterpretation="PALETTE COLOR", **values)
    assert not facts_of(with_sequence("IconImageSequence", icon)).has_palette


def test_words_for_the_body_are_all_kept() -> None:
    """Instances that differ in them are of no known region, and a site's rule about one of them holds for all."""
    region = item(CodeValue="69536005", CodingSchemeDesignator="SCT")
    frame = item(FrameAnatomySequence=Sequence([item(AnatomicRegionSequence=Sequence([region]))]))
    found = facts_of(image(2), image(3, BodyPartExamined="HEAD"), functional(frame))
    assert found.body_words == {"CHEST", "HEAD", "69536005"}
    assert may_be_lossy(found, load_rules()).cap == 5.0
    site = SiteRules(never_body_parts=frozenset({"HEAD"}))
    assert "HEAD: never, by the site's rules" in may_be_lossy(found, load_rules("drg", site)).reasons


def test_another_code_is_no_region() -> None:
    """Code values mean the body inside Anatomic Region Sequence only."""
    procedure = item(CodeValue="69536005", CodingSchemeDesignator="SCT")
    assert facts_of(with_sequence("ProcedureCodeSequence", procedure)).region_codes == frozenset()


OBSTACLES: dict[str, tuple[Callable[[], Dataset], str]] = {
    "signed": (lambda: with_sequence("DigitalSignaturesSequence", item(MACIDNumber=1)), "digitally signed"),
    "signed inside": (
        lambda: with_sequence("ReferencedImageSequence", item(DigitalSignaturesSequence=Sequence([item()]))),
        "digitally signed",
    ),
    "modality table": (lambda: with_sequence("ModalityLUTSequence", item(ModalityLUTType="HU")), "through a table"),
    "high bit": (lambda: image(1, HighBit=13), "High Bit"),
    "no slope": (lambda: image(1, RescaleSlope="0"), "Rescale Slope"),
    "limit alone": (lambda: image(1, PixelPaddingRangeLimit=-2000), "Pixel Padding"),
    "no pixels": (lambda: image(1, PixelData=None), "no pixels"),
    "cut": (lambda: image(1, PixelData=b"\0\0"), "bytes of pixel data"),
}


@pytest.mark.parametrize(("make", "words"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_stands_in_the_way_is_named(make: Callable[[], Dataset], words: str) -> None:
    """The instance and the reason; the rules then allow nothing."""
    found = facts_of(image(2), make())
    (reason,) = found.obstacles
    assert reason.startswith("000002.dcm: ")
    assert words in reason
    verdict = may_be_lossy(found, load_rules())
    assert not verdict.allowed
    assert reason in verdict.reasons


def test_a_long_list_of_reasons_is_cut() -> None:
    """A thousand broken instances need no thousand reasons."""
    assert len(facts_of(*(image(number, HighBit=13) for number in range(1, 9))).obstacles) == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"Modality": "MR"}, "modality"),
        ({"BitsStored": 13, "HighBit": 12}, "bits"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "colours"),
        ({"PixelPaddingValue": -2000}, "padding"),
    ],
)
def test_what_instances_differ_in_is_an_obstacle(values: dict[str, Any], words: str) -> None:
    """One setting is for all of a series: its samples have to mean the same."""
    (reason,) = facts_of(image(1), image(2, **values)).obstacles
    assert words in reason


def test_instances_may_differ_in_size() -> None:
    """A localizer goes with its series."""
    from tests.phantoms import slice_of

    assert facts_of(image(1), image(2, slice_of(2, size=60))).obstacles == ()


def test_an_unknown_encoding_is_an_obstacle() -> None:
    """Deflated data sets cannot be read frame by frame; a syntax nobody knows cannot be read at all."""
    for uid in ("1.2.840.10008.1.2.1.99", "1.2.3.4"):
        (reason,) = facts_of(image(1), transfer_syntax_uid=uid).obstacles
        assert uid in reason


def test_too_many_frames_are_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence of them all would not fit the manifest of a pack."""
    monkeypatch.setattr("tiering.lossy_source.MOST_FRAMES", 2)
    assert "3 frames are more" in facts_of(image(1), image(2), image(3)).obstacles[0]


# ---- slopes, padding, windows -----------------------------------------------------------------------------------


def frame_with_slope(slope: str) -> Dataset:
    """Return the functional groups of a frame with its own slope."""
    return item(PixelValueTransformationSequence=Sequence([item(RescaleSlope=slope, RescaleIntercept="0")]))


def test_slopes_are_those_of_each_frame() -> None:
    """Of the frame, else of all frames, else of the root, else 1; a sign does not matter."""
    said, _ = said_by(functional(frame_with_slope("2"), frame_with_slope("0.5"), item(), frame_with_slope("-3")))
    assert slopes_of(said, 4) == (0.5, 2.0, 3.0, 2.0)
    assert slopes_of(said_by(image(1, RescaleSlope="1.5"))[0], 3) == (1.5,)
    assert slopes_of(said_by(image(1, RescaleSlope=None, RescaleIntercept=None))[0], 1) == (1.0,)


def test_a_slope_elsewhere_is_not_the_pixels_own() -> None:
    """That of another object, named in a sequence, says nothing of this one."""
    ds = with_sequence("RequestAttributesSequence", item(RescaleSlope="9"))
    assert slopes_of(said_by(ds)[0], 1) == (1.0,)


def test_the_slope_of_a_series_is_the_steepest() -> None:
    """Errors of the whole are stated as they would be in the worst case, those of a frame by its own slope."""
    source = read_series([hot_pack([image(1, RescaleSlope="0.5"), image(2, RescaleSlope="2")], sealed=False)])
    assert source.slope == 2.0
    assert [source.pixels(frame).slope for frame in (0, 1)] == [0.5, 2.0]
    assert source.pixels().slope == 2.0


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize(
    ("low", "high", "expected"), [(-2000, None, (-2000, -2000)), (-1500, -2000, (-2000, -1500)), (5, 9, (5, 9))]
)
def test_padding_is_read_as_the_samples_are(syntax: str, low: int, high: int | None, expected: tuple[int, int]) -> None:
    """Signed with the samples, in any byte order, whichever of the two is the higher."""
    limit: dict[str, Any] = {} if high is None else {"PixelPaddingRangeLimit": high}
    ds = image(1, PixelPaddingValue=low, **limit)
    said, picture = said_by(ds, syntax)
    assert padding_of(said, picture) == PaddingRange(*expected)


def test_there_may_be_no_padding() -> None:
    """Absent and empty are the same."""
    assert padding_of(*said_by(image(1))) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"WindowCenter": "40", "WindowWidth": "400"}, (40.0, 400.0)),
        ({"WindowCenter": ["40", "-600"], "WindowWidth": ["400", "1600"]}, (40.0, 400.0)),
        ({"WindowCenter": "40", "WindowWidth": "400", "RescaleSlope": "2", "RescaleIntercept": "-1024"}, (532.0, 200)),
        ({"WindowCenter": "40"}, None),
        ({"WindowCenter": "40", "WindowWidth": "0"}, None),
    ],
)
def test_the_window_is_in_stored_values(values: dict[str, Any], expected: tuple[float, float] | None) -> None:
    """The first one a data set names, as its pixels have it; none that shows nothing."""
    ds = image(1, WindowCenter="1", WindowWidth="2")
    del ds.WindowCenter, ds.WindowWidth
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    assert said_by(ds)[0].window() == expected


def test_nothing_gathered_forbids_everything() -> None:
    """A series of which nothing is known is not compressed."""
    assert not may_be_lossy(Gathered().series(), load_rules()).allowed


def test_a_data_set_that_cannot_be_read_to_its_end_says_what_it_said() -> None:
    """What came before the damage still counts, and the damage is a reason."""
    ds = image(1, LossyImageCompression="01", PixelData=b"\0\0")
    found = facts_of(ds)
    assert found.is_already_lossy
    assert found.obstacles


def test_a_broken_pack_is_no_obstacle_but_an_error() -> None:
    """Bytes that are not those that were packed are never judged."""
    pack = hot_pack([image(1)])
    member = pack.manifest.members[0]
    pack.file.seek(member.offset + 200)
    (byte,) = pack.file.read(1)
    pack.file.seek(member.offset + 200)
    pack.file.write(bytes([byte ^ 1]))
    with pytest.raises(TieringError, match=r"000001\.dcm has another digest"):
        read_series([pack])
