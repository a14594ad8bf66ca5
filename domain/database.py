"""The one database: opening it, migrating it, and transactions on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias, cast

import asyncpg
from asyncpg.pgproto.pgproto import UUID
from tortoise import Tortoise
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.config_generator import expand_db_url
from tortoise.connection import get_connection, get_connections
from tortoise.exceptions import DBConnectionError
from tortoise.migrations.api.migrate import migrate as run_migrations
from uuid_utils import uuid7

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    DBConnectionError,
    OSError,
)
"""The database went away, or is coming back: nothing is wrong with what was asked."""

# Any constant will do; it only has to be ours.
MIGRATION_LOCK = 0x51_0C_E0


async def _leave_as_it_is(_: Connection) -> None:
    """Transactions leave nothing behind on a connection: all settings and locks are theirs. That saves a round trip."""


def tortoise_config(
    database_url: str, *, pool_size: int = 10, server_settings: dict[str, str] | None = None
) -> dict[str, Any]:
    """Tortoise's configuration for `database_url`."""
    connection = expand_db_url(database_url)
    connection["credentials"] |= {
        "minsize": 1,
        "maxsize": pool_size,
        "reset": _leave_as_it_is,
        "server_settings": {"application_name": "sluice", **(server_settings or {})},
    }
    return {
        "connections": {"default": connection},
        "apps": {
            "domain": {
                "models": ["domain.models"],
                "default_connection": "default",
                "migrations": "domain.migrations",
            }
        },
    }


async def open_database(
    database_url: str, *, pool_size: int = 10, server_settings: dict[str, str] | None = None
) -> None:
    """Connect the models to `database_url`, for every task of this process."""
    await Tortoise.init(
        config=tortoise_config(database_url, pool_size=pool_size, server_settings=server_settings),
        # Starlette's lifespan and arq's jobs run in tasks of their own.
        _enable_global_fallback=True,
    )


async def close_database() -> None:
    """Give the connections back."""
    await Tortoise.close_connections()


@asynccontextmanager
async def transaction() -> AsyncIterator[Connection]:
    """One transaction (a savepoint inside another), shared by SQL on the yielded connection and by the models.

    Not Tortoise's own: where that is cancelled as it begins or ends, it keeps the connection for good, and whatever
    the task does next is still inside.
    """
    connections = get_connections()
    client = connections.get("default")
    if isinstance(client, TransactionWrapper):
        outer = cast("Connection", client._connection)
        async with outer.transaction():
            yield outer
        return
    async with cast("AsyncpgDBClient", client).acquire_connection() as connection, connection.transaction():
        shared = TransactionWrapper(cast("AsyncpgDBClient", client))
        shared._connection = connection
        token = connections.set("default", shared)
        try:
            yield connection
        finally:
            connections.reset(token)


def new_id() -> UUID:
    """A UUIDv7, as what the driver gives and takes: the standard library's takes three times as long to make."""
    return UUID(uuid7().bytes)


async def fetch(query: str, *arguments: object) -> list[asyncpg.Record]:
    """Rows of one statement outside any transaction of ours."""
    async with get_connection("default").acquire_connection() as connection:
        return cast("list[asyncpg.Record]", await connection.fetch(query, *arguments))


async def now() -> datetime:
    """The database's clock, by which it compares moments: that of this machine may be minutes off."""
    return cast("datetime", (await fetch("SELECT now()"))[0]["now"])


async def migrate(database_url: str) -> None:
    """Bring the schema up to date. Concurrent calls wait for each other and find nothing left to do."""
    config = tortoise_config(database_url, pool_size=2)
    guard = await asyncpg.connect(**_asyncpg_arguments(config))
    try:
        await guard.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        await run_migrations(config=config)
        await guard.execute("SELECT sluice_prepare_outcome_days(current_date - 1, 9)")
    finally:
        await Tortoise.close_connections()
        await guard.close()


def _asyncpg_arguments(config: dict[str, Any]) -> dict[str, Any]:
    credentials = config["connections"]["default"]["credentials"]
    return {key: credentials[key] for key in ("host", "port", "user", "password", "database")}
