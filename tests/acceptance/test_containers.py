"""The image and the compose file say what the archive can do; building and running them is done by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from archive.config import load_settings
from archive.services.viewer_files import PACKAGE, VERSION
from tests.acceptance.test_docs import ROOT, fault, read

DOCKERFILE = read(ROOT / "docker/Dockerfile")
COMPOSE = read(ROOT / "docker/compose.yaml")


def instructions(name: str, text: str = DOCKERFILE) -> list[str]:
    """Return the arguments of every instruction of one kind, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return re.findall(rf"^{name} (.+)$", joined, re.M)


def last_stage() -> str:
    """Return the part of the Dockerfile that makes the image itself."""
    return DOCKERFILE.rpartition("\nFROM ")[2]


def read_yaml(text: str) -> Any:
    """Read block mappings, block lists and scalars; fail at anything else that YAML could mean."""
    assert "\t" not in text
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = [(len(line) - len(line.lstrip()), line.strip()) for line in lines]
    tree = _block(found)
    assert not found, found
    return tree


def _block(lines: list[tuple[int, str]]) -> Any:
    indent, first = lines[0]
    if first.startswith("- "):
        return list(_items(lines, indent))
    mapping: dict[str, Any] = {}
    while lines and lines[0][0] == indent:
        name, colon, value = lines.pop(0)[1].partition(":")
        assert colon and name not in mapping and value[:1] in ("", " "), name
        is_block = not value and bool(lines) and lines[0][0] > indent
        mapping[name] = _block(lines) if is_block else _scalar(value.strip())
    assert not lines or lines[0][0] < indent, lines[0]
    return mapping


def _items(lines: list[tuple[int, str]], indent: int) -> Iterator[Any]:
    while lines and lines[0][0] == indent:
        text = lines.pop(0)[1]
        assert text.startswith("- "), text
        yield _scalar(text[2:])


def _scalar(text: str) -> Any:
    if text[:1] in ("[", '"'):
        return json.loads(text)
    assert text[:1] not in tuple("&*!|>{%@`'#-,?:") or text.startswith("--"), text
    assert ": " not in text and " #" not in text, text
    return int(text) if text.isdecimal() else text or None


@pytest.mark.parametrize("bad", ["a: 1\n  b: 2", "a:\n    b: 1\n  c: 2", "a: 1\na: 2", "a: b: c", "- a\nb: 1", "a:1"])
def test_what_is_not_yaml_is_noticed(bad: str) -> None:
    """The reader of the compose file refuses wrong indents, keys given twice and values YAML reads otherwise."""
    with pytest.raises(AssertionError):
        read_yaml(bad)


def test_the_compose_file_parses() -> None:
    """It has an archive and a PostgreSQL 15, and declares every volume it uses."""
    compose = read_yaml(COMPOSE)
    services = compose["services"]
    assert services["database"]["image"] == "postgres:15"
    used = {volume.partition(":")[0] for service in services.values() for volume in service["volumes"]}
    assert {name for name in used if not name.startswith(".")} == {*compose["volumes"]}
    build = services["archive"]["build"]
    assert (ROOT / "docker" / build["context"] / build["dockerfile"]).resolve() == ROOT / "docker/Dockerfile"
    assert list(services["archive"]["depends_on"]) == ["database"]


def test_the_password_comes_from_the_environment() -> None:
    """No password is written in the compose file, and it does not start without one."""
    passwords = re.findall(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", COMPOSE)
    assert len(passwords) == 2
    assert COMPOSE.count("PASSWORD:") == 3  # twice within the braces, once the variable of the image


def test_the_settings_of_the_compose_file_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample drimbox.toml is mounted where the archive looks, and together with the environment it is accepted."""
    archive = read_yaml(COMPOSE)["services"]["archive"]
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in archive["volumes"])
    assert mounts["./drimbox.toml"] == archive["environment"].pop("DRIMBOX_CONFIG")
    for name, value in archive["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{[^}]+\}", "secret", value))
    settings = load_settings(ROOT / "docker/drimbox.toml", {"home": tmp_path})
    assert settings.database_url == "postgresql://drimbox:secret@database:5432/drimbox"
    assert mounts["objects"] == environment_of_the_image()["DRIMBOX_HOME"]


def with_what_is_commented_out(text: str) -> str:
    """Return a file with its commented lines in force; sentences stay what they are."""
    return re.sub(r"^( *)# (?=\[|- |[a-z_]+ = )", r"\1", text, flags=re.M)


def test_the_port_for_browsers_opens_with_what_is_commented_out(tmp_path: Path) -> None:
    """Settings, published port, mounted certificate and scrape fit together; before that, it is shut."""
    text = read(ROOT / "docker/drimbox.toml")
    assert load_settings(ROOT / "docker/drimbox.toml", {"home": tmp_path}).http.port is None
    archive = read_yaml(with_what_is_commented_out(COMPOSE))["services"]["archive"]
    (folder,) = [volume.split(":")[1] for volume in archive["volumes"] if volume.startswith("./tls:")]
    for name in ("certificate", "key"):
        (tmp_path / f"{name}.pem").touch()
        assert f'"{folder}/{name}.pem"' in text
    (tmp_path / "drimbox.toml").write_text(with_what_is_commented_out(text).replace(folder, str(tmp_path)), "utf-8")
    settings = load_settings(tmp_path / "drimbox.toml", {"home": tmp_path})
    assert settings.warnings == ()
    assert settings.http.host == "0.0.0.0"
    assert archive["ports"] == [f"{port}:{port}" for port in (settings.dicom.port, settings.http.port)]
    (job,) = yaml.safe_load(read(ROOT / "docker/prometheus.yml"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"archive:{settings.http.port}"]}]
    assert settings.login.origin == f"{job['scheme']}://{job['tls_config']['server_name']}:{settings.http.port}"
    assert [client.roles for client in settings.http.clients if client.name == "prometheus"] == [("operator",)]


def test_the_container_may_open_as_many_files_as_the_service() -> None:
    """Some engines give 1024, which many associations with many objects use up."""
    limit = read_yaml(COMPOSE)["services"]["archive"]["ulimits"]["nofile"]
    assert f"LimitNOFILE={limit}\n" in read(ROOT / "docs/operations.md")


def environment_of_the_image() -> dict[str, str]:
    """Return the variables the image sets."""
    (line,) = instructions("ENV", last_stage())
    return dict(word.split("=", 1) for word in line.split())


def test_the_image_listens_on_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the image sets are settings; a port published by the engine reaches the archive."""
    for name, value in environment_of_the_image().items():
        if name.startswith("DRIMBOX_"):
            monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert settings.dicom.host == "0.0.0.0"
    assert instructions("EXPOSE") == [str(settings.dicom.port)]
    assert instructions("VOLUME") == [str(settings.home)]


@pytest.mark.parametrize("instruction", ["HEALTHCHECK", "CMD"])
def test_what_the_image_runs_exists(instruction: str) -> None:
    """The health check is a C-ECHO by a command there is, and so is what the container starts."""
    (line,) = instructions(instruction)
    words = json.loads(line[line.index("[") :])
    (entry,) = json.loads(*instructions("ENTRYPOINT"))
    assert entry == "drimbox"
    assert words == {"HEALTHCHECK": ["drimbox", "echo"], "CMD": ["serve"]}[instruction]
    assert fault([word for word in words if word != entry]) is None


def test_the_image_is_slim_and_runs_as_an_ordinary_user() -> None:
    """Both stages of the archive start from the slim image; the last copies nothing but the installed archive."""
    assert [line.split()[0] for line in instructions("FROM")] == ["debian:bookworm-slim"] + ["python:3.11-slim"] * 2
    assert instructions("USER", last_stage()) == ["drimbox"]
    assert instructions("COPY", last_stage()) == ["--from=build /opt/drimbox /opt/drimbox"]


def test_the_image_brings_the_viewer_that_the_archive_knows() -> None:
    """The image fetches the very version that ``drimbox viewer install`` takes, and the archive finds it there."""
    (fetched,) = [line for line in instructions("RUN") if line.startswith("npm pack")]
    assert fetched.split()[-1] == f"{PACKAGE}@{VERSION}"
    (installed,) = [line for line in instructions("RUN") if "viewer install" in line]
    folder = installed.split()[0]
    assert f" {folder}" in "".join(instructions("ENV", last_stage()))


def test_every_version_in_the_image_is_pinned() -> None:
    """Nothing is installed without the constraints file, and the wheel is built by what is installed."""
    installs = [line for line in instructions("RUN") if " install " in line and "pip" in line]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line for line in installs)
    (wheel,) = [line for line in instructions("RUN") if " wheel " in line]
    assert "--no-build-isolation" in wheel and "--no-deps" in wheel


def test_what_the_image_needs_is_in_the_context() -> None:
    """.dockerignore lets in exactly what the Dockerfile copies, and all of it exists."""
    first = DOCKERFILE.rpartition("\nFROM ")[0]
    from_context = (line for line in instructions("COPY", first) if not line.startswith("--from="))
    copied = {name for line in from_context for name in line.split()[:-1]}
    lines = read(ROOT / ".dockerignore").split()
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
