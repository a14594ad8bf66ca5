"""Custom fields: made from a service's own naming, and the values they accept (R7)."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import orjson
from anyascii import anyascii
from uuid_utils.compat import uuid7

from domain import database
from domain.database import Connection
from domain.records import FieldSpec, FieldType

MAX_OPEN_ENDED = 100
"""Open-ended fields per service and account."""
MAX_CANDIDATES = 1000
"""Open-ended keys remembered per service and account after one record, so that random keys cannot fill the table."""
MAX_TAG = 60
MAX_TITLE = 200
MAX_KEY_BYTES = 255
"""Longer keys fit no index; their values stay in the ledger, with the note FIELD_LIMIT."""


class Mismatch:
    """The answer for a value that does not fit its field's type."""


MISMATCH: Final = Mismatch()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownField:
    """A field of one service as `ingest` needs it. Inactive: a candidate, or deleted by a user."""

    id: UUID
    type: FieldType
    open_ended: bool
    active: bool
    activated_at: datetime | None
    first_seen_in: str | None


async def ensure(
    *,
    account_id: UUID,
    external_account_id: UUID,
    service: str,
    specs: Mapping[str, FieldSpec],
    seen: Mapping[str, Sequence[str]],
) -> dict[str, KnownField]:
    """Every field of `service` by source key, after making those that `seen` calls for.

    `seen` has the external ids of the records that bring a value, by key. Committed before the page is stored: two
    pages that make the same fields then never wait for each other while they hold contacts.
    """
    known = await load(account_id, service)
    missing = [key for key in seen if key not in known]
    second = {
        key: field.first_seen_in
        for key, field in known.items()
        if key in seen
        and field.first_seen_in
        and {first_seen(external_account_id, each) for each in seen[key]} - {field.first_seen_in}
    }
    if not missing and not second:
        return known
    async with database.transaction() as connection:
        # One writer of fields per account: tags are unique in it.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"field:{account_id}")
        known = await load(account_id, service)
        taken = {
            row["personalization_tag"]
            for row in await connection.fetch("SELECT personalization_tag FROM field WHERE account_id = $1", account_id)
        }
        for key in sorted(set(missing) - known.keys()):
            spec, ids = specs[key], sorted(set(seen[key]))
            if spec.open_ended and key.startswith("_"):
                continue
            active = not spec.open_ended or (len(ids) > 1 and _room_for_open_ended(known))
            if not active and sum(not field.active for field in known.values()) >= MAX_CANDIDATES:
                continue
            first = first_seen(external_account_id, ids[0])
            known[key] = await _insert(connection, account_id, service, spec, active, first, taken)
        for key, first in second.items():
            if known[key].first_seen_in and _room_for_open_ended(known):
                known[key] = await _activate(connection, account_id, service, specs[key], known[key], taken)
                await _read_again(connection, account_id, first)
    return await load(account_id, service)


def _room_for_open_ended(known: Mapping[str, KnownField]) -> bool:
    return sum(field.open_ended and field.active for field in known.values()) < MAX_OPEN_ENDED


async def load(account_id: UUID, service: str) -> dict[str, KnownField]:
    """The fields of `service` by source key, candidates and deleted ones included."""
    rows = await database.fetch(
        "SELECT id, source_key, type, open_ended, activated_at, deleted_at, first_seen_in FROM field"
        " WHERE account_id = $1 AND service = $2",
        account_id, service,
    )  # fmt: skip
    return {
        row["source_key"]: KnownField(
            id=row["id"],
            type=FieldType(row["type"]),
            open_ended=row["open_ended"],
            active=row["activated_at"] is not None and row["deleted_at"] is None,
            activated_at=row["activated_at"],
            first_seen_in=row["first_seen_in"] if row["activated_at"] is None else None,
        )
        for row in rows
    }


async def _insert(
    connection: Connection,
    account_id: UUID,
    service: str,
    spec: FieldSpec,
    active: bool,
    first_seen_in: str,
    taken: set[str],
) -> KnownField:
    field_id = uuid7()
    tag = personalization_tag(service, spec.title, taken) if active else None
    row = await connection.fetchrow(
        """
        INSERT INTO field (account_id, id, service, source_key, title, type, personalization_tag, options, open_ended,
            first_seen_in, activated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $7::varchar IS NULL THEN NULL ELSE now() END)
        RETURNING activated_at
        """,
        account_id, field_id, service, spec.key, spec.title.replace("\0", "")[:MAX_TITLE], spec.type, tag,
        orjson.dumps(spec.options).decode(), spec.open_ended, first_seen_in,
    )  # fmt: skip
    if tag:
        taken.add(tag)
    return KnownField(
        id=field_id,
        type=spec.type,
        open_ended=spec.open_ended,
        active=active,
        activated_at=row["activated_at"] if row else None,
        first_seen_in=None if active else first_seen_in,
    )


async def _activate(
    connection: Connection, account_id: UUID, service: str, spec: FieldSpec, field: KnownField, taken: set[str]
) -> KnownField:
    tag = personalization_tag(service, spec.title, taken)
    await connection.execute(
        "UPDATE field SET personalization_tag = $3, activated_at = now() WHERE account_id = $1 AND id = $2",
        account_id, field.id, tag,
    )  # fmt: skip
    taken.add(tag)
    return KnownField(id=field.id, type=field.type, open_ended=True, active=True, activated_at=None, first_seen_in=None)


async def _read_again(connection: Connection, account_id: UUID, first: str) -> None:
    """The first record that had the key is ingested once more, from its ledger row, now that the field exists."""
    external_account_id, _, external_id = first.partition("/")
    await connection.execute(
        "UPDATE ledger SET due = true WHERE account_id = $1 AND external_account_id = $2::text::uuid"
        " AND external_id = $3 AND state = 'LINKED'",
        account_id, external_account_id, external_id,
    )  # fmt: skip


def first_seen(external_account_id: UUID, external_id: str) -> str:
    """A record's name in `first_seen_in`: external ids are unique in their external account only."""
    return f"{external_account_id}/{external_id}"


def personalization_tag(service: str, title: str, taken: Iterable[str]) -> str:
    """A tag like SHOPIFY_TOTAL_SPENT that is not in `taken`: [A-Z0-9_], transliterated, it never changes."""
    prefix, words = _words(service), _words(title)
    stem = f"{prefix}_{words}"[:MAX_TAG].rstrip("_") if words else f"{prefix}_FIELD"
    used = set(taken)
    if words and stem not in used:
        return stem
    number = 2 if words else 1
    while f"{stem}_{number}" in used:
        number += 1
    return f"{stem}_{number}"


def _words(text: str) -> str:
    kept = "".join(letter if letter.isalnum() else " " for letter in anyascii(text).upper())
    return "_".join(kept.split())


def is_storable_key(key: str) -> bool:
    """Whether `key` can be a field's source key."""
    return "\0" not in key and len(key.encode("utf-8", "backslashreplace")) <= MAX_KEY_BYTES


def coerce(value: Any, field_type: FieldType) -> Any:
    """`value`, from a record's JSON, as the field stores it; None where it is empty, MISMATCH where it does not fit."""
    if value in (None, "", []):
        return None
    match field_type:
        case FieldType.TEXT | FieldType.TEXTAREA | FieldType.DROPDOWN | FieldType.URL:
            return _text(value)
        case FieldType.NUMBER:
            return _number(value)
        case FieldType.BOOLEAN:
            return value if isinstance(value, bool) else MISMATCH
        case FieldType.DATE:
            return _parsed(date.fromisoformat, value)
        case FieldType.DATETIME:
            return _parsed(datetime.fromisoformat, value)
        case FieldType.MULTISELECT:
            fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
            return value if fits else MISMATCH


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else MISMATCH


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return MISMATCH
    if isinstance(value, int | float):
        return value
    try:
        number = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        return MISMATCH
    if not number.is_finite():
        return MISMATCH
    if number == number.to_integral_value() and abs(number) < 2**53:
        return int(number)
    return float(number) if abs(number) <= sys.float_info.max else MISMATCH


def _parsed(parse: Any, value: Any) -> Any:
    try:
        return parse(value).isoformat()
    except (TypeError, ValueError):
        return MISMATCH
