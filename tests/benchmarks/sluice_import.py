"""Sluice's side: whole cycles as a worker runs them. A process of its own, it prints JSON.

`python -m tests.benchmarks.sluice_import DATABASE_URL SOURCE_URL`. The cap and the contact limit are out of
the way; everything else is as in production, in one process with one asyncio loop: claim, lease, HTTP through the
shared client, one transaction a page with its outcomes, counts and checkpoint, events recorded instead of sent.
"""

import asyncio
import json
import os
import resource
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import orjson

from connectors.http_client import open_client
from domain import cycle, database, import_runs
from domain.account import find_or_create_account
from domain.credentials import key_ring, new_key
from domain.enums import RunTrigger
from domain.events import ImportChanged, RunChanged
from domain.models import AutomaticImport, ExternalAccount
from jobs.reactions import Context
from jobs.sync_external_account import sync_external_account
from jobs.worker import collect_rarely
from tests.benchmarks.measure import Cost, Meter
from tests.benchmarks.source import SERVICE
from tests.fakes import RecordingQueue

SETTINGS = {"SLUICE_CAP": "1000000000", "SLUICE_NEW_ACCOUNT_PLAN": "contacts-1000000", "SLUICE_SECRET_KEYS": new_key()}
IDLE_CYCLES = 100


@dataclass(slots=True)
class RecordedEvents:
    """How many there were."""

    published: int = 0

    async def publish(self, event: RunChanged | ImportChanged) -> None:
        """Count it."""
        self.published += 1


def context() -> Context:
    """What a worker hands to its jobs."""
    return Context(
        services={SERVICE.key: SERVICE},
        open_client=partial(open_client, allow_private_hosts=True),
        events=RecordedEvents(),
        queue=RecordingQueue(),
    )


async def make_import(url: str, *, account_name: str = "Benchmark", incremental: bool = False) -> UUID:
    """An external account that is due, with one automatic import. Returns the account's id."""
    account = await find_or_create_account(account_name)
    external_account_id = uuid4()
    await ExternalAccount.create(
        id=external_account_id,
        account_id=account.id,
        service=SERVICE.key,
        remote_identity=str(external_account_id),
        label="Benchmark",
        credentials=key_ring().seal(orjson.dumps({"url": url}), row=external_account_id),
        next_cycle_at=datetime.now(UTC),
    )
    created = await AutomaticImport.create(
        account_id=account.id,
        external_account_id=external_account_id,
        name="Benchmark",
        criteria={"incremental": incremental},
    )
    async with database.transaction() as connection:
        await import_runs.queue(
            connection, account_id=account.id, automatic_import_id=created.id, trigger=RunTrigger.CREATED
        )
    return account.id


async def next_window() -> None:
    """The half hour is over."""
    await database.fetch("UPDATE automatic_import SET served_window_ends_at = now() - interval '1 second'")
    await database.fetch(
        "UPDATE external_account SET window_ends_at = now() - interval '1 second', next_cycle_at = now()"
    )


async def run_cycles(ctx: Context) -> None:
    """Serve what is due until nothing is: a cycle hands over to the next after some seconds."""
    while claims := await cycle.claim_due(10):
        for claim in claims:
            await sync_external_account(
                ctx, str(claim.account_id), str(claim.external_account_id), str(claim.lease_token)
            )


async def _idle(ctx: Context, meter: Meter) -> Cost:
    """One cycle that finds nothing: of the clock the median, of the CPU the mean, which it counts coarsely."""
    runs = []
    for _ in range(IDLE_CYCLES):
        await next_window()
        runs.append(await meter.measured(lambda: run_cycles(ctx)))
    mean = {key: sum(run[key] for run in runs) / IDLE_CYCLES for key in runs[0]}
    return mean | {"seconds": sorted(run["seconds"] for run in runs)[IDLE_CYCLES // 2]}


async def main(meter: Meter, database_url: str, url: str) -> None:
    """Everything, everything again, and cycles that find nothing; print the figures."""
    await database.open_database(database_url, server_settings={"plan_cache_mode": "force_custom_plan"})
    ctx = context()
    figures: dict[str, Any] = {}
    account_id = await make_import(url)
    figures["first"] = await meter.measured(lambda: run_cycles(ctx))
    await next_window()
    figures["again"] = await meter.measured(lambda: run_cycles(ctx))
    counted = await database.fetch("SELECT count(*) FROM contact WHERE account_id = $1", account_id)
    runs = await database.fetch("SELECT created_count, unchanged_count FROM import_run ORDER BY id")
    # Only the incremental import is due from here on.
    await database.fetch("DELETE FROM automatic_import")
    await database.fetch("DELETE FROM external_account")
    await make_import(url, account_name="Idle", incremental=True)
    await run_cycles(ctx)
    figures["idle"] = await _idle(ctx, meter)
    await database.close_database()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = [tuple(run) for run in runs]
    print(json.dumps({**figures, "rows": counted[0]["count"], "memory": memory, "runs": counts}))


if __name__ == "__main__":
    os.environ.update(SETTINGS)
    collect_rarely()
    asyncio.run(main(Meter(sys.argv[1]), *sys.argv[1:]))
