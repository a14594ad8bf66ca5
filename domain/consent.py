"""The consent ratchet (R9): the one place that decides a status. Pure; a database trigger backs it.

UNSUBSCRIBED and BOUNCED are low: no import raises them. A source's word acts when it is first seen or newly changed.
"""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from domain.enums import ContactStatus
from domain.records import SourceConsent

LOW = (ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED)

_ORDER = (ContactStatus.BOUNCED, ContactStatus.UNSUBSCRIBED, ContactStatus.UNCONFIRMED, ContactStatus.ACTIVE)

_STATUS_OF = {
    SourceConsent.GRANTED.value: ContactStatus.ACTIVE,
    SourceConsent.NOT_TRACKED.value: ContactStatus.ACTIVE,
    SourceConsent.PENDING.value: ContactStatus.UNCONFIRMED,
    SourceConsent.NONE.value: ContactStatus.UNCONFIRMED,
    SourceConsent.DENIED.value: ContactStatus.UNSUBSCRIBED,
}


class Decision(NamedTuple):
    """The status to have, and whether the ratchet held one back that the source would have raised."""

    status: ContactStatus
    protected: bool = False


_WANTED = {consent: Decision(status) for consent, status in _STATUS_OF.items()}


def status_of_new(consent: str, *, suppressed: ContactStatus | None) -> Decision:
    """The status of a contact or subscription that an import creates; `consent` is one of SourceConsent's values."""
    if suppressed is None:
        return _WANTED[consent]
    return Decision(suppressed, protected=_STATUS_OF[consent] not in LOW)


def status_of_known(
    current: ContactStatus,
    consent: SourceConsent,
    *,
    before: SourceConsent | None,
    suppressed: ContactStatus | None = None,
) -> Decision:
    """The status of a known contact after its source said `consent`.

    `before` is what this import last acted on, None where it never saw the record. `suppressed` is what the address
    carries that the contact is moving to, or is suppressed under already.
    """
    if current in LOW:
        return Decision(current, protected=_STATUS_OF[consent] not in LOW)
    if suppressed is not None:
        return Decision(suppressed, protected=_STATUS_OF[consent] not in LOW)
    if consent == before:
        return Decision(current)
    if consent is SourceConsent.DENIED:
        return Decision(ContactStatus.UNSUBSCRIBED)
    # A first sight is no change: what waits for confirmation here is not confirmed by an old grant there.
    if current is ContactStatus.UNCONFIRMED and consent is SourceConsent.GRANTED and before is not None:
        return Decision(ContactStatus.ACTIVE)
    return Decision(current)


def lower(*statuses: ContactStatus | None) -> ContactStatus:
    """The most restrictive of `statuses`: a subscription is never more than its contact."""
    return min((status for status in statuses if status is not None), key=_ORDER.index)


def is_lower(status: ContactStatus, than: ContactStatus) -> bool:
    """Whether `status` is more restrictive."""
    return _ORDER.index(status) < _ORDER.index(than)


def lowered(
    subscriptions: Mapping[UUID, ContactStatus],
    email_key: str,
    suppressed: Mapping[tuple[str, UUID | None], ContactStatus],
) -> dict[UUID, ContactStatus]:
    """Those of a contact's subscriptions, by list, that what its new address declined lowers, as they become."""
    return {
        list_id: lowest
        for list_id, status in subscriptions.items()
        if (lowest := lower(status, suppressed.get((email_key, list_id)))) is not status
    }
