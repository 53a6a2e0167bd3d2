"""Makes the answer to a message (HL7 v2.5 chapter 2.9, 2.13, 2.15); must not decide whether it is taken.

Original mode: one answer, AA, AE or AR. Enhanced mode, when the sender fills MSH-15 or MSH-16: an accept
acknowledgement (CA, CE, CR) by MSH-15, then an application acknowledgement by MSH-16, each only on the condition asked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archive.errors import MessageRefused
from archive.hl7.messages import Header

_WORDS: Final = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    204: "Unknown key identifier",
    207: "Application internal error",
}


def answers(header: Header, error: MessageRefused | None, now: datetime) -> list[bytes]:
    """Return the answers a message is owed, in order: one, as a rule; ``error`` None says that it is kept."""
    letter = "A" if error is None else "R" if error.fields["rejects"] else "E"
    accept, application = header.raw(15).strip(), header.raw(16).strip()
    if not accept and not application:
        return [_answer(header, f"A{letter}", error, now)]
    owed = [f"C{letter}"] * _is_owed(accept, error) + [f"A{letter}"] * _is_owed(application, error)
    return [_answer(header, code, error, now) for code in owed]


def _is_owed(condition: str, error: MessageRefused | None) -> bool:
    """Table 0155: always, on error, on success, never."""
    return condition in {"AL", "SU" if error is None else "ER"}


def _answer(header: Header, code: str, error: MessageRefused | None, now: datetime) -> bytes:
    component = header.encoding[0]
    event = [*header.raw(9).split(component), ""][1]
    kind = component.join(["ACK", event, "ACK"]) if event else "ACK"
    back = [header.raw(number) for number in (5, 6, 3, 4)]
    control = f"{code}{now:%Y%m%d%H%M%S%f}"[:20]
    head = ["MSH", header.encoding, *back, f"{now:%Y%m%d%H%M%S}+0000", "", kind, control]
    head += [header.raw(11) or "P", header.raw(12) or "2.5", "", "", "", "", header.raw(17), header.raw(18)]
    segments = [head, ["MSA", code, header.raw(10)]]
    if error is not None:
        segments.append(_error(header, error))
    # Fields came as Latin-1 characters and go as these: the bytes the sender wrote, whatever they mean to it.
    return "".join(header.separator.join(segment) + "\r" for segment in segments).encode("latin-1", "replace")


def _error(header: Header, error: MessageRefused) -> list[str]:
    component = header.encoding[0]
    number = error.fields["code"]
    code = component.join([str(number), _WORDS[number], "HL70357"])
    location = error.fields["location"].replace("^", component)
    return ["ERR", "", location, code, "E", "", "", "", _escaped(header, error.message)]


def _escaped(header: Header, text: str) -> str:
    """Keep separators out of a text of ours; without an escape character in MSH-2 they become spaces."""
    for letter in header.separator + header.encoding:
        text = text.replace(letter, " ")
    return text
