"""The worker process: arq's settings, what its jobs are given, and how it outlives a Redis that is away."""

import asyncio
import gc
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

import orjson
import structlog
from arq import Worker, create_pool, cron, func
from arq.connections import ArqRedis, RedisSettings
from arq.constants import in_progress_key_prefix
from arq.typing import WorkerCoroutine
from redis.exceptions import RedisError

from connectors.base import Service
from connectors.http_client import open_client
from connectors.registry import SERVICES
from domain import database, retention
from domain.errors import Misconfigured
from domain.logs import configure_logging
from domain.settings import settings
from jobs import fleet
from jobs.background_tasks import run_background_task
from jobs.cycle import tick
from jobs.events import RedisEvents
from jobs.queue import SYNC, TASK, TICK, ArqQueue
from jobs.sync_external_account import sync_external_account

log = structlog.get_logger()

JOB_TIMEOUT = 45
"""Seconds. A killed worker's job restarts only after the longest timeout of all its functions."""
RETRY_REDIS_AFTER = 0.5
"""Seconds."""
COLLECT_AFTER = 50_000
"""Objects more than before. A page makes thousands, and they go without being collected."""

serialize = partial(orjson.dumps, default=repr)
"""JSON, not arq's pickle: whoever can write to Redis must not run code here."""


def redis_settings() -> RedisSettings:
    """Redis as SLUICE_REDIS_URL says."""
    url = settings().redis_url
    if url is None:
        raise Misconfigured("SLUICE_REDIS_URL is not set. Set it to redis://host:6379/0, or use `sluice up`.")
    return RedisSettings.from_dsn(url.get_secret_value())


async def open_queue() -> ArqRedis:
    """The pool that jobs are enqueued on, with the serializer that workers read."""
    return await create_pool(redis_settings(), job_serializer=serialize, job_deserializer=orjson.loads)


async def prepare_outcome_days(_: Mapping[str, Any]) -> None:
    """Every hour, so that no day begins unprepared."""
    await retention.prepare_outcome_days()


async def forget(_: Mapping[str, Any]) -> None:
    """Every hour, so that what was in somebody's way is tried again soon."""
    await retention.forget()


def make_worker(redis: ArqRedis, *, services: Mapping[str, Service] = SERVICES, burst: bool = False) -> Worker:
    """A worker on `redis`. It leaves signals to whoever runs it."""
    return Worker(
        functions=[
            func(cast("WorkerCoroutine", sync_external_account), name=SYNC),
            func(cast("WorkerCoroutine", run_background_task), name=TASK),
            func(cast("WorkerCoroutine", tick), name=TICK),
        ],
        cron_jobs=[
            # Every worker asks, one gets it: arq makes one job of a cron's second.
            cron(cast("WorkerCoroutine", tick), second=set(range(60)), name="cron:tick"),
            cron(
                cast("WorkerCoroutine", prepare_outcome_days),
                minute=7,
                name="cron:prepare_outcome_days",
                run_at_startup=True,
            ),
            cron(cast("WorkerCoroutine", forget), minute=37, name="cron:forget"),
        ],
        redis_pool=redis,
        ctx={
            "services": services,
            "open_client": partial(
                open_client, allow_private_hosts=settings().allow_private_hosts, origins=settings().service_origins
            ),
            "events": RedisEvents(redis),
            "queue": ArqQueue(redis),
        },
        burst=burst,
        handle_signals=False,
        job_timeout=JOB_TIMEOUT,
        # A kept result blocks its job's id; arq forgets `keep_result=0` of a function when its tries are used up.
        keep_result=0,
        max_jobs=fleet.MAX_JOBS,
        max_tries=1000,
        poll_delay=0.05,
        queue_read_limit=fleet.JOBS_READ,
        health_check_interval=15,
        job_serializer=serialize,
        job_deserializer=orjson.loads,
        log_results=False,
    )


async def run() -> None:
    """Work until SIGTERM or SIGINT; then hand over what is under way. A lost Redis is waited for."""
    url = settings().database_url
    if url is None:
        raise Misconfigured("SLUICE_DATABASE_URL is not set. Set it to postgres://…, or use `sluice up`.")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await database.open_database(
        url.get_secret_value(),
        pool_size=settings().database_pool,
        # A plan made while a table was empty scans it for ever after.
        server_settings={"plan_cache_mode": "force_custom_plan"},
    )
    jobs: set[asyncio.Task[Any]] = set()
    while not stop.is_set():
        jobs = {job for job in jobs if not job.done()} | await _work_until(stop)
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    await database.close_database()


async def _work_until(stop: asyncio.Event) -> set[asyncio.Task[Any]]:
    """Work until `stop`, or until Redis is lost. Returns the jobs under way: they need PostgreSQL only."""
    try:
        redis = await open_queue()
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("worker.redis_unavailable", error=repr(error))
        await asyncio.sleep(RETRY_REDIS_AFTER)
        return set()
    worker = make_worker(redis)
    async with fleet.counted(redis):
        working = asyncio.create_task(worker.async_run())
        stopping = asyncio.create_task(stop.wait())
        log.info("worker.ready")
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            log.warning("worker.redis_lost", error=repr(working.exception()))
            await asyncio.sleep(RETRY_REDIS_AFTER)
        else:
            await hand_over(worker)
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
    return set(worker.tasks.values())


async def hand_over(worker: Worker) -> None:
    """Pick up no more jobs, and stop those under way. What none of them began is there for other workers at once."""
    with suppress(RedisError, OSError):
        async with asyncio.timeout(fleet.LEAVE_SECONDS):
            worker.max_jobs = 0
            # Let through what is being picked up: it is marked as under way before it can be stopped.
            while worker.job_counter > sum(not job.done() for job in worker.tasks.values()):  # noqa: ASYNC110
                await asyncio.sleep(worker.poll_delay_s)
    jobs = dict(worker.tasks)
    for job in jobs.values():
        job.cancel()
    await asyncio.gather(*jobs.values(), return_exceptions=True)
    unbegun = [in_progress_key_prefix + job_id for job_id, job in jobs.items() if job.cancelled()]
    if unbegun:
        with suppress(RedisError, OSError):
            async with asyncio.timeout(fleet.LEAVE_SECONDS):
                await worker.pool.delete(*unbegun)


def collect_rarely() -> None:
    """Leave the modules alone for good: looking for cycles in them, page after page, took a fifth of an import."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def main() -> None:
    """The worker process."""
    configure_logging()
    collect_rarely()
    asyncio.run(run())
