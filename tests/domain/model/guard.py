"""What is not written before somebody has judged: the guard against accidents at the source, in plain Python."""

from domain.enums import Outcome
from tests.domain.model.account import Entry, Import
from tests.domain.model.consent import lowest
from tests.domain.model.passes import Review
from tests.domain.model.rules import Decision, key_of

CHANGES = "CHANGES"
CHANGED_PERCENT, CHANGED_COUNT = 40, 1
"""More than both, of the known records that a pass read, is for somebody to judge."""


def is_accident(decision: Decision, before: Entry) -> bool:
    """Whether a known record would lose a value, its address or consent; the decision is not yet made true."""
    contact, email = decision.contact, decision.record.email
    if decision.outcome is Outcome.FAILED or not decision.news:
        return False
    blanked = any(value is None for value in decision.values.values())
    other_address = not email or "@" not in email or key_of(email) != before.key
    status = decision.columns.get("status")
    lowered = contact is not None and status is not None and lowest(status, contact.status) is status
    return blanked or other_address or lowered


def review_of(into: Import, unread: int) -> Review | None:
    """What is to be judged of the pass as it stands; `unread` more known records came with it, behind the cap's cut."""
    known, affected = into.under_way.known + unread, into.under_way.affected
    if into.under_way.is_approved or affected <= CHANGED_COUNT or affected * 100 <= CHANGED_PERCENT * known:
        return None
    return Review(kind=CHANGES, known=known, affected=affected)
