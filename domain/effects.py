"""What a change of a contact sets off: autoresponders, contact webhooks, list notifications.

Every change of a contact or a subscription is announced here, and only here it is known where it came from: what an
automatic import does is counted and not sent (R10).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self


class Origin(StrEnum):
    """The way by which a change came in."""

    AUTOMATIC_IMPORT = "AUTOMATIC_IMPORT"
    API = "API"


SILENT = frozenset({Origin.AUTOMATIC_IMPORT})
"""Origins whose changes set nothing off: also what undoes them, drains them and lets them go."""


class ContactChange(NamedTuple):
    """What happened to one contact: `joined` and `left` are numbers of lists.

    A list is joined when contact and subscription are both ACTIVE for the first time, left when they no longer are.
    """

    written: bool
    joined: int = 0
    left: int = 0


@dataclass(slots=True, kw_only=True)
class Effects:
    """How many of each."""

    autoresponders: int = 0
    webhooks: int = 0
    notifications: int = 0

    @classmethod
    def of(cls, changes: Iterable[ContactChange]) -> Self:
        """What these changes would set off: one webhook a contact, an autoresponder a list joined, a notification
        a list joined or left.
        """
        effects = cls()
        for change in changes:
            effects.webhooks += bool(change.written or change.joined or change.left)
            effects.autoresponders += change.joined
            effects.notifications += change.joined + change.left
        return effects

    def __iadd__(self, other: Self) -> Self:
        self.autoresponders += other.autoresponders
        self.webhooks += other.webhooks
        self.notifications += other.notifications
        return self


def announce(origin: Origin, changes: Iterable[ContactChange]) -> Effects:
    """Let changes take effect. Returns what was kept silent because of their origin."""
    return Effects.of(changes) if origin in SILENT else Effects()
