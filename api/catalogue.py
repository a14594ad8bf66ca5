"""Services in the schema: what can be connected."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

import strawberry
from strawberry.scalars import JSON

from api.context import Info, loaders
from api.enums import describe
from api.external_accounts import ExternalAccount
from api.node import shows
from domain.catalogue import ServiceAuthorization, ServiceInfo
from domain.records import FieldSpec, FieldType


class ServiceCategory(StrEnum):
    ADDRESS_BOOK = "ADDRESS_BOOK"
    E_COMMERCE = "E_COMMERCE"
    PROJECT_MANAGEMENT = "PROJECT_MANAGEMENT"
    FILE = "FILE"


describe(
    ServiceCategory,
    "What kind of app a service is.",
    ADDRESS_BOOK="It keeps people's addresses.",
    E_COMMERCE="It runs shops; its contacts are customers.",
    PROJECT_MANAGEMENT="It runs projects; its contacts are members and guests.",
    FILE="It is a file that lies somewhere.",
)
describe(
    ServiceAuthorization,
    "How a service is connected.",
    OAUTH="Its users agree on a page of the service: `startServiceAuthorization`.",
    FORM="Its users fill in the form of `credentialsSchema`: `connectService`.",
)


@strawberry.type(description="A field that a service brings, beside name, email and phone.")
class ServiceField:
    key: str = strawberry.field(description="The service's own name for it.")
    title: str = strawberry.field(description="What people read.")
    type: FieldType = strawberry.field(description="What it can hold.")
    options: list[str] = strawberry.field(description="What can be chosen, where the type offers a choice.")

    @classmethod
    def of(cls, spec: FieldSpec) -> Self:
        return cls(key=spec.key, title=spec.title, type=spec.type, options=list(spec.options))


@strawberry.type(description="A kind of external app that contacts can be imported from.")
class Service:
    key: str = strawberry.field(description="Its name for programs, as `shopify`.")
    name: str = strawberry.field(description="Its name for people.")
    category: ServiceCategory = strawberry.field(description="What kind of app it is.")
    documentation_url: str = strawberry.field(description="Where the service explains how to get credentials.")
    authorization: ServiceAuthorization = strawberry.field(description="How it is best connected on this server.")
    authorizations: list[ServiceAuthorization] = strawberry.field(
        description="Every way that works on this server, the best first; empty until the operator set one up."
    )
    credentials_schema: JSON | None = strawberry.field(
        description="JSON Schema of the credentials: a page can draw the form from it. Null where nothing can be typed."
    )
    authorization_schema: JSON | None = strawberry.field(
        description="JSON Schema of what has to be known before the service's page is opened, as a shop's domain: "
        "`details` of `startServiceAuthorization`. Null where there is no such page."
    )
    criteria_schema: JSON = strawberry.field(
        description="JSON Schema of the criteria: a page can draw the form from it."
    )
    fields: list[ServiceField] = strawberry.field(description="What it brings, beside name, email and phone.")
    notice: str | None = strawberry.field(description="What to know before creating an import of it; else null.")

    @classmethod
    def of(cls, info: ServiceInfo) -> Self:
        return cls(
            key=info.key,
            name=info.name,
            category=ServiceCategory(info.category),
            documentation_url=info.documentation_url,
            authorization=info.authorization,
            authorizations=list(info.authorizations),
            credentials_schema=_json(info.credentials_schema),
            authorization_schema=_json(info.authorization_schema),
            criteria_schema=JSON(dict(info.criteria_schema)),
            fields=[ServiceField.of(spec) for spec in info.fields],
            notice=info.notice,
        )

    @strawberry.field(description="How many automatic imports of it the account has.")
    async def automatic_import_count(self, info: Info) -> int:
        return await loaders(info).import_count_of_service.load(self.key)

    @strawberry.field(description="The account's connected logins at it, oldest first.")
    async def external_accounts(self, info: Info) -> list[ExternalAccount]:
        return [ExternalAccount.of(row) for row in await loaders(info).external_accounts_of_service.load(self.key)]


def _json(schema: Mapping[str, Any] | None) -> JSON | None:
    return None if schema is None else JSON(dict(schema))


@strawberry.type
class CatalogueQueries:
    @strawberry.field(description="The services that can be connected, by name.")
    async def services(
        self,
        info: Info,
        category: Annotated[ServiceCategory | None, strawberry.argument(description="Only those of this kind.")] = None,
    ) -> list[Service]:
        services = info.context.services.values()
        return [Service.of(service) for service in services if category in (None, service.category)]

    @strawberry.field(description="The service with a key; null where there is none.")
    async def service(
        self, info: Info, key: Annotated[str, strawberry.argument(description="The service's key.")]
    ) -> Service | None:
        found = info.context.services.get(key)
        return Service.of(found) if found is not None else None


shows(ServiceInfo, Service.of)
