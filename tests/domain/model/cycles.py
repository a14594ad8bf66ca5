"""When what is read: windows, the cap in fair turns, failures, runs (R1, R3, R4, R14, R15, R17) in plain Python."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base import Page
from domain.enums import (
    ExternalAccountHealth,
    ImportState,
    RunState,
    RunStop,
)
from domain.records import Record
from tests.domain.model import here, sweeping
from tests.domain.model.account import Account, Draining, ExternalAccount, Import, NewTargets, Task, Undoing
from tests.domain.model.pages import delete, store_page
from tests.domain.model.passes import Pass
from tests.domain.model.runs import finish, run_without_news
from tests.domain.model.service import A_WHILE, FRIENDS, Book, Fault, Faults, Planned
from tests.domain.model.storing import cap_left, drain, store
from tests.domain.model.undo import undo_runs
from tests.domain.model.writing import give_new_targets

LEASE = 45.0


class SupersededError(Exception):
    """R14: an edit, a pause, a deletion or an undo wins over the page under way."""


class FaultError(Exception):
    """A request met a fault that ends the import's turn."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class WorkerGoneError(Exception):
    """The worker stopped in mid-cycle; `killed`: without giving its lease back."""

    def __init__(self, *, killed: bool) -> None:
        super().__init__()
        self.killed = killed


@dataclass(eq=False, kw_only=True)
class Reading:
    """One import under way. `rest` is what is not stored yet of the page that was read."""

    of: Import
    revision: int
    pages: Iterator[Page]
    is_backfill: bool
    page: Page | None = None
    rest: Sequence[Record] = ()


@dataclass(kw_only=True)
class Cycles:
    """The engine as it should be: an account, and the books that its external accounts read."""

    account: Account
    books: Mapping[str, Book]
    faults: Faults = field(default_factory=Faults)

    def work(self) -> None:
        """A worker looks: it claims the external accounts that are due, and serves them one after the other."""
        while self.account.tasks:
            self._do(self.account.tasks.pop(0))
        claimed = [external for _, external in sorted(self.account.external_accounts.items()) if self._claim(external)]
        for external in claimed:
            try:
                again_at = self._serve(external)
            except WorkerGoneError as gone:
                if gone.killed:
                    external.lease_until = self.account.now + LEASE
                    continue
                again_at = self.account.now
            self._release(external, again_at)

    def _do(self, task: Task) -> None:
        match task:
            case NewTargets():
                give_new_targets(self.account, task)
            case Undoing():
                undo_runs(self.account, task)
            case Draining():
                drain(self.account)

    def _claim(self, external: ExternalAccount) -> bool:
        """R1, R4: the claim opens the window that is now, with the whole cap. R14: dead workers' leases are taken."""
        now = self.account.now
        if external.lease_until is not None:
            if external.lease_until >= now:
                return False
        elif not external.is_healthy or external.next_cycle is None or external.next_cycle > now:
            return False
        external.lease_until = None
        if external.window_end is None or external.window_end <= now:
            external.window_end = (now // self.account.cycle_seconds + 1) * self.account.cycle_seconds
            external.used = 0
        external.next_cycle = external.window_end
        return True

    def _release(self, external: ExternalAccount, again_at: float | None) -> None:
        if not external.is_healthy or not any(each.is_on for each in self.account.imports_of(external.name)):
            external.next_cycle = None
            return
        assert external.next_cycle is not None
        if external.next_cycle > self.account.now:  # else somebody asked meanwhile
            external.next_cycle = again_at if again_at is not None else external.next_cycle
        external.next_cycle = max(external.next_cycle, external.not_before or 0)

    def _is_due(self, each: Import, external: ExternalAccount) -> bool:
        rested = each.next_attempt is None or each.next_attempt <= self.account.now
        return each.is_on and rested and (each.served_until != external.window_end or each.open_run is not None)

    def _serve(self, external: ExternalAccount) -> float | None:
        """Rounds of turns: in each, every import may write an even share of what is left of the cap at its start.

        Returns when to come back, where that is before the next window.
        """
        due = [each for each in self.account.imports_of(external.name) if self._is_due(each, external)]
        if not external.is_healthy:
            return None
        drain(self.account, [*self.account.imports_of(external.name)])
        readings = deque(self._open(each) for each in sorted(due, key=lambda each: each.served_until or 0))
        turns_left = share = 0
        again_at: list[float] = []
        while readings:
            if turns_left == 0:
                turns_left = len(readings)
                share = max(1, cap_left(self.account, external) // turns_left)
            turns_left -= 1
            reading = readings.popleft()
            try:
                if self._turn(external, reading, share):
                    readings.append(reading)
            except SupersededError:
                again_at.append(self.account.now)
            except FaultError as met:
                ends_cycle = met.fault in {Fault.BUSY, Fault.BUSY_FOR_LONG, Fault.REVOKED}
                try:
                    if self._react(external, reading, readings, met.fault):
                        readings.append(reading)
                except SupersededError:
                    again_at.append(self.account.now)
                if ends_cycle:
                    again_at += [external.not_before] if external.not_before else []
                    break
        return min(again_at, default=None)

    def _open(self, each: Import) -> Reading:
        if each.open_run is not None:
            each.open_run.state, each.open_run.error = RunState.RUNNING, None
        return Reading(
            of=each,
            revision=each.revision,
            pages=self._pages(each),
            is_backfill=each.checkpoint is None,
        )

    def _pages(self, each: Import) -> Iterator[Page]:
        return self.books[each.external_account].pages(each.group, each.checkpoint)

    def _turn(self, external: ExternalAccount, reading: Reading, share: int) -> bool:
        """Who is gone is dealt with (R16), what is due is stored from the ledger (R6), and only then a page is read.

        Returns whether the import has another turn.
        """
        into, left = reading.of, min(share, cap_left(self.account, external))
        if into.sweeps.gone:
            hold(reading)
            gone, into.sweeps.gone = into.sweeps.gone, set()
            delete(self.account, into, sorted(gone), is_told=False)
            return True
        due = sorted((e for e in into.ledger.values() if e.due), key=lambda entry: entry.place)
        if due:
            hold(reading)
            stored = store(self.account, into, [entry.seen for entry in due if entry.seen], left, again=True)
            return self._goes_on(external, reading, whole=stored > 0)
        if reading.page is None:
            reading.page = self._request(reading)
            if reading.page is None:
                self._complete(external, reading, stopped_by=None)
                return False
            reading.rest = reading.page.records
        hold(reading)
        reading.rest = store_page(self.account, into, reading.page, reading.rest, left)
        if into.state is ImportState.NEEDS_REVIEW:
            return False
        if not reading.rest:
            reading.page = None
        return self._goes_on(external, reading, whole=reading.page is None)

    def _goes_on(self, external: ExternalAccount, reading: Reading, *, whole: bool) -> bool:
        if whole or cap_left(self.account, external):
            return True
        self._complete(external, reading, stopped_by=RunStop.CAP)
        return False

    def _request(self, reading: Reading) -> Page | None:
        page = next(reading.pages, None)
        met = self.faults.meet(reading.of.external_account) if page else None
        if met is not None:
            self._meet(met)
        return page

    def _meet(self, met: Planned) -> None:
        match met.fault:
            case Fault.SHUTDOWN | Fault.KILLED:
                raise WorkerGoneError(killed=met.fault is Fault.KILLED)
            case Fault.PAUSED:
                assert met.meanwhile is not None
                here.pause(self.account, met.meanwhile)
            case Fault.NARROWED:
                assert met.meanwhile is not None
                here.change_criteria(self.account, met.meanwhile, FRIENDS)
            case Fault.UNDONE:
                assert met.meanwhile is not None
                here.undo(self.account, met.meanwhile, 0, and_later=False)
            case _:
                raise FaultError(met.fault)

    def _react(self, external: ExternalAccount, reading: Reading, others: Sequence[Reading], fault: Fault) -> bool:
        """Returns whether the import has another turn."""
        into = reading.of
        match fault:
            case Fault.BUSY | Fault.BUSY_FOR_LONG:
                asked = A_WHILE.total_seconds() if fault is Fault.BUSY else 2.5 * self.account.cycle_seconds
                external.not_before = self.account.now + asked
                for each in (reading, *others):
                    if each.revision == each.of.revision:
                        self._wait(external, each.of)
            case Fault.REVOKED:
                external.health, external.next_cycle = ExternalAccountHealth.NEEDS_RECONNECT, None
                for each in (reading, *others):
                    if each.revision == each.of.revision:
                        finish(each.of, error="ACCESS_REVOKED")
            case Fault.EXPIRED if not reading.is_backfill:
                hold(reading)
                sweeping.abandon(into)
                into.checkpoint = None
                reading.pages, reading.page, reading.is_backfill = self._pages(into), None, True
                return True
            case _:
                hold(reading)
                self._serve_in_window(external, into)
                into.state = ImportState.FAILING
                assert into.served_until is not None
                into.next_attempt = into.served_until + self.account.cycle_seconds * (2 ** min(into.failures, 6) - 1)
                into.failures += 1
                finish(into, error="UNEXPECTED_RESPONSE")
        return False

    def _wait(self, external: ExternalAccount, into: Import) -> None:
        assert external.not_before is not None
        assert external.window_end is not None
        if external.not_before < external.window_end:
            run = run_without_news(into)
            run.state, run.error = RunState.WAITING_FOR_SERVICE, "SERVICE_UNAVAILABLE"
        else:
            self._serve_in_window(external, into)
            finish(into, stopped_by=RunStop.SERVICE, error="SERVICE_UNAVAILABLE")

    def _complete(self, external: ExternalAccount, reading: Reading, *, stopped_by: RunStop | None) -> None:
        hold(reading)
        into = reading.of
        self._serve_in_window(external, into)
        into.state, into.failures, into.next_attempt = ImportState.ACTIVE, 0, None
        if stopped_by is None:
            into.under_way = Pass()
        finish(into, stopped_by=stopped_by)
        external.not_before = None

    def _serve_in_window(self, external: ExternalAccount, into: Import) -> None:
        into.served_until = external.window_end


def hold(reading: Reading) -> None:
    """R14: nothing is stored for an import that was changed meanwhile."""
    if reading.revision != reading.of.revision:
        raise SupersededError
