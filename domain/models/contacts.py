"""Contacts and what hangs on them; no rules."""

from tortoise import fields
from tortoise.models import Model

from domain.enums import ContactStatus
from domain.models.keys import new_id
from domain.records import FieldType


class Contact(Model):
    """Key (account_id, id). `field_values` is keyed by field id; `edited_at`: last change by a user or the API."""

    id = new_id()
    account_id = fields.UUIDField()
    email = fields.TextField()
    email_key = fields.TextField()
    first_name = fields.TextField(null=True)
    last_name = fields.TextField(null=True)
    phone = fields.TextField(null=True)
    status = fields.CharEnumField(ContactStatus, max_length=16)
    field_values = fields.JSONField[dict[str, object]](default=dict)
    created_by_run_id = fields.UUIDField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)
    edited_at = fields.DatetimeField(null=True)

    class Meta:
        table = "contact"


class Suppression(Model):
    """What outlives a contact: unique (account_id, email_hash, list_id), list_id null meaning all mail (R9)."""

    id = new_id()
    account_id = fields.UUIDField()
    email_hash = fields.BinaryField()
    list_id = fields.UUIDField(null=True)
    status = fields.CharEnumField(ContactStatus, max_length=16)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "suppression"


class Tombstone(Model):
    """A contact that a user deleted here: unique (account_id, email_hash) (R13)."""

    id = new_id()
    account_id = fields.UUIDField()
    email_hash = fields.BinaryField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "tombstone"


class CustomField(Model):
    """A custom field of contacts (R7).

    Without a tag it is only a candidate: an open-ended key seen in one record, `first_seen_in` its external id.
    """

    id = new_id()
    account_id = fields.UUIDField()
    service = fields.CharField(max_length=64)
    source_key = fields.TextField()
    title = fields.TextField()
    type = fields.CharEnumField(FieldType, max_length=16)
    personalization_tag = fields.CharField(max_length=100, null=True)
    options = fields.JSONField[list[str]](default=list)
    open_ended = fields.BooleanField(default=False)
    first_seen_in = fields.TextField(null=True)
    sortable = fields.BooleanField(default=False)
    created_at = fields.DatetimeField(auto_now_add=True)
    activated_at = fields.DatetimeField(null=True)
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        table = "field"


class ContactFieldValue(Model):
    """Key (account_id, contact_id, field_id): a sortable field's value, typed."""

    contact_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    field_id = fields.UUIDField()
    text_value = fields.TextField(null=True)
    number_value = fields.DecimalField(max_digits=38, decimal_places=10, null=True)
    time_value = fields.DatetimeField(null=True)

    class Meta:
        table = "contact_field_value"


class ContactList(Model):
    """A list that contacts subscribe to. One that is deleted stays as a row: nothing is to refer to nothing."""

    id = new_id()
    account_id = fields.UUIDField()
    name = fields.TextField()
    created_at = fields.DatetimeField(auto_now_add=True)
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        table = "contact_list"


class Subscription(Model):
    """Key (account_id, contact_id, list_id). Leaving a list is a status, never a deleted row (R9)."""

    contact_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    list_id = fields.UUIDField()
    status = fields.CharEnumField(ContactStatus, max_length=16)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "subscription"


class Tag(Model):
    """A label of contacts. One that is deleted stays as a row."""

    id = new_id()
    account_id = fields.UUIDField()
    name = fields.TextField()
    created_at = fields.DatetimeField(auto_now_add=True)
    deleted_at = fields.DatetimeField(null=True)

    class Meta:
        table = "tag"


class ContactTag(Model):
    """Key (account_id, contact_id, tag_id)."""

    contact_id = fields.UUIDField(primary_key=True)
    account_id = fields.UUIDField()
    tag_id = fields.UUIDField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "contact_tag"
