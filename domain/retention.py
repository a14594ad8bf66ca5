"""What is kept for how long (R18): outcomes by dropped partitions, and what was finished as long ago, by rows."""

import asyncio
import time
from datetime import timedelta

import asyncpg
import structlog

from domain import database
from domain.settings import settings

log = structlog.get_logger()

DAYS_AHEAD = 8
CHUNK = 1000
"""Rows per transaction."""
LOCK_TIMEOUT = timedelta(milliseconds=200)
"""Dropping a partition, or making one, needs the whole table for a moment, and whoever comes while we wait for it
waits behind us. So we give up soon, and try again."""
ATTEMPTS = 5
PAUSE = timedelta(seconds=1)
"""Between two attempts, in which everybody else goes on."""
BUDGET = timedelta(seconds=25)
"""What is left is done an hour later."""

# DETACH … CONCURRENTLY would not lock, but PostgreSQL refuses it beside a default partition.
OLD_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'outcome'::regclass AND c.relname ~ '^outcome_[0-9]{8}$'
    AND to_date(right(c.relname, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - $1::integer
ORDER BY c.relname
"""

FORGOTTEN = {
    "outcome_default": "day < (now() AT TIME ZONE 'UTC')::date - $1::integer",
    "background_task": "finished_at < now() - $1::integer * interval '1 day'",
    "service_authorization": "created_at < now() - $1::integer * interval '1 day'",
    "import_preview": "created_at < now() - $1::integer * interval '1 day'",
    "undone_record": "(account_id, undo_id) IN (SELECT account_id, id FROM import_undo"
    " WHERE created_at < now() - $1::integer * interval '1 day')",
    "import_undo": "created_at < now() - $1::integer * interval '1 day'",
}
"""Which rows of which table go, by the number of days: first those that would go with another, all at once."""


async def prepare_outcome_days() -> None:
    """Make the partitions of the next days. A day that nobody prepared falls into the default partition."""
    await _unless_in_the_way("SELECT sluice_prepare_outcome_days(current_date, $1)", DAYS_AHEAD)


async def forget() -> None:
    """Forget what is older than SLUICE_OUTCOME_DAYS, as far as time and others' locks allow."""
    deadline = time.monotonic() + BUDGET.total_seconds()
    days = settings().outcome_days
    for row in await database.fetch(OLD_PARTITIONS, days):
        if time.monotonic() < deadline:
            await _unless_in_the_way(f"DROP TABLE IF EXISTS {row['relname']}")
    for table, condition in FORGOTTEN.items():
        while time.monotonic() < deadline and await _delete(table, condition, days) == CHUNK:
            pass


async def _unless_in_the_way(statement: str, *arguments: object) -> None:
    """Do what locks a table as a whole; not at all where, whenever we try, others are using it."""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE.total_seconds())
        try:
            async with database.transaction() as connection:
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT // timedelta(milliseconds=1)}")
                await connection.execute(statement, *arguments)
        except asyncpg.LockNotAvailableError:
            continue
        return
    log.warning("retention.in_the_way", statement=statement)


async def _delete(table: str, condition: str, days: int) -> int:
    rows = await database.fetch(
        f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT {CHUNK}))"
        " RETURNING 1",
        days,
    )
    return len(rows)
