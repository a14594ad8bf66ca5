"""What a page did to contacts, in the words of `effects` (R10)."""

from collections.abc import Sequence
from uuid import UUID

from domain.database import Connection
from domain.effects import ContactChange
from domain.enums import ContactStatus
from domain.ingest.decisions import CREATED, Decision

MADE = ContactChange(written=True)


async def contact_changes(
    connection: Connection, account_id: UUID, decisions: Sequence[Decision], mailed: dict[UUID, int]
) -> Sequence[ContactChange]:
    """What an ordinary change of these contacts would be announced as; `mailed` as `mailed_lists` told before it."""
    turned = [d.contact.id for d in decisions if d.contact is not None and "status" in d.change.columns]
    subscriptions = await count_active_subscriptions(connection, account_id, turned)
    changes = []
    for decision in decisions:
        if decision.outcome is CREATED and not decision.change.lists:
            changes.append(MADE)
        elif decision.cost and decision.contact is not None:
            contact_id, before = decision.contact.id, decision.change.before.get("status")
            active = decision.status is ContactStatus.ACTIVE
            # Whoever was not ACTIVE was mailed through none of their lists.
            on = mailed.get(contact_id, 0) if before in (None, ContactStatus.ACTIVE) else 0
            if active and before is not None:
                joined = subscriptions.get(contact_id, 0)
            else:
                joined = sum(active and each is ContactStatus.ACTIVE for _, each in decision.change.lists)
            left = on if before is ContactStatus.ACTIVE and not active else 0
            mailed[contact_id] = on + joined
            changes.append(ContactChange(written=True, joined=joined, left=left))
    return changes


async def mailed_lists(connection: Connection, account_id: UUID, decisions: Sequence[Decision]) -> dict[UUID, int]:
    """On how many lists those are mailed whom the decisions take from ACTIVE; to be asked before any list changes."""
    turned = [d.contact.id for d in decisions if d.contact and d.change.before.get("status") is ContactStatus.ACTIVE]
    return await count_active_subscriptions(connection, account_id, turned)


async def count_active_subscriptions(
    connection: Connection, account_id: UUID, contact_ids: Sequence[UUID | None]
) -> dict[UUID, int]:
    """How many ACTIVE subscriptions each of the contacts has."""
    if not contact_ids:
        return {}
    rows = await connection.fetch(
        "SELECT contact_id, count(*) FROM subscription WHERE account_id = $1 AND contact_id = ANY($2::uuid[])"
        " AND status = 'ACTIVE' GROUP BY contact_id",
        account_id, contact_ids,
    )  # fmt: skip
    return {row["contact_id"]: row["count"] for row in rows}
