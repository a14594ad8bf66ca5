"""Customers and orders of WooCommerce, turned into records. PHP's JSON is read with patience.

An empty object may come as [], a list with gaps as an object, a number as text, a time without its zone.

https://woocommerce.github.io/woocommerce-rest-api-docs/#customer-properties
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from domain.records import FieldSpec, FieldType, FieldValue, Record, SourceConsent

META = "meta_data."
"""Before the keys of meta data, which anybody can invent: none can be taken for one of our own."""

ADDRESS_TITLES: Mapping[str, str] = {
    "company": "company",
    "address_1": "address line 1",
    "address_2": "address line 2",
    "city": "city",
    "state": "state",
    "postcode": "postcode",
    "country": "country",
    "email": "email",
    "phone": "phone",
}
NOT_SHIPPED_TO = frozenset({"email"})

FIELDS: Sequence[FieldSpec] = (
    FieldSpec(key="role", title="Role", type=FieldType.TEXT),
    FieldSpec(key="is_paying_customer", title="Paying customer", type=FieldType.BOOLEAN),
    FieldSpec(key="date_created_gmt", title="Date registered", type=FieldType.DATETIME),
    *(
        FieldSpec(key=f"{kind}.{part}", title=f"{kind.capitalize()} {title}", type=FieldType.TEXT)
        for kind in ("billing", "shipping")
        for part, title in ADDRESS_TITLES.items()
        if kind == "billing" or part not in NOT_SHIPPED_TO
    ),
)
BY_KEY: Mapping[str, FieldSpec] = {spec.key: spec for spec in FIELDS}

# WooCommerce asks nobody for consent; these plugins do, and leave the answer at the user or at the order:
# Mailchimp for WooCommerce, ActiveCampaign for WooCommerce, Brevo for WooCommerce.
CONSENT_KEYS = frozenset(
    {
        "mailchimp_woocommerce_is_subscribed",
        "activecampaign_for_woocommerce_accepts_marketing",
        "ws_opt_in",
    }
)
CONSENT: Mapping[str, SourceConsent] = {
    **dict.fromkeys(("1", "yes", "true", "on", "subscribed"), SourceConsent.GRANTED),
    "pending": SourceConsent.PENDING,
    **dict.fromkeys(("unsubscribed", "cleaned", "archived"), SourceConsent.DENIED),
}
"""Whatever else is there, "0" or nothing, is a box that was not ticked."""
STRONGEST_FIRST = (SourceConsent.DENIED, SourceConsent.GRANTED, SourceConsent.PENDING, SourceConsent.NONE)

NOT_BOUGHT = frozenset({"pending", "failed", "cancelled", "trash", "checkout-draft", "auto-draft"})
"""Orders that nobody went through with; those with a status that a plugin invented count."""


def _text(value: Any) -> str | None:
    """A value as text, None where it is none. Lists of texts are one text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        texts = [_text(each) for each in value if not isinstance(each, list)]
        return ", ".join(text for text in texts if text) or None
    return str(value).strip() or None if isinstance(value, str | int | float) else None


def _object(value: Any) -> Any:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, Mapping)]


def _boolean(value: Any) -> bool | None:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(_text(value) or "")


def _moment(value: Any) -> datetime | None:
    """A time in GMT, which comes without a zone; None where it never happened."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Text = Annotated[str | None, BeforeValidator(_text)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]


class Tolerant(BaseModel):
    """Reads what it knows; an odd value in one place must not stop a shop's import."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)


class Address(Tolerant):
    """A billing or shipping address; the latter has no email, and in older versions no phone."""

    first_name: Text = None
    last_name: Text = None
    company: Text = None
    address_1: Text = None
    address_2: Text = None
    city: Text = None
    state: Text = None
    postcode: Text = None
    country: Text = None
    email: Text = None
    phone: Text = None


class Meta(Tolerant):
    """One entry of meta data: its value is any JSON."""

    key: Text = None
    value: Any = None


AnAddress = Annotated[Address, BeforeValidator(_object)]
MetaData = Annotated[tuple[Meta, ...], BeforeValidator(_list)]


class Customer(Tolerant):
    """A user of the shop. `id` is WordPress's, and is never used again."""

    id: int
    email: Text = None
    first_name: Text = None
    last_name: Text = None
    role: Text = None
    date_created_gmt: Moment = None
    is_paying_customer: Annotated[bool | None, BeforeValidator(_boolean)] = None
    billing: AnAddress = Address()
    shipping: AnAddress = Address()
    meta_data: MetaData = ()


class Order(Tolerant):
    """What an order tells of who bought. `customer_id` 0: without an account."""

    id: int
    customer_id: int
    status: Text = None
    date_modified_gmt: Moment = None
    billing: AnAddress = Address()
    shipping: AnAddress = Address()
    meta_data: MetaData = ()


def customer_record(customer: Customer) -> Record:
    """A customer; what the account does not tell is taken from the billing address."""
    own: dict[str, FieldValue] = {
        name: getattr(customer, name)
        for name in ("role", "date_created_gmt", "is_paying_customer")
        if name in customer.model_fields_set
    }
    return Record(
        external_id=str(customer.id),
        email=customer.email or customer.billing.email,
        first_name=customer.first_name or customer.billing.first_name,
        last_name=customer.last_name or customer.billing.last_name,
        phone=customer.billing.phone or customer.shipping.phone,
        consent=_consent(customer.meta_data),
        values={**own, **_addresses(customer), **_meta_values(customer.meta_data)},
    )


def latest_by_guest(orders: Iterable[Order]) -> dict[str, Order]:
    """Of each guest who bought, by external id, the last of these orders."""
    return {
        guest_id(order.billing.email): order
        for order in orders
        if not order.customer_id and order.billing.email and order.status not in NOT_BOUGHT
    }


def guest_id(email: str) -> str:
    """A guest's external id. There is none but the address, of which nothing may be left when the contact is erased."""
    return f"guest:{hashlib.sha256(email.lower().encode()).hexdigest()[:32]}"


def guest_record(external_id: str, order: Order) -> Record:
    """A guest, as an order has them. Its meta data is about the order, but for consent."""
    return Record(
        external_id=external_id,
        email=order.billing.email,
        first_name=order.billing.first_name,
        last_name=order.billing.last_name,
        phone=order.billing.phone or order.shipping.phone,
        consent=_consent(order.meta_data),
        values=_addresses(order),
    )


def old_guest_record(external_id: str, order: Order) -> Record:
    """A guest who may have bought since: the address, and no more consent than a later order could still withhold."""
    said = _consent(order.meta_data)
    consent = SourceConsent.PENDING if said in {SourceConsent.GRANTED, SourceConsent.NOT_TRACKED} else said
    return Record(external_id=external_id, email=order.billing.email, consent=consent)


def _addresses(holder: Customer | Order) -> dict[str, FieldValue]:
    return {
        f"{kind}.{part}": getattr(address, part)
        for kind, address in (("billing", holder.billing), ("shipping", holder.shipping))
        for part in ADDRESS_TITLES
        if part in address.model_fields_set and f"{kind}.{part}" in BY_KEY
    }


def _meta_values(entries: Iterable[Meta]) -> dict[str, FieldValue]:
    """The values of meta data, by field key. A key with "_" is a plugin's own, an object a plugin's state."""
    values: dict[str, FieldValue] = {}
    for entry in entries:
        if entry.key is None or entry.key.startswith("_") or entry.key in CONSENT_KEYS:
            continue
        if not _is_state(entry.value):
            # Where a key has several values WordPress goes by the first.
            values.setdefault(META + entry.key, _text(entry.value))
    return values


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(each, list | Mapping) for each in value)
    )


def _consent(entries: Iterable[Meta]) -> SourceConsent:
    said = {
        CONSENT.get((_text(entry.value) or "").lower(), SourceConsent.NONE)
        for entry in entries
        if entry.key in CONSENT_KEYS
    }
    return next((consent for consent in STRONGEST_FIRST if consent in said), SourceConsent.NOT_TRACKED)


def field_spec(key: str) -> FieldSpec:
    """The field that a value's key stands for."""
    if not key.startswith(META):
        return BY_KEY[key]
    name = key.removeprefix(META)
    title = " ".join(name.replace("_", " ").replace("-", " ").split())
    return FieldSpec(key=key, title=title[:1].upper() + title[1:] or name, type=FieldType.TEXT, open_ended=True)
