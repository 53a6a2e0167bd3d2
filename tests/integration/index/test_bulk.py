"""The made-up hospital benchmarks run on: the same rows each time, and an index that works like any other."""

from __future__ import annotations

from archive.index.instances import AddOutcome
from archive.index.session import Database
from tests.bulk import Hospital, fill_index
from tests.integration.index.making import add, find, new_instance, rows, studies_found, value


def fill(database: Database, seed: int = 1) -> Hospital:
    """Fill a small hospital."""
    return fill_index(database, 30, 7, seed)


def test_a_hospital_has_what_was_asked_for(database: Database) -> None:
    """So many studies, so many instances in each, each with a copy, nothing left over."""
    hospital = fill(database)
    counted = {t: value(database, f"SELECT COUNT(*) FROM {t}") for t in ("study", "instance", "location")}
    assert counted == {"study": 30, "instance": 210, "location": 210}
    assert 30 <= value(database, "SELECT COUNT(*) FROM series") <= 120
    assert value(database, "SELECT COUNT(*) FROM patient") == len(hospital.patient_ids) <= 30
    per_study = rows(database, "SELECT COUNT(*) FROM instance JOIN series ON series.id = series_fk GROUP BY study_fk")
    assert per_study == [(7,)] * 30
    assert value(database, "SELECT COUNT(*) FROM series WHERE id NOT IN (SELECT series_fk FROM instance)") == 0


def test_what_it_says_is_there_is_found(database: Database) -> None:
    """Each list answers a query."""
    hospital = fill(database)
    assert len(hospital.study_instance_uids) == len(hospital.sop_instance_uids) == 30
    assert studies_found(database, AccessionNumber=hospital.accession_numbers[4]) == [5]
    assert studies_found(database, StudyInstanceUID=hospital.study_instance_uids[8]) == [9]
    assert 9 in studies_found(database, StudyDate=hospital.study_dates[8])
    name = {"PatientName": hospital.patient_names[0].lower()}
    assert hospital.patient_ids[0] in {row["PatientID"] for row in find(database, "PATIENT", name, root="patient")}
    (answer,) = find(database, "IMAGE", {"SOPInstanceUID": hospital.sop_instance_uids[2]})
    assert answer["StudyInstanceUID"] == hospital.study_instance_uids[2]


def test_the_same_seed_makes_the_same_hospital(database: Database) -> None:
    """What was measured can be measured again."""
    first = fill(database)
    everything = rows(database, "SELECT * FROM study ORDER BY id")
    with database.write(synced=False) as connection:
        for table in ("location", "instance", "series", "study", "patient"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    assert fill(database) == first
    assert rows(database, "SELECT * FROM study ORDER BY id") == everything


def test_another_seed_makes_another_hospital(database: Database) -> None:
    """Chance is only as reproducible as its seed."""
    assert fill(database, seed=2).study_dates != fill_dates_of_seed_one()


def fill_dates_of_seed_one() -> tuple[str, ...]:
    """Return the study dates of seed 1, made without a database."""
    import random

    from tests.bulk import _made

    return tuple(made["study"][0][5] for made in _made(random.Random(1), 30, 7))


def test_a_filled_index_takes_more(database: Database) -> None:
    """New rows get ids after those that were chosen here."""
    fill(database)
    assert add(database, new_instance(1, 1, 999)) == [AddOutcome.ADDED]
    assert value(database, "SELECT MAX(id) FROM instance") == 211
    assert value(database, "SELECT MAX(id) FROM study") == 31
