"""What the simulators of vendors' APIs have in common: how the shared suite drives them, their traffic and faults."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_ID = "sluice-client"
CLIENT_SECRET = "s3cret-of-the-client"
"""The only registration that a simulator with OAuth knows."""


def name_of(email: str | None) -> tuple[str, str]:
    """First and last name of somebody with this address: Ann, Brontë 7 of ann.brontë.7@example.com."""
    first, *rest = re.split(r"[._-]", (email or "nobody").partition("@")[0])
    return first.capitalize(), " ".join(part.capitalize() for part in rest) or "Example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request as it arrived and the answer it got. `url` is whole, with the origin that was meant."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer: bytes
    answer_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An answer that is given instead of the right one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Traffic:
    """ASGI around a simulator's application: keeps every exchange; gives the `faults` as answers, one each, first.

    `meanwhile` is called before each request is answered: what happens at the service while it is read. `replays`:
    every request gets the answer again that was given last where its method and path are the same. `forgets` all but
    the last exchange: a simulator that runs for days.
    """

    app: ASGIApp
    exchanges: list[Exchange] = field(default_factory=list)
    faults: deque[Fault | None] = field(default_factory=deque)
    """None lets one request pass unharmed."""
    meanwhile: Callable[[], None] | None = None
    replays: bool = False
    forgets: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        if self.meanwhile is not None:
            self.meanwhile()
        status, answer = 0, b""
        answer_headers: dict[str, str] = {}

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            nonlocal status, answer
            if message["type"] == "http.response.start":
                status = message["status"]
                answer_headers.update(_text(message.get("headers", ())))
            else:
                answer += message.get("body", b"")
            await send(message)

        fault = self.faults.popleft() if self.faults else self._given_before(scope)
        await (self.app(scope, again, keep) if fault is None else _give(fault, keep))
        headers = _text(scope["headers"])
        if self.forgets:
            self.exchanges.clear()
        self.exchanges.append(
            Exchange(
                method=scope["method"],
                url=httpx.URL(
                    f"https://{headers['host']}{scope['path']}", params=scope["query_string"].decode("latin-1")
                ),
                headers=headers,
                body=body,
                status=status,
                answer=answer,
                answer_headers=answer_headers,
            )
        )

    def _given_before(self, scope: Scope) -> Fault | None:
        place = (scope["method"], scope["path"])
        given = [each for each in reversed(self.exchanges) if self.replays and (each.method, each.url.path) == place]
        return Fault(status=given[0].status, body=given[0].answer, headers=given[0].answer_headers) if given else None


def _text(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _give(fault: Fault, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": fault.body})


class Simulator(Protocol):
    """One vendor's API with state. Each is made with a number of people, `person-0@example.com` and so on.

    `origins` are the origins it stands for. `credentials` and `criteria` are valid for it, as they are stored; every
    secret among them is in `secrets`. `page_size` is the most records of a listing's page, whatever was asked for.
    """

    service: str
    origins: Sequence[str]
    traffic: Traffic
    credentials: Mapping[str, Any]
    criteria: Mapping[str, Any]
    secrets: Sequence[str]
    page_size: int

    def add(self, email: str | None) -> str:
        """Somebody new who matches the criteria. Returns the external id that the connector must give them."""

    def change(self, external_id: str) -> None:
        """Change something that the connector reads of somebody."""

    def remove(self, external_id: str) -> None:
        """Delete somebody."""

    def matching(self) -> dict[str, str | None]:
        """The address of everybody whom a complete reading must bring now, by external id."""

    def expire_checkpoints(self) -> None:
        """Forget every cursor and token given out, where the vendor does; else do nothing."""

    def revoke(self) -> None:
        """Accept the credentials no more."""


def open_simulated(*simulators: Simulator) -> httpx.AsyncClient:
    """A client for which these simulators are the only hosts there are."""
    mounts = {
        origin: httpx.ASGITransport(simulator.traffic) for simulator in simulators for origin in simulator.origins
    }
    return httpx.AsyncClient(transport=httpx.MockTransport(_nowhere), mounts=mounts, follow_redirects=False)


def _nowhere(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError(f"no simulator stands for {request.url.host}", request=request)
