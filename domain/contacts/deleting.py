"""Deleting a contact, and erasing what is known of it (R13, R23)."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from domain import background_tasks, contact_limit, suppressions
from domain.account import Viewer
from domain.audit import record_audit
from domain.background_tasks import Task
from domain.contacts import writing
from domain.contacts.plan import mailed
from domain.database import Connection
from domain.effects import ContactChange, Origin, announce
from domain.enums import ContactStatus, TaskKind
from domain.errors import not_found
from domain.queue import Queue


async def delete(viewer: Viewer, contact_id: UUID, *, erase: bool = False, queue: Queue) -> None:
    """Delete the contact: no automatic import brings it back, and what it declined holds for its address.

    `erase` also blanks its values wherever imports keep them; keyed hashes of its addresses remain.
    """

    async def work(connection: Connection) -> bool:
        account_id = viewer.account_id
        await contact_limit.hold(connection, account_id)
        held = await writing.hold_contacts(connection, account_id, ids=[contact_id])
        if not held:
            raise not_found("contact", "id")
        [contact] = held
        subscriptions = (await writing.subscriptions_of(connection, account_id, [contact_id])).get(contact_id, {})
        await suppressions.suppress_contacts(connection, account_id, [contact_id])
        # An import may know it under an address that was changed here since.
        addresses = {contact.email_key} | await _addresses_in_ledger(connection, account_id, contact_id)
        await suppressions.bury(connection, account_id, sorted(addresses))
        await _leave_ledger(connection, account_id, contact_id, sorted(addresses), erase=erase)
        await connection.execute("DELETE FROM contact WHERE account_id = $1 AND id = $2", account_id, contact_id)
        await contact_limit.count_active(connection, account_id, -int(contact.status is ContactStatus.ACTIVE))
        if erase:
            await _erase_examples(connection, account_id)
            await background_tasks.enqueue(connection, account_id, TaskKind.ERASE_CONTACT, subject=contact_id)
        await record_audit(viewer, "CONTACT_ERASED" if erase else "CONTACT_DELETED", contact_id)
        announce(Origin.API, [ContactChange(written=True, left=len(mailed(contact, subscriptions)))])
        return erase or contact.status is ContactStatus.ACTIVE

    if await writing.in_transaction(work):
        await queue.wake()


async def _erase_examples(connection: Connection, account_id: UUID) -> None:
    """Previews and reviews keep some records, whose they are is not known any more: none of them."""
    # The task before its preview, as a step holds them. One that is under way reads again.
    await background_tasks.begin_again(connection, account_id, TaskKind.PREVIEW)
    await connection.execute(
        "UPDATE import_preview SET result = result - 'examples' WHERE account_id = $1 AND result ? 'examples'",
        account_id,
    )
    await connection.execute(
        "UPDATE import_run SET review = review - 'examples' WHERE account_id = $1 AND review ? 'examples'", account_id
    )


async def erase_step(task: Task) -> bool:
    """Blank the contact's values in the outcomes of one day. Returns whether there is more to do."""
    async with background_tasks.step(task) as connection:
        day = await connection.fetchval(
            "SELECT min(day) FROM outcome WHERE account_id = $1 AND day > $2",
            task.account_id, date.fromisoformat(task.progress.get("day", date.min.isoformat())),
        )  # fmt: skip
        if day is None:
            return False
        await connection.execute(
            "UPDATE outcome SET before = NULL, after = NULL WHERE account_id = $1 AND day = $2 AND contact_id = $3",
            task.account_id, day, task.subject,
        )  # fmt: skip
        task.progress = {"day": day.isoformat()}
    return True


async def _addresses_in_ledger(connection: Connection, account_id: UUID, contact_id: UUID) -> set[str]:
    rows = await connection.fetch(
        "SELECT DISTINCT email_key FROM ledger WHERE account_id = $1 AND contact_id = $2 AND email_key IS NOT NULL",
        account_id, contact_id,
    )  # fmt: skip
    return {row["email_key"] for row in rows}


async def _leave_ledger(
    connection: Connection, account_id: UUID, contact_id: UUID, addresses: Sequence[str], *, erase: bool
) -> None:
    """No record has this contact any more, nor waits for one of its addresses: it would not get it.

    Digests stay, so that the same records are not read as new.
    """
    deleted_here = "(state IN ('LINKED', 'WAITING') OR code = 'DUPLICATE_EMAIL')"
    blank = ", record = '{}', email_key = NULL" if erase else ""
    of_its_addresses = "state <> 'LINKED'" if erase else "(state = 'WAITING' OR code = 'DUPLICATE_EMAIL')"
    for condition, value in (
        ("contact_id = $2", contact_id),
        (f"email_key = ANY($2::text[]) AND state <> 'LINKED' AND {of_its_addresses}", addresses),
    ):
        await connection.execute(
            f"UPDATE ledger SET contact_id = NULL, due = false, applied = NULL, updated_at = now(),"
            f" state = CASE WHEN {deleted_here} THEN 'SKIPPED' ELSE state END,"
            f" code = CASE WHEN {deleted_here} THEN 'DELETED_HERE' ELSE code END{blank}"
            f" WHERE account_id = $1 AND {condition}",
            account_id, value,
        )  # fmt: skip
