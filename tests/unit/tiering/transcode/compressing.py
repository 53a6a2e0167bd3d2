"""Data sets to compress, and what comes of it, for the tests of compression; holds no test."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from tests.unit.tiering.transcode.building import EXPLICIT, IDENTITY, Module, Samples, converted, element, read
from tiering.transcode import CompressedFacts, CompressPolicy, compress

RPCL = "1.2.840.10008.1.2.4.202"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
SEALED = (RPCL, JPEG_LS, J2K)

WORTH = CompressPolicy()
"""As sealing does."""
FREE = CompressPolicy(min_gain_percent=-100_000)
"""Of whatever size the result is: one pixel grows."""


@dataclass(frozen=True)
class Result:
    """A compressed data set in `uid`."""

    data: bytes
    uid: str
    facts: CompressedFacts

    @property
    def found(self) -> Dataset:
        """Return what pydicom reads."""
        return read(self.data, self.uid)

    @property
    def native(self) -> bytes:
        """Return the data set converted back to Explicit VR Little Endian."""
        return converted(self.data, self.uid)


def native(module: Module, *, behind: bytes = b"", before: bytes = IDENTITY) -> bytes:
    """Return a data set with native pixel data, Explicit VR Little Endian."""
    value = module.samples.astype(module.samples.dtype.newbyteorder("<")).tobytes()
    vr = "OW" if module.samples.dtype.itemsize > 1 else "OB"
    return before + module.encode() + element(0x7FE00010, vr, value + bytes(len(value) % 2)) + behind


def compressed(
    dataset: bytes, *, uid: str = RPCL, source_uid: str = EXPLICIT, policy: CompressPolicy = WORTH
) -> Result:
    """Return a data set compressed."""
    target = io.BytesIO()
    facts = compress(io.BytesIO(dataset), source_uid=source_uid, target_uid=uid, target=target, policy=policy)
    return Result(target.getvalue(), uid, facts)


def smooth(*shape: int, dtype: str = "u2", bits: int = 12) -> Samples:
    """Return a picture that compresses well: a slope that touches both ends of what `bits` hold."""
    signed = np.dtype(dtype).kind == "i"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    ramp = np.linspace(low, high, int(np.prod(shape)))
    return np.rint(ramp).reshape(shape).astype(dtype)
