"""Who can delete an object at all, and that a hold stands in the way of each of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from archive.errors import DisposalRefused
from archive.index.session import Database
from archive.services.destroy import Destruction
from archive.services.holds import Holds, NewHold
from archive.services.remains import iter_remains
from tests.integration.disposal.conftest import OLGA, Office, nothing, open_office, sop_uid, study_uid
from tests.unit.services.rig import empty_index
from tests.unit.services.shelf import Clock
from tiering.disk import OsDisk

PACKAGES = ("archive", "tiering", "retention_rules")
ROOT = Path(__file__).parents[3]
TAKES_NAMES_AWAY = {"unlink", "remove", "rmdir", "rmtree", "removedirs", "rename", "replace", "renames"}
UNLINKS = {
    "tiering/deletion.py": "the gateway",
    "tiering/disk.py": "the disk itself, and hidden names that were never an object's",
    "archive/services/rebuild.py": "the files of the index",
    "archive/cli/patient.py": "a link between two patients, no file",
    "archive/services/hl7.py": "an item of a list, no file",
    "archive/bootstrap.py": "the scratch folder, whose packs were not put anywhere yet",
    "archive/services/read_cache.py": "what was fetched from the cold store, which has it still",
    "archive/services/series_metadata.py": "what was read out of stored objects, which have it still",
    "archive/services/viewer_files.py": "files of the viewer, which hold nobody's images",
    "tiering/stores/filesystem.py": "the gateway of a cold store on a file system",
    "tiering/stores/keyring.py": "a file of keys takes the place of the one before",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of the product."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield every call in a module."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(call: ast.Call) -> str:
    """Return the name that is called, without what it belongs to."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_warrants_are_minted_in_one_place() -> None:
    """Only services/destroy.py makes a DeleteWarrant."""
    minting = {name for name, tree in sources() for call in calls(tree) if name_of(call) == "DeleteWarrant"}
    assert minting == {"archive/services/destroy.py"}


def test_all_deletions_go_one_way() -> None:
    """In the archive only ``Stores.delete`` calls the gateway of the disk or a cold store's, and destroy.py calls it.

    What is called ``delete`` anywhere else is a store's own, or that of the store inside a store.
    """
    importing = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == "tiering.deletion"
        and any(each.name != "Deletion" for each in node.names)
    }
    assert importing == {"archive/services/remains.py"}
    deleting = {name for name, tree in sources() for call in calls(tree) if name_of(call) == "delete"}
    ours = {name for name in deleting if not name.startswith("tiering/stores/")}
    assert ours == {"archive/services/remains.py", "archive/services/destroy.py"}
    tree = ast.parse((ROOT / "archive/services/remains.py").read_text())
    (delete,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "delete")
    inside = [call for call in calls(ast.Module([delete], [])) if name_of(call) == "delete"]
    assert len(inside) == len([call for call in calls(tree) if name_of(call) == "delete"]) == 2


def test_nothing_else_takes_a_file_away() -> None:
    """Every call that could take a file's name away is the gateway's, the disk's own, or about the index's file."""
    found = {
        name
        for name, tree in sources()
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute) and call.func.attr in TAKES_NAMES_AWAY and _is_of_a_file(call)
    }
    assert found == set(UNLINKS)


@pytest.mark.parametrize(
    ("name", "caller"),
    [
        ("discard_pack", ("seal",)),
        ("trim_received", ("trim",)),
        ("trim_pack", ("cold_repair", "trim_hot")),
        ("discard_cold", ("cold_check", "migrate", "trim_hot")),
    ],
)
def test_what_nobody_needs_any_more_goes_one_way(name: str, caller: tuple[str, ...]) -> None:
    """A pack that never stood in, a copy that another stands in for: who lets go of each is known here."""
    found = {source for source, tree in sources() for call in calls(tree) if name_of(call) == name}
    assert found == {f"archive/services/{each}.py" for each in caller}


def _is_of_a_file(call: ast.Call) -> bool:
    """Tell ``path.replace(target)`` from ``text.replace(old, new)``, and from dataclasses.replace."""
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr != "replace":
        return True
    owner = ast.unparse(call.func.value)
    return owner == "os" or ("path" in owner.lower() and len(call.args) == 1)


def deleters() -> set[str]:
    """Return the public methods by which ``Destruction`` comes to the gateway."""
    tree = ast.parse((ROOT / "archive/services/destroy.py").read_text())
    (kind,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Destruction")
    methods = {node.name: node for node in kind.body if isinstance(node, ast.FunctionDef)}
    reach = {"_delete_copy"}
    while True:
        more = {
            name
            for name, node in methods.items()
            if any(isinstance(each, ast.Attribute) and each.attr in reach for each in ast.walk(node))
        }
        if more <= reach:
            return {name for name in reach if not name.startswith("_")}
        reach |= more


def test_every_way_to_the_gateway_is_known_here() -> None:
    """The property below walks exactly the public ways to the gateway; a new one has to join it."""
    assert deleters() == {"destroy", "destroy_remains"}
    assert all(hasattr(Destruction, name) for name in deleters())


@pytest.fixture(scope="module")
def ready_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a place for homes."""
    return tmp_path_factory.mktemp("homes")


STUDIES = (1, 2, 3)
Held = list[tuple[str, int]]


@given(
    held=st.lists(st.tuples(st.sampled_from(("study", "patient", "query")), st.sampled_from(STUDIES)), max_size=4),
    lifted=st.sets(st.integers(0, 3)),
    again=st.sets(st.sampled_from(STUDIES)),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_way_to_the_gateway_passes_a_hold(ready_home: Path, held: Held, lifted: set[int], again: set[int]) -> None:
    """Whatever is held, by study, patient or query, several times, with some lifted: it is never deleted by any way."""
    home = ready_home / str(len(list(ready_home.iterdir())))
    home.mkdir()
    (home / "index.db").write_bytes(empty_index())
    database = Database(f"sqlite:///{home / 'index.db'}")
    try:
        for office in open_office(database, Clock(), home, OsDisk()):
            _walk(office, held, lifted, again)
    finally:
        database.close()


def _walk(office: Office, held: Held, lifted: set[int], again: set[int]) -> None:
    list_id = office.ready(*STUDIES)
    copies = {path: (office.rig.root / path).read_bytes() for path in office.files()}
    kept = _held(office, held, lifted)
    with suppress(DisposalRefused):
        office.destroy(list_id)
    for study in STUDIES:
        assert (office.rig.find(sop_uid(1, study)) is not None) is (study in kept)
    assert len(office.files()) == 2 * len(kept)
    # What was destroyed lies there again, and some of it is held meanwhile.
    for path, data in copies.items():
        (office.rig.root / path).write_bytes(data)
    later = again - kept
    for study in later:
        Holds(office.ledger).place(_hold(study), actor="anne", sites=None)
    with office.ledger.database.read() as connection:
        remains = list(iter_remains(office.stores, connection))
    office.destruction().destroy_remains(remains, who=OLGA, progress=nothing)
    assert len(office.files()) == 2 * len(kept | later)


def _held(office: Office, held: Held, lifted: set[int]) -> set[int]:
    holds, kept = Holds(office.ledger), set()
    for number, (how, study) in enumerate(held):
        wanted = _hold(study)
        if how == "patient":
            wanted = NewHold("default", "a judge asks", "TGI", "12", patient_ids=(f"PID{study}",))
        elif how == "query":
            found = holds.matching(None, {"AccessionNumber": f"ACC{study}"})
            wanted = NewHold("default", "a judge asks", "TGI", "12", studies=tuple(found))
        placed = holds.place(wanted, actor="anne", sites=None)
        if number in lifted:
            holds.lift(placed.hold_id, reason="over", actor="anne", sites=None)
        else:
            kept.add(study)
    return kept


def _hold(study: int) -> NewHold:
    return NewHold("default", "a judge asks", "TGI", "12", studies=(study_uid(study),), is_ahead=True)
