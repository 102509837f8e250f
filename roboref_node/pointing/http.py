"""How roboref talks to a model server: time-limited, size-limited, retried a few times, cancelable, and every failure a typed refusal.

The exchange runs on the client's own event loop thread, because only an asynchronous read can be given up at once: when the caller
cancels, or when a server sends one byte per second and so never trips a read timeout.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from roboref_node.pointing.http_environment import check_proxies, proxy_variable, trusted_authorities
from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.pointing.syntax import legible
from roboref_node.status import Refused, Status

_POLL_S = 0.02
_SHOWN_BYTES = 2000
"""Of an error's body; more than its sentence holds, because tags and blanks are taken out of it."""
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})


class _Retryable(Exception):
    """The attempt failed in a way that another one may not, after as many seconds as the server asks for."""

    def __init__(self, refusal: Refused, after_s: float = 0.0) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.after_s = after_s


class HttpClient:
    """JSON in, JSON out, to one server. Safe to use from several threads.

    Args:
        settings: Address and limits.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None

    def post_json(self, path: str, payload: Mapping[str, Any], *, canceled: Callable[[], bool] | None = None) -> dict[str, Any]:
        """POST `payload` to `path` below the base address and return the JSON object of the answer.

        Raises:
            Refused: MODEL_UNAVAILABLE (unreachable, error status, redirect), MODEL_TIMEOUT, UNPARSEABLE (not JSON, too long) or CANCELED.
        """
        return self._run(self._exchange("POST", path, json.dumps(payload).encode()), canceled)

    def get_json(self, path: str, *, canceled: Callable[[], bool] | None = None) -> dict[str, Any]:
        """GET `path` below the base address; raises as `post_json` does."""
        return self._run(self._exchange("GET", path, None), canceled)

    def close(self) -> None:
        """Drop the connections and end the thread; the next request starts them again."""
        with self._lock:
            loop, client, self._loop, self._client = self._loop, self._client, None, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_shut_down(client), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _run(self, exchange: Coroutine[Any, Any, dict[str, Any]], canceled: Callable[[], bool] | None) -> dict[str, Any]:
        with self._lock:  # so that `close` either comes first or sees this exchange
            future = asyncio.run_coroutine_threadsafe(_settle(exchange), self._running_loop())
        while True:
            try:
                result = future.result(None if canceled is None else _POLL_S)
                if isinstance(result, Refused):
                    raise result
                return result
            except (TimeoutError, concurrent.futures.TimeoutError):  # one class from Python 3.11 on
                if canceled is not None and canceled():
                    future.cancel()
                    raise self._canceled() from None
            except concurrent.futures.CancelledError:  # by `close` in another thread
                raise self._canceled() from None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve_loop, args=(self._loop,), name="roboref-http", daemon=True).start()
        return self._loop

    async def _exchange(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        settings = self.settings
        try:
            return await asyncio.wait_for(self._attempts(method, path, body), settings.total_timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            raise Refused(
                Status.MODEL_TIMEOUT,
                f"{settings.url} did not complete its answer within {settings.total_timeout_s:g} s (`total_timeout_s`).",
                url=settings.url,
                total_timeout_s=settings.total_timeout_s,
            ) from None

    async def _attempts(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        wait_s = self.settings.retry_wait_s
        now = asyncio.get_running_loop().time
        deadline = now() + self.settings.total_timeout_s
        for attempts_left in range(self.settings.retries, -1, -1):
            try:
                return await self._attempt(method, path, body)
            except _Retryable as failure:
                # jitter: a restarted server is not hit by all its clients at once
                pause_s = failure.after_s + wait_s * random.uniform(0.5, 1.5)
                if not attempts_left or (failure.after_s and now() + pause_s >= deadline):
                    raise failure.refusal from None
            await asyncio.sleep(pause_s)
            wait_s *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        settings = self.settings
        url = settings.url.rstrip("/") + path
        # Compressed answers are not asked for: a small one could unpack to any size.
        headers = {"accept": "application/json", "accept-encoding": "identity", "content-type": "application/json"}
        token = settings.token()
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            async with self._async_client().stream(method, url, content=body, headers=headers) as response:
                content = await self._read(response)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            did = "was silent" if isinstance(error, httpx.ReadTimeout) else "took no more of the request"
            raise Refused(
                Status.MODEL_TIMEOUT,
                f"{url} {did} for {settings.read_timeout_s:g} s (`read_timeout_s`).",
                url=url,
                read_timeout_s=settings.read_timeout_s,
            ) from None
        except httpx.ConnectTimeout:
            raise self._unavailable(f"no connection within {settings.connect_timeout_s:g} s (`connect_timeout_s`)") from None
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            raise self._unavailable(str(error) or type(error).__name__, "breaks off its answers") from None
        except httpx.HTTPError as error:
            raise self._unavailable(str(error) or type(error).__name__) from None
        return self._decode(url, response, content)

    def _async_client(self) -> httpx.AsyncClient:
        if self._client is None:
            settings = self.settings
            timeout = httpx.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s)
            trust_env = not settings.is_loopback  # proxies apply to other machines only
            if trust_env:
                check_proxies(settings.url)
            try:
                self._client = httpx.AsyncClient(
                    timeout=timeout,
                    verify=self._trust(trust_env),
                    follow_redirects=False,  # a redirect would carry pictures and token to a place that nobody configured
                    trust_env=trust_env,
                )
            except httpx.InvalidURL as error:  # the proxies are checked, so it is the list of hosts that have none
                raise Refused(Status.BAD_REQUEST, f"The environment variable NO_PROXY is no list of hosts: {error}.") from error
        return self._client

    def _trust(self, trust_env: bool) -> ssl.SSLContext:
        """Whom to believe."""
        if urlsplit(self.settings.url).scheme == "http":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used, and an empty one trusts nobody; reading the list takes 50 ms
        return trusted_authorities(ca_file=self.settings.ca_file, trust_env=trust_env)

    async def _read(self, response: httpx.Response) -> bytes:
        """The body; of an error only what is shown of it, because its status says more than its size or its encoding."""
        limit = self.settings.max_response_bytes if response.is_success else _SHOWN_BYTES
        if response.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            if response.is_success:
                raise self._unparseable("is compressed although that was not asked for")
            return b""
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > limit:
                if response.is_success:
                    raise self._unparseable(f"is longer than {limit} bytes (`max_response_bytes`)")
                break
        return bytes(content[:limit])

    def _decode(self, url: str, response: httpx.Response, content: bytes) -> dict[str, Any]:
        code = response.status_code
        if response.has_redirect_location:
            raise Refused(
                Status.MODEL_UNAVAILABLE, f"{url} redirects, which is not followed: set `url` to the final address.", http_status=code
            )
        if code in (401, 403):
            hint = f"the token in {self.settings.token_env}" if self.settings.token_env else "no token (`token_env` is empty)"
            raise Refused(Status.MODEL_UNAVAILABLE, f"{url} answers {code} to {hint}{self._route()}.", http_status=code)
        if not 200 <= code < 300:
            message = " ".join(re.sub(r"<[^<>]{0,500}>", " ", content.decode("utf-8", "replace")).split())[:200]
            refusal = Refused(Status.MODEL_UNAVAILABLE, f"{url} answers {code}{self._route()}: {message!r}.", http_status=code)
            raise _Retryable(refusal, _retry_after_s(response)) if code in _RETRIED_STATUSES else refusal
        try:
            answer = _legible(json.loads(content))
        except (ValueError, RecursionError):
            raise self._unparseable("is not JSON") from None
        if not isinstance(answer, dict):
            raise self._unparseable("is not a JSON object")
        return answer

    def _unavailable(self, reason: str, problem: str = "cannot be reached") -> _Retryable:
        sentence = f"{self.settings.url} {problem}{self._route()} after {self.settings.retries + 1} attempts (`retries`): {reason}."
        return _Retryable(Refused(Status.MODEL_UNAVAILABLE, sentence, url=self.settings.url))

    def _route(self) -> str:
        """What an error must say of the way to the server: it may be the proxy's."""
        name = "" if self.settings.is_loopback else proxy_variable(self.settings.url)
        return f" through the proxy of {name} (NO_PROXY exempts hosts)" if name else ""

    def _canceled(self) -> Refused:
        return Refused(Status.CANCELED, f"The question to {self.settings.url} was canceled.")

    def _unparseable(self, reason: str) -> Refused:
        return Refused(Status.UNPARSEABLE, f"The answer of {self.settings.url} {reason}.", url=self.settings.url)


async def _settle(exchange: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any] | Refused:
    """A refusal as a value: where it meets a cancellation nobody asks for it any more, and asyncio complains of lost exceptions."""
    try:
        return await exchange
    except Refused as refused:
        return refused


def _legible(value: Any) -> Any:
    """`value` of a JSON document with its texts made `legible`: here they come in, and nothing behind has to expect others."""
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, list):
        return [_legible(entry) for entry in value]
    if isinstance(value, dict):
        return {legible(key): _legible(entry) for key, entry in value.items()}
    return value


def _retry_after_s(response: httpx.Response) -> float:
    """For how long the server wants to be left alone: its Retry-After, in seconds or as a date; 0 without a readable one."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


async def _shut_down(client: httpx.AsyncClient | None) -> None:
    under_way = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)  # so that their callers hear of it before the loop stops
    if client is not None:
        await client.aclose()


def _serve_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
