"""What the documents say is compared with the code: commands, settings, tables, links, names."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.exceptions import NoSuchOption
from pydantic import BaseModel

from archive import errors
from archive.bootstrap import _CONNECT_SECONDS
from archive.cli import INTERRUPTED, PARTLY_DONE, root
from archive.config import DicomSettings, Settings, _variables
from archive.dimse import status
from archive.index.derived import DERIVED, availability
from archive.index.keys import KEYS, UNIQUE_KEYS, Level
from archive.part10 import attributes, meta
from benchmarks.table import insert
from retention_rules.errors import RetentionError
from tiering.errors import TieringError
from tiering.transcode.syntaxes import SOURCES

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs/operations.md"
CONFORMANCE = ROOT / "docs/conformance.md"
CONTAINERS = [ROOT / "docker/Dockerfile", ROOT / "docker/compose.yaml"]
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "changelog.d").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_INLINE = re.compile(r"`([^`\n]+)`")


def read(path: Path) -> str:
    """Return a text file of the project."""
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return [body for name, body in _BLOCK.findall(read(path)) if name == language]


def without_blocks(path: Path) -> str:
    """Return a document without its code blocks."""
    return _BLOCK.sub("", read(path))


def table_after(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table that comes after ``heading``, without its header."""
    assert text.count(heading) == 1, f"{heading!r} is there {text.count(heading)} times"
    lines = text.partition(heading)[2].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


# ---- commands ----------------------------------------------------------------------------------------------------


def shell_commands(path: Path) -> Iterator[list[str]]:
    """Yield the words of every command of the shell blocks and the unit files, pipes taken apart, variables dropped."""
    text = "\n".join(blocks(path, "sh") + blocks(path, "ini")).replace("\\\n", " ").replace("ExecStart=", "\n")
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "|"]:
            if word == "|":
                yield words
                words = []
            elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
                words.append(word)


def inline_commands(path: Path) -> Iterator[list[str]]:
    """Yield the words of every command in running text."""
    for code in _INLINE.findall(without_blocks(path)):
        if re.match(r"(?:\.venv/bin/)?(?:drimbox|\./run) ", code):
            yield code.split()


def commands(path: Path, name: str) -> list[list[str]]:
    """Return what follows the command ``name`` wherever a document shows it; an ellipsis stands for anything."""
    shown = [*shell_commands(path), *inline_commands(path)]
    found = [words[1:] for words in shown if words and re.fullmatch(rf"(?:[\w./]*/)?{name}", words[0])]
    return [[word for word in words if word != "…"] for words in found if words[:1] != ["…"]]


def fault(words: Sequence[str]) -> str | None:
    """Return what is wrong with the words after ``drimbox``, or None."""
    command: click.Command = root
    context, rest = click.Context(root, **root.context_settings), list(words)
    while isinstance(command, click.Group):
        found = command.get_command(context, rest[0]) if rest else None
        if found is None:
            return f"no command {rest[:1]}"
        context, command, rest = click.Context(found, parent=context), found, rest[1:]
    try:
        _, left, _ = command.make_parser(context).parse_args(list(rest))
    except (NoSuchOption, click.UsageError) as exc:
        return exc.message
    return f"{left} is too much" if left else None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_exists(path: Path) -> None:
    """Every drimbox command in a document has the nouns, verbs, options and number of arguments it is shown with."""
    assert {shlex.join(words): fault(words) for words in commands(path, "drimbox") if fault(words)} == {}


def test_commands_are_found_at_all() -> None:
    """The documents show every command there is, and a made-up one would be noticed."""
    shown = {words[0] for path in (README, OPERATIONS) for words in commands(path, "drimbox")}
    assert shown == set(root.list_commands(click.Context(root, **root.context_settings)))
    assert fault(["audit", "verify"]) is None
    made_up = (["audit", "prove"], ["verify", "--fast"], ["verify", "x"], ["audit"], ["frob"])
    assert all(fault(words) for words in made_up)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_run_target_shown_exists(path: Path) -> None:
    """Every ./run in a document names a target of the script."""
    targets = set(re.findall(r"^(\w+)\)$", read(ROOT / "run"), re.M))
    assert targets >= {"serve", "test"}
    assert {words[0] for words in commands(path, "run")} <= targets


def test_readme_starts_with_the_two_commands() -> None:
    """The first commands of the README are ./run serve and ./run test."""
    assert commands(README, "run")[:2] == [["serve"], ["test"]]


# ---- settings ----------------------------------------------------------------------------------------------------


def reference() -> str:
    """Return the commented drimbox.toml of the operations manual."""
    return max(blocks(OPERATIONS, "toml"), key=len)


def with_examples(text: str) -> dict[str, Any]:
    """Return the reference with its examples switched on."""
    return tomllib.loads(re.sub(r"^#(?=[a-z0-9_]+ = |\[\[)", "", text, flags=re.M))


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every setting below a section, dotted."""
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        section = next((kind for kind in inner if issubclass(kind, BaseModel)), None)
        yield from [prefix + name] if section is None else paths(section, f"{prefix}{name}.")


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of a TOML document, dotted, with its value; a list of sections counts as its first one.

    A setting that is a table of its own is one key.
    """
    settings = set(paths(Settings))
    for name, value in tree.items():
        inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        is_section = isinstance(inner, dict) and prefix + name not in settings
        yield from leaves(inner, f"{prefix}{name}.") if is_section else [(prefix + name, value)]


def test_the_reference_has_every_setting_and_no_other() -> None:
    """Every key of the reference is a setting, and every setting is in the reference."""
    assert sorted(path for path, _ in leaves(with_examples(reference()))) == sorted(paths(Settings))


def test_the_reference_shows_the_defaults() -> None:
    """What the reference shows without a # is what holds without a file."""
    defaults = dict(leaves(Settings().model_dump(mode="json")))
    shown = dict(leaves(tomllib.loads(reference())))
    assert len(shown) > 15
    assert {path: defaults[path] for path in shown} == shown


def test_the_reference_is_a_configuration(tmp_path: Path) -> None:
    """With its examples switched on, the reference is accepted as it stands."""
    tree = with_examples(reference()) | {"home": str(tmp_path)}
    (tmp_path / "tls").mkdir()
    for name in ("certificate", "key", "ca", "provider", "provider-key", "provider-ca", "provider-secret"):
        (tmp_path / "tls" / f"{name}.pem").touch()
    settings = Settings(**tree)
    assert settings.warnings == ()
    assert settings.find_peer("WORKSTATION") is not None


@pytest.mark.parametrize("path", [README, OPERATIONS], ids=lambda path: path.name)
def test_other_examples_have_known_keys(path: Path) -> None:
    """Every shorter drimbox.toml shown in a document has settings that exist."""
    known = {*paths(Settings)}
    others = [leaves(tomllib.loads(text)) for text in blocks(path, "toml") if text != reference()]
    assert others
    assert {key for example in others for key, _ in example} <= known


def test_every_environment_variable_shown_is_a_setting() -> None:
    """Every DRIMBOX_ variable in a document, the image or the compose file is one the archive takes."""
    texts = [read(path) for path in (*DOCUMENTS, *CONTAINERS)]
    shown = set(re.findall(r"\bDRIMBOX_(?!0_1)[A-Z_]*[A-Z]", "\n".join(texts)))
    assert shown - {*_variables(Settings)} == {"DRIMBOX_CONFIG"}


def test_the_policies_show_the_defaults() -> None:
    """The association policies of the conformance statement give the default of each setting they name."""
    rows = [row for row in table_after(read(CONFORMANCE), "### 3.1 Association policies") if row[2]]
    for _, value, setting in rows:
        default = getattr(DicomSettings(), setting.strip("`").removeprefix("dicom."))
        assert re.match(r"[\d ]*\d|the smaller", value.replace("\u00a0", " ")), value
        assert int(re.match(r"[\d ]+", value)[0].replace(" ", "")) == default, setting  # type: ignore[index]
    assert len(rows) == 8
    assert f"{_CONNECT_SECONDS:.0f} s" in read(CONFORMANCE)


# ---- tables of the conformance statement ---------------------------------------------------------------------------


def test_the_table_of_keys_is_that_of_the_index() -> None:
    """Annex A lists exactly the keys of archive/index/keys.py, with level, tag, VR and matching."""
    all_attributes = (*attributes.PATIENT, *attributes.STUDY, *attributes.SERIES, *attributes.INSTANCE)
    known = {attribute.keyword: attribute for attribute in all_attributes}
    expected = []
    for key in sorted(KEYS.values(), key=lambda key: (key.level, known[key.keyword].tag)):
        tag = known[key.keyword].tag
        words = ["unique"] * (key.keyword in UNIQUE_KEYS) + [key.matching.value] + ["several"] * key.is_multiple
        place = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        expected.append([key.level.name, key.keyword, place, known[key.keyword].vr, ", ".join(words)])
    assert table_after(read(CONFORMANCE), "<!-- keys: begin") == expected


def test_the_table_of_derived_keys_is_that_of_the_index() -> None:
    """Annex A lists exactly what archive/index/derived.py can answer."""
    rows = table_after(read(CONFORMANCE), "<!-- derived: begin")
    expected = {keyword: derived.level.name for keyword, derived in DERIVED.items()}
    assert availability(Level.PATIENT) is None
    assert availability(Level.STUDY) is not None
    assert {keyword: level for level, keyword, _ in rows} == expected | {"InstanceAvailability": "STUDY"}


def test_every_matching_type_is_explained() -> None:
    """The rules of C-FIND name every way of matching, and no other."""
    rows = table_after(read(CONFORMANCE), "### 3.4 C-FIND as SCP")
    assert {row[0] for row in rows} == {key.matching.value for key in KEYS.values()} | {"universal"}


def leaf_errors(error: type[errors.ArchiveError]) -> Iterator[type[errors.ArchiveError]]:
    """Yield the classes below an error that have none below them."""
    below = error.__subclasses__()
    for kind in below:
        yield from leaf_errors(kind)
    if not below:
        yield error


def test_every_status_of_c_store_is_explained() -> None:
    """The statuses of C-STORE are those our errors map to: each in the table, none beside them."""
    refusals = [*leaf_errors(errors.IngestError), *leaf_errors(errors.Unavailable), errors.InvalidUid]
    sent = {status.SUCCESS, status.PROCESSING_FAILURE}
    for kind in refusals:
        sent.add(next(status._STATUS[base] for base in kind.__mro__ if base in status._STATUS))
    rows = table_after(read(CONFORMANCE), "**Duplicates.**")
    assert {int(row[0], 16) for row in rows} == sent


def test_every_transfer_syntax_that_converts_is_listed() -> None:
    """The table of conversions names exactly the transfer syntaxes that can be converted from."""
    rows = table_after(read(CONFORMANCE), "### 3.6 Transfer syntaxes given")
    endings = [ending for row in rows if row[2] == "yes" for ending in _INLINE.findall(row[1])]
    assert {"1.2.840.10008.1.2", *(f"1.2.840.10008.1.2{ending}" for ending in endings)} == set(SOURCES)


def test_the_implementation_is_named_as_on_the_wire() -> None:
    """Implementation class UID, version name and defaults are the code's."""
    text = read(CONFORMANCE)
    assert f"`{meta.IMPLEMENTATION_CLASS_UID}`" in text
    assert f"`{meta.IMPLEMENTATION_VERSION}`" in text
    assert f"| Version | {tomllib.loads(read(ROOT / 'pyproject.toml'))['project']['version']} |" in text


# ---- tables of the operations manual ------------------------------------------------------------------------------


Error = type[errors.ArchiveError] | type[RetentionError] | type[TieringError]
ROOTS: tuple[Error, ...] = (errors.ArchiveError, RetentionError, TieringError)


def every_error(error: Error) -> Iterator[Error]:
    """Yield an error class and all below it that the product has."""
    yield error
    for kind in error.__subclasses__():
        if kind.__module__.startswith(("archive.", "retention_rules.", "tiering.")):
            yield from every_error(kind)


def test_every_exit_code_is_explained() -> None:
    """The exit codes of the manual are those of the error classes and of the command line."""
    codes = {kind.exit_code for root in ROOTS for kind in every_error(root)}
    shown = [int(code) for row in table_after(read(OPERATIONS), "## Exit codes") for code in row[0].split(", ")]
    assert shown == sorted({0, 1, 2, PARTLY_DONE, INTERRUPTED} | codes)


def logged_events() -> Iterator[str]:
    """Yield the first argument of every call that logs, in every module of the archive."""
    levels = {"debug", "info", "warning", "error", "critical", "exception", "level"}
    for path in (ROOT / "archive").rglob("*.py"):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = ast.unparse(node.func).rpartition(".")[2]
                if name in levels and ("_log" in ast.unparse(node.func) or name in {"level", "warning"}):
                    yield str(node.args[0].value)


def test_every_log_event_is_explained() -> None:
    """The manual explains every event the archive logs, and none it does not."""
    rows = table_after(read(OPERATIONS), "## Log\n")
    explained = {event for row in rows for event in _INLINE.findall(row[0])}
    assert explained == {*logged_events(), "library_reported"}


# ---- links and names -----------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document."""
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", without_blocks(path), re.M)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_resolves(path: Path) -> None:
    """Every link leads to a file of the project and, with an anchor, to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(path)):
        assert "://" not in target, f"{target}: documents stand on their own"
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_named_exists(path: Path) -> None:
    """Every path of the project that a document names in code type is there."""
    tops = r"archive|tiering|tests|benchmarks|docs|docker|retention_rules"
    named = [code for code in _INLINE.findall(without_blocks(path)) if re.fullmatch(rf"(?:{tops})/[\w./-]*", code)]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_architecture_names_every_part() -> None:
    """The tree of the architecture has every module of the archive by name, but for the index and the command line."""
    text = read(ROOT / "docs/architecture.md")
    for folder in ("part10", "services", "dimse"):
        names = {file.stem for file in (ROOT / "archive" / folder).glob("*.py")} - {"__init__"}
        rows = "\n".join(line for line in text.splitlines() if line.startswith(f"| `archive/{folder}/`"))
        assert names == {name for code in _INLINE.findall(rows) for name in code.split()} - {f"archive/{folder}/"}


def test_the_readme_takes_the_table_of_figures() -> None:
    """The README has the two markers between which the benchmarks write."""
    assert "MEASURED" in insert(read(README), "MEASURED")


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Yield every text file of the project that is under version control, or would be."""
    arguments = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(arguments, capture_output=True, text=True, check=True)
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        if (ROOT / name).is_file():
            data = (ROOT / name).read_bytes()
            if b"\0" not in data:
                yield name, data.decode("utf-8", "replace")


def test_no_registry_and_no_machine_is_named() -> None:
    """No tracked text names the host of a package registry or a folder of somebody's machine."""
    hosts = "pypi/org pythonhosted/org npmjs/org npmjs/com crates/io rubygems/org ghcr/io quay/io gcr/io docker/io"
    hosts += " debian/org anaconda/org anaconda/com jfrog/io golang/org"
    names = "|".join(re.escape(host.replace("/", ".")) for host in hosts.split())
    folders = "|".join("work root home Users".split())
    forbidden = re.compile(rf"\b(?:{names})\b|(?<![\w.{{}}$-])/(?:{folders})/\w|\b[A-Z]:\\+Users")
    assert all(
        map(forbidden.search, ("deb." + "debian" + ".org", "in /" + "work/main", "=/" + "root/x", "C:\\" + "Users"))
    )
    texts = list(tracked_texts())
    assert len(texts) > 100
    assert [f"{name}: {found[0]}" for name, text in texts if (found := forbidden.search(text))] == []
