"""Every second: claim the external accounts that are due, and enqueue a cycle for each."""

from typing import TypedDict

from arq import ArqRedis
from arq.constants import default_queue_name

from domain import cycle
from jobs.queue import SYNC

MOST_QUEUED = 200
"""Claims are leased from the moment they are made, so none is made that would only wait in the queue."""


class Context(TypedDict):
    """What arq hands to every job."""

    redis: ArqRedis


async def tick(ctx: Context) -> int:
    """Claim what is due. Returns how many cycles were started."""
    redis = ctx["redis"]
    started = 0
    while (room := MOST_QUEUED - await redis.zcard(default_queue_name)) > 0:
        claims = await cycle.claim_due(min(room, 100))
        for claim in claims:
            await redis.enqueue_job(SYNC, str(claim.account_id), str(claim.external_account_id), str(claim.lease_token))
        started += len(claims)
        if len(claims) < min(room, 100):
            break
    return started
