"""An import's lists and tags: setting them, and giving those that an edit added to all its contacts (R13).

Records that are linked later get them as they are linked; the edit raised the import's revision, so none is linked
under the old targets after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from domain import background_tasks, consent, database, suppressions
from domain.background_tasks import Task
from domain.database import Connection
from domain.effects import ContactChange, Origin, announce
from domain.enums import ContactStatus, TaskKind
from domain.errors import Problem, Refused, not_found

STEP = 500
"""Ledger rows per transaction, so that nobody waits long behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Lists and tags."""

    list_ids: Sequence[UUID] = ()
    tag_ids: Sequence[UUID] = ()

    def __bool__(self) -> bool:
        return bool(self.list_ids or self.tag_ids)


async def set_targets(
    account_id: UUID,
    import_id: UUID,
    *,
    list_ids: Sequence[UUID] | None,
    tag_ids: Sequence[UUID] | None,
    deletion_tag_id: UUID | None,
) -> Targets:
    """Set the import's lists and tags; None leaves them as they are. Returns those that are new.

    Refused where one of them was deleted meanwhile, or `deletion_tag_id` was, with which deleted records are tagged.
    """
    async with database.transaction() as connection:
        deleted = await problems(
            connection, account_id, list_ids=list_ids or (), tag_ids=tag_ids or (), deletion_tag_id=deletion_tag_id
        )
        if deleted:
            raise Refused(*deleted)
        return Targets(
            list_ids=await _set(connection, "automatic_import_list", "list_id", account_id, import_id, list_ids),
            tag_ids=await _set(connection, "automatic_import_tag", "tag_id", account_id, import_id, tag_ids),
        )


async def problems(
    connection: Connection,
    account_id: UUID,
    *,
    list_ids: Sequence[UUID],
    tag_ids: Sequence[UUID],
    deletion_tag_id: UUID | None,
) -> Sequence[Problem]:
    """What is wrong with these targets of an input: some are not there. The others are until the transaction ends."""
    lists = await _held(connection, "contact_list", account_id, list_ids)
    tags = await _held(connection, "tag", account_id, [*tag_ids, *([deletion_tag_id] if deletion_tag_id else [])])
    missing = [not_found("list", "listIds", str(index)) for index, key in enumerate(list_ids) if key not in lists]
    missing += [not_found("tag", "tagIds", str(index)) for index, key in enumerate(tag_ids) if key not in tags]
    if deletion_tag_id is not None and deletion_tag_id not in tags:
        missing.append(not_found("tag", "deletionTagId"))
    return [problem for refusal in missing for problem in refusal.problems]


async def _held(connection: Connection, table: str, account_id: UUID, target_ids: Sequence[UUID]) -> set[UUID]:
    rows = await connection.fetch(
        f"SELECT id FROM {table} WHERE account_id = $1 AND id = ANY($2::uuid[]) AND deleted_at IS NULL"
        " ORDER BY id FOR SHARE",
        account_id, target_ids,
    )  # fmt: skip
    return {row["id"] for row in rows}


async def _set(
    connection: Connection, table: str, column: str, account_id: UUID, import_id: UUID, wanted: Sequence[UUID] | None
) -> list[UUID]:
    if wanted is None:
        return []
    await connection.execute(
        f"DELETE FROM {table} WHERE account_id = $1 AND automatic_import_id = $2 AND {column} <> ALL($3::uuid[])",
        account_id, import_id, wanted,
    )  # fmt: skip
    added = await connection.fetch(
        f"INSERT INTO {table} (account_id, automatic_import_id, {column})"
        f" SELECT $1, $2, unnest($3::uuid[]) ON CONFLICT DO NOTHING RETURNING {column}",
        account_id, import_id, wanted,
    )  # fmt: skip
    return [row[0] for row in added]


async def give_to_all(account_id: UUID, import_id: UUID, added: Targets) -> None:
    """Ask for `added` to be given to all contacts that the import holds by now, in the edit's transaction.

    The import's row is held. After the commit, wake the queue.
    """
    if not added:
        return
    async with database.transaction() as connection:
        # Not now(): a page that was stored while the edit waited for the import's row began after the edit did.
        linked_until = await connection.fetchval("SELECT clock_timestamp()")
        # Each edit has a task of its own: one that is queued already gives other targets.
        await background_tasks.enqueue(
            connection,
            account_id,
            TaskKind.APPLY_TARGETS,
            subject=uuid7(),
            arguments={
                "automatic_import_id": str(import_id),
                "list_ids": [str(list_id) for list_id in added.list_ids],
                "tag_ids": [str(tag_id) for tag_id in added.tag_ids],
                "linked_until": linked_until.isoformat(),
            },
        )


async def give_step(task: Task) -> bool:
    """Give the added targets to the contacts of the next ledger rows, by external id. Returns whether there are more.

    Subscriptions and tags that a contact has stay as they are, those it left among them.
    """
    async with background_tasks.step(task) as connection:
        external_account_id = await _hold_import(connection, task)
        wanted = await _still_wanted(connection, task)
        if external_account_id is None or not wanted:
            return False
        records = await _next_records(connection, task, external_account_id)
        if not records:
            return False
        task.progress = {"after": records[-1]["external_id"]}
        await _give(connection, task.account_id, wanted, records)
        return len(records) == STEP


async def _hold_import(connection: Connection, task: Task) -> UUID | None:
    """The import's external account; None where the import is deleted. No edit, and no page, comes between."""
    found: UUID | None = await connection.fetchval(
        "SELECT external_account_id FROM automatic_import WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL"
        " FOR SHARE",
        task.account_id, UUID(task.arguments["automatic_import_id"]),
    )  # fmt: skip
    return found


async def _still_wanted(connection: Connection, task: Task) -> Targets:
    """What a later edit did not take away again."""
    row = await connection.fetchrow(
        """
        SELECT ARRAY(SELECT list_id FROM automatic_import_list WHERE account_id = $1 AND automatic_import_id = $2
                AND list_id = ANY($3::uuid[])) AS list_ids,
            ARRAY(SELECT tag_id FROM automatic_import_tag WHERE account_id = $1 AND automatic_import_id = $2
                AND tag_id = ANY($4::uuid[])) AS tag_ids
        """,
        task.account_id, UUID(task.arguments["automatic_import_id"]), task.arguments["list_ids"],
        task.arguments["tag_ids"],
    )  # fmt: skip
    return Targets(list_ids=row["list_ids"], tag_ids=row["tag_ids"])


async def _next_records(connection: Connection, task: Task, external_account_id: UUID) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = await connection.fetch(
        "SELECT external_id, contact_id, ARRAY(SELECT o.record->>'consent' FROM ledger o WHERE o.account_id = $1"
        " AND o.contact_id = l.contact_id AND o.automatic_import_id = $3 AND o.state = 'LINKED') AS words"
        " FROM ledger l WHERE account_id = $1 AND external_account_id = $2 AND automatic_import_id = $3"
        " AND external_id > $4 AND state = 'LINKED' AND first_seen_at <= $5 ORDER BY external_id LIMIT $6",
        task.account_id, external_account_id, UUID(task.arguments["automatic_import_id"]),
        task.progress.get("after", ""), datetime.fromisoformat(task.arguments["linked_until"]), STEP,
    )  # fmt: skip
    return rows


async def _give(
    connection: Connection, account_id: UUID, wanted: Targets, records: Sequence[Mapping[str, Any]]
) -> None:
    contacts = await connection.fetch(
        "SELECT id, email_key, status FROM contact WHERE account_id = $1 AND id = ANY($2::uuid[])"
        " ORDER BY email_key FOR SHARE",
        account_id, [record["contact_id"] for record in records],
    )  # fmt: skip
    words = {record["contact_id"]: record["words"] for record in records}
    joined = await _subscribe(connection, account_id, wanted.list_ids, contacts, words)
    tagged = await _tag(connection, account_id, wanted.tag_ids, contacts)
    announce(
        Origin.AUTOMATIC_IMPORT,
        [
            ContactChange(written=contact_id in tagged, joined=joined.get(contact_id, 0))
            for contact_id in joined.keys() | tagged
        ],
    )


async def _subscribe(
    connection: Connection,
    account_id: UUID,
    list_ids: Sequence[UUID],
    contacts: Sequence[Mapping[str, Any]],
    words: Mapping[UUID, Sequence[str]],
) -> dict[UUID, int]:
    """Subscribe the contacts as the ratchet allows (R9). Returns how many lists each is mailed by since.

    Of somebody whom several records of the import are, the most restrictive word counts.
    """
    if not (contacts and list_ids):
        return {}
    suppressed = await suppressions.load(connection, account_id, [contact["email_key"] for contact in contacts])
    rows = []
    for contact in contacts:
        contact_id, key = contact["id"], contact["email_key"]
        for list_id in list_ids:
            declined = suppressed.get((key, list_id))
            here = [consent.status_of_new(word, suppressed=declined).status for word in words[contact_id]]
            everywhere = consent.lower(ContactStatus(contact["status"]), suppressed.get((key, None)))
            rows.append((contact_id, list_id, consent.lower(*here, everywhere)))
    added = await connection.fetch(
        "INSERT INTO subscription (account_id, contact_id, list_id, status)"
        " SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[], $4::text[]) u ON CONFLICT DO NOTHING"
        " RETURNING contact_id, status",
        account_id, *zip(*rows, strict=True),
    )  # fmt: skip
    joined: dict[UUID, int] = {}
    for row in added:
        joined[row["contact_id"]] = joined.get(row["contact_id"], 0) + (row["status"] == ContactStatus.ACTIVE)
    return joined


async def _tag(
    connection: Connection, account_id: UUID, tag_ids: Sequence[UUID], contacts: Sequence[Mapping[str, Any]]
) -> set[UUID]:
    """Tag the contacts. Returns those that lacked one of the tags."""
    added = await connection.fetch(
        "INSERT INTO contact_tag (account_id, contact_id, tag_id)"
        " SELECT $1, contact_id, tag_id FROM unnest($2::uuid[]) contact_id, unnest($3::uuid[]) tag_id"
        " ON CONFLICT DO NOTHING RETURNING contact_id",
        account_id, [contact["id"] for contact in contacts], tag_ids,
    )  # fmt: skip
    return {row["contact_id"] for row in added}
