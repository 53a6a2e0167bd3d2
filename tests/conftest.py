"""How property tests run: at random for whoever develops, the same every time in CI; must not hold a fixture."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

pytest_plugins: Final = ["tests.ceph"]

# A busy machine is no failure: tests have timeouts of their own.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
