"""The worker process, and what it leaves behind."""

import asyncio
from uuid import UUID

from arq import ArqRedis
from arq.constants import default_queue_name, in_progress_key_prefix

from jobs.queue import SYNC
from jobs.worker import hand_over, make_worker


async def test_a_job_that_a_stopping_worker_did_not_begin_is_there_for_another(database: None, redis: ArqRedis) -> None:
    job = await redis.enqueue_job(SYNC, *[str(UUID(int=number)) for number in range(3)])
    assert job is not None
    worker = make_worker(redis)
    working = asyncio.create_task(worker.async_run())
    while job.job_id not in worker.tasks:  # noqa: ASYNC110
        await asyncio.sleep(0)

    await hand_over(worker)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)

    assert await redis.zscore(default_queue_name, job.job_id) is not None
    assert not await redis.exists(in_progress_key_prefix + job.job_id)
