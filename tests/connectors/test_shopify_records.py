"""What becomes of a customer: names, consent, fields and metafields."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from connectors.shopify.customers import CONSENT, FIELDS
from domain.records import FieldSpec, FieldType, Record, SourceConsent
from tests.connectors.reading import read
from tests.connectors.simulators.shopify import ShopifyShop

ADDRESS = {
    "company": "Acme",
    "address1": "1 Main St",
    "address2": "",
    "city": "Ottawa",
    "province": "Ontario",
    "zip": "K1A 0B1",
    "country": "Canada",
    "countryCodeV2": "CA",
    "phone": "+16135550100",
}


async def read_one(shop: ShopifyShop) -> Record:
    (record,) = (await read(shop))[-1].records
    return record


async def test_a_customer_is_read_with_all_that_is_known_of_them() -> None:
    shop = ShopifyShop()
    created = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    known = {"phone": "+4930123", "note": "likes\nblue", "tags": ["vip", "b2b"], "orders": 3, "spent": "1234.50"}
    shop.add("ann.lee@example.com", created_at=created, address=ADDRESS, opt_in_level="CONFIRMED_OPT_IN", **known)

    assert await read_one(shop) == Record(
        external_id="7000000001",
        email="ann.lee@example.com",
        first_name="Ann",
        last_name="Lee",
        phone="+4930123",
        consent=SourceConsent.GRANTED,
        values={
            "amountSpent.amount": 1234.5,
            "amountSpent.currencyCode": "EUR",
            "numberOfOrders": 3,
            "defaultAddress.company": "Acme",
            "defaultAddress.address1": "1 Main St",
            "defaultAddress.address2": None,
            "defaultAddress.city": "Ottawa",
            "defaultAddress.province": "Ontario",
            "defaultAddress.zip": "K1A 0B1",
            "defaultAddress.country": "Canada",
            "defaultAddress.countryCodeV2": "CA",
            "note": "likes\nblue",
            "tags": ("vip", "b2b"),
            "locale": "en-CA",
            "createdAt": created,
            "defaultEmailAddress.marketingOptInLevel": "Confirmed opt-in",
        },
    )


async def test_what_a_customer_does_not_have_is_read_as_empty() -> None:
    shop = ShopifyShop()
    shop.add(None, first_name=None, last_name="", opt_in_level=None)

    record = await read_one(shop)

    assert (record.email, record.first_name, record.last_name, record.phone) == (None, None, None, None)
    assert record.consent is SourceConsent.NONE
    empty = {key for key, value in record.values.items() if value is None}
    assert empty == {spec.key for spec in FIELDS} - {
        "amountSpent.amount", "amountSpent.currencyCode", "numberOfOrders", "locale", "createdAt",
    }  # fmt: skip


async def test_the_phone_of_the_address_stands_in_for_the_customers_own() -> None:
    shop = ShopifyShop()
    shop.add("ann@example.com", address=ADDRESS)

    assert (await read_one(shop)).phone == "+16135550100"


@pytest.mark.parametrize(
    ("state", "consent"),
    [
        ("SUBSCRIBED", SourceConsent.GRANTED),
        ("PENDING", SourceConsent.PENDING),
        ("NOT_SUBSCRIBED", SourceConsent.NONE),
        ("INVALID", SourceConsent.NONE),
        ("UNSUBSCRIBED", SourceConsent.DENIED),
    ],
)
async def test_consent_is_the_state_of_email_marketing(state: str, consent: SourceConsent) -> None:
    shop = ShopifyShop()
    shop.add("ann@example.com", marketing_state=state)

    assert (await read_one(shop)).consent is consent


def test_redacted_is_denied() -> None:
    """Only older versions of the API answer it for an address."""
    assert CONSENT["REDACTED"] is SourceConsent.DENIED


METAFIELDS: list[tuple[str, str, FieldType, Any]] = [
    ("single_line_text_field", "XL", FieldType.TEXT, "XL"),
    ("multi_line_text_field", "a\nb", FieldType.TEXTAREA, "a\nb"),
    ("number_integer", "42", FieldType.NUMBER, 42),
    ("number_decimal", "4.5", FieldType.NUMBER, 4.5),
    ("boolean", "true", FieldType.BOOLEAN, True),
    ("boolean", "false", FieldType.BOOLEAN, False),
    ("date", "2026-02-28", FieldType.DATE, date(2026, 2, 28)),
    ("date_time", "2026-02-28T12:30:00", FieldType.DATETIME, datetime(2026, 2, 28, 12, 30, tzinfo=UTC)),
    ("date_time", "2026-02-28T12:30:00+00:00", FieldType.DATETIME, datetime(2026, 2, 28, 12, 30, tzinfo=UTC)),
    ("url", "https://example.com", FieldType.URL, "https://example.com"),
    ("link", '{"text": "x", "url": "https://example.com"}', FieldType.URL, "https://example.com"),
    ("color", "#ff0000", FieldType.TEXT, "#ff0000"),
    ("money", '{"amount": "5.99", "currency_code": "EUR"}', FieldType.TEXT, "5.99 EUR"),
    ("weight", '{"value": 2.5, "unit": "kg"}', FieldType.TEXT, "2.5 kg"),
    ("rating", '{"value": "3.5", "scale_min": "1.0", "scale_max": "5.0"}', FieldType.NUMBER, 3.5),
    ("json", '{"a": 1}', FieldType.TEXTAREA, '{"a": 1}'),
    ("list.single_line_text_field", '["a", "b"]', FieldType.MULTISELECT, ("a", "b")),
    ("list.number_integer", "[1, 2]", FieldType.MULTISELECT, ("1", "2")),
    ("list.date", "[]", FieldType.MULTISELECT, None),
    # What does not fit is left to the engine, which tells it.
    ("number_integer", "many", FieldType.NUMBER, "many"),
    ("number_decimal", "NaN", FieldType.NUMBER, "NaN"),
    ("boolean", "yes", FieldType.BOOLEAN, "yes"),
    ("money", "5.99", FieldType.TEXT, "5.99"),
    ("list.url", '"a"', FieldType.MULTISELECT, '"a"'),
    ("a_type_of_tomorrow", "x", FieldType.TEXT, "x"),
]


@pytest.mark.parametrize(("kind", "text", "field_type", "value"), METAFIELDS)
async def test_a_metafield_is_a_field_of_its_type(kind: str, text: str, field_type: FieldType, value: Any) -> None:
    shop = ShopifyShop(definitions=[{"namespace": "custom", "key": "it", "name": "Shoe size", "type": kind}])
    shop.add("ann@example.com", metafields={("custom", "it"): (kind, text)})
    shop.add("bob@example.com")

    page = (await read(shop))[-1]

    assert page.fields["metafields.custom.it"] == FieldSpec(
        key="metafields.custom.it", title="Shoe size", type=field_type
    )
    ann, bob = (record.values["metafields.custom.it"] for record in page.records)
    assert (ann, type(ann), bob) == (value, type(value), None)


async def test_references_to_other_things_are_not_read_and_fifty_metafields_at_most() -> None:
    kinds = ["customer_reference", "list.product_reference", *["number_integer"] * 60]
    shop = ShopifyShop(
        definitions=[
            {"namespace": "custom", "key": f"k{place}", "name": f"Field {place}", "type": kind}
            for place, kind in enumerate(kinds)
        ]
    )
    for _ in range(40):
        shop.add("ann@example.com")

    pages = await read(shop)

    assert [key for key in pages[0].fields if key.startswith("metafields.")] == [
        f"metafields.custom.k{place}" for place in range(2, 50)
    ]
    # 53 points each: more would cost more than a question may.
    assert [len(page.records) for page in pages] == [18, 18, 4]


async def test_a_new_metafield_is_found_with_the_next_sweep() -> None:
    shop = ShopifyShop()
    shop.add("ann@example.com")
    checkpoint = {**(await read(shop))[-1].checkpoint, "swept_at": "2026-01-01T00:00:00Z"}
    shop.definitions.append({"namespace": "custom", "key": "size", "name": "Size", "type": "number_integer"})
    shop.people[7_000_000_001].metafields[("custom", "size")] = ("number_integer", "42")

    (page,) = await read(shop, checkpoint)

    assert page.records[0].values["metafields.custom.size"] == 42
    assert json.dumps(page.checkpoint)
