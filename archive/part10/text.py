"""Character sets: bytes to text, text to matching key, the charset of an answer; must not raise whatever the bytes."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_ESC = 0x1B

_CODECS = {
    "6": "ascii",
    "13": "shift_jis",
    "58": "gbk",
    "87": "iso2022_jp_2",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "iso8859_11",
    "192": "utf_8",
    "203": "iso8859_15",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
"""Python codec of each set of PS3.3 C.12.1.1.2, by its ISO registration number; every one contains ASCII."""

_ALIASES = {
    "ASCII": "ISO_IR 6",
    "CP1252": "ISO_IR 100",
    "GB2312": "GB18030",
    "LATIN1": "ISO_IR 100",
    "ISO88591": "ISO_IR 100",
    "ISO885915": "ISO_IR 203",
    "UTF8": "ISO_IR 192",
    "WINDOWS1252": "ISO_IR 100",
}
_TERM = re.compile(r"ISO(2022)?IR(\d+)")
_PUNCTUATION = re.compile(r"[\s_-]+")


class _Escape(NamedTuple):
    """What an escape sequence switches: one set of PS3.5 6.1.2.5 into G0 (low bytes) or G1 (high bytes)."""

    number: str
    into_g0: bool


_ESCAPES = {
    b"\x1b(B": _Escape("6", True),
    b"\x1b(J": _Escape("14", True),
    b"\x1b$@": _Escape("87", True),
    b"\x1b$B": _Escape("87", True),
    b"\x1b$(D": _Escape("159", True),
    b"\x1b)I": _Escape("13", False),
    b"\x1b-A": _Escape("100", False),
    b"\x1b-B": _Escape("101", False),
    b"\x1b-C": _Escape("109", False),
    b"\x1b-D": _Escape("110", False),
    b"\x1b-F": _Escape("126", False),
    b"\x1b-G": _Escape("127", False),
    b"\x1b-H": _Escape("138", False),
    b"\x1b-L": _Escape("144", False),
    b"\x1b-M": _Escape("148", False),
    b"\x1b-T": _Escape("166", False),
    b"\x1b-b": _Escape("203", False),
    b"\x1b$)A": _Escape("58", False),
    b"\x1b$)C": _Escape("149", False),
}
_ESCAPE_SEQUENCE = re.compile(b"(" + b"|".join(re.escape(sequence) for sequence in _ESCAPES) + b")")
_JAPANESE_G0 = {"87": b"\x1b$B", "159": b"\x1b$(D"}
_NAME_DELIMITER = re.compile(rb"[\\\t\n\f\r^=]")
_TEXT_DELIMITER = re.compile(rb"[\\\t\n\f\r]")
_RUNS = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")
_UTF8_TAKEN_FOR_LATIN = re.compile(
    rb"(?:[\x00-\x7f]|\xc2[\xa0-\xbf]|[\xc3-\xc5][\x80-\xbf]|\xcc[\x80-\xbf]|\xe2\x80[\x90-\xbf]|\xe2\x82\xac)*"
)
_C1_CONTROL = re.compile("[\x80-\x9f]")
_LATIN_CODECS = frozenset(("latin_1", "iso8859_9", "iso8859_15"))
_ASCII_ONLY_VRS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))


def decode_text(raw: bytes, charsets: tuple[str, ...], vr: str) -> tuple[str, bool]:
    """Return the text of one element's value and whether it decoded as declared.

    ``charsets`` comes from ``charsets_of``. Several values stay joined by a backslash. A text that is not what
    the character set says is guessed (UTF-8, then the declared sets, then Windows-1252) and comes with False.
    """
    if raw.isascii() and _ESC not in raw:
        return raw.decode("ascii"), True
    numbers = _numbers(charsets)
    if _ESC in raw:
        text, clean = _decode_extended(raw, numbers, _NAME_DELIMITER if vr == "PN" else _TEXT_DELIMITER)
    else:
        text, clean = _decode_plain(raw, numbers)
    return text, clean and vr not in _ASCII_ONLY_VRS


def charsets_of(specific_character_set: str) -> tuple[str, ...]:
    """Return the defined terms of Specific Character Set (0008,0005), common misspellings put right.

    An empty first value is ``ISO 2022 IR 6``; a term nobody knows stays as it is.
    """
    return _defined_terms(specific_character_set[:512])


@lru_cache(maxsize=256)
def _defined_terms(text: str) -> tuple[str, ...]:
    return tuple(_defined_term(term) for term in text.split("\\")) if text.strip("\0 ") else ()


def _defined_term(term: str) -> str:
    compact = _PUNCTUATION.sub("", term.strip("\0")).upper()
    if not compact:
        return "ISO 2022 IR 6"
    if match := _TERM.fullmatch(compact):
        return f"{'ISO 2022 IR' if match[1] else 'ISO_IR'} {match[2]}"
    return _ALIASES.get(compact, compact if compact in _CODECS else term.strip())


@lru_cache(maxsize=256)
def _numbers(charsets: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(term.rpartition(" ")[2] for term in charsets) or ("6",)


def _decode_plain(raw: bytes, numbers: tuple[str, ...]) -> tuple[str, bool]:
    if raw.isascii():
        return raw.decode("ascii"), True
    codec = _codec(numbers[0])
    if codec in _LATIN_CODECS and _UTF8_TAKEN_FOR_LATIN.fullmatch(raw):
        return raw.decode("utf_8"), False
    text = _try_decode(raw, codec)
    if text is None or (codec in _LATIN_CODECS and _C1_CONTROL.search(text)):
        return _guess(raw, numbers), False
    return text, True


def _guess(raw: bytes, numbers: tuple[str, ...]) -> str:
    text = _try_utf8(raw.rstrip(b"\0 "))
    if text is not None:
        return text
    for number in numbers:
        codec = _codec(number)
        text = _try_decode(raw, codec)
        if text is not None and not (codec in _LATIN_CODECS and _C1_CONTROL.search(text)):
            return text
    text = _try_decode(raw, "cp1252")
    return raw.decode("latin_1") if text is None else text


def _try_utf8(raw: bytes) -> str | None:
    """Decode UTF-8 that may have been cut inside its last character (fields of 64 bytes do that)."""
    try:
        text = codecs.utf_8_decode(raw, "strict", False)[0]
    except UnicodeDecodeError:
        return None
    return None if text.isascii() else text


def _try_decode(raw: bytes, codec: str) -> str | None:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return None


def _decode_extended(raw: bytes, numbers: tuple[str, ...], delimiter: re.Pattern[bytes]) -> tuple[str, bool]:
    """Decode a value with ISO 2022 escape sequences (PS3.5 section 6.1.2.5)."""
    texts: list[str] = []
    clean = True
    g0, g1 = "6", numbers[0]
    for piece in _ESCAPE_SEQUENCE.split(raw):
        escape = _ESCAPES.get(piece)
        if escape is None:
            text, piece_clean, reset = _decode_piece(piece, (g0, g1), numbers, delimiter)
            texts.append(text)
            clean = clean and piece_clean
            g0, g1 = ("6", numbers[0]) if reset else (g0, g1)
            continue
        clean = clean and (escape.number in numbers or escape.number in ("6", "14"))
        g0, g1 = (escape.number, g1) if escape.into_g0 else (g0, escape.number)
    text = "".join(texts)
    return text.replace("\x1b", ""), clean and "\x1b" not in text


def _decode_piece(
    piece: bytes, active: tuple[str, str], numbers: tuple[str, ...], delimiter: re.Pattern[bytes]
) -> tuple[str, bool, bool]:
    """Return text, whether it is clean, and whether a delimiter put the first set back in force."""
    g0, g1 = active
    if g0 in _JAPANESE_G0:
        text = _decode_japanese(piece, g0, g1)
        if text is not None:
            return text, True, False
    elif g1 == numbers[0]:
        return *_decode_plain(piece, numbers), False
    match = delimiter.search(piece)
    end = match.start() if match else len(piece)
    text = _decode_japanese(piece[:end], g0, g1) if g0 in _JAPANESE_G0 else _try_decode(piece[:end], _codec(g1))
    clean = text is not None and g0 not in _JAPANESE_G0
    rest, rest_clean = _decode_plain(piece[end:], (numbers[0], g1))
    return (_guess(piece[:end], numbers) if text is None else text) + rest, clean and rest_clean, match is not None


def _decode_japanese(piece: bytes, g0: str, g1: str) -> str | None:
    """Decode two-byte characters in G0, anything in G1; None when they are not."""
    texts: list[str] = []
    for run in _RUNS.findall(piece):
        text = _try_decode(_JAPANESE_G0[g0] + run, "iso2022_jp_2") if run[0] < 0x80 else _try_decode(run, _codec(g1))
        if text is None:
            return None
        texts.append(text)
    return "".join(texts)


def _codec(number: str) -> str:
    return _CODECS.get(number, "ascii")


_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "ı": "i", "þ": "th"})
_AROUND_DELIMITER = re.compile(r" ?([\^=]) ?")


def fold(text: str) -> str:
    """Return the key under which ``text`` is matched: no accents, no case, single spaces, nothing empty at the end.

    ``MOREAU^Hélène^^`` becomes ``moreau^helene``; folding twice changes nothing.
    """
    folded = text.lower() if text.isascii() else _fold_letters(text)
    folded = _AROUND_DELIMITER.sub(r"\1", " ".join(folded.split()))
    return "=".join(group.rstrip("^ ") for group in folded.split("=")).rstrip("=")


def _fold_letters(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return unicodedata.normalize("NFC", bare.translate(_LETTERS))


_ANSWER_CHARSETS = ("100", "101", "109", "110", "148", "144", "126", "127", "138", "166")


def narrowest_charset(texts: Iterable[str]) -> str:
    """Return the Specific Character Set for an answer: empty for ASCII, one single-byte set, else ``ISO_IR 192``."""
    letters = "".join({character for text in texts if not text.isascii() for character in text})
    if letters.isascii():
        return ""
    for number in _ANSWER_CHARSETS:
        if _encodes(letters, _CODECS[number]):
            return f"ISO_IR {number}"
    return "ISO_IR 192"


def _encodes(letters: str, codec: str) -> bool:
    try:
        letters.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
