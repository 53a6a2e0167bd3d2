"""What is kept for ever of a lossy compression, or of the reason why there was none; must not measure anything.

One JSON object a pack, ``drimbox-lossy-evidence/1``:

    format, rules, gates              versions of what decided
    facts                             what was known of the series (``tiering.lossy_rules.SeriesFacts``, lists sorted)
    table                             name, source and address of the table of caps
    allowed, cap, region, reasons     the verdict; the cap's source, or all that forbids it
    gate                              the limits every frame held
    lossy                             whether the pack is lossy; ``why`` when it stays lossless
    encoder, decoder                  names and versions of two libraries
    transfer_syntax_uid, step         of the series; the largest quantization step, in stored values (of JPEG 2000 the
                                      one whose rounding has the error that was aimed at)
    slope, unit                       of the modality's unit (HU for CT) by stored value
    worst                             largest error, smallest PSNR and SSIM, highest ratio of any frame
    ratio, raw_bytes, coded_bytes     of the pack
    referenced_by                     objects of the study that name replaced instances
    instances                         sop_instance_uid, derived_from, received_sha256, and of each of its frames:
                                      max_abs_error, max_error (in the unit), range, psnr_db (null: exact), ssim, step
                                      (null: without loss), raw_bytes, coded_bytes, source_sha256, coded_sha256,
                                      decoded_sha256

Digests: SHA-256, of native little-endian samples (before, and as the decoder has them) and of the codestream.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from tiering.lossy import FrameEvidence, LossyChoice
from tiering.lossy_rules import LossyRules, SeriesFacts, Verdict
from tiering.quality import FrameMetrics, Gate

FORMAT: Final = "drimbox-lossy-evidence/1"
_SETS: Final = frozenset(each.name for each in fields(SeriesFacts) if str(each.type).startswith("frozenset"))
"""What JSON has as lists and facts as sets; other lists are tuples."""


def head(
    rules: LossyRules, gates_version: str, verdict: Verdict, *, facts: SeriesFacts | None = None
) -> dict[str, Any]:
    """Return what evidence opens with, lossy or not; ``facts`` let other rules be applied later without the pixels."""
    return {
        "format": FORMAT,
        "rules": rules.version,
        "gates": gates_version,
        **({} if facts is None else {"facts": _facts(facts)}),
        "table": {"name": rules.table.name, "source": rules.table.source, "url": rules.table.url},
        "allowed": verdict.allowed,
        "cap": verdict.cap,
        "region": verdict.region,
        "reasons": list(verdict.reasons),
    }


def lossless(opening: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Return the evidence of a series that stays lossless."""
    return {**opening, "lossy": False, "why": why}


def lossy(
    opening: Mapping[str, Any], choice: LossyChoice, instances: Sequence[Mapping[str, Any]], *, unit: str
) -> dict[str, Any]:
    """Return the evidence of one pack of a lossy series; ``instances`` are made by ``instance``."""
    frames = [frame for each in instances for frame in each["frames"]]
    raw, coded = sum(each["raw_bytes"] for each in frames), sum(each["coded_bytes"] for each in frames)
    return {
        **opening,
        "lossy": True,
        "gate": _gate(choice.limits.gate),
        "encoder": choice.codecs.encoder,
        "decoder": choice.codecs.decoder,
        "transfer_syntax_uid": choice.codecs.transfer_syntax_uid,
        "step": _number(choice.step),
        "slope": _number(choice.limits.pixels.slope),
        "unit": unit,
        "worst": _worst(frames),
        "ratio": _number(raw / coded),
        "raw_bytes": raw,
        "coded_bytes": coded,
        "instances": list(instances),
    }


def instance(uid: str, derived_from: str, received_sha256: str, frames: Iterable[FrameEvidence]) -> dict[str, Any]:
    """Return the evidence of one instance."""
    return {
        "sop_instance_uid": uid,
        "derived_from": derived_from,
        "received_sha256": received_sha256,
        "frames": [_frame(each) for each in frames],
    }


def encoded(body: Mapping[str, Any]) -> str:
    """Return evidence as canonical JSON: keys sorted, no blanks, ASCII."""
    return json.dumps(body, allow_nan=False, sort_keys=True, separators=(",", ":"))


def worst_frame(frames: Sequence[FrameEvidence]) -> int:
    """Return the index of the frame with the smallest PSNR, of several the one with the largest error."""
    return min(
        range(len(frames)), key=lambda index: (frames[index].metrics.psnr_db, -frames[index].metrics.max_abs_error)
    )


def facts_of(body: Mapping[str, Any]) -> SeriesFacts | None:
    """Return what was known of the series when the evidence was made; None when it does not say, or not clearly."""
    told = body.get("facts")
    if not isinstance(told, Mapping):
        return None
    values: dict[str, Any] = {name: _fact(name, value) for name, value in told.items()}
    try:
        return SeriesFacts(**{**values, "obstacles": tuple(told.get("obstacles", ()))})
    except TypeError:
        return None


def _fact(name: str, value: object) -> object:
    if not isinstance(value, list):
        return value
    return frozenset(value) if name in _SETS else tuple(value)


def metrics_of(body: Mapping[str, Any]) -> Iterator[FrameMetrics]:
    """Yield how far each frame of a lossy pack is from its original. Raises KeyError, TypeError for other evidence."""
    for instance in body["instances"]:
        for number, frame in enumerate(instance["frames"]):
            psnr = math.inf if frame["psnr_db"] is None else frame["psnr_db"]
            error, scaled = frame["max_abs_error"], frame["max_error"]
            yield FrameMetrics(number, error, scaled, frame["range"], psnr, frame["ssim"])


def _facts(facts: SeriesFacts) -> dict[str, Any]:
    values = asdict(facts).items()
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values}


def _frame(evidence: FrameEvidence) -> dict[str, Any]:
    metrics = evidence.metrics
    return {
        "max_abs_error": metrics.max_abs_error,
        "max_error": _number(metrics.max_scaled_error),
        "range": metrics.range,
        "psnr_db": _number(metrics.psnr_db),
        "ssim": _number(metrics.ssim),
        "step": _number(evidence.step),
        "raw_bytes": evidence.raw_bytes,
        "coded_bytes": evidence.coded_bytes,
        "source_sha256": evidence.source_sha256,
        "coded_sha256": evidence.coded_sha256,
        "decoded_sha256": evidence.decoded_sha256,
    }


def _worst(frames: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    psnr = [each["psnr_db"] for each in frames if each["psnr_db"] is not None]
    return {
        "max_abs_error": max(each["max_abs_error"] for each in frames),
        "max_error": max(each["max_error"] for each in frames),
        "psnr_db": min(psnr, default=None),
        "ssim": min(each["ssim"] for each in frames),
        "ratio": max(_number(each["raw_bytes"] / each["coded_bytes"]) or 0.0 for each in frames),
    }


def _gate(gate: Gate) -> dict[str, Any]:
    return {name: value for name, value in asdict(gate).items() if value is not None}


def _number(value: float | None) -> float | None:
    """Return a number to six significant digits, None for what JSON cannot say."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
