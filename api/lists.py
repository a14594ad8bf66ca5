"""Lists and tags in the schema."""

from collections.abc import Sequence
from typing import Self
from uuid import UUID

import strawberry

from api.context import Info, account_id, loaders, viewer
from api.node import Node, global_id, key_of, node_type
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.user_errors import UserError, user_errors
from domain import lists, models, targets
from domain.errors import Refused
from domain.targets import ListRow, MemberCount, TagRow

LISTS: Order[ListRow] = Order("lists", lambda row: row.id, UUID)
TAGS: Order[TagRow] = Order("tags", lambda row: row.id, UUID)


@strawberry.type(description="How many contacts there are.")
class ContactCount:
    count: int = strawberry.field(description=f"How many were counted, {targets.COUNT_UP_TO:,} at most.")
    is_exact: bool = strawberry.field(description="Whether that is all of them; else there are more.")

    @classmethod
    def of(cls, counted: MemberCount) -> Self:
        return cls(count=counted.count, is_exact=counted.exact)


@strawberry.type(description="A list that contacts subscribe to.")
class ContactList(Node):
    key: strawberry.Private[UUID]
    name: str = strawberry.field(description="What the list is called; unique in the account, whatever its case.")

    @classmethod
    def of(cls, row: ListRow | models.ContactList) -> Self:
        return cls(id=global_id("ContactList", row.id), key=row.id, name=row.name)

    @strawberry.field(description="How many contacts have a subscription to it, whatever its status.")
    async def contact_count(self, info: Info) -> ContactCount:
        return ContactCount.of(await loaders(info).contact_count_of_list.load(self.key))


@strawberry.type(description="A label of contacts.")
class Tag(Node):
    key: strawberry.Private[UUID]
    name: str = strawberry.field(description="What the tag is called; unique in the account, whatever its case.")

    @classmethod
    def of(cls, row: TagRow | models.Tag) -> Self:
        return cls(id=global_id("Tag", row.id), key=row.id, name=row.name)

    @strawberry.field(description="How many contacts have it.")
    async def contact_count(self, info: Info) -> ContactCount:
        return ContactCount.of(await loaders(info).contact_count_of_tag.load(self.key))


@strawberry.input(description="A new list.")
class CreateListInput:
    name: str = strawberry.field(description="What it is to be called.")


@strawberry.type(description="What became of a wish for a new list.")
class CreateListPayload:
    list: ContactList | None = strawberry.field(default=None, description="The new list; null where there are errors.")
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="A new tag.")
class CreateTagInput:
    name: str = strawberry.field(description="What it is to be called.")


@strawberry.type(description="What became of a wish for a new tag.")
class CreateTagPayload:
    tag: Tag | None = strawberry.field(default=None, description="The new tag; null where there are errors.")
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="Another name for a list.")
class UpdateListInput:
    id: strawberry.ID = strawberry.field(description="The list.")
    name: str = strawberry.field(description="What it is to be called.")


@strawberry.type(description="What became of a wish to change a list.")
class UpdateListPayload:
    list: ContactList | None = strawberry.field(
        default=None, description="The list as it is now; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="A list to delete.")
class DeleteListInput:
    id: strawberry.ID = strawberry.field(description="The list.")


@strawberry.type(description="What became of a wish to delete a list.")
class DeleteListPayload:
    deleted_list_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id of what is gone; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="Another name for a tag.")
class UpdateTagInput:
    id: strawberry.ID = strawberry.field(description="The tag.")
    name: str = strawberry.field(description="What it is to be called.")


@strawberry.type(description="What became of a wish to change a tag.")
class UpdateTagPayload:
    tag: Tag | None = strawberry.field(default=None, description="The tag as it is now; null where there are errors.")
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.input(description="A tag to delete.")
class DeleteTagInput:
    id: strawberry.ID = strawberry.field(description="The tag.")


@strawberry.type(description="What became of a wish to delete a tag.")
class DeleteTagPayload:
    deleted_tag_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id of what is gone; null where there are errors."
    )
    user_errors: Sequence[UserError] = strawberry.field(default=(), description="Every problem of the input.")


@strawberry.type
class ListQueries:
    @strawberry.field(description="The account's lists, oldest first.")
    async def lists(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[ContactList]:
        wanted = span(LISTS, first=first, after=after, last=last, before=before)
        return connection(await targets.lists(account_id(info), wanted), LISTS, ContactList.of)

    @strawberry.field(description="The account's tags, oldest first.")
    async def tags(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Tag]:
        wanted = span(TAGS, first=first, after=after, last=last, before=before)
        return connection(await targets.tags(account_id(info), wanted), TAGS, Tag.of)


@strawberry.type
class ListMutations:
    @strawberry.mutation(description="Make a list.")
    async def create_list(self, info: Info, input: CreateListInput) -> CreateListPayload:  # noqa: A002
        try:
            return CreateListPayload(list=ContactList.of(await lists.create_list(account_id(info), name=input.name)))
        except Refused as refused:
            return CreateListPayload(user_errors=user_errors(refused))

    @strawberry.mutation(description="Make a tag.")
    async def create_tag(self, info: Info, input: CreateTagInput) -> CreateTagPayload:  # noqa: A002
        try:
            return CreateTagPayload(tag=Tag.of(await lists.create_tag(account_id(info), name=input.name)))
        except Refused as refused:
            return CreateTagPayload(user_errors=user_errors(refused))

    @strawberry.mutation(description="Give a list another name.")
    async def update_list(self, info: Info, input: UpdateListInput) -> UpdateListPayload:  # noqa: A002
        key = key_of("ContactList", input.id)
        try:
            await lists.rename(viewer(info), lists.LIST, key, name=input.name)
        except Refused as refused:
            return UpdateListPayload(user_errors=user_errors(refused))
        row = (await targets.lists_by_ids(account_id(info), [key])).get(key)
        return UpdateListPayload(list=ContactList.of(row) if row is not None else None)

    @strawberry.mutation(
        description="Delete a list, with its subscriptions. Contacts stay, and automatic imports go on without it."
    )
    async def delete_list(self, info: Info, input: DeleteListInput) -> DeleteListPayload:  # noqa: A002
        key = key_of("ContactList", input.id)
        try:
            await lists.delete(viewer(info), lists.LIST, key, queue=info.context.queue)
        except Refused as refused:
            return DeleteListPayload(user_errors=user_errors(refused))
        return DeleteListPayload(deleted_list_id=input.id)

    @strawberry.mutation(description="Give a tag another name.")
    async def update_tag(self, info: Info, input: UpdateTagInput) -> UpdateTagPayload:  # noqa: A002
        key = key_of("Tag", input.id)
        try:
            await lists.rename(viewer(info), lists.TAG, key, name=input.name)
        except Refused as refused:
            return UpdateTagPayload(user_errors=user_errors(refused))
        row = (await targets.tags_by_ids(account_id(info), [key])).get(key)
        return UpdateTagPayload(tag=Tag.of(row) if row is not None else None)

    @strawberry.mutation(
        description="Delete a tag. Contacts stay, and automatic imports go on without it; one that gives it to contacts"
        " deleted at the service has to be given another one first."
    )
    async def delete_tag(self, info: Info, input: DeleteTagInput) -> DeleteTagPayload:  # noqa: A002
        key = key_of("Tag", input.id)
        try:
            await lists.delete(viewer(info), lists.TAG, key, queue=info.context.queue)
        except Refused as refused:
            return DeleteTagPayload(user_errors=user_errors(refused))
        return DeleteTagPayload(deleted_tag_id=input.id)


node_type("ContactList", ListRow, read=targets.lists_by_ids, show=ContactList.of)
node_type("Tag", TagRow, read=targets.tags_by_ids, show=Tag.of)
