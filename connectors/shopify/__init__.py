"""Contacts of Shopify; what it declares is in `connector`."""
