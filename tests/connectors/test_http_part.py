"""Reading a file in parts, of servers that know ranges and of those that do not."""

from collections.abc import Callable

import httpx
import pytest

from connectors import http
from connectors.base import AccessRevokedError, TransientError, UnexpectedResponseError

FILE = bytes(range(100))
URL = "https://files.example.com/f?signature=s3cret"

Handler = Callable[[httpx.Request], httpx.Response]


def with_ranges(request: httpx.Request) -> httpx.Response:
    start, end = (int(place) for place in request.headers["Range"].removeprefix("bytes=").split("-"))
    if start >= len(FILE):
        return httpx.Response(416, headers={"Content-Range": f"bytes */{len(FILE)}"})
    content = FILE[start : end + 1]
    headers = {"Content-Range": f"bytes {start}-{start + len(content) - 1}/{len(FILE)}"}
    return httpx.Response(206, content=content, headers=headers)


def without_ranges(_: httpx.Request) -> httpx.Response:
    async def chunks() -> object:
        for start in range(0, len(FILE), 7):
            yield FILE[start : start + 7]

    return httpx.Response(200, content=chunks())  # type: ignore[arg-type]


async def part(handler: Handler, start: int, length: int) -> tuple[bytes, bool]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await http.part(client, URL, start=start, length=length)


@pytest.mark.parametrize("handler", [with_ranges, without_ranges])
@pytest.mark.parametrize(
    ("start", "length", "is_end"),
    [(0, 10, False), (0, 99, False), (0, 100, True), (0, 200, True), (50, 10, False), (90, 10, True), (99, 5, True)],
)
async def test_a_part_is_what_lies_there_and_tells_the_end(
    handler: Handler, start: int, length: int, is_end: bool
) -> None:
    assert await part(handler, start, length) == (FILE[start : start + length], is_end)


@pytest.mark.parametrize("handler", [with_ranges, without_ranges])
async def test_behind_the_end_there_is_nothing(handler: Handler) -> None:
    assert await part(handler, 100, 10) == (b"", True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(206, content=b"x", headers={"Content-Range": "bytes 0-0/9"}), UnexpectedResponseError),
        (httpx.Response(206, content=b"x"), UnexpectedResponseError),
        (httpx.Response(403), AccessRevokedError),
        (httpx.Response(404), UnexpectedResponseError),
        (httpx.Response(302, headers={"Location": "https://example.com"}), UnexpectedResponseError),
        (httpx.Response(503), TransientError),
    ],
)
async def test_another_answer_is_no_part(answer: httpx.Response, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        await part(lambda _: answer, 5, 10)

    assert "s3cret" not in str(raised.value)


async def test_a_connection_that_breaks_is_transient() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut")

    with pytest.raises(TransientError):
        await part(broken, 0, 10)
