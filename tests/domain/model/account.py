"""What the model knows: dictionaries and dataclasses, named with product.md's words. No rules, no database."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from domain.enums import (
    ContactStatus,
    DeletionPolicy,
    ExternalAccountHealth,
    ImportState,
    LedgerState,
    Outcome,
    OutcomeCode,
    OverwritePolicy,
    RunState,
    RunStop,
    RunTrigger,
    UndoCode,
    UndoResult,
)
from domain.records import Record
from tests.domain.model.passes import Pass, Review, Sweeps

KEEPS_ADDRESS = {LedgerState.LINKED, LedgerState.UNDONE}
"""Others wait for the address of such a record; silent: also for that of one that was undone, until it changes."""
OPEN = {RunState.QUEUED, RunState.RUNNING, RunState.WAITING_FOR_SERVICE, RunState.NEEDS_REVIEW}


@dataclass(eq=False, kw_only=True)
class Contact:
    """A contact: `values` by source key, `lists` with the subscription's status, both by name."""

    email: str
    key: str
    status: ContactStatus
    first_name: str | None = None
    phone: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, ContactStatus] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    touched: int = 0
    """When a user last changed it, by the account's clock; 0: never."""


@dataclass(eq=False, kw_only=True)
class Entry:
    """A ledger row of `external_id`, whose address is `key`.

    `seen` is the record as last read (None: to be read anew), `applied` as last written to `contact`. `kept`: its
    values are known here, not only that it is the same.
    """

    external_id: str
    place: int
    seen: Record | None
    applied: Record | None
    state: LedgerState
    code: OutcomeCode | None = None
    contact: Contact | None = None
    key: str | None = None
    due: bool = False
    kept: bool = True
    run: "Run | None" = None
    """The one that wrote it last."""


@dataclass(frozen=True, kw_only=True)
class StoredOutcome:
    """An outcome with a row of its own: what it changed of `contact`, as it was and as it is written.

    `lists` and `tags` are those that it added to a known contact, `confirmed` the lists that a confirmation reached;
    `at` is when, by the account's clock.
    """

    of: "Import"
    external_id: str
    outcome: Outcome
    code: OutcomeCode | None
    at: int
    contact: Contact | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    values_before: Mapping[str, Any] = field(default_factory=dict)
    values_after: Mapping[str, Any] = field(default_factory=dict)
    lists: Collection[str] = ()
    tags: Collection[str] = ()
    confirmed: Set[str] = frozenset()


@dataclass(eq=False, kw_only=True)
class Run:
    """A run: `outcomes` are the stored ones, in their order; `undone` is what undoing each of them came to."""

    trigger: RunTrigger
    state: RunState = RunState.QUEUED
    stopped_by: RunStop | None = None
    error: str | None = None
    checks: int = 1
    found_something: bool = False
    counts: Counter[Outcome] = field(default_factory=Counter)
    protected: int = 0
    deleted: int = 0
    silenced: Counter[str] = field(default_factory=Counter)
    review: Review | None = None
    outcomes: list[StoredOutcome] = field(default_factory=list)
    undone: list[tuple[str, UndoResult, UndoCode | None]] = field(default_factory=list)


@dataclass(frozen=True, eq=False, kw_only=True)
class NewTargets:
    """Lists and tags that an edit added, to be given to what was in the import's ledger then."""

    of: "Import"
    lists: frozenset[str]
    tags: frozenset[str]
    external_ids: frozenset[str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Undoing:
    """Runs of an import that are to be undone, newest first."""

    of: "Import"
    runs: Sequence[Run]


@dataclass(frozen=True)
class Draining:
    """There may be room for those who wait."""


Task = NewTargets | Undoing | Draining
"""What a worker does in the background."""


@dataclass(eq=False, kw_only=True)
class Import:
    """An automatic import. Times are the model's seconds; `served_until` is the end of the window it was served in."""

    name: str
    external_account: str
    group: str
    lists: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    names: OverwritePolicy = OverwritePolicy.ALWAYS
    phones: OverwritePolicy = OverwritePolicy.ALWAYS
    deletions: DeletionPolicy = DeletionPolicy.KEEP
    deletion_tag: str | None = None
    state: ImportState = ImportState.ACTIVE
    deleted: bool = False
    revision: int = 1
    checkpoint: Mapping[str, Any] | None = None
    failures: int = 0
    next_attempt: float | None = None
    served_until: float | None = None
    sweeps: Sweeps = field(default_factory=Sweeps)
    under_way: Pass = field(default_factory=Pass)
    ledger: dict[str, Entry] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @property
    def is_on(self) -> bool:
        """Whether it is to be checked."""
        return not self.deleted and self.state in (ImportState.ACTIVE, ImportState.FAILING)

    @property
    def open_run(self) -> Run | None:
        """The run that has not ended, of which there is one at the most."""
        return next((run for run in self.runs if run.state in OPEN), None)

    def holder(self, key: str) -> Entry | None:
        """The row that holds an address."""
        return next((e for e in self.ledger.values() if e.state is LedgerState.LINKED and e.key == key), None)


@dataclass(kw_only=True)
class ExternalAccount:
    """A connected login. `lease_until`: a worker that was killed has it until then."""

    name: str
    health: ExternalAccountHealth = ExternalAccountHealth.HEALTHY
    next_cycle: float | None = None
    window_end: float | None = None
    used: int = 0
    not_before: float | None = None
    lease_until: float | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether it can be read."""
        return self.health is ExternalAccountHealth.HEALTHY


@dataclass(kw_only=True)
class Account:
    """Everything there is. What is suppressed is so for an address and a list, or all mail."""

    cap: int
    cycle_seconds: float
    limit: int
    plans: tuple[int, ...]
    auto_upgrade: bool = False
    ceiling: int = 0
    """The limit of the plan up to which it upgrades by itself."""
    now: float = 0
    places: int = 0
    clock: int = 0
    contacts: list[Contact] = field(default_factory=list)
    suppressed: dict[tuple[str, str | None], ContactStatus] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    tasks: list[Task] = field(default_factory=list)
    external_accounts: dict[str, ExternalAccount] = field(default_factory=dict)
    imports: dict[str, Import] = field(default_factory=dict)

    @property
    def active(self) -> int:
        """How many contacts count for the limit: ACTIVE ones only (R11)."""
        return sum(contact.status is ContactStatus.ACTIVE for contact in self.contacts)

    def contact_of(self, key: str) -> Contact | None:
        """The contact with this address."""
        return next((contact for contact in self.contacts if contact.key == key), None)

    def imports_of(self, external_account: str) -> Iterator[Import]:
        """Its imports, oldest first, deleted ones included."""
        return (each for each in self.imports.values() if each.external_account == external_account)

    def runs(self, each: Import) -> bool:
        """Whether an import is to be checked, and can be."""
        return each.is_on and self.external_accounts[each.external_account].is_healthy

    @property
    def line(self) -> list[Entry]:
        """R11: the waiting room, one first-come queue, confirmations without room included; of imports that run."""
        rows = [entry for each in self.imports.values() if self.runs(each) for entry in each.ledger.values()]
        return sorted((e for e in rows if e.code is OutcomeCode.CONTACT_LIMIT), key=lambda entry: entry.place)

    def upgrade(self, wanted: int) -> bool:
        """R11: with auto-upgrade, on to the next plan until there is room for so many more, if that can be."""
        while self.limit - self.active < wanted:
            if not self.climb():
                return False
        return True

    def climb(self) -> bool:
        """R11: on to the next plan, if it may be. Whoever needs room looks what that comes to, and climbs again."""
        higher = [limit for limit in self.plans if self.limit < limit <= self.ceiling]
        if not self.auto_upgrade or not higher:
            return False
        self.limit = min(higher)
        self.ask_for_draining()
        return True

    def ask_for_draining(self) -> None:
        """R11: there may be room, which whoever waits is to get at once."""
        rows = (entry for each in self.imports.values() for entry in each.ledger.values())
        if Draining() not in self.tasks and any(entry.code is OutcomeCode.CONTACT_LIMIT for entry in rows):
            self.tasks.append(Draining())

    @contextmanager
    def making_room(self) -> Iterator[None]:
        """R11: a transaction that leaves fewer ACTIVE contacts makes room."""
        before = self.active
        yield
        if self.active < before:
            self.ask_for_draining()

    def tick(self) -> int:
        """A moment later than all before."""
        self.clock += 1
        return self.clock

    def next_place(self) -> int:
        """A place at the end of every line."""
        self.places += 1
        return self.places
