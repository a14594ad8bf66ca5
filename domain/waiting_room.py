"""The waiting room: one queue per account of those whom the contact limit holds back, first come, first served (R11).

In it are the ledger rows with the code CONTACT_LIMIT: new contacts (WAITING), and confirmations of known ones. The
rows of an import that does not run are passed over, and keep their places.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from domain import database
from domain.database import Connection
from domain.running import HAS_CYCLES, RUNS

RUNNING = f"""
i.account_id = $1 AND {RUNS} AND EXISTS (
    SELECT FROM external_account e WHERE e.account_id = i.account_id AND e.id = i.external_account_id AND {HAS_CYCLES})
"""
IN_LINE = f"""
FROM automatic_import i CROSS JOIN LATERAL (
    SELECT external_id, position FROM ledger WHERE account_id = i.account_id AND automatic_import_id = i.id
        AND code = 'CONTACT_LIMIT' ORDER BY position LIMIT $2
) line
WHERE {RUNNING}
"""


IS_USED = "EXISTS (SELECT FROM ledger WHERE account_id = $1 AND code = 'CONTACT_LIMIT')"


async def is_used(connection: Connection, account_id: UUID, import_id: UUID | None = None) -> bool:
    """Whether anybody waits at all, be it in a paused import; with `import_id`, whether one of its records does."""
    used: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM ledger WHERE account_id = $1 AND code = 'CONTACT_LIMIT'"
        + (" AND automatic_import_id = $2)" if import_id else ")"),
        account_id, *([import_id] if import_id else []),
    )  # fmt: skip
    return used


async def count_ahead(connection: Connection, account_id: UUID, *, at_most: int) -> int:
    """How many stand in line, counted to `at_most`: whoever is new comes after them."""
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT {IN_LINE} LIMIT $2) ahead", account_id, at_most
    )
    return count


async def head(
    connection: Connection, account_id: UUID, import_id: UUID, *, room: int, limit: int
) -> list[asyncpg.Record]:
    """Up to `limit` of the import's rows whose turn it is, in their order, while the account's row is held.

    Those are the first `room` of the whole line, and those whose address has a contact by now: they need no room.
    Each has `external_id`, `record` (JSON) and `digest`.
    """
    room = max(0, room)
    # The first who is too late for the room, if anybody is.
    cut = await connection.fetchval(
        f"SELECT line.position {IN_LINE} ORDER BY line.position OFFSET $3 LIMIT 1", account_id, room + 1, room
    )
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT external_id, record::text, digest FROM ledger"
        " WHERE account_id = $1 AND automatic_import_id = $2 AND code = 'CONTACT_LIMIT'"
        " AND (due OR position < coalesce($3, 9223372036854775807)) ORDER BY position LIMIT $4",
        account_id, import_id, cut, limit,
    )  # fmt: skip
    return rows


async def imports_in_line(account_id: UUID, external_account_id: UUID | None = None) -> Sequence[UUID]:
    """The imports, of one external account where it is given, that have somebody in line; whoever came first first."""
    rows = await database.fetch(
        f"SELECT i.id {IN_LINE} AND ($3::uuid IS NULL OR i.external_account_id = $3) ORDER BY line.position",
        account_id, 1, external_account_id,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def mark_due(connection: Connection, account_id: UUID, email_keys: Sequence[str]) -> bool:
    """These addresses have a contact now: whoever waits under one of them need not any more. Returns whether any."""
    status = await connection.execute(
        "UPDATE ledger SET due = true WHERE account_id = $1 AND email_key = ANY($2::text[])"
        " AND code = 'CONTACT_LIMIT' AND state = 'WAITING'",
        account_id, email_keys,
    )  # fmt: skip
    return not status.endswith(" 0")


async def count_waiting(account_id: UUID) -> int:
    """How many new contacts wait (R11): people, of whom each import that reads them has a row."""
    rows = await database.fetch(
        "SELECT count(DISTINCT email_key) FROM ledger"
        " WHERE account_id = $1 AND code = 'CONTACT_LIMIT' AND state = 'WAITING'",
        account_id,
    )
    count: int = rows[0]["count"]
    return count


async def places_in_line(account_id: UUID, positions: Sequence[int]) -> dict[int, int]:
    """The place of each of these positions in the account's waiting room, from 1; imports that do not run have none.

    One pass over the line, however many are asked for.
    """
    rows = await database.fetch(
        f"""
        SELECT position, place FROM (
            SELECT position, row_number() OVER (ORDER BY position) AS place FROM ledger
            WHERE account_id = $1 AND code = 'CONTACT_LIMIT'
                AND automatic_import_id IN (SELECT i.id FROM automatic_import i WHERE {RUNNING})
        ) line WHERE position = ANY($2::bigint[])
        """,
        account_id, list(positions),
    )  # fmt: skip
    return {row["position"]: row["place"] for row in rows}


async def leave(account_id: UUID, import_id: UUID) -> None:
    """The import's records give their places up (R11). Those that are read again are decided anew."""
    async with database.transaction() as connection:
        await connection.execute(
            "DELETE FROM ledger WHERE account_id = $1 AND automatic_import_id = $2 AND code = 'CONTACT_LIMIT'"
            " AND state = 'WAITING'",
            account_id, import_id,
        )  # fmt: skip
        # A confirmation that was held back is of somebody who is known: the same record confirms them again.
        await connection.execute(
            "UPDATE ledger SET code = NULL, digest = ''"
            " WHERE account_id = $1 AND automatic_import_id = $2 AND code = 'CONTACT_LIMIT'",
            account_id, import_id,
        )  # fmt: skip
