"""The tick: everything due is leased and enqueued, no more than the living workers can begin soon (R1)."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import structlog
from arq import ArqRedis
from arq.constants import default_queue_name

from domain import background_tasks
from domain import cycle as domain_cycle
from domain.account import find_or_create_account
from domain.database import fetch, transaction
from domain.enums import TaskKind
from domain.models import ExternalAccount
from jobs import cycle, fleet
from jobs.queue import SYNC, TASK, ArqQueue
from tests.api.live import bind
from tests.databases import lose_database


async def make_due(count: int, *, since: datetime | None = None) -> None:
    """External accounts with the ids 1, 2, 3, …"""
    account = await find_or_create_account("Acme")
    await ExternalAccount.bulk_create(
        [
            ExternalAccount(
                id=UUID(int=number),
                account_id=account.id,
                service="x",
                remote_identity=str(number),
                label="x",
                next_cycle_at=since or datetime.now(UTC),
                window_ends_at=since,
            )
            for number in range(1, count + 1)
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


async def test_a_tick_that_is_cancelled_leaves_no_lease_without_a_job(database: None, redis: ArqRedis) -> None:
    await make_due(100)

    ticking = asyncio.create_task(cycle.tick({"redis": redis}))
    while not ticking.done() and not await ExternalAccount.exclude(lease_token=None).exists():
        pass
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)

    leases = {str(row.lease_token) async for row in ExternalAccount.all()}
    assert {job.args[2] for job in await redis.queued_jobs()} == leases
    assert len(leases) == 100


async def test_a_tick_without_a_database_says_so_in_one_line(database: None, redis: ArqRedis) -> None:
    await lose_database()

    with structlog.testing.capture_logs() as logs:
        started = await cycle.tick({"redis": redis})

    assert started == 0
    assert logs == [{"event": "tick.database_unavailable", "log_level": "warning", "error": "ConnectionRefusedError"}]


async def test_tasks_are_claimed_before_cycles(database: None, redis: ArqRedis) -> None:
    await make_due(250)
    await ask_for_tasks(3)

    assert await cycle.tick({"redis": redis}) == 200

    assert Counter(job.function for job in await redis.queued_jobs()) == {TASK: 3, SYNC: 197}


async def test_no_more_is_leased_than_one_worker_can_begin_soon(database: None, redis: ArqRedis) -> None:
    await make_due(250)

    async with fleet.counted(redis):
        assert await cycle.tick({"redis": redis}) == 200
        assert await cycle.tick({"redis": redis}) == 0

    assert await ExternalAccount.filter(lease_token=None).count() == 50
    assert await redis.zcard(default_queue_name) == 200


async def test_more_workers_have_more_leased(database: None, redis: ArqRedis) -> None:
    await make_due(450)

    async with AsyncExitStack() as workers:
        for _ in range(2):
            await workers.enter_async_context(fleet.counted(redis))
        assert await cycle.tick({"redis": redis}) == 400

    assert await ExternalAccount.filter(lease_token=None).count() == 50


async def test_a_worker_that_stops_does_not_count_any_more(redis: ArqRedis) -> None:
    async with fleet.counted(redis), fleet.counted(redis):
        assert await fleet.most_queued(redis) == 400

    assert await redis.zcard(fleet.WORKERS) == 0
    assert await fleet.most_queued(redis) == 200


async def test_a_worker_that_gives_no_sign_of_life_is_forgotten(redis: ArqRedis) -> None:
    seconds, _ = await redis.time()
    await redis.zadd(fleet.WORKERS, {"silent": seconds - 21, "living": seconds - 10, "another": seconds})

    assert await fleet.most_queued(redis) == 400

    async with fleet.counted(redis):
        assert await fleet.most_queued(redis) == 600
    assert sorted(await redis.zrange(fleet.WORKERS, 0, -1)) == [b"another", b"living"]


async def test_never_more_is_queued_than_a_worker_looks_through(redis: ArqRedis) -> None:
    seconds, _ = await redis.time()
    await redis.zadd(fleet.WORKERS, {f"worker {number}": seconds for number in range(50)})

    assert await fleet.most_queued(redis) == fleet.JOBS_READ


async def test_after_a_day_of_downtime_each_has_one_cycle_and_the_next_ones_are_spread_as_before(
    database: None,
) -> None:
    a_day_ago = datetime.now(UTC) - timedelta(days=1)
    await make_due(600, since=a_day_ago)
    started = datetime.now(UTC)

    claimed = Counter[UUID]()
    while claims := await domain_cycle.claim_due(100):
        claimed.update(claim.external_account_id for claim in claims)
    ended = datetime.now(UTC)

    assert claimed == dict.fromkeys((UUID(int=number) for number in range(1, 601)), 1)
    rows = await fetch(
        "SELECT extract(epoch FROM next_cycle_at)::float8 AS next,"
        " (hashtext(id::text)::bigint + 2147483648) / 4294967296.0::float8 * 1800 AS phase FROM external_account"
    )
    assert max(abs((row["next"] - row["phase"] + 900) % 1800 - 900) for row in rows) < 1e-5
    assert all(started.timestamp() < row["next"] <= ended.timestamp() + 1800 for row in rows)
    # What PostgreSQL's hash makes of the ids 1 to 600: about 100 in every five minutes of the half hour.
    by_five_minutes = Counter(int(row["phase"] // 300) for row in rows)
    assert [by_five_minutes[number] for number in range(6)] == [102, 95, 102, 95, 96, 110]


async def test_looking_for_due_cycles_reads_no_idle_external_account(database: None) -> None:
    account = await find_or_create_account("Acme")
    await fetch(
        "INSERT INTO external_account (account_id, id, service, remote_identity, label, health, next_cycle_at,"
        " window_used, transient_failures, created_at)"
        " SELECT $1, gen_random_uuid(), 'x', n::text, 'x', 'HEALTHY', now() + n * interval '1 second', 0, 0, now()"
        " FROM generate_series(1, 50000) n",
        account.id,
    )
    await fetch("ANALYZE external_account")

    plan = await fetch(f"EXPLAIN {domain_cycle.CLAIM_DUE}", 100, timedelta(seconds=45), 1800.0)

    lines = [row[0] for row in plan]
    assert [line for line in lines if "Seq Scan" in line] == []
    assert len([line for line in lines if "external_account_due_idx" in line]) == 1
    assert len([line for line in lines if "external_account_lease_idx" in line]) == 1


async def test_waking_enqueues_a_tick_each_time(redis: ArqRedis) -> None:
    queue = ArqQueue(redis)

    await queue.wake()
    await queue.wake()

    assert [job.function for job in await redis.queued_jobs()] == ["tick", "tick"]


async def test_a_redis_that_hangs_holds_nobody_up_for_long() -> None:
    # Connections wait there to be taken, for ever.
    with bind() as listener:
        hanging = ArqRedis(port=listener.getsockname()[1])
        with structlog.testing.capture_logs() as logs:
            async with asyncio.timeout(5):
                await ArqQueue(hanging).wake()
        await hanging.aclose()

    assert [entry["event"] for entry in logs] == ["queue.hint_lost"]


async def test_nothing_in_redis_is_pickled_or_secret(database: None, redis: ArqRedis) -> None:
    await make_due(1)
    await cycle.tick({"redis": redis})

    keys = [key async for key in redis.scan_iter("arq:job:*")]
    values = [orjson.loads(await redis.get(key)) for key in keys]
    assert [sorted(value) for value in values] == [["a", "et", "f", "k", "t"]]


async def ask_for_tasks(count: int) -> None:
    account = await find_or_create_account("Acme")
    async with transaction() as connection:
        for _ in range(count):
            await background_tasks.enqueue(connection, account.id, TaskKind.UNDO, subject=uuid4())
