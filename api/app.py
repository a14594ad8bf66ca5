"""Builds the API server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any

import asyncpg
import orjson
import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tortoise.exceptions import BaseORMException

from api import oauth_callback, outcomes_csv
from api.auth import Authentication
from api.callback_url import PATH as CALLBACK
from api.errors import AWAY, UNAVAILABLE
from api.graphql import GraphQLEndpoint, Services
from api.limits import BodyLimit
from api.schema import build_schema
from connectors.registry import SERVICES
from domain import database
from domain.catalogue import Catalogue
from domain.errors import Misconfigured
from domain.events import Events, Watch
from domain.queue import Queue
from domain.settings import settings
from jobs.catalogue import ConnectorCatalogue
from jobs.events import RedisEvents, RedisWatch
from jobs.queue import ArqQueue
from jobs.worker import serialize

log = structlog.get_logger()

PROBE_SECONDS = 2.0
RETRY_SECONDS = 5
"""When to try again what the database was away for."""
TRY_AGAIN_LATER = 1013
"""The close code of a WebSocket (IANA's registry, RFC 6455, 11.7)."""

Probe = Callable[[], Awaitable[object]]
"""Raises, or takes too long, where something that we need does not answer."""
Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(
    *,
    catalogue: Catalogue,
    queue: Queue,
    events: Events,
    watch: Watch,
    probes: Mapping[str, Probe] | None = None,
    lifespan: Lifespan | None = None,
) -> Starlette:
    """The application. `probes` are asked by GET /readyz, beside PostgreSQL."""
    origins = settings().cors_origins
    services = Services(catalogue=catalogue, queue=queue, events=events, watch=watch)
    schema = build_schema(fast_executor=settings().fast_executor)
    graphql = Authentication(BodyLimit(GraphQLEndpoint(schema, services, origins=origins)))
    needed: dict[str, Probe] = {"postgresql": partial(database.fetch, "SELECT 1"), **(probes or {})}
    return Starlette(
        routes=[
            Route("/graphql", graphql),
            WebSocketRoute("/graphql", graphql),
            Route(outcomes_csv.PATH, outcomes_csv.download),
            Route(CALLBACK, partial(oauth_callback.answered, catalogue), methods=["GET", "POST"]),
            Route("/healthz", _healthz),
            Route("/readyz", partial(_readyz, needed)),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
            )
        ],
        exception_handlers=dict.fromkeys(database.UNAVAILABLE, _database_away),
        lifespan=lifespan,
    )


def build() -> Starlette:
    """The application of a server process, as the environment says: `uvicorn --factory api.app:build`."""
    configured = settings()
    if configured.database_url is None or configured.redis_url is None:
        raise Misconfigured("Set SLUICE_DATABASE_URL and SLUICE_REDIS_URL, or use `sluice up`, which brings its own.")
    pool = ConnectionPool.from_url(configured.redis_url.get_secret_value())
    redis = ArqRedis(pool, job_serializer=serialize, job_deserializer=orjson.loads)
    watch = RedisWatch(redis)
    return create_app(
        catalogue=ConnectorCatalogue(
            registered=SERVICES,
            allow_private_hosts=configured.allow_private_hosts,
            origins=configured.service_origins,
        ),
        queue=ArqQueue(redis),
        events=RedisEvents(redis),
        watch=watch,
        probes={"redis": redis.ping},
        lifespan=partial(_running, configured.database_url.get_secret_value(), redis, watch),
    )


@asynccontextmanager
async def _running(database_url: str, redis: ArqRedis, watch: RedisWatch, _: Starlette) -> AsyncIterator[None]:
    """Open the database and read events, for as long as the server runs."""
    await database.open_database(database_url, pool_size=settings().database_pool)
    reader = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
        await redis.aclose(close_connection_pool=True)
        await database.close_database()


async def _database_away(connection: HTTPConnection, error: Exception) -> Any:
    """What any request is told that did not get as far as an answer: a response, or a WebSocket's end."""
    log.warning("api.database_unavailable", error=type(error).__name__)
    if isinstance(connection, WebSocket):
        await connection.close(code=TRY_AGAIN_LATER, reason=AWAY)
        return None
    told = {"message": AWAY, "extensions": {"code": UNAVAILABLE}}
    return JSONResponse({"errors": [told]}, status_code=503, headers={"Retry-After": str(RETRY_SECONDS)})


async def _healthz(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def _readyz(needed: Mapping[str, Probe], _: Request) -> JSONResponse:
    answers = await asyncio.gather(*(_answers(name, probe) for name, probe in needed.items()))
    missing = [name for name, answered in zip(needed, answers, strict=True) if not answered]
    if missing:
        return JSONResponse({"status": "unavailable", "missing": missing}, status_code=503)
    return JSONResponse({"status": "ok"})


async def _answers(name: str, probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe()
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        BaseORMException,
        RedisError,
        OSError,
        TimeoutError,
    ) as error:
        log.warning("readyz.no_answer", of=name, error=type(error).__name__)
        return False
    return True
