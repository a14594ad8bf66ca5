"""What a preview found out."""

from collections.abc import Sequence
from typing import Self

import strawberry

from domain.enums import Outcome, OutcomeCode, OutcomeNote, ReviewKind
from domain.previews import Deletions, ForeseenReview, LimitEffect
from domain.records import FieldType


@strawberry.type(description="How many records would meet an outcome, for one reason.")
class ImportPreviewReason:
    outcome: Outcome = strawberry.field(description="What would become of them.")
    code: OutcomeCode | None = strawberry.field(description="Why; null where nothing stands against them.")
    count: int = strawberry.field(description="How many they are.")


@strawberry.type(description="One record, and what would become of it.")
class ImportPreviewExample:
    external_id: str = strawberry.field(description="Its id at the service.")
    email: str | None = strawberry.field(description="Its address at the service, valid or not.")
    outcome: Outcome = strawberry.field(description="What would become of it.")
    code: OutcomeCode | None = strawberry.field(description="Why; null where nothing stands against it.")
    notes: Sequence[OutcomeNote] = strawberry.field(description="What there is to add.")


@strawberry.type(description="A field that the import would make.")
class ImportPreviewField:
    title: str = strawberry.field(description="What people read.")
    type: FieldType = strawberry.field(description="What it holds.")
    personalization_tag: str = strawberry.field(description="Its tag in messages, without the percent signs.")
    service_key: str = strawberry.field(description="The service that its values come from.")


@strawberry.type(description="What the import does to the plan's contact limit.")
class ImportPreviewContactLimit:
    active: int = strawberry.field(description="The account's active contacts before it.")
    active_after: int = strawberry.field(description="And after it.")
    limit: int = strawberry.field(description="The limit after it; with auto-upgrade on, that of the plan moved to.")
    waiting: int = strawberry.field(description="How many records would wait for room.")
    waiting_before: int = strawberry.field(
        description="How many are in line for room before it: new contacts, and known ones whose confirmation is held"
        " back, of the imports that run. The room that there is, and that it makes, is theirs: nobody new comes before"
        " them."
    )
    let_in: int = strawberry.field(
        description="How many are let in from the waiting room, before it and with the room that it makes: of those who"
        " wait already, and of those who would wait. They are part of `activeAfter` and, where they belong to this"
        " external account, of `cycles`."
    )

    @classmethod
    def of(cls, effect: LimitEffect) -> Self:
        return cls(
            active=effect.active,
            active_after=effect.active_after,
            limit=effect.limit,
            waiting=effect.waiting,
            waiting_before=effect.waiting_before,
            let_in=effect.let_in,
        )


@strawberry.type(
    description="What the run would stop for: nothing of what follows happens before somebody has judged. The figures"
    " are as `ImportReview` would show them."
)
class ImportPreviewReview:
    kind: ReviewKind = strawberry.field(description="What it would run into.")
    read: int = strawberry.field(description="How many records it would have dealt with before it stops.")
    known: int = strawberry.field(description="How many known records it looks at.")
    affected: int = strawberry.field(description="Of how many a value would be blanked, moved or lowered, or missing.")
    blanked: int = strawberry.field(description="Of how many a field would be emptied.")
    address_changed: int = strawberry.field(description="Of how many the email address would change.")
    consent_lowered: int = strawberry.field(description="How many would no longer be mailed.")
    missing: int = strawberry.field(description="How many are missing at the service.")

    @classmethod
    def of(cls, review: ForeseenReview) -> Self:
        return cls(
            kind=review.kind,
            read=review.read,
            known=review.known,
            affected=review.affected,
            blanked=review.blanked,
            address_changed=review.address_changed,
            consent_lowered=review.consent_lowered,
            missing=review.missing,
        )


@strawberry.type(description="What becomes of records that count as deleted at the service, by the deletion policy.")
class ImportPreviewDeletions:
    deleted: int = strawberry.field(
        description="How many count as deleted: the service says so, or this is the second complete reading in a row"
        " that misses them. A new import, or new criteria, know of no earlier reading."
    )
    unsubscribed: int = strawberry.field(description="How many contacts are unsubscribed for it, with UNSUBSCRIBE.")
    tagged: int = strawberry.field(description="How many contacts get the tag for it, with TAG.")
    missing: int = strawberry.field(
        description="How many this complete reading misses for the first time. They count as deleted once the next one"
        " misses them too, which nobody can know before: nothing happens to them yet."
    )

    @classmethod
    def of(cls, deletions: Deletions) -> Self:
        return cls(
            deleted=deletions.deleted,
            unsubscribed=deletions.unsubscribed,
            tagged=deletions.tagged,
            missing=deletions.missing,
        )


@strawberry.type(description="Why a preview failed.")
class ImportPreviewError:
    code: str = strawberry.field(description="What kind of failure it is, for programs.")
    message: str = strawberry.field(description="What happened and what to do, for people.")
