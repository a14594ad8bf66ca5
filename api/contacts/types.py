"""Contacts in the schema."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.contacts.inputs import ContactFilter
from api.context import Info, account_id, loaders
from api.enums import describe
from api.fields import Field
from api.lists import ContactList, Tag
from api.node import Node, global_id, key_of, node_type, show
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.user_errors import BadUserInput
from domain import contacts
from domain.contacts import ContactOrder
from domain.enums import ContactStatus
from domain.ledger import LedgerRow
from domain.targets import SubscriptionRow

if TYPE_CHECKING:
    from api.automatic_imports import AutomaticImport

describe(
    ContactOrder,
    "By what contacts are sorted.",
    CREATED_AT_ASC="Oldest first.",
    CREATED_AT_DESC="Newest first.",
    EMAIL_ASC="By address, from a to z.",
    EMAIL_DESC="By address, from z to a.",
)

ORDERS: Mapping[ContactOrder, Order[contacts.Contact]] = {
    ContactOrder.CREATED_AT_ASC: Order("contacts.created_at.asc", lambda row: row.id, UUID),
    ContactOrder.CREATED_AT_DESC: Order("contacts.created_at.desc", lambda row: row.id, UUID),
    ContactOrder.EMAIL_ASC: Order("contacts.email.asc", lambda row: row.email_key, str),
    ContactOrder.EMAIL_DESC: Order("contacts.email.desc", lambda row: row.email_key, str),
}


@strawberry.type(description="A contact's subscription to one list. Leaving a list is a status, never a missing row.")
class ListSubscription:
    list: ContactList = strawberry.field(description="The list.")
    status: ContactStatus = strawberry.field(
        description="Whether the person may be mailed through this list. The contact's own status must be ACTIVE too."
    )
    updated_at: datetime = strawberry.field(description="When the status last changed.")

    @classmethod
    def of(cls, row: SubscriptionRow) -> Self:
        return cls(list=ContactList.of(row.list), status=row.status, updated_at=row.updated_at)


@strawberry.type(description="What a contact has in a custom field.")
class FieldValue:
    field: Field = strawberry.field(description="The field.")
    personalization_tag: str = strawberry.field(description="The field's personalization tag.")
    value: JSON | None = strawberry.field(
        description="Text, number, true or false, or a list of texts, as the field's type says; null where it is empty."
    )


@strawberry.type(description="Where a contact comes from: a record of an automatic import.")
class ContactOrigin:
    import_key: strawberry.Private[UUID]
    external_id: str = strawberry.field(description="The record's id at the service.")
    since: datetime = strawberry.field(description="When the record was first seen.")
    updated_at: datetime = strawberry.field(description="When the record last changed anything here.")

    @classmethod
    def of(cls, row: LedgerRow) -> Self:
        return cls(
            import_key=row.automatic_import_id,
            external_id=row.external_id,
            since=row.first_seen_at,
            updated_at=row.updated_at,
        )

    @strawberry.field(description="The automatic import that brought it; null once that is deleted.")
    async def automatic_import(
        self, info: Info
    ) -> Annotated["AutomaticImport", strawberry.lazy("api.automatic_imports")] | None:
        row = await loaders(info).automatic_import.load(self.import_key)
        return show(row) if row is not None else None


@strawberry.type(description="A person, as we know them.")
class Contact(Node):
    key: strawberry.Private[UUID]
    values: strawberry.Private[Mapping[str, Any]]
    email: str = strawberry.field(description="The address, unique in the account whatever its case.")
    first_name: str | None = strawberry.field(description="The first name.")
    last_name: str | None = strawberry.field(description="The last name.")
    phone: str | None = strawberry.field(description="The phone number, as it was given.")
    status: ContactStatus = strawberry.field(description="Whether the person may be mailed at all.")
    created_at: datetime = strawberry.field(description="When the contact was made.")
    updated_at: datetime = strawberry.field(description="When the contact last changed.")

    @classmethod
    def of(cls, row: contacts.Contact) -> Self:
        return cls(
            id=global_id("Contact", row.id),
            key=row.id,
            values=row.field_values,
            email=row.email,
            first_name=row.first_name,
            last_name=row.last_name,
            phone=row.phone,
            status=row.status,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    @strawberry.field(description="The values of custom fields.")
    async def field_values(
        self,
        info: Info,
        keys: Annotated[
            list[str] | None,
            strawberry.argument(
                description="Personalization tags. With them, one entry for each that exists, empty ones too; without,"
                " all values that the contact has."
            ),
        ] = None,
    ) -> list[FieldValue]:
        fields = await loaders(info).fields.load(account_id(info))
        chosen = fields.values() if keys is None else [fields[tag] for tag in keys if tag in fields]
        return [
            FieldValue(field=field, personalization_tag=row.personalization_tag, value=self.values.get(str(row.id)))
            for row, field in chosen
            if keys is not None or self.values.get(str(row.id)) is not None
        ]

    @strawberry.field(description="The contact's subscriptions, by the name of the list.")
    async def list_subscriptions(self, info: Info) -> list[ListSubscription]:
        return [ListSubscription.of(row) for row in await loaders(info).subscriptions_of_contact.load(self.key)]

    @strawberry.field(description="The contact's tags, by name.")
    async def tags(self, info: Info) -> list[Tag]:
        return [Tag.of(row) for row in await loaders(info).tags_of_contact.load(self.key)]

    @strawberry.field(description="Why the contact is here: the records of automatic imports that it came from.")
    async def origins(self, info: Info) -> list[ContactOrigin]:
        return [ContactOrigin.of(row) for row in await loaders(info).records_of_contact.load(self.key)]


@strawberry.type
class ContactQueries:
    @strawberry.field(description="The account's contacts.")
    async def contacts(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[ContactFilter | None, strawberry.argument(description="Which contacts.")] = None,  # noqa: A002
        order_by: Annotated[
            ContactOrder, strawberry.argument(description="By what they are sorted.")
        ] = ContactOrder.CREATED_AT_DESC,
    ) -> Connection[Contact]:
        page = span(ORDERS[order_by], first=first, after=after, last=last, before=before)
        wanted = filter.to_domain() if filter else None
        rows = await contacts.page(account_id(info), page, wanted=wanted, order=order_by)
        return connection(rows, ORDERS[order_by], Contact.of)

    @strawberry.field(description="One contact, by id or by address; null where there is none. Give exactly one.")
    async def contact(
        self,
        info: Info,
        id: Annotated[strawberry.ID | None, strawberry.argument(description="Its id.")] = None,  # noqa: A002
        email: Annotated[str | None, strawberry.argument(description="Its address, whatever the case.")] = None,
    ) -> Contact | None:
        if (id is None) == (email is None):
            raise BadUserInput("Give either `id` or `email`.")
        if email is not None:
            row = await contacts.by_email(account_id(info), email)
        else:
            key = key_of("Contact", str(id))
            row = (await contacts.by_ids(account_id(info), [key])).get(key)
        return Contact.of(row) if row is not None else None


node_type("Contact", contacts.Contact, read=contacts.by_ids, show=Contact.of)
