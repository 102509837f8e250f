"""The web server under the page: viser's, closed to the pages of other sites and to the internet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import viser
from websockets.asyncio import server as websockets_server

from roboref_node.serving.server import is_loopback

_STARTING = threading.Lock()
_REFUSAL = "this page is served to pages of its own only\n"


class LocalServer(viser.ViserServer):
    """A server whose page moves a robot.

    Any web page that is open in a browser on this machine can connect to a WebSocket here, for browsers leave it to the server to look
    at the origin, and viser does not. Whoever is connected can press every button, and ask viser for a tunnel to the internet.

    Args:
        host: Address to listen on.
        port: TCP port; 0: a free one.
        label: Title of the page.

    Raises:
        RuntimeError: This version of viser starts its server in a way that cannot be guarded.
    """

    def __init__(self, *, host: str, port: int, label: str) -> None:
        with _guarded(lambda origin, addressed: is_own_page(origin, addressed, host)):
            super().__init__(host=host, port=port, label=label, verbose=False)

    def request_share_url(self, verbose: bool = True) -> str | None:
        """None: the page is not published, whoever asks."""
        return None


def is_own_page(origin: str | None, addressed: str, host: str) -> bool:
    """Whether a connection comes from the page that is served here, or from no web page at all.

    Args:
        origin: Header Origin; None: a program, which could as well talk to the robot itself.
        addressed: Header Host.
        host: Address that the server listens on. On a loopback address only this machine's own names count: a name that was made to lead
            here after its page had loaded is the same in both headers.
    """
    try:
        names = [urlsplit(f"//{addressed}").hostname or ""]
        if origin is not None:
            names.append(urlsplit(origin).hostname or "")
            if urlsplit(origin).scheme not in ("http", "https"):
                return False
    except ValueError:
        return False
    if is_loopback(host):  # a forwarded port may have another number there
        return all(is_loopback(name) for name in names)
    return origin is None or urlsplit(origin).netloc == addressed


@contextmanager
def _guarded(admits: Callable[[str | None, str], bool]) -> Iterator[None]:
    """While it lasts, servers of `websockets` ask `admits` before they answer: viser has no setting for that."""
    original, guarded = websockets_server.serve, False

    def serve(*arguments: Any, process_request: Any = None, **settings: Any) -> Any:
        nonlocal guarded
        guarded = True

        def admit(connection: Any, request: Any) -> Any:
            if not admits(request.headers.get("Origin"), request.headers.get("Host", "")):
                return connection.respond(HTTPStatus.FORBIDDEN, _REFUSAL)
            return None if process_request is None else process_request(connection, request)

        return original(*arguments, process_request=admit, **settings)

    with _STARTING:
        websockets_server.serve = serve  # type: ignore[assignment, misc]
        try:
            yield
        finally:
            websockets_server.serve = original  # type: ignore[misc]
    if not guarded:
        raise RuntimeError(f"viser {viser.__version__} starts its server in another way: its page would be open to every web site")
