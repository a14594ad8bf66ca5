"""A contact as an external service knows it. Pure: no ORM, no I/O, the one module that connectors share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum


class FieldType(StrEnum):
    """What a custom field of contacts can hold."""

    TEXT = "TEXT"
    TEXTAREA = "TEXTAREA"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    DATETIME = "DATETIME"
    DROPDOWN = "DROPDOWN"
    MULTISELECT = "MULTISELECT"
    URL = "URL"

    # That of an enum is written in Python, and a field's type is looked up for every value.
    __hash__ = str.__hash__


FieldValue = str | int | float | bool | date | datetime | tuple[str, ...] | None
"""A value as a connector read it. `None` means read and found empty, which clears the field (R8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """How a service names one of its fields.

    `key` is the service's own identifier and never changes; `title` is what its users read. `open_ended` marks
    keys that anyone can invent (free meta data): such a key becomes a field from the second record on (R7).
    """

    key: str
    title: str
    type: FieldType
    options: tuple[str, ...] = ()
    open_ended: bool = False


class SourceConsent(StrEnum):
    """What a service says about a person's consent to marketing e-mail."""

    GRANTED = "GRANTED"
    PENDING = "PENDING"
    NONE = "NONE"
    DENIED = "DENIED"
    NOT_TRACKED = "NOT_TRACKED"
    """The service has no such notion (an address book)."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One contact at the service. Names, phone and email are never cleared by `None` (R8).

    `values` is keyed by `FieldSpec.key`. A key that was not read is absent.
    """

    external_id: str
    email: str | None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    consent: SourceConsent = SourceConsent.NOT_TRACKED
    values: Mapping[str, FieldValue] = field(default_factory=dict)
