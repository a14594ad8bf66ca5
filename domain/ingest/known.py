"""What is known when a page is stored: read and locked in one go, in the lock order of the house.

External account, import, account, contacts by email_key; in every transaction, so that none waits for another in a
circle. `LATERAL … LIMIT 1` looks up row by row through a key: without it PostgreSQL reads all that the account has,
page after page, as long as there are no statistics of the tables that a first import fills.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson

from domain import account as accounts
from domain import contact_limit, suppressions, waiting_room
from domain.database import Connection
from domain.emails import parse_email
from domain.enums import ContactStatus, LedgerState, OutcomeCode
from domain.fields import KnownField
from domain.ingest.items import Item, Sighting
from domain.ingest.rules import Rules
from domain.turns import Turn

STATES: Mapping[str | None, LedgerState | None] = {None: None, **{state.value: state for state in LedgerState}}
LIST, TAG = "list", "tag"
MOST_CHANGES = 500
"""As many contacts change their status in one transaction at the most."""


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


@dataclass(slots=True)
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

    `holders` maps an address to the record that holds it. `room` is how many more contacts may become ACTIVE through
    this page, after those who wait; `queued`: others wait already. `draining`: it is these records that waited, and the
    room is theirs.
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
    queued: bool = False
    draining: bool = False


async def load_repeated(
    connection: Connection, turn: Turn, sightings: Sequence[Sighting]
) -> Sequence[LedgerState | None]:
    """The state of each record of which nothing is new, in their order; None for one that is news."""
    if not sightings:
        return ()
    states: Sequence[str | None] = await connection.fetchval(
        """
        SELECT array_agg(l.state ORDER BY s.number)
        FROM unnest($4::text[], $5::bytea[]) WITH ORDINALITY s (external_id, digest, number)
        LEFT JOIN LATERAL (
            SELECT state, digest FROM ledger WHERE account_id = $1 AND external_account_id = $2
                AND external_id = s.external_id AND automatic_import_id = $3 LIMIT 1
        ) l ON l.digest = s.digest AND l.state <> 'DELETED'
        """,
        turn.account_id, turn.external_account_id, turn.automatic_import_id,
        [each.external_id for each in sightings], [each.digest for each in sightings],
    )  # fmt: skip
    return [STATES[state] for state in states or ()]


async def load_entries(
    connection: Connection, turn: Turn, external_ids: Sequence[str]
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """The ledger rows of these records: this import's, and one of another import of the external account.

    That is one that is linked, else one of somebody whom a user deleted here.
    """
    rows = await connection.fetch(
        "SELECT automatic_import_id, external_id, contact_id, email_key, digest, state, code, due, updated_at,"
        " coalesce(applied, record)::text AS applied FROM ledger"
        " WHERE account_id = $1 AND external_account_id = $2 AND external_id = ANY($3::text[])",
        turn.account_id, turn.external_account_id, external_ids,
    )  # fmt: skip
    # Where several imports know a record, the one made last is the sibling.
    rows.sort(key=itemgetter("automatic_import_id"))
    entries: dict[str, Entry] = {}
    siblings: dict[str, Entry] = {}
    for row in rows:
        if row["automatic_import_id"] == turn.automatic_import_id:
            entries[row["external_id"]] = _entry(row)
        elif row["state"] == LedgerState.LINKED:
            siblings[row["external_id"]] = _entry(row)
        elif row["code"] == OutcomeCode.DELETED_HERE and row["contact_id"] is None and row["digest"]:
            siblings.setdefault(row["external_id"], _entry(row))
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
    lock: bool = True,
    lock_account: bool,
    draining: bool = False,
) -> Known:
    """Read what the changed `items` touch, and lock it unless nothing is to be written.

    `draining`: the items are the head of the waiting room, for whom the room is.
    """
    keys = {
        email.key
        for item in items
        if not item.rejected and (email := parse_email(item.snapshot["email"] or "")) is not None
    }
    room, queued = await _room(connection, turn.account_id, lock=lock_account, draining=draining)
    ids = {
        entry.contact_id
        for item in items
        for entry in (entries.get(item.external_id), siblings.get(item.external_id))
        if entry is not None and entry.contact_id is not None
    }
    drafts = await _load_contacts(connection, turn.account_id, ids, keys, lock=lock)
    if lock and not ids <= {draft.id for draft in drafts}:
        # Someone deleted a contact meanwhile: what the ledger says of its records is other by now.
        entries, siblings = await load_entries(
            connection, turn, [*entries.keys() | {item.external_id for item in items}]
        )
    known = Known(
        rules=rules,
        entries=entries,
        siblings=siblings,
        holders=await _load_holders(connection, turn, keys),
        contacts={draft.id: draft for draft in drafts},
        by_key={draft.email_key: draft for draft in drafts},
        fields=fields,
        room=room,
        queued=queued,
        draining=draining,
    )
    await _load_hashes(connection, known, keys)
    await _load_targets(connection, known)
    return known


async def _room(connection: Connection, account_id: UUID, *, lock: bool, draining: bool) -> tuple[int, bool]:
    """How many more contacts may become ACTIVE, and whether anybody waits for that already: those come first (R11)."""
    room = await (contact_limit.hold if lock else contact_limit.room)(connection, account_id)
    if draining:
        return room, True
    if not await waiting_room.is_used(connection, account_id):
        return room, False
    # Below zero, so that an opt-out in this page makes room for them too, not for the next record of the page.
    return room - await waiting_room.count_ahead(connection, account_id, at_most=max(0, room) + MOST_CHANGES), True


async def _load_contacts(
    connection: Connection, account_id: UUID, ids: Iterable[UUID], keys: Iterable[str], *, lock: bool
) -> list[Draft]:
    rows = await connection.fetch(
        """
        SELECT id, email, email_key, first_name, last_name, phone, status, field_values::text FROM contact
        WHERE account_id = $1 AND id = ANY(ARRAY(
            SELECT unnest($2::uuid[]) UNION SELECT c.id FROM unnest($3::text[]) wanted (email_key)
            CROSS JOIN LATERAL (
                SELECT id FROM contact WHERE account_id = $1 AND email_key = wanted.email_key LIMIT 1
            ) c
        )) ORDER BY email_key
        """
        + ("FOR NO KEY UPDATE" if lock else ""),
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
        """
        SELECT wanted.email_key, l.external_id FROM unnest($3::text[]) wanted (email_key) CROSS JOIN LATERAL (
            SELECT external_id FROM ledger WHERE account_id = $1 AND automatic_import_id = $2
                AND email_key = wanted.email_key AND state = 'LINKED' LIMIT 1
        ) l
        """,
        turn.account_id, turn.automatic_import_id, list(keys),
    )  # fmt: skip
    return {row["email_key"]: row["external_id"] for row in rows}


async def _load_hashes(connection: Connection, known: Known, keys: Iterable[str]) -> None:
    """Asked when the contacts are held: whoever deletes one of them, or unsubscribes it, was before us or waits."""
    # To hash an address takes longer than to look for its hash.
    if not await suppressions.are_there(connection, known.rules.account_id):
        return
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
