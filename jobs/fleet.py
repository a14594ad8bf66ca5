"""How many workers there are: each gives signs of life in Redis, and is forgotten when it stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

WORKERS = "sluice:workers"
"""A sorted set: each worker's name, scored with the second of its last sign of life by Redis's own clock."""
SIGN_OF_LIFE = 5.0
"""Seconds between two signs of life."""
FORGOTTEN_AFTER = 20.0
"""Seconds without one after which a worker does not count."""
LEAVE_SECONDS = 1.0
"""A Redis that hangs must not hold up a worker that stops."""

MAX_JOBS = 100
"""How many jobs one worker runs at a time."""
JOBS_READ = 2000
"""How many jobs each worker looks through for one that nobody runs yet. More are never in the queue: running jobs
stay at its head, and those behind would starve."""
QUEUED_PER_JOB = 2
"""Jobs in the queue for each that can run: claims are leased from the moment they are made, so few may wait."""


@asynccontextmanager
async def counted(redis: Redis) -> AsyncIterator[None]:
    """This worker counts, from now until the block ends."""
    name = uuid4().hex
    await _give_sign_of_life(redis, name)
    living = asyncio.create_task(_live(redis, name))
    try:
        yield
    finally:
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living
        with suppress(RedisError, OSError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await redis.zrem(WORKERS, name)


async def most_queued(redis: Redis) -> int:
    """How many jobs may be in the queue: as many as the living workers can begin soon."""
    workers: int = await redis.zcount(WORKERS, await _now(redis) - FORGOTTEN_AFTER, "+inf")
    # Whoever asks is a worker, counted or not.
    return min(max(1, workers) * MAX_JOBS * QUEUED_PER_JOB, JOBS_READ)


async def _live(redis: Redis, name: str) -> None:
    while True:
        await asyncio.sleep(SIGN_OF_LIFE)
        await _give_sign_of_life(redis, name)


async def _give_sign_of_life(redis: Redis, name: str) -> None:
    # Where Redis is away, the worker learns it from its queue.
    with suppress(RedisError, OSError):
        now = await _now(redis)
        await redis.zadd(WORKERS, {name: now})
        await redis.zremrangebyscore(WORKERS, "-inf", now - FORGOTTEN_AFTER)


async def _now(redis: Redis) -> float:
    """Redis's clock, the one that all workers share; in seconds."""
    seconds, microseconds = await redis.time()
    return int(seconds) + int(microseconds) / 1e6
