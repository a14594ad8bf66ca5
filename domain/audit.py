"""Who changed what."""

from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain.account import Viewer
from domain.database import Connection
from domain.models import AuditEntry


async def record_audit(viewer: Viewer, action: str, subject: UUID, **details: object) -> None:
    """Write an audit entry, in the transaction of the change it is about."""
    await AuditEntry.create(
        account_id=viewer.account_id,
        actor_id=viewer.token_id,
        action=action,
        subject=str(subject),
        details=details,
    )


async def record_engine_audit(
    connection: Connection, account_id: UUID, action: str, subject: UUID, **details: object
) -> None:
    """Write an audit entry for what the engine did by itself: it has no actor."""
    await connection.execute(
        "INSERT INTO audit_entry (account_id, id, action, subject, details, created_at)"
        " VALUES ($1, $2, $3, $4, $5, now())",
        account_id, uuid7(), action, str(subject), orjson.dumps(details).decode(),
    )  # fmt: skip
