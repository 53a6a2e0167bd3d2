"""Settings: sites, and who owns what a sender sends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from archive.config import (
    Site,
)
from tests.unit.config.samples import EVERY_SETTING, Load, named, reason, refusal


class TestSites:
    """[[sites]] and who owns what."""

    @pytest.mark.parametrize(
        ("ae_title", "site"),
        [("CT1", "CHU"), ("MR1", "CHU"), ("US1", "Cabinet Nord"), ("STRANGER", "Clinique Sainte-Anne")],
    )
    def test_site_of_a_sender(self, load: Load, ae_title: str, site: str) -> None:
        """An AE title belongs to the site that lists it, any other to the default site."""
        assert load(EVERY_SETTING).site_of(ae_title).name == site

    def test_only_site_is_the_default_site(self, load: Load) -> None:
        """One site needs no default_site."""
        assert load("[[sites]]\nname='CHU'\n").default_site == "CHU"

    def test_default_site_alone_names_the_site(self, load: Load) -> None:
        """A default_site without sites gives the one site its name."""
        assert load("default_site = 'CHU'\n").site_of("X") == Site(name="CHU")

    def test_several_sites_need_a_default(self, load: Load) -> None:
        """With several sites the operator says which one owns what strangers send."""
        error = refusal(load, "[[sites]]\nname='A'\n[[sites]]\nname='B'\n")
        assert named(error) == "default_site" and "choose one of: A, B" in reason(error)

    def test_default_site_must_be_listed(self, load: Load) -> None:
        """A default_site that is not among the sites is refused."""
        error = refusal(load, "default_site='C'\n[[sites]]\nname='A'\n")
        assert named(error) == "default_site" and "'C' is not a site; choose one of: A" in reason(error)

    def test_ae_title_in_two_sites_is_refused(self, load: Load) -> None:
        """A study has one owner, so an AE title has one site."""
        text = "default_site='A'\n[[sites]]\nname='A'\ncalling_ae_titles=['X']\n[[sites]]\nname='B'\n"
        error = refusal(load, text + "calling_ae_titles=['X']\n")
        assert named(error) == "sites" and "AE title 'X' is given twice" in reason(error)

    def test_same_name_twice_is_refused(self, load: Load) -> None:
        """Two sites of one name are refused."""
        error = refusal(load, "default_site='A'\n[[sites]]\nname='A'\n[[sites]]\nname='A'\n")
        assert "site name 'A' is given twice" in reason(error)

    @pytest.mark.parametrize(
        ("kind", "regime", "fits"),
        [
            ("public", "hospital", True),
            ("public", "private", False),
            ("espic", "hospital", True),
            ("espic", "private", False),
            ("private_clinic", "hospital", True),
            ("private_clinic", "private", True),
            ("practice", "private", True),
            ("practice", "hospital", False),
        ],
    )
    def test_regime_fits_kind(self, load: Load, kind: str, regime: str, fits: bool) -> None:
        """A practice keeps by the private regime, public and ESPIC hospitals by R.1112-7 CSP."""
        text = f"[[sites]]\nname='A'\nkind='{kind}'\nregime='{regime}'\n"
        if fits:
            assert (load(text).sites[0].kind, load(text).sites[0].regime) == (kind, regime)
        else:
            assert f'kind "{kind}" goes with regime' in reason(refusal(load, text))

    @pytest.mark.parametrize("name", ["", "a\nb", "x" * 65])
    def test_name_is_one_short_line(self, load: Load, name: str) -> None:
        """A site's name is one line of 1 to 64 characters."""
        assert named(refusal(load, f"[[sites]]\nname={json.dumps(name)}\n")) == "sites.0.name"

    @pytest.mark.parametrize("finess", ["970000006", "123456782", "2A0000014", None])
    def test_good_finess_is_silent(self, finess: str | None) -> None:
        """A FINESS number with a right check digit, or of Corsica, raises no doubt."""
        assert Site(name="A", finess=finess).finess_warning is None

    @pytest.mark.parametrize(
        ("finess", "words"),
        [
            ("970000007", "wrong check digit"),
            ("123456728", "wrong check digit"),
            ("12345", "not 9 characters"),
            ("2C0000014", "not 9"),
        ],
    )
    def test_odd_finess_is_a_warning(self, load: Load, finess: str, words: str) -> None:
        """An odd FINESS number warns, naming the site, and refuses nothing."""
        (warning,) = load(f"[[sites]]\nname='CHU'\nfiness='{finess}'\n").warnings
        assert warning.startswith(f"site CHU: FINESS {finess}") and words in warning

    @given(digits=st.text("0123456789", min_size=9, max_size=9), place=st.integers(0, 8), step=st.integers(1, 9))
    def test_one_wrong_digit_is_always_noticed(self, digits: str, place: int, step: int) -> None:
        """Of two FINESS numbers that differ in one digit, at most one has a right check digit."""
        other = digits[:place] + str((int(digits[place]) + step) % 10) + digits[place + 1 :]
        doubts = [Site(name="A", finess=number).finess_warning for number in (digits, other)]
        assert any(doubt is not None for doubt in doubts)
