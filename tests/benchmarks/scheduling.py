"""Scheduling at scale: claims a second with very many external accounts due, and a tick that finds nothing due.

`uv run --group benchmark python -m tests.benchmarks.scheduling [EXTERNAL_ACCOUNTS]`. The claims are those of
`domain.cycle.claim_due`, in the batches of a tick; the tick is that of `jobs.cycle` with a real Redis, while all the
external accounts wait for their next window.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.table import Table

from domain import cycle, database
from jobs.cycle import BATCH, Context, tick
from jobs.worker import open_queue
from tests.benchmarks.servers import running_servers
from tests.benchmarks.sluice_import import SETTINGS

ACCOUNTS = 1000
BATCHES = 300
TICKS = 300

MAKE = f"""
WITH made AS (
    INSERT INTO account (id, name, plan_tier_key, email_hash_key, active_contacts, auto_upgrade, created_at)
    SELECT gen_random_uuid(), 'Account ' || n, 'contacts-1000', '', 0, false, now()
    FROM generate_series(1, {ACCOUNTS}) n RETURNING id
)
INSERT INTO external_account (account_id, id, service, remote_identity, label, health, next_cycle_at, window_used,
    transient_failures, created_at)
SELECT made.id, gen_random_uuid(), 'benchmark', n::text, 'Benchmark', 'HEALTHY', now() - random() * interval '30 min',
    0, 0, now()
FROM made, generate_series(1, $1::bigint / {ACCOUNTS}) n
"""


async def _seconds(times: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    seconds = []
    for _ in range(times):
        clock = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - clock)
    return sorted(seconds)


async def _measure(database_url: str, external_accounts: int) -> tuple[list[float], list[float]]:
    await database.open_database(database_url, server_settings={"plan_cache_mode": "force_custom_plan"})
    await database.fetch(MAKE, external_accounts)
    claims = await _seconds(BATCHES, lambda: cycle.claim_due(BATCH))
    await database.fetch(
        "UPDATE external_account SET lease_token = NULL, lease_expires_at = NULL,"
        " next_cycle_at = now() + interval '1 minute' + random() * interval '29 min'"
    )
    # As autovacuum leaves it: a million rows changed at once are no steady state.
    await database.fetch("VACUUM ANALYZE external_account")
    redis = await open_queue()
    ticks = await _seconds(TICKS, lambda: tick(Context(redis=redis)))
    await redis.aclose()
    await database.close_database()
    return claims, ticks


def main(external_accounts: int) -> None:
    """Print the table."""
    with running_servers() as stack:
        os.environ.update(SETTINGS | {"SLUICE_REDIS_URL": stack.redis_url})
        claims, ticks = asyncio.run(_measure(stack.database_url, external_accounts))
    table = Table("scheduling", "figure")
    table.add_row(f"claims a second, {external_accounts:,} due", f"{BATCHES * BATCH / sum(claims):,.0f}")
    table.add_row(
        f"a batch of {BATCH}: median, longest", f"{1000 * claims[BATCHES // 2]:.1f} ms, {1000 * claims[-1]:.1f} ms"
    )
    table.add_row("a tick with nothing due: median", f"{1000 * ticks[TICKS // 2]:.2f} ms")
    table.add_row("a tick with nothing due: p99", f"{1000 * ticks[int(TICKS * 0.99)]:.2f} ms")
    Console().print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
