"""The account in the schema: its plan, its contact limit, and who changed what."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.context import Info, account_id, viewer
from api.node import Node, global_id, node_type
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.user_errors import UserError, user_errors
from domain import account_overview, audit_trail, plans
from domain.account_overview import AccountRow
from domain.audit_trail import AuditRow
from domain.errors import Refused

AUDIT_ENTRIES: Order[AuditRow] = Order("auditEntries", lambda row: row.id, UUID)


@strawberry.type(description="What an account has agreed to: a rung of the ladder of plans.")
class Plan:
    key: str = strawberry.field(description="Its name for programs.")
    name: str = strawberry.field(description="Its name for people.")
    contact_limit: int = strawberry.field(description="How many contacts may be ACTIVE.")

    @classmethod
    def of(cls, plan: plans.Plan) -> Self:
        return cls(key=plan.key, name=plan.name, contact_limit=plan.contact_limit)


@strawberry.type(description="How much of the plan's contact limit is used. Only ACTIVE contacts count.")
class ContactUsage:
    active: int = strawberry.field(description="How many contacts are ACTIVE.")
    limit: int = strawberry.field(description="How many contacts may be ACTIVE on the account's plan.")
    waiting: int = strawberry.field(
        description="How many new contacts wait for room, in one queue, first come first served."
    )
    auto_upgrade: bool = strawberry.field(description="Whether the account moves to the next plan at the limit.")
    next_tier: Plan | None = strawberry.field(description="The plan above the present one; null on the highest.")
    ceiling: Plan | None = strawberry.field(description="How far auto-upgrade goes; null: to the highest plan.")
    warning: str | None = strawberry.field(description="What to tell people, from 90 % of the limit on; else null.")

    @classmethod
    def of(cls, usage: account_overview.ContactUsage) -> Self:
        return cls(
            active=usage.active,
            limit=usage.limit,
            waiting=usage.waiting,
            auto_upgrade=usage.auto_upgrade,
            next_tier=Plan.of(usage.next_plan) if usage.next_plan else None,
            ceiling=Plan.of(usage.ceiling) if usage.ceiling else None,
            warning=usage.warning,
        )


@strawberry.type(description="Somebody changed something, or the engine did by itself.")
class AuditEntry:
    action: str = strawberry.field(description="What was done, for programs: PLAN_UPGRADED, AUTOMATIC_IMPORT_PAUSED …")
    actor: str | None = strawberry.field(
        description="The name of the API token that did it, empty where it has none; null for the engine itself."
    )
    subject: str = strawberry.field(description="The key of what was changed.")
    details: JSON = strawberry.field(description="What there is to add: an object.")
    created_at: datetime = strawberry.field(description="When it was done.")

    @classmethod
    def of(cls, row: AuditRow) -> Self:
        return cls(
            action=row.action,
            actor=row.actor_name,
            subject=row.subject,
            details=JSON(dict(row.details)),
            created_at=row.created_at,
        )


@strawberry.type(description="The tenant: it owns contacts, fields, lists, tags and imports.")
class Account(Node):
    key: strawberry.Private[UUID]
    name: str = strawberry.field(description="What the account is called.")
    plan: Plan = strawberry.field(description="The plan that it is on.")

    @classmethod
    def of(cls, row: AccountRow) -> Self:
        return cls(id=global_id("Account", row.id), key=row.id, name=row.name, plan=Plan.of(row.plan))

    @strawberry.field(description="How much of the plan's contact limit is used.")
    async def contact_usage(self) -> ContactUsage:
        return ContactUsage.of(await account_overview.usage(self.key))

    @strawberry.field(description="Who changed what, newest first.")
    async def audit_entries(
        self, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[AuditEntry]:
        wanted = span(AUDIT_ENTRIES, first=first, after=after, last=last, before=before)
        return connection(await audit_trail.page(self.key, wanted), AUDIT_ENTRIES, AuditEntry.of)


@strawberry.input(description="The plan to move to.")
class ChangePlanInput:
    plan_key: str = strawberry.field(description="The plan's key, one of `plans`.")


@strawberry.type(description="What became of a wish for another plan.")
class ChangePlanPayload:
    account: Account | None = strawberry.field(
        default=None, description="The account as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.input(description="Whether the account moves up by itself at its limit.")
class SetAutoUpgradeInput:
    enabled: bool = strawberry.field(description="Whether it does.")
    ceiling_plan_key: str | None = strawberry.field(
        default=None, description="The highest plan to move to; left out or null, the highest there is."
    )


@strawberry.type(description="What became of a wish to move up by itself, or not to.")
class SetAutoUpgradePayload:
    account: Account | None = strawberry.field(
        default=None, description="The account as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type
class AccountQueries:
    @strawberry.field(description="The account that your token belongs to.")
    async def account(self, info: Info) -> Account:
        return await _shown(account_id(info))

    @strawberry.field(description="Every plan that there is, the smallest first.")
    async def plans(self) -> list[Plan]:
        return [Plan.of(plan) for plan in await plans.ladder()]


@strawberry.type
class AccountMutations:
    @strawberry.mutation(
        description="Move to another plan. A higher limit lets those in at once who wait. A lower one deactivates"
        " nobody, and lets nobody new in before there is room."
    )
    async def change_plan(self, info: Info, input: ChangePlanInput) -> ChangePlanPayload:  # noqa: A002
        try:
            await plans.change(viewer(info), input.plan_key, queue=info.context.queue)
        except Refused as refused:
            return ChangePlanPayload(user_errors=user_errors(refused))
        key = account_id(info)
        return ChangePlanPayload(account=await _shown(key), warnings=await account_overview.warnings(key))

    @strawberry.mutation(
        description="Let the account move to the next plan by itself when its limit is reached, instead of letting new"
        " contacts wait; or stop that. Each such move is an audit entry."
    )
    async def set_auto_upgrade(self, info: Info, input: SetAutoUpgradeInput) -> SetAutoUpgradePayload:  # noqa: A002
        try:
            await plans.set_auto_upgrade(
                viewer(info), enabled=input.enabled, ceiling_key=input.ceiling_plan_key, queue=info.context.queue
            )
        except Refused as refused:
            return SetAutoUpgradePayload(user_errors=user_errors(refused))
        key = account_id(info)
        return SetAutoUpgradePayload(account=await _shown(key), warnings=await account_overview.warnings(key))


async def _shown(key: UUID) -> Account:
    return Account.of((await account_overview.by_ids(key, [key]))[key])


node_type("Account", AccountRow, read=account_overview.by_ids, show=Account.of)
