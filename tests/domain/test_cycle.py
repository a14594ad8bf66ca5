"""R1: who is due, spread evenly, claimed once."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from domain import cycle, database
from domain.account import find_or_create_account
from domain.models import ExternalAccount
from tests.configuration import Configure
from tests.factories import make_import


async def make(count: int, **columns: object) -> UUID:
    account = await find_or_create_account("Acme")
    await ExternalAccount.bulk_create(
        [
            ExternalAccount(
                id=uuid4(),
                account_id=account.id,
                service="x",
                label="x",
                **({"remote_identity": str(n), "next_cycle_at": datetime.now(UTC)} | columns),
            )
            for n in range(count)
        ]
    )
    return account.id


async def test_concurrent_claims_are_disjoint(database: None) -> None:
    await make(60)

    claimed = await asyncio.gather(*(cycle.claim_due(20) for _ in range(5)))

    ids = [claim.external_account_id for claims in claimed for claim in claims]
    assert len(ids) == 60
    assert len(set(ids)) == 60


@pytest.mark.parametrize(
    "columns",
    [
        {"next_cycle_at": None},
        {"next_cycle_at": datetime.now(UTC) + timedelta(hours=1)},
        {"health": "NEEDS_RECONNECT"},
        {"health": "DISCONNECTED"},
        {"lease_token": uuid4(), "lease_expires_at": datetime.now(UTC) + timedelta(hours=1)},
    ],
    ids=["nothing-planned", "later", "needs-reconnect", "disconnected", "leased"],
)
async def test_what_is_not_due_is_not_claimed(database: None, columns: dict[str, object]) -> None:
    await make(1, **columns)

    assert await cycle.claim_due(10) == []


async def test_a_lease_without_a_sign_of_life_is_taken_over_with_a_new_token(database: None) -> None:
    old = uuid4()
    await make(1, lease_token=old, lease_expires_at=datetime.now(UTC) - timedelta(seconds=1), next_cycle_at=None)

    claims = await cycle.claim_due(10)

    assert len(claims) == 1
    assert claims[0].lease_token != old


async def test_whoever_comes_back_at_once_stands_behind_those_who_are_due_already(database: None) -> None:
    await make(1)
    back = await ExternalAccount.get()
    await make_import(back)
    [claim] = await cycle.claim_due(10)
    await make(1, remote_identity="other")

    await cycle.release(claim, again_at=cycle.AT_ONCE)

    first, second = [await cycle.claim_due(1) for _ in range(2)]
    assert [each.external_account_id == back.id for each in (*first, *second)] == [False, True]


async def test_windows_spread_evenly_over_the_interval(database: None) -> None:
    await make(900)

    for _ in range(9):
        await cycle.claim_due(100)

    ends = [row.window_ends_at async for row in ExternalAccount.all()]
    now = datetime.now(UTC)
    tenths = [0] * 10
    for end in ends:
        assert end is not None
        tenths[int((end - now).total_seconds() // 180)] += 1
    assert sum(tenths) == 900
    assert min(tenths) > 50
    assert max(tenths) < 140


async def test_downtime_is_caught_up_with_one_cycle_at_the_same_phase(database: None, configure: Configure) -> None:
    configure(cycle_seconds=1800)
    await make(1)
    await cycle.claim_due(1)
    first = (await ExternalAccount.get()).window_ends_at
    assert first is not None
    long_ago = first - timedelta(days=3)
    await ExternalAccount.all().update(
        lease_token=None, lease_expires_at=None, window_ends_at=long_ago, next_cycle_at=long_ago, window_used=400
    )

    assert len(await cycle.claim_due(10)) == 1

    caught_up = await ExternalAccount.get()
    assert caught_up.window_ends_at == first
    assert caught_up.next_cycle_at == first
    assert caught_up.window_used == 0


async def test_a_claim_inside_the_window_does_not_refill_the_cap(database: None) -> None:
    await make(1)
    await cycle.claim_due(1)
    end = datetime.now(UTC) + timedelta(minutes=20)
    await ExternalAccount.all().update(
        lease_token=None, lease_expires_at=None, window_used=321, window_ends_at=end, next_cycle_at=datetime.now(UTC)
    )

    await cycle.claim_due(1)

    claimed = await ExternalAccount.get()
    assert (claimed.window_used, claimed.window_ends_at) == (321, end)


async def test_a_tick_with_nothing_due_reads_an_index_only(database: None) -> None:
    await make(2000, next_cycle_at=datetime.now(UTC) + timedelta(hours=1))
    await database_fetch("ANALYZE external_account")

    plan = await database_fetch(
        "EXPLAIN SELECT account_id, id FROM external_account WHERE lease_token IS NULL AND health = 'HEALTHY'"
        " AND next_cycle_at <= now() ORDER BY next_cycle_at LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED"
    )

    assert any("external_account_due_idx" in line for line in plan)


async def database_fetch(statement: str) -> list[str]:
    return [str(row[0]) for row in await database.fetch(statement)]
