"""What a user gives for a contact, checked: every problem at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from domain.contacts.reading import has_nul
from domain.database import Connection
from domain.emails import Email, parse_email
from domain.enums import ContactStatus
from domain.errors import ErrorCode, Problem, not_found
from domain.fields import MISMATCH, coerce
from domain.records import FieldType


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldGiven:
    """A value for the field with this personalization tag; None clears it."""

    tag: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a contact is to have. None leaves a thing as it is, an empty text clears it.

    `status` is what a new contact gets, and what a known one may be lowered to.
    """

    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    status: ContactStatus | None = None
    field_values: Sequence[FieldGiven] = ()
    list_ids: Sequence[UUID] = ()
    tag_ids: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was given, as it would be stored: `values` by field id. Not to be acted on where there are problems."""

    email: Email | None
    columns: Mapping[str, Any]
    values: Mapping[str, Any]
    status: ContactStatus | None
    list_ids: Sequence[UUID]
    tag_ids: Sequence[UUID]
    problems: Sequence[Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What an account has of what was given: fields by tag as (id, type), lists and tags."""

    fields: Mapping[str, tuple[UUID, FieldType]]
    list_ids: frozenset[UUID]
    tag_ids: frozenset[UUID]


async def load_offered(connection: Connection, account_id: UUID, given: Sequence[Given]) -> Offered:
    """What of the wanted fields, lists and tags there is. Lists and tags are held: none is deleted meanwhile."""
    fields = await connection.fetch(
        "SELECT id, personalization_tag, type FROM field"
        " WHERE account_id = $1 AND personalization_tag = ANY($2::text[]) AND deleted_at IS NULL",
        account_id, list({value.tag.replace("\0", "") for each in given for value in each.field_values}),
    )  # fmt: skip
    return Offered(
        fields={row["personalization_tag"]: (row["id"], FieldType(row["type"])) for row in fields},
        list_ids=await hold(connection, "contact_list", account_id, {key for each in given for key in each.list_ids}),
        tag_ids=await hold(connection, "tag", account_id, {key for each in given for key in each.tag_ids}),
    )


async def hold(connection: Connection, table: str, account_id: UUID, ids: set[UUID]) -> frozenset[UUID]:
    """Those of the lists or tags that the account has; they are not deleted before the transaction ends."""
    if not ids:
        return frozenset()
    rows = await connection.fetch(
        f"SELECT id FROM {table} WHERE account_id = $1 AND id = ANY($2::uuid[]) AND deleted_at IS NULL"
        " ORDER BY id FOR SHARE",
        account_id, sorted(ids),
    )  # fmt: skip
    return frozenset(row["id"] for row in rows)


def check(given: Given, offered: Offered) -> Wish:
    """`given` as it would be stored, with every problem that it has."""
    problems: list[Problem] = []
    email = _email(given.email, problems)
    columns: dict[str, Any] = {}
    for name, field in (("first_name", "firstName"), ("last_name", "lastName"), ("phone", "phone")):
        text = getattr(given, name)
        if text is None:
            continue
        if is_storable(text):
            columns[name] = text.strip() or None
        else:
            problems.append(Problem(ErrorCode.INVALID, NOT_STORABLE, (field,)))
    values = _values(given.field_values, offered, problems)
    problems += missing("list", "listIds", given.list_ids, offered.list_ids)
    problems += missing("tag", "tagIds", given.tag_ids, offered.tag_ids)
    return Wish(
        email=email,
        columns=columns,
        values=values,
        status=given.status,
        list_ids=list(dict.fromkeys(given.list_ids)),
        tag_ids=list(dict.fromkeys(given.tag_ids)),
        problems=problems,
    )


NOT_STORABLE = "Remove the NUL characters and the halves of broken characters: they cannot be stored."


def is_storable(value: Any) -> bool:
    """Whether a JSON value can be stored: neither NUL characters nor lone surrogates, nor numbers beyond 64 bits."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return not has_nul(value)


def missing(noun: str, field: str, wanted: Sequence[UUID], found: frozenset[UUID]) -> list[Problem]:
    """A problem for each of the lists or tags that is not there."""
    return [
        problem
        for index, target_id in enumerate(wanted)
        if target_id not in found
        for problem in not_found(noun, field, str(index)).problems
    ]


def _email(text: str | None, problems: list[Problem]) -> Email | None:
    if text is None:
        return None
    if not text.strip():
        problems.append(Problem(ErrorCode.BLANK, "Enter an email address.", ("email",)))
        return None
    email = parse_email(text) if is_storable(text) else None
    if email is None:
        problems.append(Problem(ErrorCode.INVALID, "This is not a valid email address.", ("email",)))
    return email


def _values(given: Sequence[FieldGiven], offered: Offered, problems: list[Problem]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for index, each in enumerate(given):
        at = ("fieldValues", str(index))
        if each.tag not in offered.fields:
            message = f"There is no field with the personalization tag {each.tag!r}. `fields` lists those there are."
            problems.append(Problem(ErrorCode.NOT_FOUND, message, (*at, "personalizationTag")))
            continue
        field_id, field_type = offered.fields[each.tag]
        stored = coerce(each.value, field_type) if is_storable(each.value) else MISMATCH
        if stored is MISMATCH:
            message = f"This does not fit the field {each.tag}, whose type is {field_type}."
            problems.append(Problem(ErrorCode.INVALID, message, (*at, "value")))
        else:
            values[str(field_id)] = stored
    return values
