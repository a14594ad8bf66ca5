"""The one way by which records become contacts (R5-R9, R11, R14, R16, R17).

items: a record in the form that is compared and kept · rules, known: what is read and locked · plan, changes: the
decisions, pure · guard: what is not written before somebody has judged · write, rows: the statements · transaction:
all of it or nothing · storing: decided and written, refused records isolated · page: from the service · from_ledger:
what is due, and who waits for room · deletions: what is gone.
"""

from domain.ingest.deletions import store_deletions
from domain.ingest.from_ledger import let_in, store_due
from domain.ingest.page import Incoming, store_page
from domain.ingest.transaction import Stored

__all__ = ["Incoming", "Stored", "let_in", "store_deletions", "store_due", "store_page"]
