"""What can be done with contacts: translate in, call one use case, translate out."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import strawberry

from api.contacts.inputs import (
    AddTagsInput,
    CreateContactInput,
    DeleteContactInput,
    RemoveTagsInput,
    SetSubscriptionInput,
    UpdateContactInput,
    UpsertContactsInput,
    changes_in,
    given_in,
    one_of_many_in,
)
from api.contacts.types import Contact
from api.context import Info, account_id, viewer
from api.enums import describe
from api.node import key_of, keys_of
from api.user_errors import UserError, user_errors
from domain import account_overview, contacts, subscriptions
from domain.contacts import Upserted, UpsertOutcome
from domain.errors import Refused

describe(
    UpsertOutcome,
    "What became of one contact of many.",
    CREATED="It is new.",
    UPDATED="It was there, and something about it changed.",
    UNCHANGED="It was there, just so.",
    FAILED="Nothing became of it; its errors say why.",
)


@strawberry.type(description="What became of a wish for a new contact.")
class CreateContactPayload:
    contact: Contact | None = strawberry.field(
        default=None, description="The new contact; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type(description="What became of a wish to change a contact.")
class UpdateContactPayload:
    contact: Contact | None = strawberry.field(
        default=None, description="The contact as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type(description="What became of a wish to delete a contact.")
class DeleteContactPayload:
    deleted_contact_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id of what is gone; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type(description="What became of one contact of many.")
class UpsertContactResult:
    outcome: UpsertOutcome = strawberry.field(description="What became of it.")
    contact: Contact | None = strawberry.field(description="The contact as it is now; null where it failed.")
    protected: bool = strawberry.field(
        description="Whether its status was asked to be raised, and was not: only `setSubscription` does that."
    )
    user_errors: Sequence[UserError] = strawberry.field(description="Every problem of this contact.")


@strawberry.type(description="What became of a wish to create or update contacts.")
class UpsertContactsPayload:
    results: Sequence[UpsertContactResult] = strawberry.field(
        default=(), description="One for each contact, in the order given; empty where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(
        default=(), description="Every problem of the input as a whole."
    )
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type(description="What became of a wish to set consent.")
class SetSubscriptionPayload:
    contact: Contact | None = strawberry.field(
        default=None, description="The contact as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")
    warnings: Sequence[str] = strawberry.field(default=(), description="What is worth knowing, though it was done.")


@strawberry.type(description="What became of a wish to tag a contact.")
class AddTagsPayload:
    contact: Contact | None = strawberry.field(
        default=None, description="The contact as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type(description="What became of a wish to take tags from a contact.")
class RemoveTagsPayload:
    contact: Contact | None = strawberry.field(
        default=None, description="The contact as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class ContactMutations:
    @strawberry.mutation(
        description="Make a contact. One that was deleted here may be made again; what its address has declined still"
        " holds."
    )
    async def create_contact(self, info: Info, input: CreateContactInput) -> CreateContactPayload:  # noqa: A002
        try:
            key = await contacts.create(viewer(info), given_in(input), queue=info.context.queue)
        except Refused as refused:
            return CreateContactPayload(user_errors=user_errors(refused))
        return CreateContactPayload(
            contact=await _shown(info, key), warnings=await account_overview.warnings(account_id(info))
        )

    @strawberry.mutation(
        description="Change a contact. What is changed here stays until that very value changes at a service. Consent"
        " is not raised."
    )
    async def update_contact(self, info: Info, input: UpdateContactInput) -> UpdateContactPayload:  # noqa: A002
        key = key_of("Contact", input.id)
        try:
            await contacts.update(viewer(info), key, changes_in(input), queue=info.context.queue)
        except Refused as refused:
            return UpdateContactPayload(user_errors=user_errors(refused))
        return UpdateContactPayload(contact=await _shown(info, key))

    @strawberry.mutation(description="Delete a contact. No automatic import brings it back.")
    async def delete_contact(self, info: Info, input: DeleteContactInput) -> DeleteContactPayload:  # noqa: A002
        try:
            await contacts.delete(
                viewer(info), key_of("Contact", input.id), erase=input.erase, queue=info.context.queue
            )
        except Refused as refused:
            return DeleteContactPayload(user_errors=user_errors(refused))
        return DeleteContactPayload(deleted_contact_id=input.id)

    @strawberry.mutation(
        description="Create up to 500 contacts, or update those whose addresses the account has. Each has an outcome of"
        " its own; the same call again changes nothing."
    )
    async def upsert_contacts(self, info: Info, input: UpsertContactsInput) -> UpsertContactsPayload:  # noqa: A002
        given = [one_of_many_in(contact) for contact in input.contacts]
        try:
            upserted = await contacts.upsert(viewer(info), given, queue=info.context.queue)
        except Refused as refused:
            return UpsertContactsPayload(user_errors=user_errors(refused))
        rows = await contacts.by_ids(account_id(info), [each.contact_id for each in upserted if each.contact_id])
        return UpsertContactsPayload(
            results=[_result(index, each, rows) for index, each in enumerate(upserted)],
            warnings=await account_overview.warnings(account_id(info)),
        )

    @strawberry.mutation(
        description="Set a contact's consent, for one list or for all mail. The one way to raise it: nothing else makes"
        " ACTIVE what was UNSUBSCRIBED or BOUNCED."
    )
    async def set_subscription(self, info: Info, input: SetSubscriptionInput) -> SetSubscriptionPayload:  # noqa: A002
        key = key_of("Contact", input.contact_id)
        list_id = key_of("ContactList", input.list_id) if input.list_id is not None else None
        try:
            await subscriptions.set_status(viewer(info), key, input.status, list_id=list_id, queue=info.context.queue)
        except Refused as refused:
            return SetSubscriptionPayload(user_errors=user_errors(refused))
        return SetSubscriptionPayload(
            contact=await _shown(info, key), warnings=await account_overview.warnings(account_id(info))
        )

    @strawberry.mutation(description="Give a contact tags; those that it has stay.")
    async def add_tags(self, info: Info, input: AddTagsInput) -> AddTagsPayload:  # noqa: A002
        key, tag_ids = key_of("Contact", input.contact_id), keys_of("Tag", input.tag_ids)
        try:
            await contacts.add_tags(viewer(info), key, tag_ids or ())
        except Refused as refused:
            return AddTagsPayload(user_errors=user_errors(refused))
        return AddTagsPayload(contact=await _shown(info, key))

    @strawberry.mutation(description="Take tags from a contact. No automatic import gives them back.")
    async def remove_tags(self, info: Info, input: RemoveTagsInput) -> RemoveTagsPayload:  # noqa: A002
        key, tag_ids = key_of("Contact", input.contact_id), keys_of("Tag", input.tag_ids)
        try:
            await contacts.remove_tags(viewer(info), key, tag_ids or ())
        except Refused as refused:
            return RemoveTagsPayload(user_errors=user_errors(refused))
        return RemoveTagsPayload(contact=await _shown(info, key))


def _result(index: int, upserted: Upserted, rows: Mapping[UUID, contacts.Contact]) -> UpsertContactResult:
    row = rows.get(upserted.contact_id) if upserted.contact_id else None
    refused = Refused(*upserted.problems).inside(str(index)).inside("contacts")
    return UpsertContactResult(
        outcome=upserted.outcome,
        contact=Contact.of(row) if row is not None else None,
        protected=upserted.protected,
        user_errors=user_errors(refused),
    )


async def _shown(info: Info, key: UUID) -> Contact | None:
    row = (await contacts.by_ids(account_id(info), [key])).get(key)
    return Contact.of(row) if row is not None else None
