"""Reading a shop's customers on from a checkpoint: what changed, and once a day everybody."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from pydantic import AwareDatetime

from connectors import shopify_bulk
from connectors.base import CheckpointExpiredError, Page, UnexpectedResponseError
from connectors.shopify_api import RefusedError, Shape, TooCostlyError, ask
from connectors.shopify_bulk import BulkFailedError
from connectors.shopify_customers import (
    MOST_METAFIELDS,
    POINTS_PER_CUSTOMER,
    SPECS,
    Customer,
    Definition,
    selection,
    to_record,
    worth_reading,
)
from connectors.shopify_search import Criteria
from connectors.shopify_shop import Credentials
from connectors.shopify_state import LONG_AGO, State, Sweep

WHOLE_DAYS = timedelta(days=2)
"""`updated_at` may be compared by whole days of the shop's time; what is older than that shows an ignored filter."""
BULK_FROM = 5000
"""Customers: so many are read by a bulk operation, which no limit of requests slows down."""
LONGEST_PASS = 10_000
"""Customers: what changes beyond that is read as a sweep. Shopify pages through 25,000 at most."""
BULK_WAIT = timedelta(seconds=30)
MOST_POINTS, MOST_PER_PAGE = 998, 250

BEGIN = f"""
query ($query: String) {{
  customersCount(limit: null) {{ count }}
  matching: customers(first: 1, query: $query) {{ nodes {{ id }} }}
  latest: customers(first: 1, sortKey: UPDATED_AT, reverse: true) {{ nodes {{ updatedAt }} }}
  metafieldDefinitions(ownerType: CUSTOMER, first: {MOST_METAFIELDS}, sortKey: PINNED_POSITION) {{
    nodes {{ namespace key name type {{ name }} }}
  }}
}}
"""


class _Count(Shape):
    count: int


class _Node(Shape):
    id: str


class _Time(Shape):
    updated_at: AwareDatetime


class _Matching(Shape):
    nodes: tuple[_Node, ...]


class _Latest(Shape):
    nodes: tuple[_Time, ...]


class _Definitions(Shape):
    nodes: tuple[Definition, ...]


class _Beginning(Shape):
    customers_count: _Count | None
    matching: _Matching
    latest: _Latest
    metafield_definitions: _Definitions


class _PageInfo(Shape):
    has_next_page: bool
    end_cursor: str | None


class _Connection(Shape):
    nodes: tuple[Customer, ...]
    page_info: _PageInfo


class _Customers(Shape):
    customers: _Connection


class _Nodes(Shape):
    nodes: tuple[Customer | None, ...]


LIST = """
query ($query: String, $sortKey: CustomerSortKeys, $first: Int!, $after: String) {
  customers(query: $query, sortKey: $sortKey, first: $first, after: $after) {
    nodes { %s } pageInfo { hasNextPage endCursor }
  }
}
"""
AGAIN = """
query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Customer { %s } } }
"""


async def begin(client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria, before: State | None) -> State:
    """The state in which everybody is about to be read.

    Asks how many there are, when the last of them changed, what can be read of them, and whether the search holds.
    """
    found = await ask(client, credentials, _Beginning, BEGIN, query=criteria.everybody())
    definitions = worth_reading(found.metafield_definitions.nodes)
    per_page = min(MOST_PER_PAGE, MOST_POINTS // (POINTS_PER_CUSTOMER + len(definitions)))
    total = found.customers_count.count if found.customers_count else 0
    sweep = Sweep(by_bulk=total >= BULK_FROM and bool(found.matching.nodes), total=total)
    if before is not None:
        return before.having(definitions=definitions, per_page=per_page, sweep=sweep)
    since = max((each.updated_at for each in found.latest.nodes), default=LONG_AGO)
    return State(since=since, definitions=definitions, per_page=per_page, sweep=sweep.having(began=since))


@dataclass(slots=True, kw_only=True)
class Reading:
    """Reads on from `state`, which is always that of the page given last."""

    client: httpx.AsyncClient
    credentials: Credentials
    criteria: Criteria
    state: State

    async def changes(self) -> AsyncGenerator[Page, None]:
        """Yield who changed, as far as they match; nothing where nobody did."""
        bound = self.state.bound or self.state.asks_from()
        is_resumed = self.state.cursor is not None
        is_last = False
        while not is_last:
            try:
                listed = await self._list(self.criteria.changed_since(bound), "UPDATED_AT", self.state.cursor)
            except CheckpointExpiredError:
                if not is_resumed:
                    raise
                # The listing begins again; whom it brings again is UNCHANGED.
                self.state, is_resumed = self.state.having(cursor=None, passed=0), False
                continue
            if any(each.updated_at < bound - WHOLE_DAYS for each in listed.nodes):
                raise UnexpectedResponseError("Shopify ignores updated_at: it brings customers who did not change.")
            before, passed = self.state, self.state.passed + max(len(listed.nodes), 1)
            if passed > LONGEST_PASS and self.state.sweep is None:
                self.state = await begin(self.client, self.credentials, self.criteria, None)
                return
            is_last = not listed.page_info.has_next_page or passed > LONGEST_PASS
            news = [each for each in listed.nodes if before.is_news(each) and self.criteria.match(each)]
            newest = max([before.newest or before.since, *(each.updated_at for each in listed.nodes)])
            state = before.having(bound=bound, cursor=listed.page_info.end_cursor, newest=newest, passed=passed)
            state = state.remembering(news, read_up_to=newest)
            self.state = state.passed_through(newest) if is_last else state
            if news or self.state != before:
                yield self._page(news)

    async def everybody(self) -> AsyncGenerator[Page, None]:
        """Yield all who match, as a sweep; ends early where a bulk operation has to be waited for."""
        sweep = self.state.sweep
        if sweep is not None and sweep.by_bulk:
            try:
                async for page in self._by_bulk(sweep):
                    yield page
            except BulkFailedError:
                sweep = sweep.having(by_bulk=False, done=0)
            else:
                return
        while sweep is not None:
            listed = await self._list(self.criteria.everybody(), "ID", sweep.cursor)
            done = sweep.done + max(len(listed.nodes), 1)
            if done > 2 * sweep.total + LONGEST_PASS:
                raise UnexpectedResponseError("Shopify lists far more customers than it counts.")
            is_last = not listed.page_info.has_next_page
            sweep = None if is_last else sweep.having(done=done, cursor=listed.page_info.end_cursor)
            yield self._swept(listed.nodes, sweep)

    async def _by_bulk(self, sweep: Sweep) -> AsyncGenerator[Page, None]:
        if sweep.operation is None:
            query, wanted = self.criteria.everybody(), selection(self.state.definitions)
            started = await shopify_bulk.start(self.client, self.credentials, query, wanted)
            yield self._swept([], sweep.having(operation=started), wait=BULK_WAIT)
            return
        operation = await shopify_bulk.poll(self.client, self.credentials, sweep.operation)
        if operation.is_running:
            yield self._swept([], sweep, wait=BULK_WAIT)
            return
        total = operation.root_object_count
        if operation.url is None:
            if total:
                raise BulkFailedError("The bulk operation has no file.")
            yield self._swept([], None)
            return
        async for lines in shopify_bulk.read(self.client, operation.url, begin=sweep.offset, most=MOST_PER_PAGE):
            customers = lines.customers if operation.is_fresh else await self._again(lines.customers)
            sweep = sweep.having(total=total, done=sweep.done + len(lines.customers), offset=lines.end)
            if lines.is_last and sweep.done < total:
                raise BulkFailedError(f"The file has {sweep.done} of {total} customers.")
            yield self._swept(customers, None if lines.is_last else sweep)

    def _swept(self, customers: Sequence[Customer], sweep: Sweep | None, *, wait: timedelta | None = None) -> Page:
        """A page of a sweep, and what is left of it; None where it is complete."""
        told = [each for each in customers if self.criteria.match(each)]
        state = self.state.remembering(told, read_up_to=self.state.since).having(sweep=sweep)
        self.state = state if sweep is not None else state.having(swept_at=datetime.now(UTC))
        return self._page(told, is_sweep=True, wait=wait)

    def _page(self, told: Sequence[Customer], *, is_sweep: bool = False, wait: timedelta | None = None) -> Page:
        sweep, definitions = self.state.sweep, self.state.definitions
        left = max(sweep.total - sweep.done, 0) if sweep is not None else 0 if is_sweep else None
        return Page(
            records=[to_record(each, definitions) for each in told],
            fields={**SPECS, **{spec.key: spec for spec in (each.spec() for each in definitions)}},
            checkpoint=self.state.model_dump(mode="json"),
            sweep=is_sweep,
            complete=is_sweep and sweep is None,
            wait=wait,
            # Shopify counts the whole shop, and does not count what changed.
            remaining=None if self.criteria.is_narrow else left,
        )

    async def _list(self, query: str | None, sort_key: str, after: str | None) -> _Connection:
        """A page of a listing. Raises CheckpointExpiredError where the cursor `after` is refused."""
        while True:
            try:
                listed = await ask(
                    self.client,
                    self.credentials,
                    _Customers,
                    LIST % selection(self.state.definitions),
                    query=query,
                    sortKey=sort_key,
                    first=self.state.per_page,
                    after=after,
                )
            except TooCostlyError as error:
                self._ask_for_less(error)
                continue
            except RefusedError as error:
                if after is None:
                    raise
                # There is no code for a cursor that is too old: it is the first thing to suspect.
                raise CheckpointExpiredError(str(error)) from error
            info = listed.customers.page_info
            if info.has_next_page and info.end_cursor in {None, after}:
                raise UnexpectedResponseError("Shopify gives the same page of customers again and again.")
            return listed.customers

    async def _again(self, customers: Sequence[Customer]) -> list[Customer]:
        """What is true of these customers now, without those who are gone."""
        wanted, found = [each.id for each in customers], list[Customer]()
        question = AGAIN % selection(self.state.definitions)
        while wanted:
            some = wanted[: self.state.per_page]
            try:
                answer = await ask(self.client, self.credentials, _Nodes, question, ids=some)
            except TooCostlyError as error:
                self._ask_for_less(error)
                continue
            found += [each for each in answer.nodes if each is not None]
            wanted = wanted[len(some) :]
        return found

    def _ask_for_less(self, error: TooCostlyError) -> None:
        if self.state.per_page == 1:
            raise error
        self.state = self.state.having(per_page=self.state.per_page // 2)
