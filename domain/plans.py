"""The ladder of plans, and moving on it: by hand, and by auto-upgrade (R11)."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain import contact_limit, database
from domain.account import Viewer
from domain.audit import record_audit
from domain.database import Connection
from domain.errors import ErrorCode, Problem, Refused
from domain.queue import Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A rung of the ladder of plans."""

    key: str
    name: str
    contact_limit: int


async def ladder() -> Sequence[Plan]:
    """Every plan there is, the smallest first."""
    rows = await database.fetch("SELECT key, name, contact_limit FROM plan_tier ORDER BY contact_limit")
    return [Plan(key=row["key"], name=row["name"], contact_limit=row["contact_limit"]) for row in rows]


async def change(viewer: Viewer, plan_key: str, *, queue: Queue) -> None:
    """Move the account to another plan, up or down. Refused where there is no such plan.

    A lower limit deactivates nobody; a higher one lets those in who wait. A ceiling of auto-upgrade that would be
    below the new plan moves up to it.
    """
    account_id = viewer.account_id
    plans = await ladder()
    wanted = _named(plans, plan_key, "planKey")
    async with database.transaction() as connection:
        await contact_limit.hold(connection, account_id)
        account = await connection.fetchrow(
            "SELECT plan_tier_key, auto_upgrade_ceiling_key FROM account WHERE id = $1", account_id
        )
        if account["plan_tier_key"] == wanted.key:
            return
        ceiling_key = account["auto_upgrade_ceiling_key"]
        if ceiling_key is not None and _named(plans, ceiling_key).contact_limit < wanted.contact_limit:
            ceiling_key = wanted.key
        await connection.execute(
            "UPDATE account SET plan_tier_key = $2, auto_upgrade_ceiling_key = $3 WHERE id = $1",
            account_id, wanted.key, ceiling_key,
        )  # fmt: skip
        await record_audit(
            viewer, "PLAN_CHANGED", account_id, before=account["plan_tier_key"], after=wanted.key, ceiling=ceiling_key
        )
        await contact_limit.ask_for_draining(connection, account_id)
    await queue.wake()


async def set_auto_upgrade(viewer: Viewer, *, enabled: bool, ceiling_key: str | None, queue: Queue) -> None:
    """Let the account move up by itself at its limit, as far as the ceiling (None: the highest plan), or stop that.

    Refused where there is no such plan, or it is below the present one.
    """
    account_id = viewer.account_id
    plans = await ladder()
    ceiling = _named(plans, ceiling_key, "ceilingPlanKey") if ceiling_key is not None else plans[-1]
    async with database.transaction() as connection:
        await contact_limit.hold(connection, account_id)
        present = _named(plans, await _present_key(connection, viewer))
        if ceiling.contact_limit < present.contact_limit:
            message = f"The account is on the plan {present.key!r}: the ceiling cannot be below it."
            raise Refused(Problem(ErrorCode.INVALID, message, ("ceilingPlanKey",)))
        await connection.execute(
            "UPDATE account SET auto_upgrade = $2, auto_upgrade_ceiling_key = $3 WHERE id = $1",
            account_id, enabled, ceiling_key,
        )  # fmt: skip
        await record_audit(viewer, "AUTO_UPGRADE_SET", account_id, enabled=enabled, ceiling=ceiling_key)
        if enabled:
            await contact_limit.ask_for_draining(connection, account_id)
    if enabled:
        await queue.wake()


async def _present_key(connection: Connection, viewer: Viewer) -> str:
    key: str = await connection.fetchval("SELECT plan_tier_key FROM account WHERE id = $1", viewer.account_id)
    return key


def _named(plans: Sequence[Plan], key: str, *field: str) -> Plan:
    found = next((plan for plan in plans if plan.key == key), None)
    if found is None:
        message = f"There is no plan {key!r}. Plans: {', '.join(plan.key for plan in plans)}."
        raise Refused(Problem(ErrorCode.NOT_FOUND, message, field))
    return found
