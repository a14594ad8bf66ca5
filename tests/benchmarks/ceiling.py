"""The raw SQL ceiling: the engine's own upserts of contact and ledger, fed from memory. Prints JSON.

`python -m tests.benchmarks.ceiling DATABASE_URL CONTACTS`. One connection, one transaction of 500 rows a page, the
arrays made before the clock starts: what PostgreSQL would take if Python, HTTP, outcomes and counts cost nothing.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import orjson
from uuid_utils.compat import uuid7

from domain import database
from domain.ingest.items import item_of, sighting_of
from tests.benchmarks.measure import Meter
from tests.benchmarks.sluice_import import SETTINGS, make_import
from tests.benchmarks.source import PAGE, contact, record_of

CONTACT = """
INSERT INTO contact (account_id, id, email, email_key, first_name, last_name, phone, status, field_values,
    created_by_run_id)
SELECT $1, u.*, $2 FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::jsonb[]) u
ON CONFLICT (account_id, email_key) DO UPDATE SET email = excluded.email, first_name = excluded.first_name,
    last_name = excluded.last_name, phone = excluded.phone, field_values = excluded.field_values
WHERE (contact.email, contact.first_name, contact.last_name, contact.phone, contact.field_values)
    IS DISTINCT FROM (excluded.email, excluded.first_name, excluded.last_name, excluded.phone, excluded.field_values)
"""
LEDGER = """
INSERT INTO ledger (account_id, external_account_id, automatic_import_id, revision, run_id,
    external_id, contact_id, email_key, record, digest, applied, state, code)
SELECT $1, $2, $3, 1, $4, u.*, NULL, 'LINKED', NULL FROM unnest($5::text[], $6::uuid[], $7::text[], $8::jsonb[],
    $9::bytea[]) u
ON CONFLICT (account_id, external_account_id, external_id, automatic_import_id) DO UPDATE SET
    record = excluded.record, digest = excluded.digest, state = excluded.state
WHERE ledger.digest IS DISTINCT FROM excluded.digest
"""
FIELD_IDS = {key: str(uuid7()) for key in ("city", "orders", "total_spent")}


Arrays = tuple[list[list[object]], list[list[object]]]


def _arguments(numbers: Sequence[int]) -> Arrays:
    """The arrays of both statements for a page."""
    rows = [contact(number) for number in numbers]
    records = [record_of(row) for row in rows]
    items = [item_of(sighting_of(record)) for record in records]
    ids: list[object] = [uuid7() for _ in rows]
    keys: list[object] = [row["email"].lower() for row in rows]
    values: list[object] = [
        orjson.dumps({FIELD_IDS[key]: value for key, value in record.values.items()}).decode() for record in records
    ]
    contacts: list[list[object]] = [ids, [row["email"] for row in rows], keys]
    contacts += [[row[name] for row in rows] for name in ("first_name", "last_name", "phone")]
    contacts += [["ACTIVE"] * len(rows), values]
    ledger: list[list[object]] = [[item.external_id for item in items], ids, keys]
    ledger += [[item.json for item in items], [item.digest for item in items]]
    return contacts, ledger


async def _pass(connection: database.Connection, run: Sequence[UUID], pages: Sequence[Arrays]) -> None:
    account_id, external_account_id, import_id, run_id = run
    for contacts, ledger in pages:
        async with connection.transaction():
            await connection.execute(CONTACT, account_id, run_id, *contacts)
            await connection.execute(LEDGER, account_id, external_account_id, import_id, run_id, *ledger)


async def main(meter: Meter, database_url: str, contacts: int) -> None:
    """Everything into empty tables, and everything again; print the figures."""
    await database.open_database(database_url, server_settings={"plan_cache_mode": "force_custom_plan"})
    await make_import("http://127.0.0.1", account_name="Ceiling")
    ids = await database.fetch(
        "SELECT i.account_id, i.external_account_id, i.id FROM automatic_import i JOIN account a ON a.id = i.account_id"
        " WHERE a.name = 'Ceiling'"
    )
    pages = [_arguments(range(start, start + PAGE)) for start in range(0, contacts, PAGE)]
    run = [*ids[0], uuid7()]
    raw = await asyncpg.connect(database_url, server_settings={"plan_cache_mode": "force_custom_plan"})
    figures = {name: await meter.measured(lambda: _pass(raw, run, pages)) for name in ("first", "again")}
    await raw.close()
    await database.close_database()
    print(json.dumps(figures))


if __name__ == "__main__":
    os.environ.update(SETTINGS)
    asyncio.run(main(Meter(sys.argv[1]), sys.argv[1], int(sys.argv[2])))
