"""Reads PDF with poppler's tools, as independent peers; must not use what wrote it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import zlib
from pathlib import Path


def tool(name: str) -> str:
    """Return the path of a tool of poppler; a missing one fails the test: it is a real part."""
    path = shutil.which(name)
    assert path is not None, f"{name} is missing: install the package poppler-utils"
    return path


def pdf_pages(pdf: bytes) -> list[str]:
    """Return the text of every page, in the order in which it is read."""
    done = subprocess.run([tool("pdftotext"), "-raw", "-", "-"], input=pdf, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().split("\f")[:-1]


def pdf_words(pdf: bytes) -> str:
    """Return the whole text on one line: how it wraps is no matter."""
    return " ".join(" ".join(pdf_pages(pdf)).split())


def pdf_fonts(pdf: bytes, folder: Path) -> dict[str, bool]:
    """Return every font a PDF uses, and whether it is embedded."""
    path = folder / "fonts.pdf"
    path.write_bytes(pdf)
    done = subprocess.run([tool("pdffonts"), path], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    column = lines[0].index("emb")
    return {line.split()[0]: line[column : column + 3] == "yes" for line in lines[2:]}


def pdf_drawing(pdf: bytes) -> bytes:
    """Return the drawing operators of all pages, unpacked."""
    streams = re.findall(rb"/ASCII85Decode /FlateDecode.*?stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    unpacked = [zlib.decompress(base64.a85decode(b"<~" + stream.strip(), adobe=True)) for stream in streams]
    return b"\n".join(each for each in unpacked if b" Tf" in each)
