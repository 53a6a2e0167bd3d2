"""Templates: everything escaped, nothing undefined, files under addresses that change with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from jinja2 import UndefinedError
from markupsafe import escape

from archive.console.catalogue import LANGUAGES
from archive.console.rendering import POLICY, STATIC, asset, environment

TEMPLATES = sorted(path.name for path in (Path(str(STATIC)).parent / "templates").glob("*.html"))
COLOUR = re.compile(r"--([a-z-]+): (#[0-9a-f]{3,6})")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_can_be_read(name: str, language: str) -> None:
    """No template has a mistake that only shows when somebody opens its page."""
    made = environment("fr" if language == "fr" else "en")
    assert made.get_template(name).name == name
    assert made.autoescape is True


@given(st.text(max_size=50))
def test_whatever_is_put_into_a_page_is_escaped(text: str) -> None:
    """Text of others cannot end an element or an attribute."""
    page = environment("en").from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text)
    assert page == f'<p title="{escape(text)}">{escape(text)}</p>'


def test_a_value_that_was_not_given_is_an_error() -> None:
    """A page with a hole is not shown."""
    with pytest.raises(UndefinedError):
        environment("en").from_string("{{ nothing }}").render()


def test_a_static_file_has_an_address_of_its_bytes() -> None:
    """The same bytes, the same address; a file that is not there is our mistake."""
    assert re.fullmatch(r"/console/static/console\.css\?[0-9a-f]{12}", asset("console.css"))
    assert asset("console.css") == asset("console.css") != asset("console.js")
    with pytest.raises(FileNotFoundError):
        asset("nothing.css")


def test_the_policy_has_no_exception() -> None:
    """Nothing inline, nothing from elsewhere, no frame around us."""
    assert "unsafe" not in POLICY and "http" not in POLICY and "*" not in POLICY
    assert POLICY.startswith("default-src 'none'")


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2, relative luminance)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return how light a colour is, from 0 to 1."""
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(each * 2 for each in digits)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def schemes() -> list[dict[str, str]]:
    """Return the colours of light and of dark by name."""
    light, dark = (STATIC / "console.css").read_text().split("@media (prefers-color-scheme: dark)")[:2]
    return [dict(COLOUR.findall(light)), dict(COLOUR.findall(dark.split("*,")[0]))]


@pytest.mark.parametrize("colours", schemes(), ids=["light", "dark"])
def test_colours_can_be_told_apart(colours: dict[str, str]) -> None:
    """Text has 4.5:1 against what lies behind it (WCAG 1.4.3), what is drawn and edges of fields 3:1 (1.4.11)."""
    texts = [("ink", "surface"), ("ink", "page"), ("ink", "raised"), ("muted", "surface"), ("muted", "raised")]
    texts += [("muted", "page"), ("accent", "surface"), ("accent", "page"), ("on-accent", "accent"), ("on-bar", "bar")]
    texts += [("bar-muted", "bar"), *((kind, f"{kind}-bg") for kind in ("ok", "warn", "bad", "info", "calm"))]
    assert [pair for pair in texts if contrast(colours[pair[0]], colours[pair[1]]) < 4.5] == []
    drawn = [("edge", "surface"), *((name, "surface") for name in ("t-deciding", "t-access", "t-stop", "t-hold"))]
    assert [pair for pair in drawn if contrast(colours[pair[0]], colours[pair[1]]) < 3] == []
    assert colours.keys() == schemes()[0].keys()
