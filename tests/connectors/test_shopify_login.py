"""Connecting a Shopify shop: how it is named, both ways in, and what an app must be allowed to."""

from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from connectors.base import AccessRevokedError, Attempt, Registration, RemoteAccount, UnexpectedResponseError
from connectors.shopify.connector import SERVICE
from connectors.shopify.shop import AUTHORIZATION, Credentials, Details, Form, revoke, verify
from tests.connectors.reading import credentials_of
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, open_simulated
from tests.connectors.simulators.shopify import DOMAIN, ShopifyShop, make

REGISTRATION = Registration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))
CALLBACK = "https://sluice.example.com/oauth/callback"


def attempt(shop: str = DOMAIN) -> Attempt:
    return Attempt(
        registration=REGISTRATION,
        details=Details(shop=shop),
        redirect_uri=CALLBACK,
        state="the-state",
        verifier="v" * 43,
    )


async def agree(client: httpx.AsyncClient, asked: Attempt) -> dict[str, str]:
    """What comes back of the page where the owner agrees, without the state."""
    response = await client.get(AUTHORIZATION.start(asked))
    answer = dict(parse_qsl(httpx.URL(response.headers["Location"]).query.decode()))
    assert answer.pop("state") == asked.state
    return answer


@pytest.mark.parametrize(
    "typed",
    [
        "my-shop",
        "My-Shop ",
        "my-shop.myshopify.com",
        "https://my-shop.myshopify.com",
        "https://my-shop.myshopify.com/admin",
        "http://my-shop.myshopify.com/admin/settings?x=1",
        "admin.shopify.com/store/my-shop",
        "https://admin.shopify.com/store/my-shop/customers?selectedView=all",
    ],
)
def test_a_shop_is_known_by_whatever_people_call_it(typed: str) -> None:
    assert Details(shop=typed).shop == "my-shop.myshopify.com"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "my shop",
        "-shop.myshopify.com",
        "my-shop.example.com",
        "my-shop.myshopify.com.example.com",
        "example.com/my-shop.myshopify.com",
        "my-shop.myshopify.com@example.com",
        "example.com#.myshopify.com",
        "my-shop.myshopify.com:8080",
        "shopś.myshopify.com",
        "admin.shopify.com/store/",
    ],
)
def test_nothing_else_is_a_shop(typed: str) -> None:
    with pytest.raises(ValidationError, match=r"must be the shop's name at Shopify, like my-shop\.myshopify\.com"):
        Details(shop=typed)


def test_a_custom_apps_token_is_all_that_is_typed() -> None:
    form = Form.model_validate({"shop": "my-shop", "access_token": " shpat_s3cret\n"})

    stored = Credentials.model_validate({"shop": form.shop, "access_token": form.access_token})
    assert stored.access_token.get_secret_value() == "shpat_s3cret"
    assert (stored.refresh_token, stored.expires_at) == (None, None)


@pytest.mark.parametrize("token", ["", "two words", "shpat_ä"])
def test_what_no_header_takes_is_no_token(token: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Form.model_validate({"shop": "my-shop", "access_token": token})

    assert "must be the token as Shopify shows it" in str(raised.value)
    assert "shpat_ä" not in str(raised.value)


async def test_the_owner_agrees_on_the_shops_own_page_to_reading_customers() -> None:
    shop = make(1)
    url = httpx.URL(AUTHORIZATION.start(attempt()))

    assert (url.host, url.path, url.params["scope"]) == (DOMAIN, "/admin/oauth/authorize", "read_customers")
    async with open_simulated(shop) as client:
        credentials = await AUTHORIZATION.finish(client, attempt(), await agree(client, attempt()))
        assert isinstance(credentials, Credentials)
        assert credentials.shop == DOMAIN
        assert credentials.expires_at is not None
        assert (await SERVICE.identify(client, credentials)).identity == "gid://shopify/Shop/4711"


async def test_tokens_are_renewed_and_a_lost_answer_can_be_asked_for_again() -> None:
    shop = make(1)
    async with open_simulated(shop) as client:
        first: Any = await AUTHORIZATION.finish(client, attempt(), await agree(client, attempt()))
        assert AUTHORIZATION.renew is not None
        shop.oauth.expire_access()
        with pytest.raises(AccessRevokedError, match="no longer accepts the access token"):
            await SERVICE.identify(client, first)
        await AUTHORIZATION.renew(client, REGISTRATION, first)  # the answer is lost
        second: Any = await AUTHORIZATION.renew(client, REGISTRATION, first)
        third: Any = await AUTHORIZATION.renew(client, REGISTRATION, second)

        assert len({each.refresh_token.get_secret_value() for each in (first, second, third)}) == 3
        assert (await SERVICE.identify(client, third)).identity == "gid://shopify/Shop/4711"
        with pytest.raises(AccessRevokedError):
            await AUTHORIZATION.renew(client, REGISTRATION, first)


@pytest.mark.parametrize(
    "changed", [{"code": "another"}, {"timestamp": "1"}, {"shop": "other.myshopify.com"}, {"x": "y"}]
)
async def test_an_answer_that_shopify_did_not_sign_lets_nobody_in(changed: dict[str, str]) -> None:
    async with open_simulated(make(1)) as client:
        answer = await agree(client, attempt())
        with pytest.raises(UnexpectedResponseError, match="not signed by Shopify"):
            await AUTHORIZATION.finish(client, attempt(), {**answer, **changed})
        with pytest.raises(UnexpectedResponseError, match="not signed by Shopify"):
            await AUTHORIZATION.finish(client, attempt(), {k: v for k, v in answer.items() if k != "hmac"})


def test_the_signature_is_that_of_the_documentation() -> None:
    """Another state than the documented example's would be another signature."""
    asked = Attempt(
        registration=Registration(client_id="x", client_secret=SecretStr("hush")),
        details=Details(shop="some-shop"),
        redirect_uri=CALLBACK,
        state="0.6784241404160823",
        verifier="v" * 43,
    )
    answer = {
        "code": "0907a61c0c8d55e99db179b68161bc00",
        "hmac": "700e2dadb827fcc8609e9d5ce208b2e9cdaab9df07390d2cbca10d7c328fc4bf",
        "shop": "some-shop.myshopify.com",
        "timestamp": "1337178173",
    }
    verify(asked, answer)
    with pytest.raises(UnexpectedResponseError, match="not signed"):
        verify(asked, {**answer, "hmac": "700e" + "0" * 60})


async def test_who_agrees_for_another_shop_is_told_so() -> None:
    shop = make(1)
    async with open_simulated(shop) as client:
        answer = await agree(client, attempt())
        answer.pop("hmac")
        signed = shop.oauth.sign({**answer, "state": "the-state", "shop": "other.myshopify.com"})
        with pytest.raises(UnexpectedResponseError, match=f"for the shop other.myshopify.com, not for {DOMAIN}"):
            await AUTHORIZATION.finish(client, attempt(), {k: v for k, v in signed.items() if k != "state"})


async def test_disconnecting_uninstalls_our_app_but_not_a_custom_one() -> None:
    shop = make(1)
    async with open_simulated(shop) as client:
        custom = Credentials.model_validate(shop.credentials)
        await revoke(client, None, custom)
        assert shop.traffic.exchanges == []
        ours: Any = await AUTHORIZATION.finish(client, attempt(), await agree(client, attempt()))
        await revoke(client, REGISTRATION, ours)
        assert shop.oauth.access_tokens == {}
        with pytest.raises(AccessRevokedError, match="400 app_not_installed"):
            await renew(client, ours)


async def test_an_access_token_that_has_ended_uninstalls_nothing_and_does_not_pass_for_it() -> None:
    shop = make(1)
    async with open_simulated(shop) as client:
        ours: Any = await AUTHORIZATION.finish(client, attempt(), await agree(client, attempt()))
        shop.oauth.expire_access()
        with pytest.raises(AccessRevokedError):
            await revoke(client, REGISTRATION, ours)
        await revoke(client, REGISTRATION, await renew(client, ours))

    assert [(each.method, each.status) for each in shop.traffic.exchanges[-3:]] == [
        ("DELETE", 401),
        ("POST", 200),
        ("DELETE", 200),
    ]


async def renew(client: httpx.AsyncClient, credentials: Any) -> Any:
    assert AUTHORIZATION.renew is not None
    return await AUTHORIZATION.renew(client, REGISTRATION, credentials)


async def identify(shop: ShopifyShop) -> RemoteAccount:
    async with open_simulated(shop) as client:
        return await SERVICE.identify(client, credentials_of(shop))


async def test_a_shop_is_identified_by_its_id_and_labelled_by_its_name() -> None:
    assert await identify(make(0)) == RemoteAccount(identity="gid://shopify/Shop/4711", label=f"Sluice Demo ({DOMAIN})")


async def test_an_app_without_the_scope_is_told_which_one() -> None:
    shop = make(1)
    shop.oauth.access_tokens = dict.fromkeys(shop.oauth.access_tokens, frozenset({"read_products"}))

    with pytest.raises(AccessRevokedError, match=r"Sluice Demo gave no access to its customers.*read_customers"):
        await identify(shop)


@pytest.mark.parametrize("field", ["firstName", "defaultEmailAddress", "defaultPhoneNumber", "defaultAddress"])
async def test_an_app_that_is_not_approved_for_customer_data_is_told_so(field: str) -> None:
    shop = make(1)
    shop.hidden = frozenset({field})

    with pytest.raises(AccessRevokedError, match=r"not approved to access the Customer object.*Give the app the scope"):
        await identify(shop)


async def test_addresses_that_are_hidden_without_a_word_are_noticed() -> None:
    shop = make(3)
    shop.hidden, shop.hides_silently = frozenset({"defaultEmailAddress"}), True

    with pytest.raises(AccessRevokedError, match="hides the addresses of its customers"):
        await identify(shop)
