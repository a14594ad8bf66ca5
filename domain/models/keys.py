"""How the models are keyed."""

from uuid import UUID

from tortoise import fields
from tortoise.fields.base import Field
from uuid_utils.compat import uuid7


def new_id() -> Field[UUID]:
    """A UUIDv7, which sorts by the time it was made (RFC 9562)."""
    return fields.UUIDField(primary_key=True, default=uuid7)
