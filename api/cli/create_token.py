"""`sluice token create`: let a program in."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from api.cli.failures import CannotRun
from api.cli.options import DATA
from api.cli.stack import with_database
from domain import account, database


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
    typer.echo(with_database(data, partial(make_token, account_name=account_name, scopes=scope or [])))


async def make_token(url: str, account_name: str, scopes: Sequence[str]) -> str:
    """A token of the account, which is made where there is none."""
    await database.open_database(url, pool_size=2)
    try:
        found = await account.find_or_create_account(account_name.strip())
        return await account.create_token(found.id, scopes=scopes)
    finally:
        await database.close_database()
