"""C-FIND asked by DCMTK's findscu of a running archive: levels, matching, character sets, limits, cancellation."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.archive_process import ArchiveProcess, running_archive
from tests.dcmtk import run, storescu
from tests.objects import ROOT, ct_dataset, part10_bytes

LATIN, UTF8, JAPANESE = "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87"
MR = "1.2.840.10008.5.1.4.1.1.4"
PATIENTS = (
    # study, patient, character set, date, modality, accession
    (1, "MOREAU^Hélène", LATIN, "20240115", "CT"),
    (2, "Moreau^Helene^Marie", UTF8, "20240116", "MR"),
    (3, "DVOŘÁK^Antonín", UTF8, "20240117", "CT"),
    (4, "Yamada^Tarou=山田^太郎=やまだ^たろう", JAPANESE, "20240118", "CT"),
    (5, "LE GOFF^Noël", LATIN, "20230101", "MR"),
)


@dataclass
class Answer:
    """What findscu said: the answers it extracted and the words it used for the statuses."""

    datasets: Sequence[Dataset]
    words: str

    @property
    def final(self) -> str:
        """Return the final status."""
        found = re.findall(r"Received Final Find Response \((.*)\)|DIMSE Status +: 0x[0-9a-f]{4}: (.*)", self.words)
        assert found, self.words
        return "".join(found[-1])

    def values(self, keyword: str) -> list[str]:
        """Return one attribute of all answers, sorted."""
        return sorted(str(ds.get(keyword)) for ds in self.datasets)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveProcess]:
    """Five studies of five patients, two series of two images each, pushed by storescu; at most 8 answers."""
    root = tmp_path_factory.mktemp("find")
    folder = root / "objects"
    folder.mkdir()
    with running_archive(root / "home", config="[dicom]\nfind_limit = 8\n") as running:
        for study, name, charset, date, modality in PATIENTS:
            for series in (1, 2):
                for number in (1, 2):
                    ds = ct_dataset(number, study=study, series=series, SpecificCharacterSet=charset.split("\\"))
                    ds.PatientName, ds.StudyDate, ds.Modality = name, date, modality
                    ds.SOPClassUID = MR if modality == "MR" else ds.SOPClassUID
                    (folder / f"{study}-{series}-{number}.dcm").write_bytes(part10_bytes(ds))
        pushed = storescu(running, "+sd", folder, "-xe")
        assert pushed.returncode == 0, pushed.stderr
        yield running


def find(archive: ArchiveProcess, *keys: str, root: str = "-S", options: Sequence[str | Path] = ()) -> Answer:
    """Ask with keys as findscu writes them."""
    arguments: list[str | Path] = [root, *options]
    for key in keys:
        arguments += ["-k", key]
    return _find(archive, arguments)


def _find(archive: ArchiveProcess, arguments: Sequence[str | Path]) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        said = run(
            "findscu", "-v", "-X", "-od", folder, "-aec", archive.ae_title, archive.host, str(archive.port), *arguments
        )
        answers = [dcmread(path, force=True) for path in sorted(Path(folder).glob("rsp*.dcm"))]
        for ds in answers:
            ds.decode()
        return Answer(answers, said.stdout + said.stderr)


def ask_in(archive: ArchiveProcess, charset: str, tmp_path: Path, **keys: str) -> Answer:
    """Ask with an identifier written by pydicom in a character set of its own."""
    ds = Dataset()
    ds.SpecificCharacterSet, ds.QueryRetrieveLevel = charset.split("\\"), "STUDY"
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    path = tmp_path / f"query-{generate_uid()}.dcm"
    ds.file_meta = Dataset()  # type: ignore[assignment]
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, ds, implicit_vr=False, little_endian=True)
    return _find(archive, ["-S", path])


# ---- levels ----------------------------------------------------------------------------------------------------------


def test_study_root_finds_studies_with_their_counts(archive: ArchiveProcess) -> None:
    """One study by its patient: what was asked, the counts, the modalities, where and how soon to get it."""
    answer = find(
        archive,
        "QueryRetrieveLevel=STUDY",
        "PatientID=PID1",
        "PatientName",
        "StudyInstanceUID",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "InstanceAvailability",
    )
    (ds,) = answer.datasets
    assert answer.final == "Success"
    assert (ds.StudyInstanceUID, ds.PatientName, ds.ModalitiesInStudy) == (f"{ROOT}.1", "MOREAU^Hélène", "CT")
    assert (ds.NumberOfStudyRelatedSeries, ds.NumberOfStudyRelatedInstances) == (2, 4)
    assert (ds.RetrieveAETitle, ds.InstanceAvailability, ds.QueryRetrieveLevel) == ("DRIMBOX", "ONLINE", "STUDY")


def test_patient_root_finds_patients(archive: ArchiveProcess) -> None:
    """The patient level exists in Patient Root, with the number of studies of each patient."""
    answer = find(archive, "QueryRetrieveLevel=PATIENT", "PatientID=PID*", "NumberOfPatientRelatedStudies", root="-P")
    assert answer.values("PatientID") == [f"PID{number}" for number in range(1, 6)]
    assert answer.values("NumberOfPatientRelatedStudies") == ["1"] * 5


@pytest.mark.parametrize("root", ["-P", "-S"])
def test_series_and_images_are_found_by_the_keys_above(archive: ArchiveProcess, root: str) -> None:
    """Hierarchical queries as the standard has them: every unique key above the level is given."""
    keys = ["PatientID=PID2", f"StudyInstanceUID={ROOT}.2"]
    series = find(archive, "QueryRetrieveLevel=SERIES", *keys, "SeriesInstanceUID", "Modality", root=root)
    assert series.values("SeriesInstanceUID") == [f"{ROOT}.2.1", f"{ROOT}.2.2"]
    assert series.values("Modality") == ["MR", "MR"]
    images = find(
        archive, "QueryRetrieveLevel=IMAGE", *keys, f"SeriesInstanceUID={ROOT}.2.1", "InstanceNumber", "Rows", root=root
    )
    assert images.values("SOPInstanceUID") == [f"{ROOT}.2.1.1", f"{ROOT}.2.1.2"]
    assert (images.values("InstanceNumber"), images.values("Rows")) == (["1", "2"], ["16", "16"])


def test_relational_queries_need_no_keys_above(archive: ArchiveProcess) -> None:
    """Series of a patient without a study: answered, each with the unique keys of its study."""
    answer = find(archive, "QueryRetrieveLevel=SERIES", "PatientID=PID3", "SeriesInstanceUID")
    assert answer.values("StudyInstanceUID") == [f"{ROOT}.3"] * 2


@pytest.mark.parametrize("options", [["-xe"], ["-xi"], ["-xb"], ["-xd"]])
def test_every_transfer_syntax_carries_queries(archive: ArchiveProcess, options: list[str]) -> None:
    """Explicit, implicit, big endian, deflated: the same answer with the same accents."""
    answer = find(archive, "QueryRetrieveLevel=STUDY", "PatientID=PID1", "PatientName", options=options)
    assert answer.values("PatientName") == ["MOREAU^Hélène"]


# ---- matching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "studies"),
    [
        (["StudyDate=20240116"], "2"),
        (["StudyDate=20240116-"], "234"),
        (["StudyDate=-20240101"], "5"),
        (["StudyDate=20240115-20240117", "ModalitiesInStudy=CT"], "13"),
        (["ModalitiesInStudy=MR"], "25"),
        ([f"StudyInstanceUID={ROOT}.1\\{ROOT}.4\\1.2.3"], "14"),
        (["AccessionNumber=ACC?"], "12345"),
        (["AccessionNumber=ACC3"], "3"),
        (["PatientID=PID*", "StudyDate=2023"], "5"),
        (["PatientID=pid1"], ""),
        (["PatientName=moreau^helene*"], "12"),
        (["PatientName=MOREAU^HELENE"], "12"),
        (["PatientName=dvorak^antonin"], "3"),
        (["PatientName=le goff*"], "5"),
        (["PatientName=*tar?u*"], "4"),
        (["PatientName=MOREAU*' OR 1=1 --"], ""),
    ],
)
def test_keys_match_as_the_standard_and_users_have_it(archive: ArchiveProcess, keys: list[str], studies: str) -> None:
    """Single values, ranges, lists, wildcards, names without regard to case and accents; nothing is ever injected."""
    answer = find(archive, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", *keys)
    assert answer.final == "Success"
    assert answer.values("StudyInstanceUID") == [f"{ROOT}.{number}" for number in studies]


@pytest.mark.parametrize(
    ("charset", "name", "studies"),
    [
        (LATIN, "MOREAU^Hélène", "12"),
        (UTF8, "Moreau^Hélène", "12"),
        (UTF8, "Dvořák*", "3"),
        ("ISO_IR 101", "Dvořák*", "3"),
        (LATIN, "*NOËL*", "5"),
        (JAPANESE, "Yamada*=山田*", "4"),
        (UTF8, "*=山田*", "4"),
    ],
)
def test_names_are_asked_in_any_character_set(
    archive: ArchiveProcess, tmp_path: Path, charset: str, name: str, studies: str
) -> None:
    """A query is read in its own character set, whatever the set the object came in."""
    answer = ask_in(archive, charset, tmp_path, PatientName=name, StudyInstanceUID="")
    assert answer.values("StudyInstanceUID") == [f"{ROOT}.{number}" for number in studies]


@pytest.mark.parametrize(
    ("asked", "patient", "answered"),
    [
        (UTF8, "PID1", UTF8),
        (LATIN, "PID1", LATIN),
        (LATIN, "PID3", "ISO_IR 101"),
        (LATIN, "PID4", UTF8),
        (JAPANESE, "PID4", UTF8),
    ],
)
def test_answers_are_in_the_query_s_set_or_the_narrowest(
    archive: ArchiveProcess, tmp_path: Path, asked: str, patient: str, answered: str
) -> None:
    """The query's own character set when it holds the answer, otherwise one that does; no letter is lost."""
    (ds,) = ask_in(archive, asked, tmp_path, PatientID=patient, PatientName="").datasets
    assert ds.SpecificCharacterSet == answered
    assert ds.PatientName == PATIENTS[int(patient[-1]) - 1][1]


# ---- ends ------------------------------------------------------------------------------------------------------------


def test_unsupported_keys_are_empty_and_warned_of(archive: ArchiveProcess) -> None:
    """A key the archive does not know comes back empty, and every answer says that it was not matched."""
    answer = find(archive, "QueryRetrieveLevel=STUDY", "PatientID=PID1", "PatientComments=x")
    (ds,) = answer.datasets
    assert ds["PatientComments"].is_empty
    assert "WarningUnsupportedOptionalKeys" in answer.words
    assert answer.final == "Success"


def test_too_many_answers_end_with_out_of_resources(archive: ArchiveProcess) -> None:
    """Eight answers are sent, then the query is refused with a word on what to do."""
    answer = find(archive, "QueryRetrieveLevel=IMAGE", "SOPInstanceUID", options=["-d"])
    assert len(answer.datasets) == 8
    assert answer.final == "Refused: Out of resources"
    assert "More than 8 answers; narrow the query." in answer.words


@pytest.mark.parametrize(
    ("keys", "comment"),
    [
        (["PatientID=PID1"], "QueryRetrieveLevel is missing"),
        (["QueryRetrieveLevel=PATIENT"], "there is no such level in the study root model"),
        (["QueryRetrieveLevel=FRAME"], "there is no such level in the study root model"),
        (["QueryRetrieveLevel=STUDY", "StudyDate=lastweek"], "StudyDate"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(archive: ArchiveProcess, keys: list[str], comment: str) -> None:
    """No level, none of Study Root, a date that is none: A900 with a comment that says so, and the archive goes on."""
    answer = find(archive, *keys, options=["-d"])
    assert "0xa900" in answer.words
    assert f"[{comment}" in answer.words
    assert find(archive, "QueryRetrieveLevel=STUDY", "PatientID=PID1").final == "Success"


def test_a_cancelled_query_ends_with_cancel_or_success(archive: ArchiveProcess) -> None:
    """findscu cancels after its first answer: what comes then ends properly, and the association releases."""
    answer = find(archive, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", options=["--cancel", "1"])
    assert re.search("Cancel|Success", answer.final)
    assert "Releasing Association" in answer.words


def test_an_object_just_stored_is_found_at_once(archive: ArchiveProcess, tmp_path: Path) -> None:
    """The moment storescu has its acknowledgement, findscu finds the object."""
    for number in range(101, 106):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(part10_bytes(ct_dataset(1, study=number, PatientID=f"NEW{number}")))
        assert storescu(archive, path).returncode == 0
        found = find(archive, "QueryRetrieveLevel=IMAGE", f"SOPInstanceUID={ROOT}.{number}.1.1", "PatientID")
        assert found.values("PatientID") == [f"NEW{number}"]


def test_no_identity_reaches_the_log(archive: ArchiveProcess) -> None:
    """After all these queries the log knows levels and counts, not one name or identifier of a patient."""
    log = archive.log()
    assert "query_answered" in log
    for word in ("MOREAU", "Hélène", "DVO", "PID1", "ACC3"):
        assert word not in log
