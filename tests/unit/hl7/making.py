"""Messages of IHE PAM France, as hospitals send them, for tests; must not import the archive."""

from __future__ import annotations

from pathlib import Path

MESSAGES = Path(__file__).with_name("messages")


def sample(name: str, **replaced: str) -> bytes:
    """Return ``messages/NAME.hl7``, UTF-8 as it lies there, its lines ended by CR; texts replaced on the way."""
    text = (MESSAGES / f"{name}.hl7").read_text(encoding="utf-8")
    for old, new in replaced.items():
        text = text.replace("{" + old + "}", new)
    return text.strip("\n").replace("\n", "\r").encode() + b"\r"


def adt(
    event: str, at: str = "20240306111500", *, control: str = "", pid: str = "", segments: str = "", head: str = ""
) -> bytes:
    """Return a small ADT message; ``at`` is MSH-7, EVN-2 and EVN-6, ``segments`` come after PID, split by spaces.

    ``pid`` is what comes after PID-7 (from ``|F`` on), ``head`` what comes after MSH-12.
    """
    lines = [
        f"MSH|^~\\&|GAM|CHU-X|DRIMBOX|IMAGERIE|{at}||ADT^{event}|{control or event + at}|P|2.5^FRA^2.11{head}",
        f"EVN||{at}||||{at}",
        f"PID|1||000003^^^CHU-X&000897406&N^PI||PAT-TROIS^DOMINIQUE^^^^^L||19790328|F{pid}",
        *segments.split(),
    ]
    return "\r".join(lines).encode() + b"\r"


def pv1(visit: str, start: str = "", end: str = "") -> str:
    """Return a PV1 segment with visit number, admission and discharge."""
    fields = ["PV1", "1", "I"] + [""] * 43
    fields[19], fields[44], fields[45] = f"{visit}^^^CHU-X&000897406&N^VN", start, end
    return "|".join(fields)


def zbe(movement: str, at: str, action: str = "INSERT", original: str = "") -> str:
    """Return a ZBE segment."""
    return f"ZBE|{movement}^GAM|{at}||{action}|{'Y' if original else 'N'}|{original}|||HMS"


def life(death: str = "", indicator: str = "") -> str:
    """Return PID from PID-9 on, with PID-29 and PID-30."""
    return "|" * 21 + f"{death}|{indicator}"
