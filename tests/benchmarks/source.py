"""The service that every contestant reads: contacts as JSON pages over loopback HTTP, made before anyone asks.

`GET /contacts?page=N` is a page of 500 with a link to the next one, `GET /contacts?since=T` what changed after T. The
pages are bytes when the first request comes in, and the server is a process of its own: it must not be the bottleneck.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
from pydantic import BaseModel

from connectors.base import Checkpoint, Page, RemoteAccount, Service, ServiceCategory
from connectors.http import request
from domain.records import FieldSpec, FieldType, Record

PAGE = 500
CHANGED_AT = "2026-01-01T00:00:00Z"
CHANGES = f"/contacts?since={CHANGED_AT}"
FIELDS = {
    "city": FieldSpec(key="city", title="City", type=FieldType.TEXT),
    "orders": FieldSpec(key="orders", title="Orders", type=FieldType.NUMBER),
    "total_spent": FieldSpec(key="total_spent", title="Total spent", type=FieldType.NUMBER),
}


def contact(number: int) -> dict[str, Any]:
    """The contact of that number, as the service tells it."""
    return {
        "id": f"c-{number:07}",
        "email": f"First.Last{number}@shop{number % 300}.example-mail.com",
        "first_name": f"First{number}",
        "last_name": f"Last{number % 5000}",
        "phone": f"+4670{number:07}",
        "city": f"City {number % 500}",
        "orders": number % 40,
        "total_spent": number % 9000 / 4,
        "updated_at": CHANGED_AT,
    }


def record_of(row: dict[str, Any]) -> Record:
    """A contact of the service as the engine's record."""
    return Record(
        external_id=row["id"],
        email=row["email"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        phone=row["phone"],
        values={"city": row["city"], "orders": row["orders"], "total_spent": row["total_spent"]},
    )


def _pages(contacts: int) -> list[bytes]:
    pages = []
    for start in range(0, contacts, PAGE):
        end = min(start + PAGE, contacts)
        link = f"/contacts?page={end // PAGE}" if end < contacts else None
        pages.append(orjson.dumps({"contacts": [contact(number) for number in range(start, end)], "next": link}))
    return pages


class _Server(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, GET only: as little work as there can be."""

    def __init__(self, pages: Sequence[bytes]) -> None:
        self._pages = pages
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            target = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
            if target.get("since", [""])[0] >= CHANGED_AT:
                body = b'{"contacts":[],"next":null}'
            else:
                body = self._pages[int(target.get("page", ["0"])[0])]
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )


async def _serve(contacts: int) -> None:
    pages = _pages(contacts)
    server = await asyncio.get_running_loop().create_server(lambda: _Server(pages), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running_source(contacts: int) -> Iterator[str]:
    """The base URL of a server with that many contacts."""
    command = [sys.executable, "-m", "tests.benchmarks.source", str(contacts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


class Credentials(BaseModel):
    """Where the service is."""

    url: str


class Criteria(BaseModel):
    """`incremental`: the service is asked what changed; else every cycle reads everything (a sweep)."""

    incremental: bool = False


@dataclass(frozen=True, slots=True)
class BenchmarkConnector:
    """As small as a real one."""

    client: httpx.AsyncClient
    url: str
    incremental: bool

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Everything, or what changed since the checkpoint."""
        link = (checkpoint or {}).get("next", "/contacts?page=0")
        while link:
            body = orjson.loads((await request(self.client, "GET", self.url + link)).content)
            link = body["next"]
            rows = body["contacts"]
            yield Page(
                records=[record_of(row) for row in rows],
                fields=FIELDS,
                checkpoint={"next": link or (CHANGES if self.incremental else "/contacts?page=0")},
                complete=link is None and not self.incremental,
            )


async def _identify(_: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
    return RemoteAccount(identity=credentials.url, label="Benchmark")


async def _choices(_: httpx.AsyncClient, __: Credentials, ___: str) -> Sequence[Any]:
    return ()


SERVICE = Service(
    key="benchmark",
    name="Benchmark",
    category=ServiceCategory.E_COMMERCE,
    documentation_url="https://example.com",
    credentials=Credentials,
    form=Credentials,
    criteria=Criteria,
    fields=tuple(FIELDS.values()),
    connect=lambda client, credentials, criteria: BenchmarkConnector(client, credentials.url, criteria.incremental),
    identify=_identify,
    choices=_choices,
)

if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
