"""Transactions that are cancelled, by a timeout, by a client that is gone or by a worker that stops."""

from tortoise.connection import get_connection

from domain.database import fetch, transaction
from domain.models import Account
from tests.cancelling import at_each_moment


async def insert(name: str) -> None:
    async with transaction() as connection:
        account = await Account.create(name=name, plan_tier_key="contacts-1000", email_hash_key=b"")
        async with transaction() as inner:
            await inner.execute("UPDATE account SET name = name || '!' WHERE id = $1", account.id)
        await connection.execute("UPDATE account SET name = name || '!' WHERE id = $1", account.id)


def connections_in_use() -> int:
    pool = get_connection("default")._pool
    return int(pool.get_size() - pool.get_idle_size())


async def test_whenever_a_transaction_is_cancelled_the_next_one_is_whole(database: None) -> None:
    moments = []
    async for moment in at_each_moment(lambda moment: insert(f"cancelled at {moment}")):
        await insert(str(moment))
        moments.append(moment)

        assert connections_in_use() == 0

    rows = await fetch("SELECT name FROM account WHERE name NOT LIKE 'cancelled%' OR name NOT LIKE '%!!'")
    assert {row["name"] for row in rows} == {f"{moment}!!" for moment in moments}
    assert len(moments) >= 8  # BEGIN, a savepoint and its release, four statements, COMMIT
