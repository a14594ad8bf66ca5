"""The consent ratchet (R9) in plain Python."""

from domain.enums import ContactStatus
from domain.records import Record, SourceConsent
from tests.domain.model.account import Account, Contact

ACTIVE, UNCONFIRMED, UNSUBSCRIBED, BOUNCED = (
    ContactStatus.ACTIVE,
    ContactStatus.UNCONFIRMED,
    ContactStatus.UNSUBSCRIBED,
    ContactStatus.BOUNCED,
)
LOW = {UNSUBSCRIBED, BOUNCED}


def status_of(consent: SourceConsent) -> ContactStatus:
    """R9: what a source's word asks for."""
    match consent:
        case SourceConsent.GRANTED | SourceConsent.NOT_TRACKED:
            return ACTIVE
        case SourceConsent.PENDING | SourceConsent.NONE:
            return UNCONFIRMED
        case SourceConsent.DENIED:
            return UNSUBSCRIBED


def ratchet(
    status: ContactStatus, consent: SourceConsent, before: Record | None, suppressed: ContactStatus | None
) -> ContactStatus:
    """R9: no import raises UNSUBSCRIBED or BOUNCED. A source's word acts when it is first seen or newly changed.

    `suppressed` is what the address carries that the contact is moving to.
    """
    if status in LOW:
        return status
    if suppressed is not None:
        return suppressed
    if before is not None and consent is before.consent:
        return status
    if consent is SourceConsent.DENIED:
        return UNSUBSCRIBED
    if consent is SourceConsent.GRANTED and status is UNCONFIRMED and before is not None:
        return ACTIVE
    return status


def lowest(*statuses: ContactStatus) -> ContactStatus:
    """R9: a subscription is never more than its contact."""
    return min(statuses, key=[BOUNCED, UNSUBSCRIBED, UNCONFIRMED, ACTIVE].index)


def replace_consent(record: Record, before: Record | None) -> Record:
    """The record with the consent that was acted on: a word that had no room still counts as new."""
    assert before is not None
    return Record(**{name: getattr(record, name) for name in Record.__slots__} | {"consent": before.consent})


def keep_low(account: Account, contact: Contact) -> None:
    """R9: what was declined belongs to the address."""
    if contact.status in LOW:
        account.suppressed[contact.key, None] = contact.status
    for name, status in contact.lists.items():
        if status in LOW:
            account.suppressed[contact.key, name] = status
