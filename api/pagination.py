"""Relay connections with keyset cursors: rows that come and go never shift a page (Relay Cursor Connections).

A cursor is opaque to clients. It holds the order that it belongs to and the key of its row.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import orjson
import strawberry

from api.user_errors import BadUserInput
from domain.keyset import Slice, Span

DEFAULT_SIZE = 50
MAX_SIZE = 100

Item = TypeVar("Item")
Row = TypeVar("Row")

First = Annotated[
    int | None,
    strawberry.argument(description=f"How many from the front: {DEFAULT_SIZE} if left out, {MAX_SIZE} at most."),
]
After = Annotated[
    str | None, strawberry.argument(description="Begin behind this cursor: an earlier page's `endCursor`.")
]
Last = Annotated[
    int | None, strawberry.argument(description=f"How many from the back, instead of `first`; {MAX_SIZE} at most.")
]
Before = Annotated[str | None, strawberry.argument(description="End before this cursor: a later page's `startCursor`.")]


@strawberry.type(description="Where a page stands among all pages.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follow: ask with `after: endCursor`.")
    has_previous_page: bool = strawberry.field(description="Whether more precede: ask with `before: startCursor`.")
    start_cursor: str | None = strawberry.field(description="The first edge's cursor; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="The last edge's cursor; null on an empty page.")


@strawberry.type(description="An item of a page.")
class Edge(Generic[Item]):
    cursor: str = strawberry.field(description="Marks this item: pages can begin behind it or end before it.")
    node: Item = strawberry.field(description="The item.")


@strawberry.type(description="A page, in the order asked for. It stays right while items come and go.")
class Connection(Generic[Item]):
    edges: list[Edge[Item]] = strawberry.field(description="The items of this page.")
    page_info: PageInfo = strawberry.field(description="Where this page stands among all pages.")


@dataclass(frozen=True, slots=True)
class Order(Generic[Row]):
    """An order of rows by one unique key: its name inside cursors, a row's key, and a key read back from text."""

    name: str
    key: Callable[[Row], object]
    parse: Callable[[str], UUID | str]


def span(
    order: Order[Row], *, first: int | None, after: str | None, last: int | None = None, before: str | None = None
) -> Span:
    """What the arguments of a connection ask for."""
    if first is not None and last is not None:
        raise BadUserInput("Give `first` or `last`, not both.")
    size_name, size = ("last", last) if last is not None else ("first", first)
    if size is None:
        size = DEFAULT_SIZE
    if not 0 <= size <= MAX_SIZE:
        message = f"`{size_name}` must be between 0 and {MAX_SIZE}, not {size}. Follow `pageInfo` for more than a page."
        raise BadUserInput(message)
    return Span(
        limit=size,
        after=_read_cursor(order, "after", after),
        before=_read_cursor(order, "before", before),
        backward=last is not None,
    )


def connection(rows: Slice[Row], order: Order[Row], make: Callable[[Row], Item]) -> Connection[Item]:
    """A page of `rows`."""
    edges = [Edge(cursor=_cursor(order, row), node=make(row)) for row in rows.rows]
    return Connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=rows.has_next,
            has_previous_page=rows.has_previous,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )


def _cursor(order: Order[Row], row: Row) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([order.name, str(order.key(row))])).decode().rstrip("=")


def _read_cursor(order: Order[Row], argument: str, cursor: str | None) -> UUID | str | None:
    if cursor is None:
        return None
    try:
        name, key = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if name == order.name:
            return order.parse(key)
    except (binascii.Error, AttributeError, TypeError, ValueError):
        name = None
    if isinstance(name, str):
        raise BadUserInput(f"The cursor in `{argument}` belongs to another list or order. Begin without a cursor.")
    raise BadUserInput(f"`{argument}` is not a cursor of this API. Take one from `pageInfo` or an edge.")
