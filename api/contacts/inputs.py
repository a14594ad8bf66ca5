"""What queries and mutations of contacts are given."""

from collections.abc import Callable, Sequence
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.enums import describe
from api.node import key_of, keys_of, keys_or_nothing
from domain import contacts
from domain.contacts import FieldGiven, Given
from domain.enums import ContactStatus

describe(
    ContactStatus,
    "Whether a person may be mailed. An automatic import never raises UNSUBSCRIBED or BOUNCED.",
    ACTIVE="May be mailed. Only ACTIVE contacts count for the contact limit.",
    UNCONFIRMED="Has not agreed, or not yet.",
    UNSUBSCRIBED="Has declined.",
    BOUNCED="The address does not accept mail.",
)


@strawberry.input(description="A custom field, and the value that it must have.")
class FieldEquals:
    personalization_tag: str = strawberry.field(description="The field's personalization tag.")
    value: JSON = strawberry.field(description="The exact value.")


@strawberry.input(description="Which contacts; all that is given counts.")
class ContactFilter:
    status: ContactStatus | None = strawberry.field(default=None, description="Those with this status.")
    email: str | None = strawberry.field(default=None, description="The one with this address, whatever its case.")
    list_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those with a subscription to this list, whatever its status."
    )
    tag_id: strawberry.ID | None = strawberry.field(default=None, description="Those with this tag.")
    fields: list[FieldEquals] | None = strawberry.field(
        default=None, description="Those with these values in custom fields."
    )
    search: str | None = strawberry.field(
        default=None,
        description="Those whose address, first name, last name or full name begins with this, whatever the case.",
    )

    def to_domain(self) -> contacts.ContactFilter:
        return contacts.ContactFilter(
            status=self.status,
            email=self.email,
            list_id=key_of("ContactList", self.list_id) if self.list_id is not None else None,
            tag_id=key_of("Tag", self.tag_id) if self.tag_id is not None else None,
            fields=[
                contacts.FieldEquals(tag=field.personalization_tag, value=field.value) for field in self.fields or ()
            ],
            search=self.search,
        )


@strawberry.input(description="A value for a custom field.")
class FieldValueInput:
    personalization_tag: str = strawberry.field(description="The field's personalization tag.")
    value: JSON | None = strawberry.field(
        default=None, description="Text, number, true or false, or a list of texts, as the field's type says; null"
        " clears the field."
    )  # fmt: skip


@strawberry.input(description="A contact, by its address. What is left out or null stays as it is.")
class ContactInput:
    email: str = strawberry.field(description="The address, unique in the account whatever its case.")
    first_name: str | None = strawberry.field(default=None, description="The first name; an empty text clears it.")
    last_name: str | None = strawberry.field(default=None, description="The last name; an empty text clears it.")
    phone: str | None = strawberry.field(default=None, description="The phone number; an empty text clears it.")
    status: ContactStatus | None = strawberry.field(
        default=None, description="What a new contact is to be: ACTIVE if left out. It lowers that of a known contact"
        " and never raises it; only `setSubscription` does."
    )  # fmt: skip
    field_values: list[FieldValueInput] | None = strawberry.field(
        default=None, description="Values for custom fields; other fields stay as they are."
    )
    list_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Lists to subscribe it to. A list that it left stays left."
    )
    tag_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Tags to give it.")


@strawberry.input(description="A new contact.")
class CreateContactInput:
    email: str = strawberry.field(description="The address, unique in the account whatever its case.")
    first_name: str | None = strawberry.field(default=None, description="The first name.")
    last_name: str | None = strawberry.field(default=None, description="The last name.")
    phone: str | None = strawberry.field(default=None, description="The phone number.")
    status: ContactStatus = strawberry.field(
        default=ContactStatus.ACTIVE, description="Whether the person may be mailed. An address that has declined or"
        " bounces gets that status instead; `setSubscription` raises it."
    )  # fmt: skip
    field_values: list[FieldValueInput] | None = strawberry.field(default=None, description="Values for custom fields.")
    list_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Lists to subscribe it to.")
    tag_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Tags to give it.")


@strawberry.input(description="What to change of a contact; what is left out or null stays.")
class UpdateContactInput:
    id: strawberry.ID = strawberry.field(description="The contact.")
    email: str | None = strawberry.field(
        default=None, description="Another address. What that address has declined counts for the contact."
    )
    first_name: str | None = strawberry.field(default=None, description="The first name; an empty text clears it.")
    last_name: str | None = strawberry.field(default=None, description="The last name; an empty text clears it.")
    phone: str | None = strawberry.field(default=None, description="The phone number; an empty text clears it.")
    field_values: list[FieldValueInput] | None = strawberry.field(
        default=None, description="Values for custom fields; other fields stay as they are."
    )


@strawberry.input(description="Contacts to create, or to update where the account has their addresses.")
class UpsertContactsInput:
    contacts: list[ContactInput] = strawberry.field(description="Up to 500 contacts.")


@strawberry.input(description="A contact to delete.")
class DeleteContactInput:
    id: strawberry.ID = strawberry.field(description="The contact.")
    erase: bool = strawberry.field(
        default=False, description="Also blank its values wherever automatic imports keep them. What it declined, and"
        " that it was deleted, is still known by a keyed hash of its address."
    )  # fmt: skip


@strawberry.input(description="A person's consent, as you know it.")
class SetSubscriptionInput:
    contact_id: strawberry.ID = strawberry.field(description="The contact.")
    list_id: strawberry.ID | None = strawberry.field(
        default=None, description="The list; left out or null, the contact's own status is set, which holds everywhere."
    )
    status: ContactStatus = strawberry.field(description="The status to have.")


@strawberry.input(description="Tags to give a contact.")
class AddTagsInput:
    contact_id: strawberry.ID = strawberry.field(description="The contact.")
    tag_ids: list[strawberry.ID] = strawberry.field(description="The tags.")


@strawberry.input(description="Tags to take from a contact.")
class RemoveTagsInput:
    contact_id: strawberry.ID = strawberry.field(description="The contact.")
    tag_ids: list[strawberry.ID] = strawberry.field(description="The tags.")


def given_in(contact: CreateContactInput) -> Given:
    """What is given for a whole contact."""
    return _given(contact, keys_of)


def one_of_many_in(contact: ContactInput) -> Given:
    """What is given for one contact of many: an id that is none is a problem of that contact alone."""
    return _given(contact, keys_or_nothing)


def _given(
    contact: ContactInput | CreateContactInput, keys: Callable[[str, Sequence[str] | None], Sequence[UUID] | None]
) -> Given:
    return Given(
        email=contact.email,
        first_name=contact.first_name,
        last_name=contact.last_name,
        phone=contact.phone,
        status=contact.status,
        field_values=_fields_in(contact.field_values),
        list_ids=keys("ContactList", contact.list_ids) or (),
        tag_ids=keys("Tag", contact.tag_ids) or (),
    )


def changes_in(contact: UpdateContactInput) -> Given:
    """What is to be changed of a contact."""
    return Given(
        email=contact.email,
        first_name=contact.first_name,
        last_name=contact.last_name,
        phone=contact.phone,
        field_values=_fields_in(contact.field_values),
    )


def _fields_in(values: list[FieldValueInput] | None) -> list[FieldGiven]:
    return [FieldGiven(tag=each.personalization_tag, value=each.value) for each in values or ()]
