"""The tick: everything due is leased and enqueued, no more than can start soon."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import orjson
import pytest
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from arq.constants import default_queue_name

from domain.account import find_or_create_account
from domain.models import ExternalAccount
from jobs import cycle
from jobs.queue import SYNC, ArqQueue
from jobs.worker import serialize


@pytest.fixture
async def redis() -> AsyncIterator[ArqRedis]:
    """A Redis database of this test process's own: xdist's workers share the server."""
    settings = RedisSettings.from_dsn(os.environ["SLUICE_TEST_REDIS_URL"])
    settings.database = 10 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
    pool = await create_pool(settings, job_serializer=serialize, job_deserializer=orjson.loads)
    await pool.flushdb()
    yield pool
    await pool.flushdb()
    await pool.aclose(close_connection_pool=True)


async def make_due(count: int) -> None:
    account = await find_or_create_account("Acme")
    await ExternalAccount.bulk_create(
        [
            ExternalAccount(
                id=uuid4(),
                account_id=account.id,
                service="x",
                remote_identity=str(number),
                label="x",
                next_cycle_at=datetime.now(UTC),
            )
            for number in range(count)
        ]
    )


async def test_what_is_due_is_enqueued_once(database: None, redis: ArqRedis) -> None:
    await make_due(3)

    assert await cycle.tick({"redis": redis}) == 3
    assert await cycle.tick({"redis": redis}) == 0

    jobs = await redis.queued_jobs()
    leases = {str(row.lease_token) async for row in ExternalAccount.all()}
    assert [job.function for job in jobs] == [SYNC] * 3
    assert {job.args[2] for job in jobs} == leases


async def test_no_more_is_leased_than_can_start_soon(database: None, redis: ArqRedis) -> None:
    await make_due(250)

    assert await cycle.tick({"redis": redis}) == cycle.MOST_QUEUED

    assert await ExternalAccount.filter(lease_token=None).count() == 50
    assert await redis.zcard(default_queue_name) == 200


async def test_waking_enqueues_a_tick_each_time(redis: ArqRedis) -> None:
    queue = ArqQueue(redis)

    await queue.wake()
    await queue.wake()

    assert [job.function for job in await redis.queued_jobs()] == ["tick", "tick"]


async def test_nothing_in_redis_is_pickled_or_secret(database: None, redis: ArqRedis) -> None:
    await make_due(1)
    await cycle.tick({"redis": redis})

    keys = [key async for key in redis.scan_iter("arq:job:*")]
    values = [orjson.loads(await redis.get(key)) for key in keys]
    assert [sorted(value) for value in values] == [["a", "et", "f", "k", "t"]]
