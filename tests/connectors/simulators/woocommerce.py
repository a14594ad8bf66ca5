"""A WooCommerce shop: customers, orders, and the many ways in which shops are not as documented."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from tests.connectors.simulators import woocommerce_access as access
from tests.connectors.simulators.kit import Traffic, name_of
from tests.connectors.simulators.woocommerce_access import CONSUMER_KEY, CONSUMER_SECRET, error

SHOP = "https://shop.example.com"
ROLES = ("administrator", "editor", "author", "contributor", "subscriber", "customer", "shop_manager")
STATUSES = ("any", "trash", "pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed")
ADDRESS = ("first_name", "last_name", "company", "address_1", "address_2", "city", "state", "postcode", "country")
SITE_TIME = timedelta(hours=-3)

Row = dict[str, Any]


async def post(url: str, body: Mapping[str, Any]) -> int:
    """How a shop sends a key to a callback. Returns the status of the answer."""
    async with httpx.AsyncClient() as client:
        return (await client.post(url, json=body)).status_code


@dataclass(slots=True, kw_only=True)
class WooShop:
    """The shop's data, and what is odd about it.

    `path`: it lives below one. `plain`: it has no pretty permalinks, and answers with that to a route in the path;
    `knows_plain_keys`: as since WooCommerce 11.1. `tells_totals`, `tells_time`: nothing drops these headers.
    `filters_changes`: as since WooCommerce 5.8. `hidden`: rows of any listing, counted and not shown; `shows_the_first`
    page alone, and nothing from any offset. `moved_to`: another address. `declines`: its owner does. `prefix`: printed
    before each answer.
    """

    customers: dict[int, Row] = field(default_factory=dict)
    orders: dict[int, Row] = field(default_factory=dict)
    last_number: int = 0
    now: datetime = datetime(2026, 11, 22, 8, tzinfo=UTC)
    roles: Sequence[str] = (*ROLES, "wholesale_customer")
    name: str = "Tom &amp; Ann&#8217;s"
    home: str = SHOP
    path: str = ""
    tls: bool = True
    page_size: int = 100
    plain: Response | None = None
    knows_plain_keys: bool = True
    drops_authorization: bool = False
    key_permissions: str = "read"
    key_may_list: bool = True
    is_active: bool = True
    hides_index: bool = False
    tells_options: bool = True
    tells_totals: bool = True
    tells_time: bool = True
    filters_changes: bool = True
    hidden: set[int] = field(default_factory=set)
    shows_the_first: bool = False
    moved_to: str | None = None
    declines: bool = False
    prefix: bytes = b""
    post: Callable[[str, Mapping[str, Any]], Awaitable[int]] = post
    nonces: set[str] = field(default_factory=set)
    revoked: bool = False
    service: str = "woocommerce"
    origins: Sequence[str] = (SHOP,)
    credentials: Mapping[str, Any] = field(
        default_factory=lambda: {"url": SHOP, "consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
    )
    criteria: Mapping[str, Any] = field(default_factory=lambda: {"role": "all", "guests": False})
    secrets: Sequence[str] = (CONSUMER_SECRET,)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self.traffic = Traffic(self._serve)

    def add(self, email: str | None, role: str = "customer") -> str:
        self.last_number += 1
        number = self.last_number
        first_name, last_name = name_of(email)
        address = {**dict.fromkeys(ADDRESS, ""), "first_name": first_name, "last_name": last_name, "country": "DE"}
        phone = f"+49 30 {10_000 + number}"
        self.customers[number] = {
            "id": number,
            **self._dates("created", self._tick()),
            **self._dates("modified", None),
            "email": email or "",
            "first_name": first_name,
            "last_name": last_name,
            "role": role,
            "username": f"user-{number}",
            "billing": {**address, "city": "Berlin", "email": email or "", "phone": phone},
            "shipping": address,
            "is_paying_customer": False,
            "avatar_url": f"https://secure.gravatar.com/avatar/{number}?s=96&d=mm&r=g",
            "meta_data": [],
        }
        return str(number)

    def change(self, external_id: str) -> None:
        # As of the many changes that leave no date.
        customer = self.customers[int(external_id)]
        customer["billing"] = {**customer["billing"], "city": f"{customer['billing']['city']}!"}

    def remove(self, external_id: str) -> None:
        del self.customers[int(external_id)]

    def matching(self) -> dict[str, str | None]:
        role = self.criteria["role"]
        return {
            str(number): row["email"] or None for number, row in self.customers.items() if role in {"all", row["role"]}
        }

    def expire_checkpoints(self) -> None:
        """There is nothing to forget."""

    def revoke(self) -> None:
        self.revoked = True

    def order(self, email: str, *, customer: int = 0, status: str = "processing", **billing: str) -> int:
        """Somebody buys: a guest, or a customer. Returns the order's id, which posts and pages take ids from too."""
        number = max(self.orders, default=700) + 2
        first_name, last_name = name_of(email)
        address = {**dict.fromkeys(ADDRESS, ""), "first_name": first_name, "last_name": last_name, "country": "DE"}
        now = self._tick()
        self.orders[number] = {
            "id": number,
            "parent_id": 0,
            "status": status,
            "currency": "EUR",
            **self._dates("created", now),
            **self._dates("modified", now),
            "total": "29.35",
            "customer_id": customer,
            "customer_ip_address": "203.0.113.9",
            "billing": {**address, "email": email, "phone": "", **billing},
            "shipping": address,
            "meta_data": [{"id": number * 10, "key": "_order_stock_reduced", "value": "yes"}],
            "line_items": [{"id": number * 10, "name": "Album", "quantity": 1}],
        }
        return number

    def edit_order(self, number: int, **changes: Any) -> None:
        """Change an order, its billing address by parts."""
        row = self.orders[number]
        billing = {**row["billing"], **{part: changes.pop(part) for part in [*changes] if part in row["billing"]}}
        self.orders[number] = {**row, **changes, "billing": billing, **self._dates("modified", self._tick())}

    def _tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    @staticmethod
    def _dates(what: str, moment: datetime | None) -> Row:
        shown = "%Y-%m-%dT%H:%M:%S"
        return {
            f"date_{what}": moment and (moment + SITE_TIME).strftime(shown),
            f"date_{what}_gmt": moment and moment.strftime(shown),
        }

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        if self.prefix:
            response = Response(self.prefix + bytes(response.body), response.status_code, media_type="text/html")
        if self.tells_time:
            response.headers["Date"] = format_datetime(self.now, usegmt=True)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix(self.path)
        if self.moved_to is not None:
            return RedirectResponse(f"{self.moved_to}{path}?{request.url.query}", 301)
        if path == "/wc-auth/v1/authorize":
            return await self._authorize(request.query_params)
        plain_route = request.query_params.get("rest_route") if path in {"", "/", "/index.php"} else None
        if plain_route is None and (self.plain is not None or not path.startswith("/wp-json/")):
            return self.plain if self.plain is not None else HTMLResponse("<html>Oops</html>", 404)
        route = (plain_route or path.removeprefix("/wp-json")).strip("/")
        if not route:
            return self._index(request)
        if request.method == "OPTIONS":
            return self._options(route)
        refused = access.refusal(self, request, is_plain=plain_route is not None)
        return refused if refused is not None else self._listing(route, dict(request.query_params))

    def _index(self, request: Request) -> Response:
        # WordPress would take a key of WooCommerce's for a user and an application password.
        if "authorization" in request.headers:
            return error(401, "invalid_username", "Unknown username.")
        if self.hides_index:
            return error(401, "rest_not_logged_in", "You are not currently logged in.")
        index = {"name": self.name, "description": "", "url": self.home, "home": self.home, "namespaces": ["wc/v3"]}
        wanted = request.query_params.get("_fields")
        return JSONResponse({key: index[key] for key in wanted.split(",")} if wanted else index)

    def _options(self, route: str) -> Response:
        if not self.tells_options:
            return HTMLResponse("<h1>Method Not Allowed</h1>", 405)
        if not self.is_active or route != "wc/v3/customers":
            return error(404, "rest_no_route", "No route was found matching the URL and request method.")
        role = {"description": "…", "type": "string", "default": "customer", "enum": ["all", *self.roles]}
        create = {"email": {"type": "string", "required": True}}
        return JSONResponse(
            {
                "namespace": "wc/v3",
                "methods": ["GET", "POST"],
                "endpoints": [{"methods": ["GET"], "args": {"role": role}}, {"methods": ["POST"], "args": create}],
            }
        )

    def _listing(self, route: str, asked: dict[str, str]) -> Response:
        if not self.is_active or route not in {"wc/v3/customers", "wc/v3/orders"}:
            return error(404, "rest_no_route", "No route was found matching the URL and request method.")
        is_orders = route == "wc/v3/orders"
        invalid = access.invalid_parameters(asked, orders=is_orders, roles=("all", *self.roles), statuses=STATUSES)
        if invalid:
            return error(400, "rest_invalid_param", f"Invalid parameter(s): {', '.join(invalid)}")
        rows = self._matching_orders(asked) if is_orders else self._matching_customers(asked)
        size = min(int(asked.get("per_page", 10)), max(self.page_size, 2))
        start = int(asked.get("offset") or 0) or (int(asked.get("page", 1)) - 1) * size
        if is_orders and rows and int(asked.get("page", 1)) > -(-len(rows) // size):
            return error(400, "rest_post_invalid_page_number", "The page number requested is larger than …")
        shown = [row for row in rows[start : start + size] if row["id"] not in self.hidden]
        shown = [] if self.shows_the_first and start else shown
        totals = {"X-WP-Total": str(len(rows)), "X-WP-TotalPages": str(-(-len(rows) // size))}
        if "_fields" in asked:
            shown = [{key: row[key] for key in asked["_fields"].split(",") if key in row} for row in shown]
        return JSONResponse(shown, headers=totals if self.tells_totals else {})

    def _matching_customers(self, asked: Mapping[str, str]) -> list[Row]:
        role = asked.get("role", "customer")
        rows = [row for row in self.customers.values() if role in {"all", row["role"]}]
        # By name unless asked otherwise; filters by time are ignored.
        orderings: dict[str, Callable[[Row], Any]] = {
            "id": lambda row: row["id"],
            "registered_date": lambda row: row["date_created_gmt"],
        }
        key = orderings.get(asked.get("orderby", "name"), lambda row: (row["first_name"], row["last_name"]))
        return sorted(rows, key=key, reverse=asked.get("order", "asc") == "desc")

    def _matching_orders(self, asked: Mapping[str, str]) -> list[Row]:
        column = "date_modified_gmt" if asked.get("dates_are_gmt") == "true" else "date_modified"
        after = asked.get("modified_after", "") if self.filters_changes else ""
        rows = [row for row in self.orders.values() if not after or (row[column] or "") > after.removesuffix("Z")]
        key = "id" if asked.get("orderby") == "id" else "date_created_gmt"
        return sorted(rows, key=lambda row: row[key], reverse=asked.get("order", "desc") == "desc")

    async def _authorize(self, asked: Mapping[str, str]) -> Response:
        """The page where an owner agrees; here, or declines, at once."""
        if problem := access.authorization_problem(asked):
            return HTMLResponse(f"<p>Error: {problem}.</p>", 401)
        answer = {"success": "0" if self.declines else "1", "user_id": asked["user_id"]}
        if not self.declines:
            key = {
                "key_id": 1,
                "user_id": asked["user_id"],
                "consumer_key": CONSUMER_KEY,
                "consumer_secret": CONSUMER_SECRET,
                "key_permissions": asked["scope"],
            }
            if await self.post(asked["callback_url"], key) != 200:
                return HTMLResponse("<p>Error: An error occurred in the request and at the time …</p>", 401)
        return RedirectResponse(f"{asked['return_url']}?{urlencode(answer)}", 302)


def make(people: int) -> WooShop:
    """A shop with so many customers."""
    simulator = WooShop()
    for number in range(people):
        simulator.add(f"person-{number}@example.com")
    return simulator
