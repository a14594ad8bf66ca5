"""What the decisions come to: counts, examples, and what they would be for records that nobody has read yet."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from domain.enums import Outcome, OutcomeCode, OutcomeNote
from domain.ingest.decisions import Decision, Plan

MAX_EXAMPLES = 5
"""Of each outcome and code."""

Kind = tuple[Outcome, OutcomeCode | None]
WAITING: Kind = (Outcome.WAITING, OutcomeCode.CONTACT_LIMIT)
CREATED: Kind = (Outcome.CREATED, None)


@dataclass(slots=True, kw_only=True)
class Tally:
    """`counts` add up to the records read (R17); `cost` is what they take of the cap.

    `records` is how many the source sent: those that are ingested once more, because of what came after them, are
    counted as read again, as a run counts them.
    """

    records: int = 0
    counts: Counter[Kind] = field(default_factory=Counter)
    protected: int = 0
    cost: int = 0
    active_delta: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def __iadd__(self, plan: Plan) -> Self:
        self.cost += plan.cost
        self.active_delta += plan.active_delta
        for decision in plan.decisions:
            self._count(decision)
        return self

    def _count(self, decision: Decision) -> None:
        code = decision.code
        if decision.repeated and decision.entry is not None:
            code = decision.entry.code
        kind = (decision.outcome, code)
        self.counts[kind] += 1
        self.protected += OutcomeNote.PROTECTED in decision.change.notes
        if self.counts[kind] <= MAX_EXAMPLES:
            self.examples.append(
                {
                    "external_id": decision.item.external_id,
                    "email": decision.item.snapshot.get("email"),
                    "outcome": decision.outcome,
                    "code": code,
                    "notes": list(decision.change.notes),
                }
            )

    def extrapolated(self, remaining: int, *, room: int) -> Self:
        """The tally with `remaining` more records of the same mixture; `room` had the contact limit before it."""
        factor = (self.records + remaining) / max(1, self.records)
        counts = Counter({kind: round(count * factor) for kind, count in self.counts.items()})
        wanted = round((self.active_delta + self.counts[WAITING]) * factor)
        active_delta = min(wanted, max(self.active_delta, room))
        newcomers = round((self.counts[CREATED] + self.counts[WAITING]) * factor)
        counts[WAITING] = min(newcomers, wanted - active_delta)
        counts[CREATED] = newcomers - counts[WAITING]
        return type(self)(
            records=self.records,
            counts=+counts,
            protected=round(self.protected * factor),
            cost=counts[CREATED] + round((self.cost - self.counts[CREATED]) * factor),
            active_delta=active_delta,
            examples=self.examples,
        )

    def to_json(self) -> dict[str, Any]:
        """As the task keeps it."""
        return {
            "records": self.records,
            "counts": [[outcome, code, count] for (outcome, code), count in self.counts.items()],
            "protected": self.protected,
            "cost": self.cost,
            "active_delta": self.active_delta,
            "examples": self.examples,
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """As the task kept it."""
        return cls(**(dict(stored) | {"counts": Counter(dict(_kinds(stored["counts"])))}))


def _kinds(rows: Iterable[tuple[str, str | None, int]]) -> Iterable[tuple[Kind, int]]:
    for outcome, code, count in rows:
        yield (Outcome(outcome), OutcomeCode(code) if code else None), count
