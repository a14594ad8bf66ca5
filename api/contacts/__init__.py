"""Contacts in the schema."""

from api.contacts.mutations import ContactMutations
from api.contacts.types import Contact, ContactQueries

__all__ = ["Contact", "ContactMutations", "ContactQueries"]
