"""How a data set is taken apart, and what is refused."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, strategies as st

from tests.unit.tiering.transcode.building import (
    SEQUENCE_END,
    UNDEFINED,
    element,
    fragments,
    implicit,
    item,
    raw_deflate,
    sequence,
    tag_bytes,
    us,
)
from tiering.errors import ConversionTooLarge, MalformedDataset, TranscodeError
from tiering.transcode import tokens as tokens_module
from tiering.transcode.level import Kind
from tiering.transcode.source import InflatingSource, Source
from tiering.transcode.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding
from tiering.transcode.tokens import DEPTH_LIMIT, SMALL_BYTES, Tokens

BIG_ENDIAN = Encoding(big=True)
NAME = element(0x00100010, "PN", b"DUPONT^Zo\xe9 ")
REFERENCED = element(0x00081155, "UI", b"1.2.3\0")

Step = Kind | tuple[int, str, bytes | None]


def steps(dataset: bytes, encoding: Encoding = EXPLICIT_LITTLE) -> list[Step]:
    """Return the tokens of a data set, short: values as tag, VR and bytes, the rest as their kind."""
    return [
        (token.tag, token.vr, token.value) if token.kind is Kind.VALUE else token.kind
        for token in Tokens(Source(io.BytesIO(dataset)), encoding)
    ]


def test_an_empty_data_set_has_no_token() -> None:
    """Nothing in, nothing out."""
    assert steps(b"") == []


def test_explicit_elements_come_as_they_state() -> None:
    """Short and long length fields are both read, with the VR in the element."""
    data = NAME + element(0x00420011, "OB", b"%PDF") + element(0x00080060, "CS", b"")
    assert steps(data) == [
        (0x00100010, "PN", b"DUPONT^Zo\xe9 "),
        (0x00420011, "OB", b"%PDF"),
        (0x00080060, "CS", b""),
    ]


def test_implicit_elements_get_their_vr() -> None:
    """The VR of implicit elements comes from the dictionary and from what was read before."""
    data = implicit(0x00280103, b"\1\0") + implicit(0x00280107, b"\xff\xff") + implicit(0x00290010, b"ACME")
    assert steps(data, IMPLICIT_LITTLE) == [
        (0x00280103, "US", b"\1\0"),
        (0x00280107, "SS", b"\xff\xff"),
        (0x00290010, "LO", b"ACME"),
    ]


def test_big_endian_headers_are_read_backwards() -> None:
    """Tags and lengths follow the byte order; values stay untouched."""
    data = us(0x00280010, 512, ">") + element(0x7FE00010, "OW", b"\1\2", order=">")
    assert steps(data, BIG_ENDIAN) == [(0x00280010, "US", b"\2\0"), (0x7FE00010, "OW", b"\1\2")]


@pytest.mark.parametrize("defined", [False, True], ids=["undefined", "defined"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sequences_come_item_by_item(defined: bool, order: str) -> None:
    """A sequence, an empty one and one in another are the same run of tokens, lengths defined or not."""
    value = element(0x00081155, "UI", b"1.2.3\0", order=order)
    inner = sequence(0x0040A168, value, defined=defined, order=order)
    data = sequence(0x00081140, inner, b"", defined=defined, order=order)
    opened, closed = [Kind.SEQUENCE, Kind.ITEM], [Kind.ITEM_END, Kind.SEQUENCE_END]
    expected = [*opened, *opened, (0x00081155, "UI", b"1.2.3\0"), *closed, Kind.ITEM_END, Kind.ITEM, *closed]
    assert steps(data, BIG_ENDIAN if order == ">" else EXPLICIT_LITTLE) == expected


def test_items_know_where_they_stand() -> None:
    """Every token tells its level; an item's level has the level around it as parent and its own memory."""
    data = us(0x00280100, 16) + sequence(0x00880200, us(0x00280100, 8)) + us(0x00280103, 0)
    tokens = list(Tokens(Source(io.BytesIO(data)), EXPLICIT_LITTLE))
    root, icon = tokens[0].level, next(token.level for token in tokens if token.kind is Kind.ITEM)
    assert icon.parent is root
    assert (icon.number(0x00280100), root.number(0x00280100)) == (8, 16)
    assert tokens[-1].level is root
    assert icon.start != root.start == 0


def test_a_level_remembers_the_tag_before() -> None:
    """While a token is handled its level's `previous` is the tag before it, also behind a sequence."""
    data = us(0x00280010, 1) + sequence(0x00880200, us(0x00280100, 8)) + element(0x7FE00010, "OB", b"")
    seen = [
        (token.tag, token.level.previous) for token in Tokens(Source(io.BytesIO(data)), EXPLICIT_LITTLE) if token.tag
    ]
    assert seen == [(0x00280010, 0), (0x00880200, 0x00280010), (0x00280100, 0), (0x7FE00010, 0x00880200)]


def test_un_of_undefined_length_holds_implicit_elements() -> None:
    """What an element of VR UN without length holds is implicit little endian, in any syntax (PS3.5 6.2.2)."""
    content = item(implicit(0x00081155, b"1.2\0"))
    data = element(0x00081140, "UN", content + SEQUENCE_END, length=UNDEFINED)
    expected = [Kind.SEQUENCE, Kind.ITEM, (0x00081155, "UI", b"1.2\0"), Kind.ITEM_END, Kind.SEQUENCE_END]
    assert steps(data) == expected
    big = element(0x00081140, "UN", content + SEQUENCE_END, length=UNDEFINED, order=">")
    assert steps(big, BIG_ENDIAN) == expected


def test_private_implicit_items_are_found_by_their_length() -> None:
    """An unknown implicit element without length can only be a sequence."""
    data = implicit(0x00291010, item(implicit(0x00100010, b"X ")) + SEQUENCE_END, length=UNDEFINED)
    assert steps(data, IMPLICIT_LITTLE)[2] == (0x00100010, "PN", b"X ")


def test_a_dictionary_sequence_that_holds_no_item_is_unknown() -> None:
    """An implicit element the dictionary calls a sequence, but that holds something else, is kept as UN."""
    assert steps(implicit(0x00081140, b"no items"), IMPLICIT_LITTLE) == [(0x00081140, "UN", b"no items")]
    assert steps(implicit(0x00081140, b""), IMPLICIT_LITTLE) == [Kind.SEQUENCE, Kind.SEQUENCE_END]


def test_a_switch_to_implicit_inside_is_followed() -> None:
    """Items some writers encode as implicit VR in an explicit data set are read, and what follows too."""
    data = sequence(0x00081140, implicit(0x00081155, b"1.2\0")) + NAME
    assert steps(data)[2:5:2] == [(0x00081155, "UI", b"1.2\0"), Kind.SEQUENCE_END]
    assert steps(data)[-1] == (0x00100010, "PN", b"DUPONT^Zo\xe9 ")


def test_an_explicit_data_set_called_implicit_is_recognised() -> None:
    """The first element tells when VRs are stated against the transfer syntax."""
    assert steps(NAME, IMPLICIT_LITTLE) == steps(NAME)


def test_long_values_stay_in_the_source() -> None:
    """A value above the limit is left for the caller, who may read all, part or nothing of it."""
    data = element(0x7FE00010, "OB", bytes(SMALL_BYTES + 2)) + element(0xFFFCFFFC, "OB", b"xy")
    for taken in (0, 7, SMALL_BYTES + 2):
        source = Source(io.BytesIO(data))
        tokens = iter(Tokens(source, EXPLICIT_LITTLE))
        first = next(tokens)
        assert (first.value, first.length) == (None, SMALL_BYTES + 2)
        assert source.read(taken) == bytes(taken)
        assert next(tokens).value == b"xy"


def test_fragments_are_found_without_reading_them() -> None:
    """Encapsulated pixel data come as one token with each fragment's position and length."""
    data = fragments([b"first!", b"", b"third"], offsets=[0]) + element(0xFFFCFFFC, "OB", b"xy")
    pixels, padding = Tokens(Source(io.BytesIO(data)), EXPLICIT_LITTLE)
    assert pixels.kind is Kind.FRAGMENTS
    assert pixels.fragments is not None
    places = pixels.fragments.tolist()
    assert [data[at : at + size] for at, size in zip(places[::2], places[1::2], strict=True)] == [
        bytes(4),
        b"first!",
        b"",
        b"third\0",
    ]
    assert padding.value == b"xy"


def test_a_caller_may_go_anywhere_while_it_has_fragments() -> None:
    """The step after the fragments starts behind them wherever the source stands."""
    source = Source(io.BytesIO(fragments([b"ab"]) + element(0xFFFCFFFC, "OB", b"xy")))
    tokens = iter(Tokens(source, EXPLICIT_LITTLE))
    next(tokens)
    source.seek(3)
    assert next(tokens).value == b"xy"


def test_a_deflated_data_set_is_read_the_same() -> None:
    """The tokens of a source that can only go forward are those of the plain one."""
    data = sequence(0x00081140, REFERENCED, defined=True) + element(0x7FE00010, "OB", bytes(SMALL_BYTES + 2))
    plain = list(Tokens(Source(io.BytesIO(data)), EXPLICIT_LITTLE))
    inflated = list(Tokens(InflatingSource(io.BytesIO(raw_deflate(data))), EXPLICIT_LITTLE))
    assert [token[2:6] for token in plain] == [token[2:6] for token in inflated]


@pytest.mark.parametrize("count", [1, 7])
def test_a_few_nul_bytes_at_the_end_are_padding(count: int) -> None:
    """NULs too few for an element end the data set."""
    assert len(steps(NAME + bytes(count))) == 1


def test_known_values_are_there_from_the_start() -> None:
    """What a first pass learnt of the root settles the VR of elements before it."""
    data = implicit(0x00189810, b"\1\0")
    source = Source(io.BytesIO(data))
    (token,) = Tokens(source, IMPLICIT_LITTLE, {0x00280103: b"\1\0"})
    assert token.vr == "SS"


NESTED = b"".join(
    element(0x00081140, "SQ", b"", length=UNDEFINED) + tag_bytes(0xFFFEE000) + b"\xff" * 4 for _ in range(DEPTH_LIMIT)
)
BROKEN = {
    "cut header": NAME + b"\x10\x00\x20",
    "cut long header": element(0x00420011, "OB", b"")[:10],
    "cut value": NAME[:-1],
    "length beyond the end": element(0x00100010, "PN", b"ab", length=400),
    "item outside a sequence": item(b""),
    "sequence delimiter outside a sequence": SEQUENCE_END,
    "item delimiter at the root": tag_bytes(0xFFFEE00D) + bytes(4),
    "sequence without end": element(0x00081140, "SQ", item(b""), length=UNDEFINED),
    "item without end": element(0x00081140, "SQ", tag_bytes(0xFFFEE000) + b"\xff" * 4, length=UNDEFINED),
    "element between items": element(0x00081140, "SQ", NAME, length=UNDEFINED),
    "sequence that holds no item": element(0x00081140, "SQ", NAME),
    "item longer than its sequence": element(0x00081140, "SQ", tag_bytes(0xFFFEE000) + b"\x63\0\0\0" + NAME)
    + bytes(200),
    "value longer than its item": element(0x00081140, "SQ", item(NAME[:-4], defined=True)) + NAME,
    "text without length": element(0x00420011, "OB", b"", length=UNDEFINED) + SEQUENCE_END,
    "fragments without end": fragments([b"ab"])[:-8],
    "fragments cut": fragments([b"abcd"])[:-10],
    "element between fragments": fragments([b"ab"])[:-8] + NAME,
    "fragment without length": fragments([])[:-8] + tag_bytes(0xFFFEE000) + b"\xff" * 4,
    "nested without end": NESTED,
    "many NULs at the end": NAME + bytes(3) + b"\1",
}


@pytest.mark.parametrize("dataset", BROKEN.values(), ids=BROKEN)
def test_what_contradicts_itself_is_refused(dataset: bytes) -> None:
    """A data set that breaks the encoding raises MalformedDataset with a position inside it."""
    with pytest.raises(MalformedDataset) as caught:
        steps(dataset)
    assert 0 <= caught.value.fields["offset"] <= len(dataset)


def test_sequences_may_nest_to_the_limit() -> None:
    """Nesting is only refused beyond the limit."""
    deep = b""
    for _ in range(DEPTH_LIMIT // 2 - 1):
        deep = sequence(0x00081140, deep)
    assert len(steps(deep)) == 4 * (DEPTH_LIMIT // 2 - 1)
    with pytest.raises(MalformedDataset, match="nested"):
        steps(sequence(0x00081140, sequence(0x00081140, deep)))


def test_too_many_fragments_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fragment count no image has is refused before the list of them fills the memory."""
    monkeypatch.setattr(tokens_module, "FRAGMENT_LIMIT", 10)
    assert len(steps(fragments([b"ab"] * 9))) == 1
    with pytest.raises(ConversionTooLarge):
        steps(fragments([b"ab"] * 10))


@given(st.binary(max_size=200), st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, BIG_ENDIAN]))
def test_any_bytes_are_read_or_refused(dataset: bytes, encoding: Encoding) -> None:
    """No bytes whatever raise anything but a TranscodeError, and values read never exceed what was given."""
    try:
        found = steps(dataset, encoding)
    except TranscodeError:
        return
    assert sum(len(step[2]) for step in found if isinstance(step, tuple) and step[2]) <= len(dataset)


@given(st.lists(st.tuples(st.integers(0x0008, 0x7FE0), st.binary(max_size=50)), max_size=8))
def test_unknown_implicit_values_come_back_whatever_they_are(values: list[tuple[int, bytes]]) -> None:
    """Each implicit value of no dictionary comes out unchanged and in order, in odd groups whatever their number."""
    data = b"".join(struct.pack("<HHI", group | 1, 0x1001, len(value)) + value for group, value in values)
    assert steps(data, IMPLICIT_LITTLE) == [((group | 1) << 16 | 0x1001, "UN", value) for group, value in values]
