"""Events over a real Redis."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import structlog
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from domain.events import Changes, ImportChanged, RunChanged
from jobs.events import RedisEvents, RedisWatch

ACCOUNT, IMPORT = uuid7(), uuid7()


def changed() -> RunChanged:
    return RunChanged(account_id=ACCOUNT, automatic_import_id=IMPORT, run_id=uuid7(), revision=2)


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = Redis.from_url(os.environ["SLUICE_TEST_REDIS_URL"])
    yield client
    await client.aclose()


@pytest.fixture
def events(redis: Redis) -> RedisEvents:
    return RedisEvents(redis)


@pytest.fixture
async def watch() -> AsyncIterator[RedisWatch]:
    """A watch that reads over a connection of its own, which is subscribed when the test begins."""
    client = Redis.from_url(os.environ["SLUICE_TEST_REDIS_URL"], client_name=f"watch-{uuid7()}")
    watch = RedisWatch(client)
    with watch.changes(uuid7()) as anything:
        reader = asyncio.create_task(watch.run())
        await news(anything)
    yield watch
    reader.cancel()
    with suppress(asyncio.CancelledError):
        await reader
    await client.aclose()


async def news(changes: Changes) -> None:
    """Wait for a notice; a test that gets none fails."""
    await asyncio.wait_for(changes.wait(), 5)


async def assert_no_news(changes: Changes) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(changes.wait(), 0.2)


async def readers(redis: Redis, watch: RedisWatch) -> list[str]:
    name = watch._redis.connection_pool.connection_kwargs["client_name"]
    return [client["id"] for client in await redis.client_list() if client["name"] == name]


async def kill_readers(redis: Redis, watch: RedisWatch) -> None:
    [reader] = await readers(redis, watch)
    await redis.client_kill_filter(_id=reader)


@pytest.mark.parametrize("event", [changed(), ImportChanged(account_id=ACCOUNT, automatic_import_id=IMPORT)])
async def test_a_change_wakes_whoever_watches_its_import_or_its_account(
    watch: RedisWatch, events: RedisEvents, event: RunChanged | ImportChanged
) -> None:
    with watch.changes(ACCOUNT, automatic_import_id=IMPORT) as automatic_import, watch.changes(ACCOUNT) as account:
        await events.publish(event)

        await news(automatic_import)
        await news(account)


async def test_a_change_wakes_nobody_else(watch: RedisWatch, events: RedisEvents) -> None:
    with (
        watch.changes(ACCOUNT, automatic_import_id=uuid7()) as other_import,
        watch.changes(uuid7(), automatic_import_id=IMPORT) as other_account,
    ):
        await events.publish(changed())

        await asyncio.gather(*(assert_no_news(changes) for changes in (other_import, other_account)))


async def test_changes_that_nobody_waited_for_are_one_notice(watch: RedisWatch, events: RedisEvents) -> None:
    with watch.changes(ACCOUNT, automatic_import_id=IMPORT) as slow, watch.changes(ACCOUNT) as fast:
        for _ in range(3):
            await events.publish(changed())
            await news(fast)

        await news(slow)
        await assert_no_news(slow)


async def test_every_watcher_is_woken_when_the_lost_reader_is_back(
    redis: Redis, watch: RedisWatch, events: RedisEvents
) -> None:
    with (
        watch.changes(ACCOUNT, automatic_import_id=IMPORT) as automatic_import,
        watch.changes(uuid7()) as someone_else,
    ):
        watch._pause = 0.3
        await kill_readers(redis, watch)
        await events.publish(changed())
        assert await readers(redis, watch) == []

        await news(automatic_import)
        await news(someone_else)

        await events.publish(changed())
        await news(automatic_import)
        await assert_no_news(someone_else)


async def test_a_watch_forgets_whoever_has_left(watch: RedisWatch) -> None:
    with watch.changes(ACCOUNT), watch.changes(ACCOUNT), watch.changes(ACCOUNT, automatic_import_id=IMPORT):
        assert sum(len(slots) for slots in watch._slots.values()) == 3

    assert watch._slots == {}


async def test_publishing_to_a_redis_that_is_away_is_logged_once_and_raises_nothing() -> None:
    away = Redis.from_url("redis://127.0.0.1:1/0")
    events = RedisEvents(away)

    with structlog.testing.capture_logs() as logs:
        await events.publish(changed())
        await events.publish(changed())

    assert [entry["event"] for entry in logs] == ["events.not_published"]
    await away.aclose()


async def test_a_reader_that_finds_no_redis_tries_again_and_says_so_once() -> None:
    away = Redis.from_url("redis://127.0.0.1:1/0")
    reader = asyncio.create_task(RedisWatch(away).run())

    with structlog.testing.capture_logs() as logs:
        await asyncio.sleep(0.5)
        assert len(logs) == 1

    assert [entry["event"] for entry in logs] == ["events.reader_lost"]
    assert not reader.done()
    reader.cancel()
    with suppress(asyncio.CancelledError):
        await reader
    await away.aclose()
