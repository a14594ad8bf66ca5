"""What a record changes about its contact: value by value, under the import's policies (R8). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain import consent
from domain.emails import Email
from domain.enums import ContactStatus, OutcomeNote, OverwritePolicy
from domain.fields import MISMATCH, KnownField, coerce, first_seen
from domain.ingest.items import Item
from domain.ingest.known import LIST, TAG, Draft, Entry, Known


@dataclass(slots=True, kw_only=True, eq=False)
class Change:
    """What a contact gets: columns and field values to set, targets to add, and the values before. Never changed."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    lists: Sequence[tuple[UUID, ContactStatus]] = ()
    tags: Sequence[UUID] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[OutcomeNote] = ()

    def __bool__(self) -> bool:
        return bool(self.columns or self.values or self.lists or self.tags)

    @property
    def after(self) -> dict[str, Any]:
        """The values as written, in the form of `before`, and the lists and tags that were added."""
        after = dict(self.columns)
        if self.values:
            after["field_values"] = self.values
        if self.lists:
            after["lists"] = [list_id for list_id, _ in self.lists]
        if self.tags:
            after["tags"] = list(self.tags)
        return after


NO_CHANGE = Change()


def column_changes(item: Item, contact: Draft, base: Entry | None, known: Known) -> dict[str, Any]:
    """Names and phone that changed at the source, under the import's policies (R8). Null never clears them."""
    rules = known.rules
    policies = {"first_name": rules.name_policy, "last_name": rules.name_policy, "phone": rules.phone_policy}
    changes: dict[str, Any] = {}
    for name, policy in policies.items():
        value, current = item.snapshot[name], getattr(contact, name)
        if not value or value == current or (base is not None and base.applied.get(name) == value):
            continue
        if policy is OverwritePolicy.ALWAYS or not current:
            changes[name] = value
    return changes


def value_changes(
    item: Item, contact: Draft | None, base: Entry | None, known: Known
) -> tuple[dict[str, Any], dict[str, Any], list[OutcomeNote]]:
    """Field values that changed at the source, by field id; the values before; what could not be written."""
    changes: dict[str, Any] = {}
    before: dict[str, Any] = {}
    notes: dict[OutcomeNote, None] = {}
    applied = base.applied["values"] if base else {}
    fields, current = known.fields, contact.field_values if contact is not None else {}
    for key, value in item.snapshot["values"].items():
        known_field = fields.get(key)
        if known_field is None or not known_field.active:
            if value not in (None, "", []) and _is_over_limit(known_field, key, item, known):
                notes[OutcomeNote.FIELD_LIMIT] = None
            continue
        # A value that had no field when it was last seen is new.
        seen = base is not None and known_field.activated_at is not None and known_field.activated_at <= base.updated_at
        if seen and key in applied and applied[key] == value:
            continue
        stored = coerce(value, known_field.type)
        if stored is MISMATCH:
            notes[OutcomeNote.FIELD_TYPE] = None
            continue
        # An empty value clears only what this import saw filled.
        if stored is None and not (seen and key in applied):
            continue
        field_id = known_field.key
        had = current.get(field_id)
        if stored != had:
            changes[field_id] = stored
            before[field_id] = had
    return changes, before, list(notes)


def _is_over_limit(known_field: KnownField | None, key: str, item: Item, known: Known) -> bool:
    """Whether a value has no field because there are too many, not because its key is private, new or deleted."""
    if known_field is None:
        return not key.startswith("_")
    return known_field.first_seen_in not in (None, first_seen(known.rules.external_account_id, item.external_id))


def target_changes(
    item: Item, email: Email, contact_id: UUID, status: ContactStatus, known: Known
) -> tuple[list[tuple[UUID, ContactStatus]], list[UUID]]:
    """The import's lists and tags that the contact lacks, at its first link (R13)."""
    if not known.rules.list_ids and not known.rules.tag_ids:
        return [], []
    lists = []
    for list_id in known.rules.list_ids:
        if (contact_id, LIST, list_id) not in known.targets:
            word = item.snapshot["consent"]
            decided = consent.status_of_new(word, suppressed=known.suppressed.get((email.key, list_id)))
            lists.append((list_id, consent.lower(decided.status, status)))
    tags = [tag_id for tag_id in known.rules.tag_ids if (contact_id, TAG, tag_id) not in known.targets]
    return lists, tags
