"""What every TCP connection of the archive is set to; must not know what goes over it.

Between two programs of one machine there is no line whose speed has to be found. A machine that is set to BBR for its
networks looks for it all the same, and paces what is sent: it comes later than it could. Pacing, once begun, outlasts
the congestion control it was begun for, so a listener begins without, and gets the machine's own for other machines.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

__all__ = ["prepare", "set_up"]

_UNPACED: Final = b"reno"
"""The congestion control (RFC 5681) that each Linux has and lets everybody choose."""
_LONGEST_NAME: Final = 16


def prepare(listener: socket.socket) -> None:
    """Have a listener's connections begin without pacing; ``set_up`` each. Raises OSError."""
    _control(listener, _UNPACED)


def set_up(connection: socket.socket) -> None:
    """Have a connection send what it is given at once, as the machine wants it, and notice a peer that is gone.

    Raises OSError.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with suppress(OSError):  # the peer has gone already: whoever reads next will see it
        is_inside = connection.getpeername()[0] == connection.getsockname()[0]
        _control(connection, _UNPACED if is_inside else _control_of_machine())


def _control(connection: socket.socket, name: bytes) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)


def _control_of_machine() -> bytes:
    with socket.socket() as fresh:
        return fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _LONGEST_NAME).rstrip(b"\0")
