"""The ledger's records and the runs' outcomes in the schema."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from api.contacts import Contact
from api.context import Info, loaders
from api.enums import describe
from api.fields import Field
from api.lists import ContactList, Tag
from api.pagination import Order
from domain import ledger, outcomes
from domain.enums import LedgerState, Outcome, OutcomeCode, OutcomeNote
from domain.ledger import LedgerRow
from domain.outcomes import OutcomeRow
from domain.shown_fields import ShownField

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


@strawberry.input(description="Which records; all that is given counts.")
class RecordFilter:
    state: LedgerState | None = strawberry.field(default=None, description="Those in this state.")
    code: OutcomeCode | None = strawberry.field(default=None, description="Those with this code.")
    email: str | None = strawberry.field(
        default=None, description="Those with this address, whatever its case; one that is not valid, as it was given."
    )
    external_id: str | None = strawberry.field(default=None, description="The one with this id at the service.")

    def to_domain(self) -> ledger.RecordFilter:
        return ledger.RecordFilter(state=self.state, code=self.code, email=self.email, external_id=self.external_id)


WRITTEN_AS = {"first_name": "firstName", "last_name": "lastName"}
"""Columns of a contact whose names in the schema differ."""


@strawberry.type(description="A value of a contact, before and after.")
class ValueChange:
    name: str = strawberry.field(
        description="What changed: `email`, `firstName`, `lastName`, `phone`, `status`, or a custom field's title."
    )
    field: Field | None = strawberry.field(description="The custom field; null for a column, or where it is deleted.")
    before: JSON | None = strawberry.field(description="The value before; null where there was none.")
    after: JSON | None = strawberry.field(description="The value after; null where it was emptied.")

    @classmethod
    def of(cls, change: outcomes.ValueChange, field: ShownField | None) -> Self:
        column = change.column
        return cls(
            name=WRITTEN_AS.get(column, column) if column else field.title if field else "a deleted field",
            field=Field.of(field) if field else None,
            before=change.before,
            after=change.after,
        )


@strawberry.type(description="A record of the service, as an automatic import last saw it, and what became of it.")
class SourceRecord:
    contact_key: strawberry.Private[UUID | None]
    position: strawberry.Private[int]
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
            position=row.position,
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

    @strawberry.field(
        description="Its place in the account's waiting room, from 1; null where it does not wait for room in the"
        " contact limit, or its import is paused."
    )
    async def waiting_position(self, info: Info) -> int | None:
        if self.code is not OutcomeCode.CONTACT_LIMIT:
            return None
        return await loaders(info).place_in_line.load(self.position)


@strawberry.type(description="What became of one record in one run, where that differs from the time before.")
class RecordOutcome:
    contact_key: strawberry.Private[UUID | None]
    changed: strawberry.Private[Sequence[outcomes.ValueChange]]
    list_keys: strawberry.Private[Sequence[UUID]]
    tag_keys: strawberry.Private[Sequence[UUID]]
    external_id: str = strawberry.field(description="The record's id at the service.")
    outcome: Outcome = strawberry.field(description="What became of it.")
    code: OutcomeCode | None = strawberry.field(description="Why it was skipped, waits or failed; else null.")
    notes: list[OutcomeNote] = strawberry.field(description="What there is to add.")
    created_at: datetime = strawberry.field(description="When it was decided.")

    @classmethod
    def of(cls, row: OutcomeRow) -> Self:
        return cls(
            contact_key=row.contact_id,
            changed=row.changes,
            list_keys=row.list_ids,
            tag_keys=row.tag_ids,
            external_id=row.external_id,
            outcome=row.outcome,
            code=row.code,
            notes=list(row.notes),
            created_at=row.created_at,
        )

    @strawberry.field(description="The contact that it is about; null where there is none (any more).")
    async def contact(self, info: Info) -> Contact | None:
        return await _contact(info, self.contact_key)

    @strawberry.field(description="The values that a known contact had and got, where its outcome is UPDATED.")
    async def changes(self, info: Info) -> list[ValueChange]:
        field_keys = [change.field_id for change in self.changed if change.field_id is not None]
        fields = dict(zip(field_keys, await loaders(info).field.load_many(field_keys), strict=True))
        return [
            ValueChange.of(change, fields.get(change.field_id) if change.field_id else None) for change in self.changed
        ]

    @strawberry.field(description="The lists that a known contact was subscribed to.")
    async def lists_added(self, info: Info) -> list[ContactList]:
        found = await loaders(info).contact_list.load_many(self.list_keys)
        return [ContactList.of(row) for row in found if row is not None]

    @strawberry.field(description="The tags that a known contact got.")
    async def tags_added(self, info: Info) -> list[Tag]:
        return [Tag.of(row) for row in await loaders(info).tag.load_many(self.tag_keys) if row is not None]


async def _contact(info: Info, key: UUID | None) -> Contact | None:
    row = await loaders(info).contact.load(key) if key is not None else None
    return Contact.of(row) if row is not None else None
