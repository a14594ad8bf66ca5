"""Customers of WooCommerce as records: values, consent, and what PHP and plugins make of them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.woocommerce.records import FIELDS, Customer, customer_record, field_spec
from domain.records import FieldSpec, FieldType, Record, SourceConsent
from tests.connectors.simulators.woocommerce import WooShop


def as_record(**changes: Any) -> Record:
    """What becomes of a customer like one of the shop's, but for these changes."""
    shop = WooShop()
    shop.add("ada.lovelace@example.com")
    return customer_record(Customer.model_validate({**shop.customers[1], **changes}))


def test_a_customer_becomes_a_record_with_typed_values() -> None:
    record = as_record(
        date_created_gmt="2017-03-21T19:11:14",
        is_paying_customer=True,
        billing={
            "first_name": "Ada",
            "last_name": "King",
            "company": "Analytical Engines",
            "address_1": "12 St James's Square",
            "address_2": "",
            "city": "London",
            "state": "",
            "postcode": "SW1Y 4JH",
            "country": "GB",
            "email": "orders@example.com",
            "phone": "+44 20 7946 0000",
        },
        shipping={"city": "Ockham", "phone": ""},
        meta_data=[{"id": 7, "key": "favourite_colour", "value": "green"}],
    )

    assert record == Record(
        external_id="1",
        email="ada.lovelace@example.com",
        first_name="Ada",
        last_name="Lovelace",
        phone="+44 20 7946 0000",
        consent=SourceConsent.NOT_TRACKED,
        values={
            "role": "customer",
            "is_paying_customer": True,
            "date_created_gmt": datetime(2017, 3, 21, 19, 11, 14, tzinfo=UTC),
            "billing.company": "Analytical Engines",
            "billing.address_1": "12 St James's Square",
            "billing.address_2": None,
            "billing.city": "London",
            "billing.state": None,
            "billing.postcode": "SW1Y 4JH",
            "billing.country": "GB",
            "billing.email": "orders@example.com",
            "billing.phone": "+44 20 7946 0000",
            "shipping.city": "Ockham",
            "shipping.phone": None,
            "meta_data.favourite_colour": "green",
        },
    )


def test_the_fields_carry_the_titles_that_shops_know() -> None:
    assert {spec.key: (spec.title, spec.type) for spec in FIELDS} == {
        "role": ("Role", FieldType.TEXT),
        "is_paying_customer": ("Paying customer", FieldType.BOOLEAN),
        "date_created_gmt": ("Date registered", FieldType.DATETIME),
        "billing.company": ("Billing company", FieldType.TEXT),
        "billing.address_1": ("Billing address line 1", FieldType.TEXT),
        "billing.address_2": ("Billing address line 2", FieldType.TEXT),
        "billing.city": ("Billing city", FieldType.TEXT),
        "billing.state": ("Billing state", FieldType.TEXT),
        "billing.postcode": ("Billing postcode", FieldType.TEXT),
        "billing.country": ("Billing country", FieldType.TEXT),
        "billing.email": ("Billing email", FieldType.TEXT),
        "billing.phone": ("Billing phone", FieldType.TEXT),
        "shipping.company": ("Shipping company", FieldType.TEXT),
        "shipping.address_1": ("Shipping address line 1", FieldType.TEXT),
        "shipping.address_2": ("Shipping address line 2", FieldType.TEXT),
        "shipping.city": ("Shipping city", FieldType.TEXT),
        "shipping.state": ("Shipping state", FieldType.TEXT),
        "shipping.postcode": ("Shipping postcode", FieldType.TEXT),
        "shipping.country": ("Shipping country", FieldType.TEXT),
        "shipping.phone": ("Shipping phone", FieldType.TEXT),
    }


def test_what_the_account_does_not_tell_is_taken_from_the_billing_address() -> None:
    record = as_record(email="", first_name="", last_name="", shipping={"phone": "+49 30 1"}, billing={
        "first_name": "Grace", "last_name": "Hopper", "email": "grace@example.com", "phone": "",
    })  # fmt: skip

    assert (record.email, record.first_name, record.last_name) == ("grace@example.com", "Grace", "Hopper")
    assert record.phone == "+49 30 1"


def test_what_php_makes_of_empty_and_odd_values_stops_nobody() -> None:
    record = as_record(
        id="25",
        first_name=None,
        billing=[],
        shipping=None,
        is_paying_customer="1",
        date_created_gmt="0000-00-00T00:00:00",
        meta_data={"0": {"id": 1, "key": "points", "value": 12}, "2": {"id": 3, "key": "size", "value": []}, "3": "x"},
    )

    assert (record.external_id, record.first_name, record.phone) == ("25", None, None)
    assert record.values == {
        "role": "customer",
        "is_paying_customer": True,
        "date_created_gmt": None,
        "meta_data.points": "12",
        "meta_data.size": None,
    }


def test_numbers_in_place_of_text_are_read_as_text() -> None:
    record = as_record(billing={"postcode": 12345, "phone": 4930123})

    assert (record.values["billing.postcode"], record.phone) == ("12345", "4930123")


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ("green", "green"),
        (" ", None),
        (None, None),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (["red", "", 3], "red, 3"),
    ],
)
def test_meta_data_is_read_as_text(value: Any, read_as: str | None) -> None:
    record = as_record(meta_data=[{"id": 1, "key": "free", "value": value}])

    assert record.values["meta_data.free"] == read_as


def test_what_plugins_keep_for_themselves_is_no_field() -> None:
    record = as_record(
        meta_data=[
            {"id": 1, "key": "_woocommerce_persistent_cart_1", "value": "cart"},
            {"id": 2, "key": "layout", "value": {"columns": 2}},
            {"id": 3, "key": "history", "value": [["a"], {"b": 1}]},
            {"id": 4, "key": "size", "value": "M"},
            {"id": 5, "key": "size", "value": "L"},
            {"id": 6, "key": None, "value": "nameless"},
        ]
    )

    assert {key: value for key, value in record.values.items() if key.startswith("meta_data")} == {
        "meta_data.size": "M"
    }


def test_a_key_of_meta_data_is_a_field_that_anybody_can_invent() -> None:
    assert field_spec("meta_data.shoe_size-eu") == FieldSpec(
        key="meta_data.shoe_size-eu", title="Shoe size eu", type=FieldType.TEXT, open_ended=True
    )
    assert field_spec("meta_data.role").key != field_spec("role").key


@pytest.mark.parametrize(
    ("answers", "consent"),
    [
        ({}, SourceConsent.NOT_TRACKED),
        ({"newsletter": "yes"}, SourceConsent.NOT_TRACKED),
        ({"mailchimp_woocommerce_is_subscribed": "1"}, SourceConsent.GRANTED),
        ({"mailchimp_woocommerce_is_subscribed": True}, SourceConsent.GRANTED),
        ({"mailchimp_woocommerce_is_subscribed": "0"}, SourceConsent.NONE),
        ({"mailchimp_woocommerce_is_subscribed": ""}, SourceConsent.NONE),
        ({"mailchimp_woocommerce_is_subscribed": "pending"}, SourceConsent.PENDING),
        ({"mailchimp_woocommerce_is_subscribed": "unsubscribed"}, SourceConsent.DENIED),
        ({"activecampaign_for_woocommerce_accepts_marketing": 1}, SourceConsent.GRANTED),
        ({"activecampaign_for_woocommerce_accepts_marketing": 0}, SourceConsent.NONE),
        ({"ws_opt_in": "yes"}, SourceConsent.GRANTED),
        ({"ws_opt_in": "yes", "mailchimp_woocommerce_is_subscribed": "unsubscribed"}, SourceConsent.DENIED),
        ({"ws_opt_in": "no", "mailchimp_woocommerce_is_subscribed": "1"}, SourceConsent.GRANTED),
    ],
)
def test_consent_is_what_a_plugin_asked_for_it(answers: dict[str, Any], consent: SourceConsent) -> None:
    record = as_record(meta_data=[{"id": 1, "key": key, "value": value} for key, value in answers.items()])

    assert record.consent is consent
    assert [key for key in record.values if "mailchimp" in key or "opt_in" in key or "accepts" in key] == []
