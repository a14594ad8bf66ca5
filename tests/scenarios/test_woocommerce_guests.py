"""Those who bought in a WooCommerce shop without an account, over the cycles: who registers, what old orders say."""

from datetime import timedelta

import pytest

from api.node import global_id
from tests.connectors.simulators.woocommerce import WooShop, make
from tests.connectors.test_woocommerce_guests import guest
from tests.factories import make_tag
from tests.scenarios.services import Services, ledger


def shop_with_guests() -> WooShop:
    shop = make(0)
    shop.criteria = {"role": "all", "guests": True}
    return shop


async def test_a_guest_who_registers_goes_on_as_the_customer_and_no_deletion_hits_them(services: Services) -> None:
    shop = shop_with_guests()
    shop.order("ada@example.com", city="London")
    tag = await make_tag(services.client.account_id, "gone")
    policy = {"deletionPolicy": "TAG", "deletionTagId": global_id("Tag", tag.id)}
    import_id = await services.set_up(shop, by_form=True, **policy)
    number = shop.add("ada@example.com")

    await services.next_cycle(import_id)
    assert await ledger(import_id) == {guest("ada@example.com"): ("DELETED", None), number: ("LINKED", None)}

    shop.order("ada@example.com", city="Ockham")
    await services.next_cycle(import_id)
    assert await ledger(import_id) == {
        guest("ada@example.com"): ("SKIPPED", "DUPLICATE_EMAIL"),
        number: ("LINKED", None),
    }
    contact = (await services.contacts())["ada@example.com"]
    assert (contact["tags"], contact["values"]["WOOCOMMERCE_BILLING_CITY"]) == ([], "Berlin")


async def test_an_old_order_that_is_edited_confirms_nobody_who_declined_since(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.woocommerce.guests.MOST_RECENT", 2)
    shop = shop_with_guests()
    older = shop.order("ada@example.com", city="London")
    shop.edit_order(older, meta_data=[{"id": 1, "key": "ws_opt_in", "value": "1"}])
    newer = shop.order("ada@example.com", city="Ockham")
    shop.edit_order(newer, meta_data=[{"id": 1, "key": "ws_opt_in", "value": "0"}])
    shop.now += timedelta(hours=1)
    for name in ("bob", "cleo"):
        shop.order(f"{name}@example.com")
    import_id = await services.set_up(shop, by_form=True)
    before = (await services.contacts())["ada@example.com"]

    shop.now += timedelta(hours=1)
    shop.edit_order(older, status="refunded")
    await services.next_cycle(import_id)

    after = (await services.contacts())["ada@example.com"]
    assert (before["status"], before["values"]["WOOCOMMERCE_BILLING_CITY"]) == ("UNCONFIRMED", "Ockham")
    assert after == before
