"""``drimbox certificates``: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from archive.cli import root
from tests.pki import in_days, issue, tls_server

AUTHORITY = issue("Authority", is_authority=True)


def run(folder: Path, config: str, *options: str) -> Result:
    """Run the command with these settings."""
    path = folder / "drimbox.toml"
    path.write_text(config)
    return CliRunner().invoke(root, ["certificates", "--home", str(folder), "--config", str(path), *options])


def listed(folder: Path, days: float, name: str = "site") -> str:
    """Return settings that name a certificate with so many days left."""
    issue("site.example", AUTHORITY, until=in_days(days)).write(folder / "tls", name)
    return f'[certificates]\nfiles = ["tls/{name}.pem"]\n'


def test_every_certificate_of_the_settings_is_listed(tmp_path: Path) -> None:
    """DICOM TLS, its authorities, HTTPS, destinations, endpoints and files, with days left and chain."""
    AUTHORITY.write(tmp_path / "tls", "ca")
    pair = issue("localhost", AUTHORITY, until=in_days(100)).write(tmp_path / "tls", "own")
    issue("old.example", AUTHORITY, until=in_days(200)).write(tmp_path / "tls" / "more", "a")
    tls = "certificate = 'tls/own.pem'\nkey = 'tls/own.key'\n"
    with tls_server(*pair) as port:
        config = (
            f"[dicom.tls]\nport = 0\n{tls}ca = 'tls/ca.pem'\n[hl7]\nport = 0\ntls = true\n"
            f"[http]\nport = 0\ncertificate = '{pair[0]}'\nkey = '{pair[1]}'\n"
            f"[certificates]\nfiles = ['tls/more']\nendpoints = ['localhost:{port}']\n"
            f"[[dicom.peers]]\nae_title = 'WS'\nhost = 'localhost'\nport = {port}\ntls = true\n"
        )
        result = run(tmp_path, config, "--json")
        offline = run(tmp_path, config, "--files-only", "--json")
    assert result.exit_code == 0, result.output
    rows = [(row["use"], row["role"], row["days_left"], row["chain"]) for row in json.loads(result.output)]
    files = [
        ("DICOM and HL7 TLS", "server", 100, "complete"),
        ("DICOM and HL7 TLS: authorities", "authority", rows[1][2], "self-signed"),
        ("HTTPS", "server", 100, "incomplete"),
        ("DICOM peer WS", "server", 100, "complete"),
        ("listed", "server", 200, "incomplete"),
        ("listed", "server", 100, "incomplete"),
    ]
    assert rows == files
    assert [row["use"] for row in json.loads(offline.output)] == [files[n][0] for n in (0, 1, 2, 4)]


def test_the_exit_code_says_how_urgent_it_is(tmp_path: Path) -> None:
    """0 all is well, 45 one ends soon or cannot be read, 46 one has expired."""
    codes = [run(tmp_path, listed(tmp_path, days)).exit_code for days in (90, 59, -1)]
    assert codes == [0, 45, 46]
    assert run(tmp_path, '[certificates]\nfiles = ["none.pem"]\n').exit_code == 45


def test_people_see_a_table_and_what_to_do(tmp_path: Path) -> None:
    """State and days come first; the last line names what needs a person."""
    result = run(tmp_path, listed(tmp_path, 12))
    header, row = result.stdout.splitlines()[:2]
    assert header.split() == "state days use role subject issuer chain where".split()
    assert row.startswith("warning  12    listed  server  CN=site.example  CN=Authority  incomplete")
    assert "end soon" in result.stderr and "site.pem" in result.stderr


def test_without_any_it_says_how_to_add_some(tmp_path: Path) -> None:
    """An empty table would look like an error."""
    result = run(tmp_path, "")
    assert (result.exit_code, "certificates.files" in result.output) == (0, True)
    assert json.loads(run(tmp_path, "", "--json").output) == []
