"""A Shopify shop: how users name it, and the two ways to connect it.

https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/authorization-code-grant
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from connectors import http
from connectors.base import Attempt, Registration, UnexpectedResponseError
from connectors.oauth import Tokens, code_flow

DOMAIN = re.compile(r"[a-z0-9][a-z0-9-]*\.myshopify\.com")
ADMIN = re.compile(r"admin\.shopify\.com/store/([^/?#]+)")


def shop_domain(text: str) -> str:
    """`my-shop.myshopify.com` of a shop's name, its address or the address of its administration. Raises ValueError."""
    address = re.sub(r"^https?://", "", text.strip().lower())
    admin = ADMIN.match(address)
    name = admin[1] if admin else re.split(r"[/?#]", address, maxsplit=1)[0]
    domain = name if "." in name else f"{name}.myshopify.com"
    if not DOMAIN.fullmatch(domain):
        raise ValueError(
            "must be the shop's name at Shopify, like my-shop.myshopify.com: Settings › Domains shows it, "
            "and it stays the same where the shop has a domain of its own"
        )
    return domain


def _token(token: SecretStr) -> SecretStr:
    """A header takes no other characters."""
    text = token.get_secret_value().strip()
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be the token as Shopify shows it, like shpat_ and 32 characters")
    return SecretStr(text)


Shop = Annotated[
    str,
    Field(
        max_length=300,
        title="Shop",
        description="The shop's name at Shopify, like my-shop.myshopify.com, or the address of its administration.",
    ),
    AfterValidator(shop_domain),
]


class Details(BaseModel):
    """What has to be known before a user can be asked on Shopify's page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shop: Shop


class Form(BaseModel):
    """The token of an app that the shop's owner made."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    shop: Shop
    access_token: Annotated[
        SecretStr,
        Field(
            max_length=500,
            title="Admin API access token",
            description="Of an app of your own with the scope read_customers, shown once when it is installed.",
        ),
        AfterValidator(_token),
    ]


class Credentials(Tokens):
    """What is stored. Only tokens of the authorization can be renewed; a custom app's lasts."""

    shop: Shop
    access_token: Annotated[SecretStr, Field(title="Admin API access token"), AfterValidator(_token)]


def verify(attempt: Attempt, answer: Mapping[str, str]) -> None:
    """Check that Shopify itself, and the shop that was asked, sent the browser back.

    The signature is over the other parameters, sorted; Shopify's own libraries escape them in two ways, which differ
    only in characters that it does not send today. Raises UnexpectedResponseError.
    """
    registration = attempt.registration
    if registration is None:
        raise ValueError("a code flow needs a client registration")
    secret = registration.client_secret.get_secret_value().encode()
    signed = sorted({**answer, "state": attempt.state}.items())
    signed = [(name, value) for name, value in signed if name != "hmac"]
    given = answer.get("hmac", "").encode()
    messages = ("&".join(f"{name}={value}" for name, value in signed), urlencode(signed))
    right = [hmac.new(secret, message.encode(), hashlib.sha256).hexdigest().encode() for message in messages]
    if not any(hmac.compare_digest(each, given) for each in right):
        raise UnexpectedResponseError(
            "What came back is not signed by Shopify with this app's secret. Connect again; if that does not help, the "
            "operator of this server should check SLUICE_SHOPIFY_CLIENT_SECRET."
        )
    if answer.get("shop") != attempt.details.shop:
        raise UnexpectedResponseError(
            f"You agreed for the shop {answer.get('shop')}, not for {attempt.details.shop}. Connect again."
        )


AUTHORIZATION = code_flow(
    authorize_url=lambda details: f"https://{details.shop}/admin/oauth/authorize",
    token_url=lambda known: f"https://{known.shop}/admin/oauth/access_token",
    scope="read_customers",
    details=Details,
    credentials=Credentials,
    # Tokens that do not expire are refused from 2027 on.
    token_parameters={"expiring": "1"},
    verify=verify,
)


async def revoke(client: httpx.AsyncClient, _: Registration | None, credentials: Credentials) -> None:
    """Uninstall our app from the shop. An app of the user's own is theirs to uninstall.

    https://shopify.dev/docs/apps/build/authentication-authorization/app-installation/uninstall-app-api-request
    """
    if credentials.refresh_token is None:
        return
    response = await http.send(
        client,
        "DELETE",
        f"https://{credentials.shop}/admin/api_permissions/current.json",
        headers={"X-Shopify-Access-Token": credentials.access_token.get_secret_value()},
    )
    # It may be gone already. 401 does not say so: an access token ends within the hour, the installation does not.
    if response.status_code not in {403, 404}:
        http.check(response)
