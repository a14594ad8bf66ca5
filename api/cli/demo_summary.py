"""What the demonstration came to, and whether the numbers are true.

A page that the cap cuts is read again in the next window, so runs may read a record twice: as UNCHANGED, or as
SKIPPED again. Only what was created, and what was skipped for the first time, adds up to the sample.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rich.table import Table

from api.cli.demo_client import Client, Counts, Run
from api.cli.demo_documents import CONTACTS, RESULT, SKIPPED_OUTCOMES, SKIPPED_RECORDS
from api.cli.failures import CannotRun
from api.sample_service import SampleBook

Equation: TypeAlias = tuple[str, int, int]
"""What is claimed, the number found, and the number that it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that the API tells about a finished import."""

    runs: Sequence[Run]
    skipped: Mapping[str, int]  # by code, each record once
    skipped_in_ledger: Mapping[str, int]
    imported: int
    active: int
    emails: Collection[str]

    def total(self, count: str) -> int:
        """One of the counts, over all runs."""
        return sum(getattr(run.counts, count) for run in self.runs)

    @property
    def read_again(self) -> int:
        """How often a record was read that had been read before."""
        return self.total("read") - self.total("created") - sum(self.skipped.values())


def result_of(client: Client, import_id: str) -> Result:
    """Ask the API for everything."""
    answer = client.ask(RESULT, id=import_id)
    found = answer["node"]
    if found["runs"]["pageInfo"]["hasNextPage"]:
        raise CannotRun("The import has more runs than the sample can need.")
    runs = [Run.model_validate(edge["node"]) for edge in reversed(found["runs"]["edges"])]
    outcomes = (outcome for run in runs for outcome in _all(client, SKIPPED_OUTCOMES, "node", id=run.id))
    return Result(
        runs=runs,
        skipped=Counter(outcome["code"] for outcome in outcomes),
        skipped_in_ledger=Counter(record["code"] for record in _all(client, SKIPPED_RECORDS, "node", id=import_id)),
        imported=found["importedContactCount"],
        active=answer["account"]["contactUsage"]["active"],
        emails=[contact["email"] for contact in _all(client, CONTACTS)],
    )


def broken_promises(result: Result, book: SampleBook, *, cap: int, cycle_seconds: float) -> list[str]:
    """Each equation that does not hold, with its numbers; none if all is well."""
    equations = [*_of_runs(result.runs, cap, cycle_seconds), *_of_codes(result, book), *_of_contacts(result, book)]
    return [f"{claim}: {found}, expected {expected}" for claim, found, expected in equations if found != expected]


def _of_runs(runs: Sequence[Run], cap: int, cycle_seconds: float) -> Iterator[Equation]:
    for number, run in enumerate(runs, 1):
        counts = run.counts
        # On a slow machine a run outlasts its window, and goes on under the cap of the next.
        allowed = cap * (1 + round(run.seconds / cycle_seconds))
        yield f"run {number}: all outcomes together are what was read", _outcomes(counts), counts.read
        # No equation: at most the cap.
        yield f"run {number}: contacts written under the cap", max(allowed, counts.created + counts.updated), allowed


def _of_codes(result: Result, book: SampleBook) -> Iterator[Equation]:
    expected = {
        "NO_EMAIL": book.without_email,
        "INVALID_EMAIL": book.invalid_email,
        "DUPLICATE_EMAIL": book.duplicates,
    }
    for code in sorted({*expected, *result.skipped, *result.skipped_in_ledger}):
        yield f"records skipped for {code}", result.skipped.get(code, 0), expected.get(code, 0)
        yield f"records in the ledger for {code}", result.skipped_in_ledger.get(code, 0), expected.get(code, 0)


def _of_contacts(result: Result, book: SampleBook) -> Iterator[Equation]:
    created = result.total("created")
    yield "created contacts", created, book.importable
    yield "created and skipped records", created + sum(result.skipped.values()), book.cards
    for count in ("updated", "waiting", "failed"):
        yield f"{count} records", result.total(count), 0
    yield "linked records", result.imported, book.importable
    yield "ACTIVE contacts", result.active, book.importable
    yield "contacts in the account", len(result.emails), book.importable
    yield "different addresses", len(set(result.emails)), book.importable


def summary(result: Result, *, seconds: float) -> Table:
    """The numbers, for people."""
    table = Table(title="What the automatic import did", title_justify="left")
    table.add_column("")
    table.add_column("records", justify="right")
    for count in Counts.model_fields:
        table.add_row(count, str(result.total(count)))
        if count == "skipped":
            for code, number in sorted(result.skipped.items()):
                table.add_row(f"  {code}", str(number))
    table.add_row("read again behind a cut", str(result.read_again))
    table.add_section()
    table.add_row("contacts in the account", str(len(result.emails)))
    table.add_row("cycles", str(len(result.runs)))
    table.add_row("seconds", f"{seconds:.1f}")
    return table


def _outcomes(counts: Counts) -> int:
    return sum(counts.model_dump(exclude={"read"}).values())


def _all(client: Client, document: str, *path: str, **variables: object) -> Iterator[Any]:
    """Every node of the connection `found`, which is at `path` of the answer."""
    after = None
    while True:
        answer = client.ask(document, after=after, **variables)
        for name in path:
            answer = answer[name]
        yield from (edge["node"] for edge in answer["found"]["edges"])
        if not answer["found"]["pageInfo"]["hasNextPage"]:
            return
        after = answer["found"]["pageInfo"]["endCursor"]
