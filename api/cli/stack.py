"""The database that a command works on for a moment: of a running stack, of one that is started for it, or named."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from api.cli.environment import adopt_keys, adopt_stack
from api.cli.failures import CannotRun, say
from api.cli.migrate import bring_up_to_date
from api.cli.options import DATA
from api.cli.preflight import DATABASE_FORM, check_database, database_url
from api.embedded import embedded_stack, has_database, urls_of_running_stack
from domain.settings import settings

Result = TypeVar("Result")


def with_database(data: Path | None, work: Callable[[str], Awaitable[Result]]) -> Result:
    """What `work` makes of a database's URL.

    It is the one of the stack on `data`; without that SLUICE_DATABASE_URL's, else the one of ./.sluice if there is one.
    """
    if data is None and settings().database_url is None:
        if not has_database(DATA):
            raise CannotRun(
                f"SLUICE_DATABASE_URL is not set, and ./{DATA} has no database. Name the directory of `sluice up` with "
                f"--data DIR, or set SLUICE_DATABASE_URL to {DATABASE_FORM}."
            )
        data = DATA
    if data is None:
        url = database_url()
        asyncio.run(check_database(url))
        return asyncio.run(_done(url, work))
    running = urls_of_running_stack(data)
    if running is not None:
        adopt_keys(data)
        adopt_stack(*running)
        return asyncio.run(_done(running[0], work, migrate=True))
    say(f"No stack runs on {data}: starting it for a moment …")
    adopt_keys(data)
    with embedded_stack(data) as stack:
        adopt_stack(stack.database_url, stack.redis_url)
        return asyncio.run(_done(stack.database_url, work, migrate=True))


async def _done(url: str, work: Callable[[str], Awaitable[Result]], *, migrate: bool = False) -> Result:
    if migrate:
        await bring_up_to_date(url)
    return await work(url)
