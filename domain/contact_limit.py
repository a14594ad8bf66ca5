"""The contact limit: only ACTIVE contacts count, and none is added beyond it (R11).

The account's row guards it. A transaction that changes the number of ACTIVE contacts holds that row, after external
account and import, before any contact; the count is the row's own, never COUNT(*).
"""

from collections.abc import Sequence
from uuid import UUID

from domain import background_tasks, waiting_room
from domain.audit import record_engine_audit
from domain.database import Connection
from domain.enums import TaskKind
from domain.errors import ErrorCode, Problem, Refused

WARN_FROM = 0.9
"""From this part of the limit on, payloads warn."""
NO_ROOM = Problem(
    ErrorCode.CONTACT_LIMIT,
    "Your plan's contact limit is reached. Choose a larger plan, or unsubscribe or delete contacts.",
)


async def room(connection: Connection, account_id: UUID) -> int:
    """How many more contacts may be ACTIVE at the moment; below zero where a lower limit left too many."""
    room: int = await connection.fetchval(
        "SELECT t.contact_limit - a.active_contacts FROM account a"
        " JOIN plan_tier t ON t.key = a.plan_tier_key WHERE a.id = $1",
        account_id,
    )
    return room


async def hold(connection: Connection, account_id: UUID) -> int:
    """Hold the account's row. Returns how many more contacts may be ACTIVE, as `room` does."""
    # FOR UPDATE would block every insert that references the account, and deadlock.
    room: int = await connection.fetchval(
        "WITH a AS (SELECT plan_tier_key, active_contacts FROM account WHERE id = $1 FOR NO KEY UPDATE)"
        " SELECT t.contact_limit - a.active_contacts FROM a JOIN plan_tier t ON t.key = a.plan_tier_key",
        account_id,
    )
    return room


async def climb(connection: Connection, account_id: UUID) -> bool:
    """With auto-upgrade on, move to the next tier, as far as the ceiling; the account's row is held.

    Whoever needs room climbs, sees what that comes to, and climbs again: nobody pays for more than is used.
    """
    row = await connection.fetchrow(
        """
        SELECT a.plan_tier_key AS before, t.key AS after FROM account a
        JOIN plan_tier p ON p.key = a.plan_tier_key
        LEFT JOIN plan_tier c ON c.key = a.auto_upgrade_ceiling_key
        JOIN plan_tier t ON t.contact_limit > p.contact_limit
            AND t.contact_limit <= coalesce(c.contact_limit, t.contact_limit)
        WHERE a.id = $1 AND a.auto_upgrade ORDER BY t.contact_limit LIMIT 1
        """,
        account_id,
    )  # fmt: skip
    if row is None:
        return False
    await connection.execute("UPDATE account SET plan_tier_key = $2 WHERE id = $1", account_id, row["after"])
    await ask_for_draining(connection, account_id)
    await record_engine_audit(connection, account_id, "PLAN_UPGRADED", account_id, **row)
    return True


async def upgrade(connection: Connection, account_id: UUID, *, wanted: int) -> int:
    """Hold the account's row, and climb until there is room for `wanted` more ACTIVE contacts, if that can be.

    Returns how many there is room for.
    """
    free = await hold(connection, account_id)
    while free < wanted and await climb(connection, account_id):
        free = await room(connection, account_id)
    return free


async def require_room(connection: Connection, account_id: UUID, *, wanted: int = 1) -> None:
    """Hold the account's row; Refused where a user asks for more ACTIVE contacts than may be."""
    if await upgrade(connection, account_id, wanted=wanted) >= wanted:
        return
    raise Refused(NO_ROOM)


async def count_active(connection: Connection, account_id: UUID, delta: int) -> None:
    """Add to the number of ACTIVE contacts. Where that makes room, the waiting room drains at once."""
    if delta:
        await connection.execute(
            "UPDATE account SET active_contacts = active_contacts + $2 WHERE id = $1", account_id, delta
        )
    if delta < 0:
        await ask_for_draining(connection, account_id)


async def ask_for_draining(connection: Connection, account_id: UUID) -> None:
    """There may be room: where somebody waits for it, a task lets them in."""
    if await waiting_room.is_used(connection, account_id):
        await background_tasks.enqueue(connection, account_id, TaskKind.DRAIN_WAITING_ROOM, subject=account_id)


async def tell_waiting(connection: Connection, account_id: UUID, email_keys: Sequence[str]) -> bool:
    """Whoever waits under an address that has a contact now becomes that contact at once. Returns whether anybody."""
    called = bool(email_keys) and await waiting_room.mark_due(connection, account_id, email_keys)
    if called:
        await ask_for_draining(connection, account_id)
    return called


def warning(active: int, limit: int) -> str | None:
    """What to tell people from 90 % of the limit on."""
    if active < WARN_FROM * limit:
        return None
    return f"{active:,} of {limit:,} contacts of your plan are used; new ones wait when there is no room."
