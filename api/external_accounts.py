"""External accounts in the schema."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.automatic_imports import AutomaticImport
from api.context import Info, account_id, loaders, tell, viewer
from api.enums import describe
from api.node import Node, global_id, key_of, node_type, show
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.user_errors import UserError, object_of, user_errors
from domain import cap as domain_cap
from domain import external_accounts
from domain.catalogue import CriterionChoice as DomainChoice
from domain.enums import ExternalAccountHealth
from domain.errors import Refused
from domain.external_accounts import ExternalAccountRow

if TYPE_CHECKING:
    from api.catalogue import Service

describe(
    ExternalAccountHealth,
    "Whether an external account can be read.",
    HEALTHY="The service accepts the stored credentials.",
    NEEDS_RECONNECT="The service does not accept them any more: reconnect it.",
    DISCONNECTED="A user disconnected it; the credentials are erased.",
)

EXTERNAL_ACCOUNTS: Order[ExternalAccountRow] = Order("externalAccounts", lambda row: row.id, UUID)


@strawberry.type(description="How many contacts may be written from an external account in its present window.")
class CapUsage:
    limit: int = strawberry.field(description="How many in each window.")
    used: int = strawberry.field(description="How many were, in the present window.")
    remaining: int = strawberry.field(description="How many still may be.")
    window_ends_at: datetime | None = strawberry.field(
        description="When the next window begins; null while none is open, before the next cycle."
    )

    @classmethod
    def of(cls, usage: domain_cap.CapUsage) -> Self:
        return cls(limit=usage.limit, used=usage.used, remaining=usage.remaining, window_ends_at=usage.window_ends_at)


@strawberry.type(description="One value that a criterion can have in an external account.")
class CriterionChoice:
    value: str = strawberry.field(description="What to put into the criteria.")
    label: str = strawberry.field(description="What people read.")

    @classmethod
    def of(cls, choice: DomainChoice) -> Self:
        return cls(value=choice.value, label=choice.label)


@strawberry.type(description="One connected login at a service: a shop, an address book. Its imports share its cap.")
class ExternalAccount(Node):
    key: strawberry.Private[UUID]
    service_key: strawberry.Private[str]
    label: str = strawberry.field(description="Whose it is, in the service's words.")
    health: ExternalAccountHealth = strawberry.field(description="Whether it can be read.")
    health_reason: str | None = strawberry.field(description="Why not, in the service's words; else null.")
    cap: CapUsage = strawberry.field(description="How many contacts may be written from it.")
    created_at: datetime = strawberry.field(description="When it was first connected.")

    @classmethod
    def of(cls, row: ExternalAccountRow) -> Self:
        return cls(
            id=global_id("ExternalAccount", row.id),
            key=row.id,
            service_key=row.service,
            label=row.label,
            health=row.health,
            health_reason=row.health_reason,
            cap=CapUsage.of(row.cap),
            created_at=row.created_at,
        )

    @strawberry.field(description="The service; null where it is no longer offered.")
    def service(self, info: Info) -> Annotated["Service", strawberry.lazy("api.catalogue")] | None:
        found = info.context.services.get(self.service_key)
        return show(found) if found is not None else None

    @strawberry.field(
        description="What a criterion can be here; empty for one that is not chosen from the account. Asks the "
        "service, so it takes a moment."
    )
    async def criteria_choices(
        self,
        info: Info,
        criterion: Annotated[str, strawberry.argument(description="A property of the service's `criteriaSchema`.")],
        search: Annotated[
            str | None, strawberry.argument(description="Only choices whose label contains this, whatever the case.")
        ] = None,
    ) -> list[CriterionChoice]:
        choices = await external_accounts.criteria_choices(
            account_id(info), self.key, criterion=criterion, search=search, catalogue=info.context.catalogue
        )
        return [CriterionChoice.of(choice) for choice in choices]

    @strawberry.field(description="The automatic imports that read it, oldest first.")
    async def automatic_imports(self, info: Info) -> list[AutomaticImport]:
        return [AutomaticImport.of(row) for row in await loaders(info).imports_of_external_account.load(self.key)]


@strawberry.input(description="A login at a service.")
class ConnectServiceInput:
    service: str = strawberry.field(description="The service's key.")
    credentials: JSON = strawberry.field(
        description="An object that fits the service's `credentialsSchema`. It is stored encrypted, and never shown."
    )

    def __repr__(self) -> str:
        # The credentials are in the clear here.
        return f"ConnectServiceInput({self.service!r})"


@strawberry.type(description="What became of a wish to connect a service.")
class ConnectServicePayload:
    external_account: ExternalAccount | None = strawberry.field(
        default=None, description="The external account; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="New credentials for an external account.")
class ReconnectExternalAccountInput:
    external_account_id: strawberry.ID = strawberry.field(description="The external account.")
    credentials: JSON = strawberry.field(
        description="An object that fits the service's `credentialsSchema`, and opens the same account there."
    )

    def __repr__(self) -> str:
        return f"ReconnectExternalAccountInput({self.external_account_id!r})"


@strawberry.type(description="What became of a wish to reconnect an external account.")
class ReconnectExternalAccountPayload:
    external_account: ExternalAccount | None = strawberry.field(
        default=None, description="The external account; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="An external account to disconnect.")
class DisconnectExternalAccountInput:
    external_account_id: strawberry.ID = strawberry.field(description="The external account.")


@strawberry.type(description="What became of a wish to disconnect an external account.")
class DisconnectExternalAccountPayload:
    external_account: ExternalAccount | None = strawberry.field(
        default=None, description="The external account; null where there are errors."
    )
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class ExternalAccountQueries:
    @strawberry.field(description="The account's connected logins, oldest first.")
    async def external_accounts(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        service: Annotated[
            str | None, strawberry.argument(description="Only those at the service with this key.")
        ] = None,
    ) -> Connection[ExternalAccount]:
        page = span(EXTERNAL_ACCOUNTS, first=first, after=after, last=last, before=before)
        rows = await external_accounts.page(account_id(info), page, service=service)
        return connection(rows, EXTERNAL_ACCOUNTS, ExternalAccount.of)


@strawberry.type
class ExternalAccountMutations:
    @strawberry.mutation(
        description="Connect a login after asking the service whose it is. The same one again renews its credentials."
    )
    async def connect_service(self, info: Info, input: ConnectServiceInput) -> ConnectServicePayload:  # noqa: A002
        try:
            connected = await external_accounts.connect(
                viewer(info),
                service=input.service,
                credentials=object_of(input.credentials, "credentials") or {},
                catalogue=info.context.catalogue,
            )
        except Refused as refused:
            return ConnectServicePayload(user_errors=user_errors(refused))
        return ConnectServicePayload(external_account=await _shown(info, connected.id))

    @strawberry.mutation(
        description="Give an external account new credentials. Its imports go on where they stopped; those that a "
        "disconnect paused wait to be resumed."
    )
    async def reconnect_external_account(
        self,
        info: Info,
        input: ReconnectExternalAccountInput,  # noqa: A002
    ) -> ReconnectExternalAccountPayload:
        key = key_of("ExternalAccount", input.external_account_id)
        try:
            await external_accounts.reconnect(
                viewer(info),
                key,
                credentials=object_of(input.credentials, "credentials") or {},
                catalogue=info.context.catalogue,
            )
        except Refused as refused:
            return ReconnectExternalAccountPayload(user_errors=user_errors(refused))
        return ReconnectExternalAccountPayload(external_account=await _shown(info, key))

    @strawberry.mutation(
        description="Erase the credentials, revoke them at the service where it can do that, and pause the imports. "
        "Everything else stays, for a later reconnect."
    )
    async def disconnect_external_account(
        self,
        info: Info,
        input: DisconnectExternalAccountInput,  # noqa: A002
    ) -> DisconnectExternalAccountPayload:
        key = key_of("ExternalAccount", input.external_account_id)
        try:
            warnings = await external_accounts.disconnect(
                viewer(info), key, catalogue=info.context.catalogue, tell=partial(tell, info)
            )
        except Refused as refused:
            return DisconnectExternalAccountPayload(user_errors=user_errors(refused))
        return DisconnectExternalAccountPayload(external_account=await _shown(info, key), warnings=warnings)


async def _shown(info: Info, key: UUID) -> ExternalAccount:
    return ExternalAccount.of((await external_accounts.by_ids(account_id(info), [key]))[key])


node_type("ExternalAccount", ExternalAccountRow, read=external_accounts.by_ids, show=ExternalAccount.of)
