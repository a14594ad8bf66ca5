"""A customer of a Shopify shop as a record: which fields are asked for, and what becomes of them.

Only fields that the API does not deprecate. Metafields are asked for one by one instead of as a list, so that a
customer is one line of a bulk operation's file.

https://shopify.dev/docs/api/admin-graphql/2026-10/objects/Customer, https://shopify.dev/docs/apps/build/metafields
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from connectors.shopify.api import Shape
from domain.records import FieldSpec, FieldType, FieldValue, Record, SourceConsent

GID = "gid://shopify/Customer/"
MOST_METAFIELDS = 50
"""Each makes every customer cost a point more."""
POINTS_PER_CUSTOMER = 5
"""Of 1,000 that a question may cost: the customer and the four objects in it."""

OPT_IN_LEVELS = {
    "SINGLE_OPT_IN": "Single opt-in",
    "CONFIRMED_OPT_IN": "Confirmed opt-in",
    "UNKNOWN": "Unknown",
}
CONSENT = {
    "SUBSCRIBED": SourceConsent.GRANTED,
    "PENDING": SourceConsent.PENDING,
    "NOT_SUBSCRIBED": SourceConsent.NONE,
    "INVALID": SourceConsent.NONE,
    "UNSUBSCRIBED": SourceConsent.DENIED,
    "REDACTED": SourceConsent.DENIED,
}
"""A state that is not here, because Shopify made it up since, is no consent."""

FIELDS = (
    FieldSpec(key="amountSpent.amount", title="Total spent", type=FieldType.NUMBER),
    FieldSpec(key="amountSpent.currencyCode", title="Currency", type=FieldType.TEXT),
    FieldSpec(key="numberOfOrders", title="Orders", type=FieldType.NUMBER),
    FieldSpec(key="defaultAddress.company", title="Company", type=FieldType.TEXT),
    FieldSpec(key="defaultAddress.address1", title="Address", type=FieldType.TEXT),
    FieldSpec(key="defaultAddress.address2", title="Apartment, suite", type=FieldType.TEXT),
    FieldSpec(key="defaultAddress.city", title="City", type=FieldType.TEXT),
    FieldSpec(key="defaultAddress.province", title="Province", type=FieldType.TEXT),
    FieldSpec(key="defaultAddress.zip", title="Postal code", type=FieldType.TEXT),
    FieldSpec(key="defaultAddress.country", title="Country", type=FieldType.TEXT),
    FieldSpec(key="defaultAddress.countryCodeV2", title="Country code", type=FieldType.TEXT),
    FieldSpec(key="note", title="Note", type=FieldType.TEXTAREA),
    FieldSpec(key="tags", title="Tags", type=FieldType.MULTISELECT),
    FieldSpec(key="locale", title="Language", type=FieldType.TEXT),
    FieldSpec(key="createdAt", title="Customer since", type=FieldType.DATETIME),
    FieldSpec(
        key="defaultEmailAddress.marketingOptInLevel",
        title="Marketing opt-in level",
        type=FieldType.DROPDOWN,
        options=tuple(OPT_IN_LEVELS.values()),
    ),
)
SPECS = {spec.key: spec for spec in FIELDS}


class MetafieldType(Shape):
    """What a metafield holds: `number_integer`, `list.single_line_text_field` and so on."""

    name: str


class Definition(Shape):
    """A metafield that the shop's owner, or an app, defined for customers."""

    namespace: str
    key: str
    name: str
    type: MetafieldType

    def spec(self) -> FieldSpec:
        """Describe the custom field that it becomes."""
        kind = self.type.name
        made = FieldType.MULTISELECT if kind.startswith("list.") else METAFIELD_TYPES.get(kind, FieldType.TEXT)
        return FieldSpec(key=f"metafields.{self.namespace}.{self.key}", title=self.name, type=made)


class Metafield(Shape):
    """A metafield's value as text, whatever its type."""

    value: str


class Money(Shape):
    """An amount in the shop's currency."""

    amount: Decimal
    currency_code: str


class EmailAddress(Shape):
    """An address and what its owner agreed to."""

    email_address: str
    marketing_state: str
    marketing_opt_in_level: str | None = None


class PhoneNumber(Shape):
    """A number in E.164."""

    phone_number: str


class Address(Shape):
    """The parts of a postal address that become fields, and its phone."""

    company: str | None
    address1: str | None
    address2: str | None
    city: str | None
    province: str | None
    zip: str | None
    country: str | None
    country_code_v2: str | None
    phone: str | None


class Customer(BaseModel):
    """A customer; the metafields among what is left over, by their place in the question: `m0`, `m1` and so on."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True, hide_input_in_errors=True)

    id: str
    updated_at: AwareDatetime
    created_at: AwareDatetime
    first_name: str | None
    last_name: str | None
    locale: str | None
    note: str | None
    tags: tuple[str, ...]
    number_of_orders: int
    amount_spent: Money
    default_email_address: EmailAddress | None
    default_phone_number: PhoneNumber | None
    default_address: Address | None

    @property
    def number(self) -> str:
        """The id without what is the same in all."""
        return self.id.removeprefix(GID)

    @property
    def digest(self) -> str:
        """Tells whether two answers are the same; times of change do not, which count in seconds."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=8).hexdigest()


def selection(definitions: Sequence[Definition]) -> str:
    """What is asked of a customer."""
    metafields = " ".join(
        f"m{place}: metafield(namespace: {json.dumps(each.namespace)}, key: {json.dumps(each.key)}) {{ value }}"
        for place, each in enumerate(definitions)
    )
    return (
        "id updatedAt createdAt firstName lastName locale note tags numberOfOrders amountSpent { amount currencyCode }"
        " defaultEmailAddress { emailAddress marketingState marketingOptInLevel } defaultPhoneNumber { phoneNumber }"
        " defaultAddress { company address1 address2 city province zip country countryCodeV2 phone } " + metafields
    )


def worth_reading(definitions: Sequence[Definition]) -> tuple[Definition, ...]:
    """Those whose values say something to people: not references to other things in the shop."""
    return tuple(each for each in definitions if not each.type.name.endswith("_reference"))


def to_record(customer: Customer, definitions: Sequence[Definition]) -> Record:
    """Map a customer. A metafield that was not answered is absent."""
    email, phone, address = customer.default_email_address, customer.default_phone_number, customer.default_address
    found = phone.phone_number if phone else address.phone if address else None
    return Record(
        external_id=customer.number,
        email=email.email_address if email else None,
        first_name=customer.first_name or None,
        last_name=customer.last_name or None,
        phone=found or None,
        consent=CONSENT.get(email.marketing_state, SourceConsent.NONE) if email else SourceConsent.NONE,
        values={**_values(customer), **_metafields(customer, definitions)},
    )


def _values(customer: Customer) -> dict[str, FieldValue]:
    email, address = customer.default_email_address, customer.default_address
    parts = address.model_dump(by_alias=True) if address else {}
    level = email.marketing_opt_in_level if email else None
    return {
        "amountSpent.amount": float(customer.amount_spent.amount),
        "amountSpent.currencyCode": customer.amount_spent.currency_code,
        "numberOfOrders": customer.number_of_orders,
        **{key: parts.get(key.partition(".")[2]) or None for key in SPECS if key.startswith("defaultAddress.")},
        "note": customer.note or None,
        "tags": customer.tags or None,
        "locale": customer.locale or None,
        "createdAt": customer.created_at,
        "defaultEmailAddress.marketingOptInLevel": OPT_IN_LEVELS.get(level, level) if level else None,
    }


def _metafields(customer: Customer, definitions: Sequence[Definition]) -> dict[str, FieldValue]:
    answered: Mapping[str, Any] = customer.model_extra or {}
    return {
        each.spec().key: _metafield(each.type.name, answered[f"m{place}"])
        for place, each in enumerate(definitions)
        if f"m{place}" in answered
    }


def _metafield(kind: str, answered: object) -> FieldValue:
    """The value by its type; the text as it is where it does not fit, which the engine then tells."""
    text = Metafield.model_validate(answered).value if answered is not None else ""
    if not text:
        return None
    try:
        return _list(text) if kind.startswith("list.") else READ.get(kind, str)(text)
    except (ValueError, TypeError, KeyError):
        return text


def _list(text: str) -> tuple[str, ...] | None:
    items = json.loads(text)
    if not isinstance(items, list):
        raise TypeError
    return tuple(item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items) or None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _measure(text: str) -> str:
    read = json.loads(text)
    return f"{read['value']} {read['unit']}"


def _money(text: str) -> str:
    read = json.loads(text)
    return f"{read['amount']} {read['currency_code']}"


METAFIELD_TYPES = {
    "boolean": FieldType.BOOLEAN,
    "date": FieldType.DATE,
    "date_time": FieldType.DATETIME,
    "json": FieldType.TEXTAREA,
    "link": FieldType.URL,
    "multi_line_text_field": FieldType.TEXTAREA,
    "number_decimal": FieldType.NUMBER,
    "number_integer": FieldType.NUMBER,
    "rating": FieldType.NUMBER,
    "rich_text_field": FieldType.TEXTAREA,
    "url": FieldType.URL,
}
"""https://shopify.dev/docs/apps/build/metafields/list-of-data-types; lists are MULTISELECT, all others TEXT."""

READ: Mapping[str, Callable[[str], FieldValue]] = {
    "boolean": lambda text: {"true": True, "false": False}[text],
    "date": date.fromisoformat,
    "date_time": _moment,
    "dimension": _measure,
    "link": lambda text: str(json.loads(text)["url"]),
    "money": _money,
    "number_decimal": _number,
    "number_integer": int,
    "rating": lambda text: _number(json.loads(text)["value"]),
    "volume": _measure,
    "weight": _measure,
}
