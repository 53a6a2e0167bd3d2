"""Images that look enough like real ones to be compressed with loss; must not be taken for an anatomy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def slice_of(number: int, *, size: int = 128, noise: float = 12.0) -> NDArray[Any]:
    """Return a slice of a body in air, in HU, 16 bits signed; ``noise`` is its standard deviation."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size] - size / 2
    inside = x**2 + y**2 < (size / 2.3 - number % 3) ** 2
    values = np.where(inside, 40 + 60 * np.sin(x / 5) + 400 * (x**2 + y**2 < 30), -1000.0)
    found: NDArray[Any] = (values + rng.normal(0, noise, values.shape)).round().clip(-2048, 2047).astype("i2")
    return found
