"""One HTTP call to an external service, its failures translated into the four connector errors."""

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any, TypeVar, cast

import httpx
from httpx_secure import SSRFProtectionError
from pydantic import TypeAdapter, ValidationError

from connectors.base import AccessRevokedError, ConnectorError, TransientError, UnexpectedResponseError

MAX_BODY_BYTES = 32 * 1024 * 1024
"""The most a response may hold, after decompression."""

# A server that drips a byte now and then resets the read timeout for ever: the whole call is bounded too.
CALL_SECONDS = 35.0

EXCERPT_CHARACTERS = 200
LONGEST_WAIT = timedelta(days=36_500)

SECRET_HEADER = re.compile(r"auth|token|key|secret|cookie", re.IGNORECASE)
SHORTEST_SECRET = 4

SECRET_ADDRESS: Mapping[str, Any] = {"sluice_secret_address": True}
"""`extensions` of a request whose whole address is a secret: errors tell its server alone, and quote no answer."""

Shape = TypeVar("Shape")
Read = TypeVar("Read")


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


def origin(url: httpx.URL) -> str:
    """The server's part of an address, as https://example.com: without the scheme's own port."""
    return str(url.copy_with(userinfo=b"", raw_path=b"/", fragment=None)).rstrip("/")


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
    extensions = options.get("extensions", {})
    try:
        async with asyncio.timeout(CALL_SECONDS), client.stream(method, url, **options) as response:
            return await read(response)
    except (httpx.InvalidURL, httpx.RequestError, TimeoutError) as error:
        failure = _failure(error, f"{method} {_public(url, extensions)}")
        # A text of these can quote a header.
        quotes = isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError)
        cause = None if quotes or _is_secret(extensions) else error
    # Not within `except`: what is secret must not even be the context of another error.
    raise failure from cause


def _failure(error: Exception, where: str) -> ConnectorError:
    """What a request without an answer means."""
    match error:
        case SSRFProtectionError():
            return UnexpectedResponseError(
                f"{where}: the host has a private address; "
                "the operator of this server can allow such hosts with SLUICE_ALLOW_PRIVATE_HOSTS"
            )
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return UnexpectedResponseError(f"{where}: cannot be requested ({type(error).__name__})")
        case httpx.DecodingError():
            return UnexpectedResponseError(f"{where}: the body cannot be decompressed")
        case _:
            return TransientError(f"{where}: {_reason(error)}")


def parse(response: httpx.Response, shape: type[Shape]) -> Shape:
    """The JSON body as `shape`, a pydantic model or any type that pydantic knows.

    Raises UnexpectedResponseError for what is no JSON (a page of a login, of maintenance) or has another shape; the
    message names the places that do not fit, never their values.
    """
    try:
        read: Shape = _adapter(cast("Any", shape)).validate_json(response.content)
    except ValidationError as error:
        line = f"{_line(response.request)}: {response.status_code}"
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
        case status if is_transient(status):
            return TransientError(message, retry_after=retry_after(response, now=now))
        case _:
            return UnexpectedResponseError(message)


def is_transient(status: int) -> bool:
    """Whether asking again later may help: also for a status that only a proxy in between gives (520 to 599)."""
    return status in {408, 425, 429} or status >= 500


def describe(response: httpx.Response) -> str:
    """Method, URL without its query, status and the beginning of a text body: fit for users, free of secrets."""
    request = response.request
    line = f"{_line(request)}: {response.status_code}"
    kind = response.headers.get("Content-Type", "")
    # A page that says what cannot be found quotes the address.
    if _is_secret(request.extensions) or not re.search(r"text|json|xml|^$", kind) or not response.content:
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
    at = moment(value)
    return None if at is None else max(at - now, timedelta(0))


def moment(date: str) -> datetime | None:
    """When a date of HTTP is; None where it cannot be understood (https://www.rfc-editor.org/rfc/rfc9110#http.date)."""
    try:
        at = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


async def _read(response: httpx.Response) -> httpx.Response:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise UnexpectedResponseError(
                f"{_line(response.request)}: the body is larger than {MAX_BODY_BYTES // 1024**2} MB"
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
        raise UnexpectedResponseError(f"{_line(response.request)}: another part of the file was asked for")
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


def _line(request: httpx.Request) -> str:
    return f"{request.method} {_public(request.url, request.extensions)}"


def _public(url: httpx.URL | str, extensions: Mapping[str, Any]) -> str:
    try:
        shown = httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None)
    except httpx.InvalidURL:
        return "an invalid URL"
    return origin(shown) if _is_secret(extensions) else str(shown)


def _is_secret(extensions: Mapping[str, Any]) -> bool:
    return extensions.keys() >= SECRET_ADDRESS.keys()


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
