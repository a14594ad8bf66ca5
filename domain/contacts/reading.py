"""Reading contacts: the hot read, in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain import database
from domain.emails import email_key
from domain.enums import ContactStatus
from domain.errors import ErrorCode, Problem, Refused
from domain.keyset import NO_NUL, Select, Slice, Span
from domain.models import CustomField

COLUMNS = "id, email, email_key, first_name, last_name, phone, status, field_values, created_at, updated_at"


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as it is read: the columns of COLUMNS, in their order."""

    id: UUID
    email: str
    email_key: str
    first_name: str | None
    last_name: str | None
    phone: str | None
    status: ContactStatus
    field_values: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


class ContactOrder(StrEnum):
    """By what a page of contacts is sorted."""

    CREATED_AT_ASC = "CREATED_AT_ASC"
    CREATED_AT_DESC = "CREATED_AT_DESC"
    EMAIL_ASC = "EMAIL_ASC"
    EMAIL_DESC = "EMAIL_DESC"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldEquals:
    """A custom field, by personalization tag, and the value it must have."""

    tag: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFilter:
    """What a contact must match; all that is given counts."""

    status: ContactStatus | None = None
    email: str | None = None
    list_id: UUID | None = None
    tag_id: UUID | None = None
    fields: Sequence[FieldEquals] = ()
    search: str | None = None


# An id is a UUIDv7, which sorts by the time it was made: the primary key serves both orders.
_KEYS = {
    ContactOrder.CREATED_AT_ASC: ("id", False),
    ContactOrder.CREATED_AT_DESC: ("id", True),
    ContactOrder.EMAIL_ASC: ("email_key", False),
    ContactOrder.EMAIL_DESC: ("email_key", True),
}
_STATUSES = {status.value: status for status in ContactStatus}


async def page(
    account_id: UUID, span: Span, *, wanted: ContactFilter | None = None, order: ContactOrder
) -> Slice[Contact]:
    """A slice of the account's contacts. Refused where the filter names a field that the account has not."""
    key, descending = _KEYS[order]
    select = Select(COLUMNS, "contact", account_id=account_id, key=key, descending=descending)
    if wanted is not None:
        await _narrow(select, account_id, wanted)
    return await select.slice(span, contact_of)


async def by_ids(account_id: UUID, contact_ids: Sequence[UUID]) -> dict[UUID, Contact]:
    """Those of the contacts that the account has."""
    rows = await database.fetch(
        f"SELECT {COLUMNS} FROM contact WHERE account_id = $1 AND id = ANY($2::uuid[])", account_id, list(contact_ids)
    )
    return {row["id"]: contact_of(row) for row in rows}


async def by_email(account_id: UUID, email: str) -> Contact | None:
    """The contact with this address, whatever its case."""
    found = await page(account_id, Span(limit=1), wanted=ContactFilter(email=email), order=ContactOrder.EMAIL_ASC)
    return found.rows[0] if found.rows else None


async def _narrow(select: Select, account_id: UUID, wanted: ContactFilter) -> None:
    if wanted.status is not None:
        select.where("status = {}", wanted.status)
    if wanted.email is not None:
        select.where("email_key = {}", email_key(wanted.email.strip()))
    if wanted.list_id is not None:
        select.where(
            "id IN (SELECT contact_id FROM subscription WHERE account_id = $1 AND list_id ="
            " (SELECT id FROM contact_list WHERE account_id = $1 AND id = {} AND deleted_at IS NULL))",
            wanted.list_id,
        )
    if wanted.tag_id is not None:
        select.where(
            "id IN (SELECT contact_id FROM contact_tag WHERE account_id = $1 AND tag_id ="
            " (SELECT id FROM tag WHERE account_id = $1 AND id = {} AND deleted_at IS NULL))",
            wanted.tag_id,
        )
    if wanted.fields:
        select.where("field_values @> {}::jsonb", await _containment(account_id, wanted.fields))
    if wanted.search is not None:
        # Two spellings of the pattern: addresses are folded by `email_key`, names by the database.
        text = wanted.search.strip()
        select.where(
            "(email_key LIKE {0} OR lower(first_name) LIKE lower({1}) OR lower(last_name) LIKE lower({1})"
            " OR lower(first_name || ' ' || last_name) LIKE lower({1}))",
            _prefix(email_key(text)),
            _prefix(text),
        )


async def _containment(account_id: UUID, fields: Sequence[FieldEquals]) -> str:
    """The JSON that `field_values` must contain."""
    by_tag = {
        field["personalization_tag"]: str(field["id"])
        for field in await CustomField.filter(
            account_id=account_id, deleted_at=None, personalization_tag__in=[field.tag for field in fields]
        ).values("id", "personalization_tag")
    }
    unknown = [field.tag for field in fields if field.tag not in by_tag]
    if unknown:
        message = f"There is no field with the personalization tag {unknown[0]!r}. `fields` lists those there are."
        raise Refused(Problem(ErrorCode.NOT_FOUND, message, ("filter", "fields")))
    if any(has_nul(field.value) for field in fields):
        raise Refused(Problem(ErrorCode.INVALID, NO_NUL, ("filter", "fields")))
    return orjson.dumps({by_tag[field.tag]: field.value for field in fields}).decode()


def has_nul(value: Any) -> bool:
    """Whether a JSON value holds what jsonb cannot."""
    match value:
        case str():
            return "\0" in value
        case list():
            return any(has_nul(item) for item in value)
        case dict():
            return any(has_nul(item) for pair in value.items() for item in pair)
    return False


def _prefix(text: str) -> str:
    """A LIKE pattern for what begins with `text`."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, "\\" + special)
    return text + "%"


def contact_of(row: asyncpg.Record) -> Contact:
    """A row of COLUMNS as a contact."""
    contact_id, email, key, first_name, last_name, phone, status, field_values, created_at, updated_at = row
    return Contact(
        contact_id,
        email,
        key,
        first_name,
        last_name,
        phone,
        _STATUSES[status],
        orjson.loads(field_values),
        created_at,
        updated_at,
    )
