"""Contacts of CardDAV; what it declares is in `connector`."""
