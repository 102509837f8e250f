"""A model server with RoboRefer's ``/query`` that misbehaves on request: a real one, on a socket of this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading

from fault_camera import BOX_ANSWER


class FaultyServer:
    """Answers `text` until `behave` says otherwise; `mend` undoes that, and starts it again after `stop`."""

    def __init__(self):
        self.asked = 0
        self.mended = threading.Event()
        self._server = None
        self._port = 0
        self.mend()

    @property
    def url(self):
        """Its address, the same for all its life."""
        return f"http://127.0.0.1:{self._port}"

    def mend(self):
        """A healthy server."""
        self.mended.set()
        self.text, self.behave = BOX_ANSWER, self.answer
        self.mended = threading.Event()
        if self._server is None:
            self._start()

    def stop(self):
        """Nobody listens any more."""
        self.mended.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, connection):
        """The healthy answer."""
        self.send(connection, "200 OK", json.dumps({"result": 1, "answer": self.text}).encode())

    def send(self, connection, status, body, *headers):
        """One HTTP answer."""
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def drip(self, connection):
        """A byte every 0.1 s, which trips no read timeout."""
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        mended = self.mended
        while not mended.wait(0.1):
            connection.sendall(b"x")

    def endless(self, connection):
        """A body without end."""
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    def hang(self, connection):
        """Silence until mended."""
        self.mended.wait(30.0)

    def _start(self):
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):  # the client gave up, which is what it is about
                    stream = self.request.makefile("rb")
                    length = 0
                    for line in iter(stream.readline, b"\r\n"):
                        if not line:
                            return
                        name, _, value = line.decode().partition(":")
                        length = int(value) if name.lower() == "content-length" else length
                    stream.read(length)
                    outer.asked += 1
                    outer.behave(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
