"""The tags of one contact."""

from collections.abc import Sequence
from uuid import UUID

from domain.account import Viewer
from domain.contacts import writing
from domain.contacts.given import hold, missing
from domain.database import Connection
from domain.effects import ContactChange, Origin, announce
from domain.errors import Refused, not_found


async def add_tags(viewer: Viewer, contact_id: UUID, tag_ids: Sequence[UUID]) -> None:
    """Give the contact tags; those that it has stay."""

    async def work(connection: Connection) -> None:
        await _hold(connection, viewer.account_id, contact_id, tag_ids)
        present = await writing.tags_of(connection, viewer.account_id, [contact_id])
        new = [tag_id for tag_id in dict.fromkeys(tag_ids) if tag_id not in present.get(contact_id, ())]
        await writing.add_tags(connection, viewer.account_id, [(contact_id, tag_id) for tag_id in new])
        await _changed(connection, viewer.account_id, contact_id, bool(new))

    await writing.in_transaction(work)


async def remove_tags(viewer: Viewer, contact_id: UUID, tag_ids: Sequence[UUID]) -> None:
    """Take tags from the contact. No automatic import gives them back to it (R13)."""

    async def work(connection: Connection) -> None:
        await _hold(connection, viewer.account_id, contact_id, tag_ids)
        removed = await connection.fetch(
            "DELETE FROM contact_tag WHERE account_id = $1 AND contact_id = $2 AND tag_id = ANY($3::uuid[])"
            " RETURNING tag_id",
            viewer.account_id, contact_id, list(tag_ids),
        )  # fmt: skip
        await _changed(connection, viewer.account_id, contact_id, bool(removed))

    await writing.in_transaction(work)


async def _hold(connection: Connection, account_id: UUID, contact_id: UUID, tag_ids: Sequence[UUID]) -> None:
    """Hold tags and contact; Refused where one of them is not there."""
    tags = await hold(connection, "tag", account_id, set(tag_ids))
    problems = missing("tag", "tagIds", tag_ids, tags)
    if not await writing.hold_contacts(connection, account_id, ids=[contact_id]):
        problems = [*not_found("contact", "contactId").problems, *problems]
    if problems:
        raise Refused(*problems)


async def _changed(connection: Connection, account_id: UUID, contact_id: UUID, changed: bool) -> None:
    if changed:
        await writing.touch(connection, account_id, contact_id)
    announce(Origin.API, [ContactChange(written=changed)])
