"""Reading an account: its name, and how much of its contact limit is used (R11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain import contact_limit, database, plans, waiting_room
from domain.plans import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """An account as it is shown."""

    id: UUID
    name: str
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactUsage:
    """The ACTIVE contacts, the plan's limit, and the new contacts that wait for room.

    `next_plan` is the rung above the present one. `ceiling` is how far auto-upgrade goes, None: to the highest plan.
    """

    active: int
    limit: int
    waiting: int
    auto_upgrade: bool
    next_plan: Plan | None
    ceiling: Plan | None
    warning: str | None


async def by_ids(account_id: UUID, wanted: Sequence[UUID]) -> dict[UUID, AccountRow]:
    """The account itself, where it is wanted: there is no other that it may see."""
    rows = await database.fetch(
        "SELECT a.id, a.name, t.key AS plan_key, t.name AS plan_name, t.contact_limit FROM account a"
        " JOIN plan_tier t ON t.key = a.plan_tier_key WHERE a.id = $1 AND a.id = ANY($2::uuid[])",
        account_id,
        wanted,
    )
    return {
        row["id"]: AccountRow(
            id=row["id"],
            name=row["name"],
            plan=Plan(key=row["plan_key"], name=row["plan_name"], contact_limit=row["contact_limit"]),
        )
        for row in rows
    }


async def usage(account_id: UUID) -> ContactUsage:
    """The usage as it stands."""
    rows = await database.fetch(
        "SELECT t.contact_limit, a.active_contacts, a.auto_upgrade, a.auto_upgrade_ceiling_key FROM account a"
        " JOIN plan_tier t ON t.key = a.plan_tier_key WHERE a.id = $1",
        account_id,
    )
    active, limit = rows[0]["active_contacts"], rows[0]["contact_limit"]
    ladder = await plans.ladder()
    return ContactUsage(
        active=active,
        limit=limit,
        waiting=await waiting_room.count_waiting(account_id),
        auto_upgrade=rows[0]["auto_upgrade"],
        next_plan=next((plan for plan in ladder if plan.contact_limit > limit), None),
        ceiling=next((plan for plan in ladder if plan.key == rows[0]["auto_upgrade_ceiling_key"]), None),
        warning=contact_limit.warning(active, limit),
    )


async def warnings(account_id: UUID) -> list[str]:
    """What is worth telling whoever just changed something that the contact limit concerns."""
    warning = (await usage(account_id)).warning
    return [] if warning is None else [warning]
