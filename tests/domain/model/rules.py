"""What becomes of a record: product.md's rules in plain Python, one function a rule, records one by one.

Where product.md is silent, a comment says what is taken for granted.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from domain.enums import ContactStatus, LedgerState, Outcome, OutcomeCode, OverwritePolicy
from domain.records import Record, SourceConsent
from tests.domain.model.account import Account, Contact, Entry, Import
from tests.domain.model.consent import ACTIVE, LOW, lowest, ratchet, replace_consent, status_of

POISON = "\0"
"""A value with this in it is one that the database refuses."""


@dataclass(kw_only=True)
class Decision:
    """What becomes of a record; the changes are not made yet. `news`: something to store, not only to count.

    `opts_out` is whom a record opts out that is no more than that; `gone` the address of somebody deleted here,
    `silenced` what is kept silent when it is made true. `is_known`: of a record that has its contact; `is_accident`:
    that would lose something of it.
    """

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
    opts_out: Contact | None = None
    gone: str | None = None
    silenced: Counter[str] = field(default_factory=Counter)
    news: bool = True
    is_known: bool = False
    is_accident: bool = False

    @property
    def cost(self) -> int:
        """R4: creations, updates, first links that add a list or tag cost one; all else is free."""
        changed = self.columns or self.values or self.lists or self.tags or self.opts_out
        return int(self.outcome is Outcome.CREATED or bool(changed))


def decide(account: Account, into: Import, record: Record, *, again: bool = False, draining: bool = False) -> Decision:
    """What becomes of `record`. `again`: it comes from its ledger row, and is looked at though it is not new.

    `draining`: it comes from the head of the waiting room, for which the room is.
    """
    entry = into.ledger.get(record.external_id)
    if entry and not again and entry.seen == record and entry.state is not LedgerState.DELETED:
        return repeated(record, entry)
    is_refused = POISON in (record.first_name or "")
    key = key_of(record.email) if record.email and "@" in record.email and not is_refused else None
    if stays_deleted(account, into, record, key):
        return deleted_here(record, entry, key)
    if is_refused:
        return not_applied(record, entry, Outcome.FAILED, OutcomeCode.REJECTED_VALUE)  # R15
    if not (record.email or "").strip():
        return not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.NO_EMAIL)  # R5
    if key is None:
        return not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.INVALID_EMAIL)  # R5
    if into.holder(key) not in (None, entry):
        return duplicate(account, record, entry, key)
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


def stays_deleted(account: Account, into: Import, record: Record, key: str | None) -> bool:
    """R13: whom a user deleted here does not come back under another address either.

    R6: nor by another import of the external account, in which the record is the same. Silent: unless a user wants the
    record tried again, or made a contact of that address; or it has its contact still, and only its address is that of
    somebody who was deleted here.
    """
    own = into.ledger.get(record.external_id)
    rows = [own, *siblings(account, into, record)]
    if any(row and row.contact in account.contacts for row in rows):
        return False
    told = [own] if own and own.code is OutcomeCode.DELETED_HERE else rows[1:]
    is_gone = any(row and row.code is OutcomeCode.DELETED_HERE and row.seen for row in told)
    return is_gone and (key is None or account.contact_of(key) is None)


def siblings(account: Account, into: Import, record: Record) -> list[Entry]:
    """The rows of the record in other imports of the external account, as far as they tell who it is."""
    others = [each.ledger for each in account.imports_of(into.external_account) if each is not into]
    rows = [ledger[record.external_id] for ledger in others if record.external_id in ledger]
    return [
        row
        for row in rows
        if row.state is LedgerState.LINKED or (row.code is OutcomeCode.DELETED_HERE and not row.contact)
    ]


def deleted_here(record: Record, entry: Entry | None, key: str | None) -> Decision:
    """R13: it is of somebody whom a user deleted here."""
    decision = not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.DELETED_HERE)
    decision.gone = key
    return decision


def duplicate(account: Account, record: Record, entry: Entry | None, key: str) -> Decision:
    """R6: another record holds the address. R9: an opt-out is heard all the same, since it belongs to the address."""
    decision = not_applied(record, entry, Outcome.SKIPPED, OutcomeCode.DUPLICATE_EMAIL, key)
    contact = account.contact_of(key)
    if contact and contact.status not in LOW and record.consent is SourceConsent.DENIED:
        decision.opts_out = contact
    return decision


def identify(account: Account, into: Import, record: Record, key: str) -> tuple[Contact | None, Record | None]:
    """R6: the contact that a record is, and the record as it was last written to it, if it was.

    By external id within the external account first, then by address within the account. A record whose address
    changed goes to the contact that has the new address, if another one has.
    """
    by_key = account.contact_of(key)
    own = into.ledger.get(record.external_id)
    linked = [row for row in siblings(account, into, record) if row.state is LedgerState.LINKED]
    # Silent: which of several imports is asked that know the record. The one that was made last.
    for entry in [own, *linked[-1:]]:
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
        return deleted_here(record, entry, key)
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
        return deleted_here(record, entry, key)
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
