"""What is known when a slice of outcomes is undone: read and locked in one go."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from domain import suppressions
from domain.database import Connection
from domain.enums import ContactStatus, Outcome, UndoCode
from domain.suppressions import Suppressed


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """One run of an undo: whose it is, and which runs are undone with it."""

    account_id: UUID
    external_account_id: UUID
    automatic_import_id: UUID
    undo_id: UUID
    run_id: UUID
    run_ids: Sequence[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOutcome:
    """An outcome of the run. `before` and `after` are as `ingest` wrote them; None where they are not kept."""

    id: UUID
    external_id: str
    contact_id: UUID | None
    outcome: Outcome
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    created_at: datetime


@dataclass(slots=True, kw_only=True)
class Present:
    """A contact as it is, and as it will be while outcomes are undone one by one."""

    id: UUID
    email: str
    email_key: str
    first_name: str | None
    last_name: str | None
    phone: str | None
    status: ContactStatus
    field_values: dict[str, Any]
    edited_at: datetime | None


@dataclass(slots=True, kw_only=True)
class Known:
    """Everything the decisions depend on; `plan` keeps it current while it decides.

    `rewritten` are the records that a run wrote later which stays; `held` says of contacts why another record holds
    them. `suppressed` and `tombstones` are of the addresses that may come back. Of subscriptions, by contact and list,
    and of tags: `confirmed` are the subscriptions that the run raised along with their contact, `given_elsewhere` the
    lists and tags that another import gives the contact too.
    """

    contacts: dict[UUID, Present]
    by_key: dict[str, Present]
    rewritten: set[str]
    held: Mapping[UUID, UndoCode]
    suppressed: Suppressed
    tombstones: Collection[str]
    subscriptions: dict[UUID, dict[UUID, ContactStatus]] = field(default_factory=dict)
    tags: set[tuple[UUID, UUID]] = field(default_factory=set)
    confirmed: set[tuple[UUID, UUID]] = field(default_factory=set)
    given_elsewhere: set[tuple[UUID, UUID]] = field(default_factory=set)


async def load_outcomes(
    connection: Connection, undoing: Undoing, *, before: UUID | None, limit: int
) -> list[StoredOutcome]:
    """The run's last `limit` outcomes before one of them, newest first."""
    rows = await connection.fetch(
        "SELECT id, external_id, contact_id, outcome, before::text, after::text, created_at FROM outcome"
        " WHERE account_id = $1 AND run_id = $2 AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        undoing.account_id, undoing.run_id, before, limit,
    )  # fmt: skip
    return [
        StoredOutcome(
            id=row["id"],
            external_id=row["external_id"],
            contact_id=row["contact_id"],
            outcome=Outcome(row["outcome"]),
            before=orjson.loads(row["before"]) if row["before"] else None,
            after=orjson.loads(row["after"]) if row["after"] else None,
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def load(connection: Connection, undoing: Undoing, outcomes: Sequence[StoredOutcome]) -> Known:
    """Read and lock what undoing `outcomes` touches; external account, import and account are held."""
    written = {each.contact_id for each in outcomes if each.contact_id is not None}
    keys = {each.before["email_key"] for each in outcomes if each.before and "email_key" in each.before}
    contacts = await _load_contacts(connection, undoing.account_id, written, keys)
    known = Known(
        contacts={contact.id: contact for contact in contacts},
        by_key={contact.email_key: contact for contact in contacts},
        rewritten=await _load_rewritten(connection, undoing, outcomes),
        held=await _load_held(connection, undoing, outcomes),
        suppressed=await suppressions.load(connection, undoing.account_id, keys) if keys else {},
        tombstones=await suppressions.buried(connection, undoing.account_id, keys) if keys else set(),
    )
    await _load_subscriptions(connection, undoing.account_id, known, outcomes)
    await _load_targets(connection, undoing, known, outcomes)
    return known


async def _load_contacts(
    connection: Connection, account_id: UUID, ids: Collection[UUID], keys: Collection[str]
) -> list[Present]:
    rows = await connection.fetch(
        "SELECT id, email, email_key, first_name, last_name, phone, status, field_values::text, edited_at FROM contact"
        " WHERE account_id = $1 AND (id = ANY($2::uuid[]) OR email_key = ANY($3::text[]))"
        # They may be removed: nothing may come to hang on them meanwhile.
        " ORDER BY email_key FOR UPDATE",
        account_id, list(ids), list(keys),
    )  # fmt: skip
    return [
        Present(
            id=row["id"],
            email=row["email"],
            email_key=row["email_key"],
            first_name=row["first_name"],
            last_name=row["last_name"],
            phone=row["phone"],
            status=ContactStatus(row["status"]),
            field_values=orjson.loads(row["field_values"]),
            edited_at=row["edited_at"],
        )
        for row in rows
    ]


async def _load_rewritten(connection: Connection, undoing: Undoing, outcomes: Sequence[StoredOutcome]) -> set[str]:
    """The records whose ledger row, or contact, was since written by a run that stays."""
    rows = await connection.fetch(
        """
        SELECT l.external_id, r.state IS NOT DISTINCT FROM 'UNDONE' AS undone FROM ledger l
        LEFT JOIN import_run r ON r.account_id = l.account_id AND r.id = l.run_id
        WHERE l.account_id = $1 AND l.external_account_id = $2 AND l.automatic_import_id = $3
            AND l.external_id = ANY($4::text[]) AND l.run_id <> ALL($5::uuid[])
        """,
        undoing.account_id, undoing.external_account_id, undoing.automatic_import_id,
        [each.external_id for each in outcomes], undoing.run_ids,
    )  # fmt: skip
    rewritten = {row["external_id"] for row in rows if not row["undone"]}
    # The last writer was undone before; whether another stays between it and this run, only outcomes tell.
    in_doubt = {row["external_id"] for row in rows if row["undone"]}
    doubtful = [each for each in outcomes if each.external_id in in_doubt]
    if doubtful:
        rewritten |= await _load_rewritten_between(connection, undoing, doubtful)
    return rewritten


async def _load_rewritten_between(
    connection: Connection, undoing: Undoing, outcomes: Sequence[StoredOutcome]
) -> set[str]:
    rows = await connection.fetch(
        """
        SELECT DISTINCT u.external_id FROM unnest($3::text[], $4::uuid[]) u (external_id, id)
        JOIN outcome o ON o.account_id = $1 AND o.external_id = u.external_id AND o.id > u.id AND o.run_id = ANY(ARRAY(
            SELECT id FROM import_run WHERE account_id = $1 AND automatic_import_id = $2 AND state <> 'UNDONE'
                AND id <> ALL($5::uuid[]) AND coalesce(finished_at, now()) >= $6))
        """,
        undoing.account_id, undoing.automatic_import_id, [each.external_id for each in outcomes],
        [each.id for each in outcomes], undoing.run_ids, min(each.created_at for each in outcomes),
    )  # fmt: skip
    return {row["external_id"] for row in rows}


async def _load_held(
    connection: Connection, undoing: Undoing, outcomes: Sequence[StoredOutcome]
) -> dict[UUID, UndoCode]:
    """The contacts that the run created and that a record holds which is not undone with it."""
    created = {each.contact_id: each for each in outcomes if each.outcome is Outcome.CREATED}
    rows = await connection.fetch(
        """
        SELECT l.contact_id, l.external_id, l.automatic_import_id <> $3 AS elsewhere,
            l.automatic_import_id = $3 AND r.state IS NOT DISTINCT FROM 'UNDONE' AS undone
        FROM ledger l LEFT JOIN import_run r ON r.account_id = l.account_id AND r.id = l.run_id
        WHERE l.account_id = $1 AND l.contact_id = ANY($2::uuid[]) AND l.state <> 'UNDONE'
            AND NOT (l.automatic_import_id = $3 AND l.run_id = ANY($4::uuid[]))
        """,
        undoing.account_id, list(created), undoing.automatic_import_id, undoing.run_ids,
    )  # fmt: skip
    # What the service deleted stays DELETED when its last writer is undone.
    doubtful = [replace(created[row["contact_id"]], external_id=row["external_id"]) for row in rows if row["undone"]]
    between = await _load_rewritten_between(connection, undoing, doubtful) if doubtful else set()
    held = {row["contact_id"]: UndoCode.LATER_RUN for row in rows if not row["undone"] or row["external_id"] in between}
    return held | {row["contact_id"]: UndoCode.HELD_ELSEWHERE for row in rows if row["elsewhere"]}


async def _load_subscriptions(
    connection: Connection, account_id: UUID, known: Known, outcomes: Sequence[StoredOutcome]
) -> None:
    """Those of the contacts whose lists, address or consent the run changed."""
    contact_ids = {
        each.contact_id
        for each in outcomes
        if (each.after or {}).keys() & {"lists"} or (each.before or {}).keys() & {"email_key", "status"}
    }
    confirmations = {
        (each.contact_id, each.created_at)
        for each in outcomes
        if (each.before or {}).get("status") == ContactStatus.UNCONFIRMED
    }
    if not contact_ids:
        return
    for row in await connection.fetch(
        "SELECT contact_id, list_id, status, updated_at FROM subscription"
        " WHERE account_id = $1 AND contact_id = ANY($2::uuid[]) ORDER BY contact_id, list_id FOR UPDATE",
        account_id, list(contact_ids),
    ):  # fmt: skip
        contact_id, list_id = row["contact_id"], row["list_id"]
        known.subscriptions.setdefault(contact_id, {})[list_id] = ContactStatus(row["status"])
        # The time of its transaction tells who wrote a subscription last.
        if (contact_id, row["updated_at"]) in confirmations:
            known.confirmed.add((contact_id, list_id))


async def _load_targets(
    connection: Connection, undoing: Undoing, known: Known, outcomes: Sequence[StoredOutcome]
) -> None:
    """What is left of the tags that the run added, and which lists and tags another import gives too."""
    gained = {each.contact_id for each in outcomes if each.after and each.after.keys() & {"lists", "tags"}}
    if not gained:
        return
    rows = await connection.fetch(
        "SELECT contact_id, tag_id FROM contact_tag WHERE account_id = $1 AND contact_id = ANY($2::uuid[])",
        undoing.account_id, list(gained),
    )  # fmt: skip
    known.tags = {(row["contact_id"], row["tag_id"]) for row in rows}
    rows = await connection.fetch(
        """
        SELECT l.contact_id, t.target_id FROM ledger l JOIN (
            SELECT account_id, automatic_import_id, list_id AS target_id FROM automatic_import_list
            UNION ALL SELECT account_id, automatic_import_id, tag_id FROM automatic_import_tag
        ) t ON t.account_id = l.account_id AND t.automatic_import_id = l.automatic_import_id
        WHERE l.account_id = $1 AND l.contact_id = ANY($2::uuid[]) AND l.automatic_import_id <> $3
            AND l.state = 'LINKED'
        """,
        undoing.account_id, list(gained), undoing.automatic_import_id,
    )  # fmt: skip
    known.given_elsewhere = {(row["contact_id"], row["target_id"]) for row in rows}
