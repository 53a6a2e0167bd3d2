"""Schedules as shipped, schedules that are refused, and what a site may set."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from datetime import date
from importlib import resources
from pathlib import Path

import pytest

from retention_rules.engine import assess
from retention_rules.errors import InvalidSchedule, InvalidSetting, SettingBelowFloor, UnknownRegime
from retention_rules.facts import parse_facts
from retention_rules.loader import LANGUAGES, load_schedule, read_schedule, role_of, with_settings
from retention_rules.schedule import RetentionSchedule, Rule

ROLES = ("base", "minor", "death", "floor", "immediate_access")


def shipped(regime: str) -> str:
    """Return the text of a shipped schedule."""
    return (resources.files("retention_rules") / "schedules" / f"fr_{regime}.toml").read_text(encoding="utf-8")


def rules(schedule: RetentionSchedule) -> list[Rule]:
    """Return the rules in force today."""
    edition = schedule.in_force(date(2026, 1, 1))
    return [rule for role in ROLES if (rule := getattr(edition, role)) is not None]


class TestShipped:
    """The schedules of the package."""

    @pytest.mark.parametrize(
        ("regime", "years"),
        [
            ("hospital", {"base": 20, "minor": 28, "death": 10, "immediate_access": 3}),
            ("private", {"base": 20, "minor": 28, "death": 10, "floor": 5, "immediate_access": 3}),
        ],
    )
    def test_they_hold_the_numbers_of_the_law(self, regime: str, years: dict[str, int]) -> None:
        """Every number of the contract is in the schedule, a death being soon within ten years."""
        schedule = load_schedule(regime)
        assert schedule.regime == regime and re.fullmatch(rf"fr_{regime} \d{{4}}\.\d+", schedule.version)
        assert {role_of(rule.name): rule.years for rule in rules(schedule)} == years
        assert schedule.editions[-1].death is not None and schedule.editions[-1].death.within_years == 10

    def test_the_floor_is_for_ct_mr_and_mammography(self) -> None:
        """UNCAM's five years are for CT, MR and MG alone."""
        floor = load_schedule("private").editions[-1].floor
        assert floor is not None and floor.modalities == {"CT", "MR", "MG"}

    @pytest.mark.parametrize("regime", ["hospital", "private"])
    def test_each_rule_says_where_it_is_written(self, regime: str) -> None:
        """Every rule has a citation with an address, and an explanation in each language."""
        for rule in rules(load_schedule(regime)):
            assert rule.citation.url.startswith("https://") and rule.label == f"{rule.name} ({rule.citation})"
            assert set(rule.explanations) == set(LANGUAGES)
            assert all(
                "{years}" in template and "{counted_from}" in template for template in rule.explanations.values()
            )

    def test_it_is_read_once(self) -> None:
        """A schedule without settings is the same object every time."""
        assert load_schedule("hospital") is load_schedule("hospital")

    @pytest.mark.parametrize("regime", ["spa", "", "../fr_hospital", "Hospital"])
    def test_there_is_no_other(self, regime: str) -> None:
        """A regime without a schedule is refused, and nothing else is opened."""
        with pytest.raises(UnknownRegime, match="hospital, private"):
            load_schedule(regime)

    def test_the_wheel_has_them(self, tmp_path: Path) -> None:
        """Schedules and golden cases are installed with the package."""
        root = Path(__file__).parents[3]
        words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
        subprocess.run(words, cwd=root, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        shipped_files = {name for name in names if name.startswith("retention_rules/") and name.endswith(".toml")}
        files = {file.relative_to(root).as_posix() for file in (root / "retention_rules").rglob("*.toml")}
        assert shipped_files == files and len(files) >= 8


BASE_20 = 'name = "hospital.base"\nyears = 20\n'
FIRST = "valid_from = 2006-01-05\n"


class TestRefused:
    """A schedule that is not one clear text is not used."""

    @pytest.mark.parametrize(
        ("old", "new", "fault"),
        [
            ("regime = ", "regime ", "not TOML"),
            ('regime = "hospital"', 'regime = "spa"', "'spa' is not one of"),
            ('regime = "hospital"', 'regime = "private"', "no rule of this regime"),
            ('regime = "hospital"', "regime = 1", "regime of the file is not a text"),
            ('regime = "hospital"', 'regime = "hospital"\ncountry = "fr"', "unknown key country"),
            ('version = "fr_hospital 2026.1"\n', "", "the file has no version"),
            ('version = "fr_hospital 2026.1"', 'version = " "', "version is empty"),
            (BASE_20, BASE_20 + "year = 3\n", "unknown key year"),
            (BASE_20, 'name = "hospital.base"\n', "has no years"),
            (BASE_20, 'name = "hospital.base"\nyears = "20"\n', "not a whole number"),
            (BASE_20, 'name = "hospital.base"\nyears = true\n', "not a whole number"),
            (BASE_20, 'name = "hospital.base"\nyears = 0\n', "years out of"),
            (BASE_20, 'name = "hospital.base"\nyears = -20\n', "years out of"),
            (BASE_20, 'name = "hospital.base"\nyears = 5000\n', "years out of"),
            (BASE_20, BASE_20 + "minimum_years = 21\n", "below minimum_years"),
            (BASE_20, BASE_20 + "within_years = 3\n", "within_years is for the death rule"),
            ("within_years = 10\n", "", "within_years is for the death rule"),
            (BASE_20, BASE_20 + 'modalities = ["CT"]\n', "modalities is for the floor"),
            (BASE_20, BASE_20 + "modalities = [1]\n", "not a modality"),
            (BASE_20, BASE_20 + "is_optional = 1\n", "not true or false"),
            (BASE_20, BASE_20.replace("base", "bass"), "no rule of this regime"),
            (BASE_20, BASE_20.replace("base", "minor"), "hospital.base is missing"),
            (FIRST, "valid_from = 2006-01-05T00:00:00\n", "not a date"),
            (FIRST, 'valid_from = "2006-01-05"\n', "not a date"),
            (FIRST, FIRST + "valid_until = 2006-01-05\n", "ends (valid_until) before it begins"),
            (FIRST, FIRST + "valid_until = 2030-01-01\n", "nothing follows"),
            ('article = "article R.1112-7"\n', "", "has no article"),
            ('article = "article R.1112-7"\n', 'article = ""\n', "is empty"),
            ('article = "article R.1112-7"\n', "article = 1112\n", "not a text"),
            ('en = "{years} years from the last', 'de = "{years} years from the last', "unknown key de"),
            ('en = "{years} years from the last', 'en = "{yeras} years from the last', "no 'yeras' here"),
            ('en = "{years} years from the last', 'en = "{years years from the last', "explanations"),
            ('en = "{years} years from the last', 'en = "{} years from the last', "no '' here"),
        ],
    )
    def test_an_unclear_text_is_refused(self, old: str, new: str, fault: str) -> None:
        """A mistake is told with the file and the place, and never taken for something else."""
        text = shipped("hospital")
        assert old in text
        with pytest.raises(InvalidSchedule, match=re.escape(fault)) as caught:
            read_schedule("fr_test", text.replace(old, new, 1))
        assert "Schedule fr_test cannot be used" in caught.value.message

    @pytest.mark.parametrize("text", ["", 'regime = "hospital"\nversion = "1"\nrules = []', "rules = 3", "[[rules]]"])
    def test_an_empty_schedule_is_refused(self, text: str) -> None:
        """A schedule without rules, or without anything, is refused."""
        with pytest.raises(InvalidSchedule):
            read_schedule("fr_test", text)

    def test_a_rule_that_is_no_table_is_refused(self) -> None:
        """A list of words is no list of rules."""
        with pytest.raises(InvalidSchedule, match="rule 1 is not a table"):
            read_schedule("fr_test", 'regime = "hospital"\nversion = "1"\nrules = ["twenty years"]')


def amended(until: str, since: str, years: int = 30) -> str:
    """Return the hospital's schedule with a base that changes: the old one ends, the new one begins."""
    text = shipped("hospital")
    start, end = text.index("[[rules]]"), text.index("[[rules]]", text.index("[[rules]]") + 1)
    block = text[start:end]
    newer = block.replace("years = 20", f"years = {years}").replace("2006-01-05", since)
    older = block.replace(FIRST, FIRST + until)
    return text[:start] + older + newer + text[end:]


class TestEditions:
    """The law changes on a day."""

    def test_the_rule_in_force_on_the_day_applies(self) -> None:
        """A rule that changes applies from its day on, to every study; before the first day the first text does."""
        schedule = read_schedule("fr_test", amended("valid_until = 2028-01-01\n", "2028-01-01"))
        study = parse_facts({"regime": "hospital", "exam_on": "2000-03-02", "birth_on": "1950"})
        found = {day: assess(study, schedule, day).eligible_on for day in (date(2027, 12, 31), date(2028, 1, 1))}
        assert list(found.values()) == [date(2020, 3, 3), date(2030, 3, 3)]
        assert assess(study, schedule, date(2001, 1, 1)).eligible_on == date(2020, 3, 3)

    @pytest.mark.parametrize(
        ("until", "since", "fault"),
        [
            ("", "2028-01-01", "overlap"),
            ("valid_until = 2028-01-02\n", "2028-01-01", "overlap"),
            ("valid_until = 2027-12-31\n", "2028-01-01", "leave a gap"),
            ("valid_until = 2028-01-01\n", "2006-01-05", "overlap"),
        ],
    )
    def test_overlaps_and_gaps_are_refused(self, until: str, since: str, fault: str) -> None:
        """On every day exactly one text of a rule is in force."""
        with pytest.raises(InvalidSchedule, match=f"two versions of hospital.base {fault}"):
            read_schedule("fr_test", amended(until, since))

    def test_settings_apply_to_every_edition(self) -> None:
        """A site's longer period is longer before and after a change."""
        schedule = read_schedule("fr_test", amended("valid_until = 2028-01-01\n", "2028-01-01", 20))
        longer = with_settings(schedule, {"base": 40})
        assert [edition.base.years for edition in longer.editions] == [40, 40]
        assert [edition.valid_from for edition in longer.editions] == [date(2006, 1, 5), date(2028, 1, 1)]

    def test_a_setting_must_suit_every_edition(self) -> None:
        """A setting below the law of any day is refused."""
        schedule = read_schedule("fr_test", amended("valid_until = 2028-01-01\n", "2028-01-01", 30))
        with pytest.raises(SettingBelowFloor, match="30 years at least"):
            with_settings(schedule, {"base": 25})


class TestSettings:
    """A site may keep longer, never shorter than the law."""

    @pytest.mark.parametrize(
        ("regime", "role", "value", "minimum"),
        [
            ("hospital", "base", 19, 20),
            ("hospital", "minor", 27, 28),
            ("hospital", "death", 9, 10),
            ("hospital", "immediate_access", 2, 3),
            ("hospital", "base", 0, 20),
            ("hospital", "base", -1, 20),
            ("private", "base", 4, 5),
            ("private", "floor", 4, 5),
            ("private", "immediate_access", 2, 3),
        ],
    )
    def test_shorter_than_the_law_is_refused(self, regime: str, role: str, value: int, minimum: int) -> None:
        """A number below the law's is refused with the law's number and where it is written."""
        with pytest.raises(SettingBelowFloor, match=f"{minimum} years at least") as caught:
            load_schedule(regime, {role: value})
        assert getattr(load_schedule(regime).editions[-1], role).citation.text in caught.value.message

    @pytest.mark.parametrize(("regime", "role"), [("hospital", role) for role in ROLES if role != "floor"])
    def test_longer_is_taken(self, regime: str, role: str) -> None:
        """Every rule can be lengthened, and the version says so."""
        schedule = load_schedule(regime, {role: 60})
        assert getattr(schedule.in_force(date(2026, 1, 1)), role).years == 60
        assert schedule.version.endswith(f" ({role}=60)")

    def test_a_practice_chooses_its_years(self) -> None:
        """Down to five years a practice is free, and may switch off what no law asks for."""
        schedule = load_schedule("private", {"base": 5, "minor": False, "death": False})
        edition = schedule.editions[-1]
        assert (edition.base.years, edition.minor, edition.death) == (5, None, None)
        assert schedule.version.endswith(" (base=5, death=false, minor=false)")
        assert load_schedule("private", {"minor": True}).editions[-1].minor is not None

    @pytest.mark.parametrize(
        ("regime", "settings"),
        [
            ("hospital", {"death": False}),
            ("hospital", {"minor": False}),
            ("private", {"floor": False}),
            ("private", {"base": False}),
            ("private", {"immediate_access": False}),
            ("hospital", {"floor": 6}),
            ("hospital", {"valid_from": 6}),
            ("hospital", {"bass": 30}),
            ("hospital", {"base": 1001}),
            ("hospital", {"base": "30"}),
            ("hospital", {"base": 30.5}),
        ],
    )
    def test_other_settings_are_refused(self, regime: str, settings: dict[str, int]) -> None:
        """What the law asks for cannot be switched off, and a setting that means nothing is refused."""
        with pytest.raises(InvalidSetting):
            load_schedule(regime, settings)
