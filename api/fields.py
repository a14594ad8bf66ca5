"""Custom fields in the schema."""

from typing import TYPE_CHECKING, Annotated, Self
from uuid import UUID

import strawberry

from api.context import Info, account_id
from api.enums import describe
from api.node import Node, global_id, node_type, show
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from domain import shown_fields
from domain.records import FieldType
from domain.shown_fields import ShownField

if TYPE_CHECKING:
    from api.catalogue import Service

describe(
    FieldType,
    "What a custom field can hold.",
    TEXT="A line of text.",
    TEXTAREA="Text of several lines.",
    NUMBER="A number.",
    BOOLEAN="True or false.",
    DATE="A day, as YYYY-MM-DD.",
    DATETIME="A moment, in ISO 8601.",
    DROPDOWN="One of several options.",
    MULTISELECT="Any of several options, as a list of texts.",
    URL="A web address.",
)

FIELDS: Order[ShownField] = Order("fields", lambda row: row.id, UUID)


@strawberry.type(description="A custom field of contacts. An automatic import makes the fields it needs by itself.")
class Field(Node):
    service_key: strawberry.Private[str]
    title: str = strawberry.field(description="What people read.")
    type: FieldType = strawberry.field(description="What it can hold.")
    personalization_tag: str = strawberry.field(
        description="Its name in mails, as %SHOPIFY_TOTAL_SPENT% without the percent signs. It never changes."
    )
    options: list[str] = strawberry.field(description="What can be chosen, where the type offers a choice.")
    sortable: bool = strawberry.field(description="Whether contacts can be sorted by it.")

    @classmethod
    def of(cls, row: ShownField) -> Self:
        return cls(
            id=global_id("Field", row.id),
            service_key=row.service,
            title=row.title,
            type=row.type,
            personalization_tag=row.personalization_tag,
            options=list(row.options),
            sortable=row.sortable,
        )

    @strawberry.field(description="The service whose naming it follows; null where that is no longer offered.")
    def service(self, info: Info) -> Annotated["Service", strawberry.lazy("api.catalogue")] | None:
        found = info.context.services.get(self.service_key)
        return show(found) if found is not None else None


@strawberry.input(description="Which fields; all that is given counts.")
class FieldFilter:
    service: str | None = strawberry.field(default=None, description="Those of the service with this key.")
    type: FieldType | None = strawberry.field(default=None, description="Those that hold this.")


@strawberry.type
class FieldQueries:
    @strawberry.field(description="The account's custom fields, oldest first.")
    async def fields(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[FieldFilter | None, strawberry.argument(description="Which fields.")] = None,  # noqa: A002
    ) -> Connection[Field]:
        page = span(FIELDS, first=first, after=after, last=last, before=before)
        wanted = shown_fields.FieldFilter(service=filter.service, type=filter.type) if filter else None
        rows = await shown_fields.page(account_id(info), page, wanted or shown_fields.FieldFilter())
        return connection(rows, FIELDS, Field.of)


node_type("Field", ShownField, read=shown_fields.by_ids, show=Field.of)
