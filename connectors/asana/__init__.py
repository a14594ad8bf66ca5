"""Contacts of Asana; what it declares is in `connector`."""
