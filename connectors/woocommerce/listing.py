"""A listing of a shop, read in the order of its ids, nobody lost while others come and go.

WooCommerce pages by offset: whoever is deleted meanwhile shifts the rest, and a page by number would skip some. So
each page begins with the last row of the one before. Is that row, or an earlier one, still the first, then nobody is
missing between; else rows before it have gone, and the reading steps back until it finds its place.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field

from connectors import http
from connectors.base import UnexpectedResponseError
from connectors.woocommerce.api import Store

PER_PAGE = 100
"""The most that WooCommerce gives."""
MOST_WITHOUT_NEWS = 1000
"""Requests in a row, in however many jobs: far beyond what deletions can cost."""


class Numbered(Protocol):
    """A row with the id that the listing is ordered by."""

    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=Numbered)


class Place(BaseModel):
    """How far a listing has been read: up to this id, which was seen at about this offset.

    `is_anchored`: no rows that are not shown lie between. `without_news`: the last requests that brought nobody new.
    """

    model_config = ConfigDict(frozen=True)

    last_id: int = 0
    offset: int = Field(0, ge=0)
    is_anchored: bool = True
    without_news: int = Field(0, ge=0)

    def but(self, **changes: Any) -> Self:
        """The same, with changes."""
        return self.model_copy(update=changes)


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
    store: Store,
    route: str,
    parameters: Mapping[str, str],
    shape: type[list[Row]],
    place: Place,
    *,
    hides: bool = False,
) -> AsyncGenerator[Listed[Row], None]:
    """Read on from `place`. A request that brings nobody new still moves the place.

    `hides`: rows that the key may not see are left out of the listing, and yet counted.
    """
    step, seen, seen_at, most = PER_PAGE, list[int](), 0, 0
    while True:
        response = await store.get(route, {**parameters, **_window(place.offset)})
        rows, total = http.parse(response, shape), _number(response, "X-WP-Total")
        answered_at, is_whole = http.moment(response.headers.get("Date", "")), _is_whole(response, total)
        ids = [row.id for row in rows]
        if sorted({*ids}) != ids:
            raise UnexpectedResponseError(f"The shop lists {route} in another order than that of their ids.")
        new = [row for row in rows if row.id > place.last_id]
        is_adrift = place.is_anchored and place.offset > 0 and not (ids and ids[0] <= place.last_id)
        place = place.but(without_news=0 if new and not is_adrift else place.without_news + 1)
        most = max(most, len(ids))
        if ids != seen:
            seen, seen_at = ids, place.offset
        is_worn_out = place.without_news > MOST_WITHOUT_NEWS
        if is_worn_out:
            # The next job may try as long: the shop may have been mended.
            yield Listed(rows=[], place=place.but(without_news=0), remaining=None, answered_at=answered_at)
        # A page with gaps can be the same further on, as far as both overlap; a full one cannot.
        overlap = (max(most, PER_PAGE) if is_whole else most) - (place.offset - seen_at)
        if is_worn_out or len(ids) > max(overlap, 1):
            raise UnexpectedResponseError(f"The shop gives the same page of {route} again and again: is it cached?")
        if is_adrift:
            # A step back may find the very same rows, where as many have gone.
            seen, place, step = [], place.but(offset=max(place.offset - step, 0)), step * 2
            yield Listed(rows=[], place=place, remaining=None, answered_at=answered_at)
            continue
        step, end = PER_PAGE, place.offset + len(rows)
        is_last = _is_last(place.offset, len(rows), total, has_news=bool(new))
        place = _behind(place, ids, past_hidden=hides and is_whole)
        if not is_last and len(rows) < 2 and place.is_anchored and not (hides and new):
            raise UnexpectedResponseError(f"The shop says that it has {total} {route}, and shows but {end}.")
        yield Listed(
            rows=new,
            place=None if is_last else place,
            remaining=0 if is_last else None if total is None else max(total - end, 0),
            answered_at=answered_at,
        )
        if is_last:
            return


def _behind(place: Place, ids: Sequence[int], *, past_hidden: bool) -> Place:
    """The place behind a page with these ids: at its last row or, where it shows nothing but that, half a page on."""
    if past_hidden and len(ids) < 2 and max(ids, default=0) <= place.last_id:
        return place.but(offset=place.offset + PER_PAGE // 2, is_anchored=False)
    last_id = max([place.last_id, *ids])
    return place.but(last_id=last_id, offset=max(place.offset + len(ids) - 1, 0), is_anchored=True)


def _window(offset: int) -> dict[str, str]:
    window = {"per_page": str(PER_PAGE), "orderby": "id", "order": "asc"}
    return {**window, "offset": str(offset)} if offset else window


def _is_last(offset: int, count: int, total: int | None, *, has_news: bool) -> bool:
    """Whether the listing ends with this page. A shop may show fewer rows than it was asked for, or than it counts."""
    if total is None:
        return not has_news or count < 2
    # Alone with the row that was known, behind it some that are counted and not shown.
    return offset + count >= total or (not has_news and count < 2 and offset + PER_PAGE >= total)


def _is_whole(response: httpx.Response, total: int | None) -> bool:
    """Whether the shop counts as many rows to a page as it was asked for."""
    return total is not None and _number(response, "X-WP-TotalPages") == -(-total // PER_PAGE)


def _number(response: httpx.Response, header: str) -> int | None:
    number = response.headers.get(header, "")
    return int(number) if number.isascii() and number.isdigit() else None
