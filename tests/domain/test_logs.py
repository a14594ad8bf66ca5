"""What is written, and in how many lines."""

import json
import subprocess
import sys

AWAY = """
import logging
from domain.logs import configure_logging
configure_logging()
for name in ("asyncpg.pool", "ours"):
    try:
        raise ConnectionRefusedError("nobody there")
    except OSError:
        logging.getLogger(name).warning("retrying", exc_info=True)
"""


def test_a_pool_that_finds_no_database_says_so_without_tracebacks() -> None:
    ran = subprocess.run([sys.executable, "-c", AWAY], capture_output=True, text=True, check=True)

    of_pool, ours = (json.loads(line) for line in ran.stderr.splitlines())
    assert {name: value for name, value in of_pool.items() if name != "timestamp"} == {
        "event": "retrying",
        "level": "warning",
    }
    assert ours["exception"].endswith("ConnectionRefusedError: nobody there")
