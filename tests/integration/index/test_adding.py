"""Adding instances: what becomes a row, what is a duplicate, what is filled in, what is remembered."""

from __future__ import annotations

import multiprocessing
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from archive.index.instances import AddOutcome, InstanceWriter, find_digest
from archive.index.records import NewInstance, to_text
from archive.index.session import Database, IndexRefused
from archive.part10.attributes import INSTANCE, PATIENT, SERIES, STUDY, InstanceHeader
from tests.integration.index.making import (
    CT_CLASS,
    EXPLICIT,
    NOW,
    add,
    change,
    digest,
    new_instance,
    other_bytes,
    rows,
    sop_uid,
    value,
)

ADDED, SAME, CONFLICT = AddOutcome.ADDED, AddOutcome.SAME, AddOutcome.CONFLICT


def counts(database: Database) -> tuple[int, ...]:
    """Return how many patients, studies, series, instances and copies there are."""
    tables = ("patient", "study", "series", "instance", "location")
    return tuple(value(database, f"SELECT COUNT(*) FROM {table}") for table in tables)


def flags(database: Database, uid: str) -> list[str]:
    """Return the flags of an instance."""
    text: str = value(database, "SELECT flags FROM instance WHERE sop_instance_uid = ?", (uid,))
    return text.split("\\") if text else []


# ---- rows -----------------------------------------------------------------------------------------------------------


def test_one_instance_makes_one_row_at_each_level(database: Database) -> None:
    """Patient, study, series, instance and copy, each linked to the one above."""
    assert add(database, new_instance()) == [ADDED]
    assert counts(database) == (1, 1, 1, 1, 1)
    linked = rows(
        database,
        "SELECT patient_id, study_instance_uid, series_instance_uid, sop_instance_uid, key FROM location "
        "JOIN instance ON instance.id = instance_fk JOIN series ON series.id = series_fk "
        "JOIN study ON study.id = study_fk JOIN patient ON patient.id = patient_fk",
    )
    assert linked == [("PID1", "2.25.1", "2.25.1.1", "2.25.1.1.1", "20261123/063529-aa/2.25.1.1.1")]


def test_every_attribute_lands_in_its_column(database: Database) -> None:
    """Each indexed attribute is stored as it was read, at its level."""
    levels = {"patient": PATIENT, "study": STUDY, "series": SERIES, "instance": INSTANCE}
    everything = {a.keyword: f"{a.keyword} é" for attributes in levels.values() for a in attributes}
    add(database, new_instance(attributes=everything, IssuerOfPatientIDUniversalEntityID="1.2.250.1.213.1.4.8"))
    for table, attributes in levels.items():
        columns = ", ".join(a.column for a in attributes)
        assert rows(database, f"SELECT {columns} FROM {table}") == [tuple(f"{a.keyword} é" for a in attributes)]
    assert value(database, "SELECT issuer_of_patient_id_universal_entity_id FROM patient") == "1.2.250.1.213.1.4.8"


def test_what_was_received_is_stored_beside_the_attributes(database: Database) -> None:
    """Transfer syntax, digest, size, moment, caller, site and the oddities found."""
    add(database, replace(new_instance(), flags=("charset", "vr")))
    assert rows(
        database,
        "SELECT transfer_syntax_uid, dataset_sha256, dataset_size, flags, received_at, calling_ae_title FROM instance",
    ) == [(EXPLICIT, digest(sop_uid()), 1001, "charset\\vr", "2026-11-23T06:35:29.123456Z", "CTSCAN")]
    assert rows(database, "SELECT site, created_at FROM study") == [("CHU", to_text(NOW))]


def test_the_copy_is_stored_as_present(database: Database) -> None:
    """Tier, key, digest of the header, sizes; verified never."""
    item = new_instance()
    add(database, item)
    at = item.location
    stored = rows(database, "SELECT tier, key, sha256, header_size, size_bytes, state, verified_at FROM location")
    assert stored == [("hot", at.key, at.sha256, 700, 1700, "present", None)]


def test_person_names_have_folded_keys(database: Database) -> None:
    """Each person name is stored as it came and, beside it, as it is matched."""
    names = {keyword: "MOREAU^Hélène^^ " for keyword in ("PatientName", "ReferringPhysicianName")}
    add(database, new_instance(attributes=names, OperatorsName="Œuvrard^Zoé\\LE  GALL^Yann^"))
    assert rows(database, "SELECT patient_name, patient_name_key FROM patient") == [
        ("MOREAU^Hélène^^ ", "moreau^helene")
    ]
    assert value(database, "SELECT referring_physician_name_key FROM study") == "moreau^helene"
    assert value(database, "SELECT operators_name_key FROM series") == "oeuvrard^zoe\\le gall^yann"
    assert value(database, "SELECT performing_physician_name_key FROM series") is None


def test_instances_share_the_rows_above_them(database: Database) -> None:
    """Two studies of one patient, two series of one study, two instances of one series."""
    items = [new_instance(n, series, study, PatientID="P") for study in (1, 2) for series in (1, 2) for n in (1, 2)]
    assert add(database, *items) == [ADDED] * 8
    assert counts(database) == (1, 2, 4, 8, 8)


def test_a_large_batch_is_taken_in_parts(database: Database) -> None:
    """A rebuild may hand over thousands at once."""
    assert add(database, *(new_instance(n) for n in range(1201))) == [ADDED] * 1201
    assert counts(database) == (1, 1, 1, 1201, 1201)


def test_an_empty_batch_is_nothing(database: Database) -> None:
    """Nothing to add, nothing said, nothing written."""
    assert add(database) == []
    assert counts(database) == (0, 0, 0, 0, 0)


# ---- duplicates -----------------------------------------------------------------------------------------------------


def test_the_same_bytes_again_are_the_same_instance(database: Database) -> None:
    """A sender that repeats itself is told success and changes nothing."""
    add(database, new_instance())
    assert add(database, new_instance(StudyDescription="LATER")) == [SAME]
    assert counts(database) == (1, 1, 1, 1, 1)
    assert value(database, "SELECT study_description FROM study") is None


def test_other_bytes_under_the_same_uid_are_a_conflict(database: Database) -> None:
    """The first instance stays; the second makes no row at any level, whatever study it names."""
    add(database, new_instance())
    other = other_bytes(new_instance(StudyInstanceUID="2.25.99", SeriesInstanceUID="2.25.99.1", PatientID="P99"))
    assert add(database, other) == [CONFLICT]
    assert counts(database) == (1, 1, 1, 1, 1)
    assert value(database, "SELECT dataset_sha256 FROM instance") == digest(sop_uid())


def test_duplicates_within_a_batch_are_told_apart(database: Database) -> None:
    """Outcomes come one per item, in order, and the first of each UID wins."""
    batch = [new_instance(1), new_instance(1), new_instance(2), other_bytes(new_instance(1))]
    assert add(database, *batch) == [ADDED, SAME, ADDED, CONFLICT]
    assert add(database, *reversed(batch)) == [CONFLICT, SAME, SAME, SAME]
    assert counts(database) == (1, 1, 1, 2, 2)


def test_the_digest_of_a_stored_instance_is_found(database: Database) -> None:
    """What arrives can be compared with what is stored before anything is written."""
    add(database, new_instance())
    with database.read() as connection:
        assert find_digest(connection, sop_uid()) == digest(sop_uid())
        assert find_digest(connection, sop_uid(2)) is None


def test_two_objects_under_one_key_are_refused(database: Database) -> None:
    """A key names one object for ever: the second is a bug and must not be stored."""
    first, second = new_instance(1), new_instance(2)
    add(database, first)
    with pytest.raises(IndexRefused):
        add(database, replace(second, location=first.location))
    assert counts(database) == (1, 1, 1, 1, 1)


# ---- identity -------------------------------------------------------------------------------------------------------


def test_the_same_number_of_two_issuers_is_two_patients(database: Database) -> None:
    """PatientID alone does not say who: the issuer does, and the site where there is none."""
    add(
        database,
        new_instance(study=1, PatientID="7", IssuerOfPatientID="A"),
        new_instance(study=2, PatientID="7", IssuerOfPatientID="B"),
        new_instance(study=3, PatientID="7"),
        new_instance(study=4, PatientID="7", site="CLINIQUE"),
        new_instance(study=5, PatientID="7", IssuerOfPatientID="A", site="CLINIQUE"),
    )
    identities = [key for (key,) in rows(database, "SELECT identity_key FROM patient ORDER BY id")]
    assert identities == ["A\x1f7", "B\x1f7", "site:CHU\x1f7", "site:CLINIQUE\x1f7"]


def test_without_a_number_each_study_is_a_patient_of_its_own(database: Database) -> None:
    """Two anonymous studies must not be taken for one person."""
    add(database, new_instance(study=1, PatientID=None), new_instance(study=2, PatientID=None))
    add(database, new_instance(2, study=2, PatientID=None))
    assert [key for (key,) in rows(database, "SELECT identity_key FROM patient ORDER BY id")] == [
        "study:2.25.1",
        "study:2.25.2",
    ]


def test_an_identity_too_long_for_an_index_is_stored_by_its_digest(database: Database) -> None:
    """Broken or hostile identifiers neither fail nor melt together."""
    long = "é" * 512
    add(
        database,
        new_instance(study=1, PatientID=long, IssuerOfPatientID=long),
        new_instance(study=2, PatientID=long, IssuerOfPatientID=long),
        new_instance(study=3, PatientID=long[1:] + "x", IssuerOfPatientID=long),
    )
    identities = [key for (key,) in rows(database, "SELECT identity_key FROM patient ORDER BY id")]
    assert len(identities) == 2
    assert all(key.startswith("sha256:") for key in identities)


def test_the_longest_texts_fit_into_every_indexed_column(database: Database) -> None:
    """512 characters of four bytes, the most the scan lets through, are stored and indexed on both databases."""
    chance = random.Random(1)  # what repeats would be compressed by PostgreSQL, and fit too easily
    text = "".join(chr(chance.randint(0x10000, 0x10FFFF)) for _ in range(512))
    long = {a.keyword: text for a in (*PATIENT, *STUDY, *SERIES, *INSTANCE) if not a.keyword.endswith("UID")}
    assert add(database, new_instance(attributes=long)) == [ADDED]
    ligatures = "".join(chance.choice("\ufdfa\ufdfb\ufdf0\ufdf1\ufdf2\ufdf3") for _ in range(512))
    folded_longer = new_instance(study=2, PatientName=ligatures)
    assert add(database, folded_longer) == [ADDED]


def test_a_study_under_another_patient_keeps_its_first_and_says_so(database: Database) -> None:
    """A wrong or corrected patient number does not move a study: the instance is flagged for reconciliation."""
    add(database, new_instance(1, PatientID="FIRST"), new_instance(2, PatientID="SECOND"))
    assert counts(database) == (1, 1, 1, 2, 2)
    assert value(database, "SELECT patient_id FROM patient") == "FIRST"
    assert flags(database, sop_uid(1)) == []
    assert flags(database, sop_uid(2)) == ["patient_differs"]


def test_an_instance_without_a_number_joins_its_study_s_patient(database: Database) -> None:
    """Saying nothing about the patient is not saying something else."""
    add(database, new_instance(1, PatientID="FIRST"), new_instance(2, PatientID=None, PatientName=None))
    assert counts(database)[0] == 1
    assert flags(database, sop_uid(2)) == []


def test_attributes_of_another_patient_are_not_filled_in(database: Database) -> None:
    """What is said of the second patient is not written to the first."""
    add(database, new_instance(1, PatientID="FIRST"), new_instance(2, PatientID="SECOND", PatientSex="F"))
    assert value(database, "SELECT patient_sex FROM patient") is None


def test_a_series_uid_in_two_studies_is_two_series_and_says_so(database: Database) -> None:
    """Copied series UIDs must not mix two studies; both stay findable and the later instances are flagged."""
    first = new_instance(1, 1, 1)
    copies = [new_instance(number, 1, 2, SeriesInstanceUID="2.25.1.1") for number in (1, 2)]
    add(database, first, copies[0])
    add(database, copies[1])
    assert counts(database) == (2, 2, 2, 3, 3)
    assert flags(database, sop_uid(1, 1, 1)) == []
    assert flags(database, sop_uid(1, 1, 2)) == ["study_differs"]
    assert flags(database, sop_uid(2, 1, 2)) == ["study_differs"]


def test_flags_of_the_header_and_of_the_index_are_kept_together(database: Database) -> None:
    """The index adds to what the header scan found odd."""
    add(database, new_instance(1, PatientID="FIRST"))
    add(database, replace(new_instance(2, PatientID="SECOND"), flags=("charset",)))
    assert flags(database, sop_uid(2)) == ["charset", "patient_differs"]


# ---- first wins, later ones fill ------------------------------------------------------------------------------------


@pytest.mark.parametrize("same_writer", [True, False])
def test_empty_columns_are_filled_and_full_ones_stay(database: Database, same_writer: bool) -> None:
    """The first value of an attribute stays; what was empty takes the first value that comes, at every level."""
    writer = InstanceWriter() if same_writer else None
    add(database, new_instance(1, StudyDate=None, PatientName=None, Modality=None), writer=writer)
    second = {"StudyDate": "20250101", "PatientName": "Zoé", "Modality": "MR", "SeriesNumber": "77", "PatientSex": "F"}
    add(database, new_instance(2, attributes=second), writer=writer)
    add(database, new_instance(3, StudyDate="20260101", PatientName="X", Modality="US", PatientSex="M"), writer=writer)
    assert rows(database, "SELECT patient_name, patient_name_key, patient_sex FROM patient") == [("Zoé", "zoe", "F")]
    assert rows(database, "SELECT study_date FROM study") == [("20250101",)]
    assert rows(database, "SELECT modality, series_number FROM series") == [("MR", "1")]


def test_a_patient_is_filled_by_another_study_of_theirs(database: Database) -> None:
    """What one study says of a patient serves the others."""
    add(
        database,
        new_instance(study=1, PatientID="P"),
        new_instance(study=2, PatientID="P", PatientBirthDate="19700101"),
    )
    assert value(database, "SELECT patient_birth_date FROM patient") == "19700101"


def test_two_processes_fill_without_overwriting(database: Database) -> None:
    """A writer that still believes a column empty does not overwrite what another one wrote meanwhile."""
    first, second = InstanceWriter(), InstanceWriter()
    add(database, new_instance(1, StudyDescription=None), writer=first)
    add(database, new_instance(2, StudyDescription="FIRST"), writer=second)
    add(database, new_instance(3, StudyDescription="SECOND"), writer=first)
    assert value(database, "SELECT study_description FROM study") == "FIRST"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.sampled_from(("StudyDate", "PatientSex", "Modality")), st.sampled_from("AB")), max_size=6
    )
)
def test_each_attribute_is_the_first_one_that_came(database: Database, arrivals: list[dict[str, str]]) -> None:
    """Whatever is missing from which instance, and however transactions are cut, the first value wins."""
    study = value(database, "SELECT COUNT(*) FROM study") + 1
    writer = InstanceWriter()
    for number, values in enumerate(arrivals):
        given_values: dict[str, str | None] = {"StudyDate": None, "PatientSex": None, "Modality": None, **values}
        add(database, new_instance(number, 1, study, given_values), writer=writer if number % 2 else None)
    if arrivals:
        stored = rows(
            database,
            "SELECT study_date, patient_sex, modality FROM study JOIN patient ON patient.id = patient_fk "
            "JOIN series ON study_fk = study.id WHERE study_instance_uid = ?",
            (f"2.25.{study}",),
        )
        keywords = ("StudyDate", "PatientSex", "Modality")
        assert stored == [tuple(next((a[k] for a in arrivals if k in a), None) for k in keywords)]


# ---- what the writer remembers --------------------------------------------------------------------------------------


class Counting:
    """A connection that counts the statements run on it, by what they begin with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from archive.index import statements

        self.seen: list[str] = []
        real = statements.Statement.run

        def run(statement: Any, connection: Any, parameters: Any = ()) -> Any:
            self.seen.append(statement.sql)
            return real(statement, connection, parameters)

        monkeypatch.setattr(statements.Statement, "run", run)

    def about(self, table: str) -> list[str]:
        """Return the statements that name a table."""
        return [sql for sql in self.seen if f" {table} " in sql]


def test_what_is_known_costs_no_statement(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second instance of a series asks nothing about patient, study or series."""
    writer = InstanceWriter()
    add(database, new_instance(1), writer=writer)
    counting = Counting(monkeypatch)
    add(database, new_instance(2), writer=writer)
    assert [counting.about(table) for table in ("patient", "study", "series")] == [[], [], []]
    assert len(counting.seen) == 4, "duplicate check, new id, instance, copy"


def test_what_was_filled_costs_no_second_statement(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling happens once: the columns filled are remembered as full."""
    writer = InstanceWriter()
    add(database, new_instance(1), writer=writer)
    counting = Counting(monkeypatch)
    add(database, new_instance(2, StudyDescription="A", PatientSex="F", BodyPartExamined="CHEST"), writer=writer)
    assert len([sql for sql in counting.seen if sql.startswith("UPDATE")]) == 3
    add(database, new_instance(3, StudyDescription="B", PatientSex="F", BodyPartExamined="CHEST"), writer=writer)
    assert len([sql for sql in counting.seen if sql.startswith("UPDATE")]) == 3


def test_what_a_rolled_back_transaction_taught_is_forgotten(database: Database) -> None:
    """Ids of rows that never came to be must not be used."""
    writer = InstanceWriter()
    with pytest.raises(RuntimeError), database.write(synced=False) as connection:
        writer.add(connection, [new_instance(1)])
        raise RuntimeError
    writer.rolled_back()
    assert counts(database) == (0, 0, 0, 0, 0)
    assert add(database, new_instance(1), writer=writer) == [ADDED]
    assert counts(database) == (1, 1, 1, 1, 1)


def test_a_rolled_back_fill_is_done_again(database: Database) -> None:
    """A column filled by a transaction that did not happen is still empty."""
    writer = InstanceWriter()
    add(database, new_instance(1), writer=writer)
    with pytest.raises(RuntimeError), database.write(synced=False) as connection:
        writer.add(connection, [new_instance(2, StudyDescription="LOST")])
        raise RuntimeError
    writer.rolled_back()
    add(database, new_instance(3, StudyDescription="KEPT"), writer=writer)
    assert value(database, "SELECT study_description FROM study") == "KEPT"


def test_a_writer_that_forgets_finds_new_rows(database: Database) -> None:
    """After rows were deleted, ``forget`` makes the writer look again."""
    writer = InstanceWriter()
    add(database, new_instance(1), writer=writer)
    for table in ("location", "instance", "series", "study", "patient"):
        change(database, f"DELETE FROM {table}")
    writer.forget()
    assert add(database, new_instance(1), writer=writer) == [ADDED]
    assert counts(database) == (1, 1, 1, 1, 1)


def test_a_writer_that_was_not_told_fails_instead_of_mixing_patients(database: Database) -> None:
    """A remembered id of a deleted row is refused by the database: it is never given to another row."""
    writer = InstanceWriter()
    add(database, new_instance(1), writer=writer)
    for table in ("location", "instance", "series", "study", "patient"):
        change(database, f"DELETE FROM {table}")
    add(database, new_instance(1, study=2))
    with pytest.raises(IndexRefused):
        add(database, new_instance(2), writer=writer)


def test_a_writer_learns_what_another_made(database: Database) -> None:
    """Two writers with memories of their own share one set of rows."""
    first, second = InstanceWriter(), InstanceWriter()
    for number in range(6):
        add(database, new_instance(number, number % 2), writer=(first, second)[number % 3 % 2])
    assert counts(database) == (1, 1, 2, 6, 6)


# ---- several processes ----------------------------------------------------------------------------------------------


def add_many(url: str, start: int, ready: Any) -> None:
    """Add instances of shared and own studies, as one of several processes."""
    database = Database(url)
    writer = InstanceWriter()
    ready.wait()
    for number in range(start, start + 40):
        items: list[NewInstance] = [
            new_instance(number, number % 3, number % 5, PatientID=f"P{number % 2}"),
            new_instance(9999, 1, 1),
        ]
        add(database, *items, writer=writer)
    database.close()


def test_processes_that_write_together_make_one_index(database: Database, url: str) -> None:
    """Three processes race for the same patients, studies, series and instances: each row exists once, none is lost."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(3)
    processes = [context.Process(target=add_many, args=(url, 1000 * n, ready)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert value(database, "SELECT COUNT(*) FROM instance") == 121
    assert value(database, "SELECT COUNT(DISTINCT study_instance_uid) FROM study") == value(
        database, "SELECT COUNT(*) FROM study"
    )
    assert value(database, "SELECT COUNT(*) FROM series") == 15
    assert value(database, "SELECT COUNT(*) FROM patient") <= 3


# ---- hostile texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE patient; --", '"', "%s", "?", ":name", "\\", "%(x)s", "\U0001f600", "\u202e"]
)
def test_texts_are_values_never_sql(database: Database, text: str) -> None:
    """Whatever stands in an attribute comes back as it was and does nothing else."""
    add(database, new_instance(PatientName=text, StudyDescription=text))
    assert value(database, "SELECT patient_name FROM patient") == text
    assert value(database, "SELECT study_description FROM study") == text


def test_a_header_with_nothing_but_identifiers_is_enough(database: Database) -> None:
    """The archive keeps what it can name, whatever else is missing."""
    header = InstanceHeader(
        {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.2", "SOPInstanceUID": "1.3", "SOPClassUID": CT_CLASS}
    )
    assert add(database, replace(new_instance(), header=header)) == [ADDED]
    assert counts(database) == (1, 1, 1, 1, 1)
