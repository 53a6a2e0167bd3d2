"""What the tests of HL7 share; must not hide a failure."""

from __future__ import annotations

import io

import pytest

from archive import logs


@pytest.fixture(autouse=True)
def _plain_logs() -> None:
    """Configure logs as the archive does: unconfigured, structlog draws a picture of every error."""
    logs.configure("info", "json", stream=io.StringIO())
