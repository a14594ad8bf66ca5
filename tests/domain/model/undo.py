"""Undoing runs, by value (R20), in plain Python: one function a rule, outcome by outcome, newest first."""

from collections.abc import Callable, Collection, Iterator, Sequence

from domain.enums import LedgerState, Outcome, OutcomeCode, RunState, UndoCode, UndoResult
from tests.domain.model.account import Account, Contact, Run, StoredOutcome, Undoing
from tests.domain.model.consent import LOW, keep_low, lowest
from tests.domain.model.writing import call_waiting

REFUSALS = (UndoCode.EMAIL_TAKEN, UndoCode.DELETED_HERE, UndoCode.CONSENT)
"""Why a value may not come back; the other codes say why it is better kept."""


def undo_runs(account: Account, wanted: Undoing) -> None:
    """Undo them, each as a whole. The cap does not mind (R4)."""
    for run in wanted.runs:
        with account.making_room():
            for outcome in reversed(run.outcomes):
                result, code = undo(account, wanted, outcome)
                run.undone.append((outcome.external_id, result, code))
            leave_ledger(wanted, run)
        run.state = RunState.UNDONE


def undo(account: Account, wanted: Undoing, outcome: StoredOutcome) -> tuple[UndoResult, UndoCode | None]:
    """Undo what became of one record. Returns what that came to, and why not to more."""
    contact = outcome.contact
    if outcome.outcome not in (Outcome.CREATED, Outcome.UPDATED):
        return UndoResult.NOTHING, None
    if contact is None or contact not in account.contacts:
        return UndoResult.NOTHING, UndoCode.GONE
    if outcome.outcome is Outcome.UPDATED:
        return in_a_word([code for value in VALUES for code in value(account, outcome, contact)])
    if code := why_kept(account, wanted, outcome, contact):
        return UndoResult.KEPT, code
    remove(account, contact)
    return UndoResult.REMOVED, None


def why_kept(account: Account, wanted: Undoing, outcome: StoredOutcome, contact: Contact) -> UndoCode | None:
    """A contact that was created is kept where a user touched it, or another import, or a run that stays."""
    if contact.touched:
        return UndoCode.TOUCHED
    holders = [
        (each, entry)
        for each in account.imports.values()
        for entry in each.ledger.values()
        if entry.contact is contact and entry.state is not LedgerState.UNDONE
    ]
    if any(each is not wanted.of for each, _ in holders):
        return UndoCode.HELD_ELSEWHERE
    written = {entry.external_id for _, entry in holders} | {outcome.external_id}
    if any(is_rewritten(wanted, external_id, outcome.at) for external_id in written):
        return UndoCode.LATER_RUN
    return None


def is_rewritten(wanted: Undoing, external_id: str, at: int) -> bool:
    """Whether a run that stays met the record later."""
    return stays(wanted, wanted.of.ledger[external_id].run) or any(
        later.external_id == external_id and later.at > at
        for run in wanted.of.runs
        if stays(wanted, run)
        for later in run.outcomes
    )


def stays(wanted: Undoing, run: Run | None) -> bool:
    """Whether a run is neither undone nor going to be."""
    return run is not None and run.state is not RunState.UNDONE and run not in wanted.runs


def remove(account: Account, contact: Contact) -> None:
    """R9: what they declined outlives them. R13: no tombstone; nobody decided that they are not wanted here."""
    keep_low(account, contact)
    account.contacts.remove(contact)
    for each in account.imports.values():
        for entry in each.ledger.values():
            if entry.contact is contact:
                entry.contact, entry.applied, entry.due = None, None, False
                if entry.state is not LedgerState.DELETED:  # R16: what the service deleted stays deleted
                    entry.state, entry.code = LedgerState.UNDONE, OutcomeCode.UNDONE


def restore_columns(_: Account, outcome: StoredOutcome, contact: Contact) -> Iterator[UndoCode | None]:
    """Names and phone come back unless they changed since."""
    for name in outcome.before.keys() & {"first_name", "phone"}:
        if getattr(contact, name) != outcome.after[name]:
            yield UndoCode.CHANGED_SINCE
            continue
        setattr(contact, name, outcome.before[name])
        yield None


def restore_values(_: Account, outcome: StoredOutcome, contact: Contact) -> Iterator[UndoCode | None]:
    """So do the values of fields, each for itself."""
    for name, value in outcome.values_before.items():
        if contact.values.get(name) != outcome.values_after[name]:
            yield UndoCode.CHANGED_SINCE
            continue
        contact.values = {**contact.values, name: value} if value is not None else without(contact.values, name)
        yield None


def restore_status(_: Account, outcome: StoredOutcome, contact: Contact) -> Iterator[UndoCode | None]:
    """R9: consent comes back only where that lowers it."""
    if "status" not in outcome.before:
        return
    before = outcome.before["status"]
    if contact.status is not outcome.after["status"]:
        yield UndoCode.CHANGED_SINCE
    elif lowest(before, contact.status) is contact.status:
        yield UndoCode.CONSENT
    else:
        contact.status = before
        if contact.touched <= outcome.at:  # what was confirmed with it goes back with it
            confirmed = outcome.confirmed & contact.lists.keys()
            contact.lists |= {name: lowest(before, contact.lists[name]) for name in confirmed}
        yield None


def restore_email(account: Account, outcome: StoredOutcome, contact: Contact) -> Iterator[UndoCode | None]:
    """An address comes back unless it changed since, is another's now, or its contact was deleted here.

    R9: what each of the two addresses declined stays with it, and counts for the contact that returns to it.
    """
    if "key" not in outcome.before:
        return
    key = outcome.before["key"]
    if (contact.email, contact.key) != (outcome.after["email"], outcome.after["key"]):
        yield UndoCode.CHANGED_SINCE
    elif account.contact_of(key) not in (None, contact):
        yield UndoCode.EMAIL_TAKEN
    elif key in account.tombstones:
        yield UndoCode.DELETED_HERE
    else:
        keep_low(account, contact)
        contact.email, contact.key = outcome.before["email"], key
        contact.status = lowest(contact.status, account.suppressed.get((key, None), contact.status))
        for name, status in contact.lists.items():
            contact.lists[name] = lowest(status, account.suppressed.get((key, name), status))
        keep_low(account, contact)
        call_waiting(account, key)
        yield None


def leave_lists(account: Account, outcome: StoredOutcome, contact: Contact) -> Iterator[UndoCode | None]:
    """The lists that it added are left, unless that would forget an opt-out."""
    for name in outcome.lists:
        if contact.lists.get(name) in LOW:
            yield UndoCode.CONSENT
        elif code := why_target_stays(account, outcome, contact, name, contact.lists):
            yield code
        else:
            del contact.lists[name]
            yield None


def leave_tags(account: Account, outcome: StoredOutcome, contact: Contact) -> Iterator[UndoCode | None]:
    """So are the tags."""
    for name in outcome.tags:
        code = why_target_stays(account, outcome, contact, name, contact.tags)
        if code is None:
            contact.tags.remove(name)
        yield code


def why_target_stays(
    account: Account, outcome: StoredOutcome, contact: Contact, name: str, present: Collection[str]
) -> UndoCode | None:
    """A list or tag stays where a user touched the contact since, or another import gives it the same."""
    if name not in present:
        return UndoCode.CHANGED_SINCE
    if contact.touched > outcome.at:
        return UndoCode.TOUCHED
    for each in account.imports.values():
        holds = any(e.contact is contact and e.state is LedgerState.LINKED for e in each.ledger.values())
        if each is not outcome.of and holds and name in (*each.lists, *each.tags):
            return UndoCode.HELD_ELSEWHERE
    return None


VALUES: Sequence[Callable[[Account, StoredOutcome, Contact], Iterator[UndoCode | None]]] = (
    restore_columns,
    restore_values,
    restore_status,
    restore_email,
    leave_lists,
    leave_tags,
)


def in_a_word(codes: Collection[UndoCode | None]) -> tuple[UndoResult, UndoCode | None]:
    """One word for all values, and the gravest reason why some stay."""
    why = [code for code in codes if code is not None]
    if not why:
        return UndoResult.RESTORED, None
    gravest = next((code for code in REFUSALS if code in why), why[0])
    if len(why) < len(codes):
        return UndoResult.PARTLY_RESTORED, gravest
    return (UndoResult.REFUSED if gravest in REFUSALS else UndoResult.KEPT), gravest


def leave_ledger(wanted: Undoing, run: Run) -> None:
    """The records that the run wrote are UNDONE until they change, but those that a run that stays wrote last.

    They hold no address and name no successor, who would bring back what is undone, and leave the waiting room. What
    they said counts as seen: a value comes again when that very value changes (R8).
    """
    for external_id in {outcome.external_id for outcome in run.outcomes} & wanted.of.ledger.keys():
        entry = wanted.of.ledger[external_id]
        if entry.state not in (LedgerState.UNDONE, LedgerState.DELETED) and not stays(wanted, entry.run):
            entry.applied = entry.seen if entry.state is LedgerState.LINKED else entry.applied
            entry.state, entry.code, entry.due = LedgerState.UNDONE, OutcomeCode.UNDONE, False


def without(values: dict[str, object], name: str) -> dict[str, object]:
    """The others."""
    return {key: value for key, value in values.items() if key != name}
