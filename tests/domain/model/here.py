"""What users do here, to contacts and to imports (R9, R11, R13, R15), in plain Python; a refusal changes nothing."""

from collections.abc import Sequence

from domain.enums import (
    ContactStatus,
    ExternalAccountHealth,
    ImportState,
    LedgerState,
    OutcomeCode,
    RunState,
    RunTrigger,
)
from domain.records import Record
from tests.domain.model import sweeping
from tests.domain.model.account import Account, Contact, ExternalAccount, Import, NewTargets, Run, Undoing
from tests.domain.model.consent import ACTIVE, LOW, keep_low, lowest
from tests.domain.model.passes import Pass, Sweeps
from tests.domain.model.runs import cancel
from tests.domain.model.writing import call_waiting

FIXABLE = {OutcomeCode.INVALID_EMAIL, OutcomeCode.DELETED_HERE, OutcomeCode.UNDONE, OutcomeCode.REJECTED_VALUE}


def may_be_active(account: Account, more: int) -> bool:
    """R11: mutations beyond the limit are refused."""
    return more <= 0 or account.active + more <= account.limit or account.upgrade(more)


def create(account: Account, key: str, first_name: str) -> bool:
    """R13: a user's creation lifts the tombstone; R9: it reads the suppressions. Returns whether it is accepted."""
    status = account.suppressed.get((key, None), ACTIVE)
    if account.contact_of(key) or not may_be_active(account, int(status is ACTIVE)):
        return False
    account.contacts.append(Contact(email=key, key=key, status=status, first_name=first_name, touched=account.tick()))
    account.tombstones.discard(key)
    call_waiting(account, key)
    return True


def move(account: Account, contact: Contact, key: str) -> bool:
    """A user corrects the address: its suppressions count for the contact, and the contact's for the address."""
    other = account.contact_of(key)
    if other not in (None, contact):
        return False
    if (contact.email, contact.key) != (key, key):
        contact.touched = account.tick()
    if contact.key != key:
        for name, status in contact.lists.items():
            contact.lists[name] = lowest(status, account.suppressed.get((key, name), status))
        contact.status = lowest(contact.status, account.suppressed.get((key, None), contact.status))
        contact.key = key
        keep_low(account, contact)
        account.tombstones.discard(key)
        call_waiting(account, key)
    contact.email = key
    return True


def correct_name(account: Account, contact: Contact, first_name: str) -> None:
    """A user corrects the name."""
    if contact.first_name != first_name:
        contact.first_name, contact.touched = first_name, account.tick()


def set_status(account: Account, contact: Contact, status: ContactStatus) -> bool:
    """R9: the one way up. What is raised is suppressed no longer. Returns whether it is accepted."""
    if not may_be_active(account, int(status is ACTIVE) - int(contact.status is ACTIVE)):
        return False
    if contact.status is not status:
        contact.status, contact.touched = status, account.tick()
    if status in LOW:
        account.suppressed[contact.key, None] = status
    else:
        account.suppressed.pop((contact.key, None), None)
    return True


def set_subscription(account: Account, contact: Contact, name: str, status: ContactStatus) -> None:
    """R9: to one list, up or down."""
    if contact.lists.get(name) is not status:
        contact.lists[name], contact.touched = status, account.tick()
    if status in LOW:
        account.suppressed[contact.key, name] = status
    else:
        account.suppressed.pop((contact.key, name), None)


def delete(account: Account, contact: Contact, *, erase: bool) -> None:
    """R13: no import brings it back, under any address that it was known by; R9: what it declined holds on.

    R23: `erase` also blanks what imports keep of it, whoever's record has its addresses.
    """
    keep_low(account, contact)
    rows = [entry for each in account.imports.values() for entry in each.ledger.values()]
    keys = {contact.key} | {entry.key for entry in rows if entry.contact is contact and entry.key}
    account.tombstones |= keys
    account.contacts.remove(contact)
    for entry in rows:
        waits = entry.state is LedgerState.WAITING or entry.code is OutcomeCode.DUPLICATE_EMAIL
        has_address = entry.key in keys and entry.state is not LedgerState.LINKED
        if entry.contact is contact or (has_address and (waits or erase)):
            entry.contact, entry.applied, entry.due = None, None, False
            if erase:
                entry.key, entry.kept = None, False
            if waits or entry.state is LedgerState.LINKED:
                entry.state, entry.code = LedgerState.SKIPPED, OutcomeCode.DELETED_HERE


def add_import(account: Account, new: Import) -> None:
    """R1: the first run starts at once."""
    account.imports[new.name] = new
    new.runs.append(Run(trigger=RunTrigger.CREATED))
    ask_for(account, account.external_accounts[new.external_account])


def pause(account: Account, name: str) -> None:
    """Stop until resumed. What waits to be judged is dropped: a page is read again, a sweep is no measure."""
    into = account.imports[name]
    run = into.open_run
    if run and run.state is RunState.NEEDS_REVIEW and run.review and run.review.kind == sweeping.MISSING:
        sweeping.abandon(into)
    into.under_way = Pass()
    into.state, into.revision = ImportState.PAUSED, into.revision + 1
    cancel(into)


def resume(account: Account, name: str) -> bool:
    """Go on from the checkpoint, at once.

    Returns whether it is accepted: not while runs of it are being undone, nor while somebody has to judge.
    """
    into = account.imports[name]
    if is_being_undone(account, into) or into.state is ImportState.NEEDS_REVIEW:
        return False
    into.state, into.revision = ImportState.ACTIVE, into.revision + 1
    _run_at_once(account, into)
    return True


def is_being_undone(account: Account, into: Import) -> bool:
    """Whether runs of it are."""
    return any(isinstance(task, Undoing) and task.of is into for task in account.tasks)


def run_now(account: Account, name: str) -> bool:
    """Check now. Returns whether it is accepted."""
    into = account.imports[name]
    if into.state in (ImportState.PAUSED, ImportState.NEEDS_REVIEW):
        return False
    _run_at_once(account, into)
    return True


def _run_at_once(account: Account, into: Import) -> None:
    into.failures, into.next_attempt = 0, None
    if into.open_run is None:
        into.runs.append(Run(trigger=RunTrigger.USER))
    ask_for(account, account.external_accounts[into.external_account])


def change_criteria(account: Account, name: str, group: str) -> None:
    """New criteria clear the checkpoint, remove nobody, and give the places in the waiting room up (R11)."""
    into = account.imports[name]
    into.revision += 1
    if group == into.group:
        return
    into.group, into.checkpoint, into.failures, into.next_attempt = group, None, 0, None
    into.sweeps, into.under_way = Sweeps(gone=into.sweeps.gone), Pass()
    leave_waiting_room(into)
    if into.state is ImportState.NEEDS_REVIEW:  # what was to be judged will not come again
        into.state = ImportState.ACTIVE
        cancel(into)
    if into.is_on:
        _run_at_once(account, into)


def change_targets(account: Account, name: str, lists: Sequence[str], tags: Sequence[str]) -> None:
    """R13: what is added goes to all its contacts, in the background; what is taken away stays with them."""
    into = account.imports[name]
    into.revision += 1
    new = NewTargets(
        of=into,
        lists=frozenset(lists) - {*into.lists},
        tags=frozenset(tags) - {*into.tags},
        external_ids=frozenset(into.ledger),
    )
    into.lists, into.tags = tuple(lists), tuple(tags)
    account.tasks.append(new)


def retry(account: Account, name: str) -> bool:
    """R18: FAILED and fixable SKIPPED records are tried again, before anything new is read.

    For those whose values are not kept everything is read again. Returns whether that is accepted.
    """
    into = account.imports[name]
    external = account.external_accounts[into.external_account]
    rows = [entry for entry in into.ledger.values() if entry.code in FIXABLE]
    if not rows or not external.is_healthy or into.state in (ImportState.PAUSED, ImportState.NEEDS_REVIEW):
        return False
    into.next_attempt = None
    for entry in rows:
        entry.due = entry.kept
        if entry.state is LedgerState.UNDONE and entry.contact and entry.kept:
            assert entry.seen is not None
            # Silent: what was undone counts as never written; all of it is new, but the source's word on consent.
            entry.applied = Record(external_id=entry.external_id, email=None, consent=entry.seen.consent)
        if not entry.kept:
            entry.seen, into.checkpoint = None, None
    if into.open_run is None:
        into.runs.append(Run(trigger=RunTrigger.RETRY))
    ask_for(account, external)
    if any(entry.seen is None for entry in rows):
        into.revision += 1
        into.failures = 0
        into.under_way = Pass()
        sweeping.abandon(into)
    return True


def approve(account: Account, name: str) -> None:
    """Let the run go on: its pass is not stopped again for what somebody has judged."""
    into = account.imports[name]
    run = into.open_run
    assert run is not None
    assert run.review is not None
    if run.review.kind == sweeping.MISSING:
        sweeping.conclude(into, is_approved=True)
    else:
        into.under_way.is_approved = True
    into.state, into.revision = ImportState.ACTIVE, into.revision + 1
    run.state, run.stopped_by = RunState.QUEUED, None
    ask_for(account, account.external_accounts[into.external_account])


def undo(account: Account, name: str, back: int, *, and_later: bool) -> bool:
    """R20: the run so many before the last one, or it and all later ones, in the background. It pauses the import.

    Returns whether it is accepted: what is undone, or is being undone, is not undone again.
    """
    into = account.imports[name]
    run = into.runs[-min(back + 1, len(into.runs))]
    if run.state is RunState.UNDONE or is_being_undone(account, into):
        return False
    if not into.deleted:
        pause(account, name)
    runs = [each for each in reversed(into.runs[into.runs.index(run) :]) if each.state is not RunState.UNDONE]
    account.tasks.append(Undoing(of=into, runs=runs if and_later else [run]))
    return True


def delete_import(account: Account, into: Import, *, undoing: bool) -> bool:
    """R13: its contacts stay, and so does what it knows; or what its runs did is undone. Returns whether that is
    accepted: not while runs of it are being undone.
    """
    if undoing and is_being_undone(account, into):
        return False
    into.deleted, into.revision = True, into.revision + 1
    leave_waiting_room(into)
    cancel(into)
    if undoing:
        runs = [run for run in reversed(into.runs) if run.state is not RunState.UNDONE]
        account.tasks.append(Undoing(of=into, runs=runs))
    return True


def reconnect(account: Account, name: str) -> None:
    """R15: as the same external account, with its checkpoints."""
    external = account.external_accounts[name]
    external.health, external.not_before, external.lease_until = ExternalAccountHealth.HEALTHY, None, None
    for each in account.imports_of(name):
        sweeping.forget(each)
    ask_for(account, external)


def ask_for(account: Account, external: ExternalAccount) -> None:
    """A cycle is wanted now, or as soon as the service wants to be asked again."""
    if external.is_healthy:
        external.next_cycle = max(account.now, external.not_before or 0)


def leave_waiting_room(into: Import) -> None:
    """R11: the import's contacts that wait give their places up; what held them back is decided anew."""
    into.ledger = {key: entry for key, entry in into.ledger.items() if entry.state is not LedgerState.WAITING}
    for entry in into.ledger.values():
        if entry.code is OutcomeCode.CONTACT_LIMIT:
            entry.code, entry.seen = None, None
