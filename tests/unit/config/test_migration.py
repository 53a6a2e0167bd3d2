"""[migration]: what may be set about studies going cold, and in which words the rest is refused."""

from __future__ import annotations

import pytest

from tests.unit.config.samples import EVERY_SETTING, Load, named, reason, refusal


def test_everything_is_read(load: Load) -> None:
    """Every setting, and each of the rules."""
    migration = load(EVERY_SETTING).migration
    assert (migration.enabled, migration.grace_days, migration.window) == (True, 90, "20:00-06:00")
    assert (migration.weekdays, migration.time_zone, migration.cpu_share) == (("sat", "sun"), "Europe/Brussels", 25)
    assert (migration.attempts, migration.concurrency, migration.extra_days) == (2, 1, 365)
    assert (migration.min_study_mib, migration.never_modalities, migration.held) == (1.5, ("MG",), "cold_lossless")
    assert migration.prices == {"hot": 0.1, "folder": 0.02}
    (rule,) = migration.rules
    assert (rule.site, rule.modalities, rule.extra_days, rule.never, rule.lossless) == (
        *("CHU", ("XA", "RF"), 730),
        *(True, True),
    )


def test_without_settings_nothing_moves(load: Load) -> None:
    """Off, held studies stay, thirty days of grace, at any time of day once it is on."""
    migration = load("").migration
    assert (migration.enabled, migration.held, migration.grace_days, migration.rules) == (False, "stay", 30, ())
    assert (migration.window, len(migration.weekdays)) == ("", 7)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("grace_days = 0", "grace_days", "greater than or equal to 1"),
        ("window = '8:00-9:00'", "window", "match pattern"),
        ("window = '24:00-06:00'", "window", "match pattern"),
        ("weekdays = ['fri', 'lundi']", "weekdays.1", "'mon', 'tue'"),
        ("time_zone = 'Europe/Atlantis'", "time_zone", "no time zone 'Europe/Atlantis'"),
        ("cpu_share = 0", "cpu_share", "greater than 0"),
        ("cpu_share = 101", "cpu_share", "less than or equal to 100"),
        ("attempts = 0", "attempts", "greater than or equal to 1"),
        ("extra_days = -1", "extra_days", "greater than or equal to 0"),
        ("min_study_mib = inf", "min_study_mib", "finite"),
        ("never_modalities = ['mg']", "never_modalities.0", "match pattern"),
        ("held = 'lossy'", "held", "'stay' or 'cold_lossless'"),
        ("prices = { hot = -1 }", "prices.hot", "greater than or equal to 0"),
        ("prices = { hot = nan }", "prices.hot", "finite"),
        ("[[migration.rules]]\nmodalities = ['CT']", "rules.0", "the rule changes nothing"),
        ("[[migration.rules]]\nnever = true\nsight = 'x'", "rules.0.sight", "did you mean site?"),
    ],
)
def test_what_is_wrong_is_named(load: Load, text: str, name: str, words: str) -> None:
    """The setting by its dotted name, and what it may be."""
    error = refusal(load, f"[migration]\n{text}")
    assert named(error) == f"migration.{name}"
    assert words in reason(error)


def test_a_rule_is_for_a_site_there_is(load: Load) -> None:
    """A misspelt site would keep nothing: it is refused."""
    sites = "[[sites]]\nname = 'CHU'\n[[sites]]\nname = 'Clinique'\n"
    rule = "[[migration.rules]]\nsite = {!r}\nnever = true\n"
    text = "default_site = 'CHU'\n" + sites
    assert load(text + rule.format("Clinique")).migration.rules[0].site == "Clinique"
    error = refusal(load, text + rule.format("CHUV"))
    assert named(error) == "migration" and "'CHUV' of a rule is not a site" in reason(error)
