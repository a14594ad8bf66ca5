"""Customers of a WooCommerce shop and, where wanted, those who bought there without an account.

* Change source: none for customers, whose listing ignores every filter by time
  (https://github.com/woocommerce/woocommerce/issues/31482), and of whom some changes leave no date: all are read each
  time, 99 a request. Orders tell what changed since (`modified_after`): guests are known by them alone.
* Checkpoint: the id up to which the listing under way is stored, and where it was. For orders also the time since when
  changes are to be asked for (the latest one seen, but none after the reading began by the shop's own clock, minus an
  overlap), and the latest order of those who bought last.
* Deletions: absence from sweeps. With guests only the first reading is one: a guest has no record that could vanish,
  and reading all orders again would bring back what older ones say. A guest who registers is told of as deleted: the
  customer has the address then.

https://woocommerce.github.io/woocommerce-rest-api-docs/#list-all-customers
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field

from connectors.base import Checkpoint, Page, Service, ServiceCategory, restore
from connectors.woocommerce import guests as shop_guests
from connectors.woocommerce.api import Credentials, Store
from connectors.woocommerce.authorization import AUTHORIZATION
from connectors.woocommerce.guests import Guests
from connectors.woocommerce.listing import Listed, Place, listing
from connectors.woocommerce.records import FIELDS, Customer, customer_record, field_spec
from connectors.woocommerce.shop import CUSTOMERS, choices, identify
from domain.records import Record


class Criteria(BaseModel):
    """Which contacts to import."""

    model_config = ConfigDict(extra="forbid")

    role: str = Field(
        "all",
        title="Role",
        description="Import users of the shop with this role only. Plugins give buyers other roles than Customer.",
        min_length=1,
        max_length=100,
    )
    guests: bool = Field(
        default=False,
        title="Guests",
        description="Also import those who bought without an account, from the shop's orders. The first import then "
        "reads all orders, and customers deleted in the shop are no longer noticed.",
    )


class State(BaseModel):
    """The checkpoint: what is being read, where, and whether it belongs to a sweep; and what is known of guests."""

    model_config = ConfigDict(frozen=True)

    version: Literal[2]
    reading: Literal["customers", "orders"] = "customers"
    sweeping: bool = True
    place: Place = Place()
    guests: Guests = Guests()

    def but(self, **changes: Any) -> Self:
        """The same, with changes."""
        return self.model_copy(update=changes)


FIRST = State(version=2)


class WooCommerce:
    """Reads the customers of one shop, and its guests."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> None:
        self._store = Store(client, credentials)
        self._criteria = criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield customers, then guests, at most 100 a page. `remaining` counts customers where no guests follow."""
        state = FIRST if checkpoint is None else restore(State, checkpoint)
        if state.reading == "customers":
            async for page in self._customers(state):
                yield page
                state = restore(State, page.checkpoint)
        if state.reading == "orders":
            async for page in self._guests(state):
                yield page

    async def _customers(self, state: State) -> AsyncGenerator[Page, None]:
        has_guests, guests = self._criteria.guests, state.guests
        found: Listed[Customer]
        async for found in listing(self._store, CUSTOMERS, {"role": self._criteria.role}, list[Customer], state.place):
            records = [customer_record(customer) for customer in found.rows]
            gone = shop_guests.registered(guests, records)
            guests = shop_guests.without(guests, gone)
            if found.place is not None:
                state = state.but(place=found.place, guests=guests)
            elif has_guests:
                last = max([guests.last_customer or 0, state.place.last_id, *(customer.id for customer in found.rows)])
                state = state.but(reading="orders", place=Place(), guests=guests.but(last_customer=last))
            yield _page(
                records,
                FIRST if found.place is None and not has_guests else state,
                deleted_ids=gone,
                sweep=state.sweeping,
                complete=found.place is None and not has_guests,
                remaining=None if has_guests else found.remaining,
            )

    async def _guests(self, state: State) -> AsyncGenerator[Page, None]:
        async for found in shop_guests.read(self._store, state.guests, state.place):
            if found.place is None:
                then = State(version=2, sweeping=False, guests=found.guests)
            else:
                then = state.but(place=found.place, guests=found.guests)
            yield _page(found.records, then, sweep=state.sweeping, complete=state.sweeping and found.place is None)


def _page(
    records: Sequence[Record],
    state: State,
    *,
    deleted_ids: Sequence[str] = (),
    sweep: bool,
    complete: bool,
    remaining: int | None = None,
) -> Page:
    return Page(
        records=records,
        fields={key: field_spec(key) for key in dict.fromkeys(key for record in records for key in record.values)},
        checkpoint=state.model_dump(mode="json"),
        deleted_ids=deleted_ids,
        sweep=sweep,
        complete=complete,
        remaining=remaining,
    )


def connect(client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> WooCommerce:
    """Make the connector for one automatic import."""
    return WooCommerce(client, credentials, criteria)


SERVICE = Service(
    key="woocommerce",
    name="WooCommerce",
    category=ServiceCategory.E_COMMERCE,
    documentation_url="https://woocommerce.github.io/woocommerce-rest-api-docs/",
    credentials=Credentials,
    form=Credentials,
    authorization=AUTHORIZATION,
    criteria=Criteria,
    fields=FIELDS,
    connect=connect,
    identify=identify,
    choices=choices,
    notice="WooCommerce itself does not record consent to marketing. Where Mailchimp, ActiveCampaign or Brevo for "
    "WooCommerce asks for it, their answer counts; else customers are imported as active contacts.",
)
