"""Decisions made true, and what else happens to contacts and ledger rows, in plain Python."""

from collections import Counter
from collections.abc import Collection, Sequence, Set

from domain.enums import DeletionPolicy, LedgerState, Outcome, OutcomeCode
from domain.records import SourceConsent
from tests.domain.model.account import KEEPS_ADDRESS, Account, Contact, Entry, Import, NewTargets, StoredOutcome
from tests.domain.model.consent import ACTIVE, LOW, UNCONFIRMED, UNSUBSCRIBED, keep_low, lowest, status_of
from tests.domain.model.rules import Decision
from tests.domain.model.silence import kept_silent, mailed_lists


def write(account: Account, into: Import, decision: Decision) -> StoredOutcome:
    """Make a decision true: contact, consent and ledger. Returns what became of the record."""
    record, contact, stored = decision.record, decision.contact, outcome_of(account, into, decision)
    touched = decision.opts_out or contact
    mailed = mailed_lists(touched)
    if decision.outcome in (Outcome.CREATED, Outcome.UPDATED):
        write_contact(account, into, decision)
    if decision.opts_out:
        decision.opts_out.status = account.suppressed[decision.opts_out.key, None] = UNSUBSCRIBED
    if decision.gone:
        account.tombstones.add(decision.gone)
        if record.consent is SourceConsent.DENIED:
            account.suppressed[decision.gone, None] = UNSUBSCRIBED
    if decision.cost:
        decision.silenced = kept_silent(mailed, mailed_lists(touched))
    state = LedgerState.LINKED
    if decision.outcome in (Outcome.SKIPPED, Outcome.WAITING, Outcome.FAILED):
        state = LedgerState(decision.outcome.value)
    entry = into.ledger.get(record.external_id)
    joins = decision.code is OutcomeCode.CONTACT_LIMIT and (entry is None or entry.code is not decision.code)
    into.ledger[record.external_id] = Entry(
        external_id=record.external_id,
        # R11: a change at the source keeps its place in the waiting room; whoever joins it joins at the end.
        place=account.next_place() if entry is None or joins else entry.place,
        seen=record,
        applied=decision.applied,
        state=state,
        code=decision.code,
        contact=contact,
        key=decision.key,
        # R23: of somebody who was deleted here nothing is kept, nor of what the database refused.
        kept=decision.code not in {OutcomeCode.DELETED_HERE, OutcomeCode.REJECTED_VALUE},
    )
    return stored


def write_contact(account: Account, into: Import, decision: Decision) -> None:
    """Make a contact, or change one."""
    contact = decision.contact
    assert contact is not None
    if decision.outcome is Outcome.CREATED:
        account.contacts.append(contact)
    keep_subscriptions(account, into, contact, decision)
    for name, value in decision.columns.items():
        setattr(contact, name, value)
    contact.values |= decision.values
    contact.values = {name: value for name, value in contact.values.items() if value is not None}
    contact.lists |= decision.lists
    contact.tags |= decision.tags
    # R9: an opt-out belongs to the address, and outlives the contact.
    is_new = decision.outcome is Outcome.CREATED or decision.columns.keys() & {"status", "key"}
    if is_new and contact.status in LOW:
        account.suppressed[contact.key, None] = contact.status
    if decision.outcome is Outcome.CREATED or "key" in decision.columns:
        call_waiting(account, contact.key)


def outcome_of(account: Account, into: Import, decision: Decision) -> StoredOutcome:
    """R17, R20: the outcome of a decision that is not yet made true, with the values before."""
    contact, is_update = decision.contact, decision.outcome is Outcome.UPDATED
    return StoredOutcome(
        of=into,
        external_id=decision.record.external_id,
        outcome=decision.outcome,
        code=decision.code,
        at=account.tick(),
        contact=contact,
        before={name: getattr(contact, name) for name in decision.columns},
        after=dict(decision.columns),
        values_before={name: contact.values.get(name) for name in decision.values} if contact else {},
        values_after=dict(decision.values),
        lists=list(decision.lists) if is_update else (),
        tags=set(decision.tags) if is_update else (),
        confirmed=confirmed_lists(into, decision),
    )


def keep_subscriptions(account: Account, into: Import, contact: Contact, decision: Decision) -> None:
    """R9: what an address declined stays with it, and counts list by list for whoever moves to it.

    A confirmation counts for the import's lists too.
    """
    contact.lists |= dict.fromkeys(confirmed_lists(into, decision), ACTIVE)
    if "key" in decision.columns:
        keep_low(account, contact)
        for name, status in contact.lists.items():
            if status not in LOW:
                contact.lists[name] = account.suppressed.get((decision.columns["key"], name), status)


def confirmed_lists(into: Import, decision: Decision) -> Set[str]:
    """R9: the lists of the import that wait for the confirmation that this is."""
    contact = decision.contact
    if contact is None or contact.status is not UNCONFIRMED or decision.columns.get("status") is not ACTIVE:
        return frozenset()
    return {name for name in into.lists if contact.lists.get(name) is UNCONFIRMED}


def call_waiting(account: Account, key: str) -> None:
    """R11: whoever waits under an address that now has a contact is that contact at once, without room."""
    for each in account.imports.values():
        for entry in each.ledger.values():
            if entry.key == key and entry.state is LedgerState.WAITING:
                entry.due = True
                account.ask_for_draining()


def tell_deleted(
    account: Account, into: Import, external_ids: Sequence[str], *, is_told: bool
) -> tuple[int, Counter[str]]:
    """R16: deleted at the source: recorded, and the import's policy acts on the contact that the record is.

    `is_told` by the service itself, which is so for every import, and not only concluded from what this one reads.
    R11: a place in the waiting room is given up. Returns how many were known, and what is kept silent.
    """
    known = [into.ledger[each] for each in external_ids if each in into.ledger]
    known = [entry for entry in known if entry.state is not LedgerState.DELETED]
    let_go = {entry.key for entry in known if entry.state in KEEPS_ADDRESS or entry.due}
    linked = [entry for entry in known if entry.state is LedgerState.LINKED]
    for entry in known:
        entry.state, entry.code, entry.due = LedgerState.DELETED, None, False
    silenced: Counter[str] = Counter()
    for entry in linked:
        if entry.contact in account.contacts and is_gone_for_good(account, into, entry, external_ids, is_told=is_told):
            silenced += let_go_of(account, into, entry.contact)
    succeed(into, let_go)
    return len(known), silenced


def is_gone_for_good(
    account: Account, into: Import, deleted: Entry, external_ids: Collection[str], *, is_told: bool
) -> bool:
    """Silent: nobody is gone whom another record of the service is, be it one that waits for the address (R6).

    What an import still has that a user deleted is silent too: it will not know better.
    """
    return not any(
        (e.contact is deleted.contact and e.state is LedgerState.LINKED)
        or (e.key == deleted.key and e.code is OutcomeCode.DUPLICATE_EMAIL)
        for each in account.imports_of(into.external_account)
        for e in each.ledger.values()
        if e.external_id not in external_ids or not (is_told or each.deleted)
    )


def let_go_of(account: Account, into: Import, contact: Contact) -> Counter[str]:
    """R16: what the import does with a contact that is deleted at the source. Returns what is kept silent."""
    mailed = mailed_lists(contact)
    if into.deletions is DeletionPolicy.TAG and into.deletion_tag not in contact.tags:
        assert into.deletion_tag is not None
        contact.tags.add(into.deletion_tag)
    elif into.deletions is DeletionPolicy.UNSUBSCRIBE and contact.status not in LOW:
        contact.status = account.suppressed[contact.key, None] = UNSUBSCRIBED
    else:
        return Counter()
    return kept_silent(mailed, mailed_lists(contact))


def succeed(into: Import, let_go: set[str | None]) -> None:
    """R6: an address that nobody holds any more goes to the next in order, from its ledger row."""
    for key in let_go - {None}:
        assert key is not None
        line = [e for e in into.ledger.values() if e.code is OutcomeCode.DUPLICATE_EMAIL and e.key == key]
        if line and into.holder(key) is None:
            min(line, key=lambda entry: entry.place).due = True


def give_new_targets(account: Account, new: NewTargets) -> None:
    """R13: lists and tags that were added to an import go to all its contacts, through R9, and cost nothing."""
    into = new.of
    linked = [entry for entry in into.ledger.values() if entry.state is LedgerState.LINKED and entry.seen]
    for entry in linked:
        contact = entry.contact
        if into.deleted or contact is None or entry.external_id not in new.external_ids:
            continue
        for name in new.lists & {*into.lists} - contact.lists.keys():
            # Silent: of somebody whom several records are, the most restrictive word counts.
            words = [status_of(each.seen.consent) for each in linked if each.contact is contact and each.seen]
            word = account.suppressed.get((contact.key, name), lowest(*words))
            everywhere = account.suppressed.get((contact.key, None), contact.status)
            contact.lists[name] = lowest(word, contact.status, everywhere)
        contact.tags |= new.tags & {*into.tags}
