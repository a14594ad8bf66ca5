"""Connecting a service by consent on a page of it, in the schema."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.context import Info, account_id, loaders, viewer
from api.enums import describe
from api.external_accounts import ExternalAccount
from api.node import Node, global_id, key_of, node_type, optional_key_of
from api.user_errors import UserError, object_of, user_errors
from domain import service_authorizations
from domain.enums import AttemptState
from domain.errors import Refused
from domain.service_authorizations import AttemptRow

describe(
    AttemptState,
    "Where an attempt to connect a service by consent stands.",
    name="ServiceAuthorizationState",
    PENDING="The user has not come back from the service's page, or their answer is being taken.",
    COMPLETED="The service is connected.",
    FAILED="Nothing was connected; `userErrors` says why.",
    EXPIRED="The user did not come back within ten minutes: start another.",
)


@strawberry.type(description="One attempt to connect a service by a user's consent on a page of it.")
class ServiceAuthorizationAttempt(Node):
    external_account_key: strawberry.Private[UUID | None]
    state: AttemptState = strawberry.field(description="Where it stands.")
    expires_at: datetime = strawberry.field(description="Until when the user may come back from the service's page.")
    user_errors: list[UserError] = strawberry.field(
        description="Why it failed, and what to do; empty while it has not."
    )

    @classmethod
    def of(cls, row: AttemptRow) -> Self:
        return cls(
            id=global_id("ServiceAuthorizationAttempt", row.id),
            external_account_key=row.external_account_id,
            state=row.state,
            expires_at=row.expires_at,
            user_errors=user_errors(Refused(*row.problems)),
        )

    @strawberry.field(description="What it connected, or is to reconnect; else null.")
    async def external_account(self, info: Info) -> ExternalAccount | None:
        if self.external_account_key is None:
            return None
        row = await loaders(info).external_account.load(self.external_account_key)
        return ExternalAccount.of(row) if row is not None else None


@strawberry.input(description="A wish to connect a service by consent on a page of it.")
class StartServiceAuthorizationInput:
    service: str = strawberry.field(description="The service's key.")
    details: JSON | None = strawberry.field(
        default=None, description="An object that fits the service's `authorizationSchema`; it may need nothing."
    )
    external_account_id: strawberry.ID | None = strawberry.field(
        default=None, description="The external account to reconnect; without it a login is connected anew."
    )


@strawberry.type(description="What became of a wish to connect a service by consent.")
class StartServiceAuthorizationPayload:
    authorization_url: str | None = strawberry.field(
        default=None,
        description="The service's page, to be opened in the user's browser; null where there are errors. From there "
        'they come to a page of this server, which posts `{source: "sluice", type: "service-authorization", id, '
        "state}` to the window that opened it.",
    )
    service_authorization: ServiceAuthorizationAttempt | None = strawberry.field(
        default=None, description="The attempt, whose state can be asked for; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class ServiceAuthorizationQueries:
    @strawberry.field(
        description="An attempt to connect a service by consent; null where your account has none with it."
    )
    async def service_authorization(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The attempt's id.")],  # noqa: A002
    ) -> ServiceAuthorizationAttempt | None:
        key = key_of("ServiceAuthorizationAttempt", id)
        row = (await service_authorizations.by_ids(account_id(info), [key])).get(key)
        return ServiceAuthorizationAttempt.of(row) if row is not None else None


@strawberry.type
class ServiceAuthorizationMutations:
    @strawberry.mutation(
        description="Begin to connect a service, or to reconnect an external account, by a user's consent on a page of "
        "it. The user has ten minutes."
    )
    async def start_service_authorization(
        self,
        info: Info,
        input: StartServiceAuthorizationInput,  # noqa: A002
    ) -> StartServiceAuthorizationPayload:
        key = optional_key_of("ExternalAccount", input.external_account_id)
        try:
            started = await service_authorizations.start(
                viewer(info),
                service=input.service,
                details=object_of(input.details, "details") or {},
                external_account_id=key,
                redirect_uri=info.context.callback_url,
                catalogue=info.context.catalogue,
            )
        except Refused as refused:
            return StartServiceAuthorizationPayload(user_errors=user_errors(refused))
        row = (await service_authorizations.by_ids(account_id(info), [started.id]))[started.id]
        return StartServiceAuthorizationPayload(
            authorization_url=started.url, service_authorization=ServiceAuthorizationAttempt.of(row)
        )


node_type(
    "ServiceAuthorizationAttempt",
    AttemptRow,
    read=service_authorizations.by_ids,
    show=ServiceAuthorizationAttempt.of,
)
