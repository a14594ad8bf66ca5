"""The REST API of a WooCommerce shop: the ways in which it can be reached, and what its refusals mean.

Every shop is a server of its own. Some have no pretty permalinks (the route then goes into the query), some drop the
Authorization header (the key then goes into the query, over https alone), some have no TLS (requests are signed).
Redirects are not followed: the key belongs to the address that was entered, and to no other.

https://woocommerce.github.io/woocommerce-rest-api-docs/#authentication
"""

import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Annotated, Self

import httpx
from authlib.oauth1.rfc5849.signature import construct_base_string, hmac_sha1_signature
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from connectors import http
from connectors.base import AccessRevokedError, ConnectorError, UnexpectedResponseError

KEY_PAGE = "WooCommerce → Settings → Advanced → REST API"
NEW_KEY = f"Create one with Read permission for an administrator, under {KEY_PAGE}."
OLD_WITH_PLAIN_PERMALINKS = (
    "Where it exists: older versions of WooCommerce need other permalinks than Plain (Settings → Permalinks)."
)

# What people copy from their browser instead of the shop's address.
BELOW_THE_SHOP = re.compile(r"/(wp-json|wp-admin|wc-auth|wp-login\.php|index\.php)(/.*)?$")
PHP_MESSAGE = re.compile(rb"<b>(Notice|Warning|Deprecated|Fatal error|Parse error)</b>")


def shop_address(text: str) -> str:
    """A shop's address as people type it, completed; a shop may live below a path."""
    url = http.web_address(text)
    return str(url.copy_with(query=None, path=BELOW_THE_SHOP.sub("", url.path).rstrip("/") or "/")).rstrip("/")


class Shop(BaseModel):
    """What has to be known before a key can be asked for."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, str_strip_whitespace=True)

    url: Annotated[str, AfterValidator(shop_address)] = Field(
        title="Shop address",
        description="The address of the shop, as https://shop.example.com.",
        max_length=2000,
    )


class Credentials(Shop):
    """A key of the shop's REST API."""

    consumer_key: str = Field(
        title="Consumer key",
        description=f"{NEW_KEY} It begins with ck_.",
        min_length=1,
        max_length=200,
    )
    consumer_secret: SecretStr = Field(
        title="Consumer secret",
        description="The shop shows it once, beside the consumer key. It begins with cs_.",
        min_length=1,
        max_length=200,
    )

    @model_validator(mode="after")
    def _in_their_places(self) -> Self:
        if self.consumer_key.startswith("cs_") or self.consumer_secret.get_secret_value().startswith("ck_"):
            raise ValueError("the consumer key begins with ck_, the consumer secret with cs_: exchange them")
        return self


class WordPressError(BaseModel):
    """An error as WordPress tells it (https://developer.wordpress.org/rest-api/)."""

    code: str


class Way(Enum):
    """How a request says whose it is."""

    HEADER = auto()
    QUERY = auto()
    SIGNATURE = auto()


class Store:
    """One shop's REST API. Its first answers tell how it can be reached."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials
        self._way = Way.HEADER if credentials.url.startswith("https:") else Way.SIGNATURE
        self._pretty = True
        self._reached = False

    async def get(self, route: str, parameters: Mapping[str, str]) -> httpx.Response:
        """The answer to a GET with the key, JSON and 2xx. Raises one of the four ConnectorErrors."""
        response = await self.send("GET", route, parameters)
        if response.status_code == 400 and _code(response) == "rest_post_invalid_page_number":
            # Behind the last page there is nothing; some versions refuse to say so.
            return httpx.Response(200, content=b"[]", request=response.request)
        if not response.is_success or not _is_json(response):
            raise self._refusal(response)
        self._reached = True
        return response

    async def send(
        self, method: str, route: str, parameters: Mapping[str, str], *, with_key: bool = True
    ) -> httpx.Response:
        """The answer to a request, whatever it is, in the way that the shop understands."""
        while True:
            url = self._url(route, parameters)
            response = await (self._send_with_key(method, url) if with_key else http.send(self._client, method, url))
            if self._has_plain_permalinks(url, response):
                self._pretty = False
            elif with_key and not self._reached and self._way is Way.HEADER and _knows_nobody(response):
                self._way = Way.QUERY
            else:
                return response

    def _url(self, route: str, parameters: Mapping[str, str]) -> httpx.URL:
        base = self._credentials.url
        if self._pretty:
            return httpx.URL(f"{base}/wp-json/{route}", params=dict(parameters))
        return httpx.URL(f"{base}/", params={"rest_route": f"/{route}", **parameters})

    async def _send_with_key(self, method: str, url: httpx.URL) -> httpx.Response:
        key, secret = self._credentials.consumer_key, self._credentials.consumer_secret.get_secret_value()
        match self._way:
            case Way.HEADER:
                return await http.send(self._client, method, url, auth=(key, secret))
            case Way.QUERY:
                url = url.copy_merge_params({"consumer_key": key, "consumer_secret": secret})
            case Way.SIGNATURE:
                url = _signed(method, url, key, secret)
        return await http.send(self._client, method, url)

    def _has_plain_permalinks(self, url: httpx.URL, response: httpx.Response) -> bool:
        """Whether the shop may answer where the route is in the query. Raises where it is at another address."""
        if response.has_redirect_location:
            target = _target(url, response)
            if http.origin(target) != http.origin(url):
                raise UnexpectedResponseError(
                    f"{self._credentials.url} leads to another address: enter {_shop_of(target)} instead."
                )
        elif response.status_code != 404 and not response.is_success:
            return False
        return self._pretty and not self._reached and not _is_json(response)

    def _refusal(self, response: httpx.Response) -> ConnectorError:
        """What an answer means that is not JSON or not 2xx: by its status, and WordPress's code."""
        shop, code = self._credentials.url, _code(response)
        match response.status_code, code:
            case 401, "woocommerce_rest_cannot_view":
                old = "" if self._pretty else f" {OLD_WITH_PLAIN_PERMALINKS}"
                return AccessRevokedError(
                    f"{shop} does not know this key: it was deleted there, or did not reach WooCommerce. {NEW_KEY}{old}"
                )
            case 401, "woocommerce_rest_authentication_error":
                return AccessRevokedError(f"{shop} does not accept this key for reading. {NEW_KEY}")
            case 403, "woocommerce_rest_cannot_view":
                return AccessRevokedError(f"Whom this key of {shop} belongs to may not see all of it. {NEW_KEY}")
            case 404, "rest_no_route":
                return UnexpectedResponseError(
                    f"WooCommerce is not active at {shop}, or its REST API is blocked: check its plugins."
                )
            case 400, "rest_invalid_param":
                return UnexpectedResponseError(
                    f"{shop} does not accept the criteria: the role may not exist any more, choose another."
                )
            case 403, None:
                return UnexpectedResponseError(
                    f"Something in front of {shop} refuses this server (403): allow it in the firewall, or in the "
                    "security plugin."
                )
            case status, None if status == 404 or response.is_success or response.has_redirect_location:
                return UnexpectedResponseError(self._no_api(response))
            case _:
                return http.refusal(response, now=datetime.now(UTC))

    def _no_api(self, response: httpx.Response) -> str:
        """What to do about an answer that WordPress's REST API never gives."""
        shop = self._credentials.url
        if PHP_MESSAGE.search(response.content[:10_000]):
            return f"{shop} prints messages of PHP into its answers: switch WP_DEBUG_DISPLAY off there."
        kind = response.headers.get("Content-Type", "nothing").partition(";")[0][:60]
        return (
            f"{shop} has no REST API of WordPress ({response.status_code}, {kind}): check the address, and that no "
            "plugin blocks it."
        )


def _signed(method: str, url: httpx.URL, key: str, secret: str) -> httpx.URL:
    """Sign with OAuth 1.0a, one-legged, which keeps the secret from whoever listens.

    Authlib's own client refuses any address without TLS, so that its parts are put together here.
    """
    signing = {
        "oauth_consumer_key": key,
        "oauth_nonce": secrets.token_hex(16),
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(int(time.time())),
    }
    url = url.copy_merge_params(signing)
    base = construct_base_string(method, str(url.copy_with(query=None)), list(url.params.multi_items()))
    return url.copy_merge_params({"oauth_signature": hmac_sha1_signature(base, secret, None)})


def _is_json(response: httpx.Response) -> bool:
    """By its beginning: hosts lie about types."""
    return response.content.lstrip()[:1] in {b"[", b"{"}


def _code(response: httpx.Response) -> str | None:
    try:
        return WordPressError.model_validate_json(response.content).code
    except ValidationError:
        return None


def _knows_nobody(response: httpx.Response) -> bool:
    """Whether no key arrived, or an unknown one: WooCommerce answers both alike, and 403 to a key that may not read."""
    return response.status_code == 401 and _code(response) == "woocommerce_rest_cannot_view"


def _target(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    try:
        return url.join(response.headers["Location"])
    except httpx.InvalidURL:
        return url


def _shop_of(url: httpx.URL) -> str:
    try:
        return shop_address(str(url.copy_with(userinfo=b"", fragment=None)))
    except ValueError:
        return "the address where a browser ends up"
