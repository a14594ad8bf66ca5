"""How the owner of a WooCommerce shop lets it make a key for us."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from connectors.base import AccessRevokedError, Attempt, UnexpectedResponseError
from connectors.woocommerce.api import Credentials, Shop
from connectors.woocommerce.authorization import AUTHORIZATION
from tests.connectors.simulators.kit import open_simulated
from tests.connectors.simulators.woocommerce import SHOP, WooShop
from tests.connectors.simulators.woocommerce_access import CONSUMER_KEY, CONSUMER_SECRET

CALLBACK = "https://sluice.example.com/oauth/callback"
GIVEN = {
    "key_id": "1",
    "user_id": "the-state",
    "consumer_key": CONSUMER_KEY,
    "consumer_secret": CONSUMER_SECRET,
    "key_permissions": "read",
}


def attempt() -> Attempt:
    return Attempt(
        registration=None,
        details=Shop(url=f"{SHOP}/store"),
        redirect_uri=CALLBACK,
        state="the-state",
        verifier="v" * 43,
    )


async def agree(shop: WooShop, callback_status: int = 200) -> tuple[list[dict[str, Any]], httpx.Response]:
    """What the shop posts once its owner agreed, and what the browser gets."""
    posted: list[dict[str, Any]] = []

    async def post(url: str, body: Mapping[str, Any]) -> int:
        assert url == CALLBACK
        posted.append(dict(body))
        return callback_status

    shop.path, shop.post = "/store", post
    return posted, await open_simulated(shop).get(AUTHORIZATION.start(attempt()))


async def finish(answer: Mapping[str, str]) -> Any:
    # There is nobody whom it could ask.
    return await AUTHORIZATION.finish(open_simulated(), attempt(), answer)


async def test_the_owner_is_asked_for_a_key_that_may_read() -> None:
    shop = WooShop()

    posted, page = await agree(shop)

    (asked,) = shop.traffic.exchanges
    assert (str(asked.url.copy_with(query=None)), dict(asked.url.params)) == (
        "https://shop.example.com/store/wc-auth/v1/authorize",
        {
            "app_name": "Sluice",
            "scope": "read",
            "user_id": "the-state",
            "return_url": CALLBACK,
            "callback_url": CALLBACK,
        },
    )
    assert posted == [{**GIVEN, "key_id": 1}]
    assert page.headers["Location"] == f"{CALLBACK}?success=1&user_id=the-state"


async def test_what_the_shop_posts_becomes_the_credentials() -> None:
    assert await finish(GIVEN) == Credentials.model_validate(
        {"url": f"{SHOP}/store", "consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
    )


async def test_a_shop_that_cannot_deliver_its_key_tells_its_owner() -> None:
    _, page = await agree(WooShop(), callback_status=404)

    assert page.status_code == 401


async def test_an_owner_who_declines_is_understood() -> None:
    shop = WooShop()
    shop.declines = True

    posted, page = await agree(shop)

    assert posted == []
    with pytest.raises(AccessRevokedError, match="Access was declined on the page of the shop"):
        await finish(dict(httpx.URL(page.headers["Location"]).params))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"success": "1"}, UnexpectedResponseError, "The shop has sent no key"),
        ({}, UnexpectedResponseError, "The shop has sent no key"),
        ({**GIVEN, "consumer_secret": ""}, UnexpectedResponseError, "What the shop sent is no key"),
        ({**GIVEN, "key_permissions": "write"}, AccessRevokedError, "The shop's key may not read"),
    ],
)
async def test_an_answer_that_is_no_key_for_us_is_refused(
    answer: Mapping[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        await finish(answer)

    assert CONSUMER_SECRET not in str(raised.value)


def test_an_https_address_of_ours_is_needed_and_no_registration() -> None:
    needs = AUTHORIZATION.needs_https, AUTHORIZATION.needs_registration
    assert (*needs, AUTHORIZATION.renew) == (True, False, None)


def test_a_key_is_taken_with_the_space_that_was_copied_along() -> None:
    typed = {"url": f" {SHOP}\n", "consumer_key": f" {CONSUMER_KEY}\n", "consumer_secret": f"\t{CONSUMER_SECRET} "}
    clean = {"url": SHOP, "consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}

    assert Credentials.model_validate(typed) == Credentials.model_validate(clean)
