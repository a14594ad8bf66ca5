"""Decide what becomes of each outcome that is undone (R20). Pure: what is known comes in, decisions come out.

Outcomes are decided newest first, each seeing what the ones before it did: a chain of values goes back link by link.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain import consent
from domain.consent import LOW
from domain.enums import ContactStatus, Outcome, UndoCode, UndoneValueKind, UndoResult
from domain.undo.known import Known, Present, StoredOutcome

COLUMNS = {
    "first_name": UndoneValueKind.FIRST_NAME,
    "last_name": UndoneValueKind.LAST_NAME,
    "phone": UndoneValueKind.PHONE,
}
REFUSALS = (UndoCode.EMAIL_TAKEN, UndoCode.DELETED_HERE, UndoCode.CONSENT)
"""Why a value may not come back; the other codes say why it is better kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One value that the run wrote: `id` names its field, list or tag, `code` why it stays, None if it came back."""

    kind: UndoneValueKind
    id: UUID | None = None
    code: UndoCode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What undoing one outcome comes to."""

    outcome: StoredOutcome
    result: UndoResult
    code: UndoCode | None = None
    details: Sequence[Detail] = ()


@dataclass(slots=True, kw_only=True)
class Plan:
    """What undoing a slice of outcomes comes to; `moved` are contacts with their address back, in the order decided.

    `consents` are the opt-outs of addresses that change hands, by address and list; `lowered` is what becomes of
    subscriptions, by contact and list.
    """

    undone: list[Undone] = field(default_factory=list)
    removed: dict[UUID, Present] = field(default_factory=dict)
    changed: dict[UUID, Present] = field(default_factory=dict)
    moved: list[tuple[UUID, str, str]] = field(default_factory=list)
    left_lists: list[tuple[UUID, UUID]] = field(default_factory=list)
    left_tags: list[tuple[UUID, UUID]] = field(default_factory=list)
    consents: dict[tuple[str, UUID | None], ContactStatus] = field(default_factory=dict)
    lowered: dict[tuple[UUID, UUID], ContactStatus] = field(default_factory=dict)
    active_delta: int = 0


def may_change_active(outcomes: Iterable[StoredOutcome]) -> bool:
    """Whether undoing these may change the number of ACTIVE contacts."""
    return any(
        each.outcome is Outcome.CREATED or (each.before and each.before.keys() & {"status", "email_key"})
        for each in outcomes
    )


def plan(outcomes: Sequence[StoredOutcome], known: Known) -> Plan:
    """The decisions for `outcomes`, newest first; `known` is kept current."""
    result = Plan()
    active = _count_active(known)
    for outcome in outcomes:
        match outcome.outcome:
            case Outcome.CREATED:
                undone = _undo_created(outcome, known, result)
            case Outcome.UPDATED:
                undone = _undo_updated(outcome, known, result)
            case _:
                undone = Undone(outcome=outcome, result=UndoResult.NOTHING)
        result.undone.append(undone)
    result.active_delta = _count_active(known) - active
    return result


def _count_active(known: Known) -> int:
    return sum(contact.status is ContactStatus.ACTIVE for contact in known.contacts.values())


def _undo_created(outcome: StoredOutcome, known: Known, result: Plan) -> Undone:
    contact = known.contacts.get(outcome.contact_id) if outcome.contact_id else None
    if contact is None:
        return Undone(outcome=outcome, result=UndoResult.NOTHING, code=UndoCode.GONE)
    code = known.held.get(contact.id)
    if contact.edited_at is not None:
        code = UndoCode.TOUCHED
    elif code is None and outcome.external_id in known.rewritten:
        code = UndoCode.LATER_RUN
    if code is not None:
        return Undone(outcome=outcome, result=UndoResult.KEPT, code=code)
    del known.contacts[contact.id], known.by_key[contact.email_key]
    result.changed.pop(contact.id, None)
    result.removed[contact.id] = contact
    return Undone(outcome=outcome, result=UndoResult.REMOVED)


def _undo_updated(outcome: StoredOutcome, known: Known, result: Plan) -> Undone:
    contact = known.contacts.get(outcome.contact_id) if outcome.contact_id else None
    if contact is None:
        return Undone(outcome=outcome, result=UndoResult.NOTHING, code=UndoCode.GONE)
    if outcome.after is None:
        return Undone(outcome=outcome, result=UndoResult.KEPT, code=UndoCode.UNDO_EXPIRED)
    details = [
        *_restore_columns(outcome, contact),
        *_restore_values(outcome, contact),
        *_restore_status(outcome, contact, known, result),
        *_restore_email(outcome, contact, known, result),
        *_leave_lists(outcome, contact, known, result),
        *_leave_tags(outcome, contact, known, result),
    ]
    if any(detail.code is None for detail in details):
        result.changed[contact.id] = contact
    kind, code = _summary(details)
    return Undone(outcome=outcome, result=kind, code=code, details=details)


def _summary(details: Sequence[Detail]) -> tuple[UndoResult, UndoCode | None]:
    """One word for all values, and the gravest reason why some stay."""
    codes = [detail.code for detail in details if detail.code is not None]
    if not codes:
        return UndoResult.RESTORED, None
    code = next((refusal for refusal in REFUSALS if refusal in codes), codes[0])
    if len(codes) < len(details):
        return UndoResult.PARTLY_RESTORED, code
    return (UndoResult.REFUSED if code in REFUSALS else UndoResult.KEPT), code


def _restore_columns(outcome: StoredOutcome, contact: Present) -> Iterable[Detail]:
    before, after = outcome.before or {}, outcome.after or {}
    for name, kind in COLUMNS.items():
        if name not in before:
            continue
        unchanged = getattr(contact, name) == after.get(name)
        if unchanged:
            setattr(contact, name, before[name])
        yield Detail(kind=kind, code=None if unchanged else UndoCode.CHANGED_SINCE)


def _restore_values(outcome: StoredOutcome, contact: Present) -> Iterable[Detail]:
    after: dict[str, Any] = (outcome.after or {}).get("field_values", {})
    for field_id, value in (outcome.before or {}).get("field_values", {}).items():
        unchanged = contact.field_values.get(field_id) == after.get(field_id)
        if unchanged and value is None:
            contact.field_values.pop(field_id, None)
        elif unchanged:
            contact.field_values[field_id] = value
        code = None if unchanged else UndoCode.CHANGED_SINCE
        yield Detail(kind=UndoneValueKind.FIELD, id=UUID(field_id), code=code)


def _restore_status(outcome: StoredOutcome, contact: Present, known: Known, result: Plan) -> Iterable[Detail]:
    """Back only where that lowers it: consent is never raised (R9). What was confirmed with it goes back with it."""
    before, after = outcome.before or {}, outcome.after or {}
    if "status" not in before:
        return
    wanted, code = ContactStatus(before["status"]), None
    if contact.status != after.get("status"):
        code = UndoCode.CHANGED_SINCE
    elif consent.is_lower(wanted, contact.status):
        contact.status = wanted
        if not _touched_since(outcome, contact):
            confirmed = {
                list_id: consent.lower(status, wanted)
                for list_id, status in known.subscriptions.get(contact.id, {}).items()
                if (contact.id, list_id) in known.confirmed
            }
            _lower_subscriptions(contact, confirmed, known, result)
    else:
        code = UndoCode.CONSENT
    yield Detail(kind=UndoneValueKind.STATUS, code=code)


def _restore_email(outcome: StoredOutcome, contact: Present, known: Known, result: Plan) -> Iterable[Detail]:
    before, after = outcome.before or {}, outcome.after or {}
    if "email_key" not in before:
        return
    key, code = before["email_key"], None
    if (contact.email, contact.email_key) != (after.get("email"), after.get("email_key")):
        code = UndoCode.CHANGED_SINCE
    elif known.by_key.get(key, contact) is not contact:
        code = UndoCode.EMAIL_TAKEN
    elif key in known.tombstones:
        code = UndoCode.DELETED_HERE
    else:
        _keep_consent(contact, known, result)
        del known.by_key[contact.email_key]
        known.by_key[key] = contact
        contact.email, contact.email_key = before["email"], key
        suppressed = {**known.suppressed, **result.consents}
        contact.status = consent.lower(contact.status, suppressed.get((key, None)))
        subscriptions = known.subscriptions.get(contact.id, {})
        _lower_subscriptions(contact, consent.lowered(subscriptions, key, suppressed), known, result)
        _keep_consent(contact, known, result)
        result.moved.append((contact.id, contact.email, key))
    yield Detail(kind=UndoneValueKind.EMAIL, code=code)


def _keep_consent(contact: Present, known: Known, result: Plan) -> None:
    """An opt-out belongs to the address, list by list too: it stays there when the contact leaves it (R9)."""
    for list_id, status in [(None, contact.status), *known.subscriptions.get(contact.id, {}).items()]:
        if status in LOW:
            declined = contact.email_key, list_id
            result.consents[declined] = consent.lower(status, result.consents.get(declined))


def _lower_subscriptions(contact: Present, statuses: Mapping[UUID, ContactStatus], known: Known, result: Plan) -> None:
    known.subscriptions.get(contact.id, {}).update(statuses)
    result.lowered |= {(contact.id, list_id): status for list_id, status in statuses.items()}


def _leave_lists(outcome: StoredOutcome, contact: Present, known: Known, result: Plan) -> Iterable[Detail]:
    for list_id in map(UUID, (outcome.after or {}).get("lists", ())):
        code = None
        status = known.subscriptions.get(contact.id, {}).get(list_id)
        if status is None:
            code = UndoCode.CHANGED_SINCE
        elif status in LOW:
            code = UndoCode.CONSENT
        elif _touched_since(outcome, contact):
            code = UndoCode.TOUCHED
        elif (contact.id, list_id) in known.given_elsewhere:
            code = UndoCode.HELD_ELSEWHERE
        else:
            del known.subscriptions[contact.id][list_id]
            result.left_lists.append((contact.id, list_id))
        yield Detail(kind=UndoneValueKind.LIST, id=list_id, code=code)


def _leave_tags(outcome: StoredOutcome, contact: Present, known: Known, result: Plan) -> Iterable[Detail]:
    for tag_id in map(UUID, (outcome.after or {}).get("tags", ())):
        code = None
        if (contact.id, tag_id) not in known.tags:
            code = UndoCode.CHANGED_SINCE
        elif _touched_since(outcome, contact):
            code = UndoCode.TOUCHED
        elif (contact.id, tag_id) in known.given_elsewhere:
            code = UndoCode.HELD_ELSEWHERE
        else:
            known.tags.remove((contact.id, tag_id))
            result.left_tags.append((contact.id, tag_id))
        yield Detail(kind=UndoneValueKind.TAG, id=tag_id, code=code)


def _touched_since(outcome: StoredOutcome, contact: Present) -> bool:
    return contact.edited_at is not None and contact.edited_at > outcome.created_at
