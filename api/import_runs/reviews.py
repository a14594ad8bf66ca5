"""What a run stopped for, for somebody to judge."""

from collections.abc import Mapping
from typing import Any, Self

import strawberry
from strawberry.scalars import JSON

from api.enums import describe
from api.records import WRITTEN_AS
from domain import run_history
from domain.enums import ReviewKind

describe(
    ReviewKind,
    "What a run ran into that somebody has to judge.",
    name="ImportReviewKind",
    CHANGES="It would blank values, change addresses or lower consent of unusually many known records.",
    MISSING="A complete reading misses unusually many known records: they would count as deleted.",
)


@strawberry.type(description="A value of one record that the run would change.")
class ReviewedValue:
    name: str = strawberry.field(
        description="`email`, `firstName`, `lastName`, `phone`, `status`, or the service's own name of a field."
    )
    before: JSON | None = strawberry.field(description="The value as it is; null where there is none.")
    after: JSON | None = strawberry.field(description="The value as it would be; null where it would be emptied.")


@strawberry.type(description="One of the records that a review is about.")
class ReviewExample:
    external_id: str = strawberry.field(description="Its id at the service.")
    email: str | None = strawberry.field(description="Its address as it is known here.")
    changes: list[ReviewedValue] = strawberry.field(description="What the run would change of it.")

    @classmethod
    def of(cls, example: run_history.ReviewExample) -> Self:
        return cls(
            external_id=example.external_id, email=example.email, changes=_changes(example.before, example.after)
        )


@strawberry.type(description="Why a run stopped before it went on, and what it would do.")
class ImportReview:
    kind: ReviewKind = strawberry.field(description="What it ran into.")
    known: int = strawberry.field(description="How many known records it looked at.")
    affected: int = strawberry.field(description="Of how many a value would be blanked, moved or lowered.")
    blanked: int = strawberry.field(description="Of how many a field would be emptied.")
    address_changed: int = strawberry.field(description="Of how many the email address would change.")
    consent_lowered: int = strawberry.field(description="How many would no longer be mailed.")
    missing: int = strawberry.field(description="How many are missing at the service.")
    examples: list[ReviewExample] = strawberry.field(description="Some of them.")

    @classmethod
    def of(cls, review: run_history.Review) -> Self:
        return cls(
            kind=review.kind,
            known=review.known,
            affected=review.affected,
            blanked=review.blanked,
            address_changed=review.address_changed,
            consent_lowered=review.consent_lowered,
            missing=review.missing,
            examples=[ReviewExample.of(example) for example in review.examples],
        )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ReviewedValue]:
    return [
        ReviewedValue(name=WRITTEN_AS.get(name, name), before=before.get(name), after=after.get(name))
        for name in {**before, **after}
    ]
