"""The PostgreSQL and the Redis that everybody is measured on: durable, with the defaults of `sluice up`, migrated."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.embedded import Stack, embedded_stack
from domain import database


@contextmanager
def running_servers() -> Iterator[Stack]:
    """Both, on data that is gone afterwards."""
    directory = tempfile.mkdtemp(prefix="sluice-benchmark-")
    # The user that the servers run under has to get through.
    Path(directory).chmod(0o711)
    try:
        with embedded_stack(Path(directory) / "data") as stack:
            asyncio.run(database.migrate(stack.database_url))
            yield stack
    finally:
        shutil.rmtree(directory, ignore_errors=True)
