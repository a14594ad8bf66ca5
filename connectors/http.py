"""One HTTP call to an external service, its failures translated into the four connector errors."""

import asyncio
import base64
import binascii
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache, partial
from ipaddress import ip_address
from socket import SOCK_STREAM
from typing import Any, TypeVar, cast

import httpx
from httpx_secure import SSRFProtectionError, httpx_ssrf_protection
from pydantic import TypeAdapter, ValidationError

from connectors.base import AccessRevokedError, ConnectorError, TransientError, UnexpectedResponseError

MAX_BODY_BYTES = 32 * 1024 * 1024
"""The most a response may hold, after decompression."""

# A server that drips a byte now and then resets the read timeout for ever: the whole call is bounded too.
CALL_SECONDS = 35.0
TIMEOUT = httpx.Timeout(20.0, connect=5.0, pool=5.0)

EXCERPT_CHARACTERS = 200
LONGEST_WAIT = timedelta(days=36_500)

SECRET_HEADER = re.compile(r"auth|token|key|secret|cookie", re.IGNORECASE)
SHORTEST_SECRET = 4

NO_ORIGINS: Mapping[str, str] = {}

Shape = TypeVar("Shape")
Read = TypeVar("Read")


def open_client(*, allow_private_hosts: bool, origins: Mapping[str, str] = NO_ORIGINS) -> httpx.AsyncClient:
    """Open the client that connectors share. It ignores proxy variables and follows no redirect by itself.

    Unless `allow_private_hosts`, it connects to globally reachable addresses only. `origins` says which are reached
    elsewhere: `{"https://people.googleapis.com": "http://127.0.0.1:9000"}` leads to a simulator.
    """
    hooks = [partial(_reach_elsewhere, origins)] if origins else []
    client = httpx.AsyncClient(
        verify=_tls(),
        headers={"User-Agent": "Sluice"},
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=False,
        event_hooks={"request": [*hooks, *([] if allow_private_hosts else [_refuse_private_host])]},
    )
    return client if allow_private_hosts else httpx_ssrf_protection(client)


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates takes longer than a cycle that finds nothing."""
    return httpx.create_ssl_context(trust_env=False)


def web_address(text: str) -> httpx.URL:
    """An address as people type it, completed. Raises ValueError; a user name in it would end up in logs."""
    address = text.strip()
    try:
        url = httpx.URL(address if "://" in address else f"https://{address}")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise ValueError("must be an http or https address without user name and password")
    return url.copy_with(fragment=None)


def elsewhere(url: httpx.URL, origins: Mapping[str, str]) -> httpx.URL:
    """Where `url` is really reached, by `origins` as in `open_client`."""
    origin = str(url.copy_with(userinfo=b"", raw_path=b"/", fragment=None)).rstrip("/")
    target = origins.get(origin)
    if target is None:
        return url
    there = httpx.URL(target)
    return url.copy_with(scheme=there.scheme, host=there.host, port=there.port)


async def _reach_elsewhere(origins: Mapping[str, str], request: httpx.Request) -> None:
    # The Host header stays: it tells a simulator which service, and which shop, is meant.
    request.url = elsewhere(request.url, origins)


async def _refuse_private_host(request: httpx.Request) -> None:
    """Look before connecting: httpx-secure looks at the connection made, which would tell open ports from closed ones.

    What the name means may change in between; then httpx-secure still ends the connection unused.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(request.url.host, request.url.port, type=SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError("the host has no address", request=request) from error
    if not all(ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found):
        raise SSRFProtectionError(
            "private address", request=request, hostname=request.url.host, ip_addr=None, port=request.url.port or 0
        )


async def request(client: httpx.AsyncClient, method: str, url: httpx.URL | str, **options: Any) -> httpx.Response:
    """Send a request and return its answer, which is 2xx. `options` are those of `httpx.AsyncClient.request`.

    Raises TransientError, AccessRevokedError or UnexpectedResponseError.
    """
    return check(await send(client, method, url, **options))


async def send(client: httpx.AsyncClient, method: str, url: httpx.URL | str, **options: Any) -> httpx.Response:
    """Send a request and return the answer whatever its status, for services whose statuses need a look first.

    Raises TransientError where there is no answer, UnexpectedResponseError where there can never be one.
    """
    return await _exchange(client, method, url, _read, **options)


async def part(client: httpx.AsyncClient, url: httpx.URL | str, *, start: int, length: int) -> tuple[bytes, bool]:
    """Read a file from byte `start` on, at most `length` bytes. Returns them, and whether the file ends there.

    For files of any size: only this part is held, also where a server sends all of it (RFC 9110, section 14.2).
    """
    headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
    return await _exchange(client, "GET", url, partial(_read_part, start, length), headers=headers)


async def _exchange(
    client: httpx.AsyncClient,
    method: str,
    url: httpx.URL | str,
    read: Callable[[httpx.Response], Awaitable[Read]],
    **options: Any,
) -> Read:
    try:
        async with asyncio.timeout(CALL_SECONDS), client.stream(method, url, **options) as response:
            return await read(response)
    except SSRFProtectionError as error:
        raise UnexpectedResponseError(
            f"{method} {_public(url)}: the host has a private address; "
            "the operator of this server can allow such hosts with SLUICE_ALLOW_PRIVATE_HOSTS"
        ) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        # Its text can quote a header. `from None`, because a traceback would quote it too.
        raise UnexpectedResponseError(
            f"{method} {_public(url)}: cannot be requested ({type(error).__name__})"
        ) from None
    except httpx.DecodingError as error:
        raise UnexpectedResponseError(f"{method} {_public(url)}: the body cannot be decompressed") from error
    except (httpx.TransportError, TimeoutError) as error:
        raise TransientError(f"{method} {_public(url)}: {_reason(error)}") from error


def parse(response: httpx.Response, shape: type[Shape]) -> Shape:
    """The JSON body as `shape`, a pydantic model or any type that pydantic knows.

    Raises UnexpectedResponseError for what is no JSON (a page of a login, of maintenance) or has another shape; the
    message names the places that do not fit, never their values.
    """
    try:
        read: Shape = _adapter(cast("Any", shape)).validate_json(response.content)
    except ValidationError as error:
        line = f"{response.request.method} {_public(response.request.url)}: {response.status_code}"
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        if problems[0]["type"] == "json_invalid":
            kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
            raise UnexpectedResponseError(f"{line}, where JSON was due: {kind[:EXCERPT_CHARACTERS]}") from None
        found = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'the whole'}: {problem['msg']}"
            for problem in problems[:3]
        )
        raise UnexpectedResponseError(f"{line}, not as documented: {found[:EXCERPT_CHARACTERS]}") from None
    return read


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    """Made once for each shape: building one takes longer than reading a page with it."""
    return TypeAdapter(shape)


def check(response: httpx.Response) -> httpx.Response:
    """Return a 2xx response as it is; raise what the status of any other one means."""
    if response.is_success:
        return response
    raise refusal(response, now=datetime.now(UTC))


def refusal(response: httpx.Response, *, now: datetime) -> ConnectorError:
    """Return the error for a response that is not 2xx. `now` is what an HTTP date in Retry-After is compared with."""
    message = describe(response)
    match response.status_code:
        case 401 | 403:
            return AccessRevokedError(message)
        case 429 | 500 | 502 | 503 | 504:
            return TransientError(message, retry_after=retry_after(response, now=now))
        case _:
            return UnexpectedResponseError(message)


def describe(response: httpx.Response) -> str:
    """Method, URL without its query, status and the beginning of a text body: fit for users, free of secrets."""
    request = response.request
    line = f"{request.method} {_public(request.url)}: {response.status_code}"
    kind = response.headers.get("Content-Type", "")
    if not re.search(r"text|json|xml|^$", kind) or not response.content:
        return line
    # A debug page may echo the request: secrets go before the cut, which could leave half of one.
    return f"{line} {_without_secrets(' '.join(response.text.split()), request)[:EXCERPT_CHARACTERS]}"


def retry_after(response: httpx.Response, *, now: datetime) -> timedelta | None:
    """How long the service asks to wait, never negative; None where it says nothing that can be understood.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", value):
        seconds = max(float(value), 0.0)
        return timedelta(seconds=min(seconds, LONGEST_WAIT.total_seconds()))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(moment - now, timedelta(0))


async def _read(response: httpx.Response) -> httpx.Response:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise UnexpectedResponseError(
                f"{response.request.method} {_public(response.request.url)}: "
                f"the body is larger than {MAX_BODY_BYTES // 1024**2} MB"
            )
    headers = response.headers.copy()
    # The body is decoded by now; a response that still said gzip would decode it again.
    headers.pop("Content-Encoding", None)
    headers.pop("Content-Length", None)
    headers.pop("Transfer-Encoding", None)
    return httpx.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)


async def _read_part(start: int, length: int, response: httpx.Response) -> tuple[bytes, bool]:
    if response.status_code == 416:
        return b"", True
    if not response.is_success:
        check(await _read(response))
    sent = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    if response.status_code == 206 and (sent is None or int(sent[1]) != start):
        raise UnexpectedResponseError(
            f"{response.request.method} {_public(response.request.url)}: another part of the file was asked for"
        )
    body, skip = bytearray(), 0 if sent else start
    async for chunk in response.aiter_bytes():
        body += chunk[skip:]
        skip = max(skip - len(chunk), 0)
        if len(body) > length:
            break
    ends = int(sent[2]) + 1 == int(sent[3]) if sent else True
    return bytes(body[:length]), ends and len(body) <= length


def _reason(error: Exception) -> str:
    # Only this class's text is known to name nothing but hosts and certificates.
    if isinstance(error, httpx.ConnectError) and str(error):
        return f"no connection ({error})"
    return f"no answer ({type(error).__name__})"


def _public(url: httpx.URL | str) -> str:
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except httpx.InvalidURL:
        return "an invalid URL"


def _without_secrets(text: str, request: httpx.Request) -> str:
    headers = [value for name, value in request.headers.items() if SECRET_HEADER.search(name)]
    quoted = re.findall(r'"([^"]+)"', " ".join(headers))  # of OAuth oauth_token="…" (RFC 5849)
    for secret in (*headers, *quoted, *_basic_password(request), *request.url.params.values()):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret.rpartition(" ")[2], "***")
    return text


def _basic_password(request: httpx.Request) -> tuple[str, ...]:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        return (base64.b64decode(token).decode().partition(":")[2],)
    except (binascii.Error, UnicodeDecodeError):
        return ()
