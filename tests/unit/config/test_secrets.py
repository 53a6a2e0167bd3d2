"""Settings: the database password is never shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from archive.config import (
    MASK,
    Settings,
    mask_url,
)
from tests.unit.config.samples import EVERY_SETTING, Load, refusal


class TestSecrets:
    """The database password."""

    URL = "postgresql://archive:hunter2@db.example/archive"

    def test_masked_settings_hide_the_password_only(self, load: Load) -> None:
        """What is shown has the user and the host of the database, not its password."""
        shown = load(EVERY_SETTING).masked()
        assert shown["index"]["url"] == f"postgresql://archive:{MASK}@db.example:5432/archive"
        assert "hunter2" not in json.dumps(shown)

    def test_masked_settings_are_json_and_whole(self, load: Load) -> None:
        """What is shown goes through JSON unchanged and has every section."""
        shown = load(EVERY_SETTING).masked()
        assert json.loads(json.dumps(shown)) == shown
        assert set(shown) == set(Settings.model_fields)
        assert shown["dicom"]["peers"][0]["addresses"] == ["10.1.0.0/16", "192.168.7.4/32"]

    def test_repr_hides_the_password(self, load: Load) -> None:
        """Settings printed by accident do not show the password."""
        settings = load("", **{"index.url": self.URL})
        assert "hunter2" not in repr(settings) + str(settings) + repr(settings.index)

    def test_refusal_of_a_url_does_not_quote_it(self, load: Load) -> None:
        """A wrong URL is refused without its password reaching the message or the chain of errors."""
        error = refusal(load, "", **{"index.url": "mysql://archive:hunter2@h/db"})
        assert "hunter2" not in error.message
        assert error.__cause__ is None and error.__suppress_context__

    @pytest.mark.parametrize(
        ("url", "masked"),
        [
            ("postgresql://u:p@h/db", f"postgresql://u:{MASK}@h/db"),
            ("postgresql://u@h/db", "postgresql://u@h/db"),
            ("postgresql://h:5432/db", "postgresql://h:5432/db"),
            ("postgresql://u:p@h/db?sslpassword=q&x=1", f"postgresql://u:{MASK}@h/db?sslpassword={MASK}&x=1"),
            ("postgresql://h/db?user=u&password=p", f"postgresql://h/db?user=u&password={MASK}"),
            ("sqlite:////srv/a:b@c.db", "sqlite:////srv/a:b@c.db"),
        ],
    )
    def test_mask_url(self, url: str, masked: str) -> None:
        """The password is masked in the authority and in the query; nothing else changes."""
        assert mask_url(url) == masked

    @given(password=st.text("abcXYZ019!$%~:-@/?#&=", min_size=6, max_size=20))
    def test_no_password_survives_masking(self, password: str) -> None:
        """Whatever the password is made of, it is not in the masked URL."""
        url = f"postgresql://archive:{password}@db.example/archive"
        assert mask_url(url) == f"postgresql://archive:{MASK}@db.example/archive"
