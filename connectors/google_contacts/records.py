"""A person of Google's People API as a record.

Every field of a person is a list without a guaranteed order, one item of which is primary: what is taken never depends
on the order.

https://developers.google.com/people/api/rest/v1/people#Person
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel, to_snake

from domain.records import FieldSpec, FieldType, FieldValue, Record

FIELDS = (
    FieldSpec(key="emailAddresses", title="Other email addresses", type=FieldType.TEXT),
    FieldSpec(key="phoneNumbers", title="Other phone numbers", type=FieldType.TEXT),
    FieldSpec(key="names.honorificPrefix", title="Name prefix", type=FieldType.TEXT),
    FieldSpec(key="names.middleName", title="Middle name", type=FieldType.TEXT),
    FieldSpec(key="names.honorificSuffix", title="Name suffix", type=FieldType.TEXT),
    FieldSpec(key="nicknames", title="Nickname", type=FieldType.TEXT),
    FieldSpec(key="organizations.name", title="Company", type=FieldType.TEXT),
    FieldSpec(key="organizations.title", title="Job title", type=FieldType.TEXT),
    FieldSpec(key="organizations.department", title="Department", type=FieldType.TEXT),
    FieldSpec(key="addresses.formattedValue", title="Address", type=FieldType.TEXTAREA),
    FieldSpec(key="addresses.streetAddress", title="Street address", type=FieldType.TEXT),
    FieldSpec(key="addresses.extendedAddress", title="Street address line 2", type=FieldType.TEXT),
    FieldSpec(key="addresses.poBox", title="PO box", type=FieldType.TEXT),
    FieldSpec(key="addresses.city", title="City", type=FieldType.TEXT),
    FieldSpec(key="addresses.region", title="State or province", type=FieldType.TEXT),
    FieldSpec(key="addresses.postalCode", title="Postal code", type=FieldType.TEXT),
    FieldSpec(key="addresses.country", title="Country", type=FieldType.TEXT),
    FieldSpec(key="addresses.countryCode", title="Country code", type=FieldType.TEXT),
    FieldSpec(key="birthdays", title="Birthday", type=FieldType.DATE),
    FieldSpec(key="birthdays.day", title="Birthday (month and day)", type=FieldType.TEXT),
    FieldSpec(key="events.anniversary", title="Anniversary", type=FieldType.DATE),
    FieldSpec(key="urls", title="Website", type=FieldType.URL),
    FieldSpec(key="biographies", title="Notes", type=FieldType.TEXTAREA),
)
"""Every person brings these; what they lack is an empty value. Many birthdays have no year: their day is a text."""

FIELDS_BY_KEY = {field.key: field for field in FIELDS}
CUSTOM = "userDefined."
PARTS = {
    name: {field.key: to_snake(field.key.partition(".")[2]) for field in FIELDS if field.key.startswith(f"{name}.")}
    for name in ("addresses", "names", "organizations")
}
"""Of the fields that come in parts, the attribute of each part by its key."""

# The name of a contact that is linked to no profile is its contact's id in decimal.
OWN_NAME = re.compile(r"people/c([0-9]{1,19})")
NO_VOICE = frozenset({"homeFax", "workFax", "otherFax", "pager", "workPager"})


class Answered(BaseModel):
    """A part of an answer. What is null is as good as absent."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, answer: Any) -> Any:
        return {key: value for key, value in answer.items() if value is not None} if type(answer) is dict else answer


class ItemMetadata(Answered):
    """What Google says of one item of a field: the primary one of the person, or of its source."""

    primary: bool = False
    source_primary: bool = False


class Item(Answered):
    """One item of a field: an address, a number, a text."""

    metadata: ItemMetadata = ItemMetadata()
    value: str = ""
    type: str = ""
    canonical_form: str = ""
    key: str = ""


class Name(Item):
    """A name, in parts or, where nobody cut it, as a whole."""

    given_name: str = ""
    middle_name: str = ""
    family_name: str = ""
    honorific_prefix: str = ""
    honorific_suffix: str = ""
    unstructured_name: str = ""
    display_name: str = ""


class Organization(Item):
    """A past or present employer."""

    name: str = ""
    title: str = ""
    department: str = ""
    current: bool = False


class Address(Item):
    """A postal address, in parts and as a whole."""

    formatted_value: str = ""
    street_address: str = ""
    extended_address: str = ""
    po_box: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""
    country_code: str = ""


class PartialDate(Answered):
    """A date of which any part may be unknown, which is 0."""

    year: int = 0
    month: int = 0
    day: int = 0


class Event(Item):
    """A birthday or another day."""

    date: PartialDate = PartialDate()


class GroupMembership(Answered):
    """The contact group that a person is in."""

    contact_group_resource_name: str = ""
    contact_group_id: str = ""


class Membership(Answered):
    """A membership, which may also be one of a Workspace domain."""

    contact_group_membership: GroupMembership | None = None


class Source(Answered):
    """Where a person's data come from: the user's contacts, or a profile."""

    type: str = ""
    id: str = ""


class PersonMetadata(Answered):
    """What Google says of a person as a whole."""

    sources: tuple[Source, ...] = ()
    deleted: bool = False
    previous_resource_names: tuple[str, ...] = ()


class Person(Answered):
    """A person, as far as it is asked for."""

    resource_name: str
    metadata: PersonMetadata = PersonMetadata()
    addresses: tuple[Address, ...] = ()
    biographies: tuple[Item, ...] = ()
    birthdays: tuple[Event, ...] = ()
    email_addresses: tuple[Item, ...] = ()
    events: tuple[Event, ...] = ()
    memberships: tuple[Membership, ...] = ()
    names: tuple[Name, ...] = ()
    nicknames: tuple[Item, ...] = ()
    organizations: tuple[Organization, ...] = ()
    phone_numbers: tuple[Item, ...] = ()
    urls: tuple[Item, ...] = ()
    user_defined: tuple[Item, ...] = ()

    @property
    def contact_id(self) -> str:
        """The id in the user's contacts, which stays when the resource name changes."""
        ids = sorted(source.id for source in self.metadata.sources if source.type == "CONTACT" and source.id)
        own = OWN_NAME.fullmatch(self.resource_name)
        return ids[0] if ids else f"{int(own[1]):x}" if own else self.resource_name

    @property
    def groups(self) -> frozenset[str]:
        """The resource names of the contact groups that the person is in."""
        found = [each.contact_group_membership for each in self.memberships if each.contact_group_membership]
        return frozenset(each.contact_group_resource_name or f"contactGroups/{each.contact_group_id}" for each in found)


PERSON_FIELDS = tuple(
    sorted(str(field.alias) for name, field in Person.model_fields.items() if name != "resource_name")
)
"""What of a person is asked for."""

Kind = TypeVar("Kind", bound=Item)


def field_spec(key: str) -> FieldSpec:
    """Describe a key of a record's values: one of FIELDS, or a custom field that a user of the address book named."""
    title = key.removeprefix(CUSTOM) or "Custom field"
    return FIELDS_BY_KEY.get(key) or FieldSpec(key=key, title=title, type=FieldType.TEXT, open_ended=True)


def to_record(person: Person) -> Record:
    """The person as a record. Google has no notion of consent to email."""
    emails = _values(person.email_addresses, last=lambda item: "@" not in item.value)
    phones = _values(person.phone_numbers, last=lambda item: item.type in NO_VOICE)
    name, birthday = _best(person.names), _best(person.birthdays)
    first_name, last_name = _first_and_last(name) if name else (None, None)
    employer = min(_ranked(person.organizations), key=lambda item: not item.current, default=None)
    anniversary = _best(event for event in person.events if event.type == "anniversary")
    return Record(
        external_id=person.contact_id,
        email=emails[0] if emails else None,
        first_name=first_name,
        last_name=last_name,
        phone=phones[0] if phones else None,
        values={
            "emailAddresses": ", ".join(emails[1:]) or None,
            "phoneNumbers": ", ".join(phones[1:]) or None,
            **_parts("names", name),
            "nicknames": text_of(person.nicknames),
            **_parts("organizations", employer),
            **_parts("addresses", _best(person.addresses)),
            "birthdays": _date(birthday.date) if birthday else None,
            "birthdays.day": _day(birthday.date) if birthday else None,
            "events.anniversary": _date(anniversary.date) if anniversary else None,
            "urls": text_of(person.urls),
            "biographies": text_of(person.biographies),
            **_custom(person.user_defined),
        },
    )


def _ranked(items: Iterable[Kind]) -> list[Kind]:
    """The primary one first; the others in an order that depends on nothing but what they hold."""
    return sorted(items, key=lambda item: (not item.metadata.primary, not item.metadata.source_primary, str(item)))


def _best(items: Iterable[Kind]) -> Kind | None:
    return next(iter(_ranked(items)), None)


def _values(items: Iterable[Item], *, last: Callable[[Item], bool]) -> list[str]:
    """Their distinct texts, those that `last` names behind the others."""
    found = sorted(_ranked(items), key=last)
    return list(dict.fromkeys(text for item in found if (text := _text(item.canonical_form or item.value))))


def text_of(items: Iterable[Item]) -> str | None:
    """The text of the primary item, or of another where that is empty."""
    return _text(next((item.value for item in _ranked(items) if item.value.strip()), None))


def _text(text: str | None) -> str | None:
    return (text or "").strip() or None


def _first_and_last(name: Name) -> tuple[str | None, str | None]:
    first, last = _text(name.given_name), _text(name.family_name)
    if first or last:
        return first, last
    whole = _text(name.unstructured_name) or _text(name.display_name) or ""
    first_part, _, last_part = whole.rpartition(" ")
    return (_text(first_part), last_part) if first_part else (_text(last_part), None)


def _parts(name: str, item: Item | None) -> dict[str, str | None]:
    return {key: _text(getattr(item, attribute, None)) for key, attribute in PARTS[name].items()}


def _date(found: PartialDate) -> date | None:
    """A date that is whole."""
    try:
        return date(found.year, found.month, found.day)
    except ValueError:
        return None


def _day(found: PartialDate) -> str | None:
    return f"{found.month:02}-{found.day:02}" if found.month and found.day else None


def _custom(items: Iterable[Item]) -> dict[str, FieldValue]:
    """Custom fields by what users call them, which need not be unique. A name that begins with _ is private (R7)."""
    found: dict[str, list[str]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.value):
        if item.value.strip() and not item.key.strip().startswith("_"):
            found[CUSTOM + item.key.strip()].append(item.value.strip())
    return {key: ", ".join(values) for key, values in found.items()}
