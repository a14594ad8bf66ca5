"""Contacts of WooCommerce; what it declares is in `connector`."""
