"""The account in the schema."""

from typing import Self
from uuid import UUID

import strawberry

from api.context import Info, account_id
from api.node import Node, global_id, node_type
from domain import account_overview
from domain.account_overview import AccountRow


@strawberry.type(description="How much of the plan's contact limit is used. Only ACTIVE contacts count.")
class ContactUsage:
    active: int = strawberry.field(description="How many contacts are ACTIVE.")
    limit: int = strawberry.field(description="How many contacts may be ACTIVE on the account's plan.")
    waiting: int = strawberry.field(
        description="How many new contacts wait for room, in one queue, first come first served."
    )
    auto_upgrade: bool = strawberry.field(description="Whether the account moves to the next plan at the limit.")
    warning: str | None = strawberry.field(description="What to tell people, from 90 % of the limit on; else null.")

    @classmethod
    def of(cls, usage: account_overview.ContactUsage) -> Self:
        return cls(
            active=usage.active,
            limit=usage.limit,
            waiting=usage.waiting,
            auto_upgrade=usage.auto_upgrade,
            warning=usage.warning,
        )


@strawberry.type(description="What an account has agreed to.")
class Plan:
    key: str = strawberry.field(description="Its name for programs.")
    name: str = strawberry.field(description="Its name for people.")
    contact_limit: int = strawberry.field(description="How many contacts may be ACTIVE.")


@strawberry.type(description="The tenant: it owns contacts, fields, lists, tags and imports.")
class Account(Node):
    key: strawberry.Private[UUID]
    name: str = strawberry.field(description="What the account is called.")
    plan: Plan = strawberry.field(description="The plan that it is on.")

    @classmethod
    def of(cls, row: AccountRow) -> Self:
        plan = Plan(key=row.plan.key, name=row.plan.name, contact_limit=row.plan.contact_limit)
        return cls(id=global_id("Account", row.id), key=row.id, name=row.name, plan=plan)

    @strawberry.field(description="How much of the plan's contact limit is used.")
    async def contact_usage(self) -> ContactUsage:
        return ContactUsage.of(await account_overview.usage(self.key))


@strawberry.type
class AccountQueries:
    @strawberry.field(description="The account that your token belongs to.")
    async def account(self, info: Info) -> Account:
        key = account_id(info)
        return Account.of((await account_overview.by_ids(key, [key]))[key])


node_type("Account", AccountRow, read=account_overview.by_ids, show=Account.of)
