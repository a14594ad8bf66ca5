"""`sluice keys`: the keys that encrypt what is stored of services."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.failures import CannotRun, say
from api.cli.stack import with_database
from api.embedded import has_database
from domain import database, key_rotation
from domain.credentials import key_ring, new_key
from domain.key_rotation import Rotated

MOST_ROUNDS = 5
"""What others write with an old key meanwhile is looked at again so often."""


def new() -> None:
    """Print a fresh entry for SLUICE_SECRET_KEYS, alone, on standard output. It is stored nowhere."""
    typer.echo(new_key())


def rotate(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Use the stack that `sluice up --data DIR` keeps there, running or not. Without it: "
            "SLUICE_DATABASE_URL, else ./.sluice if there is one.",
        ),
    ] = None,
) -> None:
    """Encrypt every stored secret with the first key of SLUICE_SECRET_KEYS, so that the others can be taken away.

    Safe beside a running server and workers, and to be run again when it was interrupted.
    """
    if data is not None and not has_database(data):
        raise CannotRun(f"{data} has no database. Name with --data the directory that `sluice up` keeps its data in.")
    rotated, left = with_database(data, _rotate)
    first = next(iter(key_ring().keys))
    for reason in sorted(set(rotated.unreadable.values())):
        say(reason)
    say(f"Encrypted {rotated.count} {'secret' if rotated.count == 1 else 'secrets'} with {first}.")
    if left:
        raise CannotRun(
            f"{left} {'is' if left == 1 else 'are'} not under {first}. See to it that every process has it first in "
            "SLUICE_SECRET_KEYS, and run this again. Take no key away before."
        )
    say(f"All are under {first} now: the other keys can be taken out of SLUICE_SECRET_KEYS.")


async def _rotate(url: str) -> tuple[Rotated, int]:
    await database.open_database(url, pool_size=2)
    total = Rotated()
    try:
        for _ in range(MOST_ROUNDS):
            rotated = await key_rotation.rotate()
            total = Rotated(count=total.count + rotated.count, unreadable=rotated.unreadable)
            left = await key_rotation.left_behind()
            if left == len(rotated.unreadable):
                break
        return total, left
    finally:
        await database.close_database()
