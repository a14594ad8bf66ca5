"""What an automatic import may do to the contacts that it finds, and to those that are gone."""

from api.enums import describe
from domain.enums import DeletionPolicy, OverwritePolicy

__all__ = ["DeletionPolicy", "OverwritePolicy"]

describe(
    OverwritePolicy,
    "Whether an import's names and phone replace what a contact already has.",
    ALWAYS="Whenever they change at the service.",
    IF_EMPTY="Only where the contact has none.",
)

describe(
    DeletionPolicy,
    "What becomes of a contact whose record was deleted at the service.",
    KEEP="The deletion is recorded; the contact stays as it is.",
    UNSUBSCRIBE="The contact is unsubscribed from everything. Only where the service tells deletions for certain.",
    TAG="The contact gets a tag.",
)
