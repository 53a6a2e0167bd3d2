"""The nouns that look at an archive without serving it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pytest

from archive.errors import AuditBroken
from archive.services.drops import DayCompared
from archive.services.reports import (
    AuditItem,
    ColdVerifyReport,
    ImportReport,
    QuarantineItem,
    RebuildReport,
    VerifyReport,
    VerifyWanted,
)
from archive.services.slo import ProbeSummary
from tests.unit.cli.conftest import MOMENT, Drimbox, FakeOffline

STORED = AuditItem(7, MOMENT, "stored", "CT1", {"sop_instance_uid": "1.2.3", "size_bytes": 512}, "ab" * 32)
CONFIGURED = AuditItem(8, MOMENT, "configured", "drimbox", {}, "cd" * 32)
KEPT = QuarantineItem("20261123/q1", "conflicting instance", "1.2.3", "CT1", "10.0.0.7", 2048, MOMENT)


def values(text: str) -> Mapping[str, str]:
    """Return the ``name: value`` lines of an answer."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


class TestStatus:
    """drimbox status."""

    def test_people_get_counts_sizes_and_associations(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """The answer has counts, sizes with units, studies by site, then one line for each association."""
        result = drimbox("status")
        told, _, associations = result.stdout.partition("\n\n")
        assert values(told) == {
            "home": "/srv/home",
            "database": "sqlite",
            "patients": "2",
            "studies": "3",
            "series": "4",
            "instances": "500",
            "size": "3.0 MiB",
            "free": "5.0 GiB",
            "in quarantine": "1",
            "studies of CHU": "2",
            "studies of Cabinet Nord": "1",
        }
        header, line = associations.splitlines()
        assert header.split() == ["started", "calling", "from", "outcome", "stored", "retrieved", "found", "refused"]
        assert line.split() == ["2026-11-23", "06:35:29Z", "CT1", "10.0.0.7", "released", "3", "0", "0", "0"]

    def test_what_dropped_and_what_was_measured_is_told(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """A line for each stream that fell, and for each tier and site that was probed."""
        drop = DayCompared("CHU", "CT", date(2026, 11, 23), 12, 120, 400.0, -70.0, is_drop=True)
        good = ProbeSummary("hot", "CHU", 9, 0, 9, (100, 120, 130), (3000, 3400, 3500), MOMENT)
        bad = ProbeSummary("cold", "CHU", 2, 2, 0, None, None, MOMENT)
        archive.status_report = replace(archive.status_report, drops=(drop,), probes=(good, bad))
        told = values(drimbox("status").stdout)
        assert told["fewer CT of CHU"] == "120 on 2026-11-23, 400 on the same weekdays before (-70 %)"
        assert told["probe, hot, CHU"] == "first image 0.12 s, series 3.40 s (p95), 9 of 9 in time"
        assert told["probe, cold, CHU"] == "2 of 2 failed"

    def test_no_association_no_table(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Before the first association there is no empty table."""
        archive.status_report = replace(archive.status_report, associations=())
        assert "started" not in drimbox("status").stdout

    def test_json_has_every_field(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """JSON has sizes in bytes and moments in ISO 8601."""
        told = json.loads(drimbox("status", "--json").stdout)
        assert told["size_bytes"] == 3 * 1024 * 1024 and told["studies_by_site"] == {"CHU": 2, "Cabinet Nord": 1}
        (association,) = told["associations"]
        assert association["started_at"] == "2026-11-23T06:35:29.123456Z"
        assert (association["stored"], association["bytes_in"], association["outcome"]) == (3, 1536, "released")


class TestVerify:
    """drimbox verify."""

    def test_whole_storage_is_0(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """When every byte is the byte received, the answer counts them and the exit code is 0."""
        result = drimbox("verify")
        assert result.exit_code == 0
        assert values(result.stdout) == {"checked": "12", "damaged": "0", "missing": "0"}

    @pytest.mark.parametrize("report", [VerifyReport(12, ["20261123/1/7"], []), VerifyReport(12, [], ["20261123/1/7"])])
    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_damage_is_17(self, drimbox: Drimbox, archive: FakeOffline, report: VerifyReport, flags: list[str]) -> None:
        """One damaged or missing object is named and is the exit code of a fixity error, in both forms."""
        archive.verify_report = report
        result = drimbox("verify", *flags)
        assert result.exit_code == 17
        assert "20261123/1/7" in result.stdout

    def test_every_failed_object_has_its_line(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Each failed object is one line with what is wrong with it."""
        archive.verify_report = VerifyReport(12, ["k1", "k2"], ["k3"])
        lines = drimbox("verify").stdout.splitlines()
        assert [line.split() for line in lines[:3]] == [["damaged", "k1"], ["damaged", "k2"], ["missing", "k3"]]

    def test_a_part_of_a_tier_can_be_asked_for(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Tier, percentage and speed reach the service; nobody repairs unless somebody asks for it."""
        assert drimbox("verify", "--tier", "cold", "--percent", "2.5", "--mib-per-second", "40").exit_code == 0
        assert archive.asked == [("verify", VerifyWanted("cold", 2.5, 40.0, None))]

    @pytest.mark.parametrize("wrong", [["--percent", "0"], ["--percent", "101"], ["--tier", "warm"], ["--repair"]])
    def test_what_makes_no_sense_is_refused(self, drimbox: Drimbox, archive: FakeOffline, wrong: list[str]) -> None:
        """No part, more than all, a tier that is none, a repair in nobody's name: nothing is read."""
        assert drimbox("verify", *wrong).exit_code == 2
        assert archive.asked == []

    def test_the_cold_tier_is_told_too(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Its packs are counted, what is damaged, orphaned or unused is named, and damage is the exit code."""
        cold = ColdVerifyReport(5, 2048, ["a/b.zip"], (), (), ["x/o.zip"], ["x/u.zip"])
        archive.verify_report = VerifyReport(12, (), (), cold)
        result = drimbox("verify")
        assert result.exit_code == 17
        lines = [line.split()[:2] for line in result.stdout.splitlines()[:3]]
        assert lines == [["damaged", "a/b.zip"], ["orphan", "x/o.zip"], ["unused", "x/u.zip"]]
        assert values(result.stdout)["cold packs checked"] == "5"

    def test_what_could_not_be_read_is_partly_done(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """A store that does not answer is no damage, and not all right either."""
        archive.verify_report = VerifyReport(12, (), (), ColdVerifyReport(0, 0, not_read=[("a/b.zip", "no answer")]))
        result = drimbox("verify")
        assert result.exit_code == 3 and "no answer" in result.stdout

    @pytest.mark.parametrize(("left", "code"), [((), 0), ([("a/b.zip", "no other copy")], 17)])
    def test_what_was_repaired_is_right_again(
        self, drimbox: Drimbox, archive: FakeOffline, left: list[tuple[str, str]], code: int
    ) -> None:
        """A hot copy and a cold pack whose packs were repaired count as right; one that was not does not."""
        cold = ColdVerifyReport(5, 2048, ["a/b.zip"])
        repaired = [("a/h.zip", "a/h2.zip"), *([] if left else [("a/b.zip", "a/b2.zip")])]
        archive.verify_report = VerifyReport(12, ["a/h.zip/000001.dcm"], (), cold, repaired, left)
        result = drimbox("verify")
        assert result.exit_code == code and "a/h2.zip" in result.stdout


class TestAddCold:
    """drimbox index add-cold."""

    def test_what_is_taken_in_is_counted(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Packs and instances, and lossy packs that nobody needs."""
        archive.add_cold_report.not_needed = 1
        result = drimbox("index", "add-cold")
        assert result.exit_code == 0 and archive.asked == ["add_cold"]
        assert values(result.stdout)["packs"] == "2" and "1 lossy packs are not needed" in result.stdout

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_problems_are_told_and_exit_with_3(self, drimbox: Drimbox, archive: FakeOffline, flags: list[str]) -> None:
        """A pack that is left where it lies is named with the reason."""
        archive.add_cold_report.problems.append(("a/b.zip", "it is frozen"))
        result = drimbox("index", "add-cold", *flags)
        assert result.exit_code == 3 and "a/b.zip" in result.stdout and "it is frozen" in result.stdout


class TestRebuild:
    """drimbox index rebuild."""

    def test_the_cold_store_can_be_left_out(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Only when the operator says so."""
        assert drimbox("index", "rebuild", "--hot-only").exit_code == 0
        assert archive.asked == ["rebuild_index of hot copies"]

    def test_rebuilt_index_is_counted(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """A rebuild without problems says what it found and exits with 0."""
        result = drimbox("index", "rebuild")
        assert result.exit_code == 0 and archive.asked == ["rebuild_index"]
        assert values(result.stdout) == {"instances": "12", "in quarantine": "1", "problems": "0"}

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_problems_are_told_and_exit_with_3(self, drimbox: Drimbox, archive: FakeOffline, flags: list[str]) -> None:
        """A file that could not be read is named, and the work is partly done."""
        archive.rebuild_report = RebuildReport(11, 0, ["20261123/1/7: not ours"])
        result = drimbox("index", "rebuild", *flags)
        assert result.exit_code == 3 and "20261123/1/7: not ours" in result.stdout


class TestImport:
    """drimbox import."""

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> None:
        (tmp_path / "a.dcm").touch()
        (tmp_path / "folder").mkdir()

    def test_paths_are_handed_over_in_order(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Files and folders reach the service as they were given."""
        result = drimbox("import", "folder", "a.dcm")
        assert result.exit_code == 0
        assert archive.asked == [("import_paths", (Path("folder"), Path("a.dcm")))]

    def test_counts_are_told(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """What was stored, known, refused and skipped is counted; duplicates and other files are no failure."""
        told = values(drimbox("import", "a.dcm").stdout)
        assert (told["stored"], told["already stored"], told["refused"], told["not DICOM"]) == ("3", "2", "0", "1")

    @pytest.mark.parametrize(
        "report",
        [ImportReport(1, 0, 0, [("a.dcm", "no UID")], 0), ImportReport(1, 0, 1, [], 0)],
        ids=["refused", "conflict"],
    )
    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_what_was_not_taken_in_exits_with_3(
        self, drimbox: Drimbox, archive: FakeOffline, report: ImportReport, flags: list[str]
    ) -> None:
        """A refused file or a conflict means the import is partly done."""
        archive.import_report = report
        assert drimbox("import", "a.dcm", *flags).exit_code == 3

    def test_refused_files_are_named_with_their_reason(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Each refused file is one line: path and reason."""
        archive.import_report = ImportReport(0, 0, 0, [("a.dcm", "no Study Instance UID")], 0)
        assert drimbox("import", "a.dcm").stdout.splitlines()[0] == "a.dcm  no Study Instance UID"

    def test_path_that_is_not_there_is_wrong_usage(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """A mistyped path stops the import before it begins."""
        result = drimbox("import", "a.dcm", "gone.dcm")
        assert result.exit_code == 2 and "gone.dcm" in result.stderr and archive.asked == []

    def test_json_has_the_report(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """JSON is the report as it is."""
        told = json.loads(drimbox("import", "a.dcm", "--json").stdout)
        assert told == {"stored": 3, "duplicates": 2, "conflicts": 0, "refused": [], "skipped": 1}


class TestAudit:
    """drimbox audit."""

    def test_whole_chain_is_told_with_its_head(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """A chain that holds is told with its length and the hash that seals it."""
        ledger = {"ledger events": "4", "ledger head": "cd" * 32}
        assert values(drimbox("audit", "verify").stdout) == {"entries": "9", "head": "ab" * 32, **ledger}
        report = {"entries": 9, "head": "ab" * 32, "ledger_events": 4, "ledger_head": "cd" * 32}
        assert json.loads(drimbox_json(drimbox, archive, "audit", "verify")) == report

    def test_broken_chain_is_19(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """A chain that does not hold is told with the entry, and has an exit code of its own."""
        archive.error = AuditBroken(sequence=7, reason="its hash is another one")
        result = drimbox("audit", "verify")
        assert result.exit_code == 19 and "broken at entry 7: its hash is another one" in result.stderr

    def test_entries_are_lines(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Each entry is one line: number, moment, event, actor and what, in order."""
        archive.audit_items = (STORED, CONFIGURED)
        header, first, second = drimbox("audit", "list").stdout.splitlines()
        assert header.split() == ["number", "at", "event", "actor", "what"]
        assert first.split()[:5] == ["7", "2026-11-23", "06:35:29Z", "stored", "CT1"]
        assert first.endswith('{"sop_instance_uid": "1.2.3", "size_bytes": 512}')
        assert second.split()[0] == "8"

    def test_json_has_hashes_and_bodies(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """JSON is a list of whole entries."""
        archive.audit_items = (STORED,)
        (entry,) = json.loads(drimbox("audit", "list", "--json").stdout)
        assert entry["hash"] == "ab" * 32 and entry["body"] == {"sop_instance_uid": "1.2.3", "size_bytes": 512}
        assert entry["at"] == "2026-11-23T06:35:29.123456Z"

    @pytest.mark.parametrize(
        ("flags", "asked"),
        [
            ([], ("iter_audit", None, 50)),
            (["--event", "refused"], ("iter_audit", "refused", 50)),
            (["--limit", "3"], ("iter_audit", None, 3)),
        ],
    )
    def test_event_and_limit_are_handed_over(
        self, drimbox: Drimbox, archive: FakeOffline, flags: list[str], asked: object
    ) -> None:
        """The kind of event and the number of entries choose what is read; the latest 50 by default."""
        drimbox("audit", "list", *flags)
        assert archive.asked == [asked]

    def test_limit_below_one_is_wrong_usage(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Asking for no entries is a mistake."""
        assert drimbox("audit", "list", "--limit", "0").exit_code == 2


class TestQuarantine:
    """drimbox quarantine."""

    def test_objects_are_lines(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Each object is one line: when, from whom, how large, its key, and why it was not taken in."""
        archive.quarantine_items = (KEPT,)
        header, line = drimbox("quarantine", "list").stdout.splitlines()
        assert header.split() == ["received", "calling", "size", "key", "reason"]
        assert line.split(maxsplit=6) == [
            *["2026-11-23", "06:35:29Z", "CT1", "2.0", "KiB", "20261123/q1"],
            "conflicting instance",
        ]

    def test_empty_quarantine_is_an_empty_list(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """Nothing in quarantine is an empty list, not an error."""
        result = drimbox("quarantine", "list", "--json")
        assert result.exit_code == 0 and json.loads(result.stdout) == []

    def test_json_has_every_field(self, drimbox: Drimbox, archive: FakeOffline) -> None:
        """JSON has the identifiers a script needs to go on."""
        archive.quarantine_items = (KEPT,)
        (item,) = json.loads(drimbox("quarantine", "list", "--json").stdout)
        assert (item["key"], item["sop_instance_uid"], item["size_bytes"]) == ("20261123/q1", "1.2.3", 2048)
        assert item["peer_address"] == "10.0.0.7" and item["resolved_at"] is None


class TestVersion:
    """drimbox version."""

    def test_version_is_the_distribution_s(self, drimbox: Drimbox) -> None:
        """The version is that of the installed distribution, in both forms."""
        number = version("drimbox-archive")
        assert drimbox("version").stdout == f"drimbox {number}\n"
        assert json.loads(drimbox("version", "--json").stdout) == {"version": number}


def drimbox_json(drimbox: Drimbox, archive: FakeOffline, *arguments: str) -> str:
    """Run a command again with --json, on the archive opened anew."""
    archive.closed = 0
    return drimbox(*arguments, "--json").stdout
