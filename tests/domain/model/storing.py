"""What is read, stored: the cap, the counts and the outcomes (R4, R6, R11, R17); and the waiting room let in (R11)."""

from collections.abc import Sequence

from domain.enums import LedgerState, Outcome, OutcomeCode, RunState, RunTrigger
from domain.records import Record
from tests.domain.model.account import KEEPS_ADDRESS, Account, Entry, ExternalAccount, Import, Run, StoredOutcome
from tests.domain.model.guard import is_accident
from tests.domain.model.rules import Decision, decide
from tests.domain.model.runs import run_with_news, run_without_news
from tests.domain.model.writing import succeed, write


def cap_left(account: Account, external: ExternalAccount) -> int:
    """R4: how many contacts may still be written in this window."""
    return max(0, account.cap - external.used)


def store(
    account: Account,
    into: Import,
    records: Sequence[Record],
    left: int,
    *,
    again: bool = False,
    run: Run | None = None,
) -> int:
    """R4: the cut is before the first record that costs more than is left. R17: each is counted once.

    `again`: they come from their ledger rows; `run` is that of a draining.
    """
    with account.making_room():
        decisions = write_page(account, into, records, left, again=again, draining=run is not None)
    if run is None and not again:
        into.under_way.known += sum(each.is_known for each, _ in decisions)
        into.under_way.affected += sum(each.is_accident for each, _ in decisions)
    if decisions:
        has_news = any(each.news for each, _ in decisions)
        run = run or (run_with_news(into) if has_news else run_without_news(into))
        for decision, outcome in decisions:
            run.counts[decision.outcome] += 1
            run.protected += decision.protected
            run.silenced += decision.silenced
            if decision.news:
                into.ledger[decision.record.external_id].run = run
            if outcome is not None:
                run.outcomes.append(outcome)
    return len(decisions)


def write_page(
    account: Account, into: Import, records: Sequence[Record], left: int, *, again: bool, draining: bool
) -> Sequence[tuple[Decision, StoredOutcome | None]]:
    """The decisions as far as the cap reaches, each with its outcome row if it has one."""
    external = account.external_accounts[into.external_account]
    decisions: list[tuple[Decision, StoredOutcome | None]] = []
    let_go: set[str | None] = set()
    for record in records:
        decision = decide(account, into, record, again=again, draining=draining)
        # R4 comes first: no plan is left for whoever could not be written in this window.
        while decision.news and decision.code is OutcomeCode.CONTACT_LIMIT and left > decision.cost and account.climb():
            decision = decide(account, into, record, again=again, draining=draining)
        if decision.cost > left:
            break
        left -= decision.cost
        external.used += decision.cost
        outcome, before = None, into.ledger.get(record.external_id)
        if before is not None and before.state is LedgerState.LINKED:
            decision.is_known, decision.is_accident = True, is_accident(decision, before)
        if decision.news:
            is_row = before is None or is_told_apart(decision, before.seen, before.state, before.code)
            if before and (before.state in KEEPS_ADDRESS or before.due):
                let_go.add(before.key)
            written = write(account, into, decision)
            outcome = written if is_row else None
        decisions.append((decision, outcome))
    # R6: a page counts as read when it came: the next in order is looked for when it is stored.
    succeed(into, let_go)
    return decisions


def is_told_apart(decision: Decision, seen: Record | None, state: LedgerState, code: OutcomeCode | None) -> bool:
    """R17: an outcome row is stored only where outcome, code or digest differs from the ledger's."""
    if decision.outcome in (Outcome.CREATED, Outcome.UPDATED):
        return True
    same_state = state == (LedgerState.LINKED if decision.outcome is Outcome.UNCHANGED else decision.outcome.value)
    return not same_state or code is not decision.code or seen != decision.record


def drain(account: Account, only: Sequence[Import] | None = None) -> None:
    """Let in who waits, as far as room and caps reach, import by import; each in a run of its own."""
    runs: dict[str, Run] = {}
    while True:
        line = account.line
        names = [name for entry in line for name, each in account.imports.items() if entry in each.ledger.values()]
        for name in dict.fromkeys(names):
            into = account.imports[name]
            if (only is None or into in only) and let_in(account, into, line, runs):
                break
        else:
            return


def let_in(account: Account, into: Import, line: Sequence[Entry], runs: dict[str, Run]) -> bool:
    """Those whose turn it is, and those whose address has a contact by now, in their order."""
    left = cap_left(account, account.external_accounts[into.external_account])
    mine = [entry for entry in line if entry in into.ledger.values()]
    while not (head := [each for each in mine if each.due or is_next(account, line, each)]):
        if not left or not account.climb():
            return False
    if not left:
        return False
    if into.name not in runs:
        runs[into.name] = Run(trigger=RunTrigger.ROOM, state=RunState.COMPLETED, found_something=True)
        into.runs.append(runs[into.name])
    store(account, into, [e.seen for e in head if e.seen], left, again=True, run=runs[into.name])
    return True


def is_next(account: Account, line: Sequence[Entry], entry: Entry) -> bool:
    """Whether there is room for it, and for all who came before."""
    return line.index(entry) < account.limit - account.active
