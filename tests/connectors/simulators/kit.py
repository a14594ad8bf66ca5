"""What the simulators of vendors' APIs have in common: how the shared suite drives them, their traffic and faults."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request as it arrived and the answer it got. `url` is whole, with the origin that was meant."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An answer that is given instead of the right one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Traffic:
    """ASGI around a simulator's application: keeps every exchange; gives the `faults` as answers, one each, first."""

    app: ASGIApp
    exchanges: list[Exchange] = field(default_factory=list)
    faults: deque[Fault | None] = field(default_factory=deque)
    """None lets one request pass unharmed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        status, answer = 0, b""

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            nonlocal status, answer
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                answer += message.get("body", b"")
            await send(message)

        fault = self.faults.popleft() if self.faults else None
        await (self.app(scope, again, keep) if fault is None else _give(fault, keep))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
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
            )
        )


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
