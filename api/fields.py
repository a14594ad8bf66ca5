"""Custom fields in the schema."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Self
from uuid import UUID

import strawberry

from api.context import Info, account_id, viewer
from api.enums import describe
from api.node import Node, global_id, key_of, node_type, show
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.user_errors import UserError, user_errors
from domain import field_changes, shown_fields
from domain.errors import Refused
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


@strawberry.input(description="What to change of a field.")
class UpdateFieldInput:
    id: strawberry.ID = strawberry.field(description="The field.")
    title: str = strawberry.field(description="What people read.")


@strawberry.type(description="What became of a wish to change a field.")
class UpdateFieldPayload:
    field: Field | None = strawberry.field(
        default=None, description="The field as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="A field to delete.")
class DeleteFieldInput:
    id: strawberry.ID = strawberry.field(description="The field.")


@strawberry.type(description="What became of a wish to delete a field.")
class DeleteFieldPayload:
    deleted_field_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id of what is gone, for `restoreField`; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="A deleted field to have again.")
class RestoreFieldInput:
    id: strawberry.ID = strawberry.field(description="The field.")


@strawberry.type(description="What became of a wish to have a deleted field again.")
class RestoreFieldPayload:
    field: Field | None = strawberry.field(
        default=None, description="The field as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class FieldMutations:
    @strawberry.mutation(description="Give a field another title. Its personalization tag stays.")
    async def update_field(self, info: Info, input: UpdateFieldInput) -> UpdateFieldPayload:  # noqa: A002
        key = key_of("Field", input.id)
        try:
            await field_changes.rename(viewer(info), key, title=input.title)
        except Refused as refused:
            return UpdateFieldPayload(user_errors=user_errors(refused))
        return UpdateFieldPayload(field=await _shown(info, key))

    @strawberry.mutation(
        description="Delete a field. It is not shown any more, and automatic imports neither write it nor make it"
        " again. `restoreField` brings it back."
    )
    async def delete_field(self, info: Info, input: DeleteFieldInput) -> DeleteFieldPayload:  # noqa: A002
        try:
            await field_changes.delete(viewer(info), key_of("Field", input.id))
        except Refused as refused:
            return DeleteFieldPayload(user_errors=user_errors(refused))
        return DeleteFieldPayload(deleted_field_id=input.id)

    @strawberry.mutation(
        description="Have a deleted field again, with the values it had. Automatic imports write it again with the next"
        " change of each record."
    )
    async def restore_field(self, info: Info, input: RestoreFieldInput) -> RestoreFieldPayload:  # noqa: A002
        key = key_of("Field", input.id)
        try:
            await field_changes.restore(viewer(info), key)
        except Refused as refused:
            return RestoreFieldPayload(user_errors=user_errors(refused))
        return RestoreFieldPayload(field=await _shown(info, key))


async def _shown(info: Info, key: UUID) -> Field | None:
    row = (await shown_fields.by_ids(account_id(info), [key])).get(key)
    return Field.of(row) if row is not None else None


node_type("Field", ShownField, read=shown_fields.by_ids, show=Field.of)
