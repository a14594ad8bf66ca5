"""One migrated template database per session, and a copy of it for each test that wants one."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from domain import database, migrations

TEMPLATE = "sluice_test_template"
MIGRATIONS = sorted(path.stem for path in Path(migrations.__file__).parent.glob("0*.py"))
"""The names of all migrations, in their order."""
EMPTY = """
DELETE FROM outcome;
DELETE FROM automatic_import;
DELETE FROM account;
UPDATE plan_tier SET contact_limit = split_part(key, '-', 2)::integer;
"""
"""Everything else goes with its account."""

_made: set[str] = set()


def server_url() -> str:
    """The PostgreSQL that the session runs on."""
    return os.environ["SLUICE_TEST_DATABASE_URL"]


def url_of(name: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(server_url())._replace(path=f"/{name}"))


async def make_template() -> None:
    """Migrate an empty database, once; every test starts from a copy."""
    await _maintain(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)", f"CREATE DATABASE {TEMPLATE}")
    await database.migrate(url_of(TEMPLATE))


@asynccontextmanager
async def fresh_database() -> AsyncIterator[str]:
    """The URL of a migrated, empty database of one's own."""
    name = f"sluice_test_{uuid4().hex}"
    # Half the time of the default, for a database as small as this; PostgreSQL 14 knows no other way.
    await _maintain(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}", since_15=" STRATEGY FILE_COPY")
    try:
        yield url_of(name)
    finally:
        await _maintain(f"DROP DATABASE {name} WITH (FORCE)")


async def emptied_database() -> str:
    """The URL of this process's database, without a row of the tests before: a third of the time of a fresh one."""
    name = f"sluice_test_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    if name not in _made:
        await _maintain(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await _maintain(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}", since_15=" STRATEGY FILE_COPY")
        _made.add(name)
        return url_of(name)
    connection = await asyncpg.connect(url_of(name))
    try:
        await connection.execute(EMPTY)
    finally:
        await connection.close()
    return url_of(name)


async def lose_database() -> None:
    """From now on this process finds no PostgreSQL where it looks for it."""
    await database.close_database()
    await database.open_database("postgres://sluice:secret@127.0.0.1:1/gone")


async def somebody_waits() -> None:
    """Until a transaction of this test waits for a lock that another holds."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await database.fetch(waiting):
        await database.fetch("SELECT pg_sleep(0.01)")


async def _maintain(*statements: str, since_15: str = "") -> None:
    connection = await asyncpg.connect(server_url())
    ending = since_15 if connection.get_server_version().major >= 15 else ""
    try:
        for statement in statements:
            await connection.execute(statement + ending)
    finally:
        await connection.close()
