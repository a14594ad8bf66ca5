"""The guard against accidents: a source that suddenly blanks values, changes addresses or lowers consent for many.

Counted over the known records that were read since the last complete pass; beyond the figures of the settings the
import stops before anything of it is written, and somebody judges.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from domain.consent import is_lower
from domain.emails import parse_email
from domain.enums import LedgerState, Outcome
from domain.ingest.decisions import Decision, Plan
from domain.ingest.known import Entry, Known
from domain.settings import settings

MAX_EXAMPLES = 10


class ReviewNeeded(Exception):
    """The page is not to be stored before somebody has judged what it would do."""

    def __init__(self, review: Mapping[str, Any]) -> None:
        super().__init__()
        self.review = review


@dataclass(slots=True, kw_only=True)
class Figures:
    """How many known records were read, and of how many each of these things would become true; `affected`: any."""

    known: int = 0
    affected: int = 0
    blanked: int = 0
    address_changed: int = 0
    consent_lowered: int = 0

    def __iadd__(self, other: Self) -> Self:
        self.known += other.known
        self.affected += other.affected
        self.blanked += other.blanked
        self.address_changed += other.address_changed
        self.consent_lowered += other.consent_lowered
        return self


@dataclass(slots=True, kw_only=True)
class Guard:
    """What the pass came to so far; `approved`: somebody has judged, it may go on to its end."""

    figures: Figures = field(default_factory=Figures)
    approved: bool = False

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """As the import keeps it."""
        figures = {name: stored[name] for name in Figures.__dataclass_fields__ if name in stored}
        return cls(figures=Figures(**figures), approved=bool(stored.get("approved")))

    def to_json(self) -> dict[str, Any]:
        """As the import keeps it."""
        return asdict(self.figures) | ({"approved": True} if self.approved else {})

    def check(self, plan: Plan, known: Known) -> None:
        """Take what `plan` would do into account. Raises ReviewNeeded where that is beyond the figures."""
        figures, examples = _figures_of(plan, known)
        together = Figures(**asdict(self.figures))
        together += figures
        many = together.affected > settings().review_changed_count
        if many and together.affected * 100 > settings().review_changed_percent * together.known and not self.approved:
            raise ReviewNeeded({"kind": "CHANGES"} | asdict(together) | {"examples": examples})
        self.figures = together


def _figures_of(plan: Plan, known: Known) -> tuple[Figures, list[dict[str, Any]]]:
    figures = Figures()
    examples: list[dict[str, Any]] = []
    for decision in plan.decisions:
        entry = decision.entry
        if entry is None or entry.state is not LedgerState.LINKED:
            continue
        figures.known += 1
        if decision.repeated:
            continue
        blanked = _blanks(decision)
        address_changed = _changes_address(decision, entry)
        consent_lowered = _lowers_consent(decision)
        figures.blanked += blanked
        figures.address_changed += address_changed
        figures.consent_lowered += consent_lowered
        if blanked or address_changed or consent_lowered:
            figures.affected += 1
            if len(examples) < MAX_EXAMPLES:
                examples.append(_example(decision, entry, known))
    return figures, examples


def _blanks(decision: Decision) -> bool:
    before = decision.change.before.get("field_values", {})
    return any(value is None and before.get(key) is not None for key, value in decision.change.values.items())


def _changes_address(decision: Decision, entry: Entry) -> bool:
    """Also where the record has no valid address any more, or that of another contact."""
    if decision.outcome is Outcome.FAILED:
        return False
    email = parse_email(decision.item.snapshot["email"] or "")
    return email is None or email.key != entry.email_key


def _lowers_consent(decision: Decision) -> bool:
    before, after = decision.change.before.get("status"), decision.change.columns.get("status")
    return before is not None and after is not None and is_lower(after, before)


def _example(decision: Decision, entry: Entry, known: Known) -> dict[str, Any]:
    """One record with its values before and after, by column or by the service's own name of the field."""
    names = {str(each.id): key for key, each in known.fields.items()}
    before = _named(decision.change.before, decision.change.before.get("field_values", {}), names)
    after = _named(decision.change.columns, decision.change.values, names)
    if _changes_address(decision, entry):
        # Of the record, where its contact keeps its own.
        before = {"email": entry.applied.get("email") or entry.email_key} | before
        after = {"email": decision.item.snapshot["email"]} | after
    return {"external_id": decision.item.external_id, "email": entry.email_key, "before": before, "after": after}


def _named(columns: Mapping[str, Any], values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    hidden = {"field_values", "email_key"}
    return {name: value for name, value in columns.items() if name not in hidden} | {
        names.get(key, key): value for key, value in values.items()
    }
