"""What is known when a page is stored: read and locked in one go, in the lock order of the house.

External account, import, account, contacts by email_key; in every transaction, so that none waits for another in a
circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from domain import account as accounts
from domain import turns
from domain.credentials import key_ring
from domain.database import Connection
from domain.emails import parse_email
from domain.enums import ContactStatus, LedgerState, OutcomeCode, OverwritePolicy
from domain.fields import KnownField
from domain.ingest.items import Item
from domain.turns import Turn

LIST, TAG = "list", "tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The import's own settings, and the account's key for hashing addresses."""

    account_id: UUID
    external_account_id: UUID
    hash_key: bytes
    name_policy: OverwritePolicy
    phone_policy: OverwritePolicy
    list_ids: Sequence[UUID]
    tag_ids: Sequence[UUID]
    window_used: int
    unstable_ids: bool


@dataclass(slots=True, kw_only=True)
class Entry:
    """A ledger row. `applied` is the record as last written to the contact."""

    automatic_import_id: UUID
    external_id: str
    contact_id: UUID | None
    email_key: str | None
    digest: bytes
    applied: Mapping[str, Any]
    state: LedgerState
    code: OutcomeCode | None
    due: bool
    updated_at: datetime


@dataclass(slots=True, kw_only=True)
class Draft:
    """A contact as it will be."""

    id: UUID
    email: str
    email_key: str
    first_name: str | None
    last_name: str | None
    phone: str | None
    status: ContactStatus
    field_values: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Known:
    """Everything a page's decisions depend on; `plan` keeps it current while it decides.

    `holders` maps an address to the record that holds it, `released` a record to the address it lets go.
    """

    rules: Rules
    entries: dict[str, Entry]
    siblings: dict[str, Entry]
    holders: dict[str, str] = field(default_factory=dict)
    contacts: dict[UUID, Draft] = field(default_factory=dict)
    by_key: dict[str, Draft] = field(default_factory=dict)
    suppressed: dict[tuple[str, UUID | None], ContactStatus] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    targets: set[tuple[UUID, str, UUID]] = field(default_factory=set)
    fields: Mapping[str, KnownField] = field(default_factory=dict)
    room: int = 0
    released: dict[str, str] = field(default_factory=dict)


async def load_rules(connection: Connection, turn: Turn) -> Rules:
    """Hold the turn, and read the import's settings."""
    window_used = await turns.hold(connection, turn)
    row = await connection.fetchrow(
        """
        SELECT i.name_policy, i.phone_policy, a.email_hash_key,
            ARRAY(SELECT list_id FROM automatic_import_list t
                WHERE t.account_id = i.account_id AND t.automatic_import_id = i.id) AS list_ids,
            ARRAY(SELECT tag_id FROM automatic_import_tag t
                WHERE t.account_id = i.account_id AND t.automatic_import_id = i.id) AS tag_ids
        FROM automatic_import i JOIN account a ON a.id = i.account_id WHERE i.account_id = $1 AND i.id = $2
        """,
        turn.account_id, turn.automatic_import_id,
    )  # fmt: skip
    return Rules(
        account_id=turn.account_id,
        external_account_id=turn.external_account_id,
        hash_key=_hash_key(row["email_hash_key"], turn.account_id),
        name_policy=OverwritePolicy(row["name_policy"]),
        phone_policy=OverwritePolicy(row["phone_policy"]),
        list_ids=row["list_ids"],
        tag_ids=row["tag_ids"],
        window_used=window_used,
        unstable_ids=turn.unstable_ids,
    )


@lru_cache(maxsize=1024)
def _hash_key(sealed: bytes, account_id: UUID) -> bytes:
    return key_ring().unseal(sealed, row=account_id)


async def load_entries(
    connection: Connection, turn: Turn, external_ids: Sequence[str]
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """The ledger rows of these records: this import's, and a linked one of another import of the external account."""
    rows = await connection.fetch(
        "SELECT automatic_import_id, external_id, contact_id, email_key, digest, state, code, due, updated_at,"
        " coalesce(applied, record)::text AS applied FROM ledger"
        " WHERE account_id = $1 AND external_account_id = $2 AND external_id = ANY($3::text[])",
        turn.account_id, turn.external_account_id, external_ids,
    )  # fmt: skip
    entries: dict[str, Entry] = {}
    siblings: dict[str, Entry] = {}
    for row in rows:
        if row["automatic_import_id"] == turn.automatic_import_id:
            entries[row["external_id"]] = _entry(row)
        elif row["state"] == LedgerState.LINKED:
            siblings[row["external_id"]] = _entry(row)
    return entries, siblings


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        automatic_import_id=row["automatic_import_id"],
        external_id=row["external_id"],
        contact_id=row["contact_id"],
        email_key=row["email_key"],
        digest=row["digest"],
        applied=orjson.loads(row["applied"]),
        state=LedgerState(row["state"]),
        code=OutcomeCode(row["code"]) if row["code"] else None,
        due=row["due"],
        updated_at=row["updated_at"],
    )


async def load(
    connection: Connection,
    turn: Turn,
    rules: Rules,
    items: Sequence[Item],
    *,
    entries: dict[str, Entry],
    siblings: dict[str, Entry],
    fields: Mapping[str, KnownField],
    lock_account: bool,
) -> Known:
    """Read and lock what the changed `items` touch."""
    keys = {
        email.key
        for item in items
        if not item.rejected and (email := parse_email(item.snapshot["email"] or "")) is not None
    }
    room = await _room(connection, turn.account_id, lock=lock_account)
    ids = {
        entry.contact_id
        for item in items
        for entry in (entries.get(item.external_id), siblings.get(item.external_id))
        if entry is not None and entry.contact_id is not None
    }
    drafts = await _load_contacts(connection, turn.account_id, ids, keys)
    known = Known(
        rules=rules,
        entries=entries,
        siblings=siblings,
        holders=await _load_holders(connection, turn, keys),
        contacts={draft.id: draft for draft in drafts},
        by_key={draft.email_key: draft for draft in drafts},
        fields=fields,
        room=room,
    )
    await _load_hashes(connection, known, keys)
    await _load_targets(connection, known)
    return known


async def _room(connection: Connection, account_id: UUID, *, lock: bool) -> int:
    # FOR UPDATE would block every insert that references the account, and deadlock.
    row = await connection.fetchrow(
        "SELECT t.contact_limit - a.active_contacts AS room FROM account a"
        " JOIN plan_tier t ON t.key = a.plan_tier_key WHERE a.id = $1"
        + (" FOR NO KEY UPDATE OF a" if lock else ""),
        account_id,
    )  # fmt: skip
    return max(0, row["room"]) if row else 0


async def _load_contacts(
    connection: Connection, account_id: UUID, ids: Iterable[UUID], keys: Iterable[str]
) -> list[Draft]:
    rows = await connection.fetch(
        "SELECT id, email, email_key, first_name, last_name, phone, status, field_values::text FROM contact"
        " WHERE account_id = $1 AND (id = ANY($2::uuid[]) OR email_key = ANY($3::text[]))"
        " ORDER BY email_key FOR NO KEY UPDATE",
        account_id, list(ids), list(keys),
    )  # fmt: skip
    return [
        Draft(
            id=row["id"],
            email=row["email"],
            email_key=row["email_key"],
            first_name=row["first_name"],
            last_name=row["last_name"],
            phone=row["phone"],
            status=ContactStatus(row["status"]),
            field_values=orjson.loads(row["field_values"]),
        )
        for row in rows
    ]


async def _load_holders(connection: Connection, turn: Turn, keys: Iterable[str]) -> dict[str, str]:
    rows = await connection.fetch(
        "SELECT email_key, external_id FROM ledger WHERE account_id = $1 AND automatic_import_id = $2"
        " AND email_key = ANY($3::text[]) AND state = 'LINKED'",
        turn.account_id, turn.automatic_import_id, list(keys),
    )  # fmt: skip
    return {row["email_key"]: row["external_id"] for row in rows}


async def _load_hashes(connection: Connection, known: Known, keys: Iterable[str]) -> None:
    key_of = {accounts.email_hash(known.rules.hash_key, key): key for key in keys}
    rows = await connection.fetch(
        "SELECT email_hash, list_id, status FROM suppression WHERE account_id = $1 AND email_hash = ANY($2::bytea[])"
        " UNION ALL SELECT email_hash, NULL, NULL FROM tombstone"
        " WHERE account_id = $1 AND email_hash = ANY($2::bytea[])",
        known.rules.account_id, list(key_of),
    )  # fmt: skip
    for row in rows:
        key = key_of[row["email_hash"]]
        if row["status"] is None:
            known.tombstones.add(key)
        else:
            known.suppressed[key, row["list_id"]] = ContactStatus(row["status"])


async def _load_targets(connection: Connection, known: Known) -> None:
    """Which of the import's lists and tags the contacts have already."""
    rules = known.rules
    if not known.contacts or not (rules.list_ids or rules.tag_ids):
        return
    rows = await connection.fetch(
        "SELECT contact_id, 'list' AS kind, list_id AS target_id FROM subscription"
        " WHERE account_id = $1 AND contact_id = ANY($2::uuid[]) AND list_id = ANY($3::uuid[])"
        " UNION ALL SELECT contact_id, 'tag', tag_id FROM contact_tag"
        " WHERE account_id = $1 AND contact_id = ANY($2::uuid[]) AND tag_id = ANY($4::uuid[])",
        rules.account_id, list(known.contacts), rules.list_ids, rules.tag_ids,
    )  # fmt: skip
    known.targets = {(row["contact_id"], row["kind"], row["target_id"]) for row in rows}
