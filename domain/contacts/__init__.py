"""Contacts: reading them, and the changes that users make."""

from domain.contacts.deleting import delete, erase_step
from domain.contacts.editing import Upserted, UpsertOutcome, create, update, upsert
from domain.contacts.given import FieldGiven, Given
from domain.contacts.reading import Contact, ContactFilter, ContactOrder, FieldEquals, by_email, by_ids, page
from domain.contacts.tagging import add_tags, remove_tags

__all__ = [
    "Contact",
    "ContactFilter",
    "ContactOrder",
    "FieldEquals",
    "FieldGiven",
    "Given",
    "UpsertOutcome",
    "Upserted",
    "add_tags",
    "by_email",
    "by_ids",
    "create",
    "delete",
    "erase_step",
    "page",
    "remove_tags",
    "update",
    "upsert",
]
