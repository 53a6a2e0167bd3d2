"""The sizes and manners the house holds itself to (house.md section 8), read from the syntax tree of every file."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("archive", "tiering", "retention_rules")
CHECKS = ("tests", "benchmarks")

FILE_WALL, FILE_MEDIAN = 500, 200
BODY_WALL, BODY_MEDIAN = 70, 8
ARGUMENTS_WALL, ARGUMENTS_MEDIAN = 6, 4
TEST_LINES_PER_SOURCE_LINE = 1.2

Function = ast.FunctionDef | ast.AsyncFunctionDef
_MUST_NOT = re.compile(r"\b(?:must not|must hold no|never|nor|not|no|only|nothing|without)\b")


@dataclass(frozen=True)
class Source:
    """One parsed file; ``name`` is its path from the root."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """Return the syntax tree."""
        return _parse(self.text)

    @property
    def module(self) -> str:
        """Return the dotted name it is imported by."""
        return ".".join(Path(self.name).with_suffix("").parts).removesuffix(".__init__")

    @property
    def lines(self) -> int:
        """Return how many lines it has."""
        return len(self.text.splitlines())

    @property
    def written_lines(self) -> int:
        """Return how many of its lines are not blank."""
        return sum(1 for line in self.text.splitlines() if line.strip())

    @property
    def functions(self) -> list[Function]:
        """Return every function and method, inner ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    def at(self, node: Function | ast.ClassDef) -> str:
        """Name a definition for a message."""
        return f"{self.name}:{node.lineno} {node.name}"


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def sources(*tops: str) -> tuple[Source, ...]:
    """Return the files under some top folders."""
    files = sorted(file for top in tops for file in (ROOT / top).rglob("*.py"))
    return tuple(Source(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files)


def body_lines(function: Function) -> int:
    """Return the lines of a body, its docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def argument_count(function: Function) -> int:
    """Return the arguments a caller may give, ``self`` and ``cls`` left out."""
    given = function.args
    named = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)


def is_public(name: str) -> bool:
    """Tell whether a name is part of an interface."""
    return not name.startswith("_")


def public_definitions(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Yield public classes and functions, and public methods of public classes."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and is_public(node.name) and not _is_repetition(node):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


def _is_repetition(node: Function | ast.ClassDef) -> bool:
    """Tell whether a definition says nothing new: a setter, an overload, an attribute that a protocol asks for."""
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    is_attribute = "property" in decorators and ast.unparse(node.body[0]) == "..."
    return is_attribute or not decorators.isdisjoint({"setter", "overload"})


def too_long_files(source: Source) -> list[str]:
    """Find a file above the wall."""
    return [f"{source.name}: {source.lines} lines"] if source.lines > FILE_WALL else []


def too_long_functions(source: Source) -> list[str]:
    """Find functions above the wall."""
    return [
        f"{source.at(function)}: {body_lines(function)} lines"
        for function in source.functions
        if body_lines(function) > BODY_WALL
    ]


def too_many_arguments(source: Source) -> list[str]:
    """Find functions above the wall."""
    return [
        f"{source.at(function)}: {argument_count(function)} arguments"
        for function in source.functions
        if argument_count(function) > ARGUMENTS_WALL
    ]


def without_opening(source: Source) -> list[str]:
    """Find a module that does not open with one sentence on what it is and what it must not do."""
    if not source.text.strip():
        return []
    opening = (ast.get_docstring(source.tree) or "").partition("\n\n")[0]
    if not opening:
        return [f"{source.name}: no docstring"]
    return [] if _MUST_NOT.search(opening) else [f"{source.name}: does not say what it must not do"]


def without_any_opening(source: Source) -> list[str]:
    """Find a module that has code and no docstring."""
    return [source.name] if source.text.strip() and not ast.get_docstring(source.tree) else []


def undocumented(source: Source) -> list[str]:
    """Find public definitions without a docstring."""
    return [source.at(node) for node in public_definitions(source.tree.body) if not ast.get_docstring(node)]


def silent_tests(source: Source) -> list[str]:
    """Find tests whose docstring is not a sentence that states the behaviour."""
    tests = [function for function in source.functions if function.name.startswith("test_")]
    return [source.at(test) for test in tests if not _opens_with_sentence(ast.get_docstring(test) or "")]


def _opens_with_sentence(docstring: str) -> bool:
    opening = " ".join(docstring.partition("\n\n")[0].split())
    return len(opening.split()) >= 3 and opening.endswith(".")


def outside_standard_library(source: Source) -> list[str]:
    """Find imports of anything but the standard library and the package itself."""
    own = source.module.partition(".")[0]
    tops = {name.partition(".")[0] for name in imported_names(source)}
    return [f"{source.name}: {top}" for top in sorted(tops - sys.stdlib_module_names - {own})]


def clock_exceptions(source: Source) -> list[str]:
    """Find a waiver of the rule that only archive/clock.py reads the clock."""
    return [source.name] if re.search(r"#\s*noqa:[^#]*\bTID251\b", source.text) else []


def imported_names(source: Source) -> Iterator[str]:
    """Yield the dotted name of everything a module imports anywhere: modules, or names in modules."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(files: tuple[Source, ...]) -> dict[str, set[str]]:
    """Return which module of ``files`` imports which; a name that is no module stands for the module that has it."""
    modules = {source.module for source in files}
    graph: dict[str, set[str]] = {}
    for source in files:
        found = {name if name in modules else name.rpartition(".")[0] for name in imported_names(source)}
        graph[source.module] = (found & modules) - {source.module}
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of an import cycle, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return []


Rule = Callable[[Source], list[str]]


@pytest.mark.parametrize(
    ("rule", "tops"),
    [
        (too_long_files, (*PACKAGES, *CHECKS)),
        (too_long_functions, (*PACKAGES, *CHECKS)),
        (too_many_arguments, (*PACKAGES, *CHECKS)),
        (without_opening, PACKAGES),
        (without_any_opening, CHECKS),
        (undocumented, PACKAGES),
        (silent_tests, CHECKS),
        (clock_exceptions, (*PACKAGES, *CHECKS)),
        (outside_standard_library, ("retention_rules",)),
    ],
    ids=lambda value: getattr(value, "__name__", "+".join(value) if isinstance(value, tuple) else None),
)
def test_every_file_keeps_the_rule(rule: Rule, tops: tuple[str, ...]) -> None:
    """No file of the product, of its tests or of its benchmarks breaks a rule of the house."""
    findings = [finding for source in sources(*tops) for finding in rule(source)]
    assert not findings, "\n".join(["", *findings])


def test_no_import_cycle() -> None:
    """No module imports itself through others, not even for type checking or inside a function."""
    assert find_cycle(import_graph(sources(*PACKAGES))) == []


def test_files_are_short() -> None:
    """Half of the files that hold code have at most 200 lines."""
    assert median(source.lines for source in sources(*PACKAGES) if source.text.strip()) <= FILE_MEDIAN


def test_functions_are_short() -> None:
    """Half of the functions have a body of at most 8 lines."""
    bodies = [body_lines(function) for source in sources(*PACKAGES) for function in source.functions]
    assert median(bodies) <= BODY_MEDIAN


def test_functions_take_few_arguments() -> None:
    """Half of the functions take at most 4 arguments."""
    counts = [argument_count(function) for source in sources(*PACKAGES) for function in source.functions]
    assert median(counts) <= ARGUMENTS_MEDIAN


def test_tests_outweigh_the_source() -> None:
    """There are at least 1.2 lines of tests for each line of source, blank ones left out."""
    tests = sum(source.written_lines for source in sources("tests"))
    product = sum(source.written_lines for source in sources(*PACKAGES))
    assert tests / product >= TEST_LINES_PER_SOURCE_LINE


def test_test_folders_are_packages() -> None:
    """Every folder with tests has an __init__.py, up to the top, or ``import archive`` would load the tests."""
    folders = {file.parent for top in CHECKS for file in (ROOT / top).rglob("*.py")}
    folders |= {ROOT / top for top in CHECKS}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_docker_is_no_package() -> None:
    """docker/ holds no importable package: it would shadow the library of that name."""
    assert not (ROOT / "docker" / "__init__.py").exists()


WAIVER = "# " + "noqa:"
LONG_BODY = "def f():\n    '''It is f.'''\n" + "    x = 1\n" * 71
SHORT_BODY = "def f():\n    '''It is f.'''\n" + "    x = 1\n" * 70


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (too_long_files, "x = 1\n" * 501, "x = 1\n" * 500),
        (too_long_functions, LONG_BODY, SHORT_BODY),
        (
            too_long_functions,
            f"class A:\n{LONG_BODY}".replace("\n", "\n  "),
            f"class A:\n{SHORT_BODY}".replace("\n", "\n  "),
        ),
        (too_many_arguments, "def f(a, b, c, d, e, f, g): ...", "def f(a, b, c, d, e, f): ..."),
        (too_many_arguments, "def f(a, b, c, *d, e, f, **g): ...", "def f(a, b, c, *d, e, **g): ..."),
        (
            too_many_arguments,
            "class A:\n def f(self, a, b, c, d, e, f, g): ...",
            "class A:\n def f(self, a, b, c, d, e, f): ...",
        ),
        (without_opening, "x = 1", ""),
        (without_opening, "'''Reads files.'''", "'''Reads files; must not write them.'''"),
        (without_opening, "'''Reads files.\n\nIt must not write.'''", "'''The only reader of files.'''"),
        (without_any_opening, "x = 1", "'''Words.'''\nx = 1"),
        (undocumented, "def f(): ...", "def _f(): ..."),
        (undocumented, "class A:\n '''It is A.'''\n def f(self): ...", "class A:\n '''It is A.'''\n def _f(self): ..."),
        (undocumented, "class A: ...", "class _A:\n def f(self): ..."),
        (undocumented, "def f():\n  ''''''", "@typing.overload\ndef f(): ..."),
        (undocumented, "@property\ndef f(self): return 1", "@property\ndef f(self): ..."),
        (silent_tests, "def test_f(): ...", "def help_f(): ..."),
        (silent_tests, "def test_f():\n '''Test f'''", "def test_f():\n '''It does what f does.'''"),
        (
            silent_tests,
            "class A:\n def test_f(self):\n  '''Works.'''",
            "class A:\n def test_f(self):\n  '''It really works.'''",
        ),
        (outside_standard_library, "import json, numpy", "import json, made_up.other"),
        (outside_standard_library, "def f():\n from numpy import array", "from collections.abc import Set"),
        (clock_exceptions, f"time.time()  {WAIVER} TID251", f"time.time()  {WAIVER} E501"),
    ],
)
def test_rule_bites(rule: Rule, bad: str, good: str) -> None:
    """Each rule finds one fault in the bad text and none in the good one."""
    assert len(rule(Source("made_up/bad.py", bad))) == 1
    assert rule(Source("made_up/good.py", good)) == []


@pytest.mark.parametrize(
    ("texts", "in_cycle"),
    [
        ({"a/b.py": "import a.c", "a/c.py": "import a.b"}, {"a.b", "a.c"}),
        ({"a/b.py": "from a import c", "a/c.py": "def f():\n from a.b import x"}, {"a.b", "a.c"}),
        ({"a/__init__.py": "from a.b import x", "a/b.py": "from a import y"}, {"a", "a.b"}),
        ({"a/b.py": "import a.c", "a/c.py": "import a.d", "a/d.py": "import a.b"}, {"a.b", "a.c", "a.d"}),
        ({"a/b.py": "import a.c\nimport a.d", "a/c.py": "import a.d", "a/d.py": "import json"}, set()),
    ],
)
def test_cycles_are_found(texts: dict[str, str], in_cycle: set[str]) -> None:
    """A cycle is found whatever way its modules are imported, and none where there is none."""
    graph = import_graph(tuple(Source(name, text) for name, text in texts.items()))
    assert set(find_cycle(graph)) == in_cycle


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def f():\n  '''Doc.'''", 0),
        ("def f():\n  '''Doc.'''\n  return 1", 1),
        ("def f(\n  a,\n):\n  x = (\n    1\n  )\n\n  return x", 5),
    ],
)
def test_body_is_counted_without_its_docstring(text: str, lines: int) -> None:
    """A body runs from its first statement to its last line; signature and docstring do not count."""
    (function,) = Source("a.py", text).functions
    assert body_lines(function) == lines
