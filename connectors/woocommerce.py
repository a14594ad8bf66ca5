"""Customers of a WooCommerce shop and, where wanted, those who bought there without an account.

* Change source: none for customers, whose listing ignores every filter by time
  (https://github.com/woocommerce/woocommerce/issues/31482), and of whom some changes leave no date: all are read each
  time, 99 a request. Orders tell what changed since (`modified_after`): guests are known by them alone.
* Checkpoint: the id up to which the listing under way is stored, and where it was. For orders also the time since when
  changes are to be asked for: the latest one seen, but none after the reading began by the shop's own clock; minus an
  overlap.
* Deletions: absence from sweeps. With guests only the first reading is one: a guest has no record that could vanish,
  and reading all orders again would bring back what older ones say.

https://woocommerce.github.io/woocommerce-rest-api-docs/#list-all-customers
"""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Literal, Self

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from connectors.base import (
    Checkpoint,
    CheckpointExpiredError,
    Page,
    Service,
    ServiceCategory,
)
from connectors.woocommerce_api import Credentials, Store
from connectors.woocommerce_authorization import AUTHORIZATION
from connectors.woocommerce_listing import Listed, Place, listing
from connectors.woocommerce_records import (
    FIELDS,
    Customer,
    Order,
    customer_record,
    field_spec,
    guest_record,
    latest_by_guest,
)
from connectors.woocommerce_shop import CUSTOMERS, choices, identify
from domain.records import Record

ORDERS = "wc/v3/orders"

OVERLAP = timedelta(minutes=10)
"""Web servers and databases have clocks of their own."""
MOST_RECENT = 500
"""Guests whose latest order is remembered: an older one that is edited must not bring back what it says of them."""

# Not what was bought, nor from which address on the network: that need not leave the shop.
ORDER_FIELDS = "id,customer_id,status,date_modified_gmt,billing,shipping,meta_data"


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
    """The checkpoint. `changed_since`: orders changed earlier have been read; None until all have been read once.

    `began_at` and `latest`: of the reading of orders under way, the shop's clock when it began, and the latest change.
    `recent`: the latest order of those guests who bought last, by the end of their external ids.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1]
    reading: Literal["customers", "orders"] = "customers"
    sweeping: bool = True
    place: Place = Place()
    changed_since: AwareDatetime | None = None
    began_at: AwareDatetime | None = None
    latest: AwareDatetime | None = None
    recent: Mapping[str, int] = {}

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> Self:
        """Read a checkpoint; what another version of this connector left has expired."""
        if checkpoint is None:
            return cls(version=1)
        try:
            return cls.model_validate(checkpoint)
        except ValidationError:
            raise CheckpointExpiredError("the checkpoint is from another version") from None

    def is_news(self, order: Order) -> bool:
        """Whether it is asked for: before WooCommerce 5.8, `modified_after` is ignored."""
        changed_at = order.date_modified_gmt
        return self.changed_since is None or changed_at is None or changed_at >= self.changed_since

    def but(self, **changes: Any) -> Self:
        """The same, with changes."""
        return self.model_copy(update=changes)


class WooCommerce:
    """Reads the customers of one shop, and its guests."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> None:
        self._store = Store(client, credentials)
        self._criteria = criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield customers, then guests, at most 100 a page. `remaining` counts customers where no guests follow."""
        state = State.of(checkpoint)
        if state.reading == "customers":
            async for page in self._customers(state):
                yield page
            state = state.but(reading="orders", place=Place())
        if self._criteria.guests:
            async for page in self._guests(state):
                yield page

    async def _customers(self, state: State) -> AsyncGenerator[Page, None]:
        then = state.but(reading="orders", place=Place()) if self._criteria.guests else State(version=1)
        found: Listed[Customer]
        async for found in listing(self._store, CUSTOMERS, {"role": self._criteria.role}, list[Customer], state.place):
            yield _page(
                [customer_record(customer) for customer in found.rows],
                then if found.place is None else state.but(place=found.place),
                sweep=state.sweeping,
                complete=found.place is None and not self._criteria.guests,
                remaining=None if self._criteria.guests else found.remaining,
            )

    async def _guests(self, state: State) -> AsyncGenerator[Page, None]:
        parameters = {"_fields": ORDER_FIELDS}
        if state.changed_since is not None:
            # Without dates_are_gmt the shop would take it for its own local time.
            since = state.changed_since.strftime("%Y-%m-%dT%H:%M:%S")
            parameters |= {"modified_after": since, "dates_are_gmt": "true"}
        found: Listed[Order]
        async for found in listing(self._store, ORDERS, parameters, list[Order], state.place):
            latest = {
                guest: order
                for guest, order in latest_by_guest(filter(state.is_news, found.rows)).items()
                if order.id >= state.recent.get(_short(guest), 0)
            }
            sweeping, state = state.sweeping, _noted(state, found, latest)
            yield _page(
                [guest_record(guest, order) for guest, order in latest.items()],
                state,
                sweep=sweeping,
                complete=sweeping and found.place is None,
            )


def _short(guest: str) -> str:
    return guest[-12:]


def _noted(state: State, found: Listed[Order], by_guest: Mapping[str, Order]) -> State:
    """The state behind a page of orders; behind the last, the one for the next cycle."""
    recent = {**state.recent, **{_short(guest): order.id for guest, order in by_guest.items()}}
    recent = dict(sorted(recent.items(), key=itemgetter(1))[-MOST_RECENT:])
    changes = [order.date_modified_gmt for order in found.rows if order.date_modified_gmt is not None]
    latest = max([*changes, *([state.latest] if state.latest else [])], default=None)
    # Without a clock of the shop's, no change is known to be older than the reading but those of its first page.
    began_at = state.began_at or found.answered_at or latest
    if found.place is not None:
        return state.but(place=found.place, began_at=began_at, latest=latest, recent=recent)
    since = _since(state.changed_since, began_at, latest)
    return State(version=1, sweeping=False, changed_since=since, recent=recent)


def _since(before: datetime | None, began_at: datetime | None, latest: datetime | None) -> datetime | None:
    if began_at is None or latest is None:
        return before
    since = min(began_at, latest) - OVERLAP
    return since if before is None else max(before, since)


def _page(records: list[Record], state: State, *, sweep: bool, complete: bool, remaining: int | None = None) -> Page:
    return Page(
        records=records,
        fields={key: field_spec(key) for record in records for key in record.values},
        checkpoint=state.model_dump(mode="json"),
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
