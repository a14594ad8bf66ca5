"""A real server over a real Redis, and a client that speaks graphql-transport-ws to it."""

import asyncio
import json
import os
import socket as socketlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from redis.asyncio import Redis
from tortoise.expressions import F
from uuid_utils.compat import uuid7
from websockets.asyncio.client import ClientConnection, connect

from api.app import create_app
from domain import account
from domain.enums import RunState
from domain.events import RunChanged
from domain.models import AutomaticImport, ImportRun
from jobs.events import RedisEvents, RedisWatch
from tests.factories import make_account, make_external_account, make_import, make_run
from tests.fakes import FakeCatalogue, RecordingQueue


@dataclass(slots=True)
class Live:
    """A server, and what the tests need to change what it tells about."""

    address: str
    token: str
    events: RedisEvents
    redis: Redis
    reader: str
    automatic_import: AutomaticImport

    async def change(self, run: ImportRun, **values: Any) -> None:
        """Change a run as a worker does: the row first, then the notice."""
        await ImportRun.filter(account_id=run.account_id, id=run.id).update(revision=F("revision") + 1, **values)
        await self.tell(run)

    async def tell(self, run: ImportRun) -> None:
        await self.events.publish(
            RunChanged(
                account_id=run.account_id,
                automatic_import_id=run.automatic_import_id,
                run_id=run.id,
                revision=run.revision,
            )
        )

    async def begin(self, state: RunState = RunState.RUNNING) -> ImportRun:
        return await make_run(self.automatic_import, state=state)

    async def lose_redis(self) -> None:
        """Cut the server's reader off from Redis."""
        [reader] = [each["id"] for each in await self.redis.client_list() if each["name"] == self.reader]
        await self.redis.client_kill_filter(_id=reader)


@asynccontextmanager
async def running_server() -> AsyncIterator[Live]:
    """A server with one automatic import to follow."""
    owner = await make_account()
    automatic_import = await make_import(await make_external_account(owner.id), name="Customers")
    url, reader = os.environ["SLUICE_TEST_REDIS_URL"], f"reader-{uuid7()}"
    async with Redis.from_url(url) as redis, Redis.from_url(url, client_name=reader) as reading:
        watch = RedisWatch(reading)
        app = create_app(catalogue=FakeCatalogue(), queue=RecordingQueue(), events=RedisEvents(redis), watch=watch)
        async with in_background(watch.run()), serving(app) as address:
            token = await account.create_token(owner.id)
            yield Live(address, token, RedisEvents(redis), redis, reader, automatic_import)


@asynccontextmanager
async def in_background(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="warning", ws="websockets-sansio")
    server = uvicorn.Server(config)
    with bind() as listener:
        running = asyncio.create_task(server._serve([listener]))
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await running


def bind() -> socketlib.socket:
    """A listening socket: connections wait in it until the server is up."""
    listener = socketlib.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@asynccontextmanager
async def socket(live: Live, payload: object = None) -> AsyncIterator[ClientConnection]:
    """A WebSocket that has introduced itself."""
    async with connect(f"ws://{live.address}/graphql", subprotocols=["graphql-transport-ws"]) as connection:  # type: ignore[list-item]
        introduction = payload if payload is not None else {"authorization": f"Bearer {live.token}"}
        await connection.send(json.dumps({"type": "connection_init", "payload": introduction}))
        assert await message(connection) == {"type": "connection_ack"}
        yield connection


async def message(connection: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await connection.recv())


async def subscribe(connection: ClientConnection, query: str, name: str = "1", **variables: str) -> None:
    payload = {"query": query, "variables": variables}
    await connection.send(json.dumps({"id": name, "type": "subscribe", "payload": payload}))


async def progress(connection: ClientConnection) -> Any:
    """The next state that is told."""
    told = await message(connection)
    assert told["type"] == "next", told
    [state] = told["payload"]["data"].values()
    return state
