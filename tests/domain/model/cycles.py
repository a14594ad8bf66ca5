"""When what is read: windows, the cap in fair turns, failures, runs (R1, R3, R4, R14, R15, R17) in plain Python."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base import Page
from domain.enums import (
    ExternalAccountHealth,
    ImportState,
    LedgerState,
    Outcome,
    OutcomeCode,
    RunState,
    RunStop,
    RunTrigger,
)
from domain.records import Record
from tests.domain.model import here, rules
from tests.domain.model.account import Account, Entry, ExternalAccount, Import, Run
from tests.domain.model.runs import finish, run_with_news, run_without_news
from tests.domain.model.service import A_WHILE, FRIENDS, Book, Fault, Faults, Planned

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
        for each in self.account.imports.values():
            rules.give_new_targets(self.account, each)
        if self.account.draining_is_asked_for:
            self.drain()
            self.account.draining_is_asked_for = False
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
        if not due or not external.is_healthy:
            return None
        self.drain(due)
        readings = deque(self._open(each) for each in sorted(due, key=lambda each: each.served_until or 0))
        turns_left = share = 0
        again_at: list[float] = []
        while readings:
            if turns_left == 0:
                turns_left = len(readings)
                share = max(1, self._left(external) // turns_left)
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

    def drain(self, only: Sequence[Import] | None = None) -> None:
        """Let in who waits, as far as room and caps reach, import by import; each in a run of its own."""
        account, runs = self.account, dict[str, Run]()
        while True:
            line = account.line
            names = [name for entry in line for name, each in account.imports.items() if entry in each.ledger.values()]
            for name in dict.fromkeys(names):
                into = account.imports[name]
                if (only is None or into in only) and self._let_in(into, line, runs):
                    break
            else:
                return

    def _let_in(self, into: Import, line: Sequence[Entry], runs: dict[str, Run]) -> bool:
        """Those whose turn it is, and those whose address has a contact by now, in their order."""
        external, room = self.account.external_accounts[into.external_account], self.account.limit - self.account.active
        if room < 1 and self._left(external) and self.account.upgrade(min(len(line), self._left(external))):
            room = self.account.limit - self.account.active
        head = [e for e in line if e in into.ledger.values() and (e in line[: max(0, room)] or e.due)]
        if not head or not self._left(external):
            return False
        if into.name not in runs:
            runs[into.name] = Run(trigger=RunTrigger.ROOM, state=RunState.COMPLETED, found_something=True)
            into.runs.append(runs[into.name])
        records = [entry.seen for entry in head if entry.seen]
        self._store(external, into, records, self._left(external), again=True, run=runs[into.name])
        return True

    def _left(self, external: ExternalAccount) -> int:
        return max(0, self.account.cap - external.used)

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
        """What is due from the ledger before anything new is read (R6), else a page. Returns whether it goes on."""
        into, left = reading.of, min(share, self._left(external))
        due = sorted((e for e in into.ledger.values() if e.due), key=lambda entry: entry.place)
        if due:
            hold(reading)
            stored = self._store(external, into, [entry.seen for entry in due if entry.seen], left, again=True)
            return self._goes_on(external, reading, whole=stored > 0)
        if reading.page is None:
            reading.page = self._request(reading)
            if reading.page is None:
                self._complete(external, reading, stopped_by=None)
                return False
            reading.rest = reading.page.records
        hold(reading)
        stored = self._store(external, into, reading.rest, left)
        reading.rest = reading.rest[stored:]
        whole = not reading.rest
        if whole:
            with self.account.making_room():
                gone = rules.tell_deleted(self.account, into, reading.page.deleted_ids)
            if gone:
                run_with_news(into).deleted += gone
            into.checkpoint = reading.page.checkpoint
            reading.page = None
        return self._goes_on(external, reading, whole=whole)

    def _goes_on(self, external: ExternalAccount, reading: Reading, *, whole: bool) -> bool:
        if whole or self._left(external):
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
            case _:
                raise FaultError(met.fault)

    def _store(
        self,
        external: ExternalAccount,
        into: Import,
        records: Sequence[Record],
        left: int,
        *,
        again: bool = False,
        run: Run | None = None,
    ) -> int:
        """R4: the cut is before the first record that costs more than is left. R17: each is counted once.

        `run` is that of a draining.
        """
        with self.account.making_room():
            decisions = self._write_page(external, into, records, left, again=again, draining=run is not None)
        if decisions:
            has_news = any(each.news for each, _ in decisions)
            run = run or (run_with_news(into) if has_news else run_without_news(into))
            for decision, is_row in decisions:
                run.counts[decision.outcome] += 1
                run.protected += decision.protected
                if is_row:
                    run.outcomes.append((decision.record.external_id, decision.outcome, decision.code))
        return len(decisions)

    def _write_page(
        self,
        external: ExternalAccount,
        into: Import,
        records: Sequence[Record],
        left: int,
        *,
        again: bool,
        draining: bool,
    ) -> Sequence[tuple[rules.Decision, bool]]:
        """The decisions as far as the cap reaches, and whether each has an outcome row."""
        account, decisions, let_go = self.account, [], set()
        for record in records:
            decision = rules.decide(account, into, record, again=again, draining=draining)
            if decision.news and decision.code is OutcomeCode.CONTACT_LIMIT and account.auto_upgrade:
                if left == 0:
                    break  # R4 comes first: what is behind the cap's cut is not read, and no plan is left for it
                if account.upgrade(1):
                    decision = rules.decide(account, into, record, again=again, draining=draining)
            if decision.cost > left:
                break
            left -= decision.cost
            external.used += decision.cost
            if decision.news:
                before = into.ledger.get(record.external_id)
                is_row = before is None or is_told_apart(decision, before.seen, before.state, before.code)
                if before and (before.state is LedgerState.LINKED or before.due):
                    let_go.add(before.key)
                rules.write(account, into, decision)
            else:
                is_row = False
            decisions.append((decision, is_row))
        # R6: a page counts as read when it came: the next in order is looked for when it is stored.
        rules.succeed(into, let_go)
        return decisions

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
        finish(into, stopped_by=stopped_by)
        external.not_before = None

    def _serve_in_window(self, external: ExternalAccount, into: Import) -> None:
        into.served_until = external.window_end


def hold(reading: Reading) -> None:
    """R14: nothing is stored for an import that was changed meanwhile."""
    if reading.revision != reading.of.revision:
        raise SupersededError


def is_told_apart(decision: rules.Decision, seen: Record | None, state: LedgerState, code: OutcomeCode | None) -> bool:
    """R17: an outcome row is stored only where outcome, code or digest differs from the ledger's."""
    if decision.outcome in (Outcome.CREATED, Outcome.UPDATED):
        return True
    same_state = state == (LedgerState.LINKED if decision.outcome is Outcome.UNCHANGED else decision.outcome.value)
    return not same_state or code is not decision.code or seen != decision.record
