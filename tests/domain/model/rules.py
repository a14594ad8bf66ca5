"""What becomes of a record: product.md's rules in plain Python, one function a rule, records one by one.

Where product.md is silent, a comment says what is taken for granted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.enums import ContactStatus, DeletionPolicy, LedgerState, Outcome, OutcomeCode, OverwritePolicy
from domain.records import Record, SourceConsent
from tests.domain.model.account import Account, Contact, Entry, Import

ACTIVE, UNCONFIRMED, UNSUBSCRIBED, BOUNCED = (
    ContactStatus.ACTIVE,
    ContactStatus.UNCONFIRMED,
    ContactStatus.UNSUBSCRIBED,
    ContactStatus.BOUNCED,
)
LOW = {UNSUBSCRIBED, BOUNCED}
POISON = "\0"
"""A value with this in it is one that the database refuses."""


@dataclass(kw_only=True)
class Decision:
    """What becomes of a record; the changes are not made yet. `news`: something to store, not only to count."""

    record: Record
    outcome: Outcome
    code: OutcomeCode | None = None
    key: str | None = None
    contact: Contact | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, ContactStatus] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    applied: Record | None = None
    protected: bool = False
    news: bool = True

    @property
    def cost(self) -> int:
        """R4: creations, updates, first links that add a list or tag cost one; all else is free."""
        return int(self.outcome is Outcome.CREATED or bool(self.columns or self.values or self.lists or self.tags))


def decide(account: Account, into: Import, record: Record, *, again: bool = False, draining: bool = False) -> Decision:
    """What becomes of `record`. `again`: it comes from its ledger row, and is looked at though it is not new.

    `draining`: it comes from the head of the waiting room, for which the room is.
    """
    entry = into.ledger.get(record.external_id)
    if entry and not again and entry.seen == record and entry.state is not LedgerState.DELETED:
        return repeated(record, entry)
    if POISON in (record.first_name or ""):
        return not_applied(record, entry, Outcome.FAILED, OutcomeCode.REJECTED_VALUE)  # R15
    if not (record.email or "").strip():
        return not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.NO_EMAIL)  # R5
    assert record.email is not None
    if "@" not in record.email:
        return not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.INVALID_EMAIL)  # R5
    key = key_of(record.email)
    if into.holder(key) not in (None, entry):
        return not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.DUPLICATE_EMAIL, key)  # R6
    contact, before = identify(account, into, record, key)
    # R11: those who wait come first; only who is at their head may take the room that there is.
    room = account.limit - account.active - (0 if draining else len(account.line))
    if contact is None:
        return create(account, into, record, entry, key, room)
    return update(account, into, record, entry, key, contact, before, room)


def key_of(email: str) -> str:
    """An address as it is compared."""
    return email.strip().lower()


def repeated(record: Record, entry: Entry) -> Decision:
    """R17: nothing is new about it; it is counted as what it was before, without a row."""
    outcome = {
        LedgerState.LINKED: Outcome.UNCHANGED,
        LedgerState.SKIPPED: Outcome.SKIPPED,
        LedgerState.UNDONE: Outcome.SKIPPED,
        LedgerState.WAITING: Outcome.WAITING,
        LedgerState.FAILED: Outcome.FAILED,
    }[entry.state]
    return Decision(record=record, outcome=outcome, news=False)


def not_applied(
    record: Record, entry: Entry | None, outcome: Outcome, code: OutcomeCode, key: str | None = None
) -> Decision:
    """It reaches no contact now; which one it reached before, and with what, is remembered (R8)."""
    contact = entry.contact if entry else None
    applied = entry.applied if entry and contact else None
    return Decision(record=record, outcome=outcome, code=code, key=key, contact=contact, applied=applied)


def identify(account: Account, into: Import, record: Record, key: str) -> tuple[Contact | None, Record | None]:
    """R6: the contact that a record is, and the record as it was last written to it, if it was.

    By external id within the external account first, then by address within the account. A record whose address
    changed goes to the contact that has the new address, if another one has.
    """
    by_key = account.contact_of(key)
    own = into.ledger.get(record.external_id)
    siblings = [
        each.ledger[record.external_id]
        for each in account.imports_of(into.external_account)
        if each is not into
        and record.external_id in each.ledger
        and each.ledger[record.external_id].state is LedgerState.LINKED
    ]
    # Silent: which of several imports is asked that know the record. The one that was made last.
    for entry in [own, *siblings[-1:]]:
        if entry is None or entry.contact is None or entry.contact not in account.contacts:
            continue
        if by_key not in (None, entry.contact) and address_changed(record, entry.applied):
            return by_key, None
        return entry.contact, entry.applied
    return by_key, None


def address_changed(record: Record, before: Record | None) -> bool:
    """Whether the address is another one at the source than it was."""
    if before is None or not before.email or "@" not in before.email:
        return True
    return key_of(record.email or "") != key_of(before.email)


def create(account: Account, into: Import, record: Record, entry: Entry | None, key: str, room: int) -> Decision:
    """R5-R11, R13: a new contact, unless a user deleted it here or there is no room."""
    if key in account.tombstones:
        return not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.DELETED_HERE)  # R13
    wanted = status_of(record.consent)
    status = account.suppressed.get((key, None), wanted)  # R9: every creation reads the suppressions
    if status is ACTIVE and room < 1:
        return not_applied(record, entry, Outcome.WAITING, OutcomeCode.CONTACT_LIMIT, key)  # R11
    values = {name: value for name, value in record.values.items() if value is not None and fits(name, value)}
    contact = Contact(
        email=(record.email or "").strip(),
        key=key,
        status=status,
        first_name=record.first_name or None,
        phone=record.phone or None,
        values=values,
    )
    return Decision(
        record=record,
        outcome=Outcome.CREATED,
        key=key,
        contact=contact,
        lists={name: lowest(account.suppressed.get((key, name), wanted), status) for name in into.lists},
        tags=set(into.tags),
        applied=record,
        protected=status in LOW and wanted not in LOW,
    )


def update(
    account: Account,
    into: Import,
    record: Record,
    entry: Entry | None,
    key: str,
    contact: Contact,
    before: Record | None,
    room: int,
) -> Decision:
    """R6, R8, R9, R13: what is new at the source, value by value."""
    moves = before is not None and address_changed(record, before) and contact.key != key
    if moves and key in account.tombstones:
        # Nobody comes back under an address that a user deleted here, not by changing to it either.
        return not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.DELETED_HERE)
    columns: dict[str, Any] = new_names_and_phone(into, record, contact, before)
    if moves:
        columns |= {"email": (record.email or "").strip(), "key": key}
    status = ratchet(contact.status, record.consent, before, account.suppressed.get((key, None)) if moves else None)
    held_back = status is ACTIVE and contact.status is not ACTIVE and room < 1
    if status is not contact.status and not held_back:
        columns["status"] = status
    decision = Decision(
        record=record,
        outcome=Outcome.UNCHANGED,
        # R11: a confirmation that has no room waits too; the contact is otherwise updated.
        code=OutcomeCode.CONTACT_LIMIT if held_back else None,
        key=key,
        contact=contact,
        columns=columns,
        values=new_values(record, contact, before),
        applied=replace_consent(record, before) if held_back else record,
        protected=columns.get("status", contact.status) in LOW and status_of(record.consent) not in LOW,
    )
    if entry is None or entry.contact is not contact:  # R13: lists and tags at the first link, never again
        now = columns.get("status", contact.status)
        decision.lists = {
            name: lowest(account.suppressed.get((key, name), status_of(record.consent)), now)
            for name in into.lists
            if name not in contact.lists
        }
        decision.tags = set(into.tags) - contact.tags
    decision.outcome = Outcome.UPDATED if decision.cost else Outcome.UNCHANGED
    return decision


def new_names_and_phone(into: Import, record: Record, contact: Contact, before: Record | None) -> dict[str, Any]:
    """R8: what changed at the source since this import last saw it, under its policies; null never clears them."""
    new: dict[str, Any] = {}
    for name, policy in (("first_name", into.names), ("phone", into.phones)):
        value, current = getattr(record, name), getattr(contact, name)
        changed = value and (before is None or getattr(before, name) != value)
        if changed and value != current and (policy is OverwritePolicy.ALWAYS or not current):
            new[name] = value
    return new


def new_values(record: Record, contact: Contact, before: Record | None) -> dict[str, Any]:
    """R7, R8: what changed at the source; null clears what the source had, and nothing else."""
    new: dict[str, Any] = {}
    for name, value in record.values.items():
        had = before.values.get(name) if before else None
        if value == had or (value is not None and not fits(name, value)):
            continue
        if contact.values.get(name) != value:
            new[name] = value
    return new


def fits(name: str, value: Any) -> bool:
    """R7: whether a value fits its field's type; one that does not is left out, and makes no twin field."""
    return name != "total" or not isinstance(value, str)


def status_of(consent: SourceConsent) -> ContactStatus:
    """R9: what a source's word asks for."""
    match consent:
        case SourceConsent.GRANTED | SourceConsent.NOT_TRACKED:
            return ACTIVE
        case SourceConsent.PENDING | SourceConsent.NONE:
            return UNCONFIRMED
        case SourceConsent.DENIED:
            return UNSUBSCRIBED


def ratchet(
    status: ContactStatus, consent: SourceConsent, before: Record | None, suppressed: ContactStatus | None
) -> ContactStatus:
    """R9: no import raises UNSUBSCRIBED or BOUNCED. A source's word acts when it is first seen or newly changed.

    `suppressed` is what the address carries that the contact is moving to.
    """
    if status in LOW:
        return status
    if suppressed is not None:
        return suppressed
    if before is not None and consent is before.consent:
        return status
    if consent is SourceConsent.DENIED:
        return UNSUBSCRIBED
    if consent is SourceConsent.GRANTED and status is UNCONFIRMED and before is not None:
        return ACTIVE
    return status


def lowest(*statuses: ContactStatus) -> ContactStatus:
    """R9: a subscription is never more than its contact."""
    return min(statuses, key=[BOUNCED, UNSUBSCRIBED, UNCONFIRMED, ACTIVE].index)


def replace_consent(record: Record, before: Record | None) -> Record:
    """The record with the consent that was acted on: a word that had no room still counts as new."""
    assert before is not None
    return Record(**{name: getattr(record, name) for name in Record.__slots__} | {"consent": before.consent})


def write(account: Account, into: Import, decision: Decision) -> None:
    """Make a decision true: contact, consent and ledger."""
    record, contact = decision.record, decision.contact
    if decision.outcome in (Outcome.CREATED, Outcome.UPDATED):
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


def keep_subscriptions(account: Account, into: Import, contact: Contact, decision: Decision) -> None:
    """R9: what an address declined list by list counts for whoever moves to it; a confirmation counts for the import's
    lists too.
    """
    if contact.status is UNCONFIRMED and decision.columns.get("status") is ACTIVE:
        confirmed = {name for name in into.lists if contact.lists.get(name) is UNCONFIRMED}
        contact.lists |= dict.fromkeys(confirmed, ACTIVE)
    if "key" in decision.columns:
        for name, status in contact.lists.items():
            if status not in LOW:
                contact.lists[name] = account.suppressed.get((decision.columns["key"], name), status)


def call_waiting(account: Account, key: str) -> None:
    """R11: whoever waits under an address that now has a contact is that contact at once, without room."""
    for each in account.imports.values():
        for entry in each.ledger.values():
            if entry.key == key and entry.state is LedgerState.WAITING:
                entry.due = account.draining_is_asked_for = True


def tell_deleted(account: Account, into: Import, external_ids: Sequence[str]) -> int:
    """R16: deleted at the source: recorded, and the import's policy acts on the contact that the record is.

    R11: a place in the waiting room is given up. Returns how many were known.
    """
    known = [into.ledger[each] for each in external_ids if each in into.ledger]
    known = [entry for entry in known if entry.state is not LedgerState.DELETED]
    let_go = {entry.key for entry in known if entry.state is LedgerState.LINKED or entry.due}
    for entry in known:
        if entry.state is LedgerState.LINKED and entry.contact in account.contacts:
            assert entry.contact is not None
            if into.deletions is DeletionPolicy.TAG:
                assert into.deletion_tag is not None
                entry.contact.tags.add(into.deletion_tag)
            if into.deletions is DeletionPolicy.UNSUBSCRIBE and entry.contact.status not in LOW:
                entry.contact.status = account.suppressed[entry.contact.key, None] = UNSUBSCRIBED
        entry.state, entry.code, entry.due = LedgerState.DELETED, None, False
    succeed(into, let_go)
    return len(known)


def succeed(into: Import, let_go: set[str | None]) -> None:
    """R6: an address that nobody holds any more goes to the next in order, from its ledger row."""
    for key in let_go - {None}:
        assert key is not None
        line = [e for e in into.ledger.values() if e.code is OutcomeCode.DUPLICATE_EMAIL and e.key == key]
        if line and into.holder(key) is None:
            min(line, key=lambda entry: entry.place).due = True


def give_new_targets(account: Account, into: Import) -> None:
    """R13: lists and tags that were added to an import go to all its contacts, through R9, and cost nothing."""
    for new in into.new_targets:
        for external_id in new.external_ids & into.ledger.keys():
            entry = into.ledger[external_id]
            if into.deleted or entry.state is not LedgerState.LINKED or entry.contact is None or entry.seen is None:
                continue
            contact = entry.contact
            for name in new.lists & {*into.lists} - contact.lists.keys():
                word = account.suppressed.get((contact.key, name), status_of(entry.seen.consent))
                everywhere = account.suppressed.get((contact.key, None), contact.status)
                contact.lists[name] = lowest(word, contact.status, everywhere)
            contact.tags |= new.tags & {*into.tags}
    into.new_targets = []
