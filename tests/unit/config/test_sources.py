"""Settings: where they come from, and which source wins."""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from archive.config import (
    Settings,
    Site,
    find_file,
    load_settings,
)
from archive.errors import ConfigError
from tests.unit.config.samples import EVERY_SETTING, Load, named, reason, refusal


class TestDefaults:
    """What an archive runs with when nothing is said."""

    def test_nothing_given_is_a_working_archive(self, tmp_path: Path) -> None:
        """Without a file, a variable or an option the listener is local, on 11112, called DRIMBOX."""
        settings = load_settings(None, {"home": tmp_path})
        assert (settings.dicom.host, settings.dicom.port, settings.dicom.ae_title) == ("127.0.0.1", 11112, "DRIMBOX")
        assert settings.dicom.accept_unknown_peers and settings.dicom.check_called_ae_title
        assert settings.dicom.tls.port is None
        assert settings.source is None and settings.warnings == ()

    def test_storage_and_index_lie_in_the_home(self, tmp_path: Path) -> None:
        """Hot storage, quarantine and the SQLite index are in the home unless placed elsewhere."""
        settings = load_settings(None, {"home": tmp_path})
        assert settings.hot_folder == tmp_path / "hot"
        assert settings.quarantine_folder == tmp_path / "quarantine"
        assert settings.database_url == f"sqlite:///{tmp_path}/index.db"

    def test_default_database_url_opens(self, tmp_path: Path) -> None:
        """The path in the default URL is absolute, so that SQLite opens it from any folder."""
        url = load_settings(None, {"home": tmp_path}).database_url
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    def test_one_public_hospital_owns_everything(self, tmp_path: Path) -> None:
        """Without sites there is one, named default: a public hospital."""
        settings = load_settings(None, {"home": tmp_path})
        assert settings.sites == (Site(name="default", regime="hospital", kind="public"),)
        assert settings.site_of("ANYONE").name == "default"

    def test_home_is_beside_the_caller(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The home defaults to drimbox-home in the working folder, and is made absolute."""
        monkeypatch.chdir(tmp_path)
        assert load_settings(None, {}).home == tmp_path / "drimbox-home"

    def test_settings_alone_ignore_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Settings built from arguments are those arguments: no variable slips in."""
        monkeypatch.setenv("DRIMBOX_DICOM__PORT", "4444")
        assert Settings(home=Path("/x")).dicom.port == 11112


class TestFile:
    """drimbox.toml."""

    def test_every_setting_can_be_given(self, load: Load) -> None:
        """A file that gives every setting is read to the last one."""
        settings = load(EVERY_SETTING)
        dicom = settings.dicom
        assert (dicom.host, dicom.port, dicom.ae_title, dicom.extra_ae_titles) == (
            "0.0.0.0",
            104,
            "PACS",
            ("PACS_OLD",),
        )
        assert not (dicom.check_called_ae_title or dicom.accept_unknown_peers or dicom.accept_private_sop_classes)
        assert (dicom.max_pdu_bytes, dicom.max_associations, dicom.max_associations_per_peer) == (131072, 64, 8)
        assert (dicom.artim_seconds, dicom.idle_seconds, dicom.pdu_seconds, dicom.find_limit) == (2.5, 60, 5, 500)
        assert (settings.log.level, settings.log.format) == ("debug", "console")
        assert (settings.storage.min_free_mib, settings.storage.direct_io) == (1024, False)
        assert settings.database_url == "postgresql://archive:hunter2@db.example:5432/archive"

    def test_a_peer_is_read_whole(self, load: Load) -> None:
        """A peer's addresses become networks and its fingerprint plain lower-case hexadecimal."""
        peer = load(EVERY_SETTING).find_peer("CONSOLE")
        assert peer is not None and peer.is_destination
        assert (peer.host, peer.port, peer.tls, peer.commitment_same_association) == (
            "console.example",
            4242,
            True,
            False,
        )
        assert peer.addresses == (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("192.168.7.4/32"))
        assert peer.certificate_sha256 == "aabbccddeeff00112233445566778899" * 2

    def test_relative_paths_start_at_the_home(self, load: Load, tmp_path: Path) -> None:
        """A relative path in the file lies in the home; an absolute one stays."""
        settings = load(EVERY_SETTING)
        assert settings.hot_folder == tmp_path / "home" / "fast"
        assert settings.quarantine_folder == Path("/srv/quarantine")

    def test_source_names_the_file_that_was_read(self, load: Load, tmp_path: Path) -> None:
        """The settings say which file they come from."""
        assert load("").source == tmp_path / "some.toml"

    def test_file_in_the_home_is_found(self, tmp_path: Path) -> None:
        """Without a path, drimbox.toml in the home is read."""
        (tmp_path / "drimbox.toml").write_text("[dicom]\nport = 1104\n")
        settings = load_settings(None, {"home": tmp_path})
        assert settings.dicom.port == 1104
        assert settings.source == find_file(tmp_path) == tmp_path / "drimbox.toml"

    def test_given_file_wins_over_the_one_in_the_home(self, load: Load, tmp_path: Path) -> None:
        """A file named by the operator is read instead of the one in the home."""
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "drimbox.toml").write_text("[dicom]\nport = 1\n")
        assert load("[dicom]\nport = 2\n").dicom.port == 2

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        """A file that is not there is an error that says its path."""
        with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read \(No such file"):
            load_settings(tmp_path / "nowhere.toml", {})

    def test_broken_toml_says_the_line(self, load: Load) -> None:
        """A file that is not TOML is an error with the line where it breaks."""
        error = refusal(load, "[dicom]\nport = = 3\n")
        assert named(error) == "file" and "line 2" in reason(error)

    def test_file_in_another_encoding_is_refused(self, tmp_path: Path) -> None:
        """A file in Latin-1 is an error of ours, not a decoding error."""
        file = tmp_path / "latin.toml"
        file.write_bytes('[[sites]]\nname = "Hôpital"\n'.encode("latin-1"))
        with pytest.raises(ConfigError, match=r"latin\.toml is not TOML"):
            load_settings(file, {})


class TestEnvironment:
    """DRIMBOX_* variables."""

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("DRIMBOX_DICOM__PORT", "4100", ("dicom", "port", 4100)),
            ("DRIMBOX_DICOM__AE_TITLE", "ENVBOX", ("dicom", "ae_title", "ENVBOX")),
            ("DRIMBOX_DICOM__ACCEPT_UNKNOWN_PEERS", "false", ("dicom", "accept_unknown_peers", False)),
            ("DRIMBOX_DICOM__EXTRA_AE_TITLES", '["A","B"]', ("dicom", "extra_ae_titles", ("A", "B"))),
            ("DRIMBOX_STORAGE__MIN_FREE_MIB", "7", ("storage", "min_free_mib", 7)),
            ("DRIMBOX_LOG__FORMAT", "console", ("log", "format", "console")),
            ("drimbox_log__level", "error", ("log", "level", "error")),
        ],
    )
    def test_variable_sets_a_setting(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: tuple[str, str, object]
    ) -> None:
        """A variable named after section and key, in any case, sets that key; lists are JSON."""
        monkeypatch.setenv(name, value)
        section, key, wanted = expected
        assert getattr(getattr(load_settings(None, {}), section), key) == wanted

    def test_home_comes_from_its_variable(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """DRIMBOX_HOME is the home, and the file in it is read."""
        (tmp_path / "drimbox.toml").write_text("[dicom]\nport = 77\n")
        monkeypatch.setenv("DRIMBOX_HOME", str(tmp_path))
        settings = load_settings(None, {})
        assert (settings.home, settings.dicom.port) == (tmp_path, 77)

    def test_order_is_file_then_variable_then_option(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable wins over the file, an option over both, and the rest of the section stays."""
        text = '[dicom]\nport = 1\nae_title = "FILE"\nhost = "file.example"\n'
        monkeypatch.setenv("DRIMBOX_DICOM__PORT", "2")
        monkeypatch.setenv("DRIMBOX_DICOM__AE_TITLE", "ENV")
        dicom = load(text, **{"dicom.port": 3}).dicom
        assert (dicom.host, dicom.ae_title, dicom.port) == ("file.example", "ENV", 3)

    def test_sites_come_as_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list of tables is given as JSON in one variable."""
        monkeypatch.setenv("DRIMBOX_SITES", json.dumps([{"name": "CHU", "calling_ae_titles": ["CT1"]}]))
        assert load_settings(None, {}).site_of("CT1").name == "CHU"

    def test_empty_variable_is_no_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty variable, as compose files make them, leaves the default."""
        monkeypatch.setenv("DRIMBOX_DICOM__PORT", "")
        assert load_settings(None, {}).dicom.port == 11112

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("DRIMBOX_DICOM_PORT", "(did you mean DRIMBOX_DICOM__PORT?)"),
            ("DRIMBOX_DICOM__PROT", "(did you mean DRIMBOX_DICOM__PORT?)"),
            ("DRIMBOX_DICOM__TLS__CERT", "(did you mean DRIMBOX_DICOM__TLS__"),
            ("DRIMBOX_XYZZY_QUUX", "there is no such setting"),
        ],
    )
    def test_unknown_variable_is_refused(self, monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
        """A DRIMBOX_ variable that sets nothing is refused by its name, with the nearest one when there is one."""
        monkeypatch.setenv(name, "1")
        with pytest.raises(ConfigError) as caught:
            load_settings(None, {})
        assert named(caught.value) == name and hint in reason(caught.value)

    def test_variable_of_the_command_line_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """DRIMBOX_CONFIG belongs to the command line and is not refused here."""
        monkeypatch.setenv("DRIMBOX_CONFIG", "/etc/drimbox.toml")
        assert load_settings(None, {}).source is None

    def test_list_that_is_not_json_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list given as plain text is an error that says JSON is wanted."""
        monkeypatch.setenv("DRIMBOX_DICOM__PEERS", "CONSOLE")
        with pytest.raises(ConfigError) as caught:
            load_settings(None, {})
        assert named(caught.value).startswith("dicom")

    def test_wrong_value_is_named_like_in_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable with a wrong value is reported under the setting's dotted name."""
        monkeypatch.setenv("DRIMBOX_DICOM__PORT", "http")
        with pytest.raises(ConfigError) as caught:
            load_settings(None, {})
        assert named(caught.value) == "dicom.port" and "integer" in reason(caught.value)


class TestOverrides:
    """What the command line gives."""

    def test_none_means_not_given(self, load: Load) -> None:
        """An option the operator left out does not hide the file."""
        assert load("[dicom]\nport = 5\n", **{"dicom.port": None}).dicom.port == 5

    @pytest.mark.parametrize(
        "overrides", [{"dicom.tls.profile": "extended"}, {"dicom": {"tls": {"profile": "extended"}}}]
    )
    def test_dotted_and_nested_are_the_same(self, load: Load, overrides: Mapping[str, object]) -> None:
        """Overrides may be dotted names or nested mappings."""
        assert load("[dicom]\nport = 5\n", **overrides).dicom.tls.profile == "extended"
        assert load("[dicom]\nport = 5\n", **overrides).dicom.port == 5

    def test_zero_is_given(self, load: Load) -> None:
        """Port 0, which picks a free one, is a value and not an absence."""
        assert load("[dicom]\nport = 5\n", **{"dicom.port": 0}).dicom.port == 0


@given(
    text=st.text(max_size=200)
    | st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=5).map(
        lambda table: "\n".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items())
    )
)
def test_any_file_is_settings_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a file holds, loading it gives settings or a ConfigError and nothing else."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert isinstance(load_settings(file, {}), Settings)
    except ConfigError as exc:
        assert exc.message.startswith("Setting ")
