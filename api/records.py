"""The ledger's records and the runs' outcomes in the schema."""

from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry

from api.contacts import Contact
from api.context import Info, loaders
from api.enums import describe
from api.pagination import Order
from domain.enums import LedgerState, Outcome, OutcomeCode, OutcomeNote
from domain.ledger import LedgerRow
from domain.outcomes import OutcomeRow

describe(
    LedgerState,
    "The present truth about a record.",
    name="RecordState",
    LINKED="It has a contact.",
    SKIPPED="It was not imported; the code says why. It is looked at again when it changes at the service.",
    WAITING="It is a new contact that waits for room in the contact limit.",
    FAILED="It could not be stored; the code says why.",
    DELETED="It was deleted at the service.",
    UNDONE="Its import was undone.",
)
describe(
    Outcome,
    "What became of a record in a run. Every record read has exactly one.",
    CREATED="A new contact.",
    UPDATED="A known contact, with something new.",
    UNCHANGED="A known contact, with nothing new.",
    SKIPPED="Not imported; the code says why.",
    WAITING="A new contact that waits for room in the contact limit.",
    FAILED="Could not be stored; the code says why.",
)
describe(
    OutcomeCode,
    "Why a record was skipped, waits or failed.",
    NO_EMAIL="It has no email address.",
    INVALID_EMAIL="Its email address is not valid.",
    DUPLICATE_EMAIL="Another record of the same import holds this address.",
    DELETED_HERE="A user deleted this contact here: no automatic import brings it back.",
    UNDONE="Its import was undone, and it has not changed since.",
    CONTACT_LIMIT="The account's contact limit is reached.",
    REJECTED_VALUE="The database refused one of its values.",
)
describe(
    OutcomeNote,
    "What there is to add, though the contact was written.",
    FIELD_TYPE="A value did not fit its field's type, and was left out.",
    FIELD_LIMIT="A value was left out, because the service has as many fields here as there may be.",
    PROTECTED="The person has declined or bounced: their status was not raised.",
    CONTACT_LIMIT="The confirmation is held back until the contact limit has room.",
)

RECORDS: Order[LedgerRow] = Order("records", lambda row: row.external_id, str)
OUTCOMES: Order[OutcomeRow] = Order("outcomes", lambda row: row.id, UUID)


@strawberry.type(description="A record of the service, as an automatic import last saw it, and what became of it.")
class SourceRecord:
    contact_key: strawberry.Private[UUID | None]
    external_id: str = strawberry.field(description="Its id at the service.")
    state: LedgerState = strawberry.field(description="The present truth about it.")
    code: OutcomeCode | None = strawberry.field(description="Why it is not linked; null where it is.")
    email: str | None = strawberry.field(description="The address that the service last gave, valid or not.")
    first_seen_at: datetime = strawberry.field(description="When it was first read.")
    updated_at: datetime = strawberry.field(description="When it last changed anything here.")

    @classmethod
    def of(cls, row: LedgerRow) -> Self:
        return cls(
            contact_key=row.contact_id,
            external_id=row.external_id,
            state=row.state,
            code=row.code,
            email=row.email,
            first_seen_at=row.first_seen_at,
            updated_at=row.updated_at,
        )

    @strawberry.field(description="The contact that it became; null where there is none (any more).")
    async def contact(self, info: Info) -> Contact | None:
        return await _contact(info, self.contact_key)


@strawberry.type(description="What became of one record in one run, where that differs from the time before.")
class RecordOutcome:
    contact_key: strawberry.Private[UUID | None]
    external_id: str = strawberry.field(description="The record's id at the service.")
    outcome: Outcome = strawberry.field(description="What became of it.")
    code: OutcomeCode | None = strawberry.field(description="Why it was skipped, waits or failed; else null.")
    notes: list[OutcomeNote] = strawberry.field(description="What there is to add.")
    created_at: datetime = strawberry.field(description="When it was decided.")

    @classmethod
    def of(cls, row: OutcomeRow) -> Self:
        return cls(
            contact_key=row.contact_id,
            external_id=row.external_id,
            outcome=row.outcome,
            code=row.code,
            notes=list(row.notes),
            created_at=row.created_at,
        )

    @strawberry.field(description="The contact that it is about; null where there is none (any more).")
    async def contact(self, info: Info) -> Contact | None:
        return await _contact(info, self.contact_key)


async def _contact(info: Info, key: UUID | None) -> Contact | None:
    row = await loaders(info).contact.load(key) if key is not None else None
    return Contact.of(row) if row is not None else None
