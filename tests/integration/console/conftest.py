"""A furnished archive for the tests that look, and an empty one for those that act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console_house import House, furnish, images, open_house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Lend an archive with something for every page; only to be looked at."""
    with open_house(tmp_path_factory.mktemp("house")) as house:
        furnish(house)
        yield house


@pytest.fixture
def office(tmp_path: Path) -> Iterator[House]:
    """Lend an archive with two studies whose time is over, and one that is kept."""
    with open_house(tmp_path) as house:
        house.receive(*images(1), *images(2, exam_on="19990304"), *images(3, exam_on="20200101"))
        yield house
