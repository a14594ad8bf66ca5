"""Sweeps: readings of everything that matches, and what they say about deletions (R16).

Only absence from two complete sweeps under the same criteria and credentials is a deletion, beside what the service
itself says. The ids that a sweep saw are kept page by page, those of the last complete sweep until the next is, along
with the ids that came in since. `missing_record` has those that one sweep missed, and those that are to be dealt with.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain import turns
from domain.database import Connection
from domain.settings import settings
from domain.turns import Turn

MAX_EXAMPLES = 10
MISSING = "MISSING"
"""The kind of a review of what a sweep missed."""

SEEN = "SELECT unnest(external_ids) AS external_id FROM sweep_page WHERE account_id = $1 AND automatic_import_id = $2"


async def saw(connection: Connection, turn: Turn, external_ids: Sequence[str]) -> None:
    """The sweep under way saw these records; with the first page it begins."""
    await connection.execute(
        """
        WITH i AS (
            UPDATE automatic_import SET
                sweep = CASE WHEN sweep_started_at IS NULL THEN sweep + 1 ELSE sweep END,
                sweep_is_whole = sweep_is_whole OR sweep_started_at IS NULL,
                sweep_started_at = coalesce(sweep_started_at, now())
            WHERE account_id = $1 AND id = $2 RETURNING account_id, id, sweep
        )
        INSERT INTO sweep_page (account_id, automatic_import_id, sweep, id, external_ids)
        SELECT account_id, id, sweep, $3, $4 FROM i WHERE $4::text[] <> '{}'
        """,
        turn.account_id, turn.automatic_import_id, uuid7(), external_ids,
    )  # fmt: skip


async def add(connection: Connection, turn: Turn, external_ids: Sequence[str]) -> None:
    """These records are new, and of no page that a sweep saw the whole of: the next sweep is expected to see them.

    Who was deleted may come back: that an earlier sweep missed it says nothing any more.
    """
    await connection.execute(
        """
        WITH back AS (
            DELETE FROM missing_record
            WHERE account_id = $1 AND automatic_import_id = $2 AND external_id = ANY($4) AND NOT confirmed
        )
        INSERT INTO sweep_page (account_id, automatic_import_id, sweep, id, external_ids)
        SELECT account_id, id, sweep, $3, $4 FROM automatic_import WHERE account_id = $1 AND id = $2
        """,
        turn.account_id, turn.automatic_import_id, uuid7(), external_ids,
    )  # fmt: skip


async def confirm(connection: Connection, turn: Turn, external_ids: Sequence[str]) -> None:
    """The service says that these records are deleted: no sweep need miss them."""
    await connection.execute(
        "INSERT INTO missing_record (account_id, automatic_import_id, external_id, confirmed, told)"
        " SELECT DISTINCT $1::uuid, $2::uuid, id, true, true FROM unnest($3::text[]) id"
        " ON CONFLICT (account_id, automatic_import_id, external_id) DO UPDATE SET confirmed = true, told = true",
        turn.account_id, turn.automatic_import_id, external_ids,
    )  # fmt: skip


async def conclude(connection: Connection, turn: Turn, *, approved: bool = False) -> Mapping[str, Any] | None:
    """The sweep under way is complete: what it missed for the second time is deleted, for the first time noted.

    Returns what somebody has to judge first, where it misses more of the known records than the settings let pass.
    """
    row = await connection.fetchrow(
        "SELECT sweep, sweep_is_whole FROM automatic_import WHERE account_id = $1 AND id = $2"
        " AND sweep_started_at IS NOT NULL",
        turn.account_id, turn.automatic_import_id,
    )  # fmt: skip
    if row is None:
        return None
    if not row["sweep_is_whole"]:
        # Part of it was read under other credentials: it says nothing, and is no measure for the next.
        await forget(connection, turn.account_id, [turn.automatic_import_id])
        await _end(connection, turn)
        return None
    if not approved and (review := await _review(connection, turn, row["sweep"])):
        return review
    await connection.execute(
        f"""
        WITH missed AS (
            {SEEN} AND sweep < $3 EXCEPT {SEEN} AND sweep = $3
        ), again AS (
            UPDATE missing_record m SET confirmed = true WHERE account_id = $1 AND automatic_import_id = $2
                AND NOT EXISTS (SELECT FROM ({SEEN} AND sweep = $3) s WHERE s.external_id = m.external_id)
        ), back AS (
            DELETE FROM missing_record m WHERE account_id = $1 AND automatic_import_id = $2 AND NOT confirmed
                AND EXISTS (SELECT FROM ({SEEN} AND sweep = $3) s WHERE s.external_id = m.external_id)
        )
        INSERT INTO missing_record (account_id, automatic_import_id, external_id)
        SELECT $1, $2, external_id FROM missed ON CONFLICT DO NOTHING
        """,
        turn.account_id, turn.automatic_import_id, row["sweep"],
    )  # fmt: skip
    await connection.execute(
        "DELETE FROM sweep_page WHERE account_id = $1 AND automatic_import_id = $2 AND sweep < $3",
        turn.account_id, turn.automatic_import_id, row["sweep"],
    )  # fmt: skip
    await _end(connection, turn)
    return None


async def _review(connection: Connection, turn: Turn, sweep: int) -> Mapping[str, Any] | None:
    """What this sweep misses for the first time, where that is a lot."""
    row = await connection.fetchrow(
        f"""
        WITH known AS (
            SELECT DISTINCT external_id FROM ({SEEN} AND sweep < $3) before
        ), missed AS (
            SELECT external_id FROM known EXCEPT {SEEN} AND sweep = $3
        ), gone AS (
            SELECT l.external_id, l.record->>'email' AS email FROM missed JOIN ledger l USING (external_id)
            WHERE l.account_id = $1 AND l.external_account_id = $4 AND l.automatic_import_id = $2
                AND l.state <> 'DELETED'
        )
        SELECT (SELECT count(*) FROM known) AS known, (SELECT count(*) FROM gone) AS missing,
            (SELECT json_agg(e) FROM (SELECT external_id, email FROM gone ORDER BY 1 LIMIT $5) e)::text AS examples
        """,
        turn.account_id, turn.automatic_import_id, sweep, turn.external_account_id, MAX_EXAMPLES,
    )  # fmt: skip
    known, missing = row["known"], row["missing"]
    if missing <= settings().review_missing_count or missing * 100 <= settings().review_missing_percent * known:
        return None
    examples = [
        {"external_id": each["external_id"], "email": each["email"], "before": {}, "after": {}}
        for each in orjson.loads(row["examples"])
    ]
    return {"kind": MISSING, "known": known, "affected": missing, "missing": missing, "examples": examples}


async def start_over(turn: Turn) -> None:
    """The service does not know the checkpoint any more: one full sweep (R15)."""
    async with turns.holding(turn) as connection:
        await connection.execute(
            "UPDATE automatic_import SET checkpoint = NULL WHERE account_id = $1 AND id = $2",
            turn.account_id, turn.automatic_import_id,
        )  # fmt: skip
        await abandon(connection, turn.account_id, turn.automatic_import_id)


async def abandon(connection: Connection, account_id: UUID, import_id: UUID) -> None:
    """The sweep under way will not be completed: the import reads from the start again, or its end was dropped.

    What it saw is what the next one is expected to see, kept once however many are given up, and what an earlier one
    missed of that came back.
    """
    await connection.execute(
        f"""
        WITH i AS (
            UPDATE automatic_import SET sweep_started_at = NULL
            WHERE account_id = $1 AND id = $2 AND sweep_started_at IS NOT NULL RETURNING sweep
        ), given_up AS (
            DELETE FROM sweep_page p USING i WHERE account_id = $1 AND automatic_import_id = $2 AND p.sweep = i.sweep
            RETURNING external_ids
        ), seen AS (
            SELECT DISTINCT unnest(external_ids) AS external_id FROM given_up
        ), back AS (
            DELETE FROM missing_record m USING seen WHERE m.account_id = $1 AND m.automatic_import_id = $2
                AND m.external_id = seen.external_id AND NOT m.confirmed
        )
        INSERT INTO sweep_page (account_id, automatic_import_id, sweep, id, external_ids)
        SELECT $1, $2, i.sweep, $3, array_agg(external_id) FROM i, (
            SELECT external_id FROM seen EXCEPT {SEEN} AND sweep < (SELECT sweep FROM i)
        ) new GROUP BY i.sweep
        """,
        account_id, import_id, uuid7(),
    )  # fmt: skip


async def discard(connection: Connection, account_id: UUID, import_id: UUID) -> None:
    """A complete sweep that waits for review is dropped; one that is under way goes on from its checkpoint."""
    kind = await connection.fetchval(
        "SELECT review->>'kind' FROM import_run WHERE account_id = $1 AND automatic_import_id = $2"
        " AND state = 'NEEDS_REVIEW'",
        account_id, import_id,
    )  # fmt: skip
    if kind == MISSING:
        await abandon(connection, account_id, import_id)


async def forget(connection: Connection, account_id: UUID, import_ids: Sequence[UUID]) -> None:
    """What earlier sweeps saw and missed is no measure any more: criteria or credentials are others (R16)."""
    for table in ("sweep_page", "missing_record"):
        kept = " AND NOT confirmed" if table == "missing_record" else ""
        await connection.execute(
            f"DELETE FROM {table} WHERE account_id = $1 AND automatic_import_id = ANY($2::uuid[]){kept}",
            account_id, list(import_ids),
        )  # fmt: skip
    await connection.execute(
        "UPDATE automatic_import SET sweep_is_whole = (sweep_started_at IS NULL)"
        " WHERE account_id = $1 AND id = ANY($2::uuid[])",
        account_id, list(import_ids),
    )  # fmt: skip


async def forget_all(connection: Connection, account_id: UUID, external_account_id: UUID) -> None:
    """The same for every import of the external account."""
    rows = await connection.fetch(
        "SELECT id FROM automatic_import WHERE account_id = $1 AND external_account_id = $2 AND deleted_at IS NULL",
        account_id, external_account_id,
    )  # fmt: skip
    await forget(connection, account_id, [row["id"] for row in rows])


async def _end(connection: Connection, turn: Turn) -> None:
    await connection.execute(
        "UPDATE automatic_import SET sweep_started_at = NULL, sweep_is_whole = true WHERE account_id = $1 AND id = $2",
        turn.account_id, turn.automatic_import_id,
    )  # fmt: skip
