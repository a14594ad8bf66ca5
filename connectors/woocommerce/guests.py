"""Those who bought in a WooCommerce shop without an account: found by its orders, and by what changed in them since.

A guest has no record but the orders, of which the latest counts. Which one that is, is remembered of the guests who
bought last; of any other an order that is edited may be an old one, which must not bring back what it says.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from connectors.woocommerce.api import Store
from connectors.woocommerce.listing import Listed, Place, listing
from connectors.woocommerce.records import Order, guest_id, guest_record, latest_by_guest, old_guest_record
from domain.records import Record

ORDERS = "wc/v3/orders"

OVERLAP = timedelta(minutes=10)
"""Web servers and databases have clocks of their own."""
MOST_RECENT = 500
"""Guests whose latest order is remembered, and who are known to have registered meanwhile."""

# Not what was bought, nor from which address on the network: that need not leave the shop.
ORDER_FIELDS = "id,customer_id,status,date_modified_gmt,billing,shipping,meta_data"


class Guests(BaseModel):
    """What is known of the guests. `changed_since`: orders changed earlier have been read; None until all have been.

    `began_at` and `latest`: of the reading of orders under way, the shop's clock when it began, and the latest change.
    `recent`: the latest order of those guests who bought last, by the end of their external ids.
    `last_customer`: the highest id when all customers were last read; whoever has a higher one has `registered` since,
    and is no guest any more, while orders of theirs still say so.
    """

    model_config = ConfigDict(frozen=True)

    changed_since: AwareDatetime | None = None
    began_at: AwareDatetime | None = None
    latest: AwareDatetime | None = None
    recent: Mapping[str, int] = {}
    last_customer: int | None = None
    registered: tuple[str, ...] = ()

    def but(self, **changes: Any) -> Self:
        """The same, with changes."""
        return self.model_copy(update=changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Guests of one page of orders, what is known then, and the place behind it; None at the end."""

    records: Sequence[Record]
    guests: Guests
    place: Place | None


def registered(guests: Guests, customers: Iterable[Record]) -> list[str]:
    """The external ids that those of the customers had as guests who registered since the last reading."""
    return [
        guest_id(customer.email)
        for customer in customers
        if customer.email and guests.last_customer is not None and int(customer.external_id) > guests.last_customer
    ]


def without(guests: Guests, gone: Iterable[str]) -> Guests:
    """What is known when these external ids are no guests' any more."""
    return guests.but(registered=(*guests.registered, *map(_short, gone))[-MOST_RECENT:])


async def read(store: Store, guests: Guests, place: Place) -> AsyncGenerator[Found, None]:
    """Read the orders that changed since, from `place` on."""
    parameters = {"_fields": ORDER_FIELDS}
    if guests.changed_since is not None:
        # Without dates_are_gmt the shop would take it for its own local time.
        since = guests.changed_since.strftime("%Y-%m-%dT%H:%M:%S")
        parameters |= {"modified_after": since, "dates_are_gmt": "true"}
    found: Listed[Order]
    async for found in listing(store, ORDERS, parameters, list[Order], place, hides=True):
        news = [order for order in found.rows if _is_news(guests, order)]
        latest = {guest: order for guest, order in latest_by_guest(news).items() if _counts(guests, guest, order)}
        records = [
            old_guest_record(guest, order) if _is_forgotten(guests, guest, order) else guest_record(guest, order)
            for guest, order in latest.items()
        ]
        guests = _noted(guests, found, latest)
        yield Found(records=records, guests=guests, place=found.place)


def _is_news(guests: Guests, order: Order) -> bool:
    """Whether it was asked for: before WooCommerce 5.8, `modified_after` is ignored."""
    changed_at = order.date_modified_gmt
    return guests.changed_since is None or changed_at is None or changed_at >= guests.changed_since


def _counts(guests: Guests, guest: str, order: Order) -> bool:
    """Whether it says anything of a guest: a later one does not, as far as is known, nor does an account."""
    return order.id >= guests.recent.get(_short(guest), 0) and _short(guest) not in guests.registered


def _is_forgotten(guests: Guests, guest: str, order: Order) -> bool:
    """Whether the guest may have bought since: the order is older than all that are remembered."""
    recent = guests.recent
    return len(recent) >= MOST_RECENT and _short(guest) not in recent and order.id < min(recent.values())


def _short(guest: str) -> str:
    return guest[-12:]


def _noted(guests: Guests, found: Listed[Order], by_guest: Mapping[str, Order]) -> Guests:
    """What is known behind a page of orders; behind the last, what the next cycle needs."""
    recent = {**guests.recent, **{_short(guest): order.id for guest, order in by_guest.items()}}
    recent = dict(sorted(recent.items(), key=itemgetter(1))[-MOST_RECENT:])
    changes = [order.date_modified_gmt for order in found.rows if order.date_modified_gmt is not None]
    latest = max([*changes, *([guests.latest] if guests.latest else [])], default=None)
    # Without a clock of the shop's, no change is known to be older than the reading but those of its first page.
    began_at = guests.began_at or found.answered_at or latest
    if found.place is not None:
        return guests.but(began_at=began_at, latest=latest, recent=recent)
    since = _since(guests.changed_since, began_at, latest)
    return Guests(changed_since=since, recent=recent, last_customer=guests.last_customer)


def _since(before: datetime | None, began_at: datetime | None, latest: datetime | None) -> datetime | None:
    if began_at is None or latest is None:
        return before
    since = min(began_at, latest) - OVERLAP
    return since if before is None else max(before, since)
