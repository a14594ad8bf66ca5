"""Decide what a user's wishes make of contacts (R9, R11). Pure: what is known comes in, changes come out.

Consent is only ever lowered here: `subscriptions.set_status` is the one way up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from domain import consent
from domain.contacts.given import Wish
from domain.contacts.reading import Contact
from domain.effects import ContactChange
from domain.enums import ContactStatus
from domain.suppressions import Suppressed


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What wishes are decided by; subscriptions and tags by contact."""

    by_key: Mapping[str, Contact] = field(default_factory=dict)
    suppressed: Suppressed = field(default_factory=dict)
    subscriptions: Mapping[UUID, Mapping[UUID, ContactStatus]] = field(default_factory=dict)
    tags: Mapping[UUID, frozenset[UUID]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a wish makes of a contact; `before` is None where it is new.

    `lists` are subscriptions to write, `subscriptions` all that there were. `protected`: the ratchet held a wish back.
    """

    before: Contact | None
    after: Contact
    lists: Mapping[UUID, ContactStatus]
    tags: Sequence[UUID]
    subscriptions: Mapping[UUID, ContactStatus] = field(default_factory=dict)
    protected: bool = False

    def __bool__(self) -> bool:
        return self.before != self.after or bool(self.lists or self.tags)

    @property
    def new_address(self) -> str | None:
        """The email key that the contact gets by this change."""
        return self.after.email_key if self.before is None or self.before.email_key != self.after.email_key else None

    @property
    def active_delta(self) -> int:
        """By how much it changes the number of ACTIVE contacts."""
        return int(self.after.status is ContactStatus.ACTIVE) - int(
            self.before is not None and self.before.status is ContactStatus.ACTIVE
        )

    @property
    def effect(self) -> ContactChange:
        """What is announced of it."""
        before = mailed(self.before, self.subscriptions)
        after = mailed(self.after, {**self.subscriptions, **self.lists})
        return ContactChange(written=bool(self), joined=len(after - before), left=len(before - after))


def mailed(contact: Contact | None, subscriptions: Mapping[UUID, ContactStatus]) -> set[UUID]:
    """The lists through which the contact is mailed."""
    if contact is None or contact.status is not ContactStatus.ACTIVE:
        return set()
    return {list_id for list_id, status in subscriptions.items() if status is ContactStatus.ACTIVE}


def plan(wishes: Sequence[Wish], known: Known, *, room: int) -> list[Change | None]:
    """What becomes of each wish for the contact with its address, each seeing what the ones before it did.

    None for a new contact that there is no `room` for.
    """
    by_key = dict(known.by_key)
    subscriptions, tags = dict(known.subscriptions), dict(known.tags)
    changes: list[Change | None] = []
    for wish in wishes:
        now = replace(known, by_key=by_key, subscriptions=subscriptions, tags=tags)
        contact = by_key.get(wish.email.key) if wish.email else None
        change = edited(contact, wish, now) if contact else created(wish, known)
        if change.active_delta > 0 and room < change.active_delta:
            changes.append(None)
            continue
        room -= change.active_delta
        by_key[change.after.email_key] = change.after
        subscriptions[change.after.id] = {**change.subscriptions, **change.lists}
        tags[change.after.id] = tags.get(change.after.id, frozenset()) | {*change.tags}
        changes.append(change)
    return changes


def created(wish: Wish, known: Known) -> Change:
    """The contact that a wish for an unknown address makes. Every creation reads what the address is suppressed for."""
    if wish.email is None:
        raise ValueError("A contact is made of an address.")
    wanted = wish.status or ContactStatus.ACTIVE
    status = consent.lower(wanted, known.suppressed.get((wish.email.key, None)))
    now = datetime.now(UTC)
    contact = Contact(
        id=uuid7(),
        email=wish.email.address,
        email_key=wish.email.key,
        first_name=wish.columns.get("first_name"),
        last_name=wish.columns.get("last_name"),
        phone=wish.columns.get("phone"),
        status=status,
        field_values={key: value for key, value in wish.values.items() if value is not None},
        created_at=now,
        updated_at=now,
    )
    return Change(
        before=None,
        after=contact,
        lists=_new_subscriptions(contact, wish, known, {}),
        tags=wish.tag_ids,
        protected=consent.is_lower(status, wanted),
    )


def edited(contact: Contact, wish: Wish, known: Known) -> Change:
    """What a wish makes of a known contact. The suppressions of an address that it moves to count for it."""
    email = wish.email
    moved = email is not None and email.key != contact.email_key
    key = email.key if email else contact.email_key
    status = consent.lower(contact.status, wish.status, known.suppressed.get((key, None)) if moved else None)
    values = {**contact.field_values, **wish.values}
    after = replace(
        contact,
        **wish.columns,
        email=email.address if email else contact.email,
        email_key=key,
        status=status,
        field_values={field_id: value for field_id, value in values.items() if value is not None},
    )
    present = known.subscriptions.get(contact.id, {})
    lists = _new_subscriptions(after, wish, known, present)
    if moved:
        lists |= consent.lowered(present, key, known.suppressed)
    return Change(
        before=contact,
        after=after,
        lists=lists,
        tags=[tag_id for tag_id in wish.tag_ids if tag_id not in known.tags.get(contact.id, ())],
        subscriptions=present,
        protected=wish.status is not None and consent.is_lower(status, wish.status),
    )


def _new_subscriptions(
    contact: Contact, wish: Wish, known: Known, present: Mapping[UUID, ContactStatus]
) -> dict[UUID, ContactStatus]:
    """The lists that the contact lacks. What it left stays left."""
    return {
        list_id: consent.lower(contact.status, known.suppressed.get((contact.email_key, list_id)))
        for list_id in wish.list_ids
        if list_id not in present
    }
