"""A person's consent, as a user sets it: the one way up (R9)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from domain import contact_limit, suppressions
from domain.account import Viewer
from domain.audit import record_audit
from domain.consent import LOW
from domain.contacts import writing
from domain.contacts.given import hold
from domain.contacts.plan import Change
from domain.contacts.reading import Contact
from domain.database import Connection
from domain.effects import Origin, announce
from domain.enums import ContactStatus
from domain.errors import Problem, Refused, not_found
from domain.queue import Queue


async def set_status(
    viewer: Viewer, contact_id: UUID, status: ContactStatus, *, list_id: UUID | None = None, queue: Queue
) -> None:
    """Set the status of the contact's subscription to a list, or without a list the contact's own.

    What is raised is no longer suppressed; what is lowered is, for the address. The same call again changes nothing.
    Refused where the contact limit has no room for one more ACTIVE contact.
    """

    async def work(connection: Connection) -> bool:
        # What lets the database's guard pass a raise: this transaction is a user's, and says whose.
        await connection.execute("SELECT set_config('sluice.acting_user', $1, true)", str(viewer.token_id))
        if list_id is None:
            return await _set_contact(connection, viewer, contact_id, status)
        await _set_subscription(connection, viewer, contact_id, list_id, status)
        return False

    if await writing.in_transaction(work):
        await queue.wake()


async def _set_contact(connection: Connection, viewer: Viewer, contact_id: UUID, status: ContactStatus) -> bool:
    """Returns whether that made room."""
    account_id = viewer.account_id
    await contact_limit.hold(connection, account_id)
    contact, present = await _hold_contact(connection, account_id, contact_id)
    await _keep(connection, account_id, contact.email_key, None, status)
    change = Change(before=contact, after=replace(contact, status=status), lists={}, tags=(), subscriptions=present)
    if not change:
        return False
    if change.active_delta > 0:
        await contact_limit.require_room(connection, account_id)
    await connection.execute(
        "UPDATE contact SET status = $3 WHERE account_id = $1 AND id = $2", account_id, contact_id, status
    )
    await contact_limit.count_active(connection, account_id, change.active_delta)
    await _record(connection, viewer, change, before=contact.status, after=status)
    return change.active_delta < 0


async def _set_subscription(
    connection: Connection, viewer: Viewer, contact_id: UUID, list_id: UUID, status: ContactStatus
) -> None:
    account_id = viewer.account_id
    lists = await hold(connection, "contact_list", account_id, {list_id})
    no_list = [] if lists else not_found("list", "listId").problems
    contact, present = await _hold_contact(connection, account_id, contact_id, no_list)
    await _keep(connection, account_id, contact.email_key, list_id, status)
    if present.get(list_id) is status:
        return
    change = Change(before=contact, after=contact, lists={list_id: status}, tags=(), subscriptions=present)
    await writing.subscribe(connection, account_id, [change])
    await _record(connection, viewer, change, list_id=str(list_id), before=present.get(list_id), after=status)


async def _hold_contact(
    connection: Connection, account_id: UUID, contact_id: UUID, problems: Sequence[Problem] = ()
) -> tuple[Contact, Mapping[UUID, ContactStatus]]:
    """The contact, held, and its subscriptions. Refused where there is none, or for other `problems`."""
    held = await writing.hold_contacts(connection, account_id, ids=[contact_id])
    if not held or problems:
        raise Refused(*([] if held else not_found("contact", "contactId").problems), *problems)
    subscriptions = await writing.subscriptions_of(connection, account_id, [contact_id])
    return held[0], subscriptions.get(contact_id, {})


async def _record(connection: Connection, viewer: Viewer, change: Change, **details: object) -> None:
    """Let it be known that, and by whom, consent was changed."""
    await writing.touch(connection, viewer.account_id, change.after.id)
    await record_audit(viewer, "CONSENT_SET", change.after.id, **details)
    announce(Origin.API, [change.effect])


async def _keep(
    connection: Connection, account_id: UUID, email_key: str, list_id: UUID | None, status: ContactStatus
) -> None:
    """What the address carries on, whatever becomes of the contact."""
    if status in LOW:
        await suppressions.suppress(connection, account_id, {(email_key, list_id): status})
    else:
        await suppressions.lift(connection, account_id, email_key, list_id)
