"""The database that a command works on for a moment: of a running stack, of one that is started for it, or named."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from api.cli.environment import adopt_stack
from api.cli.failures import say
from api.cli.migrate import bring_up_to_date
from api.cli.options import DATA
from api.cli.preflight import check_database, database_url
from api.embedded import embedded_stack, urls_of_running_stack
from domain.settings import settings

Result = TypeVar("Result")


def with_database(data: Path | None, work: Callable[[str], Awaitable[Result]]) -> Result:
    """What `work` makes of a database's URL.

    It is the one of the stack on `data`; without that SLUICE_DATABASE_URL's, else the one of ./.sluice if there is one.
    """
    if data is None and settings().database_url is None and (DATA.is_dir() or urls_of_running_stack(DATA)):
        data = DATA
    if data is None:
        url = database_url()
        asyncio.run(check_database(url))
        return asyncio.run(_done(url, work))
    running = urls_of_running_stack(data)
    if running is not None:
        adopt_stack(*running, data)
        return asyncio.run(_done(running[0], work, migrate=True))
    say(f"No stack runs on {data}: starting it for a moment …")
    with embedded_stack(data) as stack:
        adopt_stack(stack.database_url, stack.redis_url, data)
        return asyncio.run(_done(stack.database_url, work, migrate=True))


async def _done(url: str, work: Callable[[str], Awaitable[Result]], *, migrate: bool = False) -> Result:
    if migrate:
        await bring_up_to_date(url)
    return await work(url)
