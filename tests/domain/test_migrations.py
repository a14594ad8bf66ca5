"""What a migrated database has, to the last constraint and index: Tortoise says nothing where it forgets one."""

import asyncio
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from domain import database
from tests import databases
from tests.domain.source import add_import, make_source, record

SCHEMA = Path(__file__).parent / "schema.txt"

CONSTRAINTS = """
SELECT format('%s: %s', conrelid::regclass, pg_get_constraintdef(oid)) AS line FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conparentid = 0
    AND conrelid::regclass::text NOT LIKE 'outcome\\_%'
"""
INDEXES = """
SELECT regexp_replace(indexdef, '^CREATE ', '') AS line FROM pg_indexes
WHERE schemaname = 'public' AND tablename NOT LIKE 'outcome\\_%'
"""
TRIGGERS = "SELECT pg_get_triggerdef(oid) AS line FROM pg_trigger WHERE NOT tgisinternal"


async def described() -> str:
    lines = [row["line"] for query in (CONSTRAINTS, INDEXES, TRIGGERS) for row in await database.fetch(query)]
    return "\n".join(sorted(lines)) + "\n"


async def test_constraints_indexes_and_triggers_are_those_on_record(database: None) -> None:
    # To record a wanted change: write `described()` to schema.txt, and read the difference.
    assert await described() == SCHEMA.read_text()


async def test_every_table_of_an_account_is_keyed_by_it(database: None) -> None:
    rows = await fetch(
        """
        SELECT t.relname FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE n.nspname = 'public' AND t.relkind IN ('r', 'p') AND NOT t.relispartition
            AND NOT EXISTS (
                SELECT FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1]
                WHERE c.conrelid = t.oid AND c.contype = 'p' AND a.attname = 'account_id')
        ORDER BY t.relname
        """
    )
    assert [row["relname"] for row in rows] == ["account", "plan_tier", "tortoise_migrations"]


async def test_workers_that_are_not_replaced_yet_find_what_they_write_by(database: None) -> None:
    rows = await fetch("SELECT count(*) FROM unnest('{}'::decided_record[])")

    assert rows[0]["count"] == 0


async def test_todays_outcomes_have_a_partition(database: None) -> None:
    rows = await fetch(
        "SELECT to_regclass('outcome_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NOT NULL"
        " AS there FROM generate_series(0, 6) n"
    )
    assert [row["there"] for row in rows] == [True] * 7


async def test_migrating_at_the_same_time_three_times_succeeds_three_times() -> None:
    name = "sluice_test_concurrent_migration"
    server = await asyncpg.connect(databases.server_url())
    await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await server.execute(f"CREATE DATABASE {name}")
    script = f"import asyncio; from domain.database import migrate; asyncio.run(migrate({databases.url_of(name)!r}))"
    try:
        processes = [
            await asyncio.create_subprocess_exec("python", "-c", script, stderr=asyncio.subprocess.PIPE)
            for _ in range(3)
        ]
        results = [(await process.communicate(), process.returncode) for process in processes]
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()

    assert [code for _, code in results] == [0, 0, 0], results


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE import_run SET read_count = read_count + 1", "import_run_counts_check"),
        ("UPDATE account SET active_contacts = -1", "account_active_contacts_check"),
        ("UPDATE contact SET status = 'SPAM'", "contact_status_check"),
    ],
)
async def test_the_database_refuses_what_must_never_be(database: None, statement: str, message: str) -> None:
    source = await make_source()
    await source.send(record("ann"))

    with pytest.raises(asyncpg.CheckViolationError, match=message):
        await fetch(statement)


async def test_whatever_is_deleted_takes_its_contacts_and_its_ledger_along_and_nothing_else(database: None) -> None:
    # Without foreign keys, which would cost every row of a page: triggers do it.
    acme, umbrella = await make_source("Acme"), await make_source("Umbrella")
    second = await add_import(acme)
    for source in (acme, second, umbrella):
        await source.send(record("ann"), record("ben"))

    await fetch(f"DELETE FROM automatic_import WHERE id = '{second.automatic_import_id}'")
    assert await owners("ledger", "automatic_import_id") == {
        acme.automatic_import_id: 2,
        umbrella.automatic_import_id: 2,
    }
    assert await owners("contact", "account_id") == {acme.account_id: 2, umbrella.account_id: 2}

    await fetch(f"DELETE FROM automatic_import WHERE id = '{acme.automatic_import_id}'")
    await fetch(f"DELETE FROM account WHERE id = '{acme.account_id}'")
    assert await owners("ledger", "automatic_import_id") == {umbrella.automatic_import_id: 2}
    assert await owners("contact", "account_id") == {umbrella.account_id: 2}


async def owners(table: str, column: str) -> dict[UUID, int]:
    """How many rows of the table each owner has."""
    return dict(await fetch(f"SELECT {column}, count(*) FROM {table} GROUP BY 1"))


async def fetch(statement: str) -> list[asyncpg.Record]:
    return await database.fetch(statement)
