"""Customers of a Shopify shop.

* Change source: `updated_at` of a search index that is minutes behind, asked with an overlap; whom it brings again is
  told apart by id and time of change.
* Checkpoint: up to when changes have been read, and how far a sweep is (connectors/shopify/state.py).
* Deletions: not reported. Everybody is read once a day, so that absence means something: in pages by id, or, in a
  larger shop, from the file of a bulk operation, as far as its lines still hold. Of customers that are merged the
  survivor changes, the other is gone.
* Only Shopify knows who matches a search: it is asked for warnings first, as it ignores what it does not understand.

https://shopify.dev/docs/api/admin-graphql/2026-10/queries/customers
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import httpx

from connectors.base import (
    AccessRevokedError,
    Checkpoint,
    Choice,
    Page,
    RemoteAccount,
    Service,
    ServiceCategory,
    restore,
)
from connectors.shopify.api import GRANT, Shape, ask
from connectors.shopify.customers import FIELDS, MOST_METAFIELDS, EmailAddress
from connectors.shopify.reading import Reading, begin
from connectors.shopify.search import Criteria
from connectors.shopify.shop import AUTHORIZATION, Credentials, Form, revoke
from connectors.shopify.state import State

WHO = "{ shop { id name myshopifyDomain } currentAppInstallation { accessScopes { handle } } }"
SAMPLE = """
{
  customers(first: 5, query: "email:*") {
    nodes {
      firstName lastName defaultEmailAddress { emailAddress marketingState } defaultPhoneNumber { phoneNumber }
      defaultAddress { city }
    }
  }
}
"""
TAGS = "{ customers(first: 250, sortKey: UPDATED_AT, reverse: true) { nodes { tags } } }"


class _Shop(Shape):
    id: str
    name: str
    myshopify_domain: str


class _Scope(Shape):
    handle: str


class _Installation(Shape):
    access_scopes: tuple[_Scope, ...]


class _Who(Shape):
    shop: _Shop
    current_app_installation: _Installation


class _Sampled(Shape):
    default_email_address: EmailAddress | None


class _Sample(Shape):
    nodes: tuple[_Sampled, ...]


class _Samples(Shape):
    customers: _Sample


class _Tagged(Shape):
    tags: tuple[str, ...]


class _TaggedNodes(Shape):
    nodes: tuple[_Tagged, ...]


class _TaggedCustomers(Shape):
    customers: _TaggedNodes


class Shopify:
    """Reads the customers of one shop, or those that match."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> None:
        self._client = client
        self._credentials = credentials
        self._criteria = criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield who changed, then everybody where that is due, or under way; at most 250 a page.

        Who changed comes first in the midst of a sweep too: a first import of many takes days, in which people opt
        out.
        """
        client, credentials, criteria = self._client, self._credentials, self._criteria
        state = (
            restore(State, checkpoint) if checkpoint is not None else await begin(client, credentials, criteria, None)
        )
        reading = Reading(client=client, credentials=credentials, criteria=criteria, state=state)
        if checkpoint is not None:
            async for page in reading.changes():
                yield page
            if reading.state.is_sweep_due(datetime.now(UTC)):
                reading.state = await begin(client, credentials, criteria, reading.state)
        async for page in reading.everybody():
            yield page


def connect(client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> Shopify:
    """Make the connector for one automatic import."""
    return Shopify(client, credentials, criteria)


async def identify(client: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
    """Check that customers, and what identifies them, may be read. The identity is the shop's id."""
    who = await ask(client, credentials, _Who, WHO)
    scopes = {scope.handle for scope in who.current_app_installation.access_scopes}
    if not scopes & {"read_customers", "write_customers"}:
        raise AccessRevokedError(f"{who.shop.name} gave no access to its customers. {GRANT}")
    sampled = (await ask(client, credentials, _Samples, SAMPLE)).customers.nodes
    # All of them have an address: it was searched for.
    if sampled and all(each.default_email_address is None for each in sampled):
        raise AccessRevokedError(f"{who.shop.name} hides the addresses of its customers from this app. {GRANT}")
    return RemoteAccount(identity=who.shop.id, label=f"{who.shop.name} ({who.shop.myshopify_domain})")


async def choices(client: httpx.AsyncClient, credentials: Credentials, criterion: str) -> Sequence[Choice]:
    """Offer the tags of the 250 customers who changed last: Shopify lists no tags by themselves."""
    if criterion != "tags":
        return []
    found = (await ask(client, credentials, _TaggedCustomers, TAGS)).customers.nodes
    tags = {tag for each in found for tag in each.tags}
    return [Choice(value=tag, label=tag) for tag in sorted(tags, key=lambda tag: (tag.casefold(), tag))]


SERVICE = Service(
    key="shopify",
    name="Shopify",
    category=ServiceCategory.E_COMMERCE,
    documentation_url="https://shopify.dev/docs/api/admin-graphql/2026-10/queries/customers",
    credentials=Credentials,
    form=Form,
    authorization=AUTHORIZATION,
    revoke=revoke,
    notice=f"At most {MOST_METAFIELDS} metafields become fields, and none that refers to something else in the shop.",
    criteria=Criteria,
    fields=FIELDS,
    connect=connect,
    identify=identify,
    choices=choices,
)
