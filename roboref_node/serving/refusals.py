"""Connections beyond the limit: each is told so in a proper reply, without a thread and without waiting for its request."""

from __future__ import annotations

import json
import logging
import socket
import time

from roboref_node.serving.chat_api import write_error
from roboref_node.serving.question import RequestError

_LOG = logging.getLogger(__name__)
_LINGER_S = 2.0
_READS = 64
"""Most reads from one connection at a time; the thread that does it accepts everybody's connections."""


class Refusals:
    """Connections that have been refused and are still sending. Only one thread may refuse, drain and close.

    To close a connection with unread data is to reset it, and then the client sees that in place of the refusal.

    Args:
        most: Connections kept; beyond it the oldest is closed, refusal read or not.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._deadlines: dict[socket.socket, float] = {}

    def __contains__(self, connection: object) -> bool:
        """Whether the connection is kept here, to be closed by `drain`."""
        return connection in self._deadlines

    def refuse(self, connection: socket.socket, message: str) -> None:
        """Say 503, and keep the connection until its client has hung up."""
        body = json.dumps(write_error(RequestError(503, message))).encode()
        head = f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        try:
            connection.setblocking(False)
            connection.send(f"{head}retry-after: 1\r\nconnection: close\r\n\r\n".encode() + body)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            _LOG.debug("already closed")
            return
        while len(self._deadlines) >= self._most:
            self._close(next(iter(self._deadlines)))
        self._deadlines[connection] = time.monotonic() + _LINGER_S

    def drain(self) -> None:
        """Read what has come in, and close the connections whose clients are done or take too long."""
        now = time.monotonic()
        for connection, deadline in list(self._deadlines.items()):
            if deadline < now or _is_done(connection):
                self._close(connection)

    def close(self) -> None:
        """Close all of them."""
        for connection in list(self._deadlines):
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        del self._deadlines[connection]
        connection.close()


def _is_done(connection: socket.socket) -> bool:
    """Read what is there; True when the client has hung up."""
    try:
        return any(not connection.recv(1 << 16) for _ in range(_READS))
    except BlockingIOError:
        return False
    except OSError:
        return True
