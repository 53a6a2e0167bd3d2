"""Reads a secret from a file that only its owner may read; must not keep or log it."""

from __future__ import annotations

from pathlib import Path

from archive.errors import NoticeNotSent


def read_secret(path: Path) -> str:
    """Return the first line of a file. Raises NoticeNotSent when others may read it, or nobody can."""
    try:
        if path.stat().st_mode & 0o077:
            raise NoticeNotSent(reason=f"others may read {path}: chmod 600 {path}")
        return path.read_text(encoding="utf-8").partition("\n")[0].strip("\r")
    except OSError as exc:
        raise NoticeNotSent(reason=f"{path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise NoticeNotSent(reason=f"{path} is no text") from exc
