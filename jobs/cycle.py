"""Every second: claim the background tasks and the external accounts that are due, and enqueue a job for each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypedDict
from uuid import UUID

import structlog
from arq import ArqRedis
from arq.constants import default_queue_name

from domain import background_tasks, cycle, database
from jobs import fleet
from jobs.queue import SYNC, TASK

log = structlog.get_logger()

BATCH = 100

Claimed = Sequence[tuple[UUID, UUID, UUID]]


class Context(TypedDict):
    """What arq hands to every job."""

    redis: ArqRedis


async def tick(ctx: Context) -> int:
    """Claim what is due, tasks before cycles: a user waits for those. Returns how many jobs were started."""
    starting = asyncio.create_task(_start_all(ctx["redis"]))
    try:
        return await asyncio.shield(starting)
    except database.UNAVAILABLE as error:
        # The next tick, in a second, looks again.
        log.warning("tick.database_unavailable", error=type(error).__name__)
        return 0
    except asyncio.CancelledError:
        # What is claimed without a job would wait until its lease runs out.
        with suppress(TimeoutError):
            async with asyncio.timeout(fleet.LEAVE_SECONDS):
                await asyncio.gather(starting, return_exceptions=True)
        raise


async def _start_all(redis: ArqRedis) -> int:
    most_queued = await fleet.most_queued(redis)
    started = await _start(redis, TASK, background_tasks.claim_due, most_queued)
    return started + await _start(redis, SYNC, _claim_cycles, most_queued)


async def _start(redis: ArqRedis, job: str, claim_due: Callable[[int], Awaitable[Claimed]], most_queued: int) -> int:
    started = 0
    # Running jobs are in the queue until they end.
    while (room := most_queued - await redis.zcard(default_queue_name)) > 0:
        wanted = min(room, BATCH)
        claims = await claim_due(wanted)
        for account_id, subject_id, lease_token in claims:
            await redis.enqueue_job(job, str(account_id), str(subject_id), str(lease_token))
        started += len(claims)
        if len(claims) < wanted:
            break
    return started


async def _claim_cycles(limit: int) -> Claimed:
    claims = await cycle.claim_due(limit)
    return [(claim.account_id, claim.external_account_id, claim.lease_token) for claim in claims]
