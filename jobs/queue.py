"""The domain's queue on arq: hints that there is work."""

from dataclasses import dataclass

import structlog
from arq import ArqRedis
from redis.exceptions import RedisError

log = structlog.get_logger()

TICK, SYNC, TASK = "tick", "sync_external_account", "run_background_task"


@dataclass(frozen=True, slots=True)
class ArqQueue:
    """Every job has an id of its own: a fixed one is blocked by kept results, and can be aborted before it exists."""

    redis: ArqRedis

    async def wake(self) -> None:
        """Look for due external accounts and background tasks now. Where Redis is away, the next tick does."""
        try:
            await self.redis.enqueue_job(TICK)
        except (RedisError, OSError) as error:
            log.warning("queue.hint_lost", error=repr(error))
