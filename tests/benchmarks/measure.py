"""What a run cost: seconds by the clock, CPU of this process, and CPU of the PostgreSQL that it ran on.

On a machine with other work the clock says little; the CPU of both sides together is the steadier figure. PostgreSQL's
comes from /proc, so it must run on this machine, which must be Linux.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

Cost = dict[str, float]
"""`seconds`, `cpu`, `database_cpu`."""

TICKS = os.sysconf("SC_CLK_TCK")


async def _server_pid(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    backend: int = await connection.fetchval("SELECT pg_backend_pid()")
    server = int(_stat(backend)[1])
    await connection.close()
    return server


def _stat(pid: int) -> list[str]:
    # The name in parentheses may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _server_cpu(server: int) -> float:
    """Of the server and all its processes, those that have ended too."""
    ticks = sum(int(each) for each in _stat(server)[11:15])
    for pid in Path("/proc").glob("[0-9]*"):
        try:
            stat = _stat(int(pid.name))
        except OSError:
            continue
        if int(stat[1]) == server:
            ticks += int(stat[11]) + int(stat[12])
    return ticks / TICKS


class Meter:
    """Measures what runs on one PostgreSQL."""

    def __init__(self, database_url: str) -> None:
        self._server = asyncio.run(_server_pid(database_url))

    @contextmanager
    def measuring(self) -> Iterator[Cost]:
        """The cost is there when the block has ended."""
        cost: Cost = {}
        # Reading /proc takes as long as a cycle that finds nothing: it is done outside.
        database_cpu = _server_cpu(self._server)
        clock, cpu = time.perf_counter(), time.process_time()
        yield cost
        cost["seconds"] = time.perf_counter() - clock
        cost["cpu"] = time.process_time() - cpu
        cost["database_cpu"] = _server_cpu(self._server) - database_cpu

    async def measured(self, work: Callable[[], Awaitable[object]]) -> Cost:
        """What `work` cost."""
        with self.measuring() as cost:
            await work()
        return cost
