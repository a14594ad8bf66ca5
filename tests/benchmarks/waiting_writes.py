"""How long an API write waits behind the pages of an import of the same account.

`uv run --group benchmark python -m tests.benchmarks.waiting_writes [CONTACTS]`. Contacts are created one after the
other through `domain.contacts`, as the mutation does: first while nothing else happens, then while another process
imports into the same account. Each creation holds the account's row, as does every page with new contacts.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from rich.console import Console
from rich.table import Table

from domain import contacts, database
from domain.account import Viewer, find_or_create_account
from domain.contacts import Given
from tests.benchmarks.servers import running_servers
from tests.benchmarks.sluice_import import SETTINGS
from tests.benchmarks.source import running_source
from tests.fakes import RecordingQueue

ALONE = 300
"""Writes without an import beside them."""


async def _write(viewer: Viewer, number: int) -> float:
    clock = time.perf_counter()
    await contacts.create(viewer, Given(email=f"api{number}@example.com"), queue=RecordingQueue())
    return time.perf_counter() - clock


async def _writes(viewer: Viewer, first: int, *, until: Callable[[int], bool]) -> list[float]:
    seconds: list[float] = []
    while not until(len(seconds)):
        seconds.append(await _write(viewer, first + len(seconds)))
    return seconds


async def _measure(database_url: str, url: str) -> tuple[list[float], list[float]]:
    await database.open_database(database_url)
    account = await find_or_create_account("Benchmark")
    viewer = Viewer(account_id=UUID(str(account.id)), token_id=uuid4(), scopes=frozenset())
    alone = await _writes(viewer, 0, until=lambda done: done == ALONE)
    importing = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.sluice_import", database_url, url, stdout=asyncio.subprocess.DEVNULL
    )
    await _until_there_is("SELECT FROM ledger LIMIT 1")
    finished = asyncio.create_task(_until_there_is("SELECT FROM import_run WHERE state = 'COMPLETED' LIMIT 1"))
    beside = await _writes(viewer, ALONE, until=lambda _: finished.done())
    importing.terminate()
    await importing.wait()
    await database.close_database()
    return alone, beside


async def _until_there_is(query: str) -> None:
    while not await database.fetch(query):  # noqa: ASYNC110  another process makes it
        await asyncio.sleep(0.05)


def _row(name: str, seconds: Sequence[float]) -> list[str]:
    ordered = sorted(seconds)
    figures = [ordered[int(len(ordered) * part)] for part in (0.5, 0.99)] + [ordered[-1]]
    return [name, str(len(ordered)), *(f"{1000 * figure:.1f} ms" for figure in figures)]


def main(number: int) -> None:
    """Print the table."""
    os.environ.update(SETTINGS)
    with running_servers() as stack, running_source(number) as url:
        alone, beside = asyncio.run(_measure(stack.database_url, url))
    table = Table("API writes", "number", "p50", "p99", "longest")
    table.add_row(*_row("nothing beside them", alone))
    table.add_row(*_row("behind a first import's pages", beside))
    Console().print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
