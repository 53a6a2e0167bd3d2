"""Taking a multipart body apart as it comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from archive.dicomweb.multipart import MultipartReader, PartBegun, PartData
from archive.errors import BadRequest

Part = tuple[dict[str, str], bytes]


def parts_of(body: bytes, boundary: str = "B", *, step: int = 1 << 20, most_parts: int = 100) -> list[Part]:
    """Feed a body in steps and return its parts."""
    reader = MultipartReader(boundary, most_parts=most_parts)
    parts: list[Part] = []
    for start in range(0, len(body), step):
        for event in reader.feed(body[start : start + step]):
            if isinstance(event, PartBegun):
                parts.append((dict(event.headers), b""))
            elif isinstance(event, PartData):
                headers, data = parts[-1]
                parts[-1] = (headers, data + event.data)
    reader.close()
    return parts


def written(contents: list[bytes], boundary: str = "B") -> bytes:
    """Return a body as clients write it."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + content + b"\r\n" for content in contents) + f"--{boundary}--".encode()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(min_value=1, max_value=400))
@settings(max_examples=150, deadline=None)
def test_any_content_in_any_pieces_comes_out_as_it_was(contents: list[bytes], step: int) -> None:
    """However a body is cut, each part is what was put in, byte for byte, and nothing is lost between parts."""
    boundary = "=-3fa29c_unlikely"
    found = parts_of(written(contents, boundary), boundary, step=step)
    assert found == [({"content-type": "application/dicom"}, content) for content in contents]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_what_only_looks_like_a_boundary_is_content(step: int) -> None:
    """Line ends, dashes and half boundaries inside a part belong to it; preamble, padding and epilogue do not."""
    content = b"\r\n--\r\n-B\r\n--A\r\n\r\n"
    body = b"preamble\r\n--B  \r\nX: 1\r\n\r\n" + content + b"\r\n--B\r\n\r\n\r\n--B--\r\nepilogue --B"
    assert parts_of(body, step=step) == [({"x": "1"}, content), ({}, b"")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B\r\n\r\nabc",
        b"--B\r\n\r\nabc\r\n--B",
        b"--B\r\nContent-Type: application/dicom",
        b"--B\r\n\r\nabc\r\n--Bxyz\r\n\r\n--B--",
        b"--B\r\nno colon here\r\n\r\nabc\r\n--B--",
        b"--B\r\nna me: x\r\n\r\nabc\r\n--B--",
        b"--B" + b" " * 100 + b"\r\n\r\nabc\r\n--B--",
        b"x" * 70_000 + b"\r\n--B\r\n\r\n\r\n--B--",
        b"--B\r\nX: " + b"y" * 20_000 + b"\r\n\r\nabc\r\n--B--",
        b"--B\r\nX: " + b"y" * 20_000,
    ],
)
def test_nonsense_is_refused(body: bytes) -> None:
    """Cut bodies, foreign boundaries, odd headers and endless ones are refused, whatever pieces they come in."""
    for step in (1 << 20, 1000, 13):
        with pytest.raises(BadRequest):
            parts_of(body, step=step)


def test_too_many_parts_are_refused() -> None:
    """A body of countless empty parts is stopped at the limit."""
    body = written([b""] * 11)
    assert len(parts_of(body, most_parts=11)) == 11
    with pytest.raises(BadRequest, match="more than 10 parts"):
        parts_of(body, most_parts=10)


@pytest.mark.parametrize("boundary", ["", "a" * 71, "ends with blank ", 'quo"te', "line\r\n", "é"])
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    """A boundary is 1 to 70 of the characters of RFC 2046 and does not end with a blank."""
    with pytest.raises(BadRequest, match="boundary"):
        MultipartReader(boundary, most_parts=1)


def test_little_is_kept_in_memory() -> None:
    """A part of any size leaves no more behind than a delimiter: what comes is handed on."""
    reader = MultipartReader("B", most_parts=1)
    list(reader.feed(b"--B\r\n\r\n"))
    for _ in range(50):
        passed = sum(len(event.data) for event in reader.feed(bytes(100_000)) if isinstance(event, PartData))
        assert passed > 99_000
    assert len(reader._buffer) < 100
