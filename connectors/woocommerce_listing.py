"""A listing of a shop, read in the order of its ids, nobody lost while others come and go.

WooCommerce pages by offset: whoever is deleted meanwhile shifts the rest, and a page by number would skip some. So
each page begins with the last row of the one before. Is that row, or an earlier one, still the first, then nobody is
missing between; else rows before it have gone, and the reading steps back until it finds its place.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, Protocol, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field

from connectors import http
from connectors.base import UnexpectedResponseError
from connectors.woocommerce_api import Store

PER_PAGE = 100
"""The most that WooCommerce gives."""
MOST_WITHOUT_NEWS = 1000
"""Requests in a row: far beyond what deletions can cost."""


class Numbered(Protocol):
    """A row with the id that the listing is ordered by."""

    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=Numbered)


class Place(BaseModel):
    """How far a listing has been read: up to this id, which was seen at about this offset."""

    model_config = ConfigDict(frozen=True)

    last_id: int = 0
    offset: int = Field(0, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[Row]):
    """The rows that one request brought, and the place behind them; None at the end.

    `remaining` rows are still to come, where the shop tells. `answered_at`: the shop's own clock.
    """

    rows: Sequence[Row]
    place: Place | None
    remaining: int | None
    answered_at: datetime | None


async def listing(
    store: Store, route: str, parameters: Mapping[str, str], shape: type[list[Row]], place: Place
) -> AsyncGenerator[Listed[Row], None]:
    """Read on from `place`. A request that brings nobody new still moves the place."""
    step, seen, most, without_news = PER_PAGE, list[int](), 0, 0
    while True:
        response = await store.get(route, {**parameters, **_window(place.offset)})
        rows, total = http.parse(response, shape), _total(response)
        ids = [row.id for row in rows]
        if sorted({*ids}) != ids:
            raise UnexpectedResponseError(f"The shop lists {route} in another order than that of their ids.")
        new = [row for row in rows if row.id > place.last_id]
        is_adrift = place.offset > 0 and not (ids and ids[0] <= place.last_id)
        without_news = 0 if new and not is_adrift else without_news + 1
        most = max(most, len(ids))
        # A page with gaps can be the same one row further on; a full one cannot.
        if (len(ids) > 1 and ids == seen and len(ids) == most) or without_news > MOST_WITHOUT_NEWS:
            raise UnexpectedResponseError(f"The shop gives the same page of {route} again and again: is it cached?")
        # A step back may find the very same rows, where as many have gone.
        seen = [] if is_adrift else ids
        if is_adrift:
            place, step = place.model_copy(update={"offset": max(place.offset - step, 0)}), step * 2
            yield Listed(rows=[], place=place, remaining=None, answered_at=_date(response))
            continue
        step = PER_PAGE
        end = place.offset + len(rows)
        is_last = _is_last(place.offset, len(rows), total, has_news=bool(new))
        if not is_last and len(rows) < 2:
            raise UnexpectedResponseError(f"The shop says that it has {total} {route}, and shows but {end}.")
        place = Place(last_id=new[-1].id if new else place.last_id, offset=end - 1 if end else 0)
        remaining = None if total is None else max(total - end, 0)
        yield Listed(
            rows=new,
            place=None if is_last else place,
            remaining=0 if is_last else remaining,
            answered_at=_date(response),
        )
        if is_last:
            return


def _window(offset: int) -> dict[str, str]:
    window = {"per_page": str(PER_PAGE), "orderby": "id", "order": "asc"}
    return {**window, "offset": str(offset)} if offset else window


def _is_last(offset: int, count: int, total: int | None, *, has_news: bool) -> bool:
    """Whether the listing ends with this page. A shop may show fewer rows than it was asked for, or than it counts."""
    if total is None:
        return not has_news or count < 2
    # Alone with the row that was known, behind it some that are counted and not shown.
    return offset + count >= total or (not has_news and count < 2 and offset + PER_PAGE >= total)


def _total(response: httpx.Response) -> int | None:
    total = response.headers.get("X-WP-Total", "")
    return int(total) if total.isascii() and total.isdigit() else None


def _date(response: httpx.Response) -> datetime | None:
    try:
        date = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
