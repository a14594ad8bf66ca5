"""The domain's queue on arq: hints that there is work."""

import asyncio
from dataclasses import dataclass

import structlog
from arq import ArqRedis
from redis.exceptions import RedisError

log = structlog.get_logger()

WAKE_SECONDS = 1.0
"""A Redis that hangs must not hold up whoever changes an import."""
TICK, SYNC, TASK = "tick", "sync_external_account", "run_background_task"


@dataclass(frozen=True, slots=True)
class ArqQueue:
    """Every job has an id of its own: a fixed one is blocked by kept results, and can be aborted before it exists."""

    redis: ArqRedis

    async def wake(self) -> None:
        """Look for due external accounts and background tasks now. Where Redis is away, the next tick does."""
        try:
            async with asyncio.timeout(WAKE_SECONDS):
                await self.redis.enqueue_job(TICK)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("queue.hint_lost", error=repr(error))
