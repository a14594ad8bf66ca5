"""Contacts of Google Contacts; what it declares is in `connector`."""
