"""Who changed what."""

from uuid import UUID

from domain.account import Viewer
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
