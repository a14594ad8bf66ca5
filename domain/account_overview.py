"""Reading an account: its name, and how much of its contact limit is used (R11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain import database, ledger

WARN_FROM = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A rung of the ladder of plans."""

    key: str
    name: str
    contact_limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """An account as it is shown."""

    id: UUID
    name: str
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactUsage:
    """The ACTIVE contacts, the plan's limit, and the new contacts that wait for room."""

    active: int
    limit: int
    waiting: int
    auto_upgrade: bool

    @property
    def warning(self) -> str | None:
        """What to tell the account from 90 % on."""
        if self.active < self.limit * WARN_FROM:
            return None
        if self.active < self.limit:
            return f"{self.active} of your {self.limit} active contacts are used. At the limit, new contacts wait."
        return (
            f"Your plan's limit of {self.limit} active contacts is reached: {self.waiting} new contacts wait for room."
            " Updates of known contacts go on."
        )


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
        "SELECT t.contact_limit, a.active_contacts, a.auto_upgrade FROM account a"
        " JOIN plan_tier t ON t.key = a.plan_tier_key WHERE a.id = $1",
        account_id,
    )
    account = rows[0]
    return ContactUsage(
        active=account["active_contacts"],
        limit=account["contact_limit"],
        waiting=await ledger.waiting_count(account_id),
        auto_upgrade=account["auto_upgrade"],
    )
