"""What an import keeps silent (R10), in plain Python."""

from collections import Counter
from collections.abc import Set

from tests.domain.model.account import Contact
from tests.domain.model.consent import ACTIVE

AUTORESPONDERS, WEBHOOKS, NOTIFICATIONS = "autoresponders", "webhooks", "notifications"


def mailed_lists(contact: Contact | None) -> Set[str]:
    """A person is mailed only if contact and subscription are both ACTIVE (R9)."""
    if contact is None or contact.status is not ACTIVE:
        return frozenset()
    return {name for name, status in contact.lists.items() if status is ACTIVE}


def kept_silent(before: Set[str], after: Set[str]) -> Counter[str]:
    """What the change of a contact would set off if a user made it, which was and is mailed to these lists.

    A webhook a contact, an autoresponder a list joined, a notification a list joined or left.
    """
    return Counter({WEBHOOKS: 1, AUTORESPONDERS: len(after - before), NOTIFICATIONS: len(after ^ before)})
