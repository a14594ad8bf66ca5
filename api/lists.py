"""Lists and tags in the schema."""

from collections.abc import Sequence
from typing import Self
from uuid import UUID

import strawberry

from api.context import Info, account_id
from api.node import Node, global_id, node_type
from api.pagination import After, Before, Connection, First, Last, Order, connection, span
from api.user_errors import UserError, user_errors
from domain import lists, models, targets
from domain.errors import Refused
from domain.targets import ListRow, TagRow

LISTS: Order[ListRow] = Order("lists", lambda row: row.id, UUID)
TAGS: Order[TagRow] = Order("tags", lambda row: row.id, UUID)


@strawberry.type(description="A list that contacts subscribe to.")
class ContactList(Node):
    name: str = strawberry.field(description="What the list is called; unique in the account, whatever its case.")

    @classmethod
    def of(cls, row: ListRow | models.ContactList) -> Self:
        return cls(id=global_id("ContactList", row.id), name=row.name)


@strawberry.type(description="A label of contacts.")
class Tag(Node):
    name: str = strawberry.field(description="What the tag is called; unique in the account, whatever its case.")

    @classmethod
    def of(cls, row: TagRow | models.Tag) -> Self:
        return cls(id=global_id("Tag", row.id), name=row.name)


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


node_type("ContactList", ListRow, read=targets.lists_by_ids, show=ContactList.of)
node_type("Tag", TagRow, read=targets.tags_by_ids, show=Tag.of)
