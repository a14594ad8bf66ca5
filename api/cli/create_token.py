"""`sluice token create`: let a program in."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from api.cli.environment import adopt_stack
from api.cli.failures import CannotRun, say
from api.cli.migrate import bring_up_to_date
from api.cli.options import DATA
from api.cli.preflight import check_database, database_url
from api.embedded import embedded_stack, urls_of_running_stack
from domain import account, database
from domain.settings import settings


def create_token(
    account_name: Annotated[
        str, typer.Option("--account", metavar="NAME", help="The account to let in to; made where there is none.")
    ],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="What the token may do: read, write. May be given several times; without it, all."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help=f"Use the stack that `sluice up --data DIR` keeps there, running or not. Without it: "
            f"SLUICE_DATABASE_URL, else ./{DATA} if there is one.",
        ),
    ] = None,
) -> None:
    """Make a token, and print it, alone, on standard output. It cannot be shown again."""
    if not account_name.strip():
        raise CannotRun("The account needs a name: --account NAME.")
    if data is None and settings().database_url is None and (DATA.is_dir() or urls_of_running_stack(DATA)):
        data = DATA
    if data is None:
        url = database_url()
        asyncio.run(check_database(url))
        token = asyncio.run(make_token(url, account_name, scope or []))
    else:
        token = _with_stack(data, account_name, scope or [])
    typer.echo(token)


async def make_token(url: str, account_name: str, scopes: Sequence[str]) -> str:
    """A token of the account, which is made where there is none."""
    await database.open_database(url, pool_size=2)
    try:
        found = await account.find_or_create_account(account_name.strip())
        return await account.create_token(found.id, scopes=scopes)
    finally:
        await database.close_database()


def _with_stack(data: Path, account_name: str, scopes: Sequence[str]) -> str:
    running = urls_of_running_stack(data)
    if running is not None:
        adopt_stack(*running, data)
        return asyncio.run(_migrated_token(running[0], account_name, scopes))
    say(f"No stack runs on {data}: starting it for a moment …")
    with embedded_stack(data) as stack:
        adopt_stack(stack.database_url, stack.redis_url, data)
        return asyncio.run(_migrated_token(stack.database_url, account_name, scopes))


async def _migrated_token(url: str, account_name: str, scopes: Sequence[str]) -> str:
    await bring_up_to_date(url)
    return await make_token(url, account_name, scopes)
