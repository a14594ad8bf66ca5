"""Creating, updating and upserting contacts, as users and integrators do."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from domain import contact_limit, suppressions
from domain.account import Viewer
from domain.contacts.given import Given, Wish, check, load_offered
from domain.contacts.plan import Change, Known, edited, plan
from domain.contacts.reading import Contact
from domain.contacts.writing import MAX_CONTACTS, hold_contacts, in_transaction, subscriptions_of, tags_of, write
from domain.database import Connection
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.queue import Queue

Result = TypeVar("Result")


class UpsertOutcome(StrEnum):
    """What became of one contact of many."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    UNCHANGED = "UNCHANGED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upserted:
    """What became of one contact of many. `protected`: its consent was not raised, whatever was asked for."""

    outcome: UpsertOutcome
    contact_id: UUID | None = None
    protected: bool = False
    problems: Sequence[Problem] = ()


async def create(viewer: Viewer, given: Given, *, queue: Queue) -> UUID:
    """Make a contact and return its id. It is ACTIVE unless `given` says less or its address is suppressed.

    Refused where the address is taken, or the contact limit has no room. A tombstone of the address is lifted (R13).
    """

    async def work(connection: Connection) -> tuple[UUID, bool]:
        [wish] = await _checked(connection, viewer.account_id, [given])
        await contact_limit.hold(connection, viewer.account_id)
        known = await _know(connection, viewer.account_id, [wish])
        problems = [*wish.problems, *_taken(known, wish)]
        if problems:
            raise Refused(*problems)
        [change] = await _plan_within_limit(connection, viewer.account_id, [wish], known)
        if change is None:
            raise Refused(contact_limit.NO_ROOM)
        return change.after.id, await write(connection, viewer.account_id, [change])

    return await _done(work, queue)


async def update(viewer: Viewer, contact_id: UUID, given: Given, *, queue: Queue) -> None:
    """Change what a contact has. Consent is never raised; the suppressions of a new address count for it.

    Refused where another contact has the address.
    """

    async def work(connection: Connection) -> tuple[None, bool]:
        [wish] = await _checked(connection, viewer.account_id, [given])
        # A move may cost consent, and with it change the number of ACTIVE contacts.
        if wish.email is not None or wish.status is not None:
            await contact_limit.hold(connection, viewer.account_id)
        known = await _know(connection, viewer.account_id, [wish], contact_id)
        contact = next((each for each in known.by_key.values() if each.id == contact_id), None)
        if contact is None:
            raise Refused(*not_found("contact", "id").problems, *wish.problems)
        problems = [*wish.problems, *_taken(known, wish, but=contact)]
        if problems:
            raise Refused(*problems)
        return None, await write(connection, viewer.account_id, [edited(contact, wish, known)])

    await _done(work, queue)


async def upsert(viewer: Viewer, given: Sequence[Given], *, queue: Queue) -> list[Upserted]:
    """Create or update up to 500 contacts by their addresses, each with an outcome of its own.

    What is wrong with one changes nothing about the others. The same call again changes nothing.
    """
    if len(given) > MAX_CONTACTS:
        message = f"Send at most {MAX_CONTACTS} contacts at a time, not {len(given)}."
        raise Refused(Problem(ErrorCode.INVALID, message, ("contacts",)))

    async def work(connection: Connection) -> tuple[list[Upserted], bool]:
        wishes = await _checked(connection, viewer.account_id, given)
        valid = [wish for wish in wishes if not wish.problems]
        if await _may_change_active(connection, viewer.account_id, valid):
            await contact_limit.hold(connection, viewer.account_id)
        known = await _know(connection, viewer.account_id, valid)
        changes = await _plan_within_limit(connection, viewer.account_id, valid, known)
        asked = await write(connection, viewer.account_id, [change for change in changes if change is not None])
        of_valid = iter(changes)
        return [_upserted(wish, None if wish.problems else next(of_valid)) for wish in wishes], asked

    return await _done(work, queue)


async def _done(work: Callable[[Connection], Awaitable[tuple[Result, bool]]], queue: Queue) -> Result:
    """Do `work`, and wake the workers where it asked for some of theirs."""
    result, asked = await in_transaction(work)
    if asked:
        await queue.wake()
    return result


async def _checked(connection: Connection, account_id: UUID, given: Sequence[Given]) -> list[Wish]:
    offered = await load_offered(connection, account_id, given)
    return [check(each, offered) for each in given]


async def _know(
    connection: Connection, account_id: UUID, wishes: Sequence[Wish], contact_id: UUID | None = None
) -> Known:
    """What the wishes are decided by; the contacts are held."""
    keys = {wish.email.key for wish in wishes if wish.email is not None}
    contacts = await hold_contacts(connection, account_id, ids=[contact_id] if contact_id else (), keys=keys)
    ids = [contact.id for contact in contacts]
    return Known(
        by_key={contact.email_key: contact for contact in contacts},
        suppressed=await suppressions.load(connection, account_id, keys | {each.email_key for each in contacts}),
        subscriptions=await subscriptions_of(connection, account_id, ids),
        tags=await tags_of(connection, account_id, ids),
    )


async def _may_change_active(connection: Connection, account_id: UUID, wishes: Sequence[Wish]) -> bool:
    """Whether the number of ACTIVE contacts may change. Pages wait for the account's row: it is not held for less."""
    keys = {wish.email.key for wish in wishes if wish.email is not None}
    known = await connection.fetchval(
        "SELECT count(*) FROM contact WHERE account_id = $1 AND email_key = ANY($2::text[])", account_id, list(keys)
    )
    return known < len(keys) or any(wish.status is not None for wish in wishes)


async def _plan_within_limit(
    connection: Connection, account_id: UUID, wishes: Sequence[Wish], known: Known
) -> list[Change | None]:
    """The changes that the contact limit has room for, after an upgrade where the account wants that."""
    changes = plan(wishes, known, room=len(wishes))
    wanted = sum(max(0, change.active_delta) for change in changes if change is not None)
    if not wanted:
        return changes
    room = await contact_limit.hold(connection, account_id)
    if wanted > room:
        room = await contact_limit.upgrade(connection, account_id, wanted=wanted)
    return changes if wanted <= room else plan(wishes, known, room=room)


def _taken(known: Known, wish: Wish, *, but: Contact | None = None) -> list[Problem]:
    holder = known.by_key.get(wish.email.key) if wish.email is not None else None
    if holder is None or (but is not None and holder.id == but.id):
        return []
    return [Problem(ErrorCode.TAKEN, f"There is already a contact with the address {holder.email}.", ("email",))]


def _upserted(wish: Wish, change: Change | None) -> Upserted:
    if change is None:
        return Upserted(outcome=UpsertOutcome.FAILED, problems=wish.problems or [contact_limit.NO_ROOM])
    if change.before is None:
        outcome = UpsertOutcome.CREATED
    else:
        outcome = UpsertOutcome.UPDATED if change else UpsertOutcome.UNCHANGED
    return Upserted(outcome=outcome, contact_id=change.after.id, protected=change.protected)
