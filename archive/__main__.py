"""Entry point of ``drimbox`` and ``python -m archive``; must not do more than hand over to the command line."""

from __future__ import annotations

from archive.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
