"""Address and limits of a model server, checked before anybody is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from roboref_node.status import Refused, Status

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class HttpSettings:
    """Where the server is and how long it is waited for.

    Args:
        url: Base address, ``http://host:port`` or ``https://host/prefix``; no user name or password in it.
        connect_timeout_s: Longest wait for a connection.
        read_timeout_s: Longest silence of the server while it answers, and longest time in which it takes nothing of the request.
        total_timeout_s: Longest time for the whole exchange, retries included.
        retries: Further attempts after the first when the connection fails or the server says 429, 502, 503 or 504.
        retry_wait_s: Wait before the first retry; doubled for each further one, with a jitter of 50 %. A server's Retry-After is added;
            there is no retry when that is after `total_timeout_s`.
        token_env: Environment variable that holds the bearer token; empty = no authentication.
        allow_token_over_http: Send the token without TLS to another machine.
        ca_file: Certificate authority for a server with a private certificate; empty = the system's. TLS is always verified.
        max_response_bytes: Longest answer that is read.
    """

    url: str
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 30.0
    total_timeout_s: float = 45.0
    retries: int = 2
    retry_wait_s: float = 0.2
    token_env: str = ""
    allow_token_over_http: bool = False
    ca_file: str = ""
    max_response_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if not _is_base_address(self.url):
            raise Refused(Status.BAD_REQUEST, f"`url` must look like http://host:port or https://host/path, not {self.url!r}.")
        for name in ("connect_timeout_s", "read_timeout_s", "total_timeout_s", "max_response_bytes"):
            if not getattr(self, name) > 0:
                raise Refused(Status.BAD_REQUEST, f"`{name}` must be above 0, not {getattr(self, name)}.")
        if not 0 <= self.retries <= 10 or not self.retry_wait_s >= 0:
            raise Refused(
                Status.BAD_REQUEST, f"`retries` must be 0 to 10 and `retry_wait_s` not negative, not {self.retries}, {self.retry_wait_s}."
            )
        parts = urlsplit(self.url)
        if self.token_env and parts.scheme == "http" and not self.is_loopback and not self.allow_token_over_http:
            raise Refused(
                Status.BAD_REQUEST,
                f"`token_env` would send a token unencrypted to {parts.hostname}: use https, or set `allow_token_over_http: true`.",
            )

    @property
    def is_loopback(self) -> bool:
        """True when the server runs on this machine."""
        return urlsplit(self.url).hostname in _LOOPBACK

    def token(self) -> str:
        """The bearer token; empty when none is configured.

        Raises:
            Refused: MODEL_UNAVAILABLE when the variable is configured and not set.
        """
        if not self.token_env:
            return ""
        token = os.environ.get(self.token_env, "").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise Refused(
                Status.MODEL_UNAVAILABLE, f"The environment variable {self.token_env} (`token_env`) holds no token for {self.url}."
            )
        return token


def _is_base_address(url: str) -> bool:
    """True for what httpx and the resolver take for a server's address, and nothing that a base address has no use for."""
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        (parts.hostname or "").encode("idna")
        port_is_possible = parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False
    has_extras = "@" in parts.netloc or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_possible and not has_extras
