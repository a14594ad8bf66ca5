"""What becomes of the records of a page, before anything is written. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain import consent
from domain.enums import ContactStatus, LedgerState, Outcome, OutcomeCode
from domain.ingest.changes import NO_CHANGE, Change
from domain.ingest.items import Item
from domain.ingest.known import Draft, Entry

# Python 3.11 takes longer to look up a member of an enum than to make an object.
ACTIVE, CREATED, LINKED = ContactStatus.ACTIVE, Outcome.CREATED, LedgerState.LINKED
KEEPS_ADDRESS = (LINKED, LedgerState.UNDONE)
"""The states of a record for whose address others wait; an undone one is still what it was at the source."""


@dataclass(slots=True)
class Decision:
    """What becomes of one record. `repeated`: nothing is new, it is only counted.

    `contact` is a new contact for CREATED, the known one otherwise; `applied` is the record as written to it, where
    that is an older one than the record as seen. `entry` is its ledger row so far, `gone_key` the address of somebody
    whom a user deleted here, of which nothing else is kept, `status` the one that it leaves the contact with.
    """

    item: Item
    outcome: Outcome
    code: OutcomeCode | None = None
    state: LedgerState = LINKED
    email_key: str | None = None
    contact_id: UUID | None = None
    contact: Draft | None = None
    change: Change = NO_CHANGE
    applied: Mapping[str, Any] | None = None
    repeated: bool = False
    entry: Entry | None = None
    gone_key: str | None = None
    status: ContactStatus | None = None

    @property
    def is_news(self) -> bool:
        """Whether it has an outcome row of its own: the ledger does not say the same already (R17)."""
        entry = self.entry
        same = entry and (entry.state, entry.code, entry.digest) == (self.state, self.code, self.item.digest)
        return not same or self.outcome in (Outcome.CREATED, Outcome.UPDATED)

    @property
    def opts_out(self) -> bool:
        """Whether it leaves an address that is not to be mailed; asked after it is applied."""
        if self.contact is None or self.contact.status not in consent.LOW:
            return False
        return self.outcome is CREATED or bool(self.change.columns.keys() & {"status", "email_key"})

    @property
    def cost(self) -> int:
        """What it takes of the cap (R4)."""
        return int(self.outcome is CREATED or bool(self.change))

    @property
    def active_delta(self) -> int:
        """By how much it changes the number of ACTIVE contacts; asked before it is applied."""
        if self.contact is None:
            return 0
        was_active = self.contact.status is ACTIVE and self.outcome is not CREATED
        return int(self.change.columns.get("status", self.contact.status) is ACTIVE) - int(was_active)


@dataclass(slots=True, kw_only=True)
class Plan:
    """The decisions for a page, as far as the cap reaches, and what they come to.

    `held_back` counts those that the contact limit has no room for; `lacks_room`: the cap would have let one in.
    `released` maps a record to the address that it lets go.
    """

    decisions: list[Decision] = field(default_factory=list)
    cost: int = 0
    active_delta: int = 0
    held_back: int = 0
    lacks_room: bool = False
    released: dict[str, str] = field(default_factory=dict)

    @property
    def new_ids(self) -> list[str]:
        """The records that the import did not have: new ones, and such as were deleted at the service."""
        return [
            each.item.external_id
            for each in self.decisions
            if each.entry is None or each.entry.state is LedgerState.DELETED
        ]


OUTCOME_OF = {
    LedgerState.LINKED: Outcome.UNCHANGED,
    LedgerState.SKIPPED: Outcome.SKIPPED,
    LedgerState.UNDONE: Outcome.SKIPPED,
    LedgerState.WAITING: Outcome.WAITING,
    LedgerState.FAILED: Outcome.FAILED,
}
