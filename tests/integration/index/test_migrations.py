"""The tables: what the migrations make is what the models say, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Inspector, create_engine, inspect, make_url
from sqlalchemy.engine import Engine

from archive.errors import IndexUnavailable
from archive.index import disposal, models
from archive.index.migrations import versions
from archive.index.migrations.upgrade import upgrade
from archive.index.records import Event
from archive.index.session import Database, IndexRefused
from archive.part10.attributes import INSTANCE, PATIENT, SERIES, STUDY, Attribute
from tests.integration.index.making import NOW, change, rows, value
from tests.postgres import Server

TABLES = set(models.metadata.tables)


@pytest.fixture
def other_url(empty_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Lend a second database of the same kind."""
    if empty_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'other.db'}"
        return
    server: Server = request.getfixturevalue("postgres_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


def engine_for(url: str) -> Engine:
    """Return a plain engine, without our pragmas."""
    target = make_url(url)
    return create_engine(
        target if target.get_backend_name() == "sqlite" else target.set(drivername="postgresql+psycopg")
    )


def description(url: str) -> dict[str, Any]:
    """Return all that a database knows of its tables, but for Alembic's own."""
    engine = engine_for(url)
    inspector = inspect(engine)
    tables = {table: table_description(inspector, table) for table in inspector.get_table_names()}
    engine.dispose()
    tables.pop("alembic_version", None)
    return tables


def table_description(inspector: Inspector, table: str) -> dict[str, Any]:
    """Return columns in order, keys, constraints and indexes with their names."""
    columns = [
        (column["name"], str(column["type"]), column["nullable"], getattr(column["type"], "collation", None))
        for column in inspector.get_columns(table)
    ]
    return {
        "columns": columns,
        "identity": [column.get("identity") is not None for column in inspector.get_columns(table)],
        "primary": inspector.get_pk_constraint(table)["constrained_columns"],
        "unique": sorted((str(c["name"]), c["column_names"]) for c in inspector.get_unique_constraints(table)),
        "checks": sorted((str(c["name"]), c["sqltext"]) for c in inspector.get_check_constraints(table)),
        "foreign": sorted(
            (str(c["name"]), c["constrained_columns"], c["referred_table"], c["referred_columns"])
            for c in inspector.get_foreign_keys(table)
        ),
        "indexes": sorted((str(i["name"]), i["column_names"]) for i in inspector.get_indexes(table)),
    }


def test_migrations_make_the_tables_of_the_models(empty_url: str, other_url: str) -> None:
    """Columns in order, types, collations, constraints and indexes: the migration spells out exactly the models."""
    migrated = Database(empty_url)
    migrated.migrate()
    migrated.close()
    engine = engine_for(other_url)
    models.metadata.create_all(engine)
    engine.dispose()
    made, modelled = description(empty_url), description(other_url)
    assert made.keys() == modelled.keys() == TABLES
    for table in TABLES:
        assert made[table] == modelled[table], table


def test_ids_of_the_hierarchy_are_never_used_twice(database: Database) -> None:
    """Writers remember ids of patients, studies and series: a deleted one must not come back as another."""
    insert = "INSERT INTO patient (identity_key, site) VALUES (?, 'CHU')"
    change(database, insert, ("one",))
    first = value(database, "SELECT id FROM patient")
    change(database, "DELETE FROM patient")
    change(database, insert, ("two",))
    assert value(database, "SELECT id FROM patient") == first + 1


def test_texts_sort_by_code_point_on_postgresql(postgres_url: str) -> None:
    """A prefix is a range only where no locale has its say: every text column has the collation C."""
    database = Database(postgres_url)
    database.migrate()
    collations = rows(
        database,
        "SELECT table_name, column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'text'",
    )
    database.close()
    assert len(collations) > 90
    assert {collation for _, _, collation in collations} == {"C"}


@pytest.mark.parametrize(
    ("table", "attributes"), [("patient", PATIENT), ("study", STUDY), ("series", SERIES), ("instance", INSTANCE)]
)
def test_every_indexed_attribute_has_its_column(
    database: Database, table: str, attributes: tuple[Attribute, ...]
) -> None:
    """The scan reads nothing the index cannot keep; person names have a folded key beside them."""
    columns = {column.name for column in models.metadata.tables[table].columns}
    for attribute in attributes:
        assert attribute.column in columns
        assert (attribute.column + "_key" in columns) == (attribute.vr == "PN")
        value(database, f"SELECT COUNT({attribute.column}) FROM {table}")


def test_migrating_again_changes_nothing(database: Database) -> None:
    """Every start migrates; a database that is up to date stays as it is."""
    change(database, "INSERT INTO landing_folder (name, opened_at) VALUES ('20261123/a', 'now')")
    database.migrate()
    assert value(database, "SELECT COUNT(*) FROM landing_folder") == 1
    assert value(database, "SELECT version_num FROM alembic_version") == "0009"


LIST_OF_BEFORE = (
    "INSERT INTO disposal_list (list_id, site, site_kind, state, as_of, proposed_at, proposed_by) "
    "VALUES ('D-2026-0001', 'CHU', 'public', 'listed', '2026-11-23', '2026-11-23T06:35:29.123456Z', '810001234567')",
    "INSERT INTO disposal_item (list_id, study_instance_uid, number, line, state) "
    "VALUES ('D-2026-0001', '2.25.1', 1, '{}', 'listed')",
    "INSERT INTO disposal_approval (list_id, office, account, full_name, approved_at) "
    "VALUES ('D-2026-0001', 'director', 'diane', 'Diane Noël', '2026-11-23T06:35:29.123456Z')",
)


def test_lists_of_before_0009_stay_as_they_are(empty_url: str, other_url: str) -> None:
    """A database in use comes from 0008 with its lists: what nobody kept is NULL, and new lists keep it."""
    database = Database(empty_url)
    with database.write(synced=True) as connection:
        upgrade(connection, revision="0008")
    for statement in LIST_OF_BEFORE:
        change(database, statement)
    tables = ("disposal_list", "disposal_item", "disposal_approval")
    ((head,), items, approvals) = [rows(database, f"SELECT * FROM {table}") for table in tables]
    assert "proposed_by_full_name" not in {name for name, *_ in description(empty_url)["disposal_list"]["columns"]}
    database.migrate()
    assert value(database, "SELECT version_num FROM alembic_version") == "0009"
    assert [rows(database, f"SELECT * FROM {table}") for table in tables] == [[(*head, None)], items, approvals]
    made = {"list_id": "D-2026-0002", "site": "CHU", "site_kind": "public", "as_of": "2026-11-23", "items": []}
    with database.write(synced=False) as connection:
        event = Event(1, NOW, "disposal_proposed", "810001234567", {**made, "full_name": "Élodie Le Goff"})
        disposal.apply_proposed(connection, event)
    with database.read() as connection:
        found = {each.list_id: each for each in disposal.all_lists(connection)}
        assert [item.state for item in disposal.items(connection, "D-2026-0001")] == ["listed"]
    database.close()
    assert {name: each.proposed_by_full_name for name, each in found.items()} == {
        "D-2026-0001": None,
        "D-2026-0002": "Élodie Le Goff",
    }
    assert {each.proposed_by for each in found.values()} == {"810001234567"}
    fresh = Database(other_url)
    fresh.migrate()
    fresh.close()
    assert description(empty_url) == description(other_url)


def test_revisions_are_one_line_of_files() -> None:
    """Each migration is a module named after its revision, so that they are applied and read in one order."""
    folder = Path(str(versions.__file__)).parent
    names = sorted(path.stem for path in folder.glob("v*.py"))
    assert names[0] == "v0001_first_tables"
    assert [name[1:5] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)]


def test_a_failed_migration_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the tables is one transaction: a crash in the middle can be tried again."""
    from archive.index.migrations import upgrade

    def half_way(connection: Any) -> None:
        upgrade_whole(connection)
        raise RuntimeError("power cut")

    upgrade_whole = upgrade.upgrade
    monkeypatch.setattr(upgrade, "upgrade", half_way)
    database = Database(empty_url)
    with pytest.raises(RuntimeError):
        database.migrate()
    assert description(empty_url) == {}
    monkeypatch.undo()
    database.migrate()
    assert set(description(empty_url)) == TABLES
    database.close()


NONSENSE = {
    "an unknown tier": "UPDATE location SET tier = 'warm'",
    "an unknown state": "UPDATE location SET state = 'lost'",
    "a digest of the wrong size": "UPDATE location SET sha256 = dataset_sha256_of_nobody",
    "two patients of one identity": "INSERT INTO patient (identity_key, site) SELECT identity_key, site FROM patient",
    "a study without a patient": "UPDATE study SET patient_fk = 999999",
    "a series without a study": "UPDATE series SET study_fk = 999999",
    "an instance without a series": "UPDATE instance SET series_fk = 999999",
    "a copy without an instance": "UPDATE location SET instance_fk = 999999",
    "an instance without its bytes' digest": "UPDATE instance SET dataset_sha256 = NULL",
    "a study that is removed while it has series": "DELETE FROM study",
}


@pytest.mark.parametrize("what", NONSENSE)
def test_the_database_refuses_nonsense(database: Database, what: str) -> None:
    """Whatever a program does wrong, the tables stay consistent: IndexRefused, and nothing changed."""
    from tests.integration.index.making import add, new_instance

    add(database, new_instance())
    statement = NONSENSE[what].replace("dataset_sha256_of_nobody", "substr(sha256, 1, 31)")
    before = rows(database, "SELECT * FROM location")
    with pytest.raises(IndexRefused):
        change(database, statement)
    assert rows(database, "SELECT * FROM location") == before


def test_a_database_that_was_never_migrated_is_unavailable_or_refused(empty_url: str) -> None:
    """Missing tables are told as an error of ours, on both databases."""
    database = Database(empty_url)
    with pytest.raises((IndexUnavailable, IndexRefused)):
        value(database, "SELECT COUNT(*) FROM study")
    database.close()
