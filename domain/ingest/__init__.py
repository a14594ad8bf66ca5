"""The one way by which records become contacts (R5-R9, R11, R14, R17).

items: a record in the form that is compared and kept · known: what is read and locked · plan: the decisions, pure ·
write: the statements · page: all of it in one transaction.
"""

from domain.ingest.page import Incoming, Stored, store_due, store_page

__all__ = ["Incoming", "Stored", "store_due", "store_page"]
