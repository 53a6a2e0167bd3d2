"""Evidence says what decided and what was found, in one form that can be read again; nothing in it is a patient's."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.phantoms import slice_of
from tests.unit.tiering.hot_packs import hot_pack, image, lossy
from tiering import lossy_evidence as evidence
from tiering.lossy import FrameEvidence
from tiering.lossy_rules import SeriesFacts, may_be_lossy
from tiering.lossy_source import read_series
from tiering.lossy_tables import load_gates, load_rules
from tiering.quality import FrameMetrics

METRICS = FrameMetrics(0, 12, 12.0, 2000, 51.23456789, 0.98765432)
FRAME = FrameEvidence(METRICS, 8.0, 1000, 200, "a" * 64, "b" * 64, "c" * 64)

HEAD = {"format", "rules", "gates", "facts", "table", "allowed", "cap", "region", "reasons", "lossy"}
OF_LOSSY = {"gate", "encoder", "decoder", "transfer_syntax_uid", "step", "slope", "unit", "worst", "ratio"}
OF_FRAMES = {"raw_bytes", "coded_bytes", "instances"}


def body_of(folder: Path, *images: Any, **values: Any) -> dict[str, Any]:
    """Return the evidence of a series."""
    found: dict[str, Any] = json.loads(lossy(folder, hot_pack(images), **values).evidence["hot"])
    return found


def test_it_has_the_form_that_is_described(tmp_path: Path) -> None:
    """Every key of the description, and no other: whoever reads it in twenty years has only that."""
    body = body_of(tmp_path, image(1), image(2))
    assert set(body) == HEAD | OF_LOSSY | OF_FRAMES
    described = evidence.__doc__ or ""
    for key in {*body, *body["worst"], *body["instances"][0], *body["instances"][0]["frames"][0]} - {"frames"}:
        assert key in described or key in ("max_error", "ratio"), key
    assert body["format"] == evidence.FORMAT == "drimbox-lossy-evidence/1"


def test_it_says_who_decided(tmp_path: Path) -> None:
    """Rules, gates and the society's own words, codecs with their versions."""
    body = body_of(tmp_path, image(1))
    rules = load_rules()
    assert (body["rules"], body["gates"]) == (rules.version, load_gates().version)
    assert (body["cap"], body["region"]) == (8.0, "other")
    assert body["table"] == {"name": "drg", "source": rules.table.source, "url": rules.table.url}
    assert body["reasons"] == [f"{rules.table.source}: CT (alle übrigen Anwendungen) 1:8"]
    assert body["encoder"].startswith("openjph ")
    assert body["decoder"].startswith("openjpeg ")
    assert body["gate"]["max_error"] == 40.0
    assert (body["unit"], body["slope"]) == ("HU", 1.0)


def test_the_worst_of_all_frames_is_told(tmp_path: Path) -> None:
    """Largest error, smallest PSNR and SSIM, highest ratio, each of whatever frame has it; totals are sums."""
    body = body_of(tmp_path, *(image(number, slice_of(number, noise=4.0 * number)) for number in (1, 2, 3)))
    frames = [frame for each in body["instances"] for frame in each["frames"]]
    worst = body["worst"]
    assert worst["max_abs_error"] == max(frame["max_abs_error"] for frame in frames)
    assert worst["psnr_db"] == min(frame["psnr_db"] for frame in frames)
    assert worst["ssim"] == min(frame["ssim"] for frame in frames)
    assert body["raw_bytes"] == sum(frame["raw_bytes"] for frame in frames)
    assert body["ratio"] == pytest.approx(body["raw_bytes"] / body["coded_bytes"], rel=1e-5)


def test_a_series_that_stays_says_why(tmp_path: Path) -> None:
    """The same head, and the reason."""
    body = body_of(tmp_path, image(1, Modality="MG"))
    assert set(body) == HEAD | {"why"}
    assert not body["lossy"] and not body["allowed"]
    assert body["why"] == "the rules forbid it"
    assert any("mammography" in reason for reason in body["reasons"])


def test_remarks_are_part_of_it(tmp_path: Path) -> None:
    """What the archive adds, such as who names the originals, lossy or not."""
    named = [{"sop_instance_uid": "1.2.3", "instances": 2}]
    for ds in (image(1), image(1, Modality="MG")):
        assert body_of(tmp_path, ds, remarks={"referenced_by": named})["referenced_by"] == named


def test_it_is_canonical(tmp_path: Path) -> None:
    """Sorted, without blanks, ASCII: the same series has the same evidence, byte for byte."""
    text = lossy(tmp_path, hot_pack([image(1)])).evidence["hot"]
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert text.isascii()
    assert text == lossy(tmp_path, hot_pack([image(1)])).evidence["hot"]


def test_nothing_of_the_patient_is_in_it(tmp_path: Path) -> None:
    """No name, number, birth date nor description: only UIDs tell which series it is."""
    ds = image(1)
    text = lossy(tmp_path, hot_pack([ds])).evidence["hot"]
    assert "PatientName" in ds and "PatientID" in ds
    for word in (str(ds.PatientName), str(ds.PatientID), str(ds.PatientBirthDate), str(ds.StudyDate)):
        assert len(word) > 3
        assert word not in text


def test_facts_come_back() -> None:
    """What was known of the series can be judged by other rules, later, without its pixels."""
    images = [image(1), image(2, HighBit=13), image(3, BodyPartExamined="HEAD")]
    known = read_series([hot_pack(images, sealed=False)]).facts
    rules = load_rules()
    head = evidence.head(rules, "g", may_be_lossy(known, rules), facts=known)
    assert evidence.facts_of(json.loads(evidence.encoded(head))) == known
    assert known.obstacles and known.region_codes


@pytest.mark.parametrize("told", [None, [], {"modality": "CT"}, {"unheard": 1}])
def test_facts_that_are_not_clear_are_none(told: Any) -> None:
    """Evidence of another version is not guessed at."""
    assert evidence.facts_of({"facts": told}) is None


def test_facts_of_before_there_were_obstacles_have_none() -> None:
    """An older record is read as what it says."""
    known = SeriesFacts("CT", frozenset({"1.2"}), frozenset({"MONOCHROME2"}), 16, 12)
    rules = load_rules()
    head = evidence.head(rules, "g", may_be_lossy(known, rules), facts=known)
    del head["facts"]["obstacles"]
    assert evidence.facts_of(head) == known


def test_an_exact_frame_has_no_psnr() -> None:
    """JSON knows no infinity: null says that nothing differs."""
    exact = replace(FRAME, step=None, metrics=replace(METRICS, max_abs_error=0, max_scaled_error=0.0, psnr_db=math.inf))
    (frame,) = evidence.instance("1.2", "1.1", "d" * 64, [exact])["frames"]
    assert (frame["psnr_db"], frame["step"], frame["max_abs_error"]) == (None, None, 0)
    (metrics,) = evidence.metrics_of({"instances": [{"frames": [frame]}]})
    assert metrics.psnr_db == math.inf
    assert metrics.is_exact


def test_the_worst_frame_is_the_one_with_the_smallest_psnr() -> None:
    """Of several the one with the largest error; an exact frame never is, unless all are."""
    psnrs = [(60.0, 3), (50.0, 4), (50.0, 9), (math.inf, 0)]
    frames = [replace(FRAME, metrics=replace(METRICS, psnr_db=psnr, max_abs_error=error)) for psnr, error in psnrs]
    assert evidence.worst_frame(frames) == 2
    assert evidence.worst_frame(frames[3:]) == 0
