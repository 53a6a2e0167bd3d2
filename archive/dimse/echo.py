"""C-ECHO SCP (PS3.7 section 9.1.5); must not do more than answer."""

from __future__ import annotations

from archive.dimse import command as dimse
from archive.dimse.association import Association, Message
from archive.dimse.status import SUCCESS


def handle_echo(association: Association, message: Message) -> None:
    """Answer success."""
    association.send_message(message.context, dimse.response_to(message.command, SUCCESS))
