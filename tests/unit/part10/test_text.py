"""Character sets, matching keys and charsets of answers; must not go through a data set."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from archive.part10.text import charsets_of, decode_text, fold, narrowest_charset

HELENE = "MOREAU^Hélène"
CODECS = {
    "": "ascii",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 166": "iso8859_11",
    "ISO_IR 192": "utf_8",
}
"""The sets an answer may declare, as Python knows them."""


def decode(raw: bytes, specific_character_set: str, vr: str = "PN") -> tuple[str, bool]:
    """Decode as the scan does, the character set given as its element's text."""
    return decode_text(raw, charsets_of(specific_character_set), vr)


@pytest.mark.parametrize(
    ("encoding", "specific_character_set", "clean"),
    [
        ("latin_1", "ISO_IR 100", True),
        ("utf_8", "ISO_IR 192", True),
        ("latin_1", "ISO 2022 IR 100", True),
        ("iso8859_15", "ISO_IR 203", True),
        ("iso8859_9", "ISO_IR 148", True),
        ("gb18030", "GB18030", True),
        ("latin_1", "", False),
        ("utf_8", "", False),
        ("latin_1", "ISO_IR 6", False),
        ("utf_8", "ISO_IR 6", False),
        ("latin_1", "ISO_IR 192", False),
        ("utf_8", "ISO_IR 100", False),
        ("utf_8", "ISO 2022 IR 100", False),
        ("latin_1", "\\ISO 2022 IR 100", False),
        ("utf_8", "\\ISO 2022 IR 100", False),
        ("latin_1", "ISO_IR 999", False),
        ("utf_8", "nonsense", False),
    ],
)
def test_french_name_is_right_whatever_is_declared(encoding: str, specific_character_set: str, clean: bool) -> None:
    """A French name comes out right in every set it may be in, also undeclared or wrongly declared, and says so."""
    text, is_clean = decode(HELENE.encode(encoding), specific_character_set)
    assert text == HELENE
    assert fold(text) == "moreau^helene"
    assert is_clean is clean


@pytest.mark.parametrize("specific_character_set", ["", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "nonsense"])
def test_ascii_is_clean_in_any_set(specific_character_set: str) -> None:
    """ASCII text is the same in every character set, so a broken declaration does not matter."""
    assert decode(b"DUPONT^JEAN", specific_character_set) == ("DUPONT^JEAN", True)


@pytest.mark.parametrize(
    ("specific_character_set", "codec", "text"),
    [
        ("ISO_IR 101", "iso8859_2", "Wałęsa^Łódź"),
        ("ISO_IR 109", "iso8859_3", "Ħaġar"),
        ("ISO_IR 110", "iso8859_4", "kodeeritud sõnum"),
        ("ISO_IR 144", "iso8859_5", "Люкceмбypг"),
        ("ISO_IR 127", "iso8859_6", "قباني^لنزار"),
        ("ISO_IR 126", "iso8859_7", "Διονυσιος"),
        ("ISO_IR 138", "iso8859_8", "שרון^דבורה"),
        ("ISO_IR 148", "iso8859_9", "Çelik^Iş"),
        ("ISO_IR 166", "iso8859_11", "ข้อความ"),
        ("ISO_IR 203", "iso8859_15", "Cœur^Œuvre"),
        ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 192", "utf_8", "Wang^XiaoDong=王^小東"),
        ("GB18030", "gb18030", "Wang^XiaoDong=王^小东"),
        ("GBK", "gbk", "Wang^XiaoDong=王^小东"),
    ],
)
def test_every_single_set_decodes(specific_character_set: str, codec: str, text: str) -> None:
    """Each character set of PS3.3 C.12.1.1.2 that needs no escape decodes its own letters, cleanly."""
    assert decode(text.encode(codec), specific_character_set) == (text, True)


@pytest.mark.parametrize(
    ("specific_character_set", "raw", "text"),
    [
        # PS3.5 annex H, example 1
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        # PS3.5 annex H, example 2
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        # PS3.5 annex I
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        # PS3.5 annex K
        (
            "\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东=",
        ),
        ("\\ISO 2022 IR 100", b"\x1b-AMOREAU^\x1b-AH\xe9l\xe8ne", HELENE),
        ("ISO 2022 IR 6\\ISO 2022 IR 100", b"MOREAU^\x1b-AH\xe9l\xe8ne", HELENE),
        ("ISO 2022 IR 100\\ISO 2022 IR 144", b"H\xe9l\xe8ne^\x1b-L\xbb\xee\xda", "Hélène^Люк"),
        ("ISO 2022 IR 100\\ISO 2022 IR 126", b"\x1b-F\xc4\xe9\xef\x1b-A\xe9", "Διοé"),
        ("\\ISO 2022 IR 159", b"\x1b$(D0!\x1b(B", "丂"),
        ("\\ISO 2022 IR 13", b"\x1b)I\xd4\xcf", "ﾔﾏ"),
    ],
)
def test_code_extensions(specific_character_set: str, raw: bytes, text: str) -> None:
    """Values that switch sets by escape sequences decode as in the examples of PS3.5, cleanly."""
    assert decode(raw, specific_character_set) == (text, True)


@pytest.mark.parametrize("delimiter", ["^", "=", "\\", "\r", "\n", "\f", "\t"])
def test_delimiter_puts_the_first_set_back_in_force(delimiter: str) -> None:
    """After each delimiter of a person name the first character set is active again (PS3.5 6.1.2.5.3)."""
    raw = b"\x1b-L\xbb" + delimiter.encode() + b"\xe9"
    assert decode(raw, "ISO 2022 IR 100\\ISO 2022 IR 144") == (f"Л{delimiter}é", True)


def test_reset_outlasts_the_next_escape() -> None:
    """After a delimiter the first set stays active for high bytes when an escape changes the low ones only."""
    assert decode(b"\x1b-L\xbb^A\x1b(B\xe9", "ISO 2022 IR 100\\ISO 2022 IR 144") == ("Л^Aé", True)


@pytest.mark.parametrize("character", ["^", "="])
def test_name_delimiters_reset_names_only(character: str) -> None:
    """In other texts than names a caret or an equals sign is a character like any other."""
    raw = b"\x1b-L\xbb" + character.encode() + b"\xbb"
    assert decode(raw, "ISO 2022 IR 100\\ISO 2022 IR 144", "LO") == (f"Л{character}Л", True)


def test_kanji_bytes_that_look_like_delimiters_are_kanji() -> None:
    """Two-byte characters made of the codes of backslash, caret and equals sign are not cut."""
    raw = b"\x1b$B=\\\\^^=\x1b(B"
    kanji = raw.decode("iso2022_jp")
    assert len(kanji) == 3
    assert decode(raw, "\\ISO 2022 IR 87", "LO") == (kanji, True)
    assert decode(raw, "\\ISO 2022 IR 87", "PN") == (kanji, True)


def test_gb18030_second_byte_may_be_a_backslash() -> None:
    """A GB18030 character whose second byte is 0x5C stays one character."""
    raw = "俓".encode("gb18030")
    assert raw.endswith(b"\\")
    assert decode(raw, "GB18030", "LO") == ("俓", True)


def test_undeclared_escape_decodes_but_is_not_clean() -> None:
    """An escape to a set that was not declared is obeyed and reported."""
    assert decode(b"\x1b-AH\xe9l\xe8ne", "ISO 2022 IR 144") == ("Hélène", False)


def test_extension_without_reset_is_guessed() -> None:
    """A Korean name that does not repeat its escape after the caret keeps its letters, and is reported."""
    raw = b"\x1b$)C\xc8\xab^\xb1\xe6\xb5\xbf"
    assert decode(raw, "\\ISO 2022 IR 149") == ("홍^길동", False)


def test_kanji_without_return_to_ascii_is_guessed() -> None:
    """A Japanese name that forgets to leave the two-byte set before a newline keeps both parts, and is reported."""
    assert decode(b"\x1b$B;3ED\r\nab\xe9", "\\ISO 2022 IR 87") == ("山田\r\nabé", False)


def test_half_a_kanji_is_guessed() -> None:
    """A two-byte character that is cut costs that character at most, and is reported."""
    text, clean = decode(b"\x1b$B;3ED\x1b(Bx\x1b$B;", "\\ISO 2022 IR 87")
    assert text == "山田x;"
    assert not clean


def test_unknown_escape_is_dropped() -> None:
    """An escape sequence nobody knows leaves no control character in the text, and is reported."""
    assert decode(b"A\x1bZB", "ISO_IR 100") == ("AZB", False)


def test_windows_ligature_declared_latin_1() -> None:
    """The œ of Windows-1252, sent as ISO_IR 100 by real modalities, is an œ."""
    text, clean = decode(b"L\x8cUFFEL^C\x9clia", "ISO_IR 100")
    assert text == "LŒUFFEL^Cœlia"
    assert fold(text) == "loeuffel^coelia"
    assert not clean


def test_byte_no_windows_set_knows_is_kept() -> None:
    """A byte undefined in Windows-1252 too falls back to Latin-1 instead of losing the text."""
    assert decode(b"A\x81\xe9", "ISO_IR 192") == ("A\x81é", False)


@pytest.mark.parametrize("cut", [1, 2])
def test_utf8_cut_inside_a_character(cut: int) -> None:
    """UTF-8 cut at a field's length loses its last character, not its accents."""
    raw = "Hélène €".encode()[:-cut]
    assert decode(raw, "ISO_IR 192", "LO") == ("Hélène ", False)
    assert decode(raw + b" ", "ISO_IR 192", "LO") == ("Hélène ", False)


def test_latin_1_that_could_be_utf8_stays_latin_1() -> None:
    """A Latin-1 text is not taken for UTF-8 when it would give letters no French name has."""
    assert decode(b"\xc9\xbb\xc3\xa0", "ISO_IR 100", "LO") == ("É»Ã\xa0", True)
    assert decode(b"RENE\xc9", "ISO_IR 192", "PN") == ("RENEÉ", False)


@pytest.mark.parametrize("vr", ["CS", "UI", "DA", "IS"])
def test_accents_where_only_ascii_may_be(vr: str) -> None:
    """A VR that allows ASCII only is decoded all the same, and reported."""
    assert decode("Épaule".encode("latin_1"), "ISO_IR 100", vr) == ("Épaule", False)


@pytest.mark.parametrize(
    ("written", "terms"),
    [
        ("", ()),
        ("  \0", ()),
        ("ISO_IR 100", ("ISO_IR 100",)),
        ("ISO_IR 100 ", ("ISO_IR 100",)),
        ("iso_ir 100", ("ISO_IR 100",)),
        ("ISO-IR 100", ("ISO_IR 100",)),
        ("ISO_IR_100", ("ISO_IR 100",)),
        ("ISO IR 192", ("ISO_IR 192",)),
        ("ISO2022 IR100", ("ISO 2022 IR 100",)),
        ("\\ISO 2022 IR 87", ("ISO 2022 IR 6", "ISO 2022 IR 87")),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", ("ISO 2022 IR 13", "ISO 2022 IR 87")),
        ("ISO-8859-1", ("ISO_IR 100",)),
        ("utf-8", ("ISO_IR 192",)),
        ("windows-1252", ("ISO_IR 100",)),
        ("GB18030", ("GB18030",)),
        ("gb2312", ("GB18030",)),
        ("KLINGON", ("KLINGON",)),
    ],
)
def test_charsets_of(written: str, terms: tuple[str, ...]) -> None:
    """Specific Character Set is read with its usual misspellings put right."""
    assert charsets_of(written) == terms


def test_charsets_of_is_bounded() -> None:
    """A monstrous Specific Character Set does not make a monstrous answer."""
    assert len(charsets_of("A\\" * 100_000)) <= 257


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("MOREAU^Hélène", "moreau^helene"),
        ("moreau^helene", "moreau^helene"),
        ("Moreau^He\u0301le\u0300ne^^^", "moreau^helene"),
        ("MOREAU ^ HELENE ", "moreau^helene"),
        ("  De   La  Tour^Zoë ", "de la tour^zoe"),
        ("LŒUFFEL^Cœlia", "loeuffel^coelia"),
        ("Ægir^Straße", "aegir^strasse"),
        ("Łukasz^Øre", "lukasz^ore"),
        ("Yamada^Tarou^^=山田^太郎^^=", "yamada^tarou=山田^太郎"),
        ("김^희중", "김^희중"),
        ("İstanbul", "istanbul"),
        ("^^^^", ""),
        ("=", ""),
        ("", ""),
        ("MOR*", "mor*"),
        ("M?REAU^*", "m?reau^*"),
    ],
)
def test_fold(text: str, key: str) -> None:
    """The matching key knows no accents, case, ligatures, spare spaces or empty components."""
    assert fold(text) == key


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_fold_is_stable(text: str) -> None:
    """Folding a folded text changes nothing: a key can be folded again without harm."""
    assert fold(fold(text)) == fold(text)


def test_fold_is_linear() -> None:
    """A hostile text of carets and spaces is folded at once, not in quadratic time."""
    assert fold("^ " * 200_000 + "x") == "^" * 200_000 + "x"


@pytest.mark.parametrize(
    ("texts", "specific_character_set"),
    [
        ([], ""),
        (["DUPONT", ""], ""),
        (["DUPONT", HELENE], "ISO_IR 100"),
        (["Wałęsa"], "ISO_IR 101"),
        (["Διονυσιος"], "ISO_IR 126"),
        (["Люкceмбypг"], "ISO_IR 144"),
        (["ข้อความ"], "ISO_IR 166"),
        (["Cœlia"], "ISO_IR 192"),
        ([HELENE, "Διονυσιος"], "ISO_IR 192"),
        (["山田"], "ISO_IR 192"),
    ],
)
def test_narrowest_charset(texts: list[str], specific_character_set: str) -> None:
    """An answer declares the narrowest set that holds all its texts, UTF-8 when no single one does."""
    assert narrowest_charset(texts) == specific_character_set


@given(st.lists(st.text(st.characters(categories=("L", "M", "N", "Z")), max_size=10), max_size=4))
@settings(max_examples=200, deadline=None)
def test_narrowest_charset_holds_the_texts(texts: list[str]) -> None:
    """Whatever the texts, the set chosen for their answer can hold every one of them."""
    codec = CODECS[narrowest_charset(texts)]
    for text in texts:
        assert text.encode(codec).decode(codec) == text


SETS = st.sampled_from(
    ["", "ISO_IR 100", "ISO_IR 13", "ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 149", "?"]
)
PIECES = st.sampled_from([b"\x1b$B", b"\x1b(B", b"\x1b$)C", b"\x1b-A", b"\x1b(J", b"\x1b", b"^", b"=", b"\\", b"\xe9"])


@given(st.lists(PIECES | st.binary(max_size=6), max_size=12).map(b"".join), SETS, st.sampled_from(["PN", "LO", "CS"]))
@settings(max_examples=400, deadline=None)
def test_any_bytes_decode(raw: bytes, specific_character_set: str, vr: str) -> None:
    """Whatever the bytes, decoding gives a text any database can hold, without escape characters, and never raises."""
    text, clean = decode(raw, specific_character_set, vr)
    text.encode("utf_8")
    assert "\x1b" not in text
    assert clean or not raw.isascii() or b"\x1b" in raw
