"""Reading a shop's customers on from a checkpoint: what changed, and once a day everybody."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from connectors.base import CheckpointExpiredError, Page, UnexpectedResponseError
from connectors.shopify import bulk
from connectors.shopify.api import RefusedError, TooCostlyError, ask
from connectors.shopify.bulk import BulkFailedError
from connectors.shopify.customers import (
    POINTS_PER_CUSTOMER,
    SPECS,
    Customer,
    selection,
    to_record,
    worth_reading,
)
from connectors.shopify.questions import AGAIN, BEGIN, LIST, TIMES, Beginning, Connection, Customers, Nodes, Times
from connectors.shopify.search import Criteria
from connectors.shopify.shop import Credentials
from connectors.shopify.state import LONG_AGO, State, Sweep

WHOLE_DAYS = timedelta(days=2)
"""`updated_at` may be compared by whole days of the shop's time; what is older than that shows an ignored filter."""
BULK_FROM = 5000
"""Customers: so many are read by a bulk operation, which no limit of requests slows down."""
LONGEST_PASS = 10_000
"""Customers: what changes beyond that is read as a sweep. Pages by cursor may come to an end of their own."""
BULK_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)
"""For a bulk operation; then the customers are read in pages. Another app's operations may keep ours from starting."""
MOST_POINTS, MOST_PER_PAGE = 998, 250
SAME_PAGE = "Shopify gives the same page of customers again and again."


async def begin(client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria, before: State | None) -> State:
    """The state in which everybody is about to be read.

    Asks how many there are, when the last of them changed, what can be read of them, and whether the search holds.
    """
    found = await ask(client, credentials, Beginning, BEGIN, query=criteria.everybody())
    definitions = worth_reading(found.metafield_definitions.nodes)
    per_page = min(MOST_PER_PAGE, MOST_POINTS // (POINTS_PER_CUSTOMER + len(definitions)))
    total = found.customers_count.count if found.customers_count else 0
    now = datetime.now(UTC)
    sweep = Sweep(by_bulk=total >= BULK_FROM and bool(found.matching.nodes), total=total, began_at=now)
    if before is not None:
        return before.having(definitions=definitions, per_page=per_page, sweep=sweep)
    since = max((each.updated_at for each in found.latest.nodes), default=LONG_AGO)
    return State(
        since=since, heard_at=now, definitions=definitions, per_page=per_page, sweep=sweep.having(covers=since)
    )


@dataclass(slots=True, kw_only=True)
class Reading:
    """Reads on from `state`, which is always that of the page given last."""

    client: httpx.AsyncClient
    credentials: Credentials
    criteria: Criteria
    state: State

    async def changes(self) -> AsyncGenerator[Page, None]:
        """Yield who changed, as far as they match; nothing where nobody did.

        In the midst of a sweep one page of them: else it would never move on where more change than can be stored.
        """
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
            state = state.remembering(news)
            self.state = state.passed_through(newest, now=datetime.now(UTC)) if is_last else state
            if news or self.state != before:
                yield self._page(news)
            if news and self.state.sweep is not None:
                return

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
            listed = await self._list(self.criteria.everybody(behind=sweep.last), "ID", None)
            # For all that is known > may mean >= here too, as it does with times.
            behind = [each for each in listed.nodes if int(each.number) > sweep.last]
            is_last = not listed.page_info.has_next_page
            if not is_last and not behind:
                raise UnexpectedResponseError(SAME_PAGE)
            last = max((int(each.number) for each in behind), default=sweep.last)
            sweep = None if is_last else sweep.having(done=sweep.done + len(behind), last=last)
            yield self._swept(behind, sweep)

    async def _by_bulk(self, sweep: Sweep) -> AsyncGenerator[Page, None]:
        is_patient = datetime.now(UTC) - sweep.began_at < LONGEST_WAIT
        if sweep.operation is None:
            query, wanted = self.criteria.everybody(), selection(self.state.definitions)
            started = await bulk.start(self.client, self.credentials, query, wanted)
            if started is None and not is_patient:
                raise BulkFailedError("Other bulk operations keep ours from starting.")
            yield self._swept([], sweep.having(operation=started), wait=BULK_WAIT)
            return
        operation = await bulk.poll(self.client, self.credentials, sweep.operation)
        if operation.is_running and not is_patient:
            raise BulkFailedError("The bulk operation has no end.")
        if operation.is_running:
            yield self._swept([], sweep, wait=BULK_WAIT)
            return
        total = operation.root_object_count
        if operation.url is None:
            if total:
                raise BulkFailedError("The bulk operation has no file.")
            yield self._swept([], None)
            return
        async for lines in bulk.read(self.client, operation.url, begin=sweep.offset, most=MOST_PER_PAGE):
            customers = await self._as_they_are(lines.customers)
            sweep = sweep.having(total=total, done=sweep.done + len(lines.customers), offset=lines.end)
            if lines.is_last and sweep.done < total:
                raise BulkFailedError(f"The file has {sweep.done} of {total} customers.")
            yield self._swept(customers, None if lines.is_last else sweep)

    def _swept(self, customers: Sequence[Customer], sweep: Sweep | None, *, wait: timedelta | None = None) -> Page:
        """A page of a sweep, and what is left of it; None where it is complete."""
        told = [each for each in customers if self.criteria.match(each)]
        state = self.state.remembering(told)
        self.state = state.having(sweep=sweep) if sweep is not None else state.swept(now=datetime.now(UTC))
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

    async def _list(self, query: str | None, sort_key: str, after: str | None) -> Connection:
        """A page of a listing. Raises CheckpointExpiredError where the cursor `after` is refused."""
        while True:
            try:
                listed = await ask(
                    self.client,
                    self.credentials,
                    Customers,
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
                raise UnexpectedResponseError(SAME_PAGE)
            return listed.customers

    async def _as_they_are(self, customers: Sequence[Customer]) -> list[Customer]:
        """These customers as they are now, without those who are gone: what a file says may have changed since."""
        ids = [each.id for each in customers]
        asked = await ask(self.client, self.credentials, Times, TIMES, ids=ids) if ids else Times(nodes=())
        times = {each.id: each.updated_at for each in asked.nodes if each is not None}
        changed = [each.id for each in customers if each.id in times and times[each.id] != each.updated_at]
        found = {each.id: each for each in customers if times.get(each.id) == each.updated_at}
        found |= {each.id: each for each in await self._again(changed)}
        return [found[each] for each in ids if each in found]

    async def _again(self, wanted: Sequence[str]) -> list[Customer]:
        """What is true of the customers with these ids now, without those who are gone."""
        found = list[Customer]()
        question = AGAIN % selection(self.state.definitions)
        while wanted:
            some = wanted[: self.state.per_page]
            try:
                answer = await ask(self.client, self.credentials, Nodes, question, ids=some)
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
