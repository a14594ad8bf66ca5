"""Custom fields: made from a service's own naming, and the values they accept (R7)."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final
from uuid import UUID

import orjson
from anyascii import anyascii
from uuid_utils.compat import uuid7

from domain import database
from domain.database import Connection
from domain.records import FieldSpec, FieldType

NUMBERS = (int, float)
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
    key: str = field(init=False)

    def __post_init__(self) -> None:
        # What a contact's values are kept under is asked for with every value.
        object.__setattr__(self, "key", str(self.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldToMake:
    """A field that records call for. Without a `tag` it is but a candidate; one that was is made a field."""

    spec: FieldSpec
    tag: str | None
    first_seen_in: str
    candidate: KnownField | None = None


def fields_to_make(
    known: Mapping[str, KnownField],
    taken: Iterable[str],
    *,
    service: str,
    external_account_id: UUID,
    specs: Mapping[str, FieldSpec],
    seen: Mapping[str, Sequence[str]],
) -> list[FieldToMake]:
    """What `seen`, the external ids of the records that bring a value by key, calls for beyond `known`. Pure.

    `taken` are the account's personalization tags.
    """
    used = set(taken)
    open_ended = sum(field.open_ended and field.active for field in known.values())
    candidates = sum(not field.active for field in known.values())
    made: list[FieldToMake] = []
    for key in sorted(seen):
        spec, field = specs[key], known.get(key)
        records = sorted({first_seen(external_account_id, each) for each in seen[key]})
        if field is not None and (field.first_seen_in is None or records == [field.first_seen_in]):
            continue
        if field is None and spec.open_ended and key.startswith("_"):
            continue
        from_second_record = field is not None or len(records) > 1
        active = not spec.open_ended or (from_second_record and open_ended < MAX_OPEN_ENDED)
        if not active and (field is not None or candidates >= MAX_CANDIDATES):
            continue
        tag = personalization_tag(service, spec.title, used) if active else None
        first = field.first_seen_in if field is not None and field.first_seen_in else records[0]
        made.append(FieldToMake(spec=spec, tag=tag, first_seen_in=first, candidate=field))
        used |= {tag} if tag else set()
        open_ended += active and spec.open_ended
        candidates += (not active) - (field is not None)
    return made


def with_made(known: Mapping[str, KnownField], made: Iterable[FieldToMake]) -> dict[str, KnownField]:
    """The fields by source key as they would be, were those to make made now."""
    return {
        **known,
        **{
            each.spec.key: KnownField(
                id=each.candidate.id if each.candidate else uuid7(),
                type=each.candidate.type if each.candidate else each.spec.type,
                open_ended=each.spec.open_ended,
                active=each.tag is not None,
                activated_at=datetime.now(UTC) if each.tag else None,
                first_seen_in=None if each.tag else each.first_seen_in,
            )
            for each in made
        },
    }


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
    wanted = partial(fields_to_make, service=service, external_account_id=external_account_id, specs=specs, seen=seen)
    known = await load(account_id, service)
    if not wanted(known, ()):
        return known
    async with database.transaction() as connection:
        # One writer of fields per account: tags are unique in it.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"field:{account_id}")
        for each in wanted(await load(account_id, service), await tags(account_id)):
            if each.candidate is None:
                await _insert(connection, account_id, service, each)
            else:
                await _activate(connection, account_id, each.candidate.id, each.tag)
                await _read_again(connection, account_id, each)
    return await load(account_id, service)


async def tags(account_id: UUID) -> set[str]:
    """The personalization tags of all fields that the account has or had."""
    rows = await database.fetch("SELECT personalization_tag FROM field WHERE account_id = $1", account_id)
    return {row["personalization_tag"] for row in rows if row["personalization_tag"]}


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


async def _insert(connection: Connection, account_id: UUID, service: str, made: FieldToMake) -> None:
    spec = made.spec
    await connection.execute(
        """
        INSERT INTO field (account_id, id, service, source_key, title, type, personalization_tag, options, open_ended,
            first_seen_in, activated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $7::varchar IS NULL THEN NULL ELSE now() END)
        """,
        account_id, uuid7(), service, spec.key, stored_title(spec), spec.type, made.tag,
        orjson.dumps(spec.options).decode(), spec.open_ended, made.first_seen_in,
    )  # fmt: skip


def stored_title(spec: FieldSpec) -> str:
    """The title that a field of `spec` gets."""
    # No database takes half a character, or NUL.
    return spec.title.encode("utf-8", "ignore").decode().replace("\0", "")[:MAX_TITLE]


async def _activate(connection: Connection, account_id: UUID, field_id: UUID, tag: str | None) -> None:
    await connection.execute(
        "UPDATE field SET personalization_tag = $3, activated_at = now() WHERE account_id = $1 AND id = $2",
        account_id, field_id, tag,
    )  # fmt: skip


async def _read_again(connection: Connection, account_id: UUID, made: FieldToMake) -> None:
    """The first record that had the key is ingested once more, from its ledger row, now that the field exists."""
    external_account_id, external_id = first_record(made)
    await connection.execute(
        "UPDATE ledger SET due = true WHERE account_id = $1 AND external_account_id = $2"
        " AND external_id = $3 AND state = 'LINKED'",
        account_id, external_account_id, external_id,
    )  # fmt: skip


def first_seen(external_account_id: UUID, external_id: str) -> str:
    """A record's name in `first_seen_in`: external ids are unique in their external account only."""
    return f"{external_account_id}/{external_id}"


def first_record(made: FieldToMake) -> tuple[UUID, str]:
    """The external account and the external id of the first record that brought the key."""
    external_account_id, _, external_id = made.first_seen_in.partition("/")
    return UUID(external_account_id), external_id


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
    if not value and value in (None, "", []):
        return None
    return _FITTED[field_type](value)


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, NUMBERS) and not isinstance(value, bool) else MISMATCH


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return MISMATCH
    if isinstance(value, NUMBERS):
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


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else MISMATCH


def _choices(value: Any) -> Any:
    fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if fits else MISMATCH


def _parsed(parse: Any, value: Any) -> Any:
    try:
        return parse(value).isoformat()
    except (TypeError, ValueError):
        return MISMATCH


_FITTED: Mapping[FieldType, Callable[[Any], Any]] = {
    FieldType.TEXT: _text,
    FieldType.TEXTAREA: _text,
    FieldType.DROPDOWN: _text,
    FieldType.URL: _text,
    FieldType.NUMBER: _number,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: partial(_parsed, date.fromisoformat),
    FieldType.DATETIME: partial(_parsed, datetime.fromisoformat),
    FieldType.MULTISELECT: _choices,
}
