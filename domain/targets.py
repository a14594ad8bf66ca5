"""Reading lists and tags, and what contacts and automatic imports have of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import asyncpg

from domain import database
from domain.enums import ContactStatus
from domain.keyset import Select, Slice, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """A list as it is shown."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRow:
    """A tag as it is shown."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRow:
    """A contact's subscription to one list."""

    list: ListRow
    status: ContactStatus
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCount:
    """How many contacts are on a list, or have a tag; `exact` up to COUNT_UP_TO, from where it says no more."""

    count: int
    exact: bool


COUNT_UP_TO = 10_000

Target = TypeVar("Target")


async def lists(account_id: UUID, span: Span) -> Slice[ListRow]:
    """A slice of the account's lists, oldest first."""
    return await _present("contact_list", account_id).slice(span, _list)


async def tags(account_id: UUID, span: Span) -> Slice[TagRow]:
    """A slice of the account's tags, oldest first."""
    return await _present("tag", account_id).slice(span, _tag)


async def lists_by_ids(account_id: UUID, list_ids: Sequence[UUID]) -> dict[UUID, ListRow]:
    """Those of the lists that the account has."""
    rows = await database.fetch(
        "SELECT id, name FROM contact_list WHERE account_id = $1 AND id = ANY($2::uuid[]) AND deleted_at IS NULL",
        account_id,
        list(list_ids),
    )
    return {row["id"]: _list(row) for row in rows}


async def tags_by_ids(account_id: UUID, tag_ids: Sequence[UUID]) -> dict[UUID, TagRow]:
    """Those of the tags that the account has."""
    rows = await database.fetch(
        "SELECT id, name FROM tag WHERE account_id = $1 AND id = ANY($2::uuid[]) AND deleted_at IS NULL",
        account_id,
        list(tag_ids),
    )
    return {row["id"]: _tag(row) for row in rows}


async def lists_of_imports(account_id: UUID, import_ids: Sequence[UUID]) -> dict[UUID, list[ListRow]]:
    """The lists that each automatic import subscribes its contacts to, by name."""
    rows = await database.fetch(
        "SELECT i.automatic_import_id AS owner_id, l.id, l.name FROM automatic_import_list i"
        " JOIN contact_list l ON l.account_id = i.account_id AND l.id = i.list_id"
        " WHERE i.account_id = $1 AND i.automatic_import_id = ANY($2::uuid[]) ORDER BY l.name, l.id",
        account_id,
        list(import_ids),
    )
    return _by_owner(import_ids, rows, _list)


async def tags_of_imports(account_id: UUID, import_ids: Sequence[UUID]) -> dict[UUID, list[TagRow]]:
    """The tags that each automatic import gives its contacts, by name."""
    rows = await database.fetch(
        "SELECT i.automatic_import_id AS owner_id, t.id, t.name FROM automatic_import_tag i"
        " JOIN tag t ON t.account_id = i.account_id AND t.id = i.tag_id"
        " WHERE i.account_id = $1 AND i.automatic_import_id = ANY($2::uuid[]) ORDER BY t.name, t.id",
        account_id,
        list(import_ids),
    )
    return _by_owner(import_ids, rows, _tag)


async def tags_of_contacts(account_id: UUID, contact_ids: Sequence[UUID]) -> dict[UUID, list[TagRow]]:
    """Each contact's tags, by name."""
    rows = await database.fetch(
        "SELECT c.contact_id AS owner_id, t.id, t.name FROM contact_tag c"
        " JOIN tag t ON t.account_id = c.account_id AND t.id = c.tag_id AND t.deleted_at IS NULL"
        " WHERE c.account_id = $1 AND c.contact_id = ANY($2::uuid[]) ORDER BY t.name, t.id",
        account_id,
        list(contact_ids),
    )
    return _by_owner(contact_ids, rows, _tag)


async def subscriptions_of_contacts(account_id: UUID, contact_ids: Sequence[UUID]) -> dict[UUID, list[SubscriptionRow]]:
    """Each contact's subscriptions, by the list's name; those it left are among them."""
    rows = await database.fetch(
        "SELECT s.contact_id AS owner_id, s.status, s.updated_at, l.id, l.name FROM subscription s"
        " JOIN contact_list l ON l.account_id = s.account_id AND l.id = s.list_id AND l.deleted_at IS NULL"
        " WHERE s.account_id = $1 AND s.contact_id = ANY($2::uuid[]) ORDER BY l.name, l.id",
        account_id,
        list(contact_ids),
    )
    return _by_owner(contact_ids, rows, _subscription)


async def counts_of_lists(account_id: UUID, list_ids: Sequence[UUID]) -> dict[UUID, MemberCount]:
    """How many contacts have a subscription to each list, whatever its status."""
    return await _counts("subscription", "list_id", account_id, list_ids)


async def counts_of_tags(account_id: UUID, tag_ids: Sequence[UUID]) -> dict[UUID, MemberCount]:
    """How many contacts have each tag."""
    return await _counts("contact_tag", "tag_id", account_id, tag_ids)


async def _counts(table: str, column: str, account_id: UUID, ids: Sequence[UUID]) -> dict[UUID, MemberCount]:
    # Counting has to look at every row: a page of long lists must not take seconds.
    rows = await database.fetch(
        f"SELECT owner.id, (SELECT count(*) FROM (SELECT FROM {table} WHERE account_id = $1 AND {column} = owner.id"
        f" LIMIT {COUNT_UP_TO + 1}) members) FROM unnest($2::uuid[]) AS owner (id)",
        account_id,
        list(ids),
    )
    return {
        row["id"]: MemberCount(count=min(row["count"], COUNT_UP_TO), exact=row["count"] <= COUNT_UP_TO) for row in rows
    }


def _present(table: str, account_id: UUID) -> Select:
    select = Select("id, name", table, account_id=account_id)
    select.where("deleted_at IS NULL")
    return select


def _by_owner(
    owner_ids: Sequence[UUID], rows: Sequence[asyncpg.Record], make: Callable[[asyncpg.Record], Target]
) -> dict[UUID, list[Target]]:
    found: dict[UUID, list[Target]] = {owner_id: [] for owner_id in owner_ids}
    for row in rows:
        found[row["owner_id"]].append(make(row))
    return found


def _list(row: asyncpg.Record) -> ListRow:
    return ListRow(id=row["id"], name=row["name"])


def _tag(row: asyncpg.Record) -> TagRow:
    return TagRow(id=row["id"], name=row["name"])


def _subscription(row: asyncpg.Record) -> SubscriptionRow:
    return SubscriptionRow(list=_list(row), status=ContactStatus(row["status"]), updated_at=row["updated_at"])
