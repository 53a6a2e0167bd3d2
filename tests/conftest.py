"""How property tests run: at random for whoever develops, the same every time in CI; must not hold a fixture."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
