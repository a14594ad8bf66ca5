"""Every second: claim the background tasks and the external accounts that are due, and enqueue a job for each."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypedDict
from uuid import UUID

from arq import ArqRedis
from arq.constants import default_queue_name

from domain import background_tasks, cycle
from jobs.queue import SYNC, TASK

MOST_QUEUED = 200
"""Claims are leased from the moment they are made, so none is made that would only wait in the queue."""
BATCH = 100

Claimed = Sequence[tuple[UUID, UUID, UUID]]


class Context(TypedDict):
    """What arq hands to every job."""

    redis: ArqRedis


async def tick(ctx: Context) -> int:
    """Claim what is due, tasks before cycles: a user waits for those. Returns how many jobs were started."""
    redis = ctx["redis"]
    started = await _start(redis, TASK, background_tasks.claim_due)
    return started + await _start(redis, SYNC, _claim_cycles)


async def _start(redis: ArqRedis, job: str, claim_due: Callable[[int], Awaitable[Claimed]]) -> int:
    started = 0
    while (room := MOST_QUEUED - await redis.zcard(default_queue_name)) > 0:
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
