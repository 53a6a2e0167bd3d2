"""[certificates], [notify], [arrivals], [probe]: what may be set, and in which words the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.samples import EVERY_SETTING, Load, named, reason, refusal

_MAIL = "host = 'mail.example'\nsender = 'a@chu.example'\nrecipients = ['b@chu.example']\n"


def test_everything_is_read(load: Load) -> None:
    """Every setting; the days of warnings from far to near, files below the home."""
    settings = load(EVERY_SETTING)
    watched, mail, webhook = settings.certificates, settings.notify.mail, settings.notify.webhook
    assert watched.files == (Path("tls/other.pem"), Path("/etc/pki/site"))
    assert watched.endpoints == ("ris.example:443", "[2001:db8::1]:2762")
    assert (watched.warn_days, watched.check_hours, watched.timeout_seconds) == ((90, 30, 15), 1, 3)
    assert (mail.host, mail.port, mail.security, mail.user) == ("mail.example", 465, "tls", "drimbox")
    assert (mail.password_file, mail.ca_file) == (settings.home / "keys/mail", settings.home / "tls/mail.pem")
    assert (mail.sender, mail.recipients) == ("drimbox@chu.example", ("pacs@chu.example", "night@chu.example"))
    assert (webhook.url, webhook.token_file) == ("https://hooks.example/drimbox", settings.home / "keys/hook")
    assert (webhook.ca_file, settings.notify.language) == (settings.home / "tls/hooks.pem", "en")
    arrivals, probe = settings.arrivals, settings.probe
    assert (arrivals.drop_percent, arrivals.weeks, arrivals.min_expected) == (25, 6, 10)
    assert (settings.tracing.endpoint, settings.tracing.percent) == ("http://collector.example:4318", 12.5)
    assert (arrivals.time_zone, probe.every_minutes, probe.tiers) == ("Europe/Brussels", 30, ("hot",))


def test_without_settings_nobody_is_told_and_nothing_is_probed(load: Load) -> None:
    """Warnings at 60 and 15 days, a drop of 40 percent, in French; no mail, no webhook, no probe."""
    settings = load("")
    assert (settings.certificates.warn_days, settings.arrivals.drop_percent) == ((60, 15), 40)
    assert settings.notify.language == "fr"
    assert (settings.notify.mail.host, settings.notify.webhook.url, settings.probe.every_minutes) == (None, None, 0)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("[certificates]\nwarn_days = []", "certificates.warn_days", "at least one"),
        ("[certificates]\nwarn_days = [0]", "certificates.warn_days.0", "greater than or equal to 1"),
        ("[certificates]\nendpoints = ['ris.example']", "certificates.endpoints.0", "not HOST:PORT"),
        ("[certificates]\nendpoints = ['ris.example:70000']", "certificates.endpoints.0", "not HOST:PORT"),
        ("[notify.mail]\nhost = 'mail.example'", "notify.mail", "sender and recipients"),
        (f"[notify.mail]\n{_MAIL}user = 'x'", "notify.mail", "go together"),
        (f"[notify.mail]\n{_MAIL}user = 'x'\npassword_file = 'p'\nsecurity = 'none'", "notify.mail", "in the clear"),
        ("[notify.mail]\nsender = 'Bcc: x'", "notify.mail.sender", "not a mail address"),
        ("[notify.mail]\nsender = 'a@b\\r\\nBcc: x@y'", "notify.mail.sender", "not a mail address"),
        ("[notify]\nlanguage = 'de'", "notify.language", "'fr' or 'en'"),
        ("[notify]\nlanguage = 'FR'", "notify.language", "'fr' or 'en'"),
        ("[notify.mail]\nlanguage = 'fr'", "notify.mail.language", "no such setting"),
        ("[notify.webhook]\nurl = 'ftp://x'", "notify.webhook.url", "match pattern"),
        ("[notify.webhook]\nurl = 'https://me:secret@x'", "notify.webhook.url", "match pattern"),
        ("[arrivals]\ndrop_percent = 0", "arrivals.drop_percent", "greater than 0"),
        ("[arrivals]\ntime_zone = 'Europe/Atlantis'", "arrivals.time_zone", "no time zone"),
        ("[tracing]\nendpoint = 'collector:4318'", "tracing.endpoint", "match pattern"),
        ("[tracing]\npercent = 0", "tracing.percent", "greater than 0"),
        ("[probe]\ntiers = ['warm']", "probe.tiers.0", "'hot' or 'cold'"),
        ("[probe]\nevery_minutes = -1", "probe.every_minutes", "greater than or equal to 0"),
    ],
)
def test_what_is_wrong_is_named(load: Load, text: str, name: str, words: str) -> None:
    """The setting by its dotted name, and what it may be."""
    text = text.replace("\\r\\n", "\\u000d\\u000a")
    error = refusal(load, text.replace("'a@b", '"a@b').replace("x@y'", 'x@y"'))
    assert named(error) == name
    assert words in reason(error)
