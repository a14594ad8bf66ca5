"""What the jobs' tests start from."""

import os
from collections.abc import AsyncIterator

import orjson
import pytest
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings

from jobs.worker import serialize
from tests.jobs.scripted import Stage, make_stage


@pytest.fixture
async def stage(database: None) -> Stage:
    """One external account of the scripted service, due now."""
    return await make_stage()


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
