"""What the process' environment says about connections to model servers: proxies and certificate authorities."""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import httpx

from roboref_node.status import Refused, Status

_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_AUTHORITY_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def trusted_authorities(*, ca_file: str, trust_env: bool) -> ssl.SSLContext:
    """Whom to believe.

    Args:
        ca_file: The setting; empty = httpx's own list, or what the environment names instead.
        trust_env: Whether the environment counts.

    Raises:
        Refused: BAD_REQUEST naming the setting or the variable.
    """
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=trust_env)
    except OSError as error:  # ssl.SSLError is one
        if ca_file:
            sentence = f"The certificates in {ca_file} (`ca_file`) cannot be read: {error}."
        else:
            name = next((name for name in _AUTHORITY_VARIABLES if os.environ.get(name)), "the system")
            sentence = f"The certificates in {os.environ.get(name)} (environment variable {name}) cannot be read: {error}."
        raise Refused(Status.BAD_REQUEST, sentence) from error


def check_proxies(url: str) -> None:
    """Refuse proxies that are none before they are used: the HTTP library fails on them in many ways, and names no variable.

    Raises:
        Refused: BAD_REQUEST. Proxies may hold a password, so only their variables are named.
    """
    culprits = [name for name, value in os.environ.items() if name.lower() in _PROXY_VARIABLES and value and not _is_proxy(value)]
    if culprits:
        raise Refused(
            Status.BAD_REQUEST,
            f"{url} cannot be asked with the environment variable {', '.join(sorted(culprits))}: a proxy looks like http://host:port; one "
            "with socks5:// needs the Python package socksio.",
            url=url,
        )


def proxy_variable(url: str) -> str:
    """Name of the variable whose proxy carries the requests to `url`; empty when none does."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return ""
    names = (name for scheme in (parts.scheme, "all") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()))
    return next((name for name in names if os.environ.get(name)), "")


def _is_proxy(value: str) -> bool:
    try:
        proxy = httpx.URL(value if "://" in value else f"http://{value}")
        httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), proxy=httpx.Proxy(proxy))
        proxy.host.encode("idna")
    except (ValueError, ImportError, httpx.InvalidURL):
        return False
    return bool(proxy.host) and (proxy.port or 0) < 1 << 16
