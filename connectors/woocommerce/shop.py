"""What a WooCommerce shop tells of itself: its address and name, and its roles.

https://developer.wordpress.org/rest-api/extending-the-rest-api/routes-and-endpoints/
"""

import html
from collections.abc import Sequence
from typing import Any

import httpx
from pydantic import AliasPath, BaseModel, Field, ValidationError

from connectors import http
from connectors.base import AccessRevokedError, Choice, RemoteAccount, UnexpectedResponseError
from connectors.woocommerce.api import Credentials, Store

CUSTOMERS = "wc/v3/customers"

ROLES = ("all", "administrator", "editor", "author", "contributor", "subscriber", "customer", "shop_manager")
"""Those of every shop; plugins add others."""


class Site(BaseModel):
    """What WordPress tells everybody about a site."""

    name: str = ""
    home: str = ""


async def identify(client: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
    """Check that the key may see customers. The identity is the shop's own address, without scheme and www."""
    # Apart: a plugin that hides the site's own description need not hide the rest.
    site = await _site(Store(client, credentials))
    await Store(client, credentials).get(CUSTOMERS, {"per_page": "1", "orderby": "id", "order": "asc", "role": "all"})
    try:
        home = http.web_address(site.home or credentials.url)
    except ValueError:
        home = httpx.URL(credentials.url)
    port = f":{home.port}" if home.port else ""
    identity = f"{home.host.removeprefix('www.')}{port}{home.path.rstrip('/')}"
    return RemoteAccount(identity=identity, label=html.unescape(site.name).strip() or identity)


async def _site(store: Store) -> Site:
    """Asked without the key, which only WooCommerce's own routes know. Some shops show this to nobody."""
    response = await store.send("GET", "", {"_fields": "name,home"}, with_key=False)
    if http.is_transient(response.status_code):
        http.check(response)
    try:
        return Site.model_validate_json(response.content)
    except ValidationError:
        return Site()


class Route(BaseModel):
    """How a route describes itself, to OPTIONS: of its methods the first is GET. PHP has a list where there is none."""

    roles: list[Any] = Field([], validation_alias=AliasPath("endpoints", 0, "args", "role", "enum"))


async def choices(client: httpx.AsyncClient, credentials: Credentials, criterion: str) -> Sequence[Choice]:
    """Offer the roles that the shop has; where it does not tell, those of every shop."""
    if criterion != "role":
        return []
    response = await Store(client, credentials).send("OPTIONS", CUSTOMERS, {})
    try:
        described = http.parse(http.check(response), Route)
    except (AccessRevokedError, UnexpectedResponseError):
        described = Route()
    own = [role for role in described.roles if isinstance(role, str) and role]
    return [Choice(value=role, label=_role_title(role)) for role in dict.fromkeys(own or ROLES)]


def _role_title(role: str) -> str:
    return "Everybody" if role == "all" else role.replace("_", " ").replace("-", " ").capitalize()
