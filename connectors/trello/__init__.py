"""Contacts of Trello; what it declares is in `connector`."""
