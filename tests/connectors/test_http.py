import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from httpx_secure import SSRFProtectionError

from connectors import http
from connectors.base import AccessRevokedError, ConnectorError, TransientError, UnexpectedResponseError
from connectors.http import MAX_BODY_BYTES, SECRET_ADDRESS, describe, origin, refusal, request, retry_after
from connectors.http_client import is_public, open_client

URL = "https://ann:s3cret-user@api.example.com/v1/contacts?token=s3cret-query#top"
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(handler))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, UnexpectedResponseError),
        (304, UnexpectedResponseError),
        (400, UnexpectedResponseError),
        (401, AccessRevokedError),
        (403, AccessRevokedError),
        (404, UnexpectedResponseError),
        (408, TransientError),
        (410, UnexpectedResponseError),
        (425, TransientError),
        (429, TransientError),
        (500, TransientError),
        (501, TransientError),
        (502, TransientError),
        (503, TransientError),
        (504, TransientError),
        (507, TransientError),
        (520, TransientError),
        (599, TransientError),
    ],
)
async def test_each_refused_status_has_one_meaning(status: int, error: type[ConnectorError]) -> None:
    with pytest.raises(ConnectorError) as raised:
        await request(client(lambda _: httpx.Response(status)), "GET", URL)

    assert type(raised.value) is error
    assert str(raised.value) == f"GET https://api.example.com/v1/contacts: {status}"


@pytest.mark.parametrize("status", [200, 204, 207])
async def test_a_success_is_returned_whole(status: int) -> None:
    body = gzip.compress(b"hello")
    answer = httpx.Response(status, content=body, headers={"Content-Encoding": "gzip", "X-Page": "2"})

    response = await request(client(lambda _: answer), "GET", URL)

    assert (response.status_code, response.text, response.headers["X-Page"]) == (status, "hello", "2")


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (httpx.ConnectError("refused"), TransientError, "no connection (refused)"),
        (httpx.ReadTimeout("slow"), TransientError, "no answer (ReadTimeout)"),
        (httpx.RemoteProtocolError("cut"), TransientError, "no answer (RemoteProtocolError)"),
        (httpx.LocalProtocolError("Illegal header value b's3cret'"), UnexpectedResponseError, "LocalProtocolError"),
        (httpx.UnsupportedProtocol("gopher"), UnexpectedResponseError, "UnsupportedProtocol"),
        (httpx.DecodingError("not gzip"), UnexpectedResponseError, "the body cannot be decompressed"),
    ],
)
async def test_each_failure_without_an_answer_has_one_meaning(
    failure: Exception, error: type[ConnectorError], message: str
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(error) as raised:
        await request(client(fail), "GET", URL)

    assert message in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.ConnectError("refused"), "no connection (refused)"),
        (httpx.UnsupportedProtocol("s3cret-path"), "cannot be requested (UnsupportedProtocol)"),
        (SSRFProtectionError("private", hostname="h", ip_addr=None, port=443), "the host has a private address; the"),
        (httpx.Response(404, text="Cannot GET /s3cret-path"), "404"),
        (httpx.Response(500, text="Cannot GET /s3cret-path"), "500"),
    ],
)
async def test_of_an_address_that_is_a_secret_only_the_server_is_told(
    answer: httpx.Response | Exception, message: str
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    url = "https://ann:s3cret@api.example.com:8443/s3cret-path?s3cret"
    with pytest.raises(ConnectorError) as raised:
        await request(client(handler), "GET", url, extensions=SECRET_ADDRESS)

    assert str(raised.value).startswith(f"GET https://api.example.com:8443: {message}")
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://ann:pass@Example.com:443/a?b#c", "https://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("http://[::1]:80/", "http://[::1]"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, server: str) -> None:
    assert origin(httpx.URL(url)) == server


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", timedelta(seconds=7)),
        ("0", timedelta(0)),
        ("-5", timedelta(0)),
        ("1.5", timedelta(seconds=1.5)),
        ("31536000", timedelta(days=365)),
        ("9" * 5000, timedelta(days=36_500)),
        ("Sun, 22 Nov 2026 12:02:00 GMT", timedelta(minutes=2)),
        ("Sun, 22 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("Sun, 22 Nov 2026 12:02:00 -0000", timedelta(minutes=2)),
        ("Sun, 22 Nov 2026 13:02:00 +0100", timedelta(minutes=2)),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Sun, 22 Nov 99999999999999999999 12:02:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, wait: timedelta | None) -> None:
    assert retry_after(httpx.Response(429, headers={"Retry-After": value}), now=NOW) == wait


def test_only_a_transient_error_carries_the_wait() -> None:
    answer = httpx.Response(503, headers={"Retry-After": "9"}, request=httpx.Request("GET", URL))

    error = refusal(answer, now=NOW)

    assert isinstance(error, TransientError)
    assert error.retry_after == timedelta(seconds=9)


def test_a_message_quotes_the_beginning_of_a_text_without_the_secrets_it_echoes() -> None:
    sent = httpx.Request("GET", URL, headers={"Authorization": "Basic YW5uOnMzY3JldC1wYXNz", "X-Api-Key": "s3cret-key"})
    echo = "no\n\n  way: s3cret-pass YW5uOnMzY3JldC1wYXNz s3cret-key s3cret-query " + "x" * 1000
    answer = httpx.Response(400, text=echo, request=sent)

    expected = "no way: *** *** *** *** " + "x" * 176
    assert describe(answer) == f"GET https://api.example.com/v1/contacts: 400 {expected}"


def test_a_message_repeats_no_secret_that_stands_quoted_in_a_header() -> None:
    header = 'OAuth oauth_consumer_key="s3cret-key", oauth_token="s3cret-token"'
    answer = httpx.Response(
        400,
        text="no way: s3cret-token of s3cret-key",
        request=httpx.Request("GET", URL, headers={"Authorization": header}),
    )

    assert describe(answer) == "GET https://api.example.com/v1/contacts: 400 no way: *** of ***"


def test_a_message_does_not_quote_what_is_no_text() -> None:
    picture = httpx.Response(
        400, content=b"\x89PNG", headers={"Content-Type": "image/png"}, request=httpx.Request("GET", URL)
    )

    assert describe(picture) == "GET https://api.example.com/v1/contacts: 400"


async def test_a_huge_body_is_given_up_before_it_fills_the_memory() -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(1024 * 1024)

    with pytest.raises(UnexpectedResponseError, match="the body is larger than 32 MB"):
        await request(client(lambda _: httpx.Response(200, content=body())), "GET", URL)

    assert sent == MAX_BODY_BYTES // 1024**2 + 1


async def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CALL_SECONDS", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b"."

    with pytest.raises(TransientError, match="no answer \\(TimeoutError\\)"):
        await request(client(lambda _: httpx.Response(200, content=drip())), "GET", URL)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]"])
async def test_private_hosts_are_refused_with_the_way_out(host: str) -> None:
    async with open_client(allow_private_hosts=False) as strict:
        # Whether a name is refused shows only once something listens there.
        server = await asyncio.start_server(lambda _, writer: writer.close(), "localhost", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(UnexpectedResponseError, match="SLUICE_ALLOW_PRIVATE_HOSTS"):
                await request(strict, "GET", f"http://{host}:{port}/")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("10.0.0.1", False),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d70e", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::5db8:d70e", False),
        ("2002:5db8:d70e::1", True),
        ("2002:a00:1::1", False),
        ("::ffff:93.184.215.14", True),
        ("::ffff:169.254.169.254", False),
        ("fec0::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
    ],
)
def test_an_address_is_as_public_as_the_one_that_stands_in_it(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_what_a_gateway_leads_to_this_machine_is_refused() -> None:
    async with open_client(allow_private_hosts=False) as strict:
        with pytest.raises(UnexpectedResponseError, match="SLUICE_ALLOW_PRIVATE_HOSTS"):
            await request(strict, "GET", "http://[64:ff9b::7f00:1]:9/")


async def test_an_address_that_is_no_url_is_not_retried() -> None:
    async with open_client(allow_private_hosts=True) as lenient:
        with pytest.raises(UnexpectedResponseError, match="an invalid URL: cannot be requested"):
            await request(lenient, "GET", "http://example.com:port/")


async def test_redirects_are_left_to_the_connector_and_proxies_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com")
    async with open_client(allow_private_hosts=True) as lenient:
        assert not lenient.follow_redirects
        assert not lenient.trust_env
        assert lenient.headers["User-Agent"] == "Sluice"
        assert (lenient.timeout.connect, lenient.timeout.read) == (5.0, 20.0)
