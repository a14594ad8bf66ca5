"""The ways in which WooCommerce shops can be reached, what their refusals mean, and what they tell of themselves."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from connectors.base import AccessRevokedError, Choice, RemoteAccount, TransientError, UnexpectedResponseError
from connectors.woocommerce.api import Credentials, Shop
from connectors.woocommerce.connector import SERVICE
from tests.connectors.reading import credentials_of, ids, read
from tests.connectors.simulators.kit import Fault, open_simulated
from tests.connectors.simulators.woocommerce import SHOP, WooShop, make
from tests.connectors.simulators.woocommerce_access import CONSUMER_KEY, CONSUMER_SECRET

HTML = {"Content-Type": "text/html; charset=UTF-8"}

PLAIN_ANSWERS = [
    pytest.param(RedirectResponse(f"{SHOP}/", 301), id="a redirect to its first page"),
    pytest.param(HTMLResponse("<html>Not found</html>", 404), id="404"),
    pytest.param(HTMLResponse("<html>Welcome</html>"), id="its first page"),
]


async def identify(shop: WooShop) -> RemoteAccount:
    return await SERVICE.identify(open_simulated(shop), credentials_of(shop))


def paths(shop: WooShop) -> list[str]:
    return [each.url.path for each in shop.traffic.exchanges]


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("shop.example.com", "https://shop.example.com"),
        (" https://Shop.Example.com/ ", "https://shop.example.com"),
        ("http://shop.example.com", "http://shop.example.com"),
        ("shop.example.com/store/", "https://shop.example.com/store"),
        ("https://shop.example.com:8443/?p=2#top", "https://shop.example.com:8443"),
        ("https://shop.example.com/wp-admin/admin.php?page=wc-settings", "https://shop.example.com"),
        ("https://shop.example.com/store/wp-json/wc/v3/customers", "https://shop.example.com/store"),
        ("https://shop.example.com/index.php", "https://shop.example.com"),
    ],
)
def test_an_address_is_completed_as_people_type_it(typed: str, address: str) -> None:
    assert Shop(url=typed).url == address


@pytest.mark.parametrize("typed", ["", "ftp://shop.example.com", "https://ann:secret@shop.example.com", "https://"])
def test_what_is_no_address_of_a_shop_is_refused(typed: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Shop(url=typed)

    assert "secret" not in str(raised.value)


def test_a_key_and_a_secret_in_each_other_s_place_are_told_apart() -> None:
    with pytest.raises(ValidationError, match="exchange them"):
        Credentials.model_validate({"url": SHOP, "consumer_key": CONSUMER_SECRET, "consumer_secret": CONSUMER_KEY})


async def test_the_key_goes_into_the_header() -> None:
    shop = make(1)

    await read(shop)

    (only,) = shop.traffic.exchanges
    assert only.headers["authorization"].startswith("Basic ")
    assert "consumer_key" not in only.url.params


@pytest.mark.parametrize("plain", PLAIN_ANSWERS)
async def test_a_shop_with_plain_permalinks_is_asked_in_the_query(plain: Response) -> None:
    shop = make(150)
    shop.plain = plain

    assert ids(await read(shop)) == [str(number) for number in range(1, 151)]

    assert paths(shop) == ["/wp-json/wc/v3/customers", "/", "/"]
    assert [each.url.params.get("rest_route") for each in shop.traffic.exchanges] == [None, *["/wc/v3/customers"] * 2]


async def test_a_shop_that_was_reached_in_one_way_is_not_asked_in_another() -> None:
    shop = make(150)
    shop.traffic.faults.extend([None, Fault(status=200, body=b"<html>Sign in</html>", headers=HTML)])

    with pytest.raises(UnexpectedResponseError, match="has no REST API of WordPress"):
        await read(shop)

    assert paths(shop) == ["/wp-json/wc/v3/customers"] * 2


async def test_an_older_shop_with_plain_permalinks_is_told_to_change_them() -> None:
    shop = make(1)
    shop.plain, shop.knows_plain_keys = HTMLResponse("<html>Not found</html>", 404), False

    with pytest.raises(AccessRevokedError, match=r"need other permalinks than Plain \(Settings → Permalinks\)"):
        await read(shop)


async def test_a_shop_below_a_path_is_read() -> None:
    shop = make(1)
    shop.path, shop.home = "/store", f"{SHOP}/store"
    shop.credentials = {**shop.credentials, "url": f"{SHOP}/store/"}

    assert ids(await read(shop)) == ["1"]
    assert (await identify(shop)).identity == "shop.example.com/store"


async def test_a_host_that_drops_the_header_gets_the_key_in_the_query() -> None:
    shop = make(150)
    shop.drops_authorization = True

    pages = await read(shop)

    sent = [each.url.params.get("consumer_secret") for each in shop.traffic.exchanges]
    assert (len(ids(pages)), sent) == (150, [None, CONSUMER_SECRET, CONSUMER_SECRET])
    assert CONSUMER_SECRET not in json.dumps([page.checkpoint for page in pages])


async def test_a_key_in_the_query_reaches_no_error() -> None:
    shop = make(150)
    shop.drops_authorization = True
    echo = json.dumps({"url": f"/?consumer_key={CONSUMER_KEY}&consumer_secret={CONSUMER_SECRET}"}).encode()
    shop.traffic.faults.extend([None, None, Fault(status=500, body=echo, headers={"Content-Type": "application/json"})])

    with pytest.raises(TransientError) as raised:
        await read(shop)

    assert str(raised.value) == (
        f'GET {SHOP}/wp-json/wc/v3/customers: 500 {{"url": "/?consumer_key=***&consumer_secret=***"}}'
    )


@pytest.mark.parametrize("plain", [None, HTMLResponse("<html>Not found</html>", 404)])
async def test_without_tls_requests_are_signed_and_the_secret_stays_here(plain: Response | None) -> None:
    shop = make(150)
    shop.tls, shop.home, shop.plain = False, "http://shop.example.com", plain
    shop.origins = ["http://shop.example.com"]
    shop.credentials = {**shop.credentials, "url": "http://shop.example.com"}

    assert len(ids(await read(shop))) == 150

    sent = "".join(f"{each.url} {each.headers}" for each in shop.traffic.exchanges)
    assert (CONSUMER_SECRET in sent, "authorization" in sent) == (False, False)
    assert len(shop.nonces) == 2


async def test_without_tls_a_wrong_secret_is_refused() -> None:
    shop = make(1)
    shop.tls, shop.origins = False, ["http://shop.example.com"]
    shop.credentials = {"url": "http://shop.example.com", "consumer_key": CONSUMER_KEY, "consumer_secret": "cs_other"}

    with pytest.raises(AccessRevokedError, match="does not accept this key for reading"):
        await read(shop)


@pytest.mark.parametrize(
    ("moved_to", "advice"),
    [
        ("https://www.shop.example.com", "enter https://www.shop.example.com instead"),
        ("http://shop.example.com", "enter http://shop.example.com instead"),
        ("https://shop.example.com:8443", "enter https://shop.example.com:8443 instead"),
        ("https://ann:pw@other.example.net/store", "enter https://other.example.net/store instead"),
    ],
)
async def test_a_redirect_never_takes_the_key_along_but_tells_the_address(moved_to: str, advice: str) -> None:
    shop = make(1)
    shop.moved_to = moved_to

    with pytest.raises(UnexpectedResponseError) as raised:
        await read(shop)

    assert str(raised.value) == f"{SHOP} leads to another address: {advice}."
    assert {each.url.host for each in shop.traffic.exchanges} == {"shop.example.com"}


async def test_connecting_at_an_address_that_redirects_shows_no_key_at_all() -> None:
    shop = make(1)
    shop.moved_to = "https://www.shop.example.com"

    with pytest.raises(UnexpectedResponseError, match=r"enter https://www\.shop\.example\.com instead"):
        await identify(shop)

    assert [each.headers.get("authorization") for each in shop.traffic.exchanges] == [None]


def _key(**changes: str) -> dict[str, Any]:
    return {"credentials": {"url": SHOP, "consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET, **changes}}


@pytest.mark.parametrize(
    ("odd", "error", "message"),
    [
        ({"revoked": True}, AccessRevokedError, "does not know this key: it was deleted there"),
        (_key(consumer_key="ck_other"), AccessRevokedError, "does not know this key: it was deleted there"),
        (_key(consumer_secret="cs_other"), AccessRevokedError, "does not accept this key for reading"),
        ({"key_permissions": "write"}, AccessRevokedError, "Create one with Read permission for an administrator"),
        ({"key_may_list": False}, AccessRevokedError, "may not see all of it. Create one with Read permission"),
        ({"is_active": False}, UnexpectedResponseError, "WooCommerce is not active at https://shop.example.com"),
        ({"prefix": b"<br />\n<b>Warning</b>: odd in x.php"}, UnexpectedResponseError, "switch WP_DEBUG_DISPLAY off"),
    ],
)
async def test_a_refusal_says_what_to_do(odd: Mapping[str, Any], error: type[Exception], message: str) -> None:
    shop = make(1)
    for name, value in odd.items():
        setattr(shop, name, value)

    with pytest.raises(error) as reading:
        await read(shop)
    with pytest.raises(error) as connecting:
        await identify(shop)

    assert message in str(reading.value)
    assert message in str(connecting.value)
    assert CONSUMER_SECRET not in f"{reading.value}{connecting.value}"


ANSWERS = [
    pytest.param(
        Fault(status=403, body=b"<html>Blocked</html>", headers=HTML),
        UnexpectedResponseError,
        "Something in front of https://shop.example.com refuses this server (403): allow it in the firewall",
        id="a firewall",
    ),
    pytest.param(
        Fault(status=403, body=b"Forbidden", headers={"Content-Type": "text/plain"}),
        UnexpectedResponseError,
        "Something in front of https://shop.example.com refuses this server (403): allow it in the firewall",
        id="a firewall of few words",
    ),
    pytest.param(
        Fault(status=503, body=b"<html>Briefly unavailable for scheduled maintenance.</html>", headers=HTML),
        TransientError,
        "503 <html>Briefly unavailable for scheduled maintenance.</html>",
        id="maintenance",
    ),
    pytest.param(
        Fault(status=401, body=b"<html>Staging</html>", headers={**HTML, "WWW-Authenticate": 'Basic realm="Staging"'}),
        AccessRevokedError,
        "401 <html>Staging</html>",
        id="a password of the web server's own",
    ),
    pytest.param(
        Fault(status=200, body=b"<html>Coming soon</html>", headers=HTML),
        UnexpectedResponseError,
        "has no REST API of WordPress (200, text/html): check the address",
        id="no API",
    ),
    pytest.param(
        Fault(status=404, body=b"<html>Not found</html>", headers=HTML),
        UnexpectedResponseError,
        "has no REST API of WordPress (404, text/html): check the address",
        id="no WordPress",
    ),
    pytest.param(
        Fault(status=302, headers={"Location": "/login"}),
        UnexpectedResponseError,
        "has no REST API of WordPress (302, nothing): check the address",
        id="a login page",
    ),
]


@pytest.mark.parametrize(("answer", "error", "message"), ANSWERS)
async def test_an_answer_that_is_not_the_api_s_says_what_to_do(
    answer: Fault, error: type[Exception], message: str
) -> None:
    shop = make(1)
    # Once in each of the ways in which it may be asked.
    shop.traffic.faults.extend([answer, answer])

    with pytest.raises(error) as raised:
        await read(shop)

    assert message in str(raised.value)


async def test_a_key_that_is_deleted_while_it_is_used_asks_for_another() -> None:
    shop = make(250)
    shop.traffic.meanwhile = lambda: shop.revoke() if len(shop.traffic.exchanges) == 2 else None

    with pytest.raises(AccessRevokedError, match="does not know this key"):
        await read(shop)

    assert len(shop.traffic.exchanges) == 3


async def test_a_page_beyond_the_end_that_is_refused_is_an_empty_one() -> None:
    shop = make(1)
    refused = {"code": "rest_post_invalid_page_number", "message": "…", "data": {"status": 400}}
    shop.traffic.faults.append(Fault(status=400, body=json.dumps(refused).encode()))

    (page,) = await read(shop)

    assert (page.records, page.complete) == ([], True)


async def test_the_identity_is_the_shop_s_own_address_and_the_label_its_name() -> None:
    shop = make(1)
    with_www = make(1)
    with_www.home = "https://www.shop.example.com/"

    assert await identify(shop) == RemoteAccount(identity="shop.example.com", label="Tom & Ann’s")
    assert (await identify(with_www)).identity == "shop.example.com"
    assert paths(shop) == ["/wp-json/", "/wp-json/wc/v3/customers"]


async def test_a_shop_that_hides_its_description_has_the_same_identity() -> None:
    shop = make(1)
    shop.hides_index = True

    assert await identify(shop) == RemoteAccount(identity="shop.example.com", label="shop.example.com")


async def test_a_shop_in_maintenance_cannot_be_connected_yet() -> None:
    shop = make(1)
    shop.traffic.faults.append(Fault(status=503))

    with pytest.raises(TransientError):
        await identify(shop)


async def test_the_roles_that_the_shop_has_are_offered() -> None:
    offered = await SERVICE.choices(open_simulated(shop := make(1)), credentials_of(shop), "role")

    assert offered[0] == Choice(value="all", label="Everybody")
    assert offered[-1] == Choice(value="wholesale_customer", label="Wholesale customer")
    assert len(offered) == 9
    assert await SERVICE.choices(open_simulated(shop), credentials_of(shop), "guests") == []


@pytest.mark.parametrize("odd", [{"tells_options": False}, {"is_active": False}])
async def test_where_a_shop_does_not_tell_the_roles_of_every_shop_are_offered(odd: Mapping[str, bool]) -> None:
    shop = make(1)
    for name, value in odd.items():
        setattr(shop, name, value)

    offered = await SERVICE.choices(open_simulated(shop), credentials_of(shop), "role")

    assert [choice.value for choice in offered] == [
        "all",
        "administrator",
        "editor",
        "author",
        "contributor",
        "subscriber",
        "customer",
        "shop_manager",
    ]
