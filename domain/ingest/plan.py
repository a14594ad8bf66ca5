"""Decide what becomes of each record of a page (R4-R9, R11, R17). Pure: what is known comes in, decisions come out.

Records are decided in their order, each seeing what the ones before it did, so that a page gives the same result as
its records one by one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from domain import consent
from domain.database import new_id
from domain.emails import Email, parse_email
from domain.enums import ContactStatus, LedgerState, Outcome, OutcomeCode, OutcomeNote
from domain.ingest.changes import NO_CHANGE, Change, column_changes, target_changes, value_changes
from domain.ingest.decisions import ACTIVE, CREATED, KEEPS_ADDRESS, LINKED, OUTCOME_OF, Decision, Plan
from domain.ingest.items import Item
from domain.ingest.known import LIST, TAG, Draft, Entry, Known
from domain.records import SourceConsent


def is_repeated(item: Item, entry: Entry | None) -> bool:
    """Whether nothing about the record is new, so that it is only counted."""
    if entry is None or item.forced or entry.digest != item.digest:
        return False
    return entry.state is not LedgerState.DELETED


def plan(items: Sequence[Item], known: Known, *, allowance: int) -> Plan:
    """The decisions for as many of `items` as the cap's `allowance` reaches; `known` is kept current.

    The cut is before the first record that would cost more than is left: what follows is neither read nor counted.
    """
    result = Plan()
    for item in items:
        decision = decide(item, known)
        cost, active_delta = decision.cost, decision.active_delta
        if result.cost + cost > allowance:
            break
        result.cost += cost
        result.active_delta += active_delta
        if decision.code is not None and decision.code is OutcomeCode.CONTACT_LIMIT and not decision.repeated:
            result.held_back += 1
            result.lacks_room |= result.cost < allowance
        result.decisions.append(decision)
        if not decision.repeated:
            known.room -= active_delta if known.draining else active_delta + _joins_line(decision)
            _keep_current(decision, known, result.released)
    return result


def _joins_line(decision: Decision) -> int:
    """1 for a record that waits for room from now on: later ones come after it (R11); -1 for one that does no more."""
    waited = decision.entry is not None and decision.entry.code is OutcomeCode.CONTACT_LIMIT
    return int(decision.code is OutcomeCode.CONTACT_LIMIT) - int(waited)


def plan_rejected(item: Item, known: Known) -> Plan:
    """The plan for a record that the database refused: it is isolated, the rest of its page is stored (R15)."""
    decision = decide(replace(item, json="{}", rejected=True), known)
    result = Plan(decisions=[decision])
    _keep_current(decision, known, result.released)
    return result


def _keep_current(decision: Decision, known: Known, released: dict[str, str]) -> None:
    """Let the next record see what this one does."""
    _keep_addresses(decision, known, released)
    contact, change = decision.contact, decision.change
    if contact is None:
        return
    if decision.outcome is CREATED:
        known.contacts[contact.id] = known.by_key[contact.email_key] = contact
    elif change.columns or change.values:
        if "email_key" in change.columns:
            _move(contact, change.columns["email_key"], known)
        for name, value in change.columns.items():
            setattr(contact, name, value)
        contact.field_values |= change.values
    # As it is now: a later record of the page may change it again.
    decision.status = contact.status
    if change.lists or change.tags:
        known.targets |= {(contact.id, LIST, list_id) for list_id, _ in change.lists}
        known.targets |= {(contact.id, TAG, tag_id) for tag_id in change.tags}


def _keep_addresses(decision: Decision, known: Known, released: dict[str, str]) -> None:
    external_id = decision.item.external_id
    entry = known.entries.get(external_id)
    holds = decision.email_key if decision.state is LINKED else None
    if entry is not None and entry.email_key not in (None, holds) and (entry.state in KEEPS_ADDRESS or entry.due):
        if known.holders.get(entry.email_key) == external_id:
            del known.holders[entry.email_key]
        released[external_id] = entry.email_key
    if holds is not None:
        known.holders[holds] = external_id
    if decision.gone_key is not None:
        known.tombstones.add(decision.gone_key)


def _move(contact: Draft, email_key: str, known: Known) -> None:
    known.by_key.pop(contact.email_key, None)
    if contact.status in consent.LOW:
        # It stays with the address (R9), also for whoever comes to it in this page.
        known.suppressed[contact.email_key, None] = contact.status
    known.by_key[email_key] = contact


def decide(item: Item, known: Known) -> Decision:
    """What becomes of `item` as things stand."""
    entry = known.entries.get(item.external_id)
    if entry is not None and is_repeated(item, entry):
        return Decision(
            item=item, outcome=OUTCOME_OF[entry.state], contact_id=entry.contact_id, repeated=True, entry=entry
        )
    address = item.snapshot.get("email")
    email = parse_email(address) if address else None
    if _stays_deleted(entry, known.siblings.get(item.external_id), email, known):
        return _deleted_here(item, entry, email)
    if item.rejected:
        return _not_applied(item, entry, Outcome.FAILED, OutcomeCode.REJECTED_VALUE)
    if not address or not address.strip():
        return _not_applied(item, entry, Outcome.SKIPPED, OutcomeCode.NO_EMAIL)
    if email is None:
        return _not_applied(item, entry, Outcome.SKIPPED, OutcomeCode.INVALID_EMAIL)
    if known.holders.get(email.key, item.external_id) != item.external_id:
        return _duplicate(item, entry, email, known)
    contact, base = _identify(item, email, known)
    if contact is None:
        return _create(item, entry, email, known)
    return _update(item, entry, email, contact, base, known)


def _not_applied(
    item: Item, entry: Entry | None, outcome: Outcome, code: OutcomeCode, email: Email | None = None
) -> Decision:
    """A record that reaches no contact now. What it wrote to one before is remembered for when it does again."""
    return Decision(
        item=item,
        outcome=outcome,
        code=code,
        state=LedgerState(outcome.value),
        email_key=email.key if email else None,
        contact_id=entry.contact_id if entry else None,
        applied=entry.applied if entry and entry.contact_id else None,
        entry=entry,
    )


def _stays_deleted(entry: Entry | None, sibling: Entry | None, email: Email | None, known: Known) -> bool:
    """Whether the record is of somebody whom a user deleted here, whatever address it has by now (R6, R13).

    Another import of the external account tells that too, where this one does not know. Not where a user wants it
    tried again, which leaves no digest, or made a contact of that address; nor where it has its contact still, here or
    there, and only moved to an address that was deleted here.
    """
    told = entry if entry is not None and entry.code is OutcomeCode.DELETED_HERE else sibling
    if told is None or told.code is not OutcomeCode.DELETED_HERE or not told.digest or known.rules.unstable_ids:
        return False
    if any(row is not None and row.contact_id in known.contacts for row in (entry, sibling)):
        return False
    return email is None or email.key not in known.by_key


def _deleted_here(item: Item, entry: Entry | None, email: Email | None) -> Decision:
    """A record of somebody whom a user deleted here. Nothing of it is kept: they may have asked to be erased (R23)."""
    decision = _not_applied(replace(item, json="{}"), entry, Outcome.SKIPPED, OutcomeCode.DELETED_HERE)
    return replace(decision, gone_key=email.key if email else None)


def _duplicate(item: Item, entry: Entry | None, email: Email, known: Known) -> Decision:
    """A record whose address another one holds. Only an opt-out is heard: it belongs to the address (R9)."""
    decision = _not_applied(item, entry, Outcome.SKIPPED, OutcomeCode.DUPLICATE_EMAIL, email)
    contact = known.by_key.get(email.key)
    if contact is None or contact.status in consent.LOW or item.snapshot["consent"] != SourceConsent.DENIED:
        return decision
    change = Change(columns={"status": ContactStatus.UNSUBSCRIBED}, before={"status": contact.status})
    return replace(decision, contact=contact, change=change)


def _identify(item: Item, email: Email, known: Known) -> tuple[Draft | None, Entry | None]:
    """The contact that the record is (R6), and the ledger row that tells what was written to it before, if any."""
    by_key = known.by_key.get(email.key)
    for entry in (known.entries.get(item.external_id), known.siblings.get(item.external_id)):
        linked = known.contacts.get(entry.contact_id) if entry and entry.contact_id else None
        if linked is None:
            continue
        if linked is by_key:
            return linked, entry
        if known.rules.unstable_ids and (by_key is not None or _moved(entry, email)):
            continue
        if by_key is not None and _moved(entry, email):
            # Its address is now another contact's: it links to that one, to which it never wrote.
            return by_key, None
        return linked, entry
    return by_key, None


def _moved(entry: Entry | None, email: Email) -> bool:
    """Whether the record's address changed at the source since it was last seen."""
    before = parse_email(entry.applied.get("email") or "") if entry else None
    return before is None or before.key != email.key


def _create(item: Item, entry: Entry | None, email: Email, known: Known) -> Decision:
    if email.key in known.tombstones:
        return _deleted_here(item, entry, email)
    snapshot = item.snapshot
    decided = consent.status_of_new(snapshot["consent"], suppressed=known.suppressed.get((email.key, None)))
    if known.room < 1 and decided.status is ACTIVE:
        return _not_applied(item, entry, Outcome.WAITING, OutcomeCode.CONTACT_LIMIT, email)
    values, _, notes = value_changes(item, None, None, known)
    # By position: by keyword each costs twice as much, for every record of a first import.
    contact = Draft(
        new_id(),
        email.address,
        email.key,
        snapshot["first_name"] or None,
        snapshot["last_name"] or None,
        snapshot["phone"] or None,
        decided.status,
        values,
    )
    lists, tags = target_changes(item, email, contact.id, decided.status, known)
    if decided.protected:
        notes = [*notes, OutcomeNote.PROTECTED]
    change = Change(lists=lists, tags=tags, notes=notes) if lists or tags or notes else NO_CHANGE
    return Decision(item, CREATED, None, LINKED, email.key, contact.id, contact, change, entry=entry)


def _update(
    item: Item, entry: Entry | None, email: Email, contact: Draft, base: Entry | None, known: Known
) -> Decision:
    columns: dict[str, Any] = column_changes(item, contact, base, known)
    moved = base is not None and _moved(base, email) and contact.email_key != email.key
    if moved and email.key in known.tombstones:
        return _deleted_here(item, entry, email)
    if moved:
        columns |= {"email": email.address, "email_key": email.key}
    values, before, notes = value_changes(item, contact, base, known)
    word = SourceConsent(item.snapshot["consent"])
    decided = consent.status_of_known(
        contact.status,
        word,
        before=SourceConsent(base.applied["consent"]) if base else None,
        suppressed=known.suppressed.get((email.key, None)) if moved else None,
    )
    # A confirmation that the contact limit has no room for is held back; the rest is written.
    held_back = decided.status is ContactStatus.ACTIVE and contact.status is not ContactStatus.ACTIVE and known.room < 1
    if decided.status is not contact.status and not held_back:
        columns["status"] = decided.status
    lists: Sequence[tuple[UUID, ContactStatus]] = ()
    tags: Sequence[UUID] = ()
    if entry is None or entry.contact_id != contact.id:
        lists, tags = target_changes(item, email, contact.id, columns.get("status", contact.status), known)
    if decided.protected:
        notes = [*notes, OutcomeNote.PROTECTED]
    if held_back:
        notes = [*notes, OutcomeNote.CONTACT_LIMIT]
    change = Change(
        columns=columns,
        values=values,
        lists=lists,
        tags=tags,
        before={name: getattr(contact, name) for name in columns} | ({"field_values": before} if before else {}),
        notes=notes,
    )
    return Decision(
        item=item,
        outcome=Outcome.UPDATED if change else Outcome.UNCHANGED,
        code=OutcomeCode.CONTACT_LIMIT if held_back else None,
        email_key=email.key,
        contact_id=contact.id,
        contact=contact,
        change=change,
        # The source's word is not acted on yet: it still counts as new when there is room.
        applied={**item.snapshot, "consent": base.applied["consent"]} if held_back and base else None,
        entry=entry,
    )
