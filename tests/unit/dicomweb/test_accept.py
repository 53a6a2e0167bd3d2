"""Choosing the form of an answer."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from archive.dicomweb.accept import accepted, choose, parse_accept, parse_media_type
from archive.errors import BadRequest, NotAcceptable

JSON = ("application/dicom+json", "application/json")


def request(*lines: str, query: str = "") -> Request:
    """Return a request with these Accept headers."""
    headers = [(b"accept", line.encode()) for line in lines]
    return Request({"type": "http", "headers": headers, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        ((), JSON[0]),
        (("*/*",), JSON[0]),
        (("application/*",), JSON[0]),
        (("application/json",), JSON[1]),
        (("application/json, application/dicom+json",), JSON[1]),
        (("application/json;q=0.5, application/dicom+json",), JSON[0]),
        (("text/html", "application/json;q=0.1"), JSON[1]),
        (("*/*, application/json",), JSON[1]),
        (("APPLICATION/JSON",), JSON[1]),
        (('application/json; charset="utf-8"',), JSON[1]),
    ],
)
def test_the_most_wanted_of_what_there_is(lines: tuple[str, ...], chosen: str) -> None:
    """Weight decides, then precision, then order; without a header anything goes."""
    assert choose(request(*lines), JSON) == chosen


@pytest.mark.parametrize("line", ["text/html", "application/json;q=0", "multipart/related"])
def test_what_is_not_there_is_told(line: str) -> None:
    """A form that is not offered, or not wanted, is answered 406 with those there are."""
    with pytest.raises(NotAcceptable, match=r"dicom\+json"):
        choose(request(line), JSON)


def test_the_query_goes_before_the_header() -> None:
    """The query parameter accept replaces the header, for links in a browser (PS3.18 8.3.3.1)."""
    assert choose(request("text/html", query="accept=application/json"), JSON) == "application/json"


def test_parameters_of_a_dicom_media_type() -> None:
    """Type and transfer syntax are read, quoted or not, with their own weights, in the order of those."""
    line = (
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50;q=0.5,'
        "multipart/related;type=application/octet-stream;transfer-syntax=*;q=0.9;boundary=x, application/dicom;q=0.2"
    )
    first, second, third = accepted(request(line))
    assert (first.payload, first.transfer_syntax, first.weight) == ("application/octet-stream", "*", 0.9)
    assert (second.payload, second.transfer_syntax) == ("application/dicom", "1.2.840.10008.1.2.4.50")
    assert (third.payload, third.kind, third.transfer_syntax) == ("application/dicom", "application/dicom", "")


def test_quotes_may_hold_anything() -> None:
    """Commas, semicolons and escaped quotes inside a quoted value do not end it."""
    (found,) = parse_accept(r'a/b; x="1,2;3\"4"; q=0.25')
    assert dict(found.parameters) == {"x": '1,2;3"4'}
    assert found.weight == 0.25


@pytest.mark.parametrize("text", ["x", "a/b; q=2", "a/b; q=0.1234", "a/b; q=x", "a/b x", 'a/b; x="', "a/b;=1", "/"])
def test_what_is_no_media_type_is_refused(text: str) -> None:
    """A header that cannot be read is a bad request, not a guess."""
    with pytest.raises(BadRequest):
        parse_accept(text)


def test_bounds() -> None:
    """Neither a very long header nor very many media types are gone through."""
    with pytest.raises(BadRequest):
        parse_accept("a/b," * 5000)
    with pytest.raises(BadRequest):
        parse_accept("a/b," * 101)
    assert len(parse_accept("a/b," * 100)) == 100


def test_one_content_type() -> None:
    """A Content-Type is exactly one media type."""
    assert parse_media_type("multipart/related; boundary=B").parameters["boundary"] == "B"
    for text in ("", "a/b, c/d"):
        with pytest.raises(BadRequest):
            parse_media_type(text)
