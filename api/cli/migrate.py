"""`sluice migrate`: the database's schema."""

import asyncio

import asyncpg
from tortoise.exceptions import OperationalError

from api.cli.failures import CannotRun, say
from api.cli.preflight import database_url, missing_migrations
from domain import database


def migrate() -> None:
    """Bring the database at SLUICE_DATABASE_URL up to date.

    Safe to run at any time, by several at once; API and workers want it done before they start.
    """
    missing = asyncio.run(bring_up_to_date(database_url()))
    say(f"Applied {', '.join(missing)}." if missing else "The database is up to date.")


async def bring_up_to_date(url: str) -> list[str]:
    """Apply what is missing; the names of what was. Raises CannotRun."""
    missing = await missing_migrations(url)
    try:
        await database.migrate(url)
    except (asyncpg.PostgresError, OperationalError) as error:
        raise CannotRun(f"PostgreSQL refused to migrate: {error}.") from error
    return list(missing)
