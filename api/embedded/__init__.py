"""A real PostgreSQL and a real Redis on this machine, from wheels or from PATH, for their user alone.

Both listen on Unix sockets in a private directory, never on TCP, and end when this process ends, however it ends.
For Linux and macOS.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api.embedded import postgres, redis
from api.embedded.lock import holder, locked
from api.embedded.placement import has_database, place, socket_directory
from api.embedded.process import EmbeddedError, Server

__all__ = [
    "EmbeddedError",
    "Server",
    "Stack",
    "embedded_stack",
    "has_database",
    "temporary_stack",
    "urls_of_running_stack",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The running servers. `notice` is what the user should be told about them, if anything."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    data: Path
    notice: str | None
    postgres: Server | None = field(repr=False)  # None: not ours
    redis: Server | None = field(repr=False)


@contextmanager
def embedded_stack(
    data: Path, *, durable: bool = True, database_url: str | None = None, redis_url: str | None = None
) -> Iterator[Stack]:
    """Run both servers on the data in `data`, which is made where there is none, until the block ends.

    With `durable` False a crash of the machine may lose everything: faster, for tests and demonstrations.
    The server whose URL is given is there already: it is not started. Raises EmbeddedError, whose message says
    what to do.
    """
    where = place(data)
    with socket_directory(where.user) as sockets, locked(where.data, sockets) as lock, ExitStack() as stack:
        database = None if database_url else postgres.prepare(where, sockets, lock, durable=durable)
        queue = None if redis_url else redis.prepare(where, sockets, lock, durable=durable)
        servers = [server for server in (database, queue) if server]
        for server in servers:
            stack.callback(server.stop)
            server.launch()
        for server in servers:
            server.wait_until_ready()
        yield Stack(
            database_url=database_url or postgres.url(where.data, sockets),
            redis_url=redis_url or redis.url(sockets),
            data=where.data,
            notice=where.notice,
            postgres=database,
            redis=queue,
        )


@contextmanager
def temporary_stack(*, database_url: str | None = None, redis_url: str | None = None) -> Iterator[Stack]:
    """Run both servers as `embedded_stack` does, not durable, on data that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sluice-data-") as directory:
        # Only its owner may enter a temporary directory, which would lock out root's unprivileged user.
        Path(directory).chmod(0o711)
        data = Path(directory) / "data"
        try:
            with embedded_stack(data, durable=False, database_url=database_url, redis_url=redis_url) as stack:
                data = stack.data
                yield stack
        finally:
            shutil.rmtree(data, ignore_errors=True)


def urls_of_running_stack(data: Path) -> tuple[str, str] | None:
    """The URLs of PostgreSQL and Redis of the stack that another process runs on `data`; None where none does."""
    where = place(data)
    running = holder(where.data)
    if running is None:
        return None
    _, sockets = running
    return postgres.url(where.data, sockets), redis.url(sockets)
