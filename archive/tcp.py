"""What every TCP connection of the archive is set to; must not know what goes over it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

__all__ = ["set_up"]

_UNPACED: Final = b"reno"
"""The congestion control (RFC 5681) that each Linux has and lets everybody choose."""


def set_up(connection: socket.socket) -> None:
    """Have a connection send what it is given at once, and notice a peer that is gone. Raises OSError.

    Between two programs of one machine there is no line whose speed has to be found: a machine that is set to BBR for
    its networks would find one all the same, send no faster than that, and slower than it could.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with suppress(OSError):  # the peer has gone already: whoever reads next will see it
        if connection.getpeername()[0] == connection.getsockname()[0]:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _UNPACED)
