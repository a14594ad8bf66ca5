"""Each service as its users have it: connected, imported, followed, its consent kept right; vendor to contact."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from api.node import global_id
from domain.emails import parse_email
from domain.enums import RunState
from domain.models import ImportRun
from tests.connectors.simulators import SIMULATORS
from tests.connectors.simulators.google_answers import item
from tests.connectors.simulators.google_contacts import GoogleContacts
from tests.connectors.simulators.kit import Simulator, name_of
from tests.connectors.simulators.shopify import ShopifyShop
from tests.connectors.simulators.woocommerce import WooShop
from tests.factories import make_tag
from tests.scenarios.services import Services, checkpoint, counts, last_run, ledger, state

ANN, BOB, CID, DAN = (f"{name}@example.com" for name in ("ann.lee", "bob.ray", "cid.fox", "dan.oak"))
AS_AT_THE_SOURCE = (ANN, BOB, CID, None, "no address", "ANN.Lee@example.com")
"""Three who can be imported, and of each who cannot one."""
SKIPPED = ("NO_EMAIL", "INVALID_EMAIL", "DUPLICATE_EMAIL")

KEYS = ("asana", "csv_url", "google_contacts", "shopify", "trello", "woocommerce")
each_service = pytest.mark.parametrize("key", KEYS)

NOTHING: dict[str, int] = {}
READ_AGAIN = {"read": 6, "unchanged": 3, "skipped": 3}
"""What an idle cycle of a service without a change feed counts."""
IDLE = dict.fromkeys(KEYS, READ_AGAIN) | dict.fromkeys(("csv_url", "google_contacts", "shopify"), NOTHING)
ONE_OF_EACH = {"created": 1, "updated": 1, "outcomes": 2}
CHANGED = {key: {"read": 6, "unchanged": 1, "skipped": 3, **ONE_OF_EACH} for key in KEYS} | {
    "google_contacts": {"read": 2, "deleted": 1, **ONE_OF_EACH},
    "shopify": {"read": 2, **ONE_OF_EACH},
}
"""What a cycle counts in which one came, one changed and one went: only Google says who went."""
MISSED_AGAIN = {key: {**READ_AGAIN, "deleted": 1} for key in KEYS} | {"google_contacts": NOTHING}


def populated(key: str) -> tuple[Simulator, list[str]]:
    """The simulator of a service with `AS_AT_THE_SOURCE`, and their external ids."""
    simulator = SIMULATORS[key](0)
    return simulator, [simulator.add(email) for email in AS_AT_THE_SOURCE]


async def follow_deletions(services: Services, key: str) -> dict[str, Any]:
    """The policy of an import that acts on deletions as far as its service allows it."""
    if key == "google_contacts":
        return {"deletionPolicy": "UNSUBSCRIBE"}
    tag = await make_tag(services.client.account_id, "Gone")
    return {"deletionPolicy": "TAG", "deletionTagId": global_id("Tag", tag.id)}


async def next_sweep(services: Services, key: str, import_id: UUID) -> dict[str, int]:
    """What the next reading of everybody came to."""
    if key == "shopify":
        await services.a_day_goes_by(import_id)
    return await services.next_cycle(import_id)


@each_service
async def test_all_who_match_and_have_a_valid_address_are_contacts_and_the_others_say_why_not(
    services: Services, key: str
) -> None:
    simulator, ids = populated(key)
    import_id = await services.set_up(simulator)

    contacts = await services.contacts()
    valid = {email for email in simulator.matching().values() if email and parse_email(email) and email.islower()}
    assert {email: (each["firstName"], each["lastName"]) for email, each in contacts.items()} == {
        email: name_of(email) for email in valid
    }
    assert {each["status"] for each in contacts.values()} == {"ACTIVE"}
    assert await ledger(import_id) == {
        **dict.fromkeys(ids[:3], ("LINKED", None)),
        **{external_id: ("SKIPPED", code) for external_id, code in zip(ids[3:], SKIPPED, strict=True)},
    }
    assert await last_run(import_id) == ("COMPLETED", None, None)
    assert dict(+await counts(import_id)) == {"read": 6, "created": 3, "skipped": 3, "outcomes": 6}


@each_service
async def test_what_changes_comes_and_goes_at_the_source_is_followed_to_the_record(
    services: Services, key: str
) -> None:
    simulator, [_, bob, cid, *_] = populated(key)
    import_id = await services.set_up(simulator, **await follow_deletions(services, key))
    if key == "csv_url":
        assert await services.next_cycle(import_id) == READ_AGAIN
    assert await services.next_cycle(import_id) == IDLE[key]
    before = await services.contacts()

    simulator.change(bob)
    dan = simulator.add(DAN)
    simulator.remove(cid)
    assert await services.next_cycle(import_id) == CHANGED[key]
    after = await services.contacts()
    assert (after[ANN], after[BOB] == before[BOB]) == (before[ANN], False)
    assert (after[DAN]["firstName"], after[DAN]["lastName"]) == ("Dan", "Oak")
    assert (await ledger(import_id))[dan] == ("LINKED", None)

    if key == "shopify":
        assert await next_sweep(services, key, import_id) == READ_AGAIN
    assert await next_sweep(services, key, import_id) == MISSED_AGAIN[key]
    assert (await ledger(import_id))[cid] == ("DELETED", None)
    gone = (await services.contacts())[CID]
    expected = ("UNSUBSCRIBED", []) if key == "google_contacts" else ("ACTIVE", ["Gone"])
    assert (gone["status"], gone["tags"]) == expected
    settled = await services.contacts()
    assert await services.next_cycle(import_id) == IDLE[key]
    assert await services.contacts() == settled
    runs = await ImportRun.filter(automatic_import_id=import_id)
    assert {run.state for run in runs} == {RunState.COMPLETED}


def _rich_google(google: GoogleContacts) -> None:
    more = {
        "emailAddresses": [item(value=ANN), {"value": "ann@home.example"}],
        "organizations": [item(name="Acme", title="Buyer", current=True)],
        "birthdays": [item(date={"year": 1990, "month": 2, "day": 3})],
        "addresses": [item(formattedValue="Main St 1\nBerlin", city="Berlin", countryCode="DE")],
        "biographies": [item(value="Likes tea")],
        "userDefined": [item(key="Shoe size", value="42")],
    }
    google.add(ANN, **more)
    google.add(BOB, userDefined=more["userDefined"])


def _rich_shopify(shop: ShopifyShop) -> None:
    shop.definitions = [
        {"namespace": "custom", "key": "birthday", "name": "Birth day", "type": "date"},
        {"namespace": "custom", "key": "sizes", "name": "Sizes", "type": "list.single_line_text_field"},
    ]
    shop.add(
        ANN,
        tags=["vip"],
        orders=2,
        spent="25.50",
        note="Likes tea",
        phone="+4930123",
        address={"city": "Berlin", "countryCodeV2": "DE", "country": "Germany"},
        metafields={
            ("custom", "birthday"): ("date", "1990-02-03"),
            ("custom", "sizes"): ("list.single_line_text_field", '["S", "M"]'),
        },
    )


def _rich_shop(shop: WooShop) -> None:
    for email in (ANN, BOB):
        number = int(shop.add(email))
        meta = [{"id": 1, "key": "favourite_colour", "value": "green"}, {"id": 2, "key": "_plugin", "value": "x"}]
        shop.customers[number]["meta_data"] = meta


def _ann(simulator: Simulator) -> None:
    simulator.add(ANN)


def _rich_file(file: Simulator) -> None:
    for email in (ANN, BOB):
        file.add(email)


TAGS: dict[str, tuple[Callable[[Any], None], dict[str, Any]]] = {
    "asana": (
        _ann,
        {
            "ASANA_PHOTO": "https://s3.amazonaws.com/profile_photos/1200000000001000_128x128.png",
            "ASANA_WORKSPACES": ["Acme"],
        },
    ),
    "csv_url": (
        _rich_file,
        {"CSV_URL_CITY": "Berlin", "CSV_URL_CUSTOMER_ID": "1001", "CSV_URL_TOTAL_SPENT": "0"},
    ),
    "google_contacts": (
        _rich_google,
        {
            "GOOGLE_CONTACTS_ADDRESS": "Main St 1\nBerlin",
            "GOOGLE_CONTACTS_BIRTHDAY": "1990-02-03",
            "GOOGLE_CONTACTS_BIRTHDAY_MONTH_AND_DAY": "02-03",
            "GOOGLE_CONTACTS_CITY": "Berlin",
            "GOOGLE_CONTACTS_COMPANY": "Acme",
            "GOOGLE_CONTACTS_COUNTRY_CODE": "DE",
            "GOOGLE_CONTACTS_JOB_TITLE": "Buyer",
            "GOOGLE_CONTACTS_NOTES": "Likes tea",
            "GOOGLE_CONTACTS_OTHER_EMAIL_ADDRESSES": "ann@home.example",
            "GOOGLE_CONTACTS_SHOE_SIZE": "42",
        },
    ),
    "shopify": (
        _rich_shopify,
        {
            "SHOPIFY_BIRTH_DAY": "1990-02-03",
            "SHOPIFY_CITY": "Berlin",
            "SHOPIFY_COUNTRY": "Germany",
            "SHOPIFY_COUNTRY_CODE": "DE",
            "SHOPIFY_CURRENCY": "EUR",
            "SHOPIFY_CUSTOMER_SINCE": "2026-09-01T00:01:00+00:00",
            "SHOPIFY_LANGUAGE": "en-CA",
            "SHOPIFY_MARKETING_OPT_IN_LEVEL": "Single opt-in",
            "SHOPIFY_NOTE": "Likes tea",
            "SHOPIFY_ORDERS": 2,
            "SHOPIFY_SIZES": ["S", "M"],
            "SHOPIFY_TAGS": ["vip"],
            "SHOPIFY_TOTAL_SPENT": 25.5,
        },
    ),
    "trello": (
        _ann,
        {
            "TRELLO_AVATAR": "https://trello-members.s3.amazonaws.com/500000000000000000001000/0123456789abcdef",
            "TRELLO_BOARDS": ["Roadmap"],
            "TRELLO_CONFIRMED": True,
            "TRELLO_DEACTIVATED": False,
            "TRELLO_INITIALS": "AL",
            "TRELLO_MEMBER_TYPE": ["normal"],
            "TRELLO_USERNAME": "annlee",
            "TRELLO_WORKSPACES": ["Acme"],
        },
    ),
    "woocommerce": (
        _rich_shop,
        {
            "WOOCOMMERCE_BILLING_CITY": "Berlin",
            "WOOCOMMERCE_BILLING_COUNTRY": "DE",
            "WOOCOMMERCE_BILLING_EMAIL": ANN,
            "WOOCOMMERCE_BILLING_PHONE": "+49 30 10001",
            "WOOCOMMERCE_DATE_REGISTERED": "2026-11-22T08:00:01+00:00",
            "WOOCOMMERCE_FAVOURITE_COLOUR": "green",
            "WOOCOMMERCE_PAYING_CUSTOMER": False,
            "WOOCOMMERCE_ROLE": "customer",
            "WOOCOMMERCE_SHIPPING_COUNTRY": "DE",
        },
    ),
}
"""A person who is known well, and the personalization tags that come of it, with what they are replaced by."""


@each_service
async def test_what_a_service_knows_of_a_person_fills_these_personalization_tags(services: Services, key: str) -> None:
    simulator, (populate, expected) = SIMULATORS[key](0), TAGS[key]
    populate(simulator)
    await services.set_up(simulator)

    contact = (await services.contacts())[ANN]
    assert contact["values"] == expected
    phones = {"csv_url": "+49 30 2001", "shopify": "+4930123", "woocommerce": "+49 30 10001"}
    assert contact["phone"] == phones.get(key)


SHOPIFY_STATES = {
    "SUBSCRIBED": "ACTIVE",
    "PENDING": "UNCONFIRMED",
    "NOT_SUBSCRIBED": "UNCONFIRMED",
    "INVALID": "UNCONFIRMED",
    "UNSUBSCRIBED": "UNSUBSCRIBED",
}


async def test_what_a_customer_agreed_to_at_shopify_is_the_contacts_status_and_an_opt_out_is_never_raised(
    services: Services,
) -> None:
    shop = ShopifyShop()
    ids = {
        marketing: shop.add(f"{marketing.lower()}@example.com", marketing_state=marketing)
        for marketing in SHOPIFY_STATES
    }
    import_id = await services.set_up(shop)
    assert await services.statuses() == {
        f"{marketing.lower()}@example.com": status for marketing, status in SHOPIFY_STATES.items()
    }

    shop.change(ids["SUBSCRIBED"], marketing_state="UNSUBSCRIBED")
    for marketing in ("PENDING", "UNSUBSCRIBED"):
        shop.change(ids[marketing], marketing_state="SUBSCRIBED")
    await services.next_cycle(import_id)

    assert await services.statuses() == {
        "subscribed@example.com": "UNSUBSCRIBED",
        "pending@example.com": "ACTIVE",
        "not_subscribed@example.com": "UNCONFIRMED",
        "invalid@example.com": "UNCONFIRMED",
        "unsubscribed@example.com": "UNSUBSCRIBED",
    }


async def test_what_plugins_of_a_shop_asked_its_customers_is_the_contacts_status(services: Services) -> None:
    shop, said = WooShop(), {ANN: "1", BOB: "0", CID: "unsubscribed"}
    for email, answer in said.items():
        number = int(shop.add(email))
        shop.customers[number]["meta_data"] = [
            {"id": number, "key": "mailchimp_woocommerce_is_subscribed", "value": answer}
        ]
    shop.add(DAN)

    await services.set_up(shop)

    assert await services.statuses() == {ANN: "ACTIVE", BOB: "UNCONFIRMED", CID: "UNSUBSCRIBED", DAN: "ACTIVE"}


async def test_persons_whom_google_merges_end_as_the_one_contact_that_is_mailed(services: Services) -> None:
    google = GoogleContacts()
    kept, gone = google.add(ANN), google.add("ann@home.example")
    import_id = await services.set_up(google, deletionPolicy="UNSUBSCRIBE")

    google.merge(kept, gone)
    assert await services.next_cycle(import_id) == {"read": 1, "updated": 1, "deleted": 1, "outcomes": 1}

    assert await services.statuses() == {ANN: "ACTIVE", "ann@home.example": "UNSUBSCRIBED"}
    assert (await services.contacts())[ANN]["values"] == {"GOOGLE_CONTACTS_OTHER_EMAIL_ADDRESSES": "ann@home.example"}
    assert await ledger(import_id) == {kept: ("LINKED", None), gone: ("DELETED", None)}


async def test_customers_whom_shopify_merges_end_as_the_one_contact_that_is_not_gone(services: Services) -> None:
    shop = ShopifyShop()
    kept, gone = shop.add(ANN, tags=["vip"]), shop.add("ann@home.example", tags=["loyal"])
    import_id = await services.set_up(shop, **await follow_deletions(services, "shopify"))

    shop.merge(kept, gone)
    assert await services.next_cycle(import_id) == {"read": 1, "updated": 1, "outcomes": 1}
    for _ in range(2):
        await next_sweep(services, "shopify", import_id)

    contacts = await services.contacts()
    assert {email: each["tags"] for email, each in contacts.items()} == {ANN: [], "ann@home.example": ["Gone"]}
    assert contacts[ANN]["values"]["SHOPIFY_TAGS"] == ["vip", "loyal"]
    assert await ledger(import_id) == {kept: ("LINKED", None), gone: ("DELETED", None)}


@each_service
async def test_an_account_that_is_connected_again_goes_on_from_where_it_was(services: Services, key: str) -> None:
    simulator, [_, bob, *_] = populated(key)
    import_id = await services.set_up(simulator)
    external_account = await services.external_account(import_id)
    read_up_to, asked = await checkpoint(import_id), len(simulator.traffic.exchanges)

    simulator.revoke()
    simulator.change(bob)
    await services.next_cycle(import_id)
    refused = len(simulator.traffic.exchanges)
    health, reason = await services.health(import_id)
    assert (health, bool(reason), await checkpoint(import_id)) == ("NEEDS_RECONNECT", True, read_up_to)
    assert (await last_run(import_id))[:2] == ("FAILED", "ACCESS_REVOKED")
    assert await state(import_id) == ("ACTIVE", None)
    await services.next_cycle(import_id)
    assert (len(simulator.traffic.exchanges), refused > asked) == (refused, True)

    if key in {"csv_url", "woocommerce"}:
        simulator.revoked = False  # type: ignore[attr-defined]
    again = await services.connect(simulator, again=global_id("ExternalAccount", external_account.id))
    before = await counts(import_id)
    await services.work()

    assert again == global_id("ExternalAccount", external_account.id)
    expected = {"updated": 1, "outcomes": 1}
    if key in {"google_contacts", "shopify"}:
        assert (await counts(import_id)) - before == {"read": 1, **expected}
    else:
        assert (await counts(import_id)) - before == {"read": 6, "unchanged": 2, "skipped": 3, **expected}
    assert (await services.external_account(import_id)).id == external_account.id
    assert {*await services.contacts()} == {ANN, BOB, CID}
