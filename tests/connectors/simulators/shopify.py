"""A Shopify shop with customers, its Admin GraphQL API, its search index and its bulk operations.

https://shopify.dev/docs/api/admin-graphql/2026-10
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from graphql import DocumentNode, GraphQLError, execute_sync, graphql_sync, parse, validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.connectors.simulators.kit import Traffic, name_of
from tests.connectors.simulators.shopify_bulks import SIGNATURE, STORAGE, Bulks
from tests.connectors.simulators.shopify_oauth import CUSTOM_TOKEN, ShopifyOAuth
from tests.connectors.simulators.shopify_people import Person
from tests.connectors.simulators.shopify_schema import SCHEMA, Bucket, cost, spent
from tests.connectors.simulators.shopify_search import search

DOMAIN = "sluice-demo.myshopify.com"
VERSION = "2026-10"
NOT_APPROVED = (
    "This app is not approved to access the Customer object. See https://partners.shopify.com/1/apps/2/customer_data"
    " for more details."
)


@cache
def checked(question: str) -> tuple[DocumentNode, Sequence[GraphQLError]]:
    """A question as it is understood, and what the schema does not allow of it: most of the work of an answer."""
    document = parse(question)
    return document, validate(SCHEMA, document)


@dataclass(slots=True)
class Call:
    """One question: whether it is a bulk operation's, and what the search did not understand."""

    scopes: frozenset[str]
    is_bulk: bool = False
    warnings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class ShopifyShop:
    """One shop. Its switches, each of which is off as Shopify ordinarily behaves:

    `status`: a refusal of everything. `answers_version`: another one than was asked for. `hidden`: fields of customers
    that the app is not approved for; `hides_silently` without telling. `index_is_behind`: what changes is not searched
    until `catch_up`. `whole_days`: `updated_at` is compared by days. `ignores_updated_at`: the filter does nothing,
    untold; `ignores_ids` likewise. `repeats`: every page has the first page's cursor. `most_points`: what a question
    may cost. Those of bulk operations are in `bulks`, that of the limit of requests in `bucket`.
    """

    service: str = "shopify"
    origins: Sequence[str] = (f"https://{DOMAIN}", STORAGE)
    credentials: Mapping[str, Any] = field(default_factory=lambda: {"shop": DOMAIN, "access_token": CUSTOM_TOKEN})
    criteria: Mapping[str, Any] = field(default_factory=dict)
    secrets: Sequence[str] = (CUSTOM_TOKEN, SIGNATURE)
    page_size: int = 250
    now: datetime = datetime(2026, 11, 1, 12, tzinfo=UTC)
    people: dict[int, Person] = field(default_factory=dict)
    definitions: list[Mapping[str, str]] = field(default_factory=list)
    status: int = 200
    answers_version: str | None = None
    hidden: frozenset[str] = frozenset()
    hides_silently: bool = False
    index_is_behind: bool = False
    whole_days: bool = False
    ignores_updated_at: bool = False
    ignores_ids: bool = False
    repeats: bool = False
    most_points: int = 1000
    bucket: Bucket = field(default_factory=Bucket)
    generation: int = 0
    next_number: int = 7_000_000_001
    bulks: Bulks = field(default_factory=Bulks)
    oauth: ShopifyOAuth = field(default_factory=lambda: ShopifyOAuth(shop=DOMAIN))
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self.oauth.access_tokens[CUSTOM_TOKEN] = frozenset({"read_customers"})
        routes = [
            Route("/admin/api/{version}/graphql.json", self._graphql, methods=["POST"]),
            Route("/shopify-bulk/{name}", self.bulks.file, methods=["GET"]),
            *self.oauth.routes(),
        ]
        self.traffic = Traffic(Starlette(routes=routes))

    # What the shared suite does to it

    def add(self, email: str | None, **known: Any) -> str:
        number = self.next_number
        self.next_number += 1
        first, last = name_of(email)
        self.now += timedelta(minutes=1)
        person = Person(
            number=number,
            email=email,
            **{"first_name": first, "last_name": last, "created_at": self.now, "updated_at": self.now, **known},
        )
        self.people[number] = person
        self._index(person)
        return str(number)

    def change(self, external_id: str, **changed: Any) -> None:
        person = self.people[int(external_id)]
        self.now += timedelta(minutes=1)
        person.updated_at = self.now
        for name, value in (changed or {"note": f"changed at {self.now:%H:%M}"}).items():
            setattr(person, name, value)
        self._index(person)

    def remove(self, external_id: str) -> None:
        del self.people[int(external_id)]

    def merge(self, survivor: str, other: str) -> None:
        """Merge two customers: no event tells it but the survivor's time of change."""
        tags = [*self.people[int(survivor)].tags, *self.people[int(other)].tags]
        self.remove(other)
        self.change(survivor, tags=tags)

    def matching(self) -> dict[str, str | None]:
        return {str(person.number): person.email for person in self.people.values()}

    def expire_checkpoints(self) -> None:
        self.generation += 1
        self.bulks.expire()

    def revoke(self) -> None:
        self.oauth.forget()

    def catch_up(self) -> None:
        """The search index learns of everything."""
        for person in self.people.values():
            person.index()

    def _index(self, person: Person) -> None:
        if not self.index_is_behind:
            person.index()

    # The API

    async def _graphql(self, request: Request) -> Response:
        scopes = self.oauth.access_tokens.get(request.headers.get("X-Shopify-Access-Token", ""))
        if scopes is None or request.headers["host"] != DOMAIN:
            message = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return JSONResponse({"errors": message}, status_code=401 if scopes is None else 404)
        if self.status != 200:
            return JSONResponse({"errors": "[API] refused"}, status_code=self.status)
        asked = await request.json()
        answer = self._answer(asked["query"], asked.get("variables") or {}, Call(scopes=scopes))
        version = self.answers_version or request.path_params["version"]
        return JSONResponse(answer, headers={"X-Shopify-API-Version": version})

    def _answer(self, question: str, variables: dict[str, Any], call: Call) -> dict[str, Any]:
        try:
            document, errors = checked(question)
        except GraphQLError as error:
            return {"errors": [error.formatted]}
        if errors:
            return {"errors": [{**each.formatted, "extensions": {"code": "invalid"}} for each in errors]}
        points = cost(document, variables)
        if points > self.most_points:
            extensions = {"code": "MAX_COST_EXCEEDED", "cost": points, "maxCost": self.most_points}
            return {"errors": [{"message": f"Query cost is {points}.", "extensions": extensions}]}
        if not self.bucket.pay(points):
            told = [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]
            return {"errors": told, "extensions": {"cost": self.bucket.cost(points, None)}}
        result = execute_sync(SCHEMA, document, root_value=self, variable_values=variables, context_value=call)
        actual = self.bucket.give_back(points, spent(result.data))
        answer: dict[str, Any] = {"data": result.data, "extensions": {"cost": self.bucket.cost(points, actual)}}
        if result.errors:
            answer["errors"] = [each.formatted for each in result.errors]
        if call.warnings:
            answer["extensions"]["search"] = call.warnings
        return answer

    # Resolvers, by the names of the schema

    def shop(self, _: Any) -> dict[str, Any]:
        return {"id": "gid://shopify/Shop/4711", "name": "Sluice Demo", "myshopifyDomain": DOMAIN}

    def currentAppInstallation(self, info: Any) -> dict[str, Any]:  # noqa: N802
        scopes = [{"handle": scope} for scope in sorted(info.context.scopes)]
        return {"id": "gid://shopify/AppInstallation/1", "accessScopes": scopes}

    def customersCount(self, info: Any, limit: int | None = 10_000, query: str | None = None) -> dict[str, Any]:  # noqa: N802
        found = self._search(info, query)
        is_exact = limit is None or len(found) <= limit
        return {
            "count": len(found) if is_exact else limit,
            "precision": "EXACT" if is_exact else "AT_LEAST",
        }

    def metafieldDefinitions(self, _: Any, first: int | None = None, **__: Any) -> dict[str, Any]:  # noqa: N802
        nodes = [
            {
                "id": f"gid://shopify/MetafieldDefinition/{place}",
                "namespace": each["namespace"],
                "key": each["key"],
                "name": each["name"],
                "type": {"name": each["type"], "category": "TEXT"},
            }
            for place, each in enumerate(self.definitions[:first])
        ]
        return {"nodes": nodes, "pageInfo": {"hasNextPage": len(self.definitions) > len(nodes)}}

    def nodes(self, _: Any, ids: list[str]) -> list[dict[str, Any] | None]:
        found = {person.gid: person for person in self.people.values()}
        return [self._node(found[gid]) if gid in found else None for gid in ids]

    def customers(self, info: Any, sortKey: str = "ID", **given: Any) -> dict[str, Any]:  # noqa: N803
        found = self._search(info, given.get("query"))
        by = "updated_at" if sortKey == "UPDATED_AT" else "id"
        found.sort(key=lambda person: (person.indexed[by], person.number), reverse=bool(given.get("reverse")))
        if info.context.is_bulk:
            # estuary/connectors#4679
            kept = found if sortKey == "ID" else found[::2]
            return {"edges": [{"cursor": "", "node": self._node(person)} for person in kept]}
        first = given.get("first")
        if first is None or not 0 < first <= 250:
            raise GraphQLError("you must provide one of first or last", extensions={"code": "BAD_REQUEST"})
        after = given.get("after")
        start = 0 if after is None else self._behind(found, after, by)
        page = found[start : start + min(first, self.page_size)]
        more = start + len(page) < len(found)
        nodes = [self._node(person) for person in page]
        cursor = self._cursor((found if self.repeats else page)[0 if self.repeats else -1], by) if page else None
        return {
            "nodes": nodes,
            "edges": [{"cursor": self._cursor(person, by), "node": self._node(person)} for person in page],
            "pageInfo": {"hasNextPage": more, "endCursor": cursor, "hasPreviousPage": start > 0},
        }

    def _search(self, info: Any, query: str | None) -> list[Person]:
        if "read_customers" not in info.context.scopes:
            message = "Access denied for customers field. Required access: `read_customers` access scope."
            raise GraphQLError(message, extensions={"code": "ACCESS_DENIED"})
        if query and self.whole_days:
            query = re.sub(r"(updated_at:>='[\d-]+)T[\d:]+Z'", r"\1T00:00:00Z'", query)
        if query and self.ignores_updated_at:
            query = re.sub(r"updated_at:>='[^']+'", "id:>0", query)
        if query and self.ignores_ids:
            query = re.sub(r"id:>\d+", "id:>0", query)
        rows = [person.indexed for person in self.people.values() if person.indexed]
        found, warnings = search(query, rows)
        if warnings:
            path = [str(info.path.key)]
            info.context.warnings.append({"path": path, "query": query, "warnings": warnings})
        numbers = {row["id"] for row in found}
        return [person for person in self.people.values() if person.number in numbers]

    def _cursor(self, person: Person, by: str) -> str:
        value = {"last_id": person.number, "last_value": str(person.indexed[by]), "generation": self.generation}
        return base64.b64encode(json.dumps(value).encode()).decode()

    def _behind(self, found: Sequence[Person], cursor: str, by: str) -> int:
        value = json.loads(base64.b64decode(cursor))
        if value["generation"] != self.generation:
            raise GraphQLError("Invalid cursor for current pagination sort.")
        place = (value["last_value"], value["last_id"])
        return sum((str(person.indexed[by]), person.number) <= place for person in found)

    def _node(self, person: Person) -> dict[str, Any]:
        return person.node() | dict.fromkeys(self.hidden, self._hide)

    def _hide(self, _: Any) -> None:
        if not self.hides_silently:
            raise GraphQLError(NOT_APPROVED)

    def bulkOperationRunQuery(self, info: Any, query: str, **_: Any) -> dict[str, Any]:  # noqa: N802
        refusal = self.bulks.refusal()
        if refusal is not None:
            return refusal
        call = Call(scopes=info.context.scopes, is_bulk=True)
        result = graphql_sync(SCHEMA, query, root_value=self, context_value=call)
        assert result.data is not None, result.errors
        return self.bulks.start([edge["node"] for edge in result.data["customers"]["edges"]])

    def bulkOperation(self, _: Any, id: str) -> dict[str, Any] | None:  # noqa: A002, N802
        return self.bulks.poll(id)


def make(people: int) -> ShopifyShop:
    """A shop with so many customers, some of whom never agreed to marketing or opted out of it."""
    shop = ShopifyShop(now=datetime(2026, 9, 1, tzinfo=UTC))
    for number in range(people):
        state = ("SUBSCRIBED", "SUBSCRIBED", "NOT_SUBSCRIBED", "PENDING", "UNSUBSCRIBED")[number % 5]
        shop.add(
            f"person-{number}@example.com",
            marketing_state=state,
            orders=number % 7,
            spent=f"{number % 7 * 12.5:.2f}",
            tags=["vip"] if number % 10 == 0 else [],
        )
    return shop
